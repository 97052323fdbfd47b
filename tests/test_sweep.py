"""Sweeps on the toy suite: the grid, what is shared and stored, the command, and the tab without a browser."""

from __future__ import annotations

import dataclasses
import json
import math

import gradio as gr
import numpy as np
import pytest
import torch

from merge_engine.contract import Context
from merge_engine.errors import MergeError, RecipeError
from merge_engine.evaluate import Score, logits, score, scoring_order
from merge_engine.hp import HP, declared
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import build, method_class, registry
from merge_engine.metrics.accuracy import wilson
from merge_engine.precision import live_dtype
from merge_engine.running import drive, merge
from merge_engine.runs import grid, tuning
from merge_engine.runs.grid import axis_of, coarse_first, default_values, sweepable
from merge_engine.runs.landmarks import landmarks
from merge_engine.runs.pace import Pace
from merge_engine.runs.publish import table_folder
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import write_json
from merge_engine.runs.sweep import Point, Stored, Sweep, best, mean_interval, sweep_steps
from merge_engine.runs.tuning import Merges
from merge_engine.suite import load_suite
from viz import swept
from viz.page import acts
from viz.page import session as state
from viz.page.plotly_panel import Selection
from viz.page.session import Session
from viz.page.sweep import sweep_cost, sweeping, wish
from viz.page.sweep.sweep_acts import sweep_of
from viz.page.sweep.wish import Wish
from viz.page.workbench import Workbench
from viz.panel import draw
from viz.panels import sweep_curve, sweep_plane

pytestmark = pytest.mark.usefixtures("toy_by_name")
EXPERTS = ("stripes", "blob", "colour", "grain")
NUMBERS = [
    (key, name, hp)
    for key in registry()
    for name, hp in declared(method_class(key)).items()
    if hp.type in (int, float) and not hp.per_expert and not hp.choices
]


def recipe(method: str = "task_arithmetic", post: tuple = (), **parameters) -> Recipe:
    return Recipe("toy", EXPERTS, method, parameters, post)


def swept_over(*over: str, given: Recipe | None = None, **more) -> Sweep:
    return Sweep.of(given or recipe(), over, **{"pictures": 8, **more})


@pytest.fixture
def merges() -> Merges:
    return Merges(load_suite("toy"), Context(svd=SvdStore(folder=None)))


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """The methods that experts were merged by, one after the other."""
    found, real = [], tuning.merge_steps

    def counting(problem, method, post, ctx):
        found.append(type(method).__name__)
        return real(problem, method, post, ctx)

    monkeypatch.setattr(tuning, "merge_steps", counting)
    return found


