"""Every spectral method and option against the naive float64 versions."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import SmallTransformer, fresh
from reference import spectral as naive
from reference.problems import grid_problem
from small_net import SHAPES as NET_SHAPES
from small_net import SmallInputs, forward

from merge_engine.methods import build, method_class
from merge_engine.methods.fisher import BATCH
from merge_engine.problem import Problem
from merge_engine.running import drive, merge, merge_steps

SHAPES = {
    "blocks.0.q.weight": (9, 9),
    "blocks.0.k.weight": (9, 9),
    "blocks.0.v.weight": (9, 9),
    "blocks.0.fc1.weight": (14, 6),
    "blocks.0.fc1.bias": (14,),
    "blocks.1.fc2.weight": (6, 15),
    "blocks.2.out.weight": (3, 3),
    "embed.weight": (5, 8),
    "norm.weight": (6,),
    "patch.weight": (4, 3, 2, 2),
}
MATRICES = [n for n in SHAPES if n.startswith("blocks") and "weight" in n]
QKV = [f"blocks.0.{k}.weight" for k in "qkv"]
TASKS = (1, 2, 3, 4, 7)


def problem_of(tasks: int, seed: int = 0, **changes) -> Problem:
    return grid_problem(tasks, seed=seed, shapes=SHAPES, **changes)


def vectors(problem: Problem, name: str) -> list[torch.Tensor]:
    return [w[name].double() - problem.pretrained[name].double() for w in problem.experts.values()]


def merged_vector(problem: Problem, key: str, name: str, post=(), **parameters) -> torch.Tensor:
    merged = merge(problem, build(key, **parameters), post, fresh())
    return merged.task_vector(name).double()


def assert_near(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 3e-5) -> None:
    error = float((found - wanted).norm() / max(1e-3, float(wanted.norm())))
    assert error < tolerance, f"relative error {error:.2e}"


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize(
    ("key", "formula"), [("tsv_m", naive.tsv_m), ("iso_c", naive.iso_c), ("iso_cts", naive.iso_cts)]
)
def test_matrices(key, formula, tasks):
    problem = problem_of(tasks)
    merged = merge(problem, build(key, scaling=1.3), ctx=fresh())
    for name in MATRICES:
        assert_near(merged.task_vector(name).double(), 1.3 * formula(vectors(problem, name)))


@pytest.mark.parametrize("key", ["tsv_m", "iso_c", "iso_cts"])
@pytest.mark.parametrize("policy", ["mean", "sum", "pretrained"])
def test_other_tensors(key, policy):
    problem = problem_of(3)
    merged = merge(problem, build(key, others=policy, scaling=0.7), ctx=fresh())
    for name in ("blocks.0.fc1.bias", "norm.weight", "patch.weight"):
        total = sum(vectors(problem, name))
        wanted = {"mean": total / 3, "sum": total, "pretrained": 0 * total}[policy]
        assert_near(merged.task_vector(name).double(), 0.7 * wanted)
    assert_near(merged.task_vector("embed.weight").double(), 0.7 * sum(vectors(problem, "embed.weight")) / 3)


@pytest.mark.parametrize(
    ("key", "formula"), [("tsv_m", naive.tsv_m), ("iso_c", naive.iso_c), ("iso_cts", naive.iso_cts)]
)
def test_embeddings(key, formula):
    problem = problem_of(3)
    D = vectors(problem, "embed.weight")
    assert_near(merged_vector(problem, key, "embed.weight", embeddings="spectral"), formula(D))
    assert_near(merged_vector(problem, key, "embed.weight", embeddings="mean"), sum(D) / 3)
    assert_near(merged_vector(problem, key, "embed.weight", embeddings="pretrained"), 0 * D[0])


@pytest.mark.parametrize(
    ("key", "formula"), [("tsv_m", naive.tsv_m), ("iso_c", naive.iso_c), ("iso_cts", naive.iso_cts)]
)
def test_fused_attention(key, formula):
    problem = problem_of(4)
    D = [torch.cat(parts) for parts in zip(*(vectors(problem, n) for n in QKV), strict=True)]
    merged = merge(problem, build(key, attention="fused"), ctx=fresh())
    found = torch.cat([merged.task_vector(n) for n in QKV]).double()
    apart = torch.cat([formula(vectors(problem, n)) for n in QKV])
    assert_near(found, formula(D))
    assert (found - apart).norm() > 0.01 * found.norm(), (
        "fused and split must differ for this test to mean anything"
    )


def test_tsv_m_weights():
    problem = problem_of(3)
    for weights in ((0.5, 2.0, -1.0), (1.0, 0.0, 1.0)):
        merged = merge(problem, build("tsv_m", weights=weights), ctx=fresh())
        for name in MATRICES:
            assert_near(merged.task_vector(name).double(), naive.tsv_m(vectors(problem, name), list(weights)))
        bias = vectors(problem, "norm.weight")
        wanted = sum(w * b for w, b in zip(weights, bias, strict=True)) / 3
        assert_near(merged.task_vector("norm.weight").double(), wanted)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_iso_cts_fraction(fraction, tasks):
    problem = problem_of(tasks)
    merged = merge(problem, build("iso_cts", fraction=fraction), ctx=fresh())
    for name in MATRICES:
        assert_near(merged.task_vector(name).double(), naive.iso_cts(vectors(problem, name), fraction))


@pytest.mark.parametrize("tasks", [1, 2, 4, 10])
def test_tsv_c(tasks):
    problem = problem_of(tasks)
    for embeddings in ("dense", "spectral"):
        merged = merge(problem, build("tsv_c", embeddings=embeddings), ctx=fresh())
        for name in SHAPES:
            D = vectors(problem, name)
            low = name in MATRICES or (name == "embed.weight" and embeddings == "spectral")
            for t, wanted in enumerate(naive.tsv_c(D) if low else D):
                assert_near(merged.parts[name].task_vector(t).double(), wanted)


def test_tsv_c_size():
    problem = problem_of(3)
    merged = merge(problem, build("tsv_c"), ctx=fresh())
    base = sum(w.numel() for w in problem.pretrained.values())
    low = sum(3 * (min(m, n) // 3) * (m + n + 1) for m, n in (SHAPES[name] for name in MATRICES))
    dense = sum(3 * w.numel() for name, w in problem.pretrained.items() if name not in MATRICES)
    assert merged.stored_parameters == base + low + dense


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaling": 1.5, "rank": 0.5},
        {"rank": 0.0},
        {"rank": 1.0},
        {"rank": 0.7, "rank_rule": "energy"},
        {"rank": 0.3, "centre": "pretrained"},
    ],
    ids=str,
)
def test_cart(tasks, options):
    problem = problem_of(tasks)
    merged = merge(problem, build("cart", **options), ctx=fresh())
    for name in SHAPES:
        W = [w[name].double() for w in problem.experts.values()]
        W0 = problem.pretrained[name].double()
        if name in MATRICES:
            wanted = naive.cart(W, W0, **options)
        elif options.get("centre") == "pretrained":
            wanted = W0 + 2 * sum(w - W0 for w in W)
        else:
            wanted = sum(W) / len(W)
        assert_near(merged.task_vector(name).double(), wanted - W0, 1e-4)


def test_cart_fused():
    problem = problem_of(4)
    merged = merge(problem, build("cart", rank=0.3, attention="fused"), ctx=fresh())
    W = [torch.cat([w[n] for n in QKV]).double() for w in problem.experts.values()]
    W0 = torch.cat([problem.pretrained[n] for n in QKV]).double()
    found = torch.cat([merged.task_vector(n) for n in QKV]).double()
    assert_near(found, naive.cart(W, W0, rank=0.3) - W0)


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [{}, {"scope": "tensor"}, {"density": 0.7}, {"rule": "sum"}, {"floor": 0.2}, {"density": 1.0}],
    ids=str,
)
def test_knots(tasks, options):
    problem = problem_of(tasks, seed=3)
    merged = merge(problem, build("knots", scaling=0.9, **options), ctx=fresh())
    wanted = naive.knots({n: vectors(problem, n) for n in MATRICES}, **options)
    for name in MATRICES:
        assert_near(merged.task_vector(name).double(), 0.9 * wanted[name], 1e-4)
    assert_near(
        merged.task_vector("embed.weight").double(), 0.9 * sum(vectors(problem, "embed.weight")) / tasks
    )


def test_knots_dare():
    problem, ctx = problem_of(3), fresh()
    matrices = {n: vectors(problem, n) for n in MATRICES}
    masks = []
    for task in problem.tasks:
        masks.append({})
        for name, D in matrices.items():
            shape = naive.aligned(D)[1][0].shape
            masks[-1][name] = torch.rand(shape, generator=ctx.generator("knots", task, name)) < 0.6
    wanted = naive.knots(matrices, "dare", masks=masks, drop=0.4)
    merged = merge(problem, build("knots", rule="dare", drop=0.4, scaling=1), ctx=ctx)
    for name in MATRICES:
        assert_near(merged.task_vector(name).double(), wanted[name], 1e-4)


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_wudi_path(tasks):
    problem = problem_of(tasks)
    method = build("wudi", steps=20, learning_rate=1e-3)
    steps = []
    merged = drive(merge_steps(problem, method, ctx=fresh()), steps.append)
    summed = {}
    for name in MATRICES:
        D = vectors(problem, name)
        wanted, losses = naive.wudi(D, 20, 1e-3)
        moved = wanted - sum(D)
        if tasks > 1:
            assert moved.norm() > 0.01 * wanted.norm()
        assert (merged.task_vector(name) - wanted).norm() < 2e-3 * moved.norm() + 1e-6
        for step in range(0, 21, 2):
            summed[step] = summed.get(step, 0) + losses[step]
    shown = {int(k.rsplit(" ", 1)[1]): v for k, v in steps[-1].metrics.items()}
    assert shown.keys() == summed.keys()
    for step, loss in summed.items():
        assert shown[step] == pytest.approx(loss, rel=1e-3, abs=1e-5)


def test_wudi_path_of_tiny_task_vectors():
    """Gradients as small as Adam's 1e-8, so that their size counts and not only their direction."""
    problem = problem_of(3)
    zero = {n: torch.zeros_like(w) for n, w in problem.pretrained.items()}
    tiny = {
        t: {n: 2.0**-20 * (w[n] - problem.pretrained[n]) for n in zero} for t, w in problem.experts.items()
    }
    problem = Problem(zero, tiny, problem.architecture)
    merged = merge(problem, build("wudi", steps=10, learning_rate=1e-6), ctx=fresh())
    for name in MATRICES:
        D = vectors(problem, name)
        moved = naive.wudi(D, 10, 1e-6)[0] - sum(D)
        assert (merged.task_vector(name) - sum(D) - moved).norm() < 1e-3 * moved.norm()


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize("ridge", [1e-6, 0.1])
def test_wudi_closed_form(tasks, ridge):
    problem = problem_of(tasks)
    merged = merge(problem, build("wudi", solution="closed-form", ridge=ridge), ctx=fresh())
    for name in MATRICES:
        assert_near(merged.task_vector(name).double(), naive.wudi_end(vectors(problem, name), ridge), 1e-4)


