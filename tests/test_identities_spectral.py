"""What must hold exactly for the spectral methods, WUDI, RegMean, Fisher and the post-steps, whatever the numbers."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from conftest import SmallTransformer, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import spectral as naive
from reference.problems import changed, grid_problem
from small_net import SHAPES as NET_SHAPES
from small_net import SmallInputs

from merge_engine.contract import Context
from merge_engine.errors import DataError, RecipeError, WeightsError
from merge_engine.maths import spectral
from merge_engine.maths.svd import SvdStore, decompose, singular_values
from merge_engine.methods import build, method_class
from merge_engine.methods.fisher import fisher_roots
from merge_engine.methods.regmean import solve
from merge_engine.methods.wudi import quadratic
from merge_engine.problem import Problem
from merge_engine.running import drive, merge, merge_steps

Q, FC1, FC2 = "blocks.0.q.weight", "blocks.0.fc1.weight", "blocks.1.fc2.weight"
SHAPES = {Q: (8, 8), FC1: (12, 6), FC2: (6, 13), "blocks.0.fc1.bias": (12,), "embed.weight": (7, 5)}
MATRICES = (Q, FC1, FC2)
WUDI_END = ("wudi", {"solution": "closed-form", "ridge": 1e-4})
STATIC = [
    ("tsv_m", {}),
    ("iso_c", {}),
    ("iso_cts", {"fraction": 0.5}),
    ("cart", {"rank": 0.4}),
    ("knots", {}),
    ("knots", {"rule": "dare"}),
    ("wudi", {"steps": 5}),
    WUDI_END,
]
WITH_INPUTS = [("regmean", {"examples": 40}), ("fisher", {"examples": 3})]
POST = ["svc", "subspace_boosting", "lines"]


def problem_of(tasks: int, seed: int = 0) -> Problem:
    return grid_problem(tasks, seed=seed, shapes=SHAPES)


def net_problem(tasks: int, inputs: SmallInputs | None = None, seed: int = 0) -> Problem:
    problem = grid_problem(tasks, seed=seed, shapes=NET_SHAPES, size=0.3)
    return dataclasses.replace(problem, inputs=inputs or SmallInputs())


def of_vectors(experts: list[dict[str, torch.Tensor]]) -> Problem:
    """Return a problem with a zero pretrained model, whose experts are their task vectors."""
    zero = {n: torch.zeros_like(v) for n, v in experts[0].items()}
    return Problem(zero, {f"task{t}": e for t, e in enumerate(experts)}, SmallTransformer())


def run(problem: Problem, key: str, post: tuple[str, ...] = (), **parameters) -> dict[str, torch.Tensor]:
    """Return the merged task vector by name."""
    merged = merge(problem, build(key, **parameters), tuple(build(p) for p in post), fresh())
    return {n: merged.task_vector(n) for n in problem.pretrained}


def gap(a: dict, b: dict, names=None) -> float:
    """Return the largest relative distance over tensors."""
    names = a.keys() if names is None else names
    return max(float((a[n] - b[n]).norm() / b[n].norm().clamp_min(1e-3)) for n in names)


def vectors(problem: Problem, t: int = 0) -> dict[str, torch.Tensor]:
    expert = problem.experts[f"task{t}"]
    return {n: expert[n] - problem.pretrained[n] for n in problem.pretrained}


def scaled(values: dict[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    return {n: factor * v for n, v in values.items()}


# B1: one expert ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("tsv_m", {"embeddings": "spectral"}),
        ("cart", {"rank": 0.3}),
        ("knots", {"density": 1, "scaling": 1}),
        ("knots", {"rule": "sum", "scaling": 1, "others": "sum"}),
        ("knots", {"rule": "dare", "drop": 0, "scaling": 1}),
        ("wudi", {"others": "mean", "embeddings": "mean", "learning_rate": 0.1}),
        ("wudi", {"others": "mean", "embeddings": "mean", "solution": "closed-form", "ridge": 0.5}),
    ],
)
def test_one_expert_is_returned(key, options):
    problem = problem_of(1)
    assert gap(run(problem, key, **options), vectors(problem)) < 2e-5


@pytest.mark.parametrize(("key", "options"), WITH_INPUTS)
def test_one_expert_is_returned_with_inputs(key, options):
    problem = net_problem(1)
    assert gap(run(problem, key, **options), vectors(problem)) < 1e-3


def test_one_expert_is_returned_by_the_store():
    problem = problem_of(1)
    merged = merge(problem, build("tsv_c", embeddings="spectral"), ctx=fresh())
    served = merged.weights("task0")
    assert gap(dict(served), problem.experts["task0"]) < 1e-6
    with pytest.raises(RecipeError, match="task7"):
        merged.weights("task7")


@pytest.mark.parametrize("key", ["iso_c", "iso_cts"])
def test_isotropic_merging_does_not_return_the_expert(key):
    problem = problem_of(1)
    assert gap(run(problem, key), vectors(problem), [Q]) > 0.2


# B2: identical experts --------------------------------------------------------------------------------------------


def alike(tasks: int) -> Problem:
    problem = problem_of(tasks)
    first = vectors(problem)
    return changed(problem, lambda t, n, tau: first[n])


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_identical_experts(tasks):
    problem = alike(tasks)
    expert = vectors(problem)
    assert gap(run(problem, "cart"), expert) < 1e-5
    assert gap(run(problem, "knots", density=1, scaling=1), expert) < 1e-5
    found = run(problem, "tsv_m")
    top = {n: naive.best_rank(expert[n].double(), min(expert[n].shape) // tasks) for n in MATRICES}
    assert gap(found, top, MATRICES) < 1e-5
    stored = merge(problem, build("tsv_c"), ctx=fresh())
    assert gap({n: stored.parts[n].task_vector(1) for n in MATRICES}, top) < 1e-5
    assert (
        gap(run(problem, "task_arithmetic", ("svc",), scaling=1), expert, (*MATRICES, "embed.weight")) < 1e-5
    )


def test_identical_experts_are_noticed():
    assert any("share singular directions" in n for n in merge(alike(3), build("tsv_m"), ctx=fresh()).notes)
    assert not merge(problem_of(3), build("tsv_m"), ctx=fresh()).notes


@pytest.mark.parametrize(("shared", "noticed"), [(1, True), (0, False)])
def test_one_shared_direction_is_noticed(shared, noticed):
    """Two experts of rank 2; with a shared direction the four left singular vectors span three dimensions."""
    first, second, third = orthogonal_tasks(3, 1, 8, 8)
    other = first if shared else torch.roll(first, (3, 3), (0, 1))
    problem = of_vectors([{Q: first + 0.5 * second}, {Q: other + 0.5 * third}])
    assert any("share" in note for note in merge(problem, build("tsv_m"), ctx=fresh()).notes) == noticed


@pytest.mark.parametrize(("key", "options"), WITH_INPUTS)
def test_identical_experts_with_inputs(key, options):
    problem = net_problem(3)
    first = vectors(problem)
    problem = changed(problem, lambda t, n, tau: first[n])
    assert gap(run(problem, key, **options), first) < 1e-3


# B3, B4, B5, B7: order, zeros, shifts, size -----------------------------------------------------------------------


@pytest.mark.parametrize(("key", "options"), STATIC + WITH_INPUTS)
def test_the_order_of_experts_changes_nothing(key, options):
    problem = net_problem(4) if (key, options) in WITH_INPUTS else problem_of(4)
    turned = dict(reversed(problem.experts.items()))
    other = dataclasses.replace(problem, experts=turned)
    assert gap(run(other, key, **options), run(problem, key, **options)) < 2e-4


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize(("key", "options"), STATIC + WITH_INPUTS)
@pytest.mark.parametrize("which", ["all", "one"])
def test_zero_task_vectors(key, options, tasks, which):
    problem = net_problem(tasks) if (key, options) in WITH_INPUTS else problem_of(tasks)
    problem = changed(problem, lambda t, n, tau: tau * (which == "one" and t > 0))
    for post in ((), *((p,) for p in POST)):
        found = run(problem, key, post, **options)
        assert all(torch.isfinite(v).all() for v in found.values())
        assert which == "one" or not any(v.any() for v in found.values())


def test_zero_task_vectors_in_the_store():
    problem = changed(problem_of(3), lambda t, n, tau: 0 * tau)
    merged = merge(problem, build("tsv_c"), ctx=fresh())
    assert gap(dict(merged.weights("task1")), problem.pretrained) == 0


@pytest.mark.parametrize(("key", "options"), STATIC)
def test_a_zero_expert_takes_a_share_of_the_rank_and_nothing_else(key, options):
    """A zero expert's singular vectors are arbitrary; they must not disturb the others' in TSV-M and Iso-CTS."""
    problem = problem_of(3)
    with_zero = changed(problem, lambda t, n, tau: tau * (t > 0))
    if key == "tsv_m":
        D = [vectors(with_zero, t)[Q].double() for t in range(3)]
        assert gap(run(with_zero, key), {Q: naive.tsv_m(D)}, [Q]) < 1e-5
    if key == "iso_cts":
        D = [vectors(with_zero, t)[FC1].double() for t in range(3)]
        assert gap(run(with_zero, key, **options), {FC1: naive.iso_cts(D, 0.5)}, [FC1]) < 1e-5


@pytest.mark.parametrize("post", [(), ("svc",), ("subspace_boosting",), ("lines",)])
@pytest.mark.parametrize(("key", "options"), STATIC)
def test_shifting_every_model_shifts_the_result(key, options, post):
    problem = problem_of(3)
    shift = {n: torch.full_like(w, 0.25) for n, w in problem.pretrained.items()}
    moved = Problem(
        {n: w + shift[n] for n, w in problem.pretrained.items()},
        {t: {n: e[n] + shift[n] for n in e} for t, e in problem.experts.items()},
        problem.architecture,
    )
    assert gap(run(moved, key, post, **options), run(problem, key, post, **options)) < 1e-5


@pytest.mark.parametrize("post", [(), ("svc",), ("subspace_boosting",), ("lines",)])
@pytest.mark.parametrize(("key", "options"), [s for s in STATIC if s != ("wudi", {"steps": 5})])
def test_doubling_the_task_vectors_doubles_the_result(key, options, post):
    problem = problem_of(3)
    twice = changed(problem, lambda t, n, tau: 2 * tau)
    once = run(problem, key, post, **options)
    assert gap(run(twice, key, post, **options), scaled(once, 2)) < 1e-5


def test_the_path_of_wudi_is_not_homogeneous():
    problem = problem_of(3)
    twice = changed(problem, lambda t, n, tau: 2 * tau)
    options = {"steps": 20, "learning_rate": 1e-3}
    assert gap(run(twice, "wudi", **options), scaled(run(problem, "wudi", **options), 2), MATRICES) > 1e-3


# B6: rotation -----------------------------------------------------------------------------------------------------


def rotated(left: bool = True, right: bool = True) -> tuple[Problem, Problem, dict]:
    """Return a problem, the same with every D replaced by L D R, and (L, R) by name."""
    draw = torch.Generator().manual_seed(5)
    experts = [{n: torch.randn(SHAPES[n], generator=draw) for n in MATRICES} for _ in range(4)]
    turns = {}
    for n in MATRICES:
        L, R = (torch.linalg.qr(torch.randn(k, k, generator=draw, dtype=torch.float64))[0] for k in SHAPES[n])
        turns[n] = (L if left else torch.eye(len(L)).double(), R if right else torch.eye(len(R)).double())
    turned = [{n: (turns[n][0] @ e[n].double() @ turns[n][1]).float() for n in MATRICES} for e in experts]
    return of_vectors(experts), of_vectors(turned), turns


def commutes(key: str, options: dict, post: tuple[str, ...] = (), *, left=True, right=True) -> float:
    plain, turned, turns = rotated(left, right)
    wanted = run(plain, key, post, **options)
    wanted = {n: (turns[n][0] @ v.double() @ turns[n][1]).float() for n, v in wanted.items()}
    return gap(run(turned, key, post, **options), wanted)


@pytest.mark.parametrize(
    ("key", "options", "post"),
    [
        ("tsv_m", {}, ()),
        ("iso_c", {}, ()),
        ("iso_cts", {"fraction": 0.5}, ()),
        ("cart", {"rank": 0.4}, ()),
        ("cart", {"rank": 0.7, "rank_rule": "energy"}, ()),
        (*WUDI_END, ()),
        ("knots", {"rule": "sum"}, ()),
        ("task_arithmetic", {}, ("svc",)),
        ("task_arithmetic", {}, ("subspace_boosting",)),
    ],
)
def test_rotations_commute_with_spectral_methods(key, options, post):
    assert commutes(key, options, post) < 2e-4


@pytest.mark.parametrize(
    ("key", "options"), [("wudi", {"steps": 20, "learning_rate": 0.01}), ("knots", {}), ("ties", {})]
)
def test_rotations_do_not_commute_with_entrywise_methods(key, options):
    assert commutes(key, options) > 1e-3


def test_knots_commutes_with_rotations_of_the_output_only():
    assert commutes("knots", {}, right=False) < 1e-4
    assert commutes("knots", {}, left=False) > 0.1


def test_the_loss_of_wudi_does_not_see_rotations():
    plain, turned, turns = rotated()
    D = [torch.stack([e[Q] for e in p.experts.values()]).double() for p in (plain, turned)]
    for M in (D[0][1], D[0].sum(0)):
        turned_M = turns[Q][0] @ M @ turns[Q][1]
        losses = [
            float(((X @ A - 2 * B) * X).sum()) + c
            for X, (A, B, c) in ((M, drive(quadratic(D[0]))), (turned_M, drive(quadratic(D[1]))))
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# TSV-M, Iso-C, Iso-CTS --------------------------------------------------------------------------------------------


def orthogonal_tasks(tasks: int, k: int, m: int, n: int) -> list[torch.Tensor]:
    """Return task matrices of rank k with mutually orthogonal row and column spaces."""
    draw = torch.Generator().manual_seed(2)
    left = torch.linalg.qr(torch.randn(m, m, generator=draw, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64))[0]
    matrices = []
    for t in range(tasks):
        own = slice(t * k, (t + 1) * k)
        s = torch.diag(1 + torch.rand(k, generator=draw, dtype=torch.float64))
        matrices.append((left[:, own] @ s @ right[own]).float())
    return matrices


def test_tsv_m_sums_orthogonal_tasks():
    D = orthogonal_tasks(3, 2, 8, 7)
    found = run(of_vectors([{Q: d} for d in D]), "tsv_m")
    assert gap(found, {Q: sum(D)}) < 1e-5


def test_orthogonalised_factors_do_not_interfere():
    problem = problem_of(3)
    D = [vectors(problem, t)[FC1] for t in range(3)]
    parts = [decompose(d).top(2) for d in D]
    factors, deficient = spectral.orthogonalised(parts)

    def interference(U, s, Vh):
        eye = torch.eye(len(s))
        return float(((U.T @ U - eye) @ torch.diag(s) @ (Vh @ Vh.T - eye)).abs().sum() / s.sum())

    assert not deficient
    assert interference(*factors) < 1e-10 < 1e-2 < interference(*spectral.joined(parts))


@pytest.mark.parametrize(("key", "options"), [("iso_c", {}), ("iso_cts", {"fraction": 0.5})])
def test_isotropic_spectra_are_flat(key, options):
    found = run(problem_of(3), key, **options)
    for n in MATRICES:
        s = singular_values(found[n])
        assert (s.max() - s.min()) / s.mean() < 1e-5


def test_the_level_of_iso_c_is_the_mean_singular_value():
    problem = problem_of(3)
    found = run(problem, "iso_c")
    for n in MATRICES:
        total = sum(vectors(problem, t)[n] for t in range(3)).double()
        level = singular_values(found[n]).mean()
        assert level == pytest.approx(float(torch.linalg.svdvals(total).mean()), rel=1e-6)
        assert level == pytest.approx(float((naive.polar(total) * total).sum() / min(total.shape)), rel=1e-5)


def test_iso_cts_without_task_space_is_iso_c():
    problem = problem_of(3)
    assert gap(run(problem, "iso_cts", fraction=1), run(problem, "iso_c")) < 1e-5
    assert gap(run(problem, "iso_cts", fraction=0.5), run(problem, "iso_c"), [Q]) > 0.05


@pytest.mark.parametrize(
    ("tasks", "rank", "same"), [(20, 50, True), (19, 50, False), (2, 5, True), (2, 4, False)]
)
def test_iso_cts_rounds_halves_to_even(tasks, rank, same):
    """r = 50, T = 20: 10/20 rounds to 0; 10/19 to 1. r = 5, T = 2: 1/2 to 0. r = 4 at fraction .5: 2/2 = 1."""
    draw = torch.Generator().manual_seed(0)
    problem = of_vectors([{Q: torch.randn(rank, rank + 1, generator=draw)} for _ in range(tasks)])
    fraction = 0.5 if rank == 4 else 0.8
    distance = gap(run(problem, "iso_cts", fraction=fraction), run(problem, "iso_c"))
    assert (distance < 1e-5) == same


@pytest.mark.parametrize("shape", [(8, 8), (12, 6), (6, 13)])
@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_experts_against_the_naive_versions(shape, rank):
    """Adapters: most singular vectors are arbitrary, and none of them may reach the result."""
    draw = torch.Generator().manual_seed(7)
    m, n = shape
    pairs = [(torch.randn(m, rank, generator=draw), torch.randn(rank, n, generator=draw)) for _ in range(3)]
    problem = of_vectors([{Q: a @ b} for a, b in pairs])
    D = [vectors(problem, t)[Q].double() for t in range(3)]
    assert gap(run(problem, "tsv_m"), {Q: naive.tsv_m(D)}) < 1e-5
    assert gap(run(problem, "iso_c"), {Q: naive.iso_c(D)}) < 1e-5
    for fraction in (0.0, 0.5, 0.8):
        assert gap(run(problem, "iso_cts", fraction=fraction), {Q: naive.iso_cts(D, fraction)}) < 1e-5
    summed = merge(
        problem, build("task_arithmetic", scaling=1), (build("subspace_boosting", beta=0.5),), fresh()
    )
    assert gap({Q: summed.task_vector(Q)}, {Q: naive.subspace_boosting(sum(D), 0.5)}) < 1e-5


# CART -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", [0.0, 1.0, 3.0])
def test_cart_ends_at_the_average(scaling):
    problem = problem_of(4)
    average = run(problem, "task_arithmetic", scaling=0.25)
    for rank in (0.0, 1.0):
        assert gap(run(problem, "cart", rank=rank, scaling=scaling), average) < 2e-5
    inside = gap(run(problem, "cart", rank=0.5, scaling=scaling), average, MATRICES)
    assert (inside > 0.1) == (scaling > 0)


@pytest.mark.parametrize("rank", [0.1, 0.5, 0.9])
def test_cart_of_two_is_the_average(rank):
    problem = problem_of(2)
    assert gap(run(problem, "cart", rank=rank), run(problem, "task_arithmetic", scaling=0.5)) < 2e-5
    assert any("equals the weight average" in n for n in merge(problem, build("cart"), ctx=fresh()).notes)
    assert not merge(problem_of(3), build("cart"), ctx=fresh()).notes


def test_cart_around_the_pretrained_model_is_task_arithmetic_at_full_rank():
    problem = problem_of(3)
    found = run(problem, "cart", centre="pretrained", rank=1, scaling=1)
    assert gap(found, run(problem, "task_arithmetic", scaling=1)) < 1e-5
    assert not build("cart", centre="pretrained").remarks(problem.tasks[:2])


def test_centred_task_vectors_add_up_to_zero():
    stack = torch.stack([vectors(problem_of(5), t)[Q] for t in range(5)])
    apart, mean = spectral.centred(stack)
    assert apart.sum(0).abs().max() < 1e-6
    assert torch.equal(mean, stack.mean(0))


def test_cart_keeps_at_least_one_component():
    problem = problem_of(4)
    low, one = run(problem, "cart", rank=0.01), run(problem, "cart", rank=1 / 6 + 1e-9)
    assert gap(low, one, [FC1, FC2]) == 0
    assert gap(low, run(problem, "task_arithmetic", scaling=0.25), [FC1]) > 0.1


# KnOTS, WUDI ------------------------------------------------------------------------------------------------------


def test_knots_with_a_sum_is_task_arithmetic():
    problem = problem_of(4)
    found = run(problem, "knots", rule="sum", others="sum", scaling=0.3)
    assert gap(found, run(problem, "task_arithmetic", scaling=0.3)) < 1e-5


def test_knots_scopes_differ_and_dare_depends_on_the_seed_only():
    problem = problem_of(4)
    assert gap(run(problem, "knots"), run(problem, "knots", scope="tensor")) > 0.01
    runs = [
        merge(
            problem, build("knots", rule="dare", drop=0.5), ctx=Context(svd=SvdStore(None), seed=seed)
        ).task_vector(Q)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("options", [{"steps": 0}, {"solution": "closed-form", "ridge": 1.0}])
def test_the_path_of_wudi_starts_at_task_arithmetic(options):
    problem = problem_of(3)
    start = run(problem, "task_arithmetic", scaling=1)
    distance = gap(run(problem, "wudi", **options), start, MATRICES)
    assert (distance == 0) == ("steps" in options)


def test_the_gradient_of_wudi():
    stack = torch.stack([vectors(problem_of(3), t)[FC1] for t in range(3)]).double()
    A, B, constant = drive(quadratic(stack))
    M = torch.randn(12, 6, dtype=torch.float64, requires_grad=True)
    loss = naive.wudi_loss(M, list(stack))
    (gradient,) = torch.autograd.grad(loss, M)
    assert torch.allclose(2 * (M @ A - B), gradient, rtol=1e-10, atol=1e-12)
    assert float(((M @ A - 2 * B) * M).sum().detach()) + constant == pytest.approx(
        float(loss.detach()), rel=1e-10
    )


def test_the_closed_form_of_wudi_has_no_gradient_and_the_path_descends_to_it():
    problem = problem_of(4)
    D = [vectors(problem, t)[FC1].double() for t in range(4)]
    end = run(problem, "wudi", solution="closed-form", ridge=1e-9)[FC1].double()
    A, B, _ = drive(quadratic(torch.stack(D)))
    assert (end @ A - B).norm() < 1e-5 * B.norm()
    losses = [
        float(naive.wudi_loss(run(problem, "wudi", steps=s, learning_rate=1e-3)[FC1].double(), D))
        for s in (0, 10, 50, 400)
    ]
    assert losses[0] > losses[1] > losses[2] > losses[3] > float(naive.wudi_loss(end, D))


def test_the_quick_preset_of_wudi_ends_near_the_published_point_and_the_closed_form_does_not():
    problem = grid_problem(4, shapes=SHAPES, size=0.01)
    start, published = run(problem, "wudi", steps=0), run(problem, "wudi")
    for name, near in (("quick", True), ("closed-form", False)):
        found = run(problem, "wudi", **method_class("wudi").preset(name))
        for n in MATRICES:
            share = (found[n] - published[n]).norm() / (published[n] - start[n]).norm()
            assert (share < 0.1) if near else (share > 0.5)


def test_the_losses_of_wudi_are_shown():
    steps = []
    drive(merge_steps(problem_of(3), build("wudi", steps=30, learning_rate=1e-3), ctx=fresh()), steps.append)
    shown = list(steps[-1].metrics.items())
    assert [name for name, _ in shown] == [f"loss at step {i}" for i in range(0, 31, 3)]
    assert all(a > b for (_, a), (_, b) in itertools.pairwise(shown))
    assert shown[0][1] == max(s.metrics.get("loss at step 0", 0) for s in steps)


# RegMean, Fisher --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class GivenInputs(SmallInputs):
    """Layer inputs by a rule of the expert's weights instead of a forward pass."""

    rule: object = None

    def linear_inputs(self, weights, inputs):
        return {n: self.rule(weights, n) for n in (Q, "blocks.1.fc1.weight")}


