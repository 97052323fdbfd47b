"""The tab of comparisons on the toy suite: runs of a visit, pins, the paired comparison and its words."""

from __future__ import annotations

import dataclasses
import itertools
import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest

from merge_engine.errors import MergeError
from merge_engine.maths.svd import SvdStore
from merge_engine.places import matrices
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from viz.page import acts
from viz.page import session as state
from viz.page.compare import compare, comparison, pairing, visit
from viz.page.compare.apart import Aparts
from viz.page.compare.beside import beside
from viz.page.compare.compares import DRAWN, Compares
from viz.page.compare.comparison import Comparison
from viz.page.compare.tray import tray_parts
from viz.page.layout import Page
from viz.page.listeners import Listeners
from viz.page.record import Run, without_inputs
from viz.page.session import Session, choose_suite
from viz.page.view import accuracy_panel, answer_parts
from viz.page.workbench import Workbench, paced
from viz.panels import apart
from viz.panels.differences import TaskDifference

METHODS = {
    "task_arithmetic": {}, "average": {}, "sim": {"examples": 8, "rank": 4}, "mass": {}, "tall_mask": {},
    "we_moe": {"steps": 2, "batch": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(toy_suite):
    """A workbench that knows the toy suite and its baselines."""
    made = Workbench(svd=SvdStore(folder=None))
    list(made.record.baseline_steps("toy", None, lambda: True))
    return made


def recipe(method: str, experts=None, **parameters) -> Recipe:
    return Recipe("toy", tuple(experts or load_suite("toy").experts), method, parameters or METHODS.get(method, {}))


def finished(bench, wanted: Recipe, going=lambda: True) -> Run:
    *_, last = paced(bench.run(wanted, going), pause=0)
    return last


@pytest.fixture(scope="module")
def runs(bench) -> dict[str, Run]:
    """A finished run of every kind of merge."""
    return {method: finished(bench, recipe(method)) for method in METHODS}


@pytest.fixture
def suite(bench):
    return load_suite("toy")


def visited(*seen: Run, **changes) -> Session:
    links = [run.recipe.to_link() for run in seen]
    made = dataclasses.replace(comparison.remembered(Comparison(), *links), **changes)
    return dataclasses.replace(choose_suite(Session(), "toy", load_suite("toy").experts), comparison=made)


def pinned(a: Run, b: Run) -> Session:
    return visited(a, b, a=a.recipe.to_link(), b=b.recipe.to_link())


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


class TestComparison:
    def test_runs_are_kept_once_newest_first_and_not_for_ever(self, monkeypatch):
        made = comparison.remembered(Comparison(), "1a")
        made = comparison.remembered(made, "1b")
        assert comparison.remembered(made, "1a", "").seen == ("1b", "1a")
        monkeypatch.setattr(comparison, "MOST", 2)
        assert comparison.remembered(made, "1c").seen == ("1c", "1b")

    def test_a_pin_is_set_changed_and_let_go(self, suite):
        one, two = recipe("average").to_link(), recipe("ties").to_link()
        made = comparison.pinned(comparison.pinned(Comparison(), "a", one), "b", two)
        assert made.pins == (one, two)
        assert comparison.swapped(made).pins == (two, one)
        assert comparison.pinned(made, "a", two).pins == (two, two)
        assert comparison.pinned(made, "a", one).pins == ("", two)
        assert set(made.seen) == {one, two}

    def test_a_column_sorts_best_first_and_again_the_other_way(self):
        made = comparison.sorted_by(Comparison(), "average")
        assert (made.sort, made.rising) == ("average", False)
        assert comparison.sorted_by(made, "average").rising
        assert comparison.sorted_by(made, "merge").rising
        assert not comparison.sorted_by(made, "task blob").rising

    def test_another_suite_has_a_comparison_of_its_own(self, suite):
        there = Recipe("elsewhere", ("x",), "average").to_link()
        made = Comparison(seen=(there, recipe("average").to_link()), a=there, b=recipe("average").to_link())
        assert comparison.of_suite(made, "toy").pins == ("", recipe("average").to_link())
        assert len(comparison.of_suite(made, "toy").seen) == 1

    def test_pins_travel_in_the_link(self, runs):
        session = pinned(runs["average"], runs["sim"])
        given = dict(pair.split("=") for pair in state.query(session).split("&"))
        assert (given["a"], given["b"]) == session.comparison.pins
        after, sorry = acts.first_session(("toy",), given)
        assert not sorry
        assert after.comparison.pins == session.comparison.pins
        assert set(after.comparison.seen) == set(session.comparison.pins)

    def test_a_link_with_a_broken_pin_says_so(self, suite):
        after, sorry = acts.first_session(("toy",), {"suite": "toy", "a": "1nonsense"})
        assert "does not hold a recipe" in sorry
        assert after.comparison == Comparison()


class TestActs:
    def test_pin_sort_exchange_and_narrow(self, runs):
        link, session = runs["sim"].recipe.to_link(), visited(runs["average"], runs["sim"])
        after = acts.perform(session, {"act": "pin", "name": "b", "recipe": link})
        assert after.comparison.b == link
        assert acts.perform(after, {"act": "swap"}).comparison.pins == (link, "")
        assert acts.perform(after, {"act": "sort", "value": "task blob"}).comparison.sort == "task blob"
        assert acts.perform(after, {"act": "differ", "value": "blob"}).comparison.task == "blob"
        assert acts.perform(after, {"act": "differ"}).comparison.task == ""

    @pytest.mark.parametrize("said", [
        {"act": "pin"}, {"act": "pin", "name": "a", "recipe": "1x"}, {"act": "pin", "name": "c"},
        {"act": "sort"}, {"act": "sort", "value": "task moon"}, {"act": "differ", "value": "moon"},
        {"act": "differ", "value": ["blob"]},
    ])  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, suite, said):
        link = {"recipe": recipe("average").to_link()} if said.get("name") == "c" else {}
        with pytest.raises(MergeError):
            acts.perform(visited(), said | link)


class TestTable:
    def columns(self, html: str) -> list[list[str]]:
        body = html.split("<tbody>")[1]
        rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]
        return [[words(cell) for cell in row] for row in rows]

    def test_every_run_stands_with_its_numbers(self, bench, runs, suite):
        session = visited(runs["average"], runs["tall_mask"])
        rows = self.columns(compare.table_parts(bench, session)["runs"])
        assert [row[1] for row in rows] == ["2", "1"]
        assert rows[0][2].startswith("Weight average")
        scores = runs["average"].scores
        own = [scores[task].accuracy for task in suite.task_of.values()]
        assert rows[0][4] == f"{sum(own) / len(own):.1f}"
        assert rows[0][5 : 5 + len(suite.tasks)] == [f"{scores[task].accuracy:.1f}" for task in suite.tasks]
        assert rows[1][5 + list(suite.tasks).index("shape")] == "–", "a merge that is told the task has no unseen one"

    @pytest.mark.parametrize("column", [*visit.HEADS, *visit.TAILS, "task blob"])
    def test_every_column_sorts_both_ways(self, bench, runs, suite, column):
        session = visited(*runs.values())
        for rising in (True, False):
            chosen = dataclasses.replace(session.comparison, sort=column, rising=rising)
            found = visit.seen_runs(bench.record, chosen, suite)
            values = [one.value(column) for one in found]
            known = [value for value in values if value is not None]
            assert known == sorted(known, reverse=not rising)
            assert values[: len(known)] == known, "what is not known comes last"
            html = visit.runs_table(found, chosen, suite)
            assert html.count("aria-sort") == 1
            assert f'aria-sort="{"ascending" if rising else "descending"}"' in html

    def test_what_differs_from_the_defaults_is_said(self, bench, suite):
        assert visit.described(recipe("task_arithmetic")) == ("Task Arithmetic", "published default")
        made = Recipe("toy", suite.experts, "task_arithmetic", {"scaling": 0.4}, (("lines", {}),), seed=3)
        title, changed = visit.described(made)
        assert title.startswith("Task Arithmetic + ")
        assert changed == "scaling 0.4, seed 3"

    def test_an_unknown_run_is_listed_with_what_to_do(self, bench, suite):
        session = visited(Run(recipe("task_arithmetic", scaling=0.77), "done"))
        html = compare.table_parts(bench, session)["runs"]
        assert "not measured yet, load it and press Merge" in words(html)
        strange = dataclasses.replace(visited(), comparison=Comparison(seen=(recipe("average", ["moon"]).to_link(),)))
        assert "not measured yet" in words(compare.table_parts(bench, strange)["runs"])

    def test_nothing_yet_is_a_sentence(self, bench, suite):
        assert "Press Merge" in compare.table_parts(bench, visited())["runs"]

    def test_dots_carry_the_letters_of_pins(self, bench, runs, suite):
        session = pinned(runs["average"], runs["sim"])
        dots = visit.points(visit.seen_runs(bench.record, session.comparison, suite), session.comparison)
        assert {dot.title.split(":")[0] for dot in dots if dot.chosen} == {"A", "B"}
        assert {dot.method for dot in dots} == {runs[m].recipe.digest for m in ("average", "sim")}
        same = pinned(runs["sim"], runs["sim"])
        dots = visit.points(visit.seen_runs(bench.record, same.comparison, suite), same.comparison)
        assert [dot.title.split(":")[0] for dot in dots] == ["A = B"]


