"""Every coordinate-wise method and option against a naive float64 version written from its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import coordinate
from reference.problems import COARSE, FINE, SHAPES, arrays, changed, grid_problem

from merge_engine.methods import build
from merge_engine.running import merge

W = (0.5, 1.0, 2.0, 0.25)

DETERMINISTIC = [
    ("average", {}),
    ("linear", {}),
    ("linear", {"weights": W}),
    ("linear", {"weights": (1.0, -0.5, 2.0, 0.25)}),
    ("linear", {"weights": W, "normalise": False}),
    ("linear", {"normalise": False}),
    *[("ties", {"scope": s, "merge_by": m}) for s in ("global", "tensor") for m in ("mean", "sum", "max")],
    *[("ties", {"density": d, "scope": s}) for s in ("global", "tensor") for d in (0.001, 0.07, 0.5, 1.0)],
    *[
        ("ties", {"density": 0.6, "weights": W, "weighting": w, "merge_by": m, "scope": s})
        for w in ("after", "before", "none")
        for m in ("mean", "sum", "max")
        for s in ("global", "tensor")
    ],
    ("ties", {"weights": (0.0, 1.0, 0.0, 1.0), "density": 1.0}),
    ("ties", {"weights": (0.0, 1.0, 0.0, 1.0), "density": 1.0, "weighting": "before"}),
    ("ties", {"scaling": 0.3, "merge_by": "sum"}),
    *[("breadcrumbs", {"combine": c}) for c in ("sum", "ties")],
    *[("breadcrumbs", {"density": d, "gamma": g}) for d in (0.05, 0.4, 0.95, 1.0) for g in (0.0, 0.1, 0.7, 1.0)],
    *[("model_stock", {"mean": m, "per": p}) for m in ("cosine", "angle") for p in ("tensor", "rows")],
    *[("pcb", {"variant": v, "ratio": r}) for v in ("vision", "top-level") for r in (0.05, 0.1, 0.5, 1.0)],
    ("pcb", {"weights": W, "scaling": 0.8}),
    *[("consensus", {"k": k, "base": b}) for k in (0, 1, 2, 3, 4, 5) for b in ("sum", "ties")],
    ("consensus", {"threshold": 0.0, "k": 4}),
    ("consensus", {"thresholds": (0.2, 0.4, 0.6, 1.5)}),
    ("consensus", {"base": "ties", "density": 0.7, "scaling": 1.5}),
    *[("tall_mask", {"threshold": x, "base": b}) for x in (0.0, 0.2, 0.6, 1.5) for b in ("sum", "ties")],
    ("tall_mask", {"thresholds": (0.2, 0.4, 0.6, 1.5)}),
    ("tall_mask", {"base": "ties", "density": 0.7}),
    ("emr", {}),
    ("emr", {"rescale": "sums"}),
    ("magmax", {}),
    ("magmax", {"scaling": 1.3}),
]
PAIRS = [
    *[("slerp", {"t": t}) for t in (0.0, 0.3, 0.5, 1.0)],
    *[("nuslerp", {"per": p}) for p in ("tensor", "rows", "columns")],
    *[("nuslerp", {"per": p, "between": "weights"}) for p in ("tensor", "rows", "columns")],
    ("nuslerp", {"weights": (1.0, 3.0), "per": "rows"}),
    ("nuslerp", {"weights": (1.0, -1.0)}),
    ("nuslerp", {"weights": (2.0, -0.5), "per": "columns"}),
]
RANDOM = [
    *[("dare", {"rescale": r, "combine": c}) for r in ("inverse", "l1", "none") for c in ("linear", "ties")],
    *[("dare", {"combine": "ties", "merge_by": m, "trim": 0.6, "density": 0.8}) for m in ("sum", "mean", "max")],
    ("dare", {"density": 0.1}),
    ("dare", {"density": 1.0}),
    *[("dare", {"tensors": "matrices", "combine": c}) for c in ("linear", "ties")],
    *[("della", {"rescale": r, "combine": c}) for r in ("inverse", "l1", "none") for c in ("linear", "ties")],
    *[("della", {"density": d, "epsilon": e}) for d in (0.2, 0.9, 1.0) for e in (0.0, 0.1, 0.5)],
    *[("della", {"merge_by": m}) for m in ("sum", "max")],
]


def named(case: tuple[str, dict]) -> str:
    return case[0] + "".join(f"-{k}={v}" for k, v in case[1].items())


def agree(merged, expected: dict[str, np.ndarray], theta0: dict[str, np.ndarray], task=None) -> None:
    """Compare what a merge adds to the pretrained model, not the sum, in which an error would drown."""
    for name, base in theta0.items():
        part = None if task is None else merged.parts[name]
        got = part.task_vector(merged.tasks.index(task)) if part else merged.task_vector(name)
        assert got.dtype == torch.float32
        assert got.shape == base.shape
        np.testing.assert_allclose(got.double().numpy(), expected[name] - base, rtol=1e-5, atol=2e-6, err_msg=name)


def compare(key, parameters, problem, ctx, **more) -> None:
    theta0, experts = arrays(problem)
    merged = merge(problem, build(key, **parameters), ctx=ctx)
    expected = getattr(coordinate, key)(theta0, experts, **more, **parameters)
    if isinstance(expected, list):
        for task, one in zip(problem.tasks, expected, strict=True):
            agree(merged, one, theta0, task)
    else:
        agree(merged, expected, theta0)


@pytest.mark.parametrize("step", [FINE, COARSE], ids=["fine", "coarse"])
@pytest.mark.parametrize("case", DETERMINISTIC, ids=named)
def test_four_experts(case, step, ctx):
    compare(*case, grid_problem(4, step), ctx)


@pytest.mark.parametrize("case", PAIRS, ids=named)
@pytest.mark.parametrize("size", [0.01, 2.0], ids=["near", "far"])
def test_two_experts(case, size, ctx):
    compare(*case, grid_problem(2, size=size), ctx)


@pytest.mark.parametrize("step", [FINE, COARSE], ids=["fine", "coarse"])
@pytest.mark.parametrize("case", RANDOM, ids=named)
def test_random_methods_on_the_same_draws(case, step, ctx):
    key, parameters = case
    problem = grid_problem(3, step, seed=1)
    uniforms = [
        {n: torch.rand(s, generator=ctx.generator(n, t)).double().numpy() for n, s in SHAPES.items()}
        for t in problem.tasks
    ]
    matrices = [n for n in SHAPES if n.endswith(("fc1.weight", "q.weight", "fc2.weight"))]
    more = {"uniforms": uniforms} | ({"matrices": matrices} if key == "dare" else {})
    compare(key, parameters, problem, ctx, **more)


@pytest.mark.parametrize("tasks", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("key", ["average", "ties", "breadcrumbs", "pcb", "consensus", "tall_mask", "emr", "magmax"])
def test_any_number_of_experts(key, tasks, ctx):
    compare(key, {}, grid_problem(tasks, seed=2), ctx)


@pytest.mark.parametrize(
    "key", ["ties", "breadcrumbs", "model_stock", "pcb", "consensus", "tall_mask", "emr", "magmax"]
)
def test_one_expert_that_never_moved_and_one_tensor_that_nobody_moved(key, ctx):
    problem = changed(
        grid_problem(3, seed=3), lambda t, n, tau: tau * (t != 1) * (n not in {"embed.weight", "logit_scale"})
    )
    compare(key, {}, problem, ctx)


@pytest.mark.parametrize("variant", ["vision", "top-level"])
def test_pcb_clamps_several_entries_of_a_larger_model(variant, ctx):
    problem = grid_problem(3, shapes={"embed.weight": (20, 20), "patch.weight": (2, 5, 10)}, seed=5)
    compare("pcb", {"variant": variant, "ratio": 0.3}, problem, ctx)


CANCELLING = [
    ("ties", {"density": 1.0, "scope": "global"}),
    ("ties", {"density": 1.0, "scope": "tensor"}),
    ("ties", {"density": 1.0, "weights": (2.0, 1.0), "weighting": "before"}),
    ("consensus", {"k": 1, "base": "ties", "density": 1.0}),
    ("breadcrumbs", {"density": 1.0, "combine": "ties"}),
    ("dare", {"density": 1.0, "combine": "ties", "trim": 1.0}),
    ("della", {"density": 1.0}),
]


@pytest.mark.parametrize("case", CANCELLING, ids=named)
def test_sums_that_cancel_take_the_majority_sign(case, ctx):
    """Two experts that are opposite in one tensor: the rest of the model, or of the tensor, decides its signs."""
    key, parameters = case
    random = grid_problem(2, seed=4)
    odd = "blocks.0.q.weight"
    one = random.experts["task0"][odd] - random.pretrained[odd]
    one[0] = 0.0
    problem = changed(random, lambda t, n, tau: (one, -one)[t] if n == odd else tau)
    draws = [{n: np.zeros(s) for n, s in SHAPES.items()}] * 2
    compare(key, parameters, problem, ctx, **({"uniforms": draws} if key in {"dare", "della"} else {}))
    merged = merge(problem, build(key, **parameters), ctx=ctx).task_vector(odd)
    assert not merged[0].any()
    if parameters.get("scope") == "global" or key in {"dare", "consensus"}:
        assert merged[1:].all()
        assert len(merged[1:].sign().unique()) == 1