def given_problem(rule, tasks: int = 3) -> Problem:
    return net_problem(tasks, GivenInputs(rule=rule))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_regmean_with_equal_inputs_is_the_average():
    problem = given_problem(lambda weights, n: noise(20, 4))
    assert gap(run(problem, "regmean"), run(problem, "task_arithmetic", scaling=1 / 3)) < 1e-4


def test_regmean_without_correlations_weighs_columns():
    problem = given_problem(lambda weights, n: noise(20, 4, seed=int(1e4 * weights[n].sum())))
    found = run(problem, "regmean", off_diagonal=0.0)
    over, under = 0.0, 0.0
    for t, expert in enumerate(problem.experts.values()):
        energy = problem.inputs.linear_inputs(expert, None)[Q].double().square().mean(0)
        over, under = over + vectors(problem, t)[Q] * energy, under + energy
    assert gap(found, {Q: over / under}, [Q]) < 1e-4


def test_regmean_is_the_least_squares_solution():
    problem = given_problem(lambda weights, n: noise(20, 4, seed=int(1e4 * weights[n].sum())))
    merged = run(problem, "regmean", off_diagonal=1.0, ridge=1e-8)[Q].double()
    rest, size = 0.0, 0.0
    for t, expert in enumerate(problem.experts.values()):
        x = problem.inputs.linear_inputs(expert, None)[Q].double()
        pull = (merged - vectors(problem, t)[Q]) @ (x.T @ x) / len(x)
        rest, size = rest + pull, size + pull.norm()
    assert rest.norm() < 1e-5 * size