class TestGrid:
    @pytest.mark.parametrize(("key", "name", "hp"), NUMBERS, ids=[f"{k}.{n}" for k, n, _ in NUMBERS])
    @pytest.mark.parametrize("count", [grid.CURVE, grid.PLANE])
    def test_the_usual_values_of_every_number_are_legal(self, key, name, hp: HP, count):
        values = default_values(hp, count)
        assert [hp.check(value, key) for value in values] == list(values) == sorted(set(values))
        assert 2 <= len(values) <= count + 2
        inside = hp.default != hp.word and (hp.sweep or hp.span[0] <= hp.default <= hp.span[1])
        assert hp.default in values or not inside

    @pytest.mark.parametrize(
        ("text", "values"),
        [("scaling=0:1:3", (0, 0.5, 1)), ("scaling = 1, 0.2 ,1", (0.2, 1)), ("scaling=-1:1:2", (-1, 1))],
    )
    def test_values_are_read(self, text, values):
        assert axis_of(recipe(), text).values == values

    @pytest.mark.parametrize(
        "text",
        ["", "scalin", "scaling=", "scaling=1", "scaling=0:1", "scaling=1:0:3", "scaling=0:99:3", "scaling=0:1:999",
         "scaling=a,b", "scaling=nan:1:3", "svc.floor", "scaling=0:inf:3"],
    )  # fmt: skip
    def test_anything_else_is_refused_in_a_sentence(self, text):
        with pytest.raises(RecipeError) as caught:
            axis_of(recipe(), text)
        assert "\n" not in str(caught.value)

    def test_whole_numbers_stay_whole_and_wide_ranges_grow_by_ratios(self):
        assert axis_of(recipe("consensus"), "k=0:4:9").values == (0, 1, 2, 3, 4)
        assert axis_of(recipe("ties"), "density=0.01:1:3").values == (0.01, 0.1, 1)
        assert axis_of(recipe("ties"), "density=0.01:1:3").wide

    @pytest.mark.parametrize("count", range(2, 26))
    def test_coarse_places_come_first(self, count):
        places = coarse_first(count)
        assert sorted(places) == list(range(count))
        assert places[:2] == [0, count - 1]
        gaps = [max(np.diff(sorted(places[:n]))) for n in range(2, count + 1)]
        assert gaps == sorted(gaps, reverse=True)

    def test_numbers_alone_are_swept_and_post_steps_have_a_name_before_theirs(self):
        assert list(sweepable(recipe("cart", (("svc", {}),)))) == ["scaling", "rank", "svc.floor"]
        assert list(sweepable(recipe("linear"))) == []
        with pytest.raises(RecipeError, match="no number"):
            swept_over("", given=recipe("linear"))

    def test_a_sweep_is_over_one_or_two_numbers_and_not_endless(self):
        for over in (["scaling", "scaling"], ["scaling", "rank", "scaling"], ["scaling=0:1:25", "rank=0:1:25"]):
            with pytest.raises(RecipeError):
                swept_over(*over, given=recipe("cart"))
        for wrong in ({"split": "test"}, {"pictures": 0}):
            with pytest.raises(RecipeError):
                swept_over("scaling", **wrong)


class TestInterval:
    def test_of_one_task_it_is_wilsons(self):
        low, high = mean_interval([Score("a", 7, 10, 10, 0, 0)])
        assert (low, high) == pytest.approx(tuple(100 * end for end in wilson(7, 10)))

    def test_it_is_the_root_of_the_summed_squares(self):
        counts = [(3, 10), (19, 20), (0, 5)]
        shares = np.array([c / n for c, n in counts])
        ends = np.array([wilson(c, n) for c, n in counts])
        below = np.sqrt(((shares - ends[:, 0]) ** 2).sum()) / 3
        above = np.sqrt(((ends[:, 1] - shares) ** 2).sum()) / 3
        found = mean_interval([Score(str(i), c, n, n, 0, 0) for i, (c, n) in enumerate(counts)])
        np.testing.assert_allclose(found, 100 * np.array([shares.mean() - below, shares.mean() + above]), rtol=1e-12)

    def test_without_a_score_there_is_none(self):
        assert all(map(math.isnan, mean_interval([])))