class TestPairing:
    @pytest.mark.parametrize("method", METHODS)
    def test_right_inputs_are_those_that_the_score_counts(self, runs, suite, method):
        found = pairing.pairing(suite, runs[method], runs["average"])
        assert found.tasks
        for pair in found.tasks:
            score = runs[method].scores[pair.task]
            assert pair.a.right.sum() == score.correct == pair.counts.both + pair.counts.first
            assert pair.counts.n == score.n

    @pytest.mark.parametrize(("a", "b"), list(itertools.combinations(METHODS, 2)))
    def test_differences_are_those_of_the_scores(self, runs, suite, a, b):
        found = pairing.pairing(suite, runs[a], runs[b])
        lines = {line.task: line for line in pairing.differences(found)}
        for pair in found.tasks:
            gap = runs[b].scores[pair.task].accuracy - runs[a].scores[pair.task].accuracy
            assert lines[pair.task].points == pytest.approx(gap)
            assert lines[pair.task].low <= gap <= lines[pair.task].high
        own = [lines[pair.task].points for pair in found.own]
        assert lines[""].points == pytest.approx(sum(own) / len(own))
        assert [pair.seen for pair in found.tasks] == sorted((pair.seen for pair in found.tasks), reverse=True)

    def test_the_same_run_twice_differs_nowhere(self, bench, runs, suite):
        found = pairing.pairing(suite, runs["sim"], runs["sim"])
        assert all(line.points == 0 and line.p == 1 for line in pairing.differences(found))
        parts = compare.pair_parts(bench, pinned(runs["sim"], runs["sim"]))
        assert "B is as good as A" in words(parts["verdict"])
        assert "the same run" in words(parts["verdict"])
        assert "No input to show" in parts["differing"]

    def test_only_tasks_in_common_count(self, bench, runs, suite):
        few = finished(bench, recipe("average", suite.experts[:2]))
        found = pairing.pairing(suite, runs["average"], few)
        assert [pair.task for pair in found.own] == [suite.task_of[e] for e in suite.experts[:2]]
        assert any("only the 2 that they have in common count" in note for note in found.notes)
        other = finished(bench, recipe("average", suite.experts[2:]))
        apart = pairing.pairing(suite, few, other)
        assert not apart.own
        assert {pair.task for pair in apart.tasks} == set(suite.unseen)
        assert pairing.verdict(apart).startswith("B is ")

    def test_nothing_in_common_is_said(self, bench, suite):
        one, two = (finished(bench, recipe("tall_mask", part)) for part in (suite.experts[:2], suite.experts[2:]))
        parts = compare.pair_parts(bench, pinned(one, two))
        assert "no task in common" in words(parts["verdict"])
        assert parts["differing"] == ""

    def test_a_cancelled_run_counts_with_the_inputs_it_saw(self, bench, runs, suite):
        steps = itertools.count()
        cut = finished(bench, recipe("task_arithmetic", scaling=0.55), lambda: next(steps) < 7)
        assert cut.phase == "stopped"
        found = pairing.pairing(suite, runs["average"], cut)
        assert 0 < sum(pair.counts.n for pair in found.tasks) < sum(s.n for s in runs["average"].scores.values())
        for pair in found.tasks:
            assert pair.counts.n == cut.scores[pair.task].n
            assert pair.b.right.sum() == cut.scores[pair.task].correct
        assert any("B scored a part of the inputs" in note for note in found.notes)
        row = visit.seen_runs(bench.record, visited(cut).comparison, suite)
        assert "pictures scored" in visit.runs_table(row, Comparison(), suite)

    def test_a_stored_run_is_not_tested_but_said_what_to_do_with(self, bench, runs, suite):
        known = without_inputs(dataclasses.replace(runs["average"], stored=True))
        said = pairing.untested(known, runs["sim"])
        assert said.startswith("A is a stored result")
        assert "press Merge" in said
        assert pairing.untested(runs["sim"], None).startswith("B is not measured yet")
        assert pairing.untested(runs["sim"], runs["average"]) == ""
        assert "load each of them and press Merge" in pairing.untested(known, None)
        assert not pairing.pairing(suite, known, runs["sim"]).tasks

    def test_unmeasured_pins_of_a_link_offer_to_load(self, bench, runs, suite):
        new = recipe("task_arithmetic", scaling=0.91).to_link()
        session = visited(runs["average"], a=runs["average"].recipe.to_link(), b=new)
        assert "B is not measured yet" in words(compare.pair_parts(bench, session)["verdict"])
        tray = tray_parts(session, None, beside(bench.record, session, ""))["pins"]
        assert f'data-emit="load" data-recipe="{new}"' in tray

    def test_the_sentence_says_who_is_better_and_how_sure(self, runs, suite, monkeypatch):
        found = pairing.pairing(suite, runs["average"], runs["sim"])
        lines = [
            TaskDifference("", 2.1, 1.2, 3.0, 120, 195, 2000, 2.9e-5, 2.9e-5),
            TaskDifference("blob", 5.0, 3.0, 7.0, 1, 9, 80, 0.01, 0.02),
            TaskDifference("grain", -0.1, -3.0, 2.8, 5, 5, 80, 1, 1),
        ]
        monkeypatch.setattr(pairing, "differences", lambda found: lines)
        said = pairing.verdict(found)
        assert "B is 2.1 points better than A on average over 4 tasks (95 % interval +1.2 to +3.0)" in said
        assert "There, A is right where B is wrong on 120 inputs, the other way round on 195; p < 0.0001" in said
        assert "more than chance would give" in said
        assert said.endswith("After Holm's correction for 2 tests, B is better on blob.")