def test_regmean_on_task_matrices_is_the_end_of_wudi():
    base = net_problem(3).pretrained

    def rule(weights, n):
        D = weights[n] - base[n]
        return D * len(D) ** 0.5 / D.norm()

    problem = given_problem(rule)
    found = run(problem, "regmean", off_diagonal=1.0, ridge=1e-7)
    end = run(problem, "wudi", solution="closed-form", ridge=1e-7)
    assert gap(found, end, [Q, "blocks.1.fc1.weight"]) < 2e-3


@dataclasses.dataclass(frozen=True)
class UnequalInputs(SmallInputs):
    """One task has every input three times."""

    def support(self, task, count):
        chosen = super().support(task, count)
        return chosen.repeat(3, 1, 1) if task == "task1" else chosen


@pytest.mark.parametrize(("key", "options"), WITH_INPUTS)
def test_a_task_with_more_inputs_weighs_no_more(key, options):
    more = net_problem(3, UnequalInputs())
    assert gap(run(more, key, **options), run(net_problem(3), key, **options)) < 1e-4


def test_regmean_keeps_the_pretrained_weights_where_no_input_goes():
    dead = torch.tensor([1.0, 1.0, 0.0, 1.0])
    problem = given_problem(lambda weights, n: noise(20, 4, seed=int(1e4 * weights[n].sum())) * dead)
    found = run(problem, "regmean", off_diagonal=1.0)[Q]
    assert found[:, 2].abs().max() < 1e-6 < 0.05 < found[:, 1].abs().max()


