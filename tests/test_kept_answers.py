"""What stored results say about single inputs: the same as when they were scored, or nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import load, save

from merge_engine.maths.svd import SvdStore
from merge_engine.precision import KNOWN
from merge_engine.running import drive
from merge_engine.runs import kept_answers, results
from merge_engine.runs.publish import write_table
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Result, Results, answers_file
from merge_engine.runs.table import TableRun, entries, reference_steps
from merge_engine.suite import load_suite
from viz.page import session as state
from viz.page.compare import pairing
from viz.page.drill import drill, knocked
from viz.page.inputs import inputs
from viz.page.inputs.choice import Choice
from viz.page.record import Run
from viz.page.session import Session, choose_suite
from viz.page.workbench import Workbench, paced

METHODS = {
    "task_arithmetic": {}, "sim": {"examples": 8, "rank": 4}, "we_moe": {"steps": 2, "batch": 4}, "tall_mask": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(toy_suite):
    return load_suite("toy")


@pytest.fixture(scope="module")
def live(suite) -> dict[str, Run]:
    """A finished run of every kind of merge, measured by a process that is gone."""
    bench, found = Workbench(svd=SvdStore(folder=None)), {}
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    for method, parameters in METHODS.items():
        *_, found[method] = paced(bench.run(Recipe("toy", suite.experts, method, parameters)), pause=0)
    return found


@pytest.fixture
def bench(suite) -> Workbench:
    return Workbench(svd=SvdStore(folder=None))


@pytest.mark.parametrize("method", METHODS)
def test_a_stored_run_says_of_every_input_what_the_live_one_said(bench, live, method):
    run = live[method]
    stored = bench.record.known(run.recipe)
    assert stored.stored
    assert stored.precision == run.precision
    for task, score in run.scores.items():
        before, after = score.said, stored.scores[task].said
        for name in ("index", "label", "guess", "picked"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=f"{task} {name}")
        np.testing.assert_allclose(after.confidence, before.confidence, atol=5e-4)
        assert (after.route is None) == (before.route is None)
        if before.route is not None:
            np.testing.assert_allclose(after.route, before.route, rtol=1e-3, atol=1e-6)
        layers, kept = score.by_layer, stored.scores[task].by_layer
        assert (layers is None) == (kept is None)
        if layers is not None:
            assert (kept.places, kept.n) == (layers.places, layers.n)
            np.testing.assert_allclose(kept.mean, layers.mean, rtol=1e-6)


def test_the_gallery_of_a_stored_run_is_that_of_the_live_one(bench, live, suite):
    run, stored = live["sim"], bench.record.known(live["sim"].recipe)
    views = [inputs.gallery(suite, each, inputs.shown(each, Choice())) for each in (run, stored)]
    for before, after in zip(*(view.inputs for view in views), strict=True):
        assert (before.task, before.index, before.picked, before.guess) == (
            after.task, after.index, after.picked, after.guess,
        )  # fmt: skip
    assert pairing.untested(stored, run) == ""


def test_a_stored_run_loses_a_component_in_its_own_precision(bench, live, suite, monkeypatch):
    recipe = live["task_arithmetic"].recipe
    session = state.load(choose_suite(Session(), "toy", suite.experts), recipe, suite.experts)
    stored = bench.record.known(recipe)
    assert drill.base_of(bench, session, recipe.digest) is stored
    other = "float32" if stored.precision == "bfloat16" else "bfloat16"
    monkeypatch.setenv("MERGESCOPE_PRECISION", other)
    assert drill.base_of(bench, session, recipe.digest) is stored
    asked, score = [], knocked.score_steps
    monkeypatch.setattr(knocked, "score_steps", lambda *a, **k: asked.append(k["dtype"]) or score(*a, **k))
    *_, run = knocked.Knocked(bench).run(stored, ("blob:1.fc1:2",))
    assert asked == [KNOWN[stored.precision]]
    assert run.precision == stored.precision
    said = drill.run_status(dataclasses.replace(run, phase="scoring"), ("blob:1.fc1:2",))
    assert f"in {stored.precision}, as the merge was" in said
    unlike = dataclasses.replace(stored, precision=other)
    assert any("rounding" in note for note in pairing.pairing(suite, stored, unlike).notes)
    assert not any("rounding" in note for note in pairing.pairing(suite, stored, live["sim"]).notes)


Damage = Callable[[dict[str, np.ndarray], dict[str, str], str], bytes]


def _told(**changes: object) -> Damage:
    """Return what writes other words into the header."""
    return lambda arrays, words, task: save(arrays, {**words, **changes})


def _array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Return what changes one array of a task."""
    return lambda arrays, words, task: save({**arrays, f"{task}/{name}": change(arrays[f"{task}/{name}"])}, words)