def test_wudi_other_tensors():
    problem = problem_of(3)
    official = merge(problem, build("wudi", steps=3), ctx=fresh())
    library = merge(
        problem,
        build("wudi", **method_class("wudi").preset("fusionbench") | {"steps": 3, "learning_rate": 1e-3}),
        ctx=fresh(),
    )
    for name in SHAPES.keys() - set(MATRICES):
        assert not official.task_vector(name).any()
        D = vectors(problem, name)
        wanted = naive.wudi(D, 3, 1e-3)[0] if name == "embed.weight" else sum(D) / 3
        assert_near(library.task_vector(name).double(), wanted)


def net_problem(tasks: int, inputs: SmallInputs, seed: int = 0) -> Problem:
    problem = grid_problem(tasks, seed=seed, shapes=NET_SHAPES, size=0.3)
    return dataclasses.replace(problem, inputs=inputs)


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize("off_diagonal", [0.0, 0.5, 0.95, 1.0])
def test_regmean(tasks, off_diagonal):
    inputs = SmallInputs()
    problem = net_problem(tasks, inputs)
    method = build("regmean", examples=40, off_diagonal=off_diagonal, ridge=1e-3)
    merged = merge(problem, method, ctx=fresh())
    for name in NET_SHAPES:
        W = [w[name].double() for w in problem.experts.values()]
        W0 = problem.pretrained[name].double()
        wanted = sum(W) / tasks
        if SmallTransformer().place(name).kind in ("q", "k", "v", "out", "fc1", "fc2"):
            X = [
                forward({n: v.double() for n, v in w.items()}, inputs.support(task, 40).double())[1][name]
                for task, w in problem.experts.items()
            ]
            wanted = naive.regmean(W, W0, X, off_diagonal, 1e-3)
        assert_near(merged.task_vector(name).double(), wanted - W0, 1e-4)