class TestDiffering:
    def test_shown_inputs_are_right_in_one_run_alone(self, runs, suite):
        a, b = runs["average"], runs["sim"]
        found = pairing.pairing(suite, a, b)
        data = pairing.differing(suite, found, "")
        assert (data.of_a, data.of_b) == (found_sum(found, "first"), found_sum(found, "second"))
        sides = {pair.task: pair for pair in found.tasks}
        for one, which in [(x, "a") for x in data.only_a] + [(x, "b") for x in data.only_b]:
            pair = sides[one.task]
            good, bad = (pair.a, pair.b) if which == "a" else (pair.b, pair.a)
            at = good.said.index[good.rows].tolist().index(one.index)
            assert good.right[at]
            assert not bad.right[at]
            assert (one.picture == suite.pictures(one.task, "score")[one.index]).all()

    def test_one_task_alone_and_never_too_many(self, runs, suite, monkeypatch):
        found = pairing.pairing(suite, runs["average"], runs["sim"])
        task = max(found.tasks, key=lambda pair: pair.counts.first + pair.counts.second).task
        data = pairing.differing(suite, found, task)
        assert {one.task for one in (*data.only_a, *data.only_b)} == {task}
        monkeypatch.setattr(pairing, "EACH", 3)
        assert len(pairing.differing(suite, found, "").only_b) == min(3, found_sum(found, "second"))

    def test_a_wrong_route_is_named(self, runs, suite):
        found = pairing.pairing(suite, runs["mass"], runs["sim"])
        for pair in found.tasks:
            said, rows = pair.b.said, pair.b.rows
            sent = [runs["sim"].recipe.experts[picked] for picked in said.picked[rows]]
            for place in pair.only("a"):
                one = pairing._input(suite, pair, int(place), "b")
                strayed = pair.seen and suite.task_of[sent[place]] != pair.task
                assert one.wrong.startswith("→") == strayed

    def test_every_thumbnail_opens_its_input(self, bench, runs, suite):
        session = pinned(runs["average"], runs["sim"])
        html = compare.pair_parts(bench, session)["differing"]
        keys = re.findall(r'data-emit="input" value="([^"]+)"', html)
        assert keys
        for key in keys:
            assert acts.perform(session, {"act": "input", "value": key}).inputs.chosen == key


