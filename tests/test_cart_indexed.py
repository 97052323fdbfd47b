"""CART-Indexing: against loops in float64, and where it must equal other methods."""

from __future__ import annotations

import pytest
import torch
from conftest import SmallTransformer, fresh
from reference.problems import changed, grid_problem

from merge_engine.methods import build
from merge_engine.problem import Problem
from merge_engine.running import merge

SHAPES = {
    "blocks.0.q.weight": (8, 8), "blocks.0.k.weight": (8, 8), "blocks.0.v.weight": (8, 8),
    "blocks.0.fc1.weight": (12, 6), "blocks.1.fc2.weight": (6, 13), "blocks.0.fc1.bias": (12,),
    "embed.weight": (7, 5), "logit_scale": (),
}  # fmt: skip
MATRICES = [n for n in SHAPES if SmallTransformer().place(n).kind in ("q", "k", "v", "fc1", "fc2") and "bias" not in n]


def problem_of(tasks: int) -> Problem:
    return grid_problem(tasks, shapes=SHAPES)


def served(problem: Problem, key: str = "cart_indexed", **parameters) -> list[dict[str, torch.Tensor]]:
    merged = merge(problem, build(key, **parameters), ctx=fresh())
    return [{n: merged.weights(t)[n].double() for n in SHAPES} for t in problem.tasks]


def gap(a: dict, b: dict) -> float:
    return max(float((a[n] - b[n].double()).norm()) for n in SHAPES)


@pytest.mark.parametrize("rule", ["fraction", "energy"])
@pytest.mark.parametrize(("coefficient", "rank"), [(1.0, 0.0), (1.0, 0.3), (0.7, 0.5), (1.0, 1.0)])
def test_against_loops(coefficient, rank, rule):
    problem = problem_of(3)
    found = served(problem, coefficient=coefficient, rank=rank, rank_rule=rule)
    for t, expert in enumerate(problem.experts.values()):
        for n in SHAPES:
            mean = sum(e[n].double() for e in problem.experts.values()) / 3
            centred = expert[n].double() - mean
            if n in MATRICES:
                U, s, Vh = torch.linalg.svd(centred, full_matrices=False)
                k = max(1, int(rank * len(s))) if rank else 0
                if rule == "energy" and rank:
                    k = next(
                        k
                        for k in range(1, len(s) + 1)
                        if k == len(s) or (s[:k] ** 2).sum() >= rank * (s**2).sum()
                    )
                centred = sum(
                    (s[r] * torch.outer(U[:, r], Vh[r]) for r in range(k)), torch.zeros_like(centred)
                )
            assert torch.allclose(found[t][n], mean + coefficient * centred, atol=1e-5)


def test_all_components_are_the_experts_and_none_the_average():
    problem = problem_of(3)
    for found, expert in zip(served(problem, rank=1), problem.experts.values(), strict=True):
        assert gap(found, expert) < 1e-5
    alone = problem_of(1)
    assert gap(served(alone, rank=0)[0], alone.experts["task0"]) < 1e-6  # G1
    merged = merge(problem, build("average")).weights()
    for found in served(problem, rank=0):
        assert all(torch.allclose(found[n], merged[n].double(), atol=1e-6) for n in MATRICES)


def test_its_experts_add_up_to_cart():
    """Σ_t (W(t) − W_avg) = λ Σ_t SVD_k(C_t), what CART adds to the average."""
    problem = problem_of(3)
    average = merge(problem, build("average")).weights()
    cart = merge(
        problem, build("cart", scaling=1.3, rank=0.3), ctx=fresh()
    ).weights()
    found = served(problem, coefficient=1.3, rank=0.3)
    for n in MATRICES:
        total = average[n].double() + sum(w[n] - average[n].double() for w in found)
        assert torch.allclose(total, cart[n].double(), atol=1e-5)


def test_identical_experts_are_served_whole():
    problem = problem_of(3)
    tau = {n: e - problem.pretrained[n] for n, e in problem.experts["task0"].items()}
    for found in served(changed(problem, lambda t, n, _: tau[n]), rank=0):
        assert gap(found, problem.experts["task0"]) < 1e-5


def test_the_store_is_one_model_its_factors_and_what_is_no_matrix():
    problem = problem_of(3)
    merged = merge(problem, build("cart_indexed", rank=0.35), ctx=fresh())
    model = sum(w.numel() for w in problem.pretrained.values())
    factors = sum(int(0.35 * min(SHAPES[n])) * (sum(SHAPES[n]) + 1) for n in MATRICES)
    others = sum(w.numel() for n, w in problem.pretrained.items() if n not in MATRICES)
    assert merged.stored_parameters == model + 3 * (factors + others)
    assert merged.stored_parameters < 4 * model


def test_fused_attention_has_one_budget_and_is_stored_once():
    problem, names = problem_of(3), [f"blocks.0.{kind}.weight" for kind in "qkv"]
    merged = merge(problem, build("cart_indexed", rank=0.3, attention="fused"), ctx=fresh())
    models = [torch.cat([e[n].double() for n in names]) for e in problem.experts.values()]
    mean = sum(models) / 3
    for task, model in zip(problem.tasks, models, strict=True):
        U, s, Vh = torch.linalg.svd(model - mean, full_matrices=False)
        wanted = mean + U[:, :2] @ torch.diag(s[:2]) @ Vh[:2]
        weights = merged.weights(task)
        assert torch.allclose(torch.cat([weights[n].double() for n in names]), wanted, atol=1e-5)
    assert sum(merged.parts[n].stored_parameters for n in names) == 3 * 2 * (24 + 8 + 1)
    cart = merge(problem, build("cart", rank=0.3, scaling=1.0, attention="fused"), ctx=fresh()).weights()
    average = merge(problem, build("average")).weights()
    for n in SHAPES:
        total = average[n].double() + sum(merged.weights(t)[n] - average[n].double() for t in problem.tasks)
        assert n not in MATRICES or torch.allclose(total, cart[n].double(), atol=1e-5)
