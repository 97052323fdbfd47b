"""The measurement of routes: naive counts, what it means on a suite, and from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from merge_engine import metrics
from merge_engine.contract import Context
from merge_engine.errors import RecipeError
from merge_engine.evaluate import predictions, score
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import build
from merge_engine.routing.told import told
from merge_engine.running import drive, merge
from merge_engine.runs.measuring import measure_steps

LIMIT = 24


@pytest.fixture(scope="module")
def svd() -> SvdStore:
    """Decompositions shared by the tests of this file."""
    return SvdStore(folder=None)


def merged_by(toy, svd, key="sim", **parameters):
    return merge(toy.problem(toy.experts[:3]), build(key, **parameters), (), Context(svd=svd))


def routing(toy, merged, limit=LIMIT):
    steps = measure_steps(metrics.build("routing"), toy.problem(toy.experts[:3]), toy, merged, limit=limit)
    return drive(steps)


def test_counts_against_loops():
    draw = np.random.default_rng(0)
    tasks = ("a", "b", "c")
    picked = {t: draw.integers(3, size=10 + i) for i, t in enumerate(tasks)}
    right = {t: (picked[t] == i) & (draw.random(10 + i) < 0.5) for i, t in enumerate(tasks)}
    found = metrics.build("routing").measure(picked, right, {"a": 0.9, "c": 0.4})
    for i, t in enumerate(tasks):
        for j in range(3):
            assert found.confusion[i, j] == sum(p == j for p in picked[t]) / len(picked[t])
        assert found.end_to_end[i] == sum(right[t].tolist()) / len(right[t])
        assert found.routed_right[i] == found.confusion[i, i]
        assert found.low[i] <= found.routed_right[i] <= found.high[i]
        assert found.inputs[i] == len(picked[t])
    np.testing.assert_allclose(found.gap, [0.9 - found.end_to_end[0], np.nan, 0.4 - found.end_to_end[2]])
    assert found.routed_right_average[0] == found.routed_right.mean()
    assert np.isnan(found.gap_average[0])
    np.testing.assert_allclose(found.confusion.sum(1), 1)


def test_tasks_that_count_as_one_share_their_routes():
    tasks = ("mnist", "emnist", "digits", "cars")
    picked = {t: np.array([0, 1, 2, 3, 0, i]) for i, t in enumerate(tasks)}
    right = {t: np.zeros(6, bool) for t in tasks}

    def alike(text):
        return metrics.build("routing", alike=text).measure(picked, right, {}).routed_alike

    plain = metrics.build("routing").measure(picked, right, {})
    np.testing.assert_allclose(plain.routed_alike, plain.routed_right)
    shares = [sum(picked[t].tolist().count(j) for j in range(3)) / 6 for t in tasks[:3]]
    np.testing.assert_allclose(alike("mnist=emnist, digits=emnist"), [*shares, plain.routed_right[3]])
    np.testing.assert_allclose(alike("emnist=mnist")[2:], plain.routed_right[2:])
    with pytest.raises(RecipeError, match="Did you mean 'cars'"):
        alike("mnist=car")


@pytest.mark.parametrize("options", [{}, {"store": "experts", "decision": "top-2"}], ids=["hard", "top-2"])
def test_it_agrees_with_the_scores(toy, svd, options):
    merged = merged_by(toy, svd, examples=8, **options)
    found = routing(toy, merged)
    scores = score(toy, merged, toy.experts[:3], limit=LIMIT)
    known = score(toy, told(merged), toy.experts[:3], limit=LIMIT)
    for i, task in enumerate(toy.experts[:3]):
        assert 100 * found.end_to_end[i] == pytest.approx(scores[task].accuracy)
        assert 100 * found.known_task[i] == pytest.approx(known[task].accuracy)
        assert [round(LIMIT * x) for x in found.confusion[i]] == list(scores[task].routed.values())
    assert (found.end_to_end <= found.routed_right).all()
    ceiling = merged_by(toy, svd, examples=8, router="oracle", store=options.get("store", "tsv_c"))
    np.testing.assert_allclose(found.known_task, routing(toy, ceiling).end_to_end)


ROUTED = {
    "sim": {"examples": 8, "rank": 4}, "mass": {}, "dawin": {}, "ensemble": {}, "smile": {},
    "twin_merging": {"examples": 16, "epochs": 2},
}  # fmt: skip


@pytest.mark.parametrize("key", ROUTED)
def test_the_measured_accuracy_of_what_decides_per_input_is_its_score(toy, svd, key):
    """Not that of the stored experts, each on its own task."""
    merged, problem = merged_by(toy, svd, key, **ROUTED[key]), toy.problem(toy.experts[:3])
    found = drive(measure_steps(metrics.build("accuracy"), problem, toy, merged, limit=LIMIT))
    scores = score(toy, merged, toy.experts[:3], limit=LIMIT)
    assert list(100 * found.merged) == pytest.approx([s.accuracy for s in scores.values()])
    assert list(found.calibration) == pytest.approx([s.ece for s in scores.values()])
    assert list(found.entropy) == pytest.approx([s.entropy for s in scores.values()], rel=1e-5)
    with pytest.raises(RecipeError, match="no single model"):
        merged.weights(toy.experts[0])
    with pytest.raises(RecipeError, match="looks inside one model"):
        drive(measure_steps(metrics.build("representation"), problem, toy, merged, limit=LIMIT))


def test_the_oracle_leaves_no_gap(toy, svd):
    found = routing(toy, merged_by(toy, svd, router="oracle"))
    assert (found.routed_right == 1).all()
    assert (found.gap == 0).all()


def test_a_blend_that_is_told_is_the_expert(toy, svd):
    merged = merged_by(toy, svd, examples=8, decision="soft", store="experts")
    inputs, task = toy.prepared("blob", "score")[:4], toy.experts[1]
    predict = told(merged).predictor(SuiteInputs(toy))
    with torch.inference_mode():
        wanted = toy.features({n: toy.expert(task)[n] for n in toy.pretrained}, inputs)
        torch.testing.assert_close(predict(inputs, task).features, wanted, rtol=1e-3, atol=1e-4)
    assert told(merged).knows_task
    with pytest.raises(RecipeError, match="got None"):
        predict(inputs)
    assert told(merged_by(toy, svd, "task_arithmetic")) is None


def test_one_model_has_no_routes(toy, svd):
    with pytest.raises(RecipeError, match="picks an expert"):
        routing(toy, merged_by(toy, svd, "task_arithmetic"))
    with pytest.raises(RecipeError, match="needs a merged model"):
        routing(toy, None)


def test_predictions_of_a_ready_model_are_those_of_its_merge(toy, svd):
    from merge_engine.evaluate import Model

    merged = merged_by(toy, svd, examples=8)
    a, b = (predictions(toy, m, "stripes", limit=9) for m in (merged, Model(merged, toy)))
    assert (a.picked == b.picked).all()
    assert (a.guess == b.guess).all()


def test_the_command_line_measures_routes(command):
    options = ("--suite", "toy", "--experts", "stripes,blob", "--limit", 8)
    code, out, err = command(
        "inspect", "--metric", "routing", *options, "--method", "sim", "--set", "sim.rank=4", "--json", "-"
    )
    assert code == 0, err
    rows = json.loads(out)
    cells = {(r["expert"], r["other"]): r["confusion"] for r in rows if r["other"]}
    assert len(cells) == 4
    assert cells["stripes", "stripes"] + cells["stripes", "blob"] == pytest.approx(1)
    assert all(0 <= r["known_task"] <= 1 for r in rows if r["expert"] and not r["other"])
    code, out, _ = command("inspect", "--metric", "routing", *options, "--method", "mass")
    assert code == 0
    assert "Routing: How often inputs reach" in out
