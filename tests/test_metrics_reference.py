"""Every measurement against its naive float64 version, on rows of one tensor and of many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import fresh
from reference import metrics as naive
from reference.problems import changed, grid_problem

from merge_engine.evaluate import Score
from merge_engine.merged import StaticMerged
from merge_engine.metrics import Measured, build, measure
from merge_engine.metrics import accuracy as accuracy_module
from merge_engine.metrics.cka import linear_cka
from merge_engine.metrics.representation import margins
from merge_engine.problem import Problem

SHAPES = {
    "blocks.0.q.weight": (9, 9),
    "blocks.0.fc1.weight": (14, 6),
    "blocks.0.fc1.bias": (14,),
    "blocks.1.q.weight": (7, 7),
    "blocks.1.fc2.weight": (6, 15),
    "embed.weight": (5, 8),
    "logit_scale": (),
}
MATRICES = [n for n in SHAPES if n.startswith("blocks") and n.endswith("weight")]
PARTS = {"q": "attention", "fc1": "mlp", "fc2": "mlp"}
COUNTS = (1, 2, 3, 4, 10)
every_count = pytest.mark.parametrize("tasks", COUNTS)


def problem_of(tasks: int, seed: int = 0) -> Problem:
    """Random task vectors; with three experts or more, one leaves a matrix alone and one moves it in rank one."""
    problem = grid_problem(tasks, seed=seed, shapes=SHAPES)
    if tasks < 3:
        return problem

    def change(t, name, tau):
        if name == "blocks.0.q.weight" and t == 1:
            return torch.zeros_like(tau)
        if name == "blocks.1.fc2.weight" and t == 2:
            return tau[:, :1] * torch.tensor([1.0, -2.0, 0.5] * 5)
        return tau

    return changed(problem, change)


def merge_of(problem: Problem, seed: int = 7) -> StaticMerged:
    """A merge with a direction, an offset on one matrix, and a tensor it leaves alone."""
    draw = torch.Generator().manual_seed(seed)
    direction = {
        n: sum(w[n] - base for w in problem.experts.values()) + 0.05 * torch.randn(base.shape, generator=draw)
        for n, base in problem.pretrained.items()
        if n != "embed.weight"
    }
    offset = {"blocks.1.q.weight": 0.1 * torch.randn(7, 7, generator=draw)}
    return StaticMerged(problem.pretrained, direction, offset, 0.3)


def members(row, names) -> list[str]:
    def inside(name: str) -> bool:
        block, kind = (int(name[7]), name.split(".")[2]) if name.startswith("blocks") else (None, None)
        kind = "bias" if name.endswith("bias") else kind or ("embedding" if "embed" in name else "norm")
        return {
            "all": True,
            "part": PARTS.get(kind) == row.kind,
            "block": block == row.block,
            "kind": kind == row.kind,
            "tensor": name == row.tensor,
        }[row.level]

    return [n for n in names if inside(n)]


def models(problem: Problem, names, merged: StaticMerged | None = None) -> list[naive.Tensors]:
    """Task vectors of every expert, then of the merge, as float64 arrays."""
    base = problem.pretrained
    found = [[(w[n] - base[n]).double().numpy() for n in names] for w in problem.experts.values()]
    if merged is not None:
        zero = {n: torch.zeros_like(base[n]) for n in names}
        found.append(
            [(merged.task_vector(n) if n in merged.direction else zero[n]).double().numpy() for n in names]
        )
    return found


def close(found, expected, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(found, np.array(expected, float), rtol=tolerance, atol=tolerance)


def table_of(function, count: int) -> np.ndarray:
    return np.array([[function(i, j) for j in range(count)] for i in range(count)])


def rows_of(measured: Measured, names):
    """Yield every row's position and tensors; rows of one tensor and of many must both be there."""
    found = [(i, members(row, names)) for i, row in enumerate(measured.rows)]
    assert {row.level for row in measured.rows} == {"all", "part", "block", "kind", "tensor"}
    assert sorted(n for (_, [*inside]) in found for n in inside if len(inside) == 1)
    assert max(len(inside) for _, inside in found) == len(names)
    return found