def found_sum(found: pairing.Pairing, name: str) -> int:
    return sum(getattr(pair.counts, name) for pair in found.tasks)


class TestBeside:
    def test_a_stands_beside_every_run_but_itself_and_b_beside_a(self, bench, runs):
        session = pinned(runs["average"], runs["sim"])
        for shown, letter, other in (("sim", "A", "average"), ("mass", "A", "average"), ("average", "B", "sim")):
            found = beside(bench.record, session, runs[shown].recipe.digest)
            assert (found.letter, found.run) == (letter, runs[other])
        assert beside(bench.record, session, "").letter == "A"
        alone = visited(runs["sim"], a=runs["sim"].recipe.to_link())
        assert beside(bench.record, alone, runs["sim"].recipe.digest) is None
        assert beside(bench.record, visited(), runs["sim"].recipe.digest) is None

    def test_a_pin_of_another_suite_is_not_shown(self, bench, runs):
        there = Recipe("elsewhere", ("x",), "average").to_link()
        assert beside(bench.record, visited(a=there), runs["sim"].recipe.digest) is None

    def test_the_tray_says_what_panels_show(self, bench, runs):
        def said(shown, **pins):
            links = {which: runs[name].recipe.to_link() for which, name in pins.items()}
            session, run = visited(*runs.values(), **links), runs[shown]
            return words(tray_parts(session, run, beside(bench.record, session, run.recipe.digest))["pins"])

        assert said("sim") == ""
        assert said("sim", a="average").endswith("Every panel shows the run on the page beside A.")
        assert "load or merge another one, and every panel shows it beside A" in said("average", a="average")
        assert said("sim", a="average", b="sim").endswith("Every panel shows B, the run on the page, beside A.")
        assert said("average", a="average", b="sim").endswith("Every panel shows A, the run on the page, beside B.")
        assert "Load B to see the two pinned runs beside each other" in said("mass", a="average", b="sim")

    def test_the_accuracy_panel_marks_it_with_its_interval(self, bench, runs):
        session = pinned(runs["average"], runs["sim"])
        drawing = accuracy_panel(bench, session, runs["sim"], beside(bench.record, session, runs["sim"].recipe.digest))
        (figure,) = drawing.figures.values()
        marks, bars = (next(t for t in figure.data if t.name == name) for name in ("pinned", "pinned interval"))
        scores = runs["average"].scores
        assert list(marks.x)[1:] == [scores[task].accuracy for task in scores]
        assert [x for x in bars.x if x is not None] == [x for task in scores for x in scores[task].interval]
        assert figure.layout.meta["table"]["columns"][-3:] == ["pinned as A %", "A low %", "A high %"]
        plain = accuracy_panel(bench, visited(), runs["sim"], None)
        assert all(trace.name != "pinned" for trace in plain.figures[""].data)

    def test_the_headline_tells_the_points_over_it(self, bench, runs):
        session = pinned(runs["average"], runs["sim"])
        found = answer_parts(bench, session, runs["sim"])["headline"]
        own = [task for task in load_suite("toy").task_of.values()]
        means = [sum(runs[m].scores[t].accuracy for t in own) / len(own) for m in ("sim", "average")]
        assert f"over A {means[0] - means[1]:+.1f} from {means[1]:.1f} %".replace("-", "−") in words(found)
        assert "over A" not in answer_parts(bench, visited(), runs["sim"])["headline"]

    def test_results_on_their_way_are_not_collected(self, runs):
        run = runs["average"]
        assert visit.seen_part(None) == {}
        assert visit.seen_part(dataclasses.replace(run, phase="scoring")) == {}
        assert visit.seen_part(dataclasses.replace(run, scores={})) == {}
        assert visit.seen_part(run)["seen"].startswith(run.recipe.to_link())


