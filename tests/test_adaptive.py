"""AdaMerging and AdaRank: against the naive float64 versions, and what must hold whatever the numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import SmallTransformer, fresh
from reference import adaptive as naive
from reference.problems import changed, grid_problem
from small_net import SHAPES, SmallInputs, forward

from merge_engine.adapting.adapt import Settings, adapt_steps
from merge_engine.adapting.coefficients import Coefficients, Masks
from merge_engine.adapting.components import Components
from merge_engine.adapting.history import unpacked
from merge_engine.errors import DataError
from merge_engine.evaluate import Fixed, score
from merge_engine.inputs import SuiteInputs
from merge_engine.methods import build
from merge_engine.problem import Problem
from merge_engine.running import drive, merge, merge_steps
from merge_engine.suite import Suite

MATRICES = [
    n for n in SHAPES if n.startswith("blocks") and SmallTransformer().place(n).kind in "q k v out fc1 fc2"
]
STILL = {"steps": 1, "learning_rate": 0.0}
BASES = [
    {"base": "task_arithmetic", "prior": 0.3, "rank": 1.0},
    {"base": "task_arithmetic", "prior": 0.4, "rank": 0.5},
    {"base": "cart", "prior": 2.3, "rank": 0.5},
    {"base": "tsv_m", "prior": 1.0, "rank": 1.0},
]


@dataclasses.dataclass(frozen=True)
class Stream(SmallInputs):
    """The same few inputs of every task at every update."""

    def stream(self, task: str, batch: int, share: float = 1.0):
        while True:
            yield self.support(task, batch)


def problem_of(tasks: int, seed: int = 0, **shapes) -> Problem:
    problem = grid_problem(tasks, seed=seed, shapes=SHAPES, size=0.3)
    return dataclasses.replace(problem, inputs=Stream())


def logits_of(weights, x, task):
    return Stream().logits(task, forward(weights, x[None])[0])[0]


def batches(problem: Problem, batch: int) -> dict[str, torch.Tensor]:
    return {t: problem.inputs.support(t, batch).double() for t in problem.tasks}


def doubled(problem: Problem) -> tuple[dict, list[dict]]:
    models = [problem.pretrained, *problem.experts.values()]
    first, *rest = [{n: w[n].double() for n in problem.pretrained} for w in models]
    return first, rest


def adaptable(problem: Problem, key: str, **parameters) -> Coefficients:
    return drive(build(key, **parameters).adaptable(problem, fresh()))


def differentiate(what: Coefficients, problem: Problem, batch: int = 3) -> None:
    """One step up to the gradients, as `adapt_steps` takes it."""
    what.begin()
    found = what.features({task: problem.inputs.support(task, batch) for task in problem.tasks})
    for task in problem.tasks:
        logits = problem.inputs.logits(task, found[task])
        logged = logits.log_softmax(-1)
        (-(logged.exp() * logged).sum(-1).mean()).backward(retain_graph=True)
    what.finish()


def run(problem: Problem, key: str, **parameters) -> dict[str, torch.Tensor]:
    merged = merge(problem, build(key, **parameters), ctx=fresh())
    return {
        n: merged.task_vector(n) if n in merged.direction else 0 * w for n, w in problem.pretrained.items()
    }


def gap(a: dict, b: dict, names=None) -> float:
    names = b.keys() if names is None else names
    return max(
        float((a[n].double() - b[n].double()).norm() / b[n].double().norm().clamp_min(1e-3)) for n in names
    )


def vectors(problem: Problem, t: int = 0) -> dict[str, torch.Tensor]:
    return {n: problem.experts[f"task{t}"][n] - w for n, w in problem.pretrained.items()}


# AdaRank against the naive version --------------------------------------------------------------------------------


def reference_of(problem: Problem, base: str, prior: float, rank: float) -> naive.AdaRank:
    return naive.AdaRank(*doubled(problem), lambda n: n in MATRICES, base, prior, rank)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("options", BASES, ids=lambda o: f"{o['base']}-{o['rank']}")
def test_gradients_are_those_of_the_surrogate(options, soft):
    """A4: with b + σ(m/τ) − stop(σ(m/τ)) in place of b, autograd gives what the closed form says."""
    problem = problem_of(2 if options["base"] == "tsv_m" else 3)
    what = adaptable(problem, "adarank", **options, soft=soft)
    other = reference_of(problem, **options)
    if soft:
        for m in other.logits.values():
            m.data = torch.where(m.data > 0, 2.0, 0.0).double()
    weights = other.weights(soft=soft)
    assert (
        gap({n: what.merged().weights()[n] for n in weights}, {n: w.detach() for n, w in weights.items()})
        < 1e-5
    )
    naive.loss(logits_of, weights, batches(problem, 3)).backward()
    differentiate(what, problem)
    found = what.values.grad
    wanted = torch.zeros_like(found, dtype=torch.float64)
    for (t, n), coefficient in other.coefficients.items():
        wanted[t, what.tensors.index(n)] = 0 if coefficient.grad is None else coefficient.grad
    assert (found - wanted).norm() < 1e-4 * wanted.norm()
    for part, grad in zip(what.parts, what.masks.of_parts(what.masks.logits.grad), strict=True):
        rows = [other.logits[t, part.names[0]].grad for t in range(len(problem.tasks)) if len(part)]
        if rows and rows[0] is not None:
            assert (grad - torch.cat(rows)).norm() < 1e-4 * torch.cat(rows).norm() + 1e-9


QKV = tuple(f"blocks.0.{kind}.weight" for kind in "qkv")
FUSED = "blocks.0.qkv"


def fused(model: dict) -> dict:
    """The model with q, k and v one above the other in one matrix."""
    return {n: w for n, w in model.items() if n not in QKV} | {FUSED: torch.cat([model[n] for n in QKV])}


def apart(model: dict) -> dict:
    return {**model, **dict(zip(QKV, model[FUSED].split(4), strict=True))}


@pytest.mark.parametrize("options", BASES[:3], ids=lambda o: f"{o['base']}-{o['rank']}")
def test_fused_attention_is_one_matrix_of_q_k_and_v(options):
    """A4 where q, k and v share a budget, a mask per component and a coefficient."""
    problem = problem_of(3)
    what = adaptable(problem, "adarank", **options, attention="fused")
    theta0, experts = doubled(problem)
    matrices = {FUSED, *MATRICES} - {*QKV}
    other = naive.AdaRank(fused(theta0), [fused(e) for e in experts], lambda n: n in matrices, **options)
    weights = other.weights()
    merged, wanted = what.merged().weights(), apart({n: w.detach() for n, w in weights.items()})
    assert gap({n: merged[n] for n in QKV}, {n: wanted[n] for n in QKV}) < 1e-5
    naive.loss(lambda w, x, task: logits_of(apart(w), x, task), weights, batches(problem, 3)).backward()
    differentiate(what, problem)
    place = what.tensors.index(QKV[0])
    assert not {*QKV[1:]} & {*what.tensors}
    slopes = torch.stack([other.coefficients[t, FUSED].grad for t in range(3)])
    assert (what.values.grad[:, place] - slopes).norm() < 1e-4 * slopes.norm()
    found = what.masks.of_parts(what.masks.logits.grad)[place]
    masks = torch.cat([other.logits[t, FUSED].grad for t in range(3)])
    assert masks.any()
    assert (found - masks).norm() < 1e-4 * masks.norm()


def test_the_gradient_of_a_coefficient_is_the_finite_difference():
    problem = problem_of(3)
    options = BASES[2]
    what = adaptable(problem, "adarank", **options)
    differentiate(what, problem)
    other = reference_of(problem, **options)
    for (t, n), h in (
        ((0, "blocks.0.q.weight"), 1e-4),
        ((2, "blocks.0.out.bias"), 1e-4),
        ((1, "embed.weight"), 1e-4),
    ):
        values = []
        for sign in (1, -1):
            other.coefficients[t, n].data += sign * h
            with torch.no_grad():
                values.append(float(naive.loss(logits_of, other.weights(), batches(problem, 3))))
            other.coefficients[t, n].data -= sign * h
        slope = (values[0] - values[1]) / (2 * h)
        assert float(what.values.grad[t, what.tensors.index(n)]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("options", BASES[1:3], ids=lambda o: o["base"])
def test_a_course_with_flips_follows_the_naive_one(options):
    """Masks that flip within a few updates, and coefficients that move; Adam written out."""
    problem, steps = problem_of(3), 6
    moves = {"steps": steps, "batch": 2, "learning_rate": 0.02, "mask_rate": 0.05}
    merged = merge(problem, build("adarank", **options, **moves), ctx=fresh())
    other = reference_of(problem, **options)
    parameters = [*other.coefficients.values(), *other.logits.values()]
    rates = [0.02] * len(other.coefficients) + [0.05] * len(other.logits)
    optimiser = naive.Adam(parameters, rates)
    for _ in range(steps):
        total = naive.loss(logits_of, other.weights(), batches(problem, 2))
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        optimiser.step(
            [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        )
    start, end = merged.history.states[0], merged.history.states[-1]
    flipped = sum((start[f"masks/{n}"] != end[f"masks/{n}"]).any() for n in MATRICES)
    assert flipped > 3
    for t, n in other.logits:
        assert (unpacked(end[f"masks/{n}"], 4)[t] == (other.logits[t, n] > 0).numpy()).all()
    wanted = {n: w.detach() for n, w in other.weights().items()}
    assert gap({n: merged.weights()[n] for n in wanted}, wanted) < 2e-3


# AdaRank: identities ----------------------------------------------------------------------------------------------


def test_all_components_on_is_task_arithmetic():
    """A1"""
    problem = problem_of(3)
    found = run(problem, "adarank", prior=0.3, rank=1, mask_rate=0, **STILL)
    assert gap(found, run(problem, "task_arithmetic", scaling=0.3)) < 1e-6


@pytest.mark.parametrize("attention", ["split", "fused"])
def test_the_cart_base_starts_at_cart_or_at_the_average(attention):
    """A2, A3"""
    problem = problem_of(4)
    start = {"base": "cart", "mask_rate": 0, "attention": attention, **STILL}
    for learn in ("both", "coefficients", "masks"):
        found = run(problem, "adarank", rank=0.3, prior=1.7, learn=learn, **start)
        assert gap(found, run(problem, "cart", rank=0.3, scaling=1.7, attention=attention)) < 1e-5
    average = run(problem, "average")
    assert gap(run(problem, "adarank", rank=1, prior=2.3, **start), average) < 1e-5
    assert gap(run(problem, "adarank", rank=0.3, prior=2.3, **start), average, MATRICES) > 0.1


def test_the_tsv_base_starts_at_tsv():
    problem = problem_of(2)
    assert gap(run(problem, "adarank", base="tsv_m", **STILL), run(problem, "tsv_m")) < 1e-5
    assert gap(run(problem_of(5), "adarank", base="tsv_m", **STILL), run(problem_of(5), "tsv_m")) < 1e-5


@pytest.mark.parametrize("options", BASES, ids=lambda o: f"{o['base']}-{o['rank']}")
def test_masks_off_leave_the_base(options):
    """A6"""
    problem = problem_of(2)
    what = adaptable(problem, "adarank", **options)
    what.masks.logits.data.fill_(-1.0)
    found = {n: what.merged().task_vector(n) for n in MATRICES}
    average, zero = run(problem, "average"), {n: 0 * w for n, w in problem.pretrained.items()}
    for n in MATRICES:
        assert torch.allclose(found[n], (average if options["base"] == "cart" else zero)[n], atol=1e-6)
    what.masks.logits.data.fill_(1.0)
    start = adaptable(problem, "adarank", **{**options, "rank": 1.0}).merged()
    assert (
        gap({n: what.merged().task_vector(n) for n in MATRICES}, {n: start.task_vector(n) for n in MATRICES})
        < 1e-5
    )


def test_a_mask_flips_after_a_hundred_constant_pushes():
    """A5"""
    what = adaptable(problem_of(3), "adarank", base="cart", rank=0.5)
    optimiser = torch.optim.Adam([group for group in what.parameters() if group.get("lr")], lr=1.0)
    assert [p for group in optimiser.param_groups for p in group["params"]] == [what.masks.logits]
    start, flipped = what.masks.logits.detach() > 0, None
    for step in range(1, 111):
        what.masks.logits.grad = torch.where(start, 3e-4, -3e-4)
        optimiser.step()
        now = what.masks.logits.detach() > 0
        if flipped is None and (now != start).any():
            flipped = step
    assert 99 <= flipped <= 101
    assert (now != start).all()


@pytest.mark.parametrize("base", ["task_arithmetic", "cart", "tsv_m"])
def test_one_expert_stays_that_expert(base):
    """G1"""
    problem = problem_of(1)
    options = STILL if base == "cart" else {**STILL, "prior": 1.0}
    assert gap(run(problem, "adarank", base=base, **options), vectors(problem)) < 1e-5


def test_identical_experts():
    """G2"""
    problem = problem_of(3)
    first = vectors(problem)
    alike = changed(problem, lambda t, n, tau: first[n])
    thrice = {n: 0.9 * v for n, v in first.items()}
    assert gap(run(alike, "adarank", mask_rate=0, **STILL), thrice) < 1e-5
    assert gap(run(alike, "adarank", base="cart", mask_rate=0, **STILL), first) < 1e-5
    assert gap(run(alike, "adarank", base="cart", steps=3, learning_rate=0.1, mask_rate=0.1), first) < 1e-4


@pytest.mark.parametrize("options", BASES[1:], ids=lambda o: o["base"])
def test_the_order_of_the_experts_is_irrelevant_while_masks_flip(options):
    """G3"""
    problem = problem_of(2)
    turned = dataclasses.replace(problem, experts=dict(reversed(problem.experts.items())))
    moves = {**options, "steps": 3, "learning_rate": 0.02, "mask_rate": 0.2}
    there, back = run(problem, "adarank", **moves), run(turned, "adarank", **moves)
    assert gap(back, there) < 1e-3
    assert gap(there, run(problem, "adarank", **{**moves, "mask_rate": 0.0})) > 1e-3


def test_the_error_of_a_truncation_is_the_tail_of_the_spectrum():
    """G4"""
    problem = problem_of(3)
    what = adaptable(problem, "adarank", rank=0.5)
    for part in what.parts:
        for t in range(3 if len(part) else 0):
            tau = vectors(problem, t)[part.names[0]]
            tail = torch.linalg.svdvals(tau.double())[2:]
            assert float((tau - part.kept[t]).norm() ** 2) == pytest.approx(float((tail**2).sum()), rel=1e-4)


# AdaRank: options and bookkeeping ---------------------------------------------------------------------------------


def test_what_is_not_learned_does_not_move():
    problem = problem_of(3)
    moves = {"base": "cart", "rank": 0.5, "steps": 3, "learning_rate": 0.05, "mask_rate": 0.2}
    ends = {}
    for learn in ("both", "masks", "coefficients"):
        history = merge(problem, build("adarank", learn=learn, **moves), ctx=fresh()).history
        ends[learn] = (history.states[0], history.states[-1])
    for learn, (start, end) in ends.items():
        assert (start["coefficients"] != end["coefficients"]).any() == (learn != "masks")
        masks = [(start[key] != end[key]).any() for key in start if key.startswith("masks/")]
        assert any(masks) == (learn != "coefficients")
        assert (len(masks) > 0) == (learn != "coefficients")


def test_masks_wait_for_their_delay():
    problem = problem_of(3)
    moves = {"base": "cart", "rank": 0.5, "steps": 5, "mask_rate": 0.2, "delay": 3}
    states = merge(problem, build("adarank", **moves), ctx=fresh()).history.states
    changed_at = [
        any((a[k] != b[k]).any() for k in a if k != "coefficients") for a, b in itertools.pairwise(states)
    ]
    assert changed_at[:4] == [False, False, False, True]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("delay", [0, 3])
def test_no_gradients_carry_adam_farther_than_its_reach(schedule, delay):
    """Steady, rare and growing ones; of those that grow just so, nearly as far."""
    settings = Settings(40, 1, 1.0, schedule)
    reach, steps = settings.reach(delay), range(delay, 40)
    first, second = 0.9, 0.999
    courses = [lambda i: 1.0, lambda i: float(i == 20), lambda i: (-1.0) ** i, lambda i: (second / first) ** i,
               lambda i: 10.0**i, lambda i: math.sin(i**2)]  # fmt: skip
    far = []
    for course in courses:
        logit = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimiser, places = torch.optim.Adam([logit], lr=1.0), []
        for step in range(40):
            places.append(float(logit.detach()))
            logit.grad = torch.full_like(logit, course(step)) if step >= delay else None
            optimiser.param_groups[0]["lr"] = settings.rate(step)
            optimiser.step()
        end = float(logit.detach())
        assert all(abs(end - place) <= reach[step] for step, place in enumerate(places))
        far.append(abs(end))
    assert reach[40] == 0
    assert max(far) > 0.75 * reach[0]
    assert reach[: delay + 1] == pytest.approx(reach[delay])
    assert len(steps) == 40 - delay


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_masks_that_can_change_no_more_are_let_go_and_nothing_else_changes(monkeypatch, schedule):
    problem = problem_of(3)
    moves = {"base": "cart", "rank": 0.5, "steps": 12, "learning_rate": 0.02, "mask_rate": 0.03, "schedule": schedule}

    def course():
        """The states, how many components were open before every update, and the merge."""
        what, opened = adaptable(problem, "adarank", **moves), []
        settings = build("adarank", **moves, batch=2).settings()
        history = drive(
            adapt_steps(what, problem.inputs, problem.tasks, settings),
            lambda step: opened.append(sum(len(part.left) for part in what.parts)) if step.snapshot else None,
        )
        return history.states, opened, what.merged()

    short, narrowed, few = course()
    monkeypatch.setattr(Settings, "reach", lambda self, delay=0: np.full(self.steps + 1, np.inf))
    long, whole, every = course()
    assert narrowed[0] == whole[0] == whole[-1]
    assert narrowed[6] < 0.9 * whole[0]
    assert all((a[key] == b[key]).all() for a, b in zip(short, long, strict=True) for key in a)
    assert any((short[0][key] != short[-1][key]).any() for key in short[0] if "masks" in key)
    assert all(torch.equal(few.task_vector(n), every.task_vector(n)) for n in every.direction)


def test_masks_that_never_can_flip_cost_nothing():
    what = adaptable(problem_of(3), "adarank", base="cart", steps=20, mask_rate=2e-3)
    what.begin()
    assert not any(len(part.open) for part in what.parts)


def test_only_candidates_are_learned():
    problem = problem_of(3)
    what = adaptable(problem, "adarank", base="cart", rank=0.75, candidates=0.5)
    assert all(int(part.place.max()) == 1 for part in what.parts if len(part))
    full = adaptable(problem, "adarank", base="cart", rank=0.75)
    few, every = what.merged(), full.merged()
    assert gap({n: few.task_vector(n) for n in MATRICES}, {n: every.task_vector(n) for n in MATRICES}) < 1e-6
    what.masks.logits.data.fill_(-1.0)
    bits = what.state()[f"masks/{MATRICES[0]}"]
    assert (unpacked(bits, 4) == [[False, False, True, False]] * 3).all()


def test_switching_back_and_forth_loses_nothing():
    """M_t is changed in place; after hundreds of flips it is what building it anew gives."""
    what = adaptable(problem_of(3), "adarank", base="cart", rank=0.5)
    part = next(p for p in what.parts if len(p))
    draw = torch.Generator().manual_seed(0)
    for _ in range(300):
        part.switch(torch.rand(len(part), generator=draw) < 0.5)
    for t in range(3):
        own = part.owner == t
        wanted = part.left[own].T @ torch.diag(part.s[own] * part.on[own]) @ part.right[own]
        assert torch.allclose(part.kept[t], wanted, atol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_a_kept_state_gives_its_merge_back(soft):
    """The best step can be told from snapshots, or from the history afterwards."""
    problem = problem_of(3)
    method = build("adarank", base="cart", rank=0.5, steps=4, learning_rate=0.05, mask_rate=0.1, soft=soft)
    snapshots, steps = [], merge_steps(problem, method, (), fresh())
    merged = drive(steps, lambda step: snapshots.append(step.snapshot and step.snapshot()))
    snapshots = [s for s in snapshots if s is not None]
    assert merged.history.steps == [0, 1, 2, 3, 4]
    assert len(merged.history.entropy) == len(snapshots) - 1 == 4
    for state, snapshot in zip(merged.history.states, snapshots, strict=True):
        again = method.at(state, problem, fresh())
        names = snapshot.direction
        assert (
            gap({n: again.task_vector(n) for n in names}, {n: snapshot.task_vector(n) for n in names}) < 3e-3
        )
    assert merged.history.tensors == tuple(n for n in SHAPES)
    assert merged.history.over_time("coefficients").shape == (5, 3, len(SHAPES))


def test_a_state_is_small(toy):
    what = drive(build("adarank").adaptable(toy.problem(), fresh()))
    state = what.state()
    bits = sum(v.nbytes for key, v in state.items() if key.startswith("masks/"))
    assert bits == sum(len(part) for part in what.parts) // 8
    assert sum(np.asarray(v).nbytes for v in state.values()) < 10_000


def test_adarank_adapts_on_the_toy_suite(toy):
    """Entropy falls, masks flip, and one dense model comes out."""
    method = build("adarank", base="cart", steps=6, batch=8, learning_rate=0.02, mask_rate=0.05)
    merged = merge(toy.problem(), method, ctx=fresh())
    first, last = merged.history.entropy[0], merged.history.entropy[-1]
    assert sum(last) < sum(first)
    states = merged.history.states
    assert any((states[0][k] != states[-1][k]).any() for k in states[0] if k.startswith("masks/"))


def test_adapting_after_scoring(toy):
    """What scoring loads first, without gradients, serves an adaptation too."""
    again = Suite(toy.folder)
    score(again, Fixed(again.pretrained_in_memory), again.seen, limit=4)
    assert merge(
        again.problem(), build("adarank", steps=1, batch=2, learn="coefficients"), ctx=fresh()
    ).history


def test_a_share_of_the_stream_is_all_that_is_seen(toy):
    inputs = SuiteInputs(toy)
    every = toy.prepared("blob", "adapt")
    stream = inputs.stream("blob", 3, share=0.05)
    seen = {tuple(x.flatten()[:40].tolist()) for _ in range(20) for x in next(stream)}
    assert len(seen) <= int(np.ceil(0.05 * len(every)))
    assert merge(toy.problem(), build("adarank", steps=2, batch=2, share=0.05), ctx=fresh()).history.seconds


def test_the_oracle_descends_the_cross_entropy_and_alone_sees_labels(toy):
    options = {"steps": 4, "batch": 8, "learning_rate": 0.02, "learn": "coefficients"}
    method = build("adarank", loss="oracle", **options)
    assert method.needs == {"stream", "labels"}
    with pytest.raises(DataError, match="Labels are closed"):
        merge(toy.problem(), method, ctx=fresh())
    merged = merge(toy.problem(needs=["labels"]), method, ctx=fresh())
    plain = merge(toy.problem(), build("adarank", **options), ctx=fresh())
    assert merged.history.entropy[0] == plain.history.entropy[0], "the same pictures, before any update"
    assert merged.history.entropy[-1] != plain.history.entropy[-1]
    assert "true labels" in " ".join(merged.notes)
    losses = [_cross_entropy(toy, one) for one in (merged, plain)]
    assert losses[0] < losses[1]


def _cross_entropy(toy, merged) -> float:
    found = []
    for task in toy.seen:
        z = toy.features(merged.weights(), toy.prepared(task, "adapt"))
        found.append(float(torch.nn.functional.cross_entropy(toy.head(task)(z), toy.labels(task, "adapt"))))
    return sum(found)


def test_the_labelled_stream_is_the_stream(toy):
    plain = SuiteInputs(toy).stream("blob", 5)
    told = SuiteInputs(toy, needs=frozenset({"labels"})).labelled_stream("blob", 5)
    for _ in range(40):
        inputs, labels = next(told)
        assert torch.equal(next(plain), inputs)
        assert labels.shape == (5,)


# AdaMerging -------------------------------------------------------------------------------------------------------


CONSTRAINED = {
    "unit": lambda values: values.clamp(0, 1), "wide": lambda values: values.clamp(-0.5, 2),
    "softmax": lambda values: values.softmax(0),
}  # fmt: skip


@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_constrained_coefficients(constraint):
    """What is applied, its gradient, and the way back from what was kept."""
    problem, options = problem_of(3), BASES[2]
    what = adaptable(problem, "adarank", **options, constraint=constraint)
    what.values.data.copy_(torch.linspace(-1.5, 3.0, what.values.numel()).view_as(what.values))
    values = what.values.detach().double().requires_grad_()
    used = CONSTRAINED[constraint](values)
    assert torch.allclose(what.used().double(), used, atol=1e-6)
    other = reference_of(problem, **options)
    for (t, n), coefficient in other.coefficients.items():
        coefficient.data = used[t, what.tensors.index(n)].detach()
    naive.loss(logits_of, other.weights(), batches(problem, 3)).backward()
    slopes = torch.zeros_like(values)
    for (t, n), coefficient in other.coefficients.items():
        slopes[t, what.tensors.index(n)] = 0 if coefficient.grad is None else coefficient.grad
    (wanted,) = torch.autograd.grad(used, values, slopes)
    differentiate(what, problem)
    assert wanted.any()
    assert (what.values.grad - wanted).norm() < 1e-4 * wanted.norm()
    state = what.state()
    what.values.data.zero_()
    what.load(state)
    assert np.allclose(what.state()["coefficients"], state["coefficients"], atol=1e-6)


@pytest.mark.parametrize("unit", ["tensor", "task"])
@pytest.mark.parametrize("base", ["task_arithmetic", "ties", "cart"])
def test_gradients_of_adamerging(base, unit):
    """Closed form against autograd through naive weights, and against finite differences."""
    problem = problem_of(3)
    what = adaptable(problem, "adamerging", base=base, unit=unit, prior=0.4, density=0.5, rank=0.5)
    differentiate(what, problem)
    theta0, experts = doubled(problem)
    taus = [{n: e[n] - theta0[n] for n in theta0} for e in experts]
    if base == "ties":
        taus = naive.ties_unsummed(taus, 0.5)
    if base == "cart":
        theta0 = {n: sum(e[n] for e in experts) / 3 for n in theta0}
        taus = [{n: low_rank(e[n] - theta0[n], n, 2) for n in theta0} for e in experts]
    coefficients = torch.full(what.values.shape, 0.4, dtype=torch.float64, requires_grad=True)

    def total(values):
        weights = dict(theta0)
        for t, tau in enumerate(taus):
            for i, n in enumerate(what.tensors):
                weights[n] = weights[n] + values[t, i if unit == "tensor" else 0] * tau[n]
        return naive.loss(logits_of, weights, batches(problem, 3))

    (wanted,) = torch.autograd.grad(total(coefficients), coefficients)
    assert (what.values.grad - wanted).norm() < 1e-4 * wanted.norm()
    h = torch.zeros_like(wanted)
    h[1, 0] = 1e-4
    with torch.no_grad():
        slope = float(total(coefficients + h) - total(coefficients - h)) / 2e-4
    assert float(what.values.grad[1, 0]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def low_rank(matrix: torch.Tensor, name: str, k: int) -> torch.Tensor:
    if name not in MATRICES:
        return matrix
    U, s, Vh = naive.svd(matrix)
    return U[:, :k] @ torch.diag(s[:k]) @ Vh[:k]


@dataclasses.dataclass(frozen=True)
class Uneven(Stream):
    """As many classes as a task's number says, and two more."""

    def logits(self, task: str, features: torch.Tensor) -> torch.Tensor:
        head = torch.randn(2 + int(task[-1]), 4, generator=fresh().generator("head", task))
        return features @ head.to(features).T


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_course_of_adamerging_follows_the_naive_one(schedule, balanced):
    problem = dataclasses.replace(problem_of(3), inputs=Uneven())
    options = {"steps": 5, "batch": 2, "learning_rate": 0.4, "schedule": schedule, "balanced": balanced}
    merged = merge(problem, build("adamerging", **options, clamp=True), ctx=fresh())
    theta0, experts = doubled(problem)
    values = torch.full((3, len(SHAPES)), 0.3, dtype=torch.float64, requires_grad=True)
    optimiser = naive.Adam([values], [0.4])

    def weights():
        used = values.clamp(0, 1)
        return {
            n: w + sum(used[t, i] * (e[n] - w) for t, e in enumerate(experts))
            for i, (n, w) in enumerate(theta0.items())
        }

    def said(model, x, task):
        return problem.inputs.logits(task, forward(model, x[None])[0])[0]

    for step in range(5):
        model, total = weights(), 0
        for task, inputs in batches(problem, 2).items():
            share = math.log(2 + int(task[-1])) if balanced else 1.0
            total = total + naive.loss(said, model, {task: inputs}) / share
        optimiser.rates = [0.4 * ((1 + math.cos(math.pi * step / 5)) / 2 if schedule == "cosine" else 1)]
        optimiser.step([*torch.autograd.grad(total, values)])
    assert ((values < 0) | (values > 1)).any()
    wanted = {n: w.detach() for n, w in weights().items()}
    assert gap({n: merged.weights()[n] for n in wanted}, wanted) < 1e-3