@pytest.mark.parametrize("tasks", [1, 3])
def test_fisher(tasks):
    inputs = SmallInputs()
    problem = net_problem(tasks, inputs)
    merged = merge(problem, build("fisher", examples=5), ctx=fresh())
    F = []
    for task, weights in problem.experts.items():
        double = {n: w.double() for n, w in weights.items()}

        def logits_of(free, x, task=task):
            return inputs.logits(task, inputs.features(free, x))

        F.append(naive.fisher(logits_of, double, inputs.support(task, 5).double()))
    assert max(float(f["blocks.0.q.weight"].max()) for f in F) > 1e-4
    for name in NET_SHAPES:
        wanted = naive.fisher_average(vectors(problem, name), [f[name] for f in F])
        assert_near(merged.task_vector(name).double(), wanted, 1e-4)
    assert_near(merged.task_vector("unused.weight").double(), sum(vectors(problem, "unused.weight")) / tasks)


def test_fisher_tolerance_leaves_little_out():
    inputs = SmallInputs()
    problem = net_problem(3, inputs)
    exact = merge(problem, build("fisher", examples=5), ctx=fresh())
    rough = merge(problem, build("fisher", examples=5, tolerance=0.3), ctx=fresh())
    name = "blocks.0.out.weight"
    gap = (exact.task_vector(name) - rough.task_vector(name)).norm() / exact.task_vector(name).norm()
    assert 1e-4 < gap < 0.5