DAMAGE: dict[str, Damage] = {
    "cut": lambda arrays, words, task: save(arrays, words)[:900],
    "empty": lambda arrays, words, task: b"",
    "pickle": lambda arrays, words, task: b"\x80\x04cposix\nsystem\n.",
    "header": lambda arrays, words, task: b"\xff" * 8 + save(arrays, words)[8:],
    "foreign": _told(format="pt"),
    "another key": _told(key="other"),
    "words": _told(answers="[1, 2]"),
    "no such task": _told(answers='{"correct": {"<b>nothing</b>": 3}, "places": {}, "precision": "float32"}'),
    "no such class": _array("guess", lambda guess: guess + np.uint16(500)),
    "no such expert": _array("picked", lambda picked: picked + np.uint16(500)),
    "short": _array("guess", lambda guess: guess[:-1].copy()),
    "kind": _array("confidence", lambda confidence: confidence.astype(np.float64)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_counts_as_none(tmp_path, live, suite, damage):
    file, task = tmp_path / "one.safetensors", next(iter(live["sim"].scores))
    data = kept_answers.packed(live["sim"].scores, "key", "float32")
    file.write_bytes(data)
    assert kept_answers.read(file, "key", suite).precision == "float32"
    file.write_bytes(DAMAGE[damage](load(data), dict(kept_answers.header(data)["__metadata__"]), task))
    assert kept_answers.read(file, "key", suite) is None
    assert kept_answers.read(tmp_path / "not there", "key", suite) is None


def test_answers_that_do_not_add_up_to_the_result_are_not_its_own(live, suite):
    recipe = live["task_arithmetic"].recipe
    content = next(r.content for r in _cached(recipe))
    found = Results("toy").find(recipe, content)
    assert Results("toy").answers(found, suite) is not None
    task = next(iter(found.accuracy))
    other = dataclasses.replace(found.accuracy[task], merged=found.accuracy[task].merged - 100 / found.accuracy[task].n)
    wrong = dataclasses.replace(found, accuracy={**found.accuracy, task: other})
    assert Results("toy").answers(wrong, suite) is None


def test_a_partial_score_is_not_kept(live):
    scores = live["sim"].scores
    part = {task: dataclasses.replace(score, n=score.n - 1) for task, score in scores.items()}
    assert kept_answers.packed(part, "key", "float32") is None
    forgotten = {task: dataclasses.replace(score, answers=None) for task, score in scores.items()}
    assert kept_answers.packed(forgotten, "key", "float32") is None


def test_a_table_ships_what_its_rows_said(suite, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "SHIPPED", tmp_path / "shipped")
    folder = tmp_path / "shipped" / "toy"
    rows = drive(TableRun(suite, validation=4).steps(entries(["average"])))
    (folder / "answers").mkdir(parents=True)
    (folder / "answers" / f"of-no-row{kept_answers.SUFFIX}").write_bytes(b"old")
    write_table(suite, rows, drive(reference_steps(suite, None)), folder)
    wanted = {answers_file(Result.from_dict(row)).split("/")[1] for row in rows}
    assert {file.name for file in (folder / "answers").iterdir()} == wanted
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "another machine"))
    for row in rows:
        kept = Results("toy").answers(Result.from_dict(row), suite)
        assert kept.precision == "float32"
        for task, said in kept.tasks.items():
            found = said()
            right = int((found.guess == found.label).sum())
            assert right == Result.from_dict(row).correct[task]


def _cached(recipe: Recipe):
    for file in Results("toy").folder.glob(f"{recipe.digest}*.json"):
        yield Result.from_dict(json.loads(file.read_text()))
