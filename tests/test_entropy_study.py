"""When minimising entropy helps: one change at a time around an anchor, and its panel."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from merge_engine.adapting.coefficients import HARD
from merge_engine.contract import Context, Step
from merge_engine.evaluate import predictions, score
from merge_engine.methods import build, method_class
from merge_engine.running import drive, merge
from merge_engine.runs import entropy_study
from merge_engine.runs.content import suite_digest
from merge_engine.runs.entropy_study import METHODS, START, entropy_steps, variations
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.publish import stored_study, table_folder, write_study
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import SHIPPED
from merge_engine.runs.run import run_steps
from merge_engine.runs.study_words import entropy_words
from merge_engine.runs.table import CPU, entries
from viz import theme
from viz.page.surer import surer
from viz.panels import entropy_study as panel

LIMIT = 10
TINY = {"steps": 2, "batch": 2, "learning_rate": 0.05}
PRESETS = {
    "adamerging": TINY,
    "adarank": {**TINY, "base": "cart", "mask_rate": 0.05, "candidates": 0.5},
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))


@pytest.fixture
def tiny(monkeypatch):
    """Make the cpu presets and the published course a matter of seconds."""
    monkeypatch.setattr(entropy_study, "LONGEST", TINY["steps"])
    for key, preset in PRESETS.items():
        monkeypatch.setattr(method_class(key), "presets", {CPU: preset})


def anchor(suite, key: str) -> Recipe:
    (line,) = entries([key])
    return line.recipe(suite, CPU)


@pytest.mark.parametrize("key", METHODS)
def test_a_variation_changes_parameters_that_the_method_declares(toy, key):
    begin = anchor(toy, key)
    first, *others = variations(key)
    assert first.of(begin) == begin
    digests = {begin.digest}
    for variation in others:
        changed = variation.of(begin)
        apart = {n for n, v in changed.parameters if v != dict(begin.parameters)[n]}
        assert apart
        assert apart <= set(variation.changes)
        assert len(variation.changes) == 1 or variation.name == "published"
        assert (changed.experts, changed.seed, changed.method) == (begin.experts, begin.seed, begin.method)
        digests.add(changed.digest)
    assert len(digests) == 1 + len(others)


@pytest.mark.parametrize("key", METHODS)
def test_the_published_course_is_the_default_one_from_the_base_of_the_anchor(toy, key):
    begin = anchor(toy, key)
    published = next(v for v in variations(key) if v.name == "published").of(begin)
    steps = {"steps": min(build(key).steps, entropy_study.LONGEST)}
    assert published.build()[0] == build(key, base=dict(begin.parameters)["base"], **steps)


def test_the_study_is_of_a_size_that_a_laptop_bears():
    assert sum(len(variations(key)) for key in METHODS) == 18
    for variation in entropy_study.VARIATIONS:
        assert len(variation.words) <= 30
        assert len(variation.name) <= 11


def test_masks_of_every_variation_can_flip_before_the_end(toy):
    """Adam moves a logit by at most about its rate, and masks start at ±0.1."""
    begin = anchor(toy, "adarank")
    for variation in variations("adarank"):
        method, _ = variation.of(begin).build()
        if method.learn == "coefficients":
            continue
        assert way(method) > HARD[0], variation.words
    preset = dict(begin.parameters)
    for change in ({"mask_rate": preset["mask_rate"] / 3}, {"delay": preset["steps"] // 3}):
        assert way(build("adarank", **preset | change)) < HARD[0], "left out of the study for this"


def way(method) -> float:
    """Return the sum of the mask rates over the updates in which masks may move."""
    return sum(method.mask_rate * method.settings().rate(step) for step in range(method.delay, method.steps))


def test_the_study_is_whole_runs_beside_their_static_start(toy, tiny):
    rows = drive(entropy_steps(toy, LIMIT))
    assert len(rows) == 18 + 2
    by_name = {(row["method"], row["variation"]): row for row in rows}
    for key, name in (("adamerging", "anchor"), ("adamerging", "oracle"), ("adarank", "mask delay")):
        row, begun = by_name[key, name], by_name[key, START]
        (variation,) = (v for v in variations(key) if v.name == name)
        recipe = variation.of(anchor(toy, key))
        wanted = drive(run_steps(toy, recipe, Protocol(limit=LIMIT))).result
        assert row["recipe"] == recipe.digest
        assert row["accuracy"] == {t: pytest.approx(a.merged, abs=0.01) for t, a in wanted.accuracy.items()}
        assert row["average"] == pytest.approx(wanted.average, abs=0.01)
        for task, value in row["accuracy"].items():
            assert row["gain"][task] == pytest.approx(value - begun["accuracy"][task], abs=0.01)
            assert row["entropy"][task][0] == begun["entropy"][task][0] == begun["entropy"][task][1]
    assert {row["variation"] for row in rows if row["labels"]} == {"oracle"}
    assert all(set(row["gain"].values()) == {0.0} for row in rows if row["variation"] == START)
    assert all(0 <= e <= 1 for row in rows for both in row["entropy"].values() for e in both)


def test_the_start_is_the_merge_before_the_first_update(toy, tiny):
    rows = {row["method"]: row for row in drive(entropy_steps(toy, LIMIT)) if row["variation"] == START}
    still = {
        "adamerging": build("task_arithmetic", scaling=0.3),
        "adarank": build("adarank", base="cart", steps=1, batch=2, learning_rate=0.0, mask_rate=0.0),
    }
    for key, method in still.items():
        merged = merge(toy.problem(), method, ctx=Context())
        for task, found in score(toy, merged, toy.seen, limit=LIMIT).items():
            assert rows[key]["accuracy"][task] == pytest.approx(found.accuracy, abs=0.01)
            largest = math.log(len(toy.task(task).classes))
            assert rows[key]["entropy"][task][0] == pytest.approx(found.entropy / largest, abs=2e-4)


def test_no_variation_moves_the_start(toy, tiny):
    for key in METHODS:
        found = []
        for variation in variations(key):
            merged = drive(entropy_study._started(toy, variation.of(anchor(toy, key))))
            found.append(np.concatenate([predictions(toy, merged, t, limit=LIMIT).confidence for t in toy.seen]))
        for other in found[1:]:
            assert other == pytest.approx(found[0], abs=1e-3)


def test_an_interrupted_study_goes_on(toy, tiny, monkeypatch):
    steps = entropy_steps(toy, LIMIT)
    words = f"AdaMerging, {variations('adamerging')[1].words}"
    while (step := next(steps)).label != words:
        assert isinstance(step, Step)
    steps.close()
    seen = []
    adapted = entropy_study._adapted
    monkeypatch.setattr(entropy_study, "_adapted", lambda suite, r: seen.append(r.digest) or adapted(suite, r))
    rows = drive(entropy_steps(toy, LIMIT))
    assert len(seen) == 18 - 2
    assert anchor(toy, "adamerging").digest not in seen
    monkeypatch.setattr(entropy_study, "scoring", lambda *_: pytest.fail("measured again"))
    assert drive(entropy_steps(toy, LIMIT)) == rows


def test_rows_of_before_are_not_measured_again(toy, tiny, monkeypatch, tmp_path):
    rows = drive(entropy_steps(toy, LIMIT))
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(entropy_study, "scoring", lambda *_: pytest.fail("measured again"))
    assert drive(entropy_steps(toy, LIMIT, rows)) == rows


def test_the_command_writes_the_study(command, tiny, tmp_path):
    small = ("table", "--suite", "toy", "--limit", 4, "--out", tmp_path)
    code, _, err = command(*small, "--parts", "entropy")
    assert code == 0
    assert "entropy: 20 rows" in err
    assert len(json.loads((tmp_path / "entropy.json").read_text())["rows"]) == 20
    assert "| AdaRank, masks only |" in (tmp_path / "entropy.md").read_text()


def test_the_study_in_words():
    words = entropy_words(made_up(LIMIT))
    assert "| AdaMerging, static start, nothing adapted | 60.0 | 50.0 | 70.0 |" in words
    assert "| AdaMerging, anchor, the cpu preset | 61.0 (+1.0) | 53.0 (+3.0) | 69.0 (−1.0) |" in words
    assert "| AdaMerging, anchor, the cpu preset | 0.40 → 0.30 | 0.70 → 0.50 |" in words
    assert "start, nothing adapted | 0.40" not in words
    assert f"at most {LIMIT} pictures per task" in words
    assert "on all of the score half" in entropy_words(made_up(None))


def made_up(limit=None) -> list:
    """Return the rows of a start and an anchor on two tasks."""
    common = {"method": "adamerging", "title": "AdaMerging", "labels": False, "pictures": limit}
    start = {
        "variation": "start", "changed": entropy_study.START_WORDS, "average": 60.0, "average_gain": 0.0,
        "accuracy": {"a": 50.0, "b": 70.0}, "gain": {"a": 0.0, "b": 0.0},
        "entropy": {"a": [0.4, 0.4], "b": [0.7, 0.7]},
    }  # fmt: skip
    anchored = {
        "variation": "anchor", "changed": "anchor, the cpu preset", "average": 61.0, "average_gain": 1.0,
        "accuracy": {"a": 53.0, "b": 69.0}, "gain": {"a": 3.0, "b": -1.0},
        "entropy": {"a": [0.4, 0.3], "b": [0.7, 0.5]},
    }  # fmt: skip
    return [{**common, **start}, {**common, **anchored}]


def test_the_page_shows_the_study_of_what_the_suite_holds_now(toy, toy_by_name):
    assert surer(toy) is None
    write_study(toy, "entropy", made_up(), table_folder(toy))
    drawing = surer(toy)
    assert drawing is not None
    gained = [row for row in drawing.figures["gain"].layout.meta["table"]["rows"] if row[1].startswith("anchor")]
    assert gained == [
        ["AdaMerging", "anchor, the cpu preset", "a", 3, 53, 0.4, 0.3],
        ["AdaMerging", "anchor, the cpu preset", "b", -1, 69, 0.7, 0.5],
        ["AdaMerging", "anchor, the cpu preset", "mean", 1, 61, 0.55, 0.4],
    ]
    assert stored_study(toy, "entropy") == made_up()
    file = table_folder(toy) / "entropy.json"
    file.write_text(file.read_text().replace(suite_digest(toy, toy.experts, "score"), "other"))
    assert surer(toy) is None


def test_gains_diverge_from_zero_and_anchors_are_outlined():
    data = panel.demo()
    gain, entropy = (panel.figure(data, view=view) for view in panel.VIEWS)
    cells = gain.data[0]
    assert cells.zmin == -cells.zmax
    assert [list(pair) for pair in cells.colorscale] == theme.DIVERGING
    assert np.asarray(cells.z)[:, -1] == pytest.approx(data.gain.mean(1), abs=1e-4)
    assert (entropy.data[0].zmin, entropy.data[0].zmax) == (0, 1)
    for figure in (gain, entropy):
        boxes = [(s.y0 + s.y1) / 2 for s in figure.layout.shapes if s.type == "rect"]
        assert boxes == [i for i, case in enumerate(data.cases) if case.name == panel.ANCHOR]
        assert len(set(figure.data[0].y)) == len(data)
    oracle = next(i for i, case in enumerate(data.cases) if case.labels)
    assert "analysis only" in gain.data[0].hovertext[oracle][0]


def test_names_that_the_panel_reads_are_those_of_the_study():
    assert (panel.START, panel.ANCHOR) == (entropy_study.START, entropy_study.ANCHOR)


def test_unknown_numbers_leave_blanks():
    data = panel.EntropyStudy(
        ("a",), (panel.Case("A", "anchor", "anchor"),), *(np.full((1, 1), np.nan) for _ in range(2)),
        np.full((1, 1, 2), np.nan),
    )  # fmt: skip
    for view in panel.VIEWS:
        assert [list(line) for line in panel.figure(data, view=view).data[0].text] == [["", ""]]


def test_adamerging_takes_a_share_and_an_oracle(toy):
    options = {"steps": 3, "batch": 8, "learning_rate": 0.02}
    told = merge(toy.problem(needs=["labels"]), build("adamerging", loss="oracle", **options), ctx=Context())
    plain = merge(toy.problem(), build("adamerging", **options), ctx=Context())
    little = merge(toy.problem(), build("adamerging", share=0.02, **options), ctx=Context())
    assert build("adamerging").needs == {"stream"}
    assert build("adamerging", loss="oracle").needs == {"stream", "labels"}
    assert "true labels" in " ".join(told.notes)
    assert told.history.entropy[0] == plain.history.entropy[0], "the same pictures, before any update"
    states = [m.history.states[-1]["coefficients"] for m in (plain, told, little)]
    assert not np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])
    losses = [cross_entropy(toy, m) for m in (told, plain)]
    assert losses[0] < losses[1]


def cross_entropy(toy, merged) -> float:
    """Return the sum over tasks of the loss on what was adapted to."""
    found = 0.0
    for task in toy.seen:
        z = toy.features(merged.weights(), toy.prepared(task, "adapt"))
        found += float(torch.nn.functional.cross_entropy(toy.head(task)(z), toy.labels(task, "adapt")))
    return found


def test_shipped_rows_are_found_by_their_recipes():
    """A new parameter of a method moves its digest; what is shipped must move with it."""
    keys = ("suite", "experts", "method", "parameters", "post", "seed")
    for file in SHIPPED.glob("*/table.json"):
        for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
            assert Recipe.from_dict({key: row[key] for key in keys}).digest == row["recipe"], row["name"]