def test_fisher_as_in_fusionbench():
    inputs = SmallInputs()
    problem = net_problem(3, inputs)
    method = build("fisher", **method_class("fisher").preset("fusionbench"))
    assert (method.examples, BATCH) == (256, 32), "as many inputs as there, in batches of as many"
    merged = merge(problem, method.replace(examples=40), ctx=fresh())
    F, models = [], []
    for task, weights in problem.experts.items():
        double = {n: w.double() for n, w in weights.items()}

        def logits_of(free, x, task=task):
            return inputs.logits(task, inputs.features(free, x))

        F.append(naive.fisher_of_batches(logits_of, double, inputs.support(task, 40).double()))
        models.append(double)
    wanted = naive.library_fisher_average(models, F)
    for name in NET_SHAPES:
        assert_near(merged.task_vector(name).double(), wanted[name] - problem.pretrained[name].double(), 1e-4)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("floor", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("scaling", [0.3, 1.0, -0.5])
def test_svc(tasks, floor, scaling):
    problem = problem_of(tasks)
    steps = []
    method = build("task_arithmetic", scaling=scaling)
    merged = drive(merge_steps(problem, method, (build("svc", floor=floor),), fresh()), steps.append)
    gammas = []
    for name in SHAPES:
        D = vectors(problem, name)
        delta = scaling * sum(D)
        if delta.ndim == 2:
            delta, gamma = naive.svc(delta, D, floor)
            gammas += gamma
        assert_near(merged.task_vector(name).double(), delta, 1e-4)
    assert steps[-1].metrics["mean γ"] == pytest.approx(sum(gammas) / len(gammas), rel=1e-4)


def test_svc_after_an_offset():
    problem = problem_of(4)
    merged = merge(problem, build("cart", rank=0.3), (build("svc", embeddings="unchanged"),), fresh())
    before = merge(problem, build("cart", rank=0.3), ctx=fresh())
    for name in MATRICES:
        delta = before.task_vector(name).double()
        assert_near(merged.task_vector(name).double(), naive.svc(delta, vectors(problem, name))[0], 1e-3)
    assert torch.equal(merged.task_vector("embed.weight"), before.task_vector("embed.weight"))


@pytest.mark.parametrize("beta", [0.0, 0.01, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("scaling", [0.3, -1.0])
def test_subspace_boosting(beta, scaling):
    problem = problem_of(3)
    for embeddings in ("unchanged", "spectral"):
        post = (build("subspace_boosting", beta=beta, embeddings=embeddings),)
        merged = merge(problem, build("task_arithmetic", scaling=scaling), post, fresh())
        for name in SHAPES:
            delta = scaling * sum(vectors(problem, name))
            if name in MATRICES or (delta.ndim == 2 and embeddings == "spectral"):
                delta = naive.subspace_boosting(delta, beta)
            assert_near(merged.task_vector(name).double(), delta)


@pytest.mark.parametrize(
    ("options", "alpha"),
    [({}, None), ({"alpha_rule": "given", "alpha": 0.2}, 0.2), ({"alpha_rule": "one-minus-beta"}, 0.3)],
)
def test_lines(options, alpha):
    problem = problem_of(3)
    before = merge(problem, build("tsv_m", scaling=1.4), ctx=fresh())
    merged = merge(problem, build("tsv_m", scaling=1.4), (build("lines", beta=0.7, **options),), fresh())
    deltas = {n: before.task_vector(n).double() for n in SHAPES}
    taus = [{n: vectors(problem, n)[t] for n in SHAPES} for t in range(3)]
    wanted = naive.lines(deltas, taus, lambda n: SmallTransformer().place(n).block, 3, 0.7, alpha)
    for name in SHAPES:
        assert_near(merged.task_vector(name).double(), wanted[name])
