"""DaWin and the ensemble: equal to one dense model per input, and to an expert where all are the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import fresh, moved_outside, said, some
from reference import per_input as naive

from merge_engine.evaluate import score
from merge_engine.inputs import SuiteInputs
from merge_engine.methods import build
from merge_engine.methods.dawin import weights_of
from merge_engine.running import merge

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def problem(toy):
    return moved_outside(toy.problem())


@pytest.fixture(scope="module")
def network(toy):
    return SuiteInputs(toy)


def test_dawin_equals_one_dense_model_per_input(toy, problem, network):
    merged, task = merge(problem, build("dawin"), ctx=fresh()), problem.tasks[2]
    assert merged.knows_task
    assert merged.forwards == len(problem.tasks) + 1
    inputs, base = some(toy, 1), naive.double(problem.pretrained)
    experts = [naive.double(problem.experts[t]) for t in problem.tasks]
    vectors = [{n: e[n] - base[n] for n in base} for e in experts]
    got = said(merged, network, inputs, task)
    for i, x in enumerate(inputs):
        logits = [network.logits(task, network.features(e, x[None].double()))[0] for e in experts]
        w = 0.3 * len(experts) * naive.softmax([-naive.entropy(one.numpy()) for one in logits])
        np.testing.assert_allclose(got.route[i, 0], w, atol=1e-4)
        torch.testing.assert_close(got.features[i], naive.mixed(network, base, vectors, w, x), **TOLERANCE)


def test_dawin_weights_add_up():
    w = weights_of(torch.tensor([[0.0, 2.0], [1.0, 1.0]]), 0.3)
    torch.testing.assert_close(w.sum(1), torch.tensor([0.6, 0.6]))
    torch.testing.assert_close(w[1], torch.tensor([0.3, 0.3]))
    assert w[0, 0] > w[0, 1], "the certain expert weighs more"


def test_dawin_makes_one_pass_of_every_expert_and_one_of_the_blend(toy, problem):
    passes = []

    class Counting(SuiteInputs):
        def features(self, weights, inputs, changes=None):
            passes.append(len(inputs))
            return super().features(weights, inputs, changes)

    inputs = some(toy)
    said(merge(problem, build("dawin"), ctx=fresh()), Counting(toy), inputs, problem.tasks[0])
    assert passes == [len(inputs)] * (len(problem.tasks) + 1)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_ensemble_equals_its_definition(toy, problem, network, average):
    merged, task = merge(problem, build("ensemble", average=average, temperature=2.0), ctx=fresh()), problem.tasks[0]
    assert merged.knows_task
    inputs, experts = some(toy, 1), [naive.double(problem.experts[t]) for t in problem.tasks]
    got = said(merged, network, inputs, task)
    for i, x in enumerate(inputs):
        logits = [network.logits(task, network.features(e, x[None].double()))[0].numpy() / 2 for e in experts]
        if average == "logits":
            np.testing.assert_allclose(got.logits[i], sum(logits) / len(logits), rtol=1e-4, atol=1e-4)
        else:
            wanted = sum(naive.softmax(one) for one in logits) / len(logits)
            np.testing.assert_allclose(got.logits[i].exp(), wanted, rtol=1e-4, atol=1e-6)
    assert got.features.shape == network.features(problem.pretrained, inputs).shape


def test_unseen_tasks_are_scored_under_their_own_heads(toy, problem):
    """All that is told of an unseen task is its head, and that is frozen and given."""
    (task,), network = toy.unseen, SuiteInputs(toy)
    experts = [dict(problem.experts[t]) for t in problem.tasks]
    for method in (build("ensemble"), build("dawin")):
        merged = merge(problem, method, ctx=fresh())
        assert merged.knows_task
        found, right = score(toy, merged, [task], limit=12)[task], 0
        for index in found.said.index:
            x = toy.prepared(task, "score")[int(index)][None]
            logits = [network.logits(task, network.features(e, x))[0] for e in experts]
            if method.title == "Ensemble of experts":
                guess = sum(logits).argmax()
            else:
                w = 0.3 * len(experts) * naive.softmax([-naive.entropy(one.numpy()) for one in logits])
                base = problem.pretrained
                model = {n: base[n] + sum(float(w[t]) * (e[n] - base[n]) for t, e in enumerate(experts)) for n in base}
                guess = network.logits(task, network.features(model, x))[0].argmax()
            right += int(guess) == int(toy.labels(task, "score")[index])
        assert found.correct == right
    assert not merge(problem, build("tall_mask"), ctx=fresh()).serves(task)


def test_one_expert_comes_back(toy, network):
    """G1."""
    problem, inputs = toy.problem(toy.experts[:1]), some(toy)
    (task,) = problem.tasks
    wanted = network.features(problem.experts[task], inputs)
    for method in (build("dawin", offset=1.0), build("ensemble")):
        got = said(merge(problem, method, ctx=fresh()), network, inputs, task)
        torch.testing.assert_close(got.features, wanted, **TOLERANCE)


def test_identical_experts_come_back(toy, network):
    """G2; the weights of DaWin add up to λT."""
    expert, experts = toy.expert(toy.experts[0]), toy.experts[:3]
    problem = dataclasses.replace(toy.problem(experts), experts=dict.fromkeys(experts, expert))
    inputs, task = some(toy), experts[0]
    wanted = network.features(expert, inputs)
    for method in (build("dawin", offset=1 / 3), build("ensemble")):
        got = said(merge(problem, method, ctx=fresh()), network, inputs, task)
        torch.testing.assert_close(got.features, wanted, **TOLERANCE)