class TestWeights:
    """Where the weights of both pinned runs differ."""

    def test_numbers_are_those_of_the_merged_task_vectors(self, bench, runs):
        drawing = Aparts(bench).part(pinned(runs["task_arithmetic"], runs["average"]))
        assert list(drawing.figures) == ["cosine", "distance", "length"]
        table = drawing.figures["cosine"].layout.meta["table"]
        a, b = (bench.merged(runs[name].recipe) for name in ("task_arithmetic", "average"))
        suite = load_suite("toy")
        names = matrices(suite)
        assert len(table["rows"]) == len(names)
        for name, row in zip(names, table["rows"], strict=True):
            x, y = (one.weights()[name].double() - suite.pretrained[name].double() for one in (a, b))
            place = suite.backbone.place(name)
            cosine, length = (x * y).sum() / x.norm() / y.norm(), y.norm() / x.norm()
            wanted = [x.norm(), y.norm(), cosine, (y - x).norm() / x.norm(), length]
            assert row[:2] == [str(place.block), place.kind]
            assert row[2:] == pytest.approx(list(map(float, wanted)), rel=1e-3, abs=1e-3)

    def test_the_average_points_as_task_arithmetic_does(self, bench, runs):
        drawing = Aparts(bench).part(pinned(runs["task_arithmetic"], runs["average"]))
        cosines = [row[4] for row in drawing.figures["cosine"].layout.meta["table"]["rows"]]
        assert cosines == pytest.approx([1.0] * len(cosines), abs=1e-5)

    def test_what_stands_in_the_way_is_said(self, bench, runs):
        def said(*those):
            return Aparts(bench).part(pinned(*those)).figures[""].layout.meta["empty"]

        assert Aparts(bench).part(visited(runs["average"])) is None
        assert said(runs["average"], runs["sim"]).startswith("B is not one model")
        gone = Run(Recipe("toy", tuple(load_suite("toy").experts), "magmax"), "done")
        assert said(gone, runs["average"]).startswith("The weights of A are not in memory")

    def test_what_is_not_measured_yet_is_said_at_once(self, bench, runs):
        aparts, session = Aparts(bench), pinned(runs["task_arithmetic"], runs["average"])
        assert aparts.at_once(visited(runs["average"])) is None
        assert aparts.at_once(session).figures[""].layout.meta["empty"].startswith("Measuring")
        assert aparts.part(session).labels == apart.VIEWS
        assert aparts.at_once(session).labels == apart.VIEWS

    def test_it_is_measured_once(self, bench, runs, monkeypatch):
        aparts, session = Aparts(bench), pinned(runs["task_arithmetic"], runs["average"])
        aparts.part(session)
        monkeypatch.setattr("viz.page.compare.apart.measured", lambda *_: pytest.fail("measured again"))
        assert aparts.part(session).figures

    def test_a_matrix_that_a_merge_left_alone_has_no_direction(self):
        data = apart.Apart((0, 0), ("q", "v"), np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([0.0, -1.0]))
        assert np.isnan(data.values("cosine")[0])
        assert data.values("cosine")[1] == pytest.approx(-0.5)
        assert data.values("distance")[1] == pytest.approx(np.sqrt(4 + 1 + 2) / 2)
        assert data.values("length")[1] == pytest.approx(0.5)