@every_count
def test_norms(tasks):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("norms", problem, fresh(), merged=merged)
    for r, inside in rows_of(measured, SHAPES):
        base = naive.length([problem.pretrained[n].double().numpy() for n in inside])
        entries = sum(problem.pretrained[n].numel() for n in inside)
        for i, model in enumerate(models(problem, inside, merged)):
            size = naive.length(model)
            close(measured.length[r, i], size)
            close(measured.relative[r, i], size / base)
            close(measured.rms[r, i], size / entries**0.5)
            matrices = [D for n, D in zip(inside, model, strict=True) if n in MATRICES]
            close(measured.stable_rank[r, i], naive.mean([naive.stable_rank(D) for D in matrices]))
            close(measured.effective_rank[r, i], naive.mean([naive.effective_rank(D) for D in matrices]))
            energy = naive.mean([naive.effective_rank(D, 2) for D in matrices])
            close(measured.effective_rank_energy[r, i], energy)
            close(measured.flatness[r, i], naive.mean([naive.flatness(D) for D in matrices]))


@every_count
@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_spectrum(tasks, share):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("spectrum", problem, fresh(), merged=merged, share=share)
    for r, inside in rows_of(measured, MATRICES):
        for i, model in enumerate(models(problem, inside, merged)):
            energy, linear = naive.curve(model, 2), naive.curve(model, 1)
            close(measured.energy[r, i, : len(energy)], energy)
            close(measured.energy_linear[r, i, : len(energy)], linear)
            assert np.isnan(measured.energy[r, i, len(energy) :]).all()
            close(measured.rank[r, i], naive.smallest_rank(energy, share))
            close(measured.rank_linear[r, i], naive.smallest_rank(linear, share))
            if len(inside) == 1:
                close(measured.singular_values[r, i, : len(energy)], naive.values(model[0]))
            else:
                firsts = [naive.values(D)[0] for D in model]
                close(measured.singular_values[r, i, 0], np.sqrt(np.mean(np.square(firsts))))


@every_count
def test_cosine_and_cancellation(tasks):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("cosine", problem, fresh(), merged=merged)
    cancelled = measure("cancellation", problem, fresh())
    for r, inside in rows_of(measured, SHAPES):
        vectors = [naive.long(m) for m in models(problem, inside, merged)]
        close(measured.cosine[r], table_of(lambda i, j: naive.cosine(vectors[i], vectors[j]), tasks + 1), 1e-12)  # noqa: B023
        close(measured.chance[r], len(vectors[0]) ** -0.5)
        experts = vectors[:tasks]
        close(cancelled.ratio[r], naive.cancellation(experts), 1e-12)
        pair = table_of(lambda i, j: naive.cancellation([experts[i], experts[j]]), tasks)  # noqa: B023
        close(cancelled.pair[r], pair, 1e-12)


@every_count
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_sign_conflict(tasks, density):
    problem = problem_of(tasks)
    measured = measure("sign_conflict", problem, fresh(), density=density)
    for r, inside in rows_of(measured, SHAPES):
        trimmed = [[naive.trimmed(t, density) for t in m] for m in models(problem, inside)]
        vectors = [naive.long(m) for m in trimmed]
        close(measured.agreement[r], table_of(lambda i, j: naive.agreement(vectors[i], vectors[j]), tasks))  # noqa: B023
        close((measured.conflict[r], measured.chance[r]), naive.conflict(vectors))
        mean, histogram = naive.strengths(vectors)
        close(measured.strength[r], mean)
        close(measured.histogram[r], histogram)