def test_regmean_with_fewer_rows_than_columns_and_with_silent_inputs():
    few = given_problem(lambda weights, n: noise(2, 4, seed=int(1e4 * weights[n].sum())))
    assert all(torch.isfinite(v).all() for v in run(few, "regmean", off_diagonal=1.0).values())
    silent = given_problem(lambda weights, n: torch.zeros(20, 4))
    assert not run(silent, "regmean")[Q].any()


def test_solve_raises_a_ridge_that_is_too_small_and_refuses_nan():
    gram = torch.diag(torch.tensor([1.0, 1.0, -2e-6]))
    assert torch.isfinite(solve(torch.ones(2, 3), gram, 1e-6, "w")).all()
    with pytest.raises(DataError, match="w are not finite"):
        solve(torch.ones(2, 3), gram * torch.nan, 1e-6, "w")


def test_layers_with_one_input_share_one_gram():
    problem, states = net_problem(2), []
    method = build("regmean", examples=40)
    state = drive(method.prepare(problem.groups(), problem, fresh()), states.append)
    assert {state.source[f"blocks.0.{k}.weight"] for k in "qkv"} == {"blocks.0.q.weight"}
    assert len(state.grams) == 4 == len(state.weighted) - 2
    assert list(dict.fromkeys(s.done for s in states)) == list(range(5))
    assert {s.total for s in states} == {4}