@pytest.fixture(scope="module")
def tab(bench) -> Compares:
    """The listeners of the tab, on a page whose components are their own names."""
    page = Page(**{field.name: field.name for field in dataclasses.fields(Page)})
    return Compares(page, Listeners(page, bench))


class TestListeners:
    """What the tab answers, by the name of its parts."""

    def test_a_result_that_appears_is_remembered_and_drawn_once_the_tab_was_opened(self, tab, bench, runs):
        seen = visit.seen_part(runs["sim"])["seen"]
        parts = tab.remember(visited(), seen, "")
        assert parts["session"].comparison.seen == (runs["sim"].recipe.to_link(),)
        assert parts["compared"] == ""
        first = tab.opened(parts["session"], "")["compared"]
        assert first
        again = tab.remember(parts["session"], visit.seen_part(runs["average"])["seen"], first)
        assert again["compared"] not in ("", first)
        drawn = {name for parts in tab.show(again["session"], "", "") for name in parts or ()}
        assert {"runs", "costs", "verdict", "sides", "differences", "apart"} <= drawn
        *_, last = tab.show(again["session"], "", again["compared"] + DRAWN)
        assert [*last] == ["apart"]  # what an act has drawn is not drawn over
        assert parts["session"] not in tab.remember(visited(), "1nonsense 3", "").values()

    def test_merging_a_stored_pin_again_draws_the_tab_again(self, bench, runs):
        session = pinned(runs["average"], runs["sim"])
        before = compare.mark(bench, session)
        digest = runs["average"].recipe.digest
        bench.record._runs[digest] = without_inputs(runs["average"])
        try:
            assert compare.mark(bench, session) != before
        finally:
            bench.record._runs[digest] = runs["average"]

    def test_pins_move_this_tab_first_and_then_every_part_and_sorting_the_table_alone(self, tab, runs):
        session, link = visited(runs["average"], runs["sim"]), runs["sim"].recipe.to_link()
        first, rest = tab.act(session, "", event(act="pin", name="a", recipe=link), HERE)
        assert first["session"].comparison.a == link
        assert {"link", "runs", "costs", "verdict", "sides", "differences", "differing"} <= set(first)
        assert {"accuracy", "routes", "focus", "pins", "pinned", "scatter", "studied"} <= set(rest)
        assert rest["pinned"].startswith("A ")
        (parts,) = tab.act(session, "", event(act="sort", value="average"), HERE)
        assert set(parts) == {"session", "runs", "link", "comparing"}
        (loaded,) = tab.act(session, "", event(act="load", recipe=link), HERE)
        assert loaded["session"].method == "sim"

    def test_pins_end_a_look_into_the_weights_of_another_merge_and_no_other(self, tab, bench, runs):
        session, link = visited(runs["average"], runs["sim"]), runs["average"].recipe.to_link()
        shown = runs["sim"].recipe.digest
        after = next(tab.act(session, shown, event(act="pin", name="a", recipe=link), HERE))["session"]
        looks = tab.on.tickets.take("look me", tab.on.looks.key(session, shown))
        next(tab.act(session, shown, event(act="pin", name="a", recipe=link), HERE))
        assert looks.ended
        looks = tab.on.tickets.take("look me", tab.on.looks.key(after, shown))
        next(tab.act(after, shown, event(act="pin", name="b", recipe=runs["sim"].recipe.to_link()), HERE))
        assert looks.going()  # A stands beside what is shown, as before

    def test_a_dot_loads_its_run(self, tab, runs):
        session = visited(runs["average"], runs["sim"])
        parts = tab.dot(session, "", event(method=runs["average"].recipe.digest))
        assert parts["session"].method == "average"

    def test_a_line_narrows_the_inputs_and_the_average_widens_them(self, tab, runs):
        session = pinned(runs["average"], runs["sim"])
        parts = tab.task(session, "", event(expert="blob"))
        assert parts["session"].comparison.task == "blob"
        assert tab.task(parts["session"], "", event(x=1.0))["session"].comparison.task == ""

    @pytest.mark.parametrize(("shown", "method"), [("average", "task_arithmetic"), ("mass", "sim")])
    def test_an_input_opens_for_a_pinned_run(self, tab, runs, shown, method):
        session = pinned(runs["average"], runs["sim"])
        parts = tab.differing(session, runs[shown].recipe.digest, event(act="input", value="blob:3"))
        assert parts["session"].inputs.chosen == "blob:3"
        assert parts["session"].method == method, "another recipe is loaded only where neither pin is shown"
        assert parts["eye"].endswith("blob:3")
        assert parts["tabs"].selected == "inputs"


HERE = SimpleNamespace(session_hash="me")


def event(**data):
    return SimpleNamespace(_data=data)
