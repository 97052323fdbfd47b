"""What the page shows of what a merge learned: live, from the shelf, from a stored trajectory; energies; lessons."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from merge_engine.adapting.history import History
from merge_engine.contract import Context
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import build
from merge_engine.routing.twin_energy import energy_steps
from merge_engine.running import drive, merge
from merge_engine.runs import results
from merge_engine.runs.publish import write_table
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Results
from merge_engine.runs.run import Protocol, run_steps
from merge_engine.runs.table import CPU, Entry, reference_steps
from merge_engine.suite import load_suite
from viz import entropy_lesson
from viz.entropy_lesson import lesson
from viz.page import acts, view
from viz.page.adapting import learned
from viz.page.record import Run
from viz.page.workbench import Workbench, paced
from viz.panels import live_accuracy

ADARANK = {"steps": 3, "batch": 2, "mask_rate": 0.5, "base": "cart"}
TASKS = ("a", "b", "c")
pytestmark = pytest.mark.usefixtures("toy_by_name")


@pytest.fixture
def bench() -> Workbench:
    return Workbench(svd=SvdStore(folder=None))


@pytest.fixture
def session():
    return acts.first_session(("toy",), {})[0]


def recipe(method: str, **parameters) -> Recipe:
    return Recipe("toy", load_suite("toy").experts, method, parameters)


def shown(bench, session, run: Run) -> dict:
    parts: dict = {}
    for more in learned.learned_steps(bench, session, learned.word_of(run), lambda: True):
        parts |= more
    return parts


def moments(drawing, view_name: str) -> list[str]:
    return json.loads(drawing.figures[view_name].to_json())["layout"]["meta"]["film"]["names"]


def test_masks_and_coefficients_live_kept_and_stored(bench, session):
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    wanted, live = recipe("adarank", **ADARANK), []
    for run in bench.run(wanted):
        if run.phase == "merging" and run.step.label.startswith("step 2"):
            live.append(shown(bench, session, run))
    assert moments(live[0]["masks"], "mask") == ["0", "1", "2"]
    assert moments(live[0]["coefficients"], "block") == ["0", "1", "2"]
    kept = shown(bench, session, run)
    assert moments(kept["masks"], "mask") == ["0", "1", "2", "3"]
    assert kept["energy"] is None
    fresh = Workbench(svd=SvdStore(folder=None))
    stored = fresh.record.known(wanted)
    assert stored.stored
    assert fresh.merged(wanted) is None
    again = shown(fresh, session, stored)
    assert again["masks"].to_json() == kept["masks"].to_json()
    assert again["coefficients"].to_json() == kept["coefficients"].to_json()
    note = view.answer_parts(fresh, session, stored)["curve"].figures["accuracy"].layout.meta["note"]
    assert note
    curve = view.answer_parts(fresh, session, stored)["curve"].figures["accuracy"]
    assert curve.data[-1].x.tolist() == [1, 2, 3]


def test_a_row_of_the_shipped_table_replays_without_computing(toy, session, tmp_path, monkeypatch):
    wanted = recipe("adarank", **ADARANK)
    run = drive(run_steps(toy, wanted, Protocol(watch=4)))
    Results("toy").save_history(run.result, run.merged.history)
    row = {**Entry("adarank").about(), "setting": CPU, "tried": 1, **run.result.to_dict()}
    monkeypatch.setattr(results, "SHIPPED", tmp_path / "shipped")
    write_table(toy, [row], drive(reference_steps(toy, 4)), tmp_path / "shipped" / "toy")
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "another machine"))
    fresh = Workbench(svd=SvdStore(folder=None))
    monkeypatch.setattr(fresh, "_merge", None)
    stored = fresh.record.known(wanted)
    assert stored.curve
    parts = shown(fresh, session, stored)
    assert moments(parts["masks"], "mask") == moments(parts["coefficients"], "matrix") == ["0", "1", "2", "3"]


def test_the_map_follows_the_place(bench, session):
    *_, run = paced(bench.run(recipe("adarank", **ADARANK)), pause=0)
    for block, kind in ((0, "fc1"), (2, "out")):
        moved = acts.perform(session, {"act": "cell", "block": block, "kind": kind})
        masks = shown(bench, moved, run)["masks"].figures["mask"]
        assert masks.layout.meta["title"].startswith(f"Masks over components, block {block}, {kind}")
        assert masks.layout.meta["selected"] == {"block": block, "kind": kind}


def test_a_fixed_rank_cuts_where_masks_began_or_at_what_is_left(bench, session):
    suite = load_suite("toy")
    for base, steps in (("cart", 1), ("task_arithmetic", 3)):
        wanted = recipe("adarank", **{**ADARANK, "base": base, "steps": steps})
        assert list(bench.run(wanted))
        maps = learned.masks_of(suite, bench.history(wanted))
        first, last = (np.concatenate([m.ravel() for m in one.masks]).mean() for one in (maps[0], maps[-1]))
        assert maps[0].top_k == pytest.approx(first if base == "cart" else last)
        assert {one.top_k for one in maps} == {maps[0].top_k}


@pytest.mark.parametrize("method", ["ties", "average", "sim"])
def test_merges_that_learn_nothing_hide_the_panels(bench, session, method):
    *_, run = paced(bench.run(recipe(method)), pause=0)
    assert set(shown(bench, session, run).values()) == {None}
    for word in ("", "strange words"):
        hidden: dict = {}
        for parts in learned.learned_steps(bench, session, word, lambda: True):
            hidden |= parts
        assert hidden == dict.fromkeys(learned.PANELS)


def test_only_coefficients_where_there_are_no_masks(bench, session):
    *_, run = paced(bench.run(recipe("adamerging", steps=2, batch=2)), pause=0)
    parts = shown(bench, session, run)
    assert parts["masks"] is None
    assert moments(parts["coefficients"], "block") == ["0", "1", "2"]


@pytest.mark.parametrize("method", ["we_moe", "e_we_moe", "rankone_moe"])
def test_routes_by_step_live_kept_and_stored(bench, session, toy, method):
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    small = {"components": 2} if method == "rankone_moe" else {}
    wanted, live = recipe(method, steps=3, batch=2, **small), []
    for run in bench.run(wanted):
        if run.phase == "merging" and run.step.label.startswith("step 2"):
            live.append(shown(bench, session, run))
    assert moments(live[0]["route_steps"], "own") == ["0", "1", "2"]
    kept = shown(bench, session, run)
    assert kept["masks"] is kept["coefficients"] is None
    assert moments(kept["route_steps"], "lead") == ["0", "1", "2", "3"]
    history = bench.history(wanted)
    data = learned.routes_of(toy, history)
    assert data.blocks == tuple(range(toy.backbone.depth(toy.config)))
    assert data.tasks == tuple(toy.task_of[expert] for expert in toy.experts)
    assert np.array_equal(data.weights[-1], history.states[-1]["routes"])
    fresh = Workbench(svd=SvdStore(folder=None))
    again = shown(fresh, session, fresh.record.known(wanted))
    assert again["route_steps"].to_json() == kept["route_steps"].to_json()


def test_routes_that_do_not_belong_to_the_network_are_not_shown(toy):
    states = [{"routes": np.zeros((2, 99, 2), np.float32)}]
    assert learned.routes_of(toy, History(("a", "b"), steps=[0], states=states)) is None
    assert learned.routes_of(toy, History(("a", "b"))) is None


def test_the_energies_of_twin_are_measured_once(bench, session):
    wanted = recipe("twin_merging", examples=16, epochs=1)
    *_, run = paced(bench.run(wanted), pause=0)
    parts = shown(bench, session, run)
    assert parts["masks"] is parts["coefficients"] is None
    assert len(parts["energy"].figures) == 2
    assert bench.energies(wanted, lambda: False) is bench.energies(wanted)
    assert Workbench().energies(wanted) is None


def test_ranks_are_drawn_from_what_was_measured(bench, session):
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    parts = []
    for share in (0.5, 0.0, 0.5):
        *_, run = paced(bench.run(recipe("twin_merging", examples=16, epochs=1, rank_share=share)), pause=0)
        parts.append(shown(bench, session, run)["ranks"])
    assert parts[0] is None
    for drawing, chosen in zip(parts[1:], (0, 50), strict=True):
        table = drawing.figures[""].layout.meta["table"]["rows"]
        assert [row[0] for row in table] == [0, 50]
        assert table[0][2] < table[1][2]
        assert f"this merge, {chosen} %" in [a.text for a in drawing.figures[""].layout.annotations]
    assert table[1][3:] == [pytest.approx(score.accuracy, abs=0.01) for t, score in run.scores.items() if t != "shape"]
    other = recipe("twin_merging", examples=16, epochs=1, rank_share=0.5, shared="average")
    assert bench.record.varied(other, "rank_share") == []


@pytest.mark.parametrize("ways", [
    {"rank_share": 0.3}, {"rank_share": 0.3, "compression": "magnitude"}, {"rank_share": 0.0},
    {"rank_share": 1.0}, {"weights": "exclusive-only"},
])  # fmt: skip
def test_energies_are_those_of_dense_tensors(toy, ways):
    problem = toy.problem()
    method = build("twin_merging", examples=16, epochs=1, **ways)
    merged = merge(problem, method, ctx=Context(svd=SvdStore(folder=None)))
    found = drive(energy_steps(problem, merged))
    model, block = merged.weighting.router.model, found.blocks[1]
    names = [n for n in problem.pretrained if toy.backbone.place(n).block == block]
    shared = sum(float((model[n] - problem.pretrained[n]).double().square().sum()) for n in names)
    own = [sum(float((e[n] - model[n]).double().square().sum()) for n in names) for e in problem.experts.values()]
    assert found.shared[1] == pytest.approx(shared, rel=1e-4)
    assert found.exclusive[1] == pytest.approx(own, rel=1e-4)
    assert (found.kept <= found.exclusive * (1 + 1e-4)).all()
    if ways.get("rank_share") == 0.0:
        assert not found.kept.any()
    if ways.get("rank_share") == 1.0:
        assert found.kept == pytest.approx(found.exclusive, rel=1e-3)
    torch.testing.assert_close(torch.tensor(found.blocks), torch.arange(len(found.blocks)))


def say(start, end, before, after, pictures=32) -> str:
    arrays = [np.array(v, float) for v in (start, end)]
    return lesson(TASKS, *arrays, np.array([before, after], float), pictures)


def test_the_lesson_names_who_grew_surer_and_worse():
    said = say([40, 80, 70], [30, 90, 70], [1.0, 1.0, 1.0], [0.5, 0.6, 0.6])
    assert said.startswith("a grew surer and worse: entropy fell by 0.50 nats and accuracy by 10.0 points.")
    assert "b gained 10.0; there 80 % was right at the start, here 40 %" in said
    assert "did not decide" in say([80, 40, 70], [70, 50, 70], [1, 1, 1], [0.5, 0.5, 0.5])
    assert "no task gained" in say([40, 80, 70], [30, 80, 60], [1, 1, 1], [0.5, 0.5, 0.5])
    assert "a and c grew surer" in say([40, 80, 70], [30, 80, 60], [1, 1, 1], [0.5, 0.5, 0.5])


def test_the_lesson_of_a_gain_and_of_nothing():
    assert "grew surer and better, by 10.0 points" in say([40, 80, 70], [50, 80, 70], [1, 1, 1], [0.5, 1, 1])
    assert say([40, 80, 70], [44, 77, 70], [1, 1, 1], [0.5, 1, 1]) == entropy_lesson.SURER_ONLY
    assert say([40, 80, 70], [30, 70, 60], [1, 1, 1], [1, 1, 0.99]) == entropy_lesson.STILL


def test_no_lesson_without_entropies():
    data = live_accuracy.demo()
    assert live_accuracy.lesson(data) == ""
    assert live_accuracy.figure(data).layout.meta["note"] == ""