@every_count
@pytest.mark.parametrize(("threshold", "unified"), [(0.4, "sum"), (1.5, "sum"), (0.4, "merged")])
def test_mask_counts(tasks, threshold, unified):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    options = {"threshold": threshold, "unified": unified}
    measured = measure("mask_counts", problem, fresh(), merged=merged, **options)
    for r, inside in rows_of(measured, SHAPES):
        *experts, own = [naive.long(m) for m in models(problem, inside, merged)]
        masks = naive.masks(experts, threshold, own if unified == "merged" else sum(experts))
        counts = [sum(kept) for kept in zip(*masks, strict=True)]
        shares = [counts.count(n) / len(counts) for n in range(tasks + 1)]
        close(measured.histogram[r], shares)
        split = (measured.catastrophic[r], measured.selfish[r], measured.general[r])
        close(split, (shares[0], shares[1], sum(shares[2:])))
        density = [sum(mask) / len(mask) for mask in masks]
        close(measured.density[r], density)
        close(measured.overlap[r], table_of(lambda i, j: naive.mask_overlap(masks[i], masks[j]), tasks))  # noqa: B023
        for i, j in itertools.product(range(tasks), repeat=2):
            either = density[i] + density[j] - density[i] * density[j]
            close(measured.chance[r, i, j], density[i] * density[j] / either if either else np.nan)