@pytest.mark.parametrize("key", ["regmean", "fisher"])
def test_inputs_are_needed(key):
    assert "support" in method_class(key).needs
    with pytest.raises(DataError, match="needs unlabelled inputs"):
        merge(problem_of(2), build(key), ctx=fresh())


@pytest.mark.parametrize("p", [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.25] * 4, [1 - 1e-9, 1e-9]])
def test_roots_of_the_fisher_information_of_a_softmax(p):
    p = torch.tensor(p, dtype=torch.float64)
    wanted = p.diag() - p.outer(p)
    roots = fisher_roots(p, 0.0)
    assert torch.allclose(roots @ roots.T, wanted, atol=1e-15)
    assert roots.shape[1] < len(p) or not wanted.any()
    rough = fisher_roots(p, 0.45)
    assert (wanted - rough @ rough.T).trace() <= 0.45 * wanted.trace() + 1e-15
    assert rough.shape[1] <= roots.shape[1]


def test_fisher_merging_lies_between_the_experts():
    problem = net_problem(3)
    for options in ({}, {"estimator": "batch-summed"}):
        found = run(problem, "fisher", examples=4, **options)
        for n in NET_SHAPES:
            stack = torch.stack([vectors(problem, t)[n] for t in range(3)])
            assert (found[n] <= stack.max(0).values + 1e-5).all()
            assert (found[n] >= stack.min(0).values - 1e-5).all()
        assert gap(found, run(problem, "task_arithmetic", scaling=1 / 3), ["blocks.0.q.weight"]) > 0.05


