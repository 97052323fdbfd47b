"""Algebraic identities of the coordinate-wise methods, and properties over shapes, dtypes and numbers of experts."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import SmallTransformer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference.problems import COARSE, SHAPES, changed, grid_problem

from merge_engine.contract import Context
from merge_engine.errors import RecipeError, WeightsError
from merge_engine.maths.ops import as_rows, kth_largest_magnitude, magnitude_ranks, task_masks, trim
from merge_engine.maths.selection import order_statistics, trim_globally
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import build
from merge_engine.problem import Problem
from merge_engine.running import merge

STATIC = {
    "average": [{}],
    "linear": [{}],
    "task_arithmetic": [{}],
    "ties": [{}, {"scope": "tensor"}, {"merge_by": "sum"}, {"merge_by": "max"}],
    "dare": [{}, {"rescale": "l1"}, {"combine": "ties"}, {"tensors": "matrices"}],
    "della": [{}, {"combine": "linear"}, {"rescale": "inverse"}],
    "breadcrumbs": [{}, {"combine": "ties"}],
    "model_stock": [{}, {"mean": "angle"}, {"per": "rows"}],
    "pcb": [{}, {"variant": "top-level"}],
    "consensus": [{}, {"base": "ties"}, {"k": 1}],
    "magmax": [{}],
}
PAIRED = {"slerp": [{}], "nuslerp": [{}, {"per": "rows"}, {"per": "columns"}, {"between": "weights"}]}
STORED = {"tall_mask": [{}, {"base": "ties"}], "emr": [{}, {"rescale": "sums"}]}


def cases(*tables: dict[str, list[dict]], without=()) -> list:
    """Return every method of some tables with every setting."""
    listed = [(k, p) for table in tables for k, settings in table.items() for p in settings if k not in without]
    return [pytest.param(k, p, id=k + "".join(f"-{a}={b}" for a, b in p.items())) for k, p in listed]


def count_of(key: str) -> int:
    return 2 if key in PAIRED else 3


def context(seed: int = 0) -> Context:
    return Context(seed=seed, svd=SvdStore(folder=None))


def outcome(problem: Problem, key: str, **parameters) -> dict[tuple[str, str], torch.Tensor]:
    """Return what every task is served beyond the pretrained model, by task and tensor."""
    merged = merge(problem, build(key, **parameters), ctx=context())
    return {
        (task, n): merged.weights(task)[n] - base.float()
        for task in problem.tasks
        for n, base in problem.pretrained.items()
    }


def close(got, expected, *, atol=2e-6, rtol=1e-5) -> None:
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, atol=atol, rtol=rtol)


def experts_themselves(problem: Problem, factor: float = 1.0) -> dict[tuple[str, str], torch.Tensor]:
    return {
        (t, n): factor * (expert[n] - base)
        for t, expert in problem.experts.items()
        for n, base in problem.pretrained.items()
    }


# B1: one expert comes back

ONE = [
    ("average", {}),
    ("linear", {}),
    ("linear", {"weights": (3.0,)}),
    ("task_arithmetic", {"scaling": 1}),
    *[("ties", {"density": 1, "merge_by": m}) for m in ("mean", "sum", "max")],
    *[("ties", {"density": 1, "merge_by": m, "scope": "tensor"}) for m in ("mean", "sum", "max")],
    *[("dare", {"density": 1, "rescale": r, "scaling": 1}) for r in ("inverse", "l1", "none")],
    ("dare", {"density": 1, "combine": "ties", "trim": 1, "scaling": 1}),
    ("della", {"density": 1}),
    ("breadcrumbs", {"density": 1, "scaling": 1}),
    ("consensus", {"k": 1, "scaling": 1}),
    ("magmax", {"scaling": 1}),
    *[("tall_mask", {"threshold": x}) for x in (0, 0.4, 100)],
    *[("emr", {"rescale": r}) for r in ("means", "sums")],
]


@pytest.mark.parametrize(("key", "parameters"), ONE)
def test_one_expert_comes_back(key, parameters):
    problem = grid_problem(1)
    close(outcome(problem, key, **parameters), experts_themselves(problem))


def test_one_expert_does_not_come_back_from_pcb_nor_from_consensus():
    problem = grid_problem(1)
    assert not any(v.any() for v in outcome(problem, "consensus", k=2).values())
    kept = sum(int(v.count_nonzero()) for v in outcome(problem, "pcb", ratio=0.1).values())
    total = sum(w.numel() for w in problem.pretrained.values())
    assert kept == total - int(total * 0.9) - 1  # the entry at the quantile itself has score zero


# B2: identical experts come back

SAME = [
    ("average", {}),
    ("linear", {"weights": (0.3, 0.2, 0.9)}),
    *[("ties", {"density": 1, "scope": s, "merge_by": m}) for s in ("global", "tensor") for m in ("mean", "max")],
    *[("model_stock", {"mean": m, "per": p}) for m in ("cosine", "angle") for p in ("tensor", "rows")],
    ("magmax", {"scaling": 1}),
    ("emr", {}),
]


@pytest.mark.parametrize(("key", "parameters"), SAME)
def test_identical_experts_come_back(key, parameters):
    one = grid_problem(1)
    problem = Problem(one.pretrained, dict.fromkeys("abc", one.experts["task0"]), one.architecture)
    close(outcome(problem, key, **parameters), experts_themselves(problem))


@pytest.mark.parametrize(("key", "parameters"), cases(PAIRED))
def test_two_identical_experts_come_back_from_interpolation(key, parameters):
    one = grid_problem(1)
    problem = Problem(one.pretrained, dict.fromkeys("ab", one.experts["task0"]), one.architecture)
    close(outcome(problem, key, **parameters), experts_themselves(problem))


def test_identical_experts_add_up_in_task_arithmetic():
    one = grid_problem(1)
    problem = Problem(one.pretrained, dict.fromkeys("abc", one.experts["task0"]), one.architecture)
    close(outcome(problem, "task_arithmetic", scaling=0.5), experts_themselves(problem, 1.5))


# B3: the order of the experts does not matter


@pytest.mark.parametrize(("key", "parameters"), cases(STATIC, PAIRED, STORED))
def test_the_order_of_the_experts_does_not_matter(key, parameters):
    problem = grid_problem(count_of(key))
    backwards = Problem(
        problem.pretrained, dict(reversed(problem.experts.items())), problem.architecture, problem.inputs
    )
    close(outcome(backwards, key, **parameters), outcome(problem, key, **parameters))


@pytest.mark.parametrize(
    ("key", "name", "numbers"),
    [
        ("linear", "weights", (0.5, 1.0, 3.0)),
        ("ties", "weights", (0.5, 1.0, 3.0)),
        ("pcb", "weights", (0.5, 1.0, 3.0)),
        ("consensus", "thresholds", (0.1, 0.5, 2.0)),
        ("tall_mask", "thresholds", (0.1, 0.5, 2.0)),
    ],
)
def test_numbers_per_expert_follow_their_expert(key, name, numbers):
    problem = grid_problem(3)
    backwards = Problem(problem.pretrained, dict(reversed(problem.experts.items())), problem.architecture)
    straight = outcome(problem, key, **{name: numbers})
    close(outcome(backwards, key, **{name: numbers[::-1]}), straight)
    other = outcome(problem, key, **{name: numbers[::-1]})
    assert any(not torch.equal(other[k], straight[k]) for k in straight)


def test_the_later_expert_wins_a_tie_in_magmax():
    one = grid_problem(1)
    up = changed(one, lambda t, n, tau: tau.abs() + COARSE)
    down = changed(one, lambda t, n, tau: -tau.abs() - COARSE)
    experts = {"up": up.experts["task0"], "down": down.experts["task0"]}
    for order in (("up", "down"), ("down", "up")):
        problem = Problem(one.pretrained, {name: experts[name] for name in order}, one.architecture)
        winner = {n: experts[order[1]][n] - w for n, w in one.pretrained.items()}
        got = merge(problem, build("magmax", scaling=1), ctx=context())
        assert all(torch.equal(got.task_vector(n), v) for n, v in winner.items())


# B4: nothing learned, nothing changed


@pytest.mark.parametrize(("key", "parameters"), cases(STATIC, PAIRED, STORED))
@pytest.mark.parametrize("pretrained", ["random", "zero"])
def test_zero_task_vectors_change_nothing(key, parameters, pretrained):
    problem = changed(grid_problem(count_of(key)), lambda t, n, tau: 0 * tau)
    if pretrained == "zero":
        zeros = {n: torch.zeros_like(w) for n, w in problem.pretrained.items()}
        problem = Problem(zeros, dict.fromkeys(problem.tasks, zeros), problem.architecture)
    for value in outcome(problem, key, **parameters).values():
        assert torch.equal(value, torch.zeros_like(value))


# B5: task-vector methods do not see where the pretrained model is


@pytest.mark.parametrize(
    ("key", "parameters"), [*cases(STATIC, STORED), *cases({"nuslerp": [{}, {"per": "rows"}]})]
)
def test_shifting_everything_shifts_the_result(key, parameters):
    problem = grid_problem(count_of(key))
    shift = {n: torch.full_like(w, 0.75) for n, w in problem.pretrained.items()}
    moved = {t: {n: w + shift[n] for n, w in e.items()} for t, e in problem.experts.items()}
    base = {n: w + shift[n] for n, w in problem.pretrained.items()}
    close(outcome(Problem(base, moved, problem.architecture), key, **parameters), outcome(problem, key, **parameters))


@pytest.mark.parametrize(("key", "parameters"), [("slerp", {}), ("nuslerp", {"between": "weights"})])
def test_shifting_everything_changes_interpolated_weights(key, parameters):
    problem = grid_problem(2, size=2.0)
    moved = {t: {n: w + 0.75 for n, w in e.items()} for t, e in problem.experts.items()}
    shifted = Problem({n: w + 0.75 for n, w in problem.pretrained.items()}, moved, problem.architecture)
    there, here = outcome(shifted, key, **parameters), outcome(problem, key, **parameters)
    assert max(float((there[k] - here[k]).abs().max()) for k in here) > 0.01


# B7: twice the task vectors, twice the change

HOMOGENEOUS = cases(STATIC, STORED, {"nuslerp": [{}, {"per": "rows"}]}, without={"pcb"})


@pytest.mark.parametrize(("key", "parameters"), HOMOGENEOUS)
def test_twice_the_task_vectors_change_twice_as_much(key, parameters):
    problem = grid_problem(count_of(key))
    twice = outcome(changed(problem, lambda t, n, tau: 2 * tau), key, **parameters)
    close(twice, {k: 2 * v for k, v in outcome(problem, key, **parameters).items()})


def test_pcb_is_not_homogeneous():
    problem = grid_problem(3, size=1.0)
    twice = outcome(changed(problem, lambda t, n, tau: 2 * tau), "pcb", ratio=0.5)
    once = outcome(problem, "pcb", ratio=0.5)
    assert max(float((twice[k] - 2 * once[k]).abs().max()) for k in once) > 1e-3


# Averages and interpolation


def test_equal_weights_and_one_over_t_are_the_average():
    problem = grid_problem(4)
    mean = outcome(problem, "average")
    close(outcome(problem, "linear", weights=(2, 2, 2, 2)), mean)
    close(outcome(problem, "linear", normalise=False), mean)
    close(outcome(problem, "task_arithmetic", scaling=0.25), mean)
    close(outcome(problem, "dare", density=1, scaling=0.25), mean)


def test_weights_that_sum_to_zero_are_refused_only_where_they_divide():
    problem = grid_problem(2)
    with pytest.raises(RecipeError, match="must not sum to zero"):
        outcome(problem, "linear", weights=(1, -1))
    difference = outcome(problem, "linear", weights=(1, -1), normalise=False)
    first, second = problem.experts.values()
    for (_, n), value in difference.items():
        torch.testing.assert_close(value + problem.pretrained[n], first[n] - second[n])


@pytest.mark.parametrize(("t", "end"), [(0, "task0"), (1, "task1")])
def test_slerp_ends_at_the_experts(t, end):
    problem = grid_problem(2, size=2.0)
    merged = merge(problem, build("slerp", t=t), ctx=context()).weights()
    for n in problem.pretrained:
        torch.testing.assert_close(merged[n], problem.experts[end][n])


def test_slerp_is_straight_only_where_the_experts_nearly_coincide():
    near, far = grid_problem(2, size=0.001), grid_problem(2, size=2.0)
    close(outcome(near, "slerp"), outcome(near, "average"))
    bent, straight = outcome(far, "slerp"), outcome(far, "average")
    assert float((bent["task0", "embed.weight"] - straight["task0", "embed.weight"]).abs().max()) > 0.01


def test_slerp_keeps_the_norm_of_two_vectors_of_one_norm():
    direction = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0)))[0].T
    zero = {"embed.weight": torch.zeros(6)}
    problem = Problem(zero, {str(i): {"embed.weight": v} for i, v in enumerate(direction)}, SmallTransformer())
    for t in (0.2, 0.5, 0.9):
        merged = merge(problem, build("slerp", t=t), ctx=context()).weights()["embed.weight"]
        assert merged.norm() == pytest.approx(1, abs=1e-6)
        assert merged @ direction[0] == pytest.approx(math.cos(t * math.pi / 2), abs=1e-6)


def test_nuslerp_splits_by_weight_and_has_rows_and_columns_the_right_way_round():
    problem = grid_problem(2, shapes={"blocks.0.q.weight": (2, 3)}, size=1.0)
    a, b = (e["blocks.0.q.weight"] - problem.pretrained["blocks.0.q.weight"] for e in problem.experts.values())
    one_row = changed(problem, lambda t, n, tau: torch.where(torch.tensor([[True], [False]]), a, tau))
    rows = outcome(one_row, "nuslerp", per="rows")["task0", "blocks.0.q.weight"]
    torch.testing.assert_close(rows[0], a[0])
    one_column = changed(problem, lambda t, n, tau: torch.where(torch.tensor([True, False, False]), a, tau))
    columns = outcome(one_column, "nuslerp", per="columns")["task0", "blocks.0.q.weight"]
    torch.testing.assert_close(columns[:, 0], a[:, 0])
    second = outcome(problem, "nuslerp", weights=(0, 2))["task0", "blocks.0.q.weight"]
    torch.testing.assert_close(second, b)


@pytest.mark.parametrize(("cos", "ratio"), [(1.0, 1.0), (0.5, 2 / 3), (0.0, 0.0), (-0.5, 0.0)])
@pytest.mark.parametrize("mean", ["cosine", "angle"])
def test_model_stock_goes_as_far_as_the_experts_agree(cos, ratio, mean, ctx):
    vectors = [torch.tensor([1.0, 0.0]), torch.tensor([cos, math.sqrt(1 - cos**2)])]
    zero = {"embed.weight": torch.zeros(2)}
    problem = Problem(zero, {str(i): {"embed.weight": v} for i, v in enumerate(vectors)}, SmallTransformer())
    merged = merge(problem, build("model_stock", mean=mean), ctx=ctx)
    torch.testing.assert_close(
        merged.task_vector("embed.weight"), ratio * (vectors[0] + vectors[1]) / 2, atol=1e-6, rtol=1e-5
    )
    assert any("point apart" in note for note in merged.notes) == (cos < 0)


def test_model_stock_does_not_floor_small_norms():
    one = {"embed.weight": torch.full((2, 3), 1e-5)}
    problem = Problem({"embed.weight": torch.zeros(2, 3)}, {"a": one, "b": one}, SmallTransformer())
    for per in ("tensor", "rows"):
        torch.testing.assert_close(outcome(problem, "model_stock", per=per)["a", "embed.weight"], one["embed.weight"])


# Ties


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_ties_of_two_untrimmed_experts_is_the_average_or_the_winner(scope):
    problem = grid_problem(2)
    got = outcome(problem, "ties", density=1, scope=scope)
    for n, base in problem.pretrained.items():
        a, b = (e[n] - base for e in problem.experts.values())
        winner = torch.where(a.abs() > b.abs(), a, b)
        torch.testing.assert_close(got["task0", n], torch.where(a * b > 0, (a + b) / 2, winner))


@pytest.mark.parametrize("density", [0.001, 0.1, 0.33, 0.8, 1.0])
def test_how_many_entries_ties_keeps(density):
    problem = grid_problem(2)
    count = sum(w.numel() for w in problem.pretrained.values())
    state = drained(trim_globally(problem.groups(), density, lambda g: g.task_vectors))
    kept = torch.stack([state.of(g).flatten(1).count_nonzero(1) for g in problem.groups() if g.name != "logit_scale"])
    scalar = torch.stack([state.of(g).count_nonzero() for g in problem.groups() if g.name == "logit_scale"])
    assert int(kept.sum() + scalar.sum()) == 2 * min(count, int(density * count) + 1)
    for group in problem.groups():
        size = group.pretrained.numel()
        most = max(1, int(density * size))
        own = trim(group.task_vectors, kth_largest_magnitude(group.task_vectors, most))
        assert [int(v.count_nonzero()) for v in own] == [most, most]


def test_global_trimming_favours_large_tensors_and_local_trimming_does_not():
    problem = changed(grid_problem(2), lambda t, n, tau: tau * (8 if n == "blocks.0.q.weight" else 1))
    whole, each = (outcome(problem, "ties", scope=s)["task0", "blocks.0.q.weight"] for s in ("global", "tensor"))
    assert int(whole.count_nonzero()) > 10
    assert int(each.count_nonzero()) <= 6


def test_weights_move_the_election_only_before_it():
    problem = Problem(
        {"embed.weight": torch.zeros(1)},
        {"a": {"embed.weight": torch.tensor([1.0])}, "b": {"embed.weight": torch.tensor([-2.0])}},
        SmallTransformer(),
    )
    got = {
        when: float(outcome(problem, "ties", density=1, weights=(3, 0.5), weighting=when)["a", "embed.weight"])
        for when in ("before", "after", "none")
    }
    assert got == {"before": 1.0, "after": -1.0, "none": -2.0}


# Dropping at random


def test_dare_is_unbiased():
    problem = grid_problem(1, shapes={"embed.weight": (4, 5)})
    tau = problem.experts["task0"]["embed.weight"] - problem.pretrained["embed.weight"]
    method = build("dare", density=0.3, scaling=1)
    draws = torch.stack(
        [merge(problem, method, ctx=context(seed)).task_vector("embed.weight") for seed in range(200)]
    )
    error = draws.std(0) / math.sqrt(200)
    assert ((draws.mean(0) - tau).abs() <= 5 * error).all()
    assert ((draws == 0) | ((draws - tau / 0.3).abs() < 1e-6)).all()
    assert (draws != 0).float().mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / draws.numel()))


@pytest.mark.parametrize("key", ["dare", "della"])
def test_restoring_the_l1_norm_keeps_it(key):
    problem = grid_problem(1)
    got = outcome(problem, key, rescale="l1", combine="linear", scaling=1)
    for key_, tau in experts_themselves(problem).items():
        if got[key_].any():
            assert got[key_].abs().sum() == pytest.approx(float(tau.abs().sum()), rel=1e-5)
    assert sum(bool(v.any()) for v in got.values()) >= len(SHAPES) - 2


@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_della_without_spread_is_dare(rescale):
    problem = grid_problem(3)
    dare = outcome(problem, "dare", density=0.4, rescale=rescale, scaling=1)
    close(outcome(problem, "della", density=0.4, epsilon=0, rescale=rescale, combine="linear"), dare)


def test_della_keeps_large_entries_more_often():
    size = torch.arange(1, 11).float()
    problem = Problem({"embed.weight": torch.zeros(10)}, {"a": {"embed.weight": size}}, SmallTransformer())
    method = build("della", density=0.5, epsilon=0.4, rescale="none", combine="linear")
    kept = torch.stack(
        [merge(problem, method, ctx=context(s)).task_vector("embed.weight") != 0 for s in range(400)]
    ).float()
    expected = torch.linspace(0.1, 0.9, 10)
    assert ((kept.mean(0) - expected).abs() < 5 * (expected * (1 - expected) / 400).sqrt()).all()


def test_della_lowers_a_spread_that_does_not_fit_and_says_so():
    problem = grid_problem(2)
    wide = merge(problem, build("della", density=0.9, epsilon=0.3), ctx=context())
    fitting = merge(problem, build("della", density=0.9, epsilon=0.1), ctx=context())
    for n in problem.pretrained:
        torch.testing.assert_close(wide.task_vector(n), fitting.task_vector(n))
    assert any("lowers epsilon to 0.1" in note for note in wide.notes)
    assert not fitting.notes


@pytest.mark.parametrize("key", ["dare", "della"])
def test_draws_depend_on_seed_tensor_and_task_alone(key):
    problem = grid_problem(3)
    method = build(key, combine="linear")
    first, again, other = (merge(problem, method, ctx=context(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first.task_vector(n), again.task_vector(n)) for n in SHAPES)
    assert any(not torch.equal(first.task_vector(n), other.task_vector(n)) for n in SHAPES)
    alone = {t: merge(Problem(problem.pretrained, {t: e}, problem.architecture), method, ctx=context())
             for t, e in problem.experts.items()}  # fmt: skip
    for n in SHAPES:
        torch.testing.assert_close(sum(m.task_vector(n) for m in alone.values()), first.task_vector(n))
    twins = Problem(problem.pretrained, dict.fromkeys("ab", problem.experts["task0"]), problem.architecture)
    parts = [merge(Problem(twins.pretrained, {t: e}, twins.architecture), method, ctx=context())
             for t, e in twins.experts.items()]  # fmt: skip
    assert any(not torch.equal(parts[0].task_vector(n), parts[1].task_vector(n)) for n in SHAPES)


def test_dare_leaves_other_tensors_alone_when_asked_to():
    problem = grid_problem(1)
    got = outcome(problem, "dare", tensors="matrices", density=0.3, scaling=1)
    for (task, n), tau in experts_themselves(problem).items():
        matrix = n in {"blocks.0.fc1.weight", "blocks.0.q.weight", "blocks.1.fc2.weight"}
        assert torch.allclose(got[task, n], tau, atol=1e-6) != matrix


def test_ranks_are_within_rows_and_a_convolution_is_one_row_per_output():
    rows = as_rows(torch.arange(24.0).reshape(1, 3, 2, 2, 2))
    assert rows.shape == (1, 3, 8)
    assert torch.equal(magnitude_ranks(rows)[0], (torch.arange(8) / 7).expand(3, 8))
    assert magnitude_ranks(torch.tensor([[[-3.0], [2.0]]])).tolist() == [[[0.5], [0.5]]]
    assert magnitude_ranks(torch.tensor([[[5.0, -1.0, 3.0]]])).tolist() == [[[1.0, 0.0, 0.5]]]


# Breadcrumbs, masks and counts


@pytest.mark.parametrize("gamma", [0, 0.01, 0.5, 1])
def test_breadcrumbs_of_full_density_is_task_arithmetic(gamma):
    problem = grid_problem(3)
    close(outcome(problem, "breadcrumbs", density=1, gamma=gamma), outcome(problem, "task_arithmetic"))


def test_breadcrumbs_drops_outliers_and_crumbs():
    ramp = torch.arange(1, 101).float() * torch.tensor([1.0, -1.0]).repeat(50)
    problem = Problem({"embed.weight": torch.zeros(100)}, {"a": {"embed.weight": ramp}}, SmallTransformer())
    kept = outcome(problem, "breadcrumbs", density=0.2, gamma=0.05, scaling=1)["a", "embed.weight"].abs()
    assert kept[kept > 0].tolist() == list(range(76, 96))


def test_breadcrumbs_does_not_empty_small_tensors():
    problem = grid_problem(1, shapes={"embed.weight": (8,)})
    got = outcome(problem, "breadcrumbs", density=0.5, gamma=0.01)["task0", "embed.weight"]
    assert int(got.count_nonzero()) == 4


@pytest.mark.parametrize("base", ["sum", "ties"])
def test_consensus_of_none_is_everything_and_of_too_many_is_nothing(base):
    problem = grid_problem(3)
    everything = outcome(problem, "consensus", k=0, base=base, scaling=0.3)
    whole = {"sum": ("task_arithmetic", {}), "ties": ("ties", {"merge_by": "sum"})}[base]
    close(everything, outcome(problem, whole[0], scaling=0.3, **whole[1]))
    merged = merge(problem, build("consensus", k=4, base=base), ctx=context())
    assert not any(merged.task_vector(n).any() for n in problem.pretrained)
    assert any("more experts than there are" in note for note in merged.notes)


def test_consensus_counts_add_up_to_all_entries_and_grow_stricter_with_k():
    problem = grid_problem(4)
    for group in problem.groups():
        vectors = group.task_vectors
        threshold = torch.full((4, *[1] * group.pretrained.ndim), 0.4)
        used = task_masks(vectors, vectors.sum(0), threshold).sum(0)
        histogram = torch.bincount(used.flatten(), minlength=5)
        assert int(histogram.sum()) == group.pretrained.numel()
        for k in range(6):
            merged = build("consensus", k=k).merge(group, context(), None)
            assert int(merged.count_nonzero()) == int(histogram[k:].sum())


def test_tall_masks_shrink_as_the_threshold_grows():
    problem = grid_problem(4)
    counts = [
        sum(int(v.count_nonzero()) for v in outcome(problem, "tall_mask", threshold=x).values())
        for x in (0, 0.2, 0.4, 0.6, 5)
    ]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 5
    assert counts[0] == 4 * sum(w.numel() for w in problem.pretrained.values())


def test_stores_cost_one_vector_and_one_bit_per_expert():
    problem = grid_problem(4)
    size = sum(w.numel() for w in problem.pretrained.values())
    for key in ("tall_mask", "emr"):
        merged = merge(problem, build(key), ctx=context())
        assert merged.stored_parameters == pytest.approx(size * (2 + 4 / 32))
        assert any("ceiling" in note for note in merged.notes)


def test_emr_rescales_by_one_for_one_expert_and_counts_a_zero_sum_as_negative():
    one = merge(grid_problem(1), build("emr"), ctx=context())
    assert all(part.rescale == (1.0,) for part in one.parts.values())
    zero = torch.zeros(2)
    experts = {"a": {"embed.weight": torch.tensor([1.0, 2.0])}, "b": {"embed.weight": torch.tensor([-1.0, 2.0])}}
    two = merge(Problem({"embed.weight": zero}, experts, SmallTransformer()), build("emr"), ctx=context())
    assert two.parts["embed.weight"].unified.tolist() == [-1.0, 2.0]
    assert two.parts["embed.weight"].mask(0).tolist() == [False, True]
    assert two.parts["embed.weight"].rescale == (1.5, 1.0)


@pytest.mark.parametrize("tasks", [1, 6])
def test_pcb_keeps_the_top_share_of_each_expert(tasks):
    problem = grid_problem(tasks)
    total = sum(w.numel() for w in problem.pretrained.values())
    merged = merge(problem, build("pcb", ratio=0.2), ctx=context())
    kept = sum(int(merged.task_vector(n).count_nonzero()) for n in SHAPES)
    assert total * 0.2 - 2 < kept <= tasks * total * 0.2


def test_the_score_of_pcb_does_not_overflow_for_many_experts():
    vectors = torch.randn(150, 12, generator=torch.Generator().manual_seed(0))
    low, high = vectors.abs().amin(1, keepdim=True), vectors.abs().amax(1, keepdim=True)
    score = build("pcb").score(vectors, low, high)
    assert score.isfinite().all()
    assert (score.abs().amax(1) > 1e-3).all()


# Order statistics of the whole model


def drained(steps):
    """Run a generator of Steps to its end and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


