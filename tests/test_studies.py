"""Studies beside the results table: draws of the support set, and corrupted pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from merge_engine.contract import Context
from merge_engine.evaluate import score
from merge_engine.inputs import SuiteInputs
from merge_engine.methods import build, method_class
from merge_engine.running import drive, merge
from merge_engine.runs import robustness, seeds
from merge_engine.runs.content import suite_digest
from merge_engine.runs.draws import draw_steps
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.publish import table_folder, write_study
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import adapts, recipe_for, run_steps
from merge_engine.runs.study_words import draws_words, robustness_words, seeds_words
from merge_engine.runs.table import TableRun, entries
from viz.page.spoiled import spoiled

LIMIT = 12


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))


def test_draws_are_what_the_whole_merge_scores(toy):
    rows = {row["router"]: row for row in drive(draw_steps(toy, 2, LIMIT))}
    assert set(rows) == {"subspace", "nearest_mean", "nearest_neighbour", "mahalanobis"}
    for router, store, draw in (("subspace", "tsv_c", 1), ("nearest_mean", "experts", 0)):
        merged = merge(toy.problem(), build("sim", router=router, store=store, draw=draw), ctx=Context())
        found = score(toy, merged, toy.seen, limit=LIMIT)
        routed = np.mean([100 * s.routed[t] / s.n for t, s in found.items()])
        average = np.mean([s.accuracy for s in found.values()])
        assert rows[router]["routed"][draw] == pytest.approx(routed, abs=0.01)
        assert rows[router]["stores"][store]["end_to_end"][draw] == pytest.approx(average, abs=0.01)
    words = draws_words(list(rows.values()))
    assert "SiM" not in words
    assert "Mahalanobis distance" in words
    assert "±" in words


@pytest.fixture
def table_rows(toy):
    run = TableRun(toy, limit=6, validation=6)
    return drive(run.steps(entries(["average"])))


def test_cases_are_the_lines_of_a_table(toy, table_rows):
    assert [case.name for case in robustness.cases(toy, table_rows)] == ["pretrained", "experts", "average"]
    assert [case.name for case in robustness.cases(toy, table_rows, ["average", "not measured"])] == ["average"]
    adaptive = {**table_rows[0], "name": "adamerging", "method": "adamerging", "parameters": {"steps": 1}}
    assert [c.seen for c in robustness.cases(toy, [adaptive], ["adamerging"])] == ["clean", "alike"]


def test_a_case_is_what_its_protocol_scores(toy, table_rows, monkeypatch):
    quick = {"steps": 2, "batch": 2}
    adaptive = {**table_rows[0], "name": "adamerging", "method": "adamerging", "title": "A", "parameters": quick}
    lines = robustness.cases(toy, [*table_rows, adaptive])
    rows = drive(robustness.robustness_steps(toy, lines, (4,), LIMIT, ("contrast",)))
    assert len(rows) == 5 * 2
    assert robustness.cases(toy, [adaptive], ["adamerging"], adapted=("clean",)) == [lines[3]]
    by_case = {(row["name"], row["seen"], row["kind"]): row for row in rows}
    for line in lines[2:]:
        protocol = Protocol(limit=LIMIT, corruption="contrast:4", clean_stream=line.seen == "clean")
        wanted = drive(run_steps(toy, line.recipe, protocol)).result
        found = by_case[line.name, robustness.SEEN[line.seen], "contrast"]
        assert found["average"] == pytest.approx(wanted.average, abs=0.01)
    clean = [by_case["adamerging", robustness.SEEN[seen], "clean"]["average"] for seen in ("clean", "alike")]
    assert clean[0] == clean[1]
    monkeypatch.setattr(robustness, "scoring", lambda *_: pytest.fail("measured again"))
    assert drive(robustness.robustness_steps(toy, lines, (4,), LIMIT, ("contrast",))) == rows
    words = robustness_words(rows)
    assert "| Weight average |" in words
    assert "A, adapted to clean pictures" in words
    assert f"at most {LIMIT} pictures" in words
    assert "severity 4 (of 5)" in words


def test_seeds_are_whole_runs_and_read_what_the_table_knows(toy, monkeypatch):
    quick = {"steps": 2, "batch": 2}
    monkeypatch.setattr(method_class("adamerging"), "presets", {"cpu": quick})
    monkeypatch.setattr(seeds, "entries", lambda: entries(["adamerging", "average"]))
    rows = drive(seeds.seed_steps(toy, seeds=2, limit=LIMIT))
    assert [row["name"] for row in rows] == ["adamerging"]
    recipe = Recipe("toy", toy.experts, "adamerging", quick, seed=1)
    wanted = drive(run_steps(toy, recipe, Protocol(limit=LIMIT))).result
    assert rows[0]["average"][1] == pytest.approx(wanted.average, abs=0.01)
    assert rows[0]["accuracy"].keys() == wanted.accuracy.keys()
    monkeypatch.setattr(seeds, "run_steps", lambda *_: pytest.fail("measured again"))
    assert drive(seeds.seed_steps(toy, seeds=2, limit=LIMIT)) == rows
    assert drive(seeds.seed_steps(toy, names=["average", "adarank"], seeds=2, limit=LIMIT)) == []
    other, again = {"name": "dare", "average": [1.0]}, {**rows[0], "average": [2.0]}
    assert seeds.joined([again], [rows[0], other]) == [again, other]
    assert "±" in seeds_words(rows)


def test_seeds_run_what_depends_on_chance_at_the_setting_of_the_table(toy):
    lines = [e for e in entries() if not e.post and (e.method in seeds.DRAW or adapts(e.recipe(toy)))]
    table = [_measured(toy, line, 50.0) for line in lines]
    rows = drive(seeds.seed_steps(toy, table, seeds=1))
    assert [row["name"] for row in rows] == [line.name for line in lines]
    assert {"dare", "della", "twin_merging", "adarank", "surgery"} <= {row["name"] for row in rows}
    assert all(row["average"] == [50.0] for row in rows)


def _measured(toy, line, percent):
    """A row of a table in which the line has the same accuracy on every task."""
    recipe = line.recipe(toy, "cpu" if line.settings[0] == "cpu" else "published")
    blank = drive(run_steps(toy, recipe_for(toy, "average"), Protocol(limit=1))).result.to_dict()
    accuracy = {task: {"merged": percent, "expert": 90.0, "pretrained": 20.0, "n": 1} for task in toy.seen}
    own = {"recipe": recipe.digest, "content": suite_digest(toy, toy.experts, "score"), "accuracy": accuracy}
    plain = recipe.to_dict()
    own |= {key: plain[key] for key in ("experts", "method", "parameters", "post", "seed")}
    return {**line.about(), "setting": line.settings[0], "tried": 1, **blank, **own}


def test_a_seed_decides_the_order_of_the_stream(toy):
    first, again, other = (next(SuiteInputs(toy, seed=seed).stream("blob", 8)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_mean_is_over_corruptions():
    row = {"name": "a", "title": "A", "seen": "", "pictures": 5}
    values = (("clean", 0, 90.0), ("jpeg", 1, 80.0), ("jpeg", 3, 60.0), ("contrast", 1, 50.0))
    rows = [{**row, "kind": kind, "severity": severity, "average": value} for kind, severity, value in values]
    found = robustness.summary(rows)["A", ""]
    assert found == {"clean": 90.0, "jpeg": 70.0, "contrast": 50.0, "all": 60.0}


def _rows(name, seen, severities, value, recipe="r"):
    row = {"name": name, "title": name, "seen": seen, "pictures": 5, "recipe": recipe}
    spoiled_rows = [{**row, "kind": "jpeg", "severity": degree, "average": value - degree} for degree in severities]
    return [{**row, "kind": "clean", "severity": 0, "average": value}, *spoiled_rows]


def test_a_study_keeps_what_a_smaller_run_did_not_measure():
    clean, alike = robustness.SEEN["clean"], robustness.SEEN["alike"]
    there = [*_rows("average", "", (1, 3), 60.0), *_rows("adarank", clean, (1, 3), 80.0)]
    new = [*_rows("average", "", (3,), 50.0), *_rows("adarank", clean, (3,), 82.0)]
    new += _rows("adarank", alike, (3,), 90.0)
    found = {(r["name"], r["seen"], r["severity"]): r["average"] for r in robustness.joined(new, there)}
    assert found == {
        ("average", "", 0): 50.0, ("average", "", 1): 59.0, ("average", "", 3): 47.0,
        ("adarank", clean, 0): 82.0, ("adarank", clean, 1): 79.0, ("adarank", clean, 3): 79.0,
        ("adarank", alike, 0): 90.0, ("adarank", alike, 3): 87.0,
    }  # fmt: skip
    other = _rows("cart", "", (1, 3), 70.0)
    assert robustness.joined(new, other) == [*new[:2], *other, *new[2:]]  # in the order of the study
    assert robustness.joined(new, _rows("average", "", (1,), 60.0, "another recipe")) == new
    assert robustness.joined(new, [{**row, "pictures": 9} for row in there]) == new


def test_cases_are_compared_at_severities_that_they_share():
    clean, alike = robustness.SEEN["clean"], robustness.SEEN["alike"]
    whole = [*_rows("average", "", (1, 3), 60.0), *_rows("adarank", clean, (1, 3), 80.0)]
    assert robustness.comparable(whole) == [((1, 3), whole)]
    fewer = _rows("adarank", alike, (3,), 90.0)
    assert robustness.comparable([*whole, *fewer]) == [
        ((1, 3), whole),
        ((3,), [*_rows("adarank", clean, (3,), 80.0), *fewer]),
    ]
    words = robustness_words([*whole, *fewer])
    assert "the mean over severities 1, 3 (of 5)" in words
    assert words.count("| average |") == 1
    assert words.index(f"adarank, {alike} | 90.0 | 87.0") > words.index("the mean over severities")


def test_the_page_shows_the_study_of_what_the_suite_holds_now(toy, toy_by_name, tmp_path):
    row = {"name": "a", "title": "A", "seen": "", "pictures": 5}
    values = (("clean", 0, 90.0), ("jpeg", 1, 80.0), ("jpeg", 3, 60.0), ("contrast", 1, 50.0))
    rows = [{**row, "kind": kind, "severity": severity, "average": value} for kind, severity, value in values]
    assert spoiled(toy) is None
    write_study(toy, "robustness", rows, table_folder(toy))
    drawing = spoiled(toy)
    assert drawing is not None
    accuracy, lost = (figure.layout.meta["table"]["rows"][0] for figure in drawing.figures.values())
    assert accuracy == ["A", 90, 70, 50, 60]
    assert lost == ["A", 0, 20, 40, 30]
    file = table_folder(toy) / "robustness.json"
    file.write_text(file.read_text().replace(suite_digest(toy, toy.experts, "score"), "other"))
    assert spoiled(toy) is None