# Post-steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", [0.3, 1.0, 2.0])
def test_svc_of_one_expert_is_that_expert_at_any_scaling(scaling):
    problem = problem_of(1)
    found = run(problem, "task_arithmetic", ("svc",), scaling=scaling)
    assert gap(found, vectors(problem), (*MATRICES, "embed.weight")) < 1e-5


@pytest.mark.parametrize("floor", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("tasks", [2, 4])
def test_svc_of_orthogonal_tasks(tasks, floor):
    D = orthogonal_tasks(tasks, 2, 8, 9)
    problem = of_vectors([{Q: d} for d in D])
    method = build("task_arithmetic", scaling=1)
    found = merge(problem, method, (build("svc", floor=floor),), fresh()).task_vector(Q)
    assert gap({Q: found}, {Q: tasks / (1 + (tasks - 1) * floor) * sum(D)}) < 1e-5


def test_lines_without_slope_on_task_arithmetic_is_the_average():
    problem = problem_of(4)
    post = (build("lines", beta=0),)
    for scaling in (0.3, 1.0):
        found = merge(problem, build("task_arithmetic", scaling=scaling), post, fresh())
        average = run(problem, "task_arithmetic", scaling=0.25)
        assert gap({n: found.task_vector(n) for n in SHAPES}, average) < 1e-5
    given_alpha = (build("lines", beta=0, alpha_rule="given", alpha=0.7),)
    found = merge(problem, build("task_arithmetic", scaling=1), given_alpha, fresh())
    assert gap({n: found.task_vector(n) for n in SHAPES}, run(problem, "task_arithmetic", scaling=0.7)) < 1e-6


def test_lines_rises_with_depth():
    problem = problem_of(2)
    post = (build("lines", beta=0.6, alpha_rule="given", alpha=0.2),)
    found = merge(problem, build("task_arithmetic", scaling=1), post, fresh())
    for n, wanted in ((Q, 0.2), (FC2, 0.8), ("embed.weight", 0.2)):
        total = sum(vectors(problem, t)[n] for t in range(2))
        assert gap({n: found.task_vector(n)}, {n: wanted * total}) < 1e-6


def test_boosting_at_zero_is_flat_and_at_one_changes_nothing():
    problem = problem_of(3)
    before = run(problem, "task_arithmetic", scaling=1)
    for beta in (0.0, 1.0):
        post = (build("subspace_boosting", beta=beta),)
        found = merge(problem, build("task_arithmetic", scaling=1), post, fresh())
        for n in MATRICES:
            s, old = singular_values(found.task_vector(n)), singular_values(before[n])
            assert torch.allclose(s, old[0].expand_as(s) if beta == 0 else old, rtol=1e-5, atol=1e-6)
        assert torch.equal(found.task_vector("embed.weight"), before["embed.weight"])


@pytest.mark.parametrize("post", POST)
def test_post_steps_refuse_a_store(post):
    with pytest.raises(RecipeError, match="one part per expert"):
        merge(problem_of(2), build("tsv_c"), (build(post),), fresh())


# Sliders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "first", "then", "post", "count"),
    [
        ("tsv_m", {}, {"scaling": 0.5}, (), 9),
        ("tsv_m", {}, {"weights": (1, 2, 0.5)}, (), 9),
        ("cart", {"rank": 0.5}, {"rank": 0.2, "scaling": 3}, (), 9),
        ("iso_c", {}, {"scaling": 0.5}, (), 3),
        ("iso_cts", {}, {"fraction": 0.5}, (), 3),
        ("knots", {}, {"density": 0.5, "rule": "dare"}, (), 3),
        ("task_arithmetic", {}, {"scaling": 0.5}, ("svc",), 4),
        ("task_arithmetic", {}, {"scaling": 0.5}, ("subspace_boosting",), 3),
    ],
)
def test_sliders_decompose_nothing_again(key, first, then, post, count):
    problem, store = problem_of(3), SvdStore(folder=None)
    steps = tuple(build(p) for p in post)
    merge(problem, build(key, **first), steps, Context(svd=store))
    assert store.computed == count
    merge(problem, build(key, **(first | then)), steps, Context(svd=store))
    assert store.computed == count