special = [0.0, -0.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 1.0, -1.0]
numbers = st.one_of(st.sampled_from(special), st.floats(-1e3, 1e3, width=32))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.lists(numbers, min_size=1, max_size=7), min_size=1, max_size=4),
    share=st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_order_statistics_are_those_of_the_sorted_model(values, share):
    tensors = {f"t{i}": torch.tensor([v, [-x for x in v]]) for i, v in enumerate(values)}
    zero = {n: torch.zeros(v.shape[1]) for n, v in tensors.items()}
    problem = Problem(zero, {"a": zero, "b": zero}, SmallTransformer())
    count = sum(len(v) for v in values)
    ranks = [min(count - 1, int(s * count)) for s in share]
    got = drained(order_statistics(problem.groups(), lambda g: tensors[g.name], lambda n: ranks, "x"))
    expected = torch.cat(list(tensors.values()), 1).sort(1).values[:, ranks]
    assert torch.equal(got, expected)


def test_order_statistics_count_their_steps():
    groups = grid_problem(2).groups()
    steps = list(order_statistics(groups, lambda g: g.task_vectors, lambda n: [n // 2], "x"))
    assert [s.done for s in steps] == list(range(1, 2 * len(groups) + 1))
    assert {s.total for s in steps} == {2 * len(groups)}


# Properties over shapes, dtypes and numbers of experts

ALL = [(k, p) for table in (STATIC, PAIRED, STORED) for k, settings_ in table.items() for p in settings_]
shapes = st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=st.sampled_from(ALL),
    shapes=shapes,
    tasks=st.integers(1, 20),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    scale=st.sampled_from([1e-8, 1e-3, 1.0, 1e3]),
    seed=st.integers(0, 1000),
)
def test_any_shape_dtype_and_number_of_experts(case, shapes, tasks, dtype, scale, seed):
    key, parameters = case
    tasks = 2 if key in PAIRED else max(tasks, 2) if key == "model_stock" else tasks
    draw = torch.Generator().manual_seed(seed)
    named = dict(zip(["blocks.0.q.weight", "blocks.1.fc1.bias", "embed.weight"], shapes, strict=False))
    models = [
        {n: (torch.randn(s, generator=draw) * scale).to(dtype) for n, s in named.items()}
        for _ in range(tasks + 1)
    ]
    problem = Problem(models[0], {f"t{i}": m for i, m in enumerate(models[1:])}, SmallTransformer())
    before = [{n: w.clone() for n, w in m.items()} for m in models]
    largest = max(float(w.abs().max()) for m in models for w in m.values())
    for (_, n), value in outcome(problem, key, **parameters).items():
        assert value.shape == models[0][n].shape
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert float(value.abs().max()) <= 1000 * tasks * largest + 1e-30
    assert all(torch.equal(a[n], b[n]) for a, b in zip(models, before, strict=True) for n in a)


@pytest.mark.parametrize(("key", "parameters"), cases(STATIC, PAIRED, STORED))
def test_strided_tensors_give_the_same_as_contiguous_ones(key, parameters):
    problem = grid_problem(count_of(key))

    def strided(model):
        return {n: torch.stack([w, w + 1], -1)[..., 0] for n, w in model.items()}

    loose = Problem(
        strided(problem.pretrained), {t: strided(e) for t, e in problem.experts.items()}, problem.architecture
    )
    assert not loose.pretrained["patch.weight"].is_contiguous()
    close(outcome(loose, key, **parameters), outcome(problem, key, **parameters), atol=0, rtol=0)


@pytest.mark.parametrize(("key", "parameters"), cases(STATIC, PAIRED, STORED))
def test_integers_and_half_precision_pass_through(key, parameters):
    problem = grid_problem(count_of(key), COARSE)

    def stored(model, dtype):
        return {n: w.to(dtype) for n, w in model.items()} | {"position_ids": torch.arange(3)}

    half = Problem(
        stored(problem.pretrained, torch.float16),
        {t: stored(e, torch.bfloat16 if t == "task0" else torch.float16) for t, e in problem.experts.items()},
        problem.architecture,
    )
    exact = Problem(
        {n: w.float() for n, w in half.pretrained.items() if n in SHAPES},
        {t: {n: w.float() for n, w in e.items() if n in SHAPES} for t, e in half.experts.items()},
        problem.architecture,
    )
    got = merge(half, build(key, **parameters), ctx=context()).weights("task0")
    expected = merge(exact, build(key, **parameters), ctx=context()).weights("task0")
    for n in SHAPES:
        torch.testing.assert_close(got[n], expected[n], atol=0, rtol=0)
    assert got["position_ids"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("key", ["ties", "dare", "pcb", "emr", "average"])
def test_broken_experts_are_refused(key):
    good = grid_problem(2)
    name = "embed.weight"

    def with_broken(change):
        broken = dict(good.experts["task1"])
        change(broken)
        return Problem(good.pretrained, {**good.experts, "task1": broken}, good.architecture)

    with pytest.raises(WeightsError, match=r"Expert 'task1' has NaN"):
        outcome(with_broken(lambda e: e.update({name: e[name] * math.nan})), key)
    with pytest.raises(WeightsError, match=r"Expert 'task1' has shape \(5, 3\) in embed.weight"):
        outcome(with_broken(lambda e: e.update({name: e[name].T.contiguous()})), key)
    with pytest.raises(WeightsError, match=r"Expert 'task1' lacks the tensor embed.weight"):
        outcome(with_broken(lambda e: e.pop(name)), key)
