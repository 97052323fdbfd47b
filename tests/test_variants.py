"""The options of methods, one change at a time from the table's setting, and their panel."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from merge_engine.hp import declared
from merge_engine.methods import method_class
from merge_engine.running import drive
from merge_engine.runs import variants
from merge_engine.runs.content import suite_digest
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.publish import stored_study, table_folder, write_study
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Results
from merge_engine.runs.run import run_steps
from merge_engine.runs.study_words import variants_words
from merge_engine.runs.table import DEFAULT, entries
from merge_engine.runs.variants import ANCHOR, VARIANTS, anchor_of, joined, variant_steps
from viz import theme
from viz.page.adapting.both import Both
from viz.page.adapting.twins import ranks_part
from viz.page.options import options
from viz.page.session import Session
from viz.page.workbench import Workbench
from viz.panels import variants as panel

LIMIT = 10
METHODS = list(dict.fromkeys(variant.method for variant in VARIANTS))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))


def anchor(suite, key: str) -> Recipe:
    return anchor_of(suite, entries([key])[0], None)[0]


@pytest.mark.parametrize("key", METHODS)
def test_a_variant_changes_what_the_method_declares_and_nothing_else(toy, key):
    begin, seen = anchor(toy, key), set()
    first, *others = [variant for variant in VARIANTS if variant.method == key]
    assert (first.words, first.of(begin)) == (ANCHOR, begin)
    assert others
    for variant in others:
        changed = variant.of(begin)
        assert set(variant.changes) <= set(declared(method_class(key)))
        assert {n for n, v in changed.parameters if v != dict(begin.parameters)[n]} <= set(variant.changes)
        assert len(variant.words) <= 30
        seen.add((changed.digest, variant.half))
    assert len(seen | {(begin.digest, "adapt")}) == 1 + len(others)


def test_a_variant_is_told_the_task_only_where_it_says_so(toy):
    told = [v for v in VARIANTS if "task id" in v.of(anchor(toy, v.method)).build()[0].needs]
    said = {v.words for v in told}
    assert said == {"as published: task known", "the same, transductive", "route: oracle, task known"}


def test_a_row_says_what_that_variant_was_given(toy, monkeypatch):
    some = [v for v in VARIANTS if v.words in ("as published: task known", "the same, transductive")]
    quick = [replace(v, changes={**v.changes, "examples": 4, "epochs": 1}) for v in some]
    monkeypatch.setattr(variants, "VARIANTS", quick)
    first, second = drive(variant_steps(toy, limit=4))
    for row in (first, second):
        assert row["needs"] == ["stream", "task id", "train"]
        assert row["told"]
    assert (first["half"], second["half"]) == ("adapt", "score")
    assert first["recipe"] == second["recipe"]
    assert first["protocol"] != second["protocol"]
    monkeypatch.setattr(variants, "run_steps", lambda *_: pytest.fail("measured again"))
    monkeypatch.setenv("MERGESCOPE_CACHE", "/nonexistent")
    assert drive(variant_steps(toy, limit=4, before=[first, second])) == [first, second]


def test_a_row_is_a_whole_run_and_is_measured_once(toy, monkeypatch):
    rows = drive(variant_steps(toy, methods=["cart"], limit=LIMIT))
    assert [row["variant"] for row in rows] == [v.words for v in VARIANTS if v.method == "cart"]
    for row, variant in zip(rows, (v for v in VARIANTS if v.method == "cart"), strict=True):
        wanted = drive(run_steps(toy, variant.of(anchor(toy, "cart")), Protocol(limit=LIMIT))).result
        assert row["recipe"] == wanted.recipe
        assert row["accuracy"] == wanted.to_dict()["accuracy"]
    monkeypatch.setattr(variants, "run_steps", lambda *_: pytest.fail("measured again"))
    assert drive(variant_steps(toy, methods=["cart"], limit=LIMIT)) == rows


def test_the_row_of_the_table_is_what_variants_are_compared_with(toy):
    line, recipe = entries(["cart"])[0], Recipe("toy", tuple(toy.experts), "cart", {"scaling": 1.5})
    scored = drive(run_steps(toy, recipe, Protocol())).result.to_dict()
    row = {**line.about(), "setting": DEFAULT, "tried": 1, **scored}
    first, second, _ = drive(variant_steps(toy, [row], methods=["cart"]))
    assert (first["recipe"], first["accuracy"]) == (recipe.digest, scored["accuracy"])
    assert second["parameters"]["scaling"] == 1.5
    stale = {**row, "content": "other"}
    assert anchor_of(toy, line, {DEFAULT: stale}) == (recipe, None)


def test_a_run_of_some_methods_keeps_the_rows_of_the_others():
    def rows(key, average):
        return [{"method": key, "variant": v.words, "average": average} for v in VARIANTS if v.method == key]

    gone = {"method": "cart", "variant": "no variant any more", "average": 1.0}
    found = joined(rows("cart", 2.0), [*rows("cart", 1.0), gone, *rows("adarank", 1.0)])
    assert found == [*rows("adarank", 1.0), *rows("cart", 2.0)]


def test_the_command_measures_the_variants_of_some_methods(command, tmp_path):
    small = ("table", "--suite", "toy", "--limit", 4, "--out", tmp_path, "--parts", "variants", "--methods", "cart")
    code, _, err = command(*small)
    assert code == 0
    assert "variants: 3 rows" in err
    assert len(json.loads((tmp_path / "variants.json").read_text())["rows"]) == 3
    assert "| CART, centred at pretrained, λ 0.3 |" in (tmp_path / "variants.md").read_text()


def made_up(toy, key="twin_merging") -> list[dict]:
    """Return rows of a method whose accuracy falls by ten points from row to row."""
    recipe, found = anchor(toy, key), []
    tasks = list(toy.task_of.values())
    for i, variant in enumerate(v for v in VARIANTS if v.method == key):
        own = variant.of(recipe)
        accuracy = {t: {"merged": 90.0 - 10 * i, "expert": 95.0, "pretrained": 40.0, "n": 10} for t in tasks}
        found.append({
            **entries([key])[0].about(), "variant": variant.words, "told": False, **own.to_dict(),
            "recipe": own.digest, "accuracy": accuracy, "average": 90.0 - 10 * i, "normalised_average": 90.0,
            "nai": 0.5, "unseen_average": None, "stored_parameters": 1e6 * (1 + i), "seconds": {"merge": 1.0},
            "protocol": "", "split": "score", "limit": None, "half": "", "forwards": 2.0, "warnings": [],
            "corruption": "", "curve": [], "routed": {t: {t: 3, "x": 1} for t in tasks},
            "content": suite_digest(toy, toy.experts, "score"),
        })  # fmt: skip
    return found


def test_the_study_in_words(toy):
    words = variants_words(made_up(toy))
    assert "| Twin-Merging, as in the table | 90.0 |  | 75.0 | 1.0 | 2.00 | 1 | 90.0 |" in words
    assert "| Twin-Merging, share of the rank 0.02 | 80.0 | −10.0 | 75.0 | 2.0 | 2.00 | 1 | 80.0 |" in words


def test_the_page_shows_the_study_and_knows_its_results(toy, toy_by_name):
    assert options(toy) is None
    rows = made_up(toy)
    write_study(toy, "variants", rows, table_folder(toy))
    assert stored_study(toy, "variants") == rows
    drawing = options(toy)
    assert list(drawing.labels) == ["twin_merging"]
    table = drawing.figures["twin_merging"].layout.meta["table"]
    assert table["rows"][1][:7] == ["share of the rank 0.02", 80, -10, 75, 2_000_000, 2, 1]


def test_shipped_variants_fill_the_curve_of_ranks(toy, toy_by_name, monkeypatch, tmp_path):
    from merge_engine.runs import results

    monkeypatch.setattr(results, "SHIPPED", tmp_path / "shipped")
    for module in ("twins", "both"):
        monkeypatch.setattr(f"viz.page.adapting.{module}.load_suite", lambda name: toy)
    write_study(toy, "variants", made_up(toy), results.shipped_folder("toy"))
    kept = [result.parameters["rank_share"] for result in Results("toy").shipped()]
    assert set(variants.RANK_SHARES) < set(kept)
    drawing = ranks_part(Both(Workbench(), Session(suite="toy"), anchor(toy, "twin_merging"), None))
    assert drawing is not None
    (figure,) = drawing.figures.values()
    ranks = [row[0] for row in figure.layout.meta["table"]["rows"]]
    assert len(ranks) >= 5


def test_points_diverge_from_zero_and_the_first_row_is_outlined():
    data = panel.demo()
    for each in data:
        figure = panel.figure(data, view=each.method)
        cells = figure.data[0]
        assert cells.zmin == -cells.zmax
        assert cells.zmax <= panel.REACH
        assert [list(pair) for pair in cells.colorscale] == theme.DIVERGING
        assert np.asarray(cells.z)[0] == pytest.approx(0)
        assert np.asarray(cells.z)[:, -1] == pytest.approx(each.accuracy.mean(1) - each.accuracy[0].mean(), abs=1e-4)
        assert [(s.y0, s.y1) for s in figure.layout.shapes if s.type == "rect"] == [(-0.5, 0.5)]
    told = panel.figure(data, view="twin_merging").data[0].hovertext[-1][0]
    assert "a ceiling" in told


def test_unknown_numbers_leave_blanks():
    case = panel.Case("as in the table", 1e6, 1.0, 1.0)
    data = [panel.Variants("m", "M", ("a",), (case,), np.full((1, 1), np.nan))]
    assert [list(line) for line in panel.figure(data, view="m").data[0].text] == [["", ""]]