class TestEngine:
    def test_scaling_merges_once_and_scores_what_merging_again_would(self, merges, counted):
        sweep = swept_over("scaling=0:1:5")
        points = drive(sweep_steps(sweep, merges))
        assert counted == ["TaskArithmetic"]
        assert sorted(point.values[0] for point in points) == [0, 0.25, 0.5, 0.75, 1]
        suite = load_suite("toy")
        for point in points[:3]:
            merged = merge(suite.problem(EXPERTS), build("task_arithmetic", scaling=point.values[0]))
            alone = score(suite, merged, [suite.task_of[e] for e in EXPERTS], split="validation", limit=8)
            assert {t: s.correct for t, s in point.scores.items()} == {t: s.correct for t, s in alone.items()}
        first = points[0]
        assert first.average == pytest.approx(np.mean([s.accuracy for s in first.scores.values()]))
        ratios = [s.accuracy / first.alone[t] for t, s in first.scores.items()]
        assert first.normalised == pytest.approx(100 * np.mean(ratios))

    @pytest.mark.parametrize("given", [("task_arithmetic", {}), ("sim", {"rank": 3})], ids=["static", "routed"])
    def test_interference_is_what_the_expert_gets_right_and_the_merge_does_not(self, merges, given):
        suite, (method, parameters) = load_suite("toy"), given
        over = "rank=2,3" if method == "sim" else "scaling=0:1:3"
        sweep = swept_over(over, given=recipe(method, **parameters))
        for point in drive(sweep_steps(sweep, merges)):
            merged, _ = drive(merges.steps(sweep.at(point.values)))
            for number, expert in enumerate(EXPERTS):
                task = suite.task_of[expert]
                order = scoring_order(len(suite.labels(task, "validation")), 8)
                labels = suite.labels(task, "validation")[order]
                alone = logits(suite, suite.expert(expert), task, "validation", 8).argmax(-1) == labels
                said = score(suite, merged, [task], split="validation", limit=8)[task].said
                mine = said.guess == said.label
                if said.picked is not None:
                    mine &= said.picked == number
                wanted = 100 * sum(a and not m for a, m in zip(alone, mine, strict=True)) / max(1, int(alone.sum()))
                assert point.lost[task] == pytest.approx(wanted)
            assert point.interference == pytest.approx(np.mean(list(point.lost.values())))

    def test_points_that_were_stored_without_interference_are_scored_again(self, merges):
        sweep = swept_over("scaling=0:1:3")
        drive(sweep_steps(sweep, merges))
        store = Stored(load_suite("toy"), sweep, torch.float32)
        for entry in store.known.values():
            del entry["lost"]
        write_json(store.file, store.known)
        assert Stored(load_suite("toy"), sweep, torch.float32).points(sweep) == []

    def test_a_second_sweep_is_read(self, merges, monkeypatch):
        sweep = swept_over("scaling=0:1:3")
        points = drive(sweep_steps(sweep, merges))
        monkeypatch.setattr(tuning, "merge_steps", lambda *_: pytest.fail("merged again"))
        moments = list(sweep_steps(sweep, Merges(load_suite("toy"))))
        assert [step.done for step in moments] == [3]
        assert {p.values: p.average for p in moments[0].points} == {p.values: p.average for p in points}
        moved = swept_over("scaling=0:1:3", given=recipe(scaling=0.9))
        assert moved.key == sweep.key
        assert len(Stored(load_suite("toy"), moved, torch.float32).points(moved)) == 3

    def test_other_pictures_are_scored_anew(self, merges):
        drive(sweep_steps(swept_over("scaling=0:1:3"), merges))
        for other in (swept_over("scaling=0:1:3", pictures=4), swept_over("scaling=0:1:3", split="score")):
            assert Stored(load_suite("toy"), other, torch.float32).points(other) == []

    def test_a_plane_merges_once_per_value_of_the_costly_number(self, merges, counted):
        sweep = swept_over("scaling=0:1:3", "density=0.2,0.5", given=recipe("ties"))
        assert sweep.cheap == {"scaling": True, "density": False}
        assert len(drive(sweep_steps(sweep, merges))) == 6
        assert counted == ["Ties", "Ties"]

    def test_a_post_step_merges_no_expert_again(self, merges, counted):
        sweep = swept_over("lines.beta=0,0.5,1", "scaling=0.2,0.4", given=recipe(post=(("lines", {}),)))
        points = {p.values: p for p in drive(sweep_steps(sweep, merges))}
        assert len(points) == 6
        assert len(counted) == 1
        single = recipe(post=(("lines", {"beta": 1.0}),), scaling=0.4)
        again, _ = drive(Merges(load_suite("toy")).steps(single))
        alone = score(load_suite("toy"), again, list(points[1.0, 0.4].scores), split="validation", limit=8)
        assert {t: s.correct for t, s in points[1.0, 0.4].scores.items()} == {t: s.correct for t, s in alone.items()}

    def test_what_was_scored_before_a_stop_is_kept(self, merges):
        sweep = swept_over("scaling=0:1:5")
        steps = sweep_steps(sweep, merges)
        for step in steps:
            if step.done == 2:
                steps.close()
                break
        after = list(sweep_steps(sweep, merges))
        assert after[0].done == 2
        assert after[-1].done == after[-1].total == 5

    def test_a_point_that_cannot_be_merged_says_why_and_the_sweep_goes_on(self, merges, monkeypatch):
        real = tuning.merge_steps

        def refusing(problem, method, post, ctx):
            if method.density == 0.5:
                raise RecipeError("Half is not allowed here.")
            return real(problem, method, post, ctx)

        monkeypatch.setattr(tuning, "merge_steps", refusing)
        points = drive(sweep_steps(swept_over("density=0.1,0.5,1", given=recipe("ties")), merges))
        assert [p.fault for p in points if not p.scores] == ["Half is not allowed here."]
        assert len([p for p in points if p.scores]) == 2

    def test_time_left_is_told_and_reaches_zero(self, merges):
        steps = list(sweep_steps(swept_over("scaling=0:1:4"), merges))
        assert steps[-1].left == 0
        assert any(step.left for step in steps)

    def test_the_test_half_is_to_look_at_only(self, merges):
        steps = list(sweep_steps(swept_over("scaling=0:1:3", split="score"), merges))
        assert all(not step.metrics for step in steps)
        assert not swept_over("scaling", split="score").chooses

    def test_the_first_of_equals_is_the_best(self):
        even = {"a": Score("a", 5, 10, 10, 0, 0)}
        assert best([Point((1.0,), even), Point((0.0,), even), Point((2.0,), fault="no")]).values == (1.0,)
        assert best([]) is None


