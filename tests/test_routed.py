"""Merges that decide per input: equal to one dense model per input, and to each other where theory says so."""

from __future__ import annotations

import pytest
import torch

from merge_engine.contract import Context
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.parts import DensePart, LowRankPart
from merge_engine.maths.svd import decompose
from merge_engine.routing.per_input import Decision, blended, shares_of


def parts_of(toy, rank: int | None):
    """Every expert's task vector by tensor: dense, or truncated where it is a matrix of the blocks."""
    experts = [toy.expert(e) for e in toy.experts]
    found = {}
    for name, base in toy.pretrained_in_memory.items():
        vectors = torch.stack([expert[name].float() - base for expert in experts])
        if rank is not None and toy.backbone.place(name).kind in ("q", "k", "v", "out", "fc1", "fc2"):
            found[name] = LowRankPart(tuple(decompose(v).top(rank) for v in vectors))
        elif vectors.any():
            found[name] = DensePart(vectors)
    return found


@pytest.mark.parametrize("rank", [None, 3, 32])
def test_a_blend_equals_one_dense_model_per_input(toy, rank):
    """y = f(x; θ + Σ w_t v_t) sample by sample, with all layers blended at once."""
    network, parts = SuiteInputs(toy), parts_of(toy, rank)
    inputs = torch.cat([toy.prepared(task, "score")[:3] for task in toy.seen])
    w = torch.rand(len(inputs), len(toy.experts), generator=Context().generator("w"))
    shares, left = shares_of(parts, network.layers())
    assert left == []
    base = toy.pretrained_in_memory
    with torch.no_grad():
        got, route = blended(network, base, shares, Decision.same(w), inputs)
        for i, x in enumerate(inputs):
            dense = dict(base)
            for name, part in parts.items():
                dense[name] = base[name] + sum(w[i, t] * part.task_vector(t) for t in range(len(toy.experts)))
            assert torch.allclose(got[i], network.features(dense, x[None])[0], atol=1e-4)
    assert route.shape == (len(inputs), len(shares), len(toy.experts))
    assert torch.equal(route[:, 0], w)


def test_changes_leave_nothing_behind(toy):
    network, inputs = SuiteInputs(toy), toy.prepared("blob", "score")[:2]
    before = network.features(toy.pretrained_in_memory, inputs)
    path = next(iter(network.layers()))
    with pytest.raises(ZeroDivisionError):
        network.features(toy.pretrained_in_memory, inputs, {path: lambda layer, x, y: y / (1 // 0)})
    assert torch.equal(before, network.features(toy.pretrained_in_memory, inputs))
