"""What every measurement must satisfy exactly, and what it shows on random data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SmallTransformer, fresh, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from merge_engine.merged import StaticMerged
from merge_engine.methods import build as build_method
from merge_engine.metrics import accuracy as accuracy_module
from merge_engine.metrics import build, measure
from merge_engine.metrics.cka import linear_cka
from merge_engine.metrics.sti import deviation, whitened
from merge_engine.problem import Problem
from merge_engine.running import merge

NAME = "blocks.0.fc1.weight"


def problem_of(*matrices: torch.Tensor, base: torch.Tensor | None = None) -> Problem:
    """One matrix; the task vectors are exact because the pretrained one is zero unless given."""
    base = torch.zeros_like(matrices[0]) if base is None else base
    return Problem({NAME: base}, {f"task{t}": {NAME: base + D} for t, D in enumerate(matrices)}, SmallTransformer())


def take(key: str, *matrices: torch.Tensor, merged: torch.Tensor | None = None, base=None, **options):
    """Measure a problem of one matrix; rows are all alike, so tests read row 0."""
    problem = problem_of(*matrices, base=base)
    static = None if merged is None else StaticMerged(problem.pretrained, {NAME: merged}, {})
    return measure(key, problem, fresh(), merged=static, **options)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gaussians(count: int, *shape: int, seed: int = 0) -> list[torch.Tensor]:
    return [gaussian(*shape, seed=1000 * seed + t) for t in range(count)]


def rotation(n: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(gaussian(n, n, seed=seed).double())[0].float()


def stacked(count: int, k: int, m: int, n: int, *, left: bool = True, right: bool = True, seed: int = 0):
    """Matrices of rank k whose left and right singular vectors are orthonormal across experts, or not."""
    U = rotation(m, seed + 1)[:, : count * k].split(k, 1)
    V = rotation(n, seed + 2)[:, : count * k].split(k, 1)
    s = torch.linspace(2, 1, k)
    U = U if left else [torch.linalg.qr(gaussian(m, k, seed=seed + 10 + t))[0] for t in range(count)]
    V = V if right else [torch.linalg.qr(gaussian(n, k, seed=seed + 50 + t))[0] for t in range(count)]
    return [(u * s) @ v.T for u, v in zip(U, V, strict=True)]


def close(found, expected, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# norms and spectra


@pytest.mark.parametrize(("m", "n"), [(8, 8), (20, 6), (6, 20)])
def test_flat_spectrum_has_rank_r_and_rank_one_has_one(m, n):
    r = min(m, n)
    flat = 3 * rotation(max(m, n))[:m, :n]
    line = gaussian(m, 1) @ gaussian(1, n, seed=1)
    found = take("norms", flat, line)
    for name in ("stable_rank", "effective_rank", "effective_rank_energy"):
        close(getattr(found, name)[0], [r, 1], 1e-4)
    close(found.flatness[0], [1, 1 / r], 1e-4)
    ranks = take("spectrum", flat, line)
    close(ranks.rank[0], [np.ceil(0.95 * r), 1])
    close(ranks.rank_linear[0], [np.ceil(0.95 * r), 1])


def test_energy_ends_at_one_and_never_falls():
    found = take("spectrum", gaussian(9, 5), gaussian(9, 5, seed=1))
    close(found.energy[0, :, -1], 1, 1e-12)
    close(found.energy_linear[0, :, -1], 1, 1e-12)
    assert (np.diff(found.energy, axis=-1) > 0).all()
    assert (found.energy > found.energy_linear)[..., :-1].all(), "squares rise faster"
    assert (np.diff(found.singular_values, axis=-1) < 0).all()


@pytest.mark.parametrize("shape", [(10, 10), (12, 7)])
def test_iso_c_output_is_flat(shape):
    problem = problem_of(*gaussians(3, *shape))
    merged = merge(problem, build_method("iso_c"), (), fresh())
    found = measure("norms", problem, fresh(), merged=merged)
    assert found.models[-1] == "merged"
    close(found.effective_rank[0, -1], min(shape), 1e-4)
    assert (found.effective_rank[0, :-1] < min(shape) - 0.1).all()


def test_doubling_all_task_vectors_doubles_only_lengths():
    matrices = gaussians(3, 9, 6)
    once, twice = (take("norms", *(c * D for D in matrices), base=gaussian(9, 6, seed=9)) for c in (1, 2))
    for name in ("length", "relative", "rms"):
        close(getattr(twice, name), 2 * getattr(once, name))
    for name in ("stable_rank", "effective_rank", "effective_rank_energy", "flatness"):
        close(getattr(twice, name), getattr(once, name), 1e-4)


# entries


def test_cancellation_of_identical_orthogonal_and_opposite_task_vectors():
    D = gaussian(6, 5)
    close(take("cancellation", D, D, D).ratio[0], 3)
    close(take("cancellation", D, -D).ratio[0], 0, 1e-12)
    close(take("cancellation", D).ratio[0], 1)
    close(take("cancellation", *stacked(3, 2, 9, 8)).ratio[0], 1)


def test_cosine_is_signed_and_bounded():
    D = gaussian(6, 5)
    close(take("cosine", D, -2 * D, 0.5 * D).cosine[0], [[1, -1, 1], [-1, 1, -1], [1, -1, 1]], 1e-12)


def test_sign_conflict_of_identical_and_opposite_task_vectors():
    D = gaussian(6, 5)
    same, against, alone = take("sign_conflict", D, D, D), take("sign_conflict", D, -D), take("sign_conflict", D)
    assert (same.conflict[0], same.agreement[0, 0, 1], same.strength[0]) == (0, 1, 1)
    assert (against.conflict[0], against.agreement[0, 0, 1], against.strength[0]) == (1, 0, 0)
    assert same.histogram[0, -1] == 1
    assert against.histogram[0, 0] == 1
    assert np.isnan(alone.conflict[0])
    assert np.isnan(alone.chance[0])
    assert alone.strength[0] == 1


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_random_signs_show_their_reference(tasks):
    found = take("sign_conflict", *gaussians(tasks, 120, 100))
    close(found.chance[0], 1 - 2.0 ** (1 - tasks), 1e-12)
    close(found.conflict[0], found.chance[0], 0.02)
    close(found.strength[0], found.strength_chance[0], 0.02)
    off = ~np.eye(tasks, dtype=bool)
    close(found.agreement[0][off], 0.5, 0.03)
    close(found.agreement_chance[0], 0.5, 1e-12)


def test_trimming_leaves_fewer_moved_experts_per_entry():
    whole, trimmed = (take("sign_conflict", *gaussians(8, 40, 40), density=d) for d in (1.0, 0.2))
    assert trimmed.chance[0] < whole.chance[0] - 0.2
    close(trimmed.conflict[0], trimmed.chance[0], 0.1)


def test_random_cosines_have_their_spread():
    found = take("cosine", *gaussians(20, 60, 50))
    close(found.chance[0], 3000**-0.5, 1e-12)
    spread = found.cosine[0][np.triu_indices(20, 1)].std()
    close(spread, found.chance[0], 0.15 * found.chance[0])


@pytest.mark.parametrize("threshold", [0.0, 0.4, 5.0])
def test_mask_of_a_single_expert_keeps_what_moved(threshold):
    D = torch.where(gaussian(8, 8) > 0, gaussian(8, 8, seed=1), 0.0)
    found = take("mask_counts", D, threshold=threshold)
    moved = float((D != 0).float().mean())
    close(found.density[0], [moved])
    close(found.histogram[0], [1 - moved, moved])


def test_mask_counts_add_up_and_reach_both_ends():
    matrices = gaussians(4, 9, 9)
    found = take("mask_counts", *matrices)
    close(found.histogram.sum(1), 1, 1e-12)
    close(found.catastrophic + found.selfish + found.general, 1, 1e-12)
    close((found.histogram[0] * np.arange(5)).sum(), found.density[0].sum(), 1e-12)
    assert take("mask_counts", *matrices, threshold=0).general[0] == 1
    close(np.diagonal(found.overlap[0]), 1, 1e-12)


# subspaces


def test_identical_and_orthogonal_subspaces():
    found = take("subspace", *stacked(2, 3, 10, 12), components=3)
    for side in ("left", "right"):
        close(getattr(found, f"overlap_{side}")[0], np.eye(2), 1e-10)
        close(getattr(found, f"angles_{side}")[0, 0, 1], np.full(3, np.pi / 2), 1e-6)
        close(getattr(found, f"grassmann_{side}")[0], (1 - np.eye(2)) * np.sqrt(3) * np.pi / 2, 1e-6)
        close(getattr(found, f"projection_{side}")[0], (1 - np.eye(2)) * np.sqrt(3), 1e-6)
    same = take("subspace", gaussian(9, 7), 2 * gaussian(9, 7))
    close(same.overlap_left[0], 1, 1e-10)
    close(same.angles_right[0], 0, 1e-6)


@pytest.mark.parametrize("components", [1, 3, 6])
def test_projection_distance_follows_from_overlap(components):
    found = take("subspace", *gaussians(3, 10, 8), components=components)
    for side in ("left", "right"):
        overlap = getattr(found, f"overlap_{side}")
        from_overlap = np.sqrt(np.maximum(components * (1 - overlap), 0))
        close(getattr(found, f"projection_{side}"), from_overlap, 1e-6)
        angles = getattr(found, f"angles_{side}")
        close((np.cos(angles) ** 2).sum(-1) / components, overlap, 1e-10)
        close(np.sqrt((angles**2).sum(-1)), getattr(found, f"grassmann_{side}"), 1e-10)
        assert (getattr(found, f"histogram_{side}").sum(-1) == components).all()


@pytest.mark.parametrize(("m", "n", "k"), [(40, 30, 5), (30, 60, 10)])
def test_random_subspaces_overlap_as_chance_says(m, n, k):
    found = take("subspace", *gaussians(12, m, n), components=k)
    off = ~np.eye(12, dtype=bool)
    close(found.chance_left[0][off], k / m, 1e-12)
    close(found.chance_right[0][off], k / n, 1e-12)
    close(found.overlap_left[0][off].mean(), k / m, 0.03)
    close(found.overlap_right[0][off].mean(), k / n, 0.03)


def test_rank_rules_follow_each_expert():
    narrow, wide = stacked(1, 2, 20, 20)[0], rotation(20)
    for rule in ("energy", "effective_rank"):
        found = take("subspace", narrow, wide, rule=rule)
        close(found.components[0], [2, 19 if rule == "energy" else 20])
        close(found.chance_left[0, 0, 1], max(found.components[0]) / 20)


def test_joint_overlap_adds_up_to_the_inner_product():
    matrices = gaussians(3, 9, 7)
    found = take("joint_overlap", *matrices, components=7)
    inner = np.array([[float((A.double() * B.double()).sum()) for A in matrices] for B in matrices])
    close(found.total[0], inner, 1e-4)
    close(found.inner[0], inner, 1e-12)
    close(found.cosine_total, found.cosine, 1e-5)
    close(found.cosine, take("cosine", *matrices).cosine, 1e-12)
    close(found.terms[0, 0, 0], np.diag(torch.linalg.svdvals(matrices[0].double()) ** 2), 1e-4)
    part = take("joint_overlap", *matrices, components=2)
    close(part.terms[0], found.terms[0][..., :2, :2], 1e-6)
    close(part.total[0], part.terms[0].sum((2, 3)), 1e-12)


@pytest.mark.parametrize(("left", "right"), [(True, True), (True, False), (False, True), (False, False)])
def test_sti_is_zero_where_one_side_is_orthonormal(left, right):
    found = take("sti", *stacked(3, 2, 12, 12, left=left, right=right), components=2)
    if left or right:
        close(found.relative[0], 0, 1e-9 if left and right else 1e-5)
    else:
        assert found.relative[0] > 0.05
    assert (found.relative[0] > 1e-4) == (not left and not right)


def test_sti_can_be_zero_with_both_sides_dependent():
    """Left vectors meet in component 1 and right ones in component 2: no route leads through both."""
    e = torch.eye(6)
    first = 2 * torch.outer(e[0], e[0]) + torch.outer(e[1], e[1])
    second = 2 * torch.outer(e[0], e[2]) + torch.outer(e[3], e[1])
    close(take("sti", first, second, components=2).relative[0], 0, 1e-9)
    crossed = 2 * torch.outer(e[0], e[1]) + torch.outer(e[3], e[2])
    assert take("sti", first, crossed, components=2).relative[0] > 0.1


def test_sti_blocks_add_up_and_whitening_removes_it():
    found = take("sti", *gaussians(4, 16, 13))
    close(found.routes[0].sum(), found.sti[0], 1e-10)
    assert found.sti[0] > 0.1
    close(found.whitened[0], 0, 1e-10)
    assert np.isnan(np.diagonal(found.pair[0])).all()


def test_sti_of_two_lives_in_the_diagonal_blocks():
    found = take("sti", *gaussians(2, 12, 10))
    off = ~np.eye(2, dtype=bool)
    close(found.routes[0][off], 0, 1e-9)
    assert (np.diagonal(found.routes[0]) > 0.1).all()
    close(found.pair[0, 0, 1], found.relative[0], 1e-10)


def test_sti_of_one_is_zero():
    found = take("sti", gaussian(8, 6))
    close((found.relative[0], found.chance[0]), 0, 1e-10)


def test_whitening_dependent_directions_is_a_projection():
    U = gaussian(9, 3).double()
    gram = torch.cat([U, U[:, :1]], 1).T @ torch.cat([U, U[:, :1]], 1)
    white = whitened(gram)
    close(white @ white, white, 1e-8)
    close(white.trace(), 3, 1e-8)
    close(deviation(whitened(U.T @ U), torch.ones(3, dtype=torch.bool)), 0, 1e-10)


@pytest.mark.parametrize(("tasks", "m", "n"), [(2, 60, 60), (4, 64, 48), (6, 60, 90)])
def test_sti_of_random_matrices_is_what_chance_says(tasks, m, n):
    found = [take("sti", *gaussians(tasks, m, n, seed=seed)) for seed in range(4)]
    measured = np.mean([f.relative[0] for f in found])
    close(measured / found[0].chance[0], 1, 0.05)


def test_sar_of_a_matrix_in_itself():
    found = take("sar", *gaussians(2, 12, 9), merged=gaussian(12, 9))
    assert (np.diagonal(found.pair[0]) >= np.sqrt(1 - 0.05**2)).all()
    assert (np.diagonal(found.pair[0]) <= 1).all()
    close(found.merged[0, 0], found.pair[0, 0, 0])
    assert found.pair[0, 0, 1] < 1


def test_sar_grows_with_k_and_ends_at_one():
    matrices, M = gaussians(2, 9, 9), gaussian(9, 9, seed=5)
    shares = [take("sar", *matrices, merged=M, tolerance=t).merged[0] for t in (0.9, 0.6, 0.3, 0.1, 0.0)]
    assert (np.diff(shares, axis=0) >= -1e-9).all()
    assert (shares[0] < 0.8).all()
    close(shares[-1], 1, 1e-6)
    inside = take("sar", M @ gaussian(9, 4), merged=M[:, :5] @ gaussian(5, 4, seed=3), tolerance=0.0)
    assert inside.merged[0, 0] < 1 - 1e-3
    contained = M[:, :5] @ gaussian(5, 7)
    close(take("sar", contained @ gaussian(7, 7, seed=8), merged=contained, tolerance=0.0).merged[0, 0], 1, 1e-6)


def test_sar_of_random_matrices_is_what_chance_says():
    found = take("sar", *gaussians(6, 50, 80), merged=gaussian(50, 80, seed=77), tolerance=0.6)
    assert 0.3 < found.chance[0] < 0.9
    close(found.merged[0].mean(), found.chance[0], 0.03)
    off = ~np.eye(6, dtype=bool)
    close(found.pair[0][off].mean(), found.pair_chance[0].mean(), 0.03)


def test_svc_of_one_expert_and_of_identical_experts():
    D = gaussian(8, 6)
    alone, same = take("svc_coefficients", D, merged=D), take("svc_coefficients", D, D, D, merged=3 * D)
    close(alone.coefficients[0], 1, 1e-4)
    close(alone.gain[0], 1, 1e-4)
    close(same.coefficients[0], 3, 1e-4)
    close(same.gain[0], 1 / 3, 1e-4)
    close(same.over[0], 2, 1e-4)
    close(same.mean_gain[0], 1 / 3, 1e-4)


@pytest.mark.parametrize("floor", [1.0, 0.1])
def test_svc_of_orthogonal_experts(floor):
    """γ = T / (1 + (T − 1) floor): nothing at floor 1, an amplification below."""
    matrices = stacked(3, 2, 11, 9)
    matrices = [D * (1 + 0.37 * t) for t, D in enumerate(matrices)]
    found = take("svc_coefficients", *matrices, merged=sum(matrices), floor=floor)
    gain = found.gain[0][np.isfinite(found.gain[0])]
    assert len(gain) == 6, "directions the merge does not have are missing"
    close(gain, 3 / (1 + 2 * floor), 1e-4)
    close(found.over[0], 0, 1e-4)


def test_svc_gain_is_what_the_post_step_multiplies():
    problem = problem_of(*gaussians(3, 9, 7))
    plain = merge(problem, build_method("task_arithmetic", scaling=0.4), (), fresh())
    calibrated = merge(problem, build_method("task_arithmetic", scaling=0.4), (build_method("svc"),), fresh())
    found = measure("svc_coefficients", problem, fresh(), merged=plain)
    s = torch.linalg.svdvals(plain.task_vector(NAME).double()).numpy() * found.gain[0]
    close(torch.linalg.svdvals(calibrated.task_vector(NAME).double()), np.sort(s)[::-1], 1e-4)


def test_svc_sees_a_merge_that_fights_an_expert():
    found = take("svc_coefficients", gaussian(6, 6), merged=-gaussian(6, 6))
    assert found.conflict[0, 0] == 1
    close(found.coefficients[0], -1, 1e-4)


@pytest.mark.parametrize(("m", "n"), [(12, 8), (8, 20)])
def test_zones_add_up_and_random_updates_show_their_size(m, n):
    found = take("projection_energy", *gaussians(30, m, n), base=gaussian(m, n, seed=99))
    close(found.top + found.rest + found.null, 1, 1e-5)
    close(found.beyond, 1 - found.top, 1e-5)
    assert (found.null.max() > 0.1) == (n > m)
    close(found.top[0].mean(), found.chance[0].mean(), 0.05)


def test_updates_inside_the_leading_directions_are_all_top():
    base = gaussian(10, 7, seed=4)
    v = torch.linalg.svd(base.double())[2][:1].float()
    close(take("projection_energy", gaussian(10, 1) @ v, base=base).top[0], 1, 1e-5)


def test_columns_orthogonal_and_alike():
    found = take("orthogonality", rotation(12)[:, :5] * torch.arange(1.0, 6), gaussian(12, 1) @ torch.ones(1, 5))
    close(found.coupling[0], [0, np.sqrt(1 - 1 / 5)], 1e-5)


@pytest.mark.parametrize(("m", "n"), [(40, 30), (20, 50)])
def test_random_columns_couple_as_chance_says(m, n):
    found = take("orthogonality", *gaussians(20, m, n))
    close(found.chance[0], np.sqrt((n - 1) / (m + n + 1)), 1e-12)
    close(found.coupling[0].mean(), found.chance[0].mean(), 0.02)


# symmetries shared by many

SPECTRAL = ("norms", "spectrum", "subspace", "joint_overlap", "sar", "svc_coefficients", "cosine", "cancellation")


@pytest.mark.parametrize("key", SPECTRAL)
def test_rotating_all_task_matrices_changes_no_spectral_measurement(key):
    matrices, M = gaussians(3, 9, 7), gaussian(9, 7, seed=8)
    Q, R = rotation(9, 3), rotation(7, 4)
    once = take(key, *matrices, merged=M)
    turned = take(key, *(Q @ D @ R for D in matrices), merged=Q @ M @ R)
    for name in once.quantities():
        close(getattr(turned, name), getattr(once, name), 2e-3)


def test_rotation_does_change_signs_and_masks():
    matrices, Q = [D.abs() for D in gaussians(3, 9, 7)], rotation(9, 3)
    turned = [Q @ D for D in matrices]
    assert take("sign_conflict", *matrices).conflict[0] == 0
    assert take("sign_conflict", *turned).conflict[0] > 0.2
    gap = take("mask_counts", *turned).histogram - take("mask_counts", *matrices).histogram
    assert np.abs(gap).max() > 0.05


ON_WEIGHTS = (*SPECTRAL, "sign_conflict", "mask_counts", "projection_energy", "orthogonality", "sti")


@pytest.mark.parametrize("key", ON_WEIGHTS)
def test_permuting_experts_permutes_the_measurement(key):
    problem, order = small_problem(4), [2, 0, 3, 1]
    experts = {problem.tasks[t]: problem.experts[problem.tasks[t]] for t in order}
    permuted = Problem(problem.pretrained, experts, problem.architecture)
    merged = merge(problem, build_method("task_arithmetic"), (), fresh())
    first, second = (measure(key, p, fresh(), merged=merged) for p in (problem, permuted))
    order = [*order, 4][: len(first.models)]
    assert [first.models[t] for t in order] == list(second.models)
    for name, what in first.quantities().items():
        array = getattr(first, name)
        for axis, along in enumerate(what.axes):
            if along in ("expert", "other"):
                array = array.take(order, axis)
        close(getattr(second, name), array, 1e-6)


@settings(max_examples=25, deadline=None)
@given(
    tasks=st.integers(1, 6), m=st.integers(1, 9), n=st.integers(1, 9), seed=st.integers(0, 99), still=st.booleans(),
    low=st.booleans(),
)  # fmt: skip
def test_bounds_hold_for_any_shape_and_number_of_experts(tasks, m, n, seed, still, low):
    matrices = gaussians(tasks, m, n, seed=seed)
    if still:
        matrices[0] = torch.zeros(m, n)
    if low:
        matrices[-1] = gaussian(m, 1, seed=seed) @ gaussian(1, n, seed=seed + 1)
    merged, base, slack = sum(matrices), gaussian(m, n, seed=seed + 5), 1e-5
    found = {key: take(key, *matrices, merged=merged, base=base) for key in ON_WEIGHTS}

    def within(values, least: float, most: float) -> None:
        values = np.asarray(values)
        values = values[np.isfinite(values)]
        assert ((values >= least - slack) & (values <= most + slack)).all()

    r = min(m, n)
    within(found["cosine"].cosine, -1, 1)
    within(found["cancellation"].ratio, 0, tasks)
    within(found["norms"].stable_rank, 1, r)
    within(found["norms"].effective_rank, 1, r)
    within(found["norms"].flatness, 1 / r, 1)
    within(found["norms"].effective_rank - found["norms"].effective_rank_energy, 0, r)
    within(found["spectrum"].rank, 1, r)
    within(found["spectrum"].energy, 0, 1)
    for side, size in (("left", m), ("right", n)):
        within(getattr(found["subspace"], f"overlap_{side}"), 0, 1)
        within(getattr(found["subspace"], f"angles_{side}"), 0, np.pi / 2)
        within(getattr(found["subspace"], f"chance_{side}"), 1 / size, 1)
    within(found["sar"].pair, 0, 1)
    within(found["sar"].merged, 0, 1)
    within(found["sti"].sti, 0, np.inf)
    close(found["sti"].routes.sum((1, 2)), found["sti"].sti, 1e-9)
    within(found["sign_conflict"].conflict, 0, 1)
    within(found["sign_conflict"].strength, 0, 1)
    within(found["mask_counts"].overlap, 0, 1)
    close(found["mask_counts"].histogram.sum(1), 1, 1e-12)
    within(found["projection_energy"].top, 0, 1)
    within(found["orthogonality"].coupling, 0, 1)
    gain = found["svc_coefficients"].gain
    within(gain, 0, 1 / 0.1)
    if not still:
        assert np.isfinite(found["cosine"].cosine).all()
        assert np.isfinite(found["norms"].stable_rank).all()


# features and predictions


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_ignores_rotation_scale_and_shift(debiased):
    draw = np.random.default_rng(0)
    X, Y = draw.normal(size=(40, 6)), draw.normal(size=(40, 9))
    Y[:, :6] += X
    Q = np.linalg.qr(draw.normal(size=(9, 9)))[0]
    value = linear_cka(X, Y, debiased=debiased)
    assert 0.1 < value < 0.99
    close(linear_cka(X, 7 * Y @ Q - 3, debiased=debiased), value, 1e-10)
    close(linear_cka(Y, X, debiased=debiased), value, 1e-10)
    close(linear_cka(X, X @ np.linalg.qr(draw.normal(size=(6, 6)))[0], debiased=debiased), 1, 1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_through_inputs_equals_cka_through_features(debiased):
    """Columns of zeros change nothing but push the computation to the Gram form."""
    draw = np.random.default_rng(1)
    X, Y = draw.normal(size=(12, 5)), draw.normal(size=(12, 7))
    wide = [np.concatenate([A, np.zeros((12, 30))], 1) for A in (X, Y)]
    close(linear_cka(*wide, debiased=debiased), linear_cka(X, Y, debiased=debiased), 1e-10)


def test_debiased_cka_of_unrelated_features_is_zero_and_the_plain_one_is_not():
    draw = np.random.default_rng(2)
    pairs = [(draw.normal(size=(100, 8)), draw.normal(size=(100, 8))) for _ in range(60)]
    plain = np.mean([linear_cka(X, Y, debiased=False) for X, Y in pairs])
    fair = np.mean([linear_cka(X, Y) for X, Y in pairs])
    assert 0.04 < plain < 0.11
    assert abs(fair) < 0.01


def test_cka_of_constant_features_is_missing():
    assert np.isnan(linear_cka(np.ones((9, 4)), np.random.default_rng(0).normal(size=(9, 4))))


def test_representation_of_the_expert_itself():
    z = [np.random.default_rng(0).normal(size=(9, 4)) for _ in range(3)]
    found = build("representation").measure({"a": z}, {"a": z})
    assert (found.bias == 0).all()
    for name in ("cosine", "cosine_low", "cka"):
        close(getattr(found, name), 1, 1e-10)
    moved = build("representation").measure({"a": [2 * f for f in z]}, {"a": z})
    assert (moved.bias > 0).all()
    close(moved.cka, 1, 1e-10)
    same_length = build("representation", normalise=True).measure({"a": [2 * f for f in z]}, {"a": z})
    close(same_length.bias, 0, 1e-12)


def test_representation_beside_zero_features_is_missing_not_an_error():
    zero, z = [np.zeros((3, 4))], [np.ones((3, 4))]
    found = build("representation").measure({"a": zero}, {"a": z})
    assert np.isnan(found.cosine).all()
    assert np.isnan(found.cka).all()
    close(found.bias, 1)


def test_accuracy_functions_at_their_ends():
    assert accuracy_module.wilson(0, 0) == (0, 1)
    low, high = accuracy_module.wilson(5, 10)
    close(low + high, 1, 1e-12)
    assert accuracy_module.wilson(50, 100)[0] > low
    assert accuracy_module.expected_calibration_error([1.0, 1.0], [1, 1]) == 0
    close(accuracy_module.expected_calibration_error([1.0, 1.0], [0, 1]), 0.5, 1e-12)
    close(accuracy_module.expected_calibration_error([0.2, 0.1, 0.3], [0, 1, 0], 5), 1 / 3, 1e-12)  # 0.2 is in (0, 0.2]
    assert np.isnan(accuracy_module.expected_calibration_error([], []))
    close(accuracy_module.accuracy_improvement([0.6, 0.9, 0.5], [0.8, 0.8, 0.5], [0.4, 0.4, 0.5]), [0.5, 1.25, np.nan])
    assert np.isnan(accuracy_module.accuracy_improvement(0.6, 0.3, 0.4)), "an expert below zero-shot"
    close(accuracy_module.normalised([0.6, 0.6], [0.8, 0.0]), [0.75, np.nan])
    close(accuracy_module.backward_transfer([0.5, 0.7], [0.8, 0.6]), -0.1, 1e-12)


def test_bootstrap_of_a_model_with_itself_is_nothing_and_of_a_better_one_excludes_zero():
    draw = np.random.default_rng(3)
    right = [draw.uniform(size=200) < 0.5, draw.uniform(size=80) < 0.7]
    assert accuracy_module.bootstrap_difference(right, right) == (0, 0, 0)
    better = [r | (draw.uniform(size=r.size) < 0.4) for r in right]
    difference, low, high = accuracy_module.bootstrap_difference(right, better)
    assert 0 < low < difference < high
    back = accuracy_module.bootstrap_difference(better, right)
    close(back[0], -difference, 1e-12)
    assert accuracy_module.bootstrap_difference(right, better) == (difference, low, high), "same seed, same interval"