def test_adamerging_starts_where_it_says():
    problem = problem_of(4)
    assert gap(run(problem, "adamerging", **STILL), run(problem, "task_arithmetic", scaling=0.3)) < 1e-6
    for options in ({"rank": 0.3}, {"rank": 0.6, "rank_rule": "energy"}, {"rank": 0.6, "attention": "fused"}):
        found = run(problem, "adamerging", base="cart", **options, **STILL)
        assert gap(found, run(problem, "cart", **options, scaling=2.0)) < 1e-5
    found = run(problem, "adamerging", base="ties", density=0.4, **STILL)
    assert gap(found, run(problem, "ties", density=0.4, merge_by="sum", scaling=0.3)) < 1e-5


@pytest.mark.parametrize(("experts", "scaling", "rank"), [(8, 2.0, 0.12), (14, 1.5, 0.16), (20, 1.9, 0.32)])
def test_adamerging_on_cart_starts_as_published_for_so_many_experts(experts, scaling, rank):
    problem = grid_problem(experts, shapes={"blocks.0.fc1.weight": (18, 20), "embed.weight": (3, 2)})
    what = adaptable(dataclasses.replace(problem, inputs=Stream()), "adamerging", base="cart")
    start = what.merged()
    wanted = run(problem, "cart", rank=rank, scaling=scaling)
    assert gap({n: start.task_vector(n) for n in wanted}, wanted) < 1e-5