def test_the_pace_tells_what_is_left():
    now = [0.0]
    pace = Pace(["a", "a", "b", "b"], clock=lambda: now[0])
    assert pace.left() is None
    pace.begin("merge")
    now[0] = 5.0
    pace.step(0.5)
    assert pace.left() is None  # no scoring was timed
    now[0] = 10.0
    pace.begin("score")
    now[0] = 12.0
    assert pace.end() == {"merge": 10.0, "score": 2.0}
    assert pace.left() == 10 + 3 * 2
    pace.begin("merge")
    now[0] = 13.0
    pace.begin("score")
    pace.end()
    assert pace.took == {"new": [10.0], "shared": [1.0], "score": [2.0, 0.0]}


def test_marks_are_the_default_the_recipe_and_the_tables_choice():
    suite, own = load_suite("toy"), recipe(scaling=0.9)
    sweep = swept_over("scaling", given=own)
    assert landmarks(suite, sweep) == {"published": (0.3,), "current": (0.9,)}
    row = {**recipe(scaling=0.7).to_dict(), "name": "task_arithmetic", "setting": "validation"}
    write_json(table_folder(suite) / "table.json", {"rows": [row]})
    assert landmarks(suite, sweep)["table"] == (0.7,)
    fewer = dataclasses.replace(own, experts=EXPERTS[:2])
    assert "table" not in landmarks(suite, swept_over("scaling", given=fewer))
    word = swept_over("prior", given=recipe("adarank"))
    assert landmarks(suite, word) == {}, "a word has no place on the axis"
    assert landmarks(suite, swept_over("prior", given=recipe("adarank", prior=0.5))) == {"current": (0.5,)}


class TestCommand:
    def test_a_sweep_is_printed_and_written(self, command):
        over = ("sweep", "--suite", "toy", "--method", "task_arithmetic", "--over", "scaling=0:1:3", "--limit", 8)
        code, out, err = command(*over, "--json", "-")
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert [p["values"]["scaling"] for p in found["points"]] == [0, 0.5, 1]
        top = max(found["points"], key=lambda p: p["average"])
        assert found["best"]["scaling"] in [p["values"]["scaling"] for p in found["points"]]
        assert top["low"] <= top["average"] <= top["high"]
        code, out, _ = command(*over)
        assert code == 0
        assert "where choosing is fair" in out
        assert "Best: scaling" in out
        code, out, _ = command(*over, "--split", "score")
        assert "Best" not in out
        assert "to look at only" in out
        assert json.loads(command(*over, "--split", "score", "--json", "-")[1])["best"] is None

    def test_a_plane_with_a_post_step(self, command):
        code, out, _ = command(
            "sweep", "--suite", "toy", "--method", "task_arithmetic", "--post", "lines", "--set", "lines.alpha=0.2",
            "--over", "scaling=0.2,0.4", "--over", "lines.beta=0.1,0.5", "--limit", 4, "--json", "-",
        )  # fmt: skip
        assert code == 0
        found = json.loads(out)
        assert len(found["points"]) == 4
        assert [axis["name"] for axis in found["axes"]] == ["scaling", "lines.beta"]

    @pytest.mark.parametrize(
        "wrong",
        [("--over", "scalin"), ("--over", "scaling", "--over", "scaling"), ("--over", "scaling=9"),
         ("--over", "scaling", "--split", "train"), ("--over", "scaling", "--limit", 0),
         ("--over", "scaling", "--experts", "blob"), ("--over", "scaling", "--json", "/nowhere/at/all.json"), ()],
    )  # fmt: skip
    def test_errors_are_one_line(self, command, wrong):
        code, out, err = command("sweep", "--suite", "toy", "--method", "task_arithmetic", *wrong)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1