def test_methods_share_the_experts_factors():
    problem, store = problem_of(3), SvdStore(folder=None)
    for key in ("tsv_m", "tsv_c"):
        merge(problem, build(key), ctx=Context(svd=store))
    for key in ("iso_c", "iso_cts"):
        merge(problem, build(key), ctx=Context(svd=store))
    assert store.computed == 9 + 3


# Robustness -------------------------------------------------------------------------------------------------------

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 9), n=st.integers(1, 9), tasks=st.integers(1, 20), dtype=st.sampled_from(DTYPES),
    rank=st.integers(0, 4), data=st.data(),
)  # fmt: skip
def test_any_shape_dtype_and_number_of_experts(m, n, tasks, dtype, rank, data):
    key, options = data.draw(st.sampled_from([*STATIC, ("tsv_c", {})]))
    post = () if key == "tsv_c" else data.draw(st.sampled_from([(), *((p,) for p in POST)]))
    draw = torch.Generator().manual_seed(m + 10 * n + 100 * tasks)
    shapes = {Q: (m, n), "embed.weight": (n, m), "norm.weight": (n,)}
    base = {k: torch.randn(s, generator=draw).to(dtype) for k, s in shapes.items()}
    experts = {}
    for t in range(tasks):
        low = 0.1 * torch.randn(m, rank, generator=draw) @ torch.randn(rank, n, generator=draw)
        experts[f"task{t}"] = {k: v + (low.to(dtype) if k == Q else 0) for k, v in base.items()}
    base[Q] = base[Q].T.contiguous().T  # same numbers, not contiguous
    kept = {t: {k: v.clone() for k, v in e.items()} for t, e in {**experts, "": base}.items()}
    problem = Problem(base, experts, SmallTransformer())
    method = build(key, **options)
    if "embeddings" in method.parameters():
        treated = {"wudi": "optimised"}.get(key, "spectral")
        method = method.replace(embeddings=treated)
    merged = merge(problem, method, tuple(build(p) for p in post), fresh())
    served = merged.weights("task0")
    for k in shapes:
        assert served[k].shape == shapes[k]
        assert served[k].dtype == torch.float32
        assert torch.isfinite(served[k]).all()
    for t, model in {**experts, "": base}.items():
        assert all(torch.equal(model[k], kept[t][k]) for k in shapes)