def component_count(options: dict, D: np.ndarray, tasks: int) -> int:
    s = naive.values(D)
    if not s.any():
        return 0
    if options["rule"] == "fixed":
        wanted = options.get("components") or max(1, len(s) // tasks)
    elif options["rule"] == "effective_rank":
        wanted = round(naive.effective_rank(D))
    else:
        wanted = int(naive.smallest_rank(naive.curve([D], 2), options["energy"]))
    return min(wanted, int((s > 0).sum()))


RULES = (
    {"rule": "fixed"},
    {"rule": "fixed", "components": 3},
    {"rule": "effective_rank"},
    {"rule": "energy", "energy": 0.8},
)


@every_count
@pytest.mark.parametrize("options", RULES, ids=str)
def test_subspace(tasks, options):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("subspace", problem, fresh(), merged=merged, **options)
    for r, inside in rows_of(measured, MATRICES):
        found = models(problem, inside, merged)
        ranks = [[component_count(options, D, tasks) for D in model] for model in found]
        close(measured.components[r], [sum(k) for k in ranks])
        for side, word in enumerate(("left", "right")):
            sizes = [D.shape[side] for D in found[0]]
            spans = [[naive.top(D, k, side) for D, k in zip(m, ks)] for m, ks in zip(found, ranks)]  # noqa: B905
            for i, j in itertools.combinations_with_replacement(range(len(spans)), 2):
                tolerance = 2e-5 if i != j else 1e-3
                for name, value in naive.subspaces(spans[i], spans[j]).items():
                    close(getattr(measured, f"{name}_{word}")[r, i, j], value, tolerance)
                smaller = sum(map(min, ranks[i], ranks[j]))
                chance = sum(a * b / n for a, b, n in zip(ranks[i], ranks[j], sizes, strict=True))
                close(getattr(measured, f"chance_{word}")[r, i, j], chance / smaller if smaller else np.nan)


def test_principal_angles_and_their_histogram():
    problem = problem_of(3)
    measured = measure("subspace", problem, fresh(), components=2)
    for r, inside in rows_of(measured, MATRICES):
        tops = [[naive.top(D, 2, 0) for D in model] for model in models(problem, inside)]
        for i, j in ((0, 1), (2, 0), (2, 1)):
            each = [
                np.arccos(np.clip(np.linalg.svd(a.T @ b, compute_uv=False), 0, 1))
                for a, b in zip(tops[i], tops[j], strict=True)
                if a.shape[1] and b.shape[1]
            ]
            bins = np.histogram(np.degrees(np.concatenate(each)), bins=18, range=(0, 90))[0] if each else np.zeros(18)
            close(measured.histogram_left[r, i, j], bins)
            longest = max((len(a) for a in each), default=0)
            means = [np.mean([a[p] for a in each if p < len(a)]) for p in range(longest)]
            close(measured.angles_left[r, i, j], means + [np.nan] * (2 - longest))


@every_count
@pytest.mark.parametrize("components", [4, 20])
def test_joint_overlap(tasks, components):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("joint_overlap", problem, fresh(), merged=merged, components=components)
    for r, inside in rows_of(measured, MATRICES):
        found = models(problem, inside, merged)
        vectors = [naive.long(m) for m in found]
        k = measured.terms.shape[-1]
        for i, j in itertools.combinations_with_replacement(range(tasks + 1), 2):
            terms = sum(
                padded(naive.joint_terms(A, B, min(components, *A.shape)), k)
                for A, B in zip(found[i], found[j], strict=True)
            )
            close(measured.terms[r, i, j], terms)
            close(measured.total[r, i, j], terms.sum())
            close(measured.inner[r, i, j], vectors[i] @ vectors[j])
            close(measured.cosine[r, i, j], naive.cosine(vectors[i], vectors[j]))
            lengths = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
            close(measured.cosine_total[r, i, j], terms.sum() / lengths if lengths else np.nan)


def padded(terms: np.ndarray, k: int) -> np.ndarray:
    out = np.zeros((k, k))
    out[: len(terms), : len(terms)] = terms
    return out


@every_count
@pytest.mark.parametrize("components", [0, 2])
def test_sti(tasks, components):
    problem = problem_of(tasks)
    measured = measure("sti", problem, fresh(), components=components)
    for r, inside in rows_of(measured, MATRICES):
        found = models(problem, inside)
        ranks = [min(components or min(D.shape) // tasks, *D.shape) for D in found[0]]
        columns = [[m[index] for m in found] for index in range(len(inside))]
        products = [naive.sti_product(c, k) for c, k in zip(columns, ranks, strict=True)]
        total, scale = sum(np.abs(p).sum() for p, _, _ in products), sum(s for _, _, s in products)
        close(measured.relative[r], total / scale if scale else np.nan)
        close(measured.sti[r], total if scale else np.nan)
        routes = sum(naive.sti_routes(c, k) for c, k in zip(columns, ranks, strict=True))
        close(measured.routes[r], routes if scale else np.full((tasks, tasks), np.nan))
        for i, j in itertools.permutations(range(tasks), 2):
            alone = [naive.sti_product([c[i], c[j]], k) for c, k in zip(columns, ranks, strict=True)]
            both = sum(s for _, _, s in alone)
            expected = sum(np.abs(p).sum() for p, _, _ in alone) / both if both else np.nan
            close(measured.pair[r, i, j], expected)


@every_count
@pytest.mark.parametrize("tolerance", [0.05, 0.4])
def test_sar(tasks, tolerance):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("sar", problem, fresh(), merged=merged, tolerance=tolerance)
    for r, inside in rows_of(measured, MATRICES):
        *experts, own = models(problem, inside, merged)
        for i, model in enumerate(experts):
            each = [naive.sar(D, M, tolerance) for D, M in zip(model, own, strict=True)]
            close(measured.merged[r, i], naive.mean(each))
            for j, other in enumerate(experts):
                each = [naive.sar(D, M, tolerance) for D, M in zip(model, other, strict=True)]
                close(measured.pair[r, i, j], naive.mean(each))


@every_count
@pytest.mark.parametrize("floor", [0.1, 1.0])
def test_svc_coefficients(tasks, floor):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("svc_coefficients", problem, fresh(), merged=merged, floor=floor)
    for r, inside in rows_of(measured, MATRICES):
        *experts, own = models(problem, inside, merged)
        each = [naive.svc([m[i] for m in experts], own[i], floor) for i in range(len(inside))]
        for t in range(tasks):
            known = [x for p, _ in each for x in p[t] if not np.isnan(x)]
            close(measured.over[r, t], np.mean([max(0.0, x - 1) for x in known]) if known else np.nan, 1e-4)
            close(measured.conflict[r, t], np.mean([x < 0 for x in known]) if known else np.nan)
        gains = [g for _, gain in each for g in gain]
        close(measured.mean_gain[r], np.mean(gains), 1e-4)
        if len(inside) == 1:
            (p, gain), = each  # fmt: skip
            close(measured.coefficients[r, :, : p.shape[1]], p, 1e-3)
            close(measured.gain[r, : len(gain)], gain, 1e-4)


@every_count
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_projection_energy(tasks, share):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("projection_energy", problem, fresh(), merged=merged, share=share)
    for r, inside in rows_of(measured, MATRICES):
        base = [problem.pretrained[n].double().numpy() for n in inside]
        for i, model in enumerate(models(problem, inside, merged)):
            each = [naive.zones(D, W, share) for D, W in zip(model, base, strict=True)]
            energy = naive.length(model) ** 2
            shares = [sum(zone[z] for zone in each) / energy if energy else np.nan for z in range(3)]
            close((measured.top[r, i], measured.rest[r, i], measured.null[r, i]), shares)
            close(measured.beyond[r, i], shares[1] + shares[2])
            chance = sum((D**2).sum() * z[3] / D.shape[1] for D, z in zip(model, each, strict=True))
            close(measured.chance[r, i], chance / energy if energy else np.nan)


@every_count
@pytest.mark.parametrize("of", ["update", "weights"])
def test_orthogonality(tasks, of):
    problem = problem_of(tasks)
    merged = merge_of(problem)
    measured = measure("orthogonality", problem, fresh(), merged=merged, of=of)
    for r, inside in rows_of(measured, MATRICES):
        base = [problem.pretrained[n].double().numpy() for n in inside]
        for i, model in enumerate(models(problem, inside, merged)):
            whole = [D + W for D, W in zip(model, base, strict=True)] if of == "weights" else model
            close(measured.coupling[r, i], naive.coupling(whole))


@pytest.mark.parametrize("shape", [(12, 5), (6, 20), (30, 30)])
def test_cka(shape):
    draw = np.random.default_rng(0)
    X, Y = draw.normal(size=shape), draw.normal(size=(shape[0], 4))
    Y[:, :2] += X[:, :2]
    close(linear_cka(X, Y, debiased=False), naive.cka(X, Y), 1e-10)
    close(linear_cka(X, Y), naive.cka_debiased(X, Y), 1e-10)
    close(linear_cka(X + 3, torch.tensor(Y) - 5), naive.cka_debiased(X, Y), 1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_of_models_by_depth(debiased):
    draw = np.random.default_rng(1)
    features = {m: [draw.normal(size=(9, 5)), draw.normal(size=(9, 3))] for m in "abc"}
    measured = build("cka", debiased=debiased).measure(features)
    expected = naive.cka_debiased if debiased else naive.cka
    for row, layer in ((measured.index("block", 0), 0), (measured.index("all"), 1)):
        table = [[expected(features[a][layer], features[b][layer]) for b in "abc"] for a in "abc"]
        close(measured.cka[row], table, 1e-10)


@pytest.mark.parametrize("normalise", [True, False])
def test_representation(normalise):
    draw = np.random.default_rng(2)
    merged = {t: [draw.normal(size=(7, 5)) + 1, draw.normal(size=(7, 3)) + 1] for t in ("x", "y")}
    experts = {t: [z + 0.3 * draw.normal(size=z.shape) for z in layers] for t, layers in merged.items()}
    measured = build("representation", normalise=normalise).measure(merged, experts)
    for i, task in enumerate(("x", "y")):
        for row, layer in ((measured.index("block", 0), 0), (measured.index("all"), 1)):
            z, w = merged[task][layer], experts[task][layer]
            cosines = [naive.cosine(a, b) for a, b in zip(z, w, strict=True)]
            close(measured.cosine[row, i], np.mean(cosines))
            close(measured.cosine_low[row, i], np.quantile(cosines, 0.05))
            if normalise:
                z, w = (np.array([v / np.sqrt(v @ v) for v in features]) for features in (z, w))
            gaps = [abs(a - b) for one, other in zip(z, w, strict=True) for a, b in zip(one, other, strict=True)]
            close(measured.bias[row, i], sum(gaps) / len(gaps))
            close(measured.cka[row, i], naive.cka_debiased(z, w))


def test_margins():
    draw = np.random.default_rng(3)
    logits, labels = draw.normal(size=(20, 4)), draw.integers(0, 4, 20)
    expected = [row[y] - max(x for c, x in enumerate(row) if c != y) for row, y in zip(logits, labels, strict=True)]
    close(margins(torch.tensor(logits), torch.tensor(labels)), expected, 1e-12)


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (1, 1), (7, 10), (500, 1000), (1000, 1000)])
def test_wilson(correct, n):
    expected = naive.wilson(correct, n, 1.959963984540054)
    close(accuracy_module.wilson(correct, n), expected, 1e-9)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_calibration_error(bins):
    draw = np.random.default_rng(4)
    confidence = np.concatenate([draw.uniform(0.1, 1, 200), [1.0, 0.2, 1 / 15, 0.6]])
    correct = draw.uniform(size=confidence.size) < confidence**2
    found = accuracy_module.expected_calibration_error(confidence, correct, bins)
    close(found, naive.calibration_error(confidence, correct, bins), 1e-12)


def test_accuracy():
    draw = np.random.default_rng(5)
    scores = {t: Score(t, int(draw.integers(1, n)), n, n, *draw.uniform(size=2)) for t, n in (("x", 30), ("y", 13))}
    experts, pretrained = {"x": 0.9, "y": 0.5}, {"x": 0.3, "y": 0.5}
    found = build("accuracy").measure(scores, experts, pretrained)
    assert found.models == ("x", "y")
    for i, (task, score) in enumerate(scores.items()):
        share = score.correct / score.n
        close(found.merged[i], share)
        close(found.normalised[i], share / experts[task])
        close((found.low[i], found.high[i]), naive.wilson(score.correct, score.n, 1.959963984540054))
        assert (found.calibration[i], found.entropy[i], found.inputs[i]) == (score.ece, score.entropy, score.n)
    close(found.improvement, [(found.merged[0] - 0.3) / 0.6, np.nan])
    close(found.average, [(found.merged[0] + found.merged[1]) / 2])
    close(found.normalised_average, [(found.merged[0] / 0.9 + found.merged[1] / 0.5) / 2])


def test_bootstrap_agrees_with_resampling_inputs():
    draw = np.random.default_rng(6)
    first = [draw.uniform(size=n) < 0.6 for n in (120, 45)]
    second = [np.where(draw.uniform(size=len(a)) < 0.8, a, ~a) for a in first]
    gaps = []
    for _ in range(4000):
        each = []
        for a, b in zip(first, second, strict=True):
            chosen = draw.integers(0, len(a), len(a))
            each.append(b[chosen].mean() - a[chosen].mean())
        gaps.append(np.mean(each))
    found = accuracy_module.bootstrap_difference(first, second, resamples=4000, seed=1)
    close(found[0], np.mean([b.mean() - a.mean() for a, b in zip(first, second, strict=True)]), 1e-12)
    close(found[1:], np.quantile(gaps, [0.025, 0.975]), 0.02)


def test_cross_task():
    accuracies = {"x": {"x": 0.9, "y": 0.4}, "y": {"x": 0.2, "y": 0.8}}
    found = build("cross_task").measure(accuracies, {"x": 0.5, "y": 0.45})
    close(found.accuracy, [[0.9, 0.4], [0.2, 0.8]])
    close(found.forgetting, [[-0.4, 0.05], [0.3, -0.35]], 1e-12)