class TestPanels:
    def test_the_curve_shows_what_is_scored_and_marks_the_best(self):
        data = swept.demo()
        first = draw(sweep_curve, data)
        figure = first.figures["accuracy"]
        lines = [t for t in figure.data if t.meta]
        assert [t.meta["expert"] for t in lines] == list(data.tasks)
        assert all(len(t.x) == 7 for t in lines)  # two points of nine are missing
        assert list(lines[0].customdata) == list(range(7))
        (diamond,) = [t for t in figure.data if t.marker.symbol == "diamond"]
        assert diamond.x[0] == data.best[0] == data.values[0][np.nanargmax(data.average)]
        words = [a.text for a in figure.layout.annotations]
        assert {"published default", "this recipe", "chosen for the table"} <= set(words)

    def test_marks_of_one_value_share_their_words(self):
        data = dataclasses.replace(swept.demo(), marks={"published": (1.0,), "current": (1.0,)})
        words = [a.text for a in sweep_curve.figure(data).layout.annotations]
        assert "published default =<br>this recipe" in words

    def test_nothing_is_best_where_nothing_may_be_chosen(self):
        for demo, panel in ((swept.demo(), sweep_curve), (swept.demo(("a", "b")), sweep_plane)):
            look = dataclasses.replace(demo, chooses=False)
            assert look.best is None
            text = draw(panel, look).to_json()
            assert "best so far" not in text
            assert "nothing is chosen by them" in text

    @pytest.mark.parametrize("names", [("scaling",), ("scaling", "rank")])
    def test_before_the_first_point_the_marks_stand(self, names):
        data = swept.demo(names)
        blank = {n: np.full_like(getattr(data, n), np.nan) for n in ("accuracy", "low", "high", "normalised", "lost")}
        drawing = draw(sweep_curve if len(names) == 1 else sweep_plane, dataclasses.replace(data, **blank))
        for figure in drawing.figures.values():
            said = " ".join(label.text for label in figure.layout.annotations)
            assert "press Start" in said
            assert "default" in said or "◇" in said

    def test_the_plane_runs_up_and_to_the_right_and_has_a_view_per_task(self):
        data = swept.demo(("scaling", "rank"))
        drawing = draw(sweep_plane, data)
        assert list(drawing.figures) == ["average", "normalised", "lost", *(f"task {task}" for task in data.tasks)]
        heat = drawing.figures["average"].data[0]
        assert (len(heat.x), len(heat.y)) == (9, 6)
        assert heat.z[1][3] == pytest.approx(data.average[3, 1], rel=1e-6)
        assert drawing.figures["task emoji"].data[0].z[2][4] == pytest.approx(data.accuracy[4, 2, 5], rel=1e-6)
        spots = {a.text.count("span") // 2: (a.x, a.y) for a in drawing.figures["average"].layout.annotations}
        assert spots

    def test_marks_off_the_grid_lie_between_its_cells(self):
        assert sweep_plane._place(np.array([0.0, 1, 3]), 2.0) == 1.5


@pytest.fixture
def bench() -> Workbench:
    return Workbench(svd=SvdStore(folder=None))


@pytest.fixture
def session() -> Session:
    chosen = state.choose_suite(Session(), "toy", EXPERTS)
    return dataclasses.replace(chosen, sweep=Wish(typed=(("scaling", "0:1:3"),), pictures=25))


class TestWish:
    @pytest.mark.parametrize(
        "wanted",
        [Wish(), Wish("rank", "scaling"), Wish("svc.floor", "", (("svc.floor", "0.1:1:4"),), 100, "score"),
         Wish("rank", "", (("rank", "0.1, 0.2"),))],
    )  # fmt: skip
    def test_a_link_brings_it_back(self, wanted):
        assert wish.from_query(wish.to_query(wanted)) == wanted

    @pytest.mark.parametrize("text", ["", "@", ";;@x@y", "<script>@50", "@@@@", "1;2@99999@test", "a" * 9999])
    def test_nonsense_in_a_link_is_left_out(self, text):
        assert wish.from_query(text) == Wish()

    def test_it_is_in_the_address(self, session):
        given = dict(pair.split("=") for pair in state.query(session).split("&"))
        assert "sweep" in given
        assert "sweep=" not in state.query(dataclasses.replace(session, sweep=Wish()))

    def test_numbers_that_a_method_lacks_fall_back(self):
        assert wish.effective(Wish("moon", "sun"), ["rank", "scaling"]) == Wish("scaling")
        assert wish.effective(Wish("rank", "rank"), ["rank"]) == Wish("rank")
        assert wish.effective(Wish(), []) == Wish()


class TestActs:
    def test_numbers_are_chosen_and_exchanged(self, session):
        ties = dataclasses.replace(session, method="ties")
        one = acts.perform(ties, {"act": "over", "value": "density"})
        both = acts.perform(one, {"act": "against", "value": "scaling"})
        assert (both.sweep.first, both.sweep.second) == ("density", "scaling")
        turned = acts.perform(both, {"act": "over", "value": "scaling"})
        assert (turned.sweep.first, turned.sweep.second) == ("scaling", "density")
        alone = acts.perform(turned, {"act": "against", "value": ""})
        assert (alone.sweep.first, alone.sweep.second) == ("scaling", "")

    @pytest.mark.parametrize(
        "said",
        [{"act": "over", "value": "moon"}, {"act": "values", "name": "scaling", "value": "x"}, {"act": "pictures"},
         {"act": "values", "name": "moon", "value": "1,2"}, {"act": "pictures", "value": "7"},
         {"act": "split", "value": "train"}, {"act": "take", "values": [1, 2]}, {"act": "take", "values": [99]},
         {"act": "take"}],
    )  # fmt: skip
    def test_anything_else_is_refused(self, session, said):
        with pytest.raises(MergeError):
            acts.perform(session, said)

    def test_values_are_typed_and_given_back(self, session):
        typed = acts.perform(session, {"act": "values", "name": "scaling", "value": "0.1:0.5:2"})
        assert sweep_of(typed).axes[0].values == (0.1, 0.5)
        blank = acts.perform(typed, {"act": "values", "name": "scaling", "value": " "})
        assert len(sweep_of(blank).axes[0].values) == grid.CURVE

    def test_a_point_is_taken_into_the_recipe_and_every_box(self, session):
        taken = acts.perform(session, {"act": "take", "values": [0.5]})
        assert state.parameters(taken, "task_arithmetic")["scaling"] == 0.5
        assert taken.drawn > session.drawn
        looking = acts.perform(session, {"act": "split", "value": "score"})
        with pytest.raises(RecipeError, match="look at only"):
            acts.perform(looking, {"act": "take", "values": [0.5]})

    def test_a_point_of_a_post_step_is_taken_too(self, session):
        after = dataclasses.replace(session, post="lines", sweep=Wish("lines.beta", "scaling"))
        taken = acts.perform(after, {"act": "take", "values": [0.7, 0.4]})
        assert state.recipe(taken).post[0][1] == tuple({**dict(state.recipe(after).post[0][1]), "beta": 0.7}.items())
        assert state.parameters(taken, "task_arithmetic")["scaling"] == 0.4


def told(steps) -> tuple[bool, list[dict]]:
    """Return what a sweep on the page returned and all that it showed."""
    shown = []
    while True:
        try:
            shown.append(next(steps))
        except StopIteration as end:
            return end.value, shown


def words(parts: dict) -> str:
    return json.loads(parts["sweeping"])["text"]


class TestTab:
    def test_a_sweep_streams_points_and_says_what_is_best(self, bench, session):
        sweep = sweep_of(session)
        more, shown = told(sweeping.sweep_parts(bench, session, sweep, lambda: True))
        assert not more
        assert not bench.busy
        assert words(shown[-1]).startswith("Best of 3 points on validation: scaling")
        drawn = [json.loads(p["sweep_curve"].figures["accuracy"].to_json()) for p in shown if "sweep_curve" in p]
        assert max(len(t.get("customdata", ())) for t in drawn[-1]["data"]) > 0
        assert sweep_cost.cost_of(bench, load_suite("toy"), sweep, _store(sweep)).scorings == 0
        assert bench.merged(state.recipe(session)) is not None  # the best merge is kept for the first tab

    def test_others_get_a_turn_after_a_while_and_it_goes_on(self, bench, session):
        sweep, turns = sweep_of(session), 0
        while told(sweeping.sweep_parts(bench, session, sweep, lambda: True, turn=0.0))[0]:
            turns += 1
        assert turns == 2
        assert len(_store(sweep).points(sweep)) == 3

    def test_it_stops_when_asked_and_keeps_what_was_scored(self, bench, session):
        sweep = sweep_of(session)
        more, shown = told(sweeping.sweep_parts(bench, session, sweep, lambda: not _store(sweep).points(sweep)))
        assert not more
        assert words(shown[-1]).startswith("Stopped; 1 of 3 points are kept")

    def test_the_cost_is_told_before(self, bench, session):
        suite, sweep = load_suite("toy"), sweep_of(session)
        before = sweep_cost.cost_of(bench, suite, sweep, _store(sweep))
        assert (before.points, before.known, before.merges, before.seconds) == (3, 0, 1, None)
        assert before.words() == "1 merge and 3 scorings of 100 pictures: not timed yet."
        told(sweeping.sweep_parts(bench, session, sweep, lambda: True))
        finer = sweep_of(acts.perform(session, {"act": "values", "name": "scaling", "value": "0:1:5"}))
        after = sweep_cost.cost_of(bench, suite, finer, _store(finer))
        assert (after.points, after.known, after.merges) == (5, 3, 0)
        assert after.seconds > 0

    def test_adapting_again_at_every_point_is_said(self, bench, session):
        adapts = dataclasses.replace(session, method="adamerging", sweep=Wish("prior", "", (("prior", "0:1:3"),)))
        found = sweep_cost.cost_of(bench, load_suite("toy"), sweep_of(adapts), _store(sweep_of(adapts)))
        assert found.merges == 3
        assert "adapts again" in found.words()

    def test_the_tab_says_what_is_missing(self, bench, session):
        parts = sweeping.tab_parts(bench, dataclasses.replace(session, method="linear"))
        assert "no number" in parts["sweep_bar"]
        nobody = sweeping.tab_parts(bench, dataclasses.replace(session, experts=()))
        assert "first tab" in nobody["sweep_bar"]
        typed = sweeping.tab_parts(bench, dataclasses.replace(session, sweep=Wish(typed=(("scaling", "x"),))))
        assert json.loads(typed["sweeping"])["tone"] == "bad"

    def test_one_panel_fits_the_sweep(self, bench, session):
        ties = dataclasses.replace(session, method="ties", sweep=Wish("density", "scaling"))
        for given, curve in ((session, True), (ties, False)):
            parts = sweeping.tab_parts(bench, given)
            assert ("accuracy" in parts["sweep_curve"].figures) is curve
            assert ("average" in parts["sweep_plane"].figures) is not curve

    def test_clicks_find_their_values(self, session):
        curve = sweep_of(session)
        click = lambda **data: Selection.of(gr.EventData(None, data))  # noqa: E731
        assert sweeping.clicked(curve, click(id=1)) == (0.5,)
        assert sweeping.clicked(curve, click(id=7)) is None
        assert sweeping.clicked(curve, click(x=0.5)) is None
        ties = dataclasses.replace(session, method="ties", sweep=Wish("density", "scaling"))
        plane = sweep_of(ties)
        label = swept.label(plane.axes[0].values[1])
        assert sweeping.clicked(plane, click(x=label, y="0.7")) == (plane.axes[0].values[1], 0.7)
        assert sweeping.clicked(plane, click(x=label, y="moon")) is None


def _store(sweep: Sweep) -> Stored:
    return Stored(load_suite("toy"), sweep, live_dtype())
