"""Scores: equal to a plain loop, progressive, and the same whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import metrics as naive

from merge_engine import evaluate, precision
from merge_engine.errors import RecipeError
from merge_engine.evaluate import Fixed, logits, score, score_steps
from merge_engine.methods import build
from merge_engine.running import merge
from merge_engine.weights import in_memory


@pytest.fixture(scope="module")
def merged(toy):
    return merge(toy.problem(), build("task_arithmetic"))


def plain_accuracy(suite, weights, task: str, split: str) -> float:
    """Accuracy from transformers' own module with the weights loaded into it, one input at a time."""
    from transformers import Dinov2Config, Dinov2Model

    module = Dinov2Model(Dinov2Config(**suite.config)).eval()
    module.load_state_dict({n: weights[n].float() for n in weights})
    stored = suite.head(task)
    right = 0
    with torch.no_grad():
        for x, y in zip(suite.prepared(task, split), suite.labels(task, split), strict=True):
            hidden = module(x[None]).last_hidden_state[0]
            z = torch.cat([hidden[0], hidden[1:].mean(0)]) - stored.centre
            right += int((stored.vectors @ z).argmax() == y)
    return 100 * right / len(suite.labels(task, split))


def test_a_score_equals_a_plain_loop(toy, merged):
    scores = score(toy, merged, ["stripes", "shape"])
    for task, found in scores.items():
        assert found.accuracy == pytest.approx(plain_accuracy(toy, merged.weights(), task, "score"))
        assert found.done


def test_scores_stream_and_tighten(toy, merged):
    seen = list(score_steps(toy, merged, ["stripes", "blob"], first=8))
    assert [len(s) for s in seen[:2]] == [1, 2]
    assert seen[0]["stripes"].n == 8
    widths = [s["stripes"].interval[1] - s["stripes"].interval[0] for s in seen]
    assert widths[-1] < widths[0]
    assert seen[-1] == score(toy, merged, ["stripes", "blob"])


def test_batches_do_not_change_a_score(toy, merged, monkeypatch):
    whole = score(toy, merged, ["grain"])["grain"]
    monkeypatch.setattr(evaluate, "BATCH", 7)
    parts = score(toy, merged, ["grain"])["grain"]
    assert parts.correct == whole.correct
    assert parts.entropy == pytest.approx(whole.entropy, abs=1e-5)


def test_certainty_is_that_of_the_head_that_answered(toy):
    """Of the routed head where an input goes astray, and of the given one where a task has no expert."""
    experts = toy.experts[:2]
    sim = merge(toy.problem(experts), build("sim", router="nearest_mean", examples=4, store="experts"))
    astray = 0
    for task in (experts[0], toy.unseen[0]):
        found = score(toy, sim, [task], limit=30)[task]
        said, p = found.said, []
        for index, t in zip(said.index, said.picked, strict=True):
            head = experts[t] if task in experts else task
            features = toy.features(dict(toy.expert(experts[t])), toy.prepared(task, "score")[int(index)][None])
            p.append(naive.softmax(toy.head(head)(features).numpy())[0])
            astray += head != task
        right, sure = said.right(experts), np.array([max(row) for row in p])
        assert found.entropy == pytest.approx(np.mean([naive.entropy([row]) for row in p]), abs=1e-3)
        assert found.ece == pytest.approx(naive.calibration_error(sure, right, 15), abs=1e-3)
        assert found.correct == right.sum()
    assert astray


def test_a_limit_is_a_prefix_of_the_scoring_order(toy, merged):
    weights = in_memory(merged.weights())
    every, some = logits(toy, weights, "blob", "score"), logits(toy, weights, "blob", "score", limit=20)
    assert torch.allclose(every[:20], some, atol=1e-5)
    assert score(toy, merged, ["blob"], limit=20)["blob"].total == 20
    with pytest.raises(RecipeError, match="limit must be at least 1"):
        score(toy, merged, ["blob"], limit=0)


def test_experts_know_their_own_task_best(toy):
    pretrained = score(toy, Fixed(toy.pretrained))
    for name in toy.experts:
        assert score(toy, Fixed(toy.expert(name)), [name])[name].accuracy > pretrained[name].accuracy


def test_bfloat16_scores_nearly_alike(toy, merged):
    whole = score(toy, merged, ["blob", "grain"])
    *_, half = score_steps(toy, merged, ["blob", "grain"], dtype=torch.bfloat16)
    for task, found in half.items():
        assert abs(found.accuracy - whole[task].accuracy) <= 4
        assert found.entropy == pytest.approx(whole[task].entropy, rel=0.05)


def test_the_live_precision_is_what_the_machine_or_the_user_says(monkeypatch):
    monkeypatch.delenv(precision.VARIABLE, raising=False)
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        assert precision.live_dtype() == expected
    monkeypatch.setenv(precision.VARIABLE, "bfloat16")
    assert precision.live_dtype() == torch.bfloat16
    monkeypatch.setenv(precision.VARIABLE, "bfloat17")
    with pytest.raises(RecipeError, match="Did you mean 'bfloat16'"):
        precision.live_dtype()
