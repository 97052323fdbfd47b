"""What a score knows about single inputs: the same as predictions, bounded, and put together only when asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from merge_engine.answers import ANYWHERE, Answers, by_block
from merge_engine.contract import Context
from merge_engine.evaluate import predictions, score, score_steps
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import build
from merge_engine.routing.prediction import Prediction
from merge_engine.running import merge

TASKS = ["stripes", "shape"]


def merged(toy, method: str, **parameters):
    return merge(toy.problem(), build(method, **parameters), ctx=Context(svd=SvdStore(folder=None)))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("task_arithmetic", {}), ("sim", {"examples": 8, "rank": 4}), ("smile", {}), ("we_moe", {"steps": 2, "batch": 4})],
)
def test_a_score_says_what_predictions_say(toy, method, parameters):
    made = merged(toy, method, **parameters)
    for task, found in score(toy, made, TASKS, limit=20).items():
        said, again = found.said, predictions(toy, made, task, limit=20)
        for name in ("index", "label", "guess", "picked"):
            assert np.array_equal(getattr(said, name), getattr(again, name)), name
        assert (said.confidence == again.confidence).all()
        assert len(said.index) == found.n == 20
        own = said.picked is None or task == "shape"
        right = (said.guess == said.label) & (own or said.picked == toy.experts.index(task))
        assert right.sum() == found.correct


def test_routes_are_kept_by_block_and_their_means_by_layer(toy):
    made = merged(toy, "smile")
    found = score(toy, made, ["stripes"], limit=10)["stripes"]
    whole = predictions(toy, made, "stripes", limit=10).route
    depth, experts = toy.problem().groups().depth, len(toy.experts)
    assert whole.shape == (10, len(made.shares), experts)
    assert found.said.route.shape == (10, depth, experts)
    assert found.said.route.mean((0, 1)) == pytest.approx(whole.mean((0, 1)), abs=1e-5)
    assert found.by_layer.mean == pytest.approx(whole.mean(0), abs=1e-5)
    assert found.by_layer.largest.sum(1) == pytest.approx(np.ones(len(made.shares)))
    assert [b for b, _ in found.by_layer.places] == [toy.backbone.place(f"{p}.weight").block for p in made.shares]


def test_a_hard_route_is_one_layer_of_no_place(toy):
    found = score(toy, merged(toy, "sim", examples=8, rank=4), ["blob"], limit=10)["blob"]
    assert found.said.route.shape == (10, 1, len(toy.experts))
    assert found.by_layer.places == (ANYWHERE,)
    assert {e: n / 10 for e, n in found.routed.items()} == pytest.approx(
        dict(zip(toy.experts, found.by_layer.mean[0].tolist(), strict=True))
    )


def test_what_was_said_early_stays_as_it_was(toy):
    steps = list(score_steps(toy, merged(toy, "task_arithmetic"), ["blob"], first=8))
    assert [len(s["blob"].said.index) for s in steps] == [s["blob"].n for s in steps]
    first, last = steps[0]["blob"], steps[-1]["blob"]
    assert first.answers.answers is last.answers.answers
    assert (first.said.guess == last.said.guess[: first.n]).all()
    assert "said" not in repr(last)


def test_layers_of_a_block_are_averaged():
    route = torch.arange(24.0).reshape(1, 4, 6)
    places = ((1, "fc1"), (0, "q"), (None, "norm"), (1, "fc2"))
    assert torch.equal(by_block(route, places), torch.stack([route[:, 1], (route[:, 0] + route[:, 3]) / 2], 1))
    assert by_block(route, ((None, ""),) * 4).shape == (1, 1, 6)


def test_nothing_routed_has_no_weights():
    answers = Answers("a", torch.arange(2), torch.zeros(2, dtype=torch.long))
    answers.add(torch.eye(2), Prediction(torch.zeros(2, 3), route=torch.zeros(2, 0, 0)))
    assert answers.weights() is None
    assert answers.first(1).route is None
