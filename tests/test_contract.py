"""What every merge method promises, checked for all of them, present and future, from their declarations alone."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Mapping

import pytest
import torch
from conftest import SmallTransformer, small_problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merge_engine.contract import Context, MergeMethod, Step
from merge_engine.errors import DataError, RecipeError
from merge_engine.hp import HP, declared
from merge_engine.maths.svd import SvdStore
from merge_engine.merged import Merged, PerTaskMerged, StaticMerged
from merge_engine.methods import build, key_of, method_class, registry
from merge_engine.methods.task_arithmetic import TaskArithmetic
from merge_engine.problem import Problem
from merge_engine.routing.trained_router import Course, Layers
from merge_engine.running import drive, merge_steps
from merge_engine.tensorwise import PostStep

METHODS = list(registry().items())
FAMILIES = {
    "Averaging", "Task vectors", "Sign and sparsity", "Masks (task known)", "Spectral", "Uses inputs", "Adaptive",
    "Routed", "Post-steps",
}  # fmt: skip
NEEDS = {"stream", "support", "train", "task id", "labels", "validation labels"}
OF_INPUTS = {"stream", "support", "train", "labels"}
SEEN = 3  # inputs of every task that a merge without weights of its own is asked about

every = pytest.mark.parametrize(("key", "cls"), METHODS, ids=[k for k, _ in METHODS])
fields = [pytest.param(cls, hp, id=f"{key}-{hp.name}") for key, cls in METHODS for hp in declared(cls).values()]
every_field = pytest.mark.parametrize(("cls", "hp"), fields)


# Declarations


@every
def test_default_constructible_frozen_hashable_and_equal_by_value(key, cls):
    method = cls()
    assert method == cls()
    assert hash(method) == hash(cls())
    assert key_of(method) == key_of(cls) == key
    assert method_class(key) is cls
    assert method.replace(**method.parameters()) == method == build(key, **method.parameters())
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.scaling = 1.0


@every
def test_documented(key, cls):
    module, text = importlib.import_module(cls.__module__).__doc__, cls.__doc__
    assert module
    assert module.endswith(".")
    first, blank, *rest = text.splitlines()
    assert first.endswith(".")
    assert first[0].isupper()
    assert not re.match(r"\w+[^s]s\b", first), "the first line is an order: 'Add', not 'Adds'"
    assert not blank
    formula = "\n".join(rest).split("References")[0]
    assert re.search(r"^ {8}\S.*[=~←]", formula, re.MULTILINE), "the formula stands indented under the first line"
    assert re.search(r"^    References\n    -+\n", text, re.MULTILINE)
    assert re.search(r"^    Notes\n    -+\n", text, re.MULTILINE)


@every
def test_cites_its_paper_in_both_places(key, cls):
    references = cls.__doc__.split("References")[1].split("Notes")[0]
    author = re.match(r"[\w-]+", cls.paper)[0]
    assert author in references
    identifier = re.search(r"arXiv:\d{4}\.\d{4,5}", cls.paper) or re.search(r"\b(19|20)\d\d\b", cls.paper)
    assert identifier[0] in references


@every
def test_declares_what_the_page_shows(key, cls):
    assert cls.family in FAMILIES
    assert (cls.family == "Post-steps") == issubclass(cls, PostStep) == (cls.kind == "post")
    assert cls.kind in {"static", "adaptive", "routed", "post"}
    assert cls.needs <= NEEDS
    assert not cls.needs & OF_INPUTS or cls.family in {"Uses inputs", "Adaptive", "Routed"}
    assert cls.family not in {"Uses inputs", "Adaptive"} or cls.needs & OF_INPUTS
    assert cls.title
    assert not cls.title.endswith(".")
    assert cls.idea.endswith(".")
    assert "\n" not in cls.idea
    assert cls.formula
    low, high = cls.experts_allowed
    assert low >= 1
    assert high is None or high >= low
    titles = [other.title for _, other in METHODS]
    assert titles.count(cls.title) == 1
    if cls.family == "Masks (task known)":
        assert "task id" in cls.needs
        assert "known" not in cls.title, "the family and what it needs say that"


@every
def test_the_published_preset_is_the_default(key, cls):
    assert build(key, **cls.preset("published")) == cls()
    with pytest.raises(RecipeError, match=rf"^No preset of {re.escape(cls.title)} named 'zzz'\."):
        cls.preset("zzz")


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for _, cls in METHODS for name in cls.presets])
def test_a_preset_is_legal_and_names_only_what_it_changes(cls, name):
    assert re.fullmatch(r"[a-z][a-z0-9-]*", name), "it is typed on the command line"
    changes = cls.preset(name)
    method = build(key_of(cls), **changes)
    assert all(getattr(method, field) == value != getattr(cls(), field) for field, value in changes.items())
    assert bool(changes) == (name != "published")


PUBLISHED = {
    "twin_merging": {"shared": "task_arithmetic", "shared_scaling": "published", "rank_share": 0.1,
                     "compression": "svd", "examples": 5500, "epochs": 50},
    "sim": {"examples": 32, "rank": 16, "centring": "task", "normalise": True, "decision": "hard", "store": "tsv_c"},
    "we_moe": {"prior": 0.3, "depth": 2, "routing": "input", "learning_rate": 1e-4, "steps": 1000, "batch": 16},
    "e_we_moe": {"prior": 0.3, "depth": 2, "routing": "input", "learning_rate": 1e-4, "steps": 1000, "batch": 16,
                 "sparsity": 0.9},
    "adarank": {"learning_rate": 1e-3, "mask_rate": 1e-3, "steps": 10_000, "batch": 16, "candidates": 1.0, "delay": 0},
    "adamerging": {"learning_rate": 1e-3, "batch": 16, "unit": "tensor", "clamp": True},
    "cart": {"scaling": 2.0, "rank": 0.12},
    "task_arithmetic": {"scaling": 0.3},
    "ties": {"density": 0.2, "scaling": 1.0},
    "surgery": {"rank": 16, "learning_rate": 1e-3, "steps": 1000},
}  # fmt: skip


@pytest.mark.parametrize(("key", "name", "value"), [(k, n, v) for k, vs in PUBLISHED.items() for n, v in vs.items()])
def test_defaults_are_the_published_numbers(key, name, value):
    """Written down from the papers and their repositories, not from this code."""
    assert getattr(build(key), name) == value


ADARANK = {
    "task_arithmetic": [(0.3, 1.0), (0.3, 1.0), (0.05, 1.0)], "cart": [(2.3, 0.16), (2.8, 0.32), (2.4, 0.32)],
    "tsv_m": [(1.0, 1.0)] * 3,
}  # fmt: skip


@pytest.mark.parametrize("base", ADARANK)
def test_the_published_starts_of_adarank(base):
    """λ, and the share of components that start on, for 8, 14 and 20 experts; the nearest of them for others."""
    method = build("adarank", base=base)
    assert [method.starts(count) for count in (8, 14, 20)] == ADARANK[base]
    assert [method.starts(count) for count in (1, 11, 12, 17, 18, 30)] == [ADARANK[base][i] for i in (0, 0, 1, 1, 2, 2)]
    assert method.replace(prior=0, rank=0).starts(4) == (0.0, 0.25)
    assert method.replace(prior="", rank="published") == method


def test_the_published_course_of_twins_router():
    """AdamW, 5e-4, batches of 1024."""
    course = Course()
    assert (course.examples, course.epochs, course.batch, course.learning_rate) == (5500, 50, 1024, 5e-4)
    network = Layers(384, 8)
    assert [network.first.out_features, network.second.out_features, network.last.out_features] == [768, 768, 8]


@every
def test_a_failure_says_what_to_notice(key, cls):
    assert ("failure" in cls.presets) == bool(cls.lesson)
    assert not cls.lesson or cls.lesson.endswith(".")


@every
def test_every_field_is_a_declared_hyper_parameter(key, cls):
    assert [f.name for f in dataclasses.fields(cls)] == list(declared(cls))
    annotated = {name: kind for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind)}
    assert set(annotated) <= set(declared(cls))


@every_field
def test_hyper_parameter_has_help_a_range_and_a_legal_default(cls, hp: HP):
    assert hp.help.endswith(".")
    assert hp.help[0].isupper()
    assert hp.check(hp.default, "x") == hp.default
    for value in hp.sweep:
        assert hp.check(value, "x") == value
    if hp.choices:
        assert hp.default in hp.choices
        assert len(set(hp.choices)) == len(hp.choices)
        return
    if hp.type is bool or hp.pairs:
        return
    assert hp.low is not None or hp.high is not None, "say what is legal"
    assert hp.span is not None, "a slider needs both ends: give `soft`"
    low, high = hp.span
    assert low < high
    assert hp.low is None or hp.low <= low
    assert hp.high is None or high <= hp.high
    assert hp.step is None or 0 < hp.step <= high - low


def bad_values(hp: HP) -> list:
    """Manufacture illegal values from the declared legal ones."""
    wrong = ["perhaps", None, [[1]], object]
    if hp.choices:
        return [*wrong, "", 1, hp.choices[0] + "x"]
    if hp.type is bool:
        return [*wrong, 2, "2"]
    if hp.pairs:
        return [*wrong, 1, "a=", "=1", "a=1, b", "a=1, a=2"]
    numbers = [math.nan, math.inf, -math.inf, "nan", True]
    numbers += [hp.low - 1, hp.low - 1e-6] if hp.low is not None and hp.type is float else []
    numbers += [hp.high + 1, hp.high + 1e-6] if hp.high is not None and hp.type is float else []
    numbers += [hp.low - 1] if hp.low is not None and hp.type is int else []
    numbers += [hp.high + 1] if hp.high is not None and hp.type is int else []
    numbers += [0.5, "1.5"] if hp.type is int else []
    return [(n,) for n in numbers] + [("x",), 1.0, None] if hp.per_expert else wrong + numbers


@every_field
def test_bad_values_are_refused_with_the_promised_sentence(cls, hp: HP):
    for value in bad_values(hp):
        with pytest.raises(RecipeError) as refused:
            cls(**{hp.name: value})
        assert str(refused.value) == f"{cls.__name__}.{hp.name} must be {hp.allowed()}; got {value!r}."
        with pytest.raises(RecipeError):
            cls().replace(**{hp.name: value})


@every_field
def test_misspelt_names_are_refused_with_the_nearest(cls, hp: HP):
    with pytest.raises(RecipeError) as refused:
        build(key_of(cls), **{hp.name + "x": hp.default})
    nearest = re.search(r"Did you mean '(\w+)'\?$", str(refused.value))
    assert str(refused.value).startswith(f"No parameter of {cls.__name__} named '{hp.name}x'.")
    if len(hp.name) > 1:  # nothing is near a single letter
        assert nearest
        assert nearest[1] in declared(cls)


@every
def test_unknown_names_are_refused(key, cls):
    with pytest.raises(RecipeError, match=rf"^No parameter of {cls.__name__} named 'zzz'\."):
        build(key, zzz=1)
    with pytest.raises(RecipeError, match=r"^No parameter of"):
        cls().replace(zzz=1)
    with pytest.raises(RecipeError, match=rf"^No merge method named '{key}z'\. Did you mean '\w+'\?$"):
        build(key + "z")


@every
def test_one_number_per_expert_or_a_sentence(key, cls):
    problem = problem_for(cls, 2 if cls.experts_allowed[1] == 2 else max(3, cls.experts_allowed[0]))
    for hp in declared(cls).values():
        if hp.per_expert:
            one = cls(**{hp.name: (hp.span[1],)})
            with pytest.raises(RecipeError, match=rf"{cls.__name__}.{hp.name} has 1 numbers for \d experts"):
                run(one, problem)


# Running


class Counting(Mapping):
    """Weights that count how often a tensor is read."""

    def __init__(self, weights: Mapping) -> None:
        self.weights, self.reads = weights, 0

    def __getitem__(self, name):
        self.reads += 1
        return self.weights[name]

    def __iter__(self):
        return iter(self.weights)

    def __len__(self):
        return len(self.weights)


def steps_of(method: MergeMethod, problem: Problem, seed: int = 0):
    """Start a run; a post-step follows Task Arithmetic."""
    ctx = Context(seed=seed, svd=SvdStore(folder=None))
    if isinstance(method, PostStep):
        return merge_steps(problem, TaskArithmetic(), (method,), ctx)
    return merge_steps(problem, method, (), ctx)


def run(method: MergeMethod, problem: Problem, seed: int = 0) -> Merged:
    return drive(steps_of(method, problem, seed))


def frugal(cls: type[MergeMethod]) -> MergeMethod:
    """Return the method at its defaults, with as few inputs and iterations as the declarations allow."""
    small = {}
    for hp in declared(cls).values():
        if hp.name in {"epochs", "examples", "iterations", "steps"} and hp.type is int:
            small[hp.name] = max(4, hp.low or 0)
    return cls(**small)


def counts(cls: type[MergeMethod], wanted=(1, 2, 3, 8)) -> list[int]:
    """Return the wanted numbers of experts that the method takes."""
    low, high = cls.experts_allowed
    return [n for n in wanted if n >= low and (high is None or n <= high)]


def problem_for(cls: type[MergeMethod], tasks: int, toy=None) -> Problem:
    """Return random task vectors, or experts of the toy suite where the method asks for inputs."""
    if not cls.needs & OF_INPUTS and cls.family != "Routed":
        return small_problem(tasks)
    if toy is None or tasks > len(toy.experts):
        return small_problem(tasks)
    return toy.problem(toy.experts[:tasks])


def served(merged: Merged, problem: Problem) -> dict[tuple[str, str], torch.Tensor]:
    """Return what is served to every task: weights by task and tensor, or features where a merge has no model."""
    if isinstance(merged, StaticMerged | PerTaskMerged):
        tasks = (None,) if isinstance(merged, StaticMerged) else problem.tasks
        return {(task, n): merged.weights(task)[n] for task in tasks for n in problem.pretrained}
    network = problem.need_inputs("this test")
    predict = merged.predictor(network)
    with torch.inference_mode():
        return {
            (task, "features"): predict(network.support(task, SEEN), task if merged.knows_task else None).features
            for task in problem.tasks
        }


def untouched(problem: Problem, key: tuple[str, str]) -> torch.Tensor:
    """Return what the pretrained model has in the place of something served."""
    task, what = key
    if what != "features":
        return problem.pretrained[what].float()
    network = problem.need_inputs("this test")
    with torch.inference_mode():
        return network.features(problem.pretrained, network.support(task, SEEN))


running = [  # toy has four experts, and is slower
    pytest.param(cls, n, id=f"{key}-{n}")
    for key, cls in METHODS
    for n in counts(cls, (1, 3) if cls.needs & OF_INPUTS or cls.family == "Routed" else (1, 2, 3, 8))
]


@pytest.mark.parametrize(("cls", "tasks"), running)
def test_a_run_keeps_shapes_and_inputs_counts_its_steps_and_repeats(cls, tasks, toy):
    problem = problem_for(cls, tasks, toy)
    everyone = {"pretrained": problem.pretrained, **problem.experts}
    before = {who: {n: w[n].clone() for n in problem.pretrained} for who, w in everyone.items()}
    method = frugal(cls)
    seen: list[Step] = []
    merged = drive(steps_of(method, problem), seen.append)
    counts_up(seen)
    assert all(math.isfinite(x) for step in seen for x in step.metrics.values())
    assert isinstance(merged, StaticMerged) == (cls.kind != "routed")
    assert merged.stored_parameters >= sum(problem.pretrained[n].numel() for n in problem.pretrained)
    assert all(isinstance(note, str) and note.endswith(".") for note in merged.notes)
    got = served(merged, problem)
    for place, value in got.items():
        assert value.shape == untouched(problem, place).shape
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    for who, weights in everyone.items():
        assert all(torch.equal(weights[n], before[who][n]) for n in problem.pretrained)
    again = served(run(method, problem), problem)
    assert all(torch.equal(again[key], value) for key, value in got.items())


def counts_up(seen: list[Step]) -> None:
    """Every phase of a run counts one by one up to its total, where the last one ends; moments in between are free."""
    assert seen
    previous = Step(0, 0)
    for step in seen:
        if previous.done == previous.total:
            assert step.done in (0, 1)
        else:
            assert step.done in (previous.done, previous.done + 1)
            assert step.total == previous.total
        assert step.done <= step.total
        assert step.label
        previous = step
    assert previous.done == previous.total


@every
def test_closing_a_run_stops_it(key, cls, toy):
    problem = problem_for(cls, 2 if cls.experts_allowed[0] <= 2 else cls.experts_allowed[0], toy)
    experts = {t: Counting(w) for t, w in problem.experts.items()}
    watched = dataclasses.replace(problem, experts=experts)
    steps = steps_of(frugal(cls), watched)
    next(steps)
    steps.close()
    early = sum(w.reads for w in experts.values())
    assert next(steps, "stopped") == "stopped"
    assert sum(w.reads for w in experts.values()) == early
    drive(steps_of(frugal(cls), watched))
    assert sum(w.reads for w in experts.values()) - early > early


@every
def test_the_order_of_the_experts_does_not_matter(key, cls, toy):
    problem = problem_for(cls, counts(cls, (2, 3))[-1], toy)
    backwards = dataclasses.replace(problem, experts=dict(reversed(problem.experts.items())))
    method = frugal(cls)
    there, back = served(run(method, problem), problem), served(run(method, backwards), backwards)
    for place, value in there.items():
        torch.testing.assert_close(back[place], value, rtol=1e-4, atol=2e-5)


@every
def test_experts_that_learned_nothing_change_nothing(key, cls, toy):
    problem = problem_for(cls, counts(cls, (2, 3))[-1], toy)
    idle = dataclasses.replace(problem, experts=dict.fromkeys(problem.tasks, problem.pretrained))
    for place, value in served(run(frugal(cls), idle), idle).items():
        near = 1e-4 if "features" in place else 1e-6
        torch.testing.assert_close(value, untouched(problem, place), rtol=1e-5, atol=near)


@every
def test_experts_that_learned_something_change_something(key, cls, toy):
    problem = problem_for(cls, counts(cls, (2, 3))[-1], toy)
    got = served(run(frugal(cls), problem), problem)
    assert any(not torch.equal(value, untouched(problem, place)) for place, value in got.items())


@every
def test_a_wrong_number_of_experts_is_refused(key, cls):
    low, high = cls.experts_allowed
    if low > 1:
        with pytest.raises(RecipeError, match=rf"takes (exactly|at least) {low} experts; got {low - 1}"):
            run(cls(), small_problem(low - 1))
    if high is not None:
        with pytest.raises(RecipeError, match=rf"takes .* experts; got {high + 1}"):
            run(cls(), small_problem(high + 1))


@every
def test_runs_with_only_what_it_needs(key, cls):
    problem = small_problem(max(2, cls.experts_allowed[0]))
    assert problem.inputs is None
    if cls.needs & OF_INPUTS:
        with pytest.raises(DataError, match=re.escape(cls.title)):
            run(frugal(cls), problem)
    else:
        run(frugal(cls), problem)


scaled = [
    pytest.param(cls, id=key)
    for key, cls in METHODS
    if "scaling" in declared(cls) and cls.kind != "routed" and not cls.needs & OF_INPUTS
]


@pytest.mark.parametrize("cls", scaled)
def test_scaling_is_applied_after_the_merge(cls):
    problem = small_problem(max(2, cls.experts_allowed[0]))
    method = frugal(cls)
    wanted = dataclasses.replace(method, scaling=0.8)
    rescaled, merged = run(method, problem).rescaled(0.8), run(wanted, problem)
    for n in problem.pretrained:
        torch.testing.assert_close(rescaled.task_vector(n), merged.task_vector(n))


# Whatever the shapes, the dtype and the number of experts

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
of_weights = [pytest.param(c, id=k) for k, c in METHODS if not c.needs & OF_INPUTS and c.family != "Routed"]
of_inputs = [pytest.param(c, id=k) for k, c in METHODS if c.family == "Uses inputs"]


def stored_as(problem: Problem, dtype: torch.dtype) -> Problem:
    """Return the problem with every model stored in a dtype."""
    models = {t: {n: w[n].to(dtype) for n in w} for t, w in problem.experts.items()}
    return dataclasses.replace(
        problem, pretrained={n: problem.pretrained[n].to(dtype) for n in problem.pretrained}, experts=models
    )


def merges_like_float32(cls: type[MergeMethod], problem: Problem) -> None:
    """What is stored in half precision is merged as the same numbers in float32 are, and served in float32."""
    same = stored_as(problem, torch.float32)
    got, wanted = served(run(frugal(cls), problem), problem), served(run(frugal(cls), same), same)
    for place, value in got.items():
        assert value.shape == problem.pretrained[place[1]].shape
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert torch.equal(value, wanted[place])


@pytest.mark.parametrize("cls", of_weights)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    m=st.integers(1, 7), n=st.integers(1, 7), tasks=st.integers(1, 12), dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([0.0, 1e-6, 0.05, 10.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape_dtype_and_number_of_experts(cls, m, n, tasks, dtype, scale, seed):
    low, high = cls.experts_allowed
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        "blocks.0.q.weight": (m, n), "blocks.0.q.bias": (m,), "blocks.1.fc1.weight": (n, m), "embed.weight": (n, m),
        "norm.weight": (n,), "patch.weight": (m, 3, 2, 2), "scale": (),
    }  # fmt: skip
    base = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    experts = {
        f"task{t}": {name: w + scale * torch.randn(w.shape, generator=draw) for name, w in base.items()}
        for t in range(min(max(tasks, low), high or tasks + low))
    }
    merges_like_float32(cls, stored_as(Problem(base, experts, SmallTransformer()), dtype))


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("cls", of_inputs)
def test_half_precision_with_inputs(cls, dtype, toy):
    merges_like_float32(cls, stored_as(problem_for(cls, 2, toy), dtype))