@settings(max_examples=25, deadline=None)
@given(m=st.integers(2, 8), n=st.integers(2, 8), tasks=st.integers(1, 12), fraction=st.floats(0, 1))
def test_any_shape_against_the_naive_versions(m, n, tasks, fraction):
    problem = grid_problem(tasks, shapes={Q: (m, n)}, seed=m * n + tasks)
    D = [vectors(problem, t)[Q].double() for t in range(tasks)]
    assert gap(run(problem, "tsv_m"), {Q: naive.tsv_m(D)}) < 2e-3
    assert gap(run(problem, "iso_c"), {Q: naive.iso_c(D)}) < 2e-3
    assert gap(run(problem, "iso_cts", fraction=fraction), {Q: naive.iso_cts(D, fraction)}) < 2e-3


def test_more_experts_than_rank_fall_back_to_the_mean():
    problem = grid_problem(7, shapes={Q: (6, 9), "embed.weight": (5, 6)})
    found = run(problem, "tsv_m", embeddings="spectral")
    assert gap(found, run(problem, "task_arithmetic", scaling=1 / 7)) < 1e-6
    stored = merge(problem, build("tsv_c", embeddings="spectral"), ctx=fresh())
    assert gap(dict(stored.weights("task3")), problem.experts["task3"]) == 0


@pytest.mark.parametrize("key", ["tsv_m", "regmean", "fisher"])
def test_nan_in_an_expert_is_refused(key):
    problem = net_problem(2)
    problem.experts["task1"]["blocks.0.q.weight"][0, 0] = torch.nan
    with pytest.raises((WeightsError, DataError), match=r"task1|finite"):
        merge(problem, build(key, **({} if key == "tsv_m" else {"examples": 4})), ctx=fresh())
