"""MASS: its coefficients, its two passes and its heads, against one dense model per input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import per_input as slow
from reference import routing

from merge_engine.contract import Context
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import build
from merge_engine.routing import subsets
from merge_engine.routing.subsets import Selection, Subset, SubsetMerged
from merge_engine.running import merge
from merge_engine.weights import in_memory

TASKS = 3


@pytest.fixture(scope="module")
def svd() -> SvdStore:
    """Decompositions shared by the tests of this file."""
    return SvdStore(folder=None)


def fit(toy, svd, tasks: int = TASKS, **parameters) -> SubsetMerged:
    merged = merge(toy.problem(toy.experts[:tasks]), build("mass", **parameters), (), Context(svd=svd))
    assert isinstance(merged, SubsetMerged)
    return merged


def mixture(toy, each: int = 2) -> torch.Tensor:
    return torch.cat([toy.prepared(task, "score")[:each] for task in toy.seen])


def predict(merged, toy, inputs):
    with torch.inference_mode():
        return merged.predictor(SuiteInputs(toy))(inputs)


def coefficients(scores: np.ndarray, threshold: float, most: int, temperature: float) -> np.ndarray:
    """Return the coefficients of one input (T,) from the published rule."""
    z = (scores - scores.mean()) / (scores.std(ddof=1) + 1e-6) if len(scores) > 1 else 0 * scores
    p = np.exp(z / temperature)
    p /= p.sum()
    passed = [t for t in range(len(p)) if p[t] > threshold]
    passed = sorted(passed, key=lambda t: -p[t])[:most] or [int(p.argmax())]
    kept = np.array([p[t] if t in passed else 0.0 for t in range(len(p))])
    return kept / kept.sum()


@settings(max_examples=40, deadline=None)
@given(
    tasks=st.integers(1, 9), threshold=st.sampled_from([0.0, 0.2, 0.4, 1.0]), most=st.integers(1, 5),
    temperature=st.sampled_from([0.5, 1.0, 3.0]), seed=st.integers(0, 999),
)  # fmt: skip
def test_coefficients_follow_the_published_rule(tasks, threshold, most, temperature, seed):
    scores = torch.randn(4, tasks, generator=torch.Generator().manual_seed(seed)).double()
    found = Selection(threshold, most, temperature)(scores)
    wanted = [coefficients(row, threshold, most, temperature) for row in scores.numpy()]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-12)
    assert torch.equal(found.argmax(1), scores.argmax(1))


def test_equal_scores_select_some_experts_and_divide_by_no_zero():
    found = Selection()(torch.zeros(2, 4))
    assert ((found > 0).sum(1) == 3).all()
    torch.testing.assert_close(found.sum(1), torch.ones(2))


@pytest.mark.parametrize("chosen", [(0,), (1, 2), (0, 1, 2)])
def test_a_subset_is_tsv_m_of_those_experts_at_the_stored_rank(toy, svd, chosen):
    merged, inputs, network = fit(toy, svd), mixture(toy, 1), SuiteInputs(toy)
    dense = {}
    for name, base in toy.pretrained_in_memory.items():
        vectors = [(toy.expert(toy.experts[t])[name] - base).double() for t in chosen]
        if toy.backbone.place(name).kind not in ("q", "k", "v", "out", "fc1", "fc2"):
            dense[name] = base + (sum(vectors) / len(vectors)).float()
            continue
        k = min(base.shape) // TASKS
        U, s, V = zip(*[(u[:, :k], v[:k], w[:k].T) for u, v, w in map(_svd, vectors)], strict=True)
        dense[name] = base + (_polar(torch.cat(U, 1)) * torch.cat(s) @ _polar(torch.cat(V, 1)).T).float()
    with torch.inference_mode():
        found = Subset.of(merged.store, chosen)(network, inputs)
        torch.testing.assert_close(found, network.features(dense, inputs), rtol=1e-3, atol=1e-3)


def _svd(matrix):
    return torch.linalg.svd(matrix, full_matrices=False)


def _polar(matrix):
    U, _, Vh = _svd(matrix)
    return U @ Vh


def test_all_experts_together_are_the_model_of_the_first_pass(toy, svd):
    merged, inputs = fit(toy, svd, threshold=0.0, most=TASKS), mixture(toy)
    assert (merged.select(torch.randn(5, TASKS)) > 0).all()
    with torch.inference_mode():
        wanted = SuiteInputs(toy).features(in_memory(_tsv_m(toy, svd).weights()), inputs)
    torch.testing.assert_close(predict(merged, toy, inputs).features, wanted, rtol=1e-3, atol=1e-3)


def _tsv_m(toy, svd):
    return merge(toy.problem(toy.experts[:TASKS]), build("tsv_m"), (), Context(svd=svd))


def test_one_expert_per_input_is_the_same_router_over_compressed_experts(toy, svd):
    merged, inputs = fit(toy, svd, most=1), mixture(toy)
    routed = merge(
        toy.problem(toy.experts[:TASKS]), build("sim", router="weight_projection"), (), Context(svd=svd)
    )
    said, wanted = predict(merged, toy, inputs), predict(routed, toy, inputs)
    assert torch.equal(said.picked, wanted.picked)
    torch.testing.assert_close(said.features, wanted.features, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_mass_equals_loops_in_float64(toy, svd, norm):
    """Both passes, the residuals, the coefficients and the heads, one input at a time."""
    problem, network = toy.problem(toy.experts[:TASKS]), SuiteInputs(toy)
    merged, inputs = fit(toy, svd, norm=norm), mixture(toy)
    base, experts = slow.double(problem.pretrained), [slow.double(problem.experts[t]) for t in problem.tasks]
    kinds = ("q", "k", "v", "out", "fc1", "fc2")
    matrices = [n for n in base if toy.backbone.place(n).kind in kinds]
    first = slow.tsv_m(base, experts, matrices, lambda rank: rank // TASKS)
    (layer,) = (n for n in base if (toy.backbone.place(n).block, toy.backbone.place(n).kind) == (2, "fc1"))
    rank = min(base[layer].shape) // TASKS
    projectors = [routing.projector((expert[layer] - base[layer]).numpy(), rank) for expert in experts]
    said, sizes = predict(merged, toy, inputs), set()
    for x, route, picked, features in zip(inputs, said.route[:, 0], said.picked, said.features, strict=True):
        token = network.linear_inputs(first, x[None].double())[layer][0].numpy()
        left = [np.linalg.norm(token - P @ token, ord={"l2": 2, "l1": 1}[norm]) for P in projectors]
        p = coefficients(-np.array(left), 0.2, 3, 1.0)
        np.testing.assert_allclose(route, p, atol=1e-4)
        chosen = [t for t in range(TASKS) if p[t]]
        sizes.add(len(chosen))
        model = slow.tsv_m(base, [experts[t] for t in chosen], matrices, lambda rank: rank // TASKS)
        wanted = network.features(model, x[None].double())[0]
        torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-4)
        largest = {t: float(network.logits(problem.tasks[t], wanted[None])[0].max()) for t in chosen}
        assert int(picked) == max(largest, key=largest.__getitem__)
    assert len(sizes) > 1


def test_g1_one_expert_is_that_expert(toy, svd):
    inputs = mixture(toy, 1)
    with torch.inference_mode():
        wanted = SuiteInputs(toy).features(in_memory(toy.expert(toy.experts[0])), inputs)
    torch.testing.assert_close(predict(fit(toy, svd, 1), toy, inputs).features, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head", ["logit", "confidence", "route"])
def test_a_batch_equals_its_inputs_alone_and_asks_only_selected_heads(toy, svd, head):
    merged, inputs, network = fit(toy, svd, head=head), mixture(toy), SuiteInputs(toy)
    said = predict(merged, toy, inputs)
    assert len(set(map(tuple, (said.route[:, 0] > 0).tolist()))) > 2
    for i, x in enumerate(inputs):
        alone = predict(merged, toy, x[None])
        torch.testing.assert_close(alone.features[0], said.features[i], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(alone.route[0], said.route[i], rtol=1e-4, atol=1e-5)
        answers = {}
        for t in said.route[i, 0].nonzero().flatten().tolist():
            logits = network.logits(merged.tasks[t], said.features[i][None])[0]
            answers[t] = {
                "logit": float(logits.max()),
                "confidence": float(logits.softmax(0).max()),
                "route": float(said.route[i, 0, t]),
            }[head]
        assert int(said.picked[i]) == max(answers, key=answers.get)
    assert merged.forwards == 2


def test_what_was_seen_before_changes_nothing_and_few_merges_are_kept(toy, svd, monkeypatch):
    """The published cache kept the coefficients first seen for a set of experts, and so depended on the order."""
    monkeypatch.setattr(subsets, "SETS_IN_MEMORY", 1)
    made, of = [], Subset.of
    monkeypatch.setattr(subsets.Subset, "of", lambda store, chosen, *given: made.append(chosen) or of(store, chosen))
    merged, inputs = fit(toy, svd, head="route"), mixture(toy)
    predictor = merged.predictor(SuiteInputs(toy))
    with torch.inference_mode():
        first = predictor(inputs)
        back = predictor(inputs.flip(0))
    torch.testing.assert_close(back.features.flip(0), first.features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(back.route.flip(0), first.route, rtol=1e-4, atol=1e-5)
    assert torch.equal(back.picked.flip(0), first.picked)
    sets = {tuple(np.flatnonzero(row)) for row in first.route[:, 0].numpy()}
    assert set(made) == sets
    assert len(made) >= 2 * len(sets) - 1, "a bound of one lets go of every other merge"


def test_the_order_of_experts_changes_no_set(toy, svd):
    problem, inputs = toy.problem(toy.experts[:TASKS]), mixture(toy)
    there = predict(fit(toy, svd), toy, inputs)
    order = (2, 0, 1)
    named = {problem.tasks[t]: problem.experts[problem.tasks[t]] for t in order}
    other = merge(dataclasses.replace(problem, experts=named), build("mass"), (), Context(svd=svd))
    back = predict(other, toy, inputs)
    route = back.route[..., [order.index(t) for t in range(TASKS)]]
    torch.testing.assert_close(route, there.route, atol=1e-4, rtol=0)
    torch.testing.assert_close(back.features, there.features, rtol=1e-3, atol=1e-3)
