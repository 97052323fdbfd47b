"""SMILE: equal to loops over tokens, and to an expert where one takes all of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import fresh, said, some
from reference import per_input as naive

from merge_engine.inputs import SuiteInputs
from merge_engine.methods import build
from merge_engine.routing.per_input import Decision, blended
from merge_engine.running import merge

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def problem(toy):
    return toy.problem()


@pytest.fixture(scope="module")
def network(toy):
    return SuiteInputs(toy)


def smile_features(problem, network, x: torch.Tensor, sizes, whole: bool) -> torch.Tensor:
    base = naive.double(problem.pretrained)
    experts = [naive.double(problem.experts[t]) for t in problem.tasks]
    linear = {path for path, layer in network.layers().items() if isinstance(layer, torch.nn.Linear)}
    inside = {f"{path}.{leaf}" for path in linear for leaf in ("weight", "bias")}
    model = {n: v if n in inside else sum(e[n] for e in experts) / len(experts) for n, v in base.items()}

    def change(path):
        weight, bias = f"{path}.weight", f"{path}.bias"
        vectors = [(e[weight] - base[weight], e[bias] - base[bias]) for e in experts]

        def out(layer, tokens, y):
            return naive.smile_layer(base[weight], base[bias], vectors, tokens[0], sizes, whole)[None]

        return out

    return network.features(model, x[None].double(), {path: change(path) for path in linear})[0]


@pytest.mark.parametrize("gate", ["difference", "weight"])
@pytest.mark.parametrize("sizes", [(3, 1, 1), (5, 2, 2), (1000, 4, 4)])
def test_smile_equals_loops_over_tokens(toy, network, sizes, gate):
    problem, inputs = toy.problem(toy.experts[:3]), some(toy, 1)[1:2]
    rank, gate_rank, top_k = sizes
    merged = merge(problem, build("smile", rank=rank, gate_rank=gate_rank, top_k=top_k, gate=gate), ctx=fresh())
    got = said(merged, network, inputs)
    assert got.picked is None
    torch.testing.assert_close(got.route.sum(-1), torch.ones(got.route.shape[:2]))
    for x, features in zip(inputs, got.features, strict=True):
        torch.testing.assert_close(features, smile_features(problem, network, x, sizes, gate == "weight"), **TOLERANCE)


def test_smile_with_one_expert_for_all_tokens_is_that_expert(toy, problem, network):
    """Full rank and a one-hot gate; the tensors that are averaged are given to the expert too."""
    merged, inputs = merge(problem, build("smile", rank=1000), ctx=fresh()), some(toy)
    for t, task in enumerate(problem.tasks):
        w = torch.eye(len(problem.tasks))[t].expand(len(inputs), -1)
        got, _ = blended(network, merged.shared, merged.shares, Decision.same(w), inputs)
        expert, paths = problem.experts[task], merged.shares
        model = {n: expert[n] if n.rpartition(".")[0] in paths else merged.shared[n] for n in problem.pretrained}
        torch.testing.assert_close(got, network.features(model, inputs), **TOLERANCE)


def test_smile_counts_what_it_stores(problem, network):
    """W_0, T k (m + n), T gate n and the bias differences of every linear layer."""
    merged, tasks = merge(problem, build("smile", rank=4, gate_rank=2), ctx=fresh()), len(problem.tasks)
    wanted = sum(v.numel() for v in problem.pretrained.values())
    for layer in network.layers().values():
        if isinstance(layer, torch.nn.Linear):
            m, n = layer.weight.shape
            wanted += tasks * (4 * (m + n) + 2 * n + m)
    assert merged.stored_parameters == wanted


def test_one_expert_comes_back(toy, network):
    """G1."""
    problem, inputs = toy.problem(toy.experts[:1]), some(toy)
    (task,) = problem.tasks
    wanted = network.features(problem.experts[task], inputs)
    got = said(merge(problem, build("smile", rank=1000), ctx=fresh()), network, inputs, task)
    torch.testing.assert_close(got.features, wanted, **TOLERANCE)


def test_identical_experts_come_back(toy, network):
    """G2; the averaged tensors are the same too."""
    expert, experts = toy.expert(toy.experts[0]), toy.experts[:3]
    problem = dataclasses.replace(toy.problem(experts), experts=dict.fromkeys(experts, expert))
    inputs, task = some(toy), experts[0]
    wanted = network.features(expert, inputs)
    got = said(merge(problem, build("smile", rank=1000, top_k=2), ctx=fresh()), network, inputs, task)
    torch.testing.assert_close(got.features, wanted, **TOLERANCE)