@pytest.mark.parametrize("key", ["adarank", "adamerging"])
def test_few_experts_on_cart_are_remarked(key):
    for count, words in ((1, "is that expert"), (2, "starts at the weight average")):
        assert words in " ".join(merge(problem_of(count), build(key, base="cart", **STILL), ctx=fresh()).notes)
    assert not build(key, base="cart").remarks(("a", "b", "c"))
    two, fixed = problem_of(2), {"mask_rate": 0} if key == "adarank" else {}
    assert gap(run(two, key, base="cart", **fixed, **STILL), run(two, "average")) < 1e-5


@pytest.mark.parametrize("base", ["task_arithmetic", "ties", "cart"])
def test_adamerging_of_one_expert_with_coefficient_one(base):
    problem = problem_of(1)
    found = run(problem, "adamerging", base=base, prior=1.0, density=1.0, **STILL)
    assert gap(found, vectors(problem)) < 1e-6


def test_clamped_coefficients_stay_in_bounds_and_those_of_cart_are_free():
    problem = problem_of(3)
    moves = {"steps": 6, "learning_rate": 0.5}

    def end(**options):
        return merge(problem, build("adamerging", **moves, **options), ctx=fresh()).history.states[-1][
            "coefficients"
        ]

    clamped, free, cart = end(), end(clamp=False), end(base="cart", rank=0.5)
    assert clamped.min() >= 0
    assert clamped.max() <= 1
    assert free.min() < 0 or free.max() > 1
    assert cart.max() > 1


def test_presets_are_legal():
    for key in ("adarank", "adamerging"):
        cls = type(build(key))
        for name in cls.presets:
            assert build(key, **cls.preset(name)) != cls()


def test_masks_of_nothing():
    assert Masks([], 10.0).logits.numel() == 0
    group = next(iter(problem_of(2).groups()))
    assert len(Components.whole(group, group.task_vectors)) == 0
