"""The tab of landscapes on the toy suite: what is chosen, what is drawn while it is measured, and who may start it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pytest

from merge_engine.errors import MergeError
from merge_engine.hp import declared
from merge_engine.landscape import first
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import method_class
from merge_engine.precision import KNOWN, live_dtype
from merge_engine.running import drive
from merge_engine.runs import results
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from viz import landscape_examples, levels
from viz.page import acts
from viz.page import session as state
from viz.page.compare import comparison
from viz.page.events import COMPUTE
from viz.page.landscape import ground
from viz.page.landscape.ground import Ground
from viz.page.landscape.landscape import PANELS, Landscape, Progress
from viz.page.landscape.landscapes import BEGUN, Landscapes
from viz.page.landscape.placed import ROUTED, UNKEPT, WAITS, names_of, placed
from viz.page.listeners import WAITING, visitor
from viz.page.shelf import Tickets
from viz.page.workbench import Workbench, paced
from viz.panel import draw
from viz.panels import disentanglement, loss_path, loss_plane

pytestmark = pytest.mark.usefixtures("toy_by_name")


@pytest.fixture
def bench() -> Workbench:
    return Workbench(svd=SvdStore(folder=None))


@pytest.fixture
def session():
    coarse = Ground(pictures=8, detail=6)
    return dataclasses.replace(acts.first_session(("toy",), {})[0], ground=coarse)


def turned(session, place, value):
    return acts.perform(session, {"act": f"ground.{place}", "value": value})


def recipe(method, **parameters):
    return Recipe("toy", load_suite("toy").experts, method, parameters)


def merged(bench, method, **parameters):
    *_, run = paced(bench.run(recipe(method, **parameters)), pause=0)
    return run


def visited(session, *runs):
    """Return the session of a visitor who has seen some runs, one after another."""
    for run in runs:
        seen = comparison.remembered(session.comparison, run.recipe.to_link())
        session = dataclasses.replace(session, comparison=seen)
    return session


def figure(drawing) -> dict:
    return json.loads(next(iter(drawing.figures.values())).to_json())


class TestChoice:
    def test_it_begins_with_the_pretrained_model_and_the_first_experts(self, session):
        toy = load_suite("toy")
        assert ground.settled(Ground(), toy, ("colour", "grain")).plane == ("pretrained", "colour", "grain")
        assert ground.settled(Ground(), toy, ("grain",)).pair == ("grain", "stripes")
        assert ground.settled(session.ground, toy, session.experts).pair == ("stripes", "blob")

    def test_a_model_chosen_twice_changes_places(self, session):
        after = turned(session, "plane.0", "blob")
        assert after.ground.plane == ("blob", "stripes", "pretrained")
        assert turned(session, "pair.1", "stripes").ground.pair == ("blob", "stripes")
        assert turned(session, "line.0", "blob").ground.line == ("blob", "stripes")
        assert turned(session, "line.0", "pretrained").ground.line == ("pretrained", "blob")
        assert turned(session, "plane.2", "grain").ground.plane == ("pretrained", "stripes", "grain")

    def test_a_link_brings_it_back(self, session):
        after = turned(turned(session, "plane.2", "grain"), "detail", "11")
        given = dict(parse_qsl(state.query(after)))
        assert acts.first_session(("toy",), given)[0].ground == after.ground
        assert "ground" not in state.query(dataclasses.replace(session, ground=Ground()))

    def test_merges_and_the_average_are_in_the_link_too(self, session):
        toy, merge = load_suite("toy"), recipe("ties")
        after = turned(turned(session, "plane.1", "average"), "line.1", f"={merge.to_link()}")
        assert ground.recipe_of("average", toy, session.experts) == recipe("average")
        assert ground.recipe_of(after.ground.line[1], toy, session.experts) == merge
        given = dict(parse_qsl(state.query(after)))
        assert acts.first_session(("toy",), given)[0].ground == after.ground
        with pytest.raises(MergeError, match="same model twice"):
            turned(after, "plane.2", f"={recipe('average').to_link()}")
        elsewhere = dataclasses.replace(merge, experts=("moon",))
        for wrong in (f"={elsewhere.to_link()}", "=nothing", "="):
            with pytest.raises(MergeError):
                turned(session, "line.0", wrong)

    def test_a_link_from_before_lines_had_ends_of_their_own(self):
        found = ground.from_word("~grain,blob~16~11", load_suite("toy"))
        assert (found.line, found.pair) == (("grain", "blob"), ("grain", "blob"))

    @pytest.mark.parametrize(
        "word",
        ["", "x", "a,b,c~d,e~16~21", "pretrained,blob~blob~7~8", "~" * 9, "~~999~999", "~~16~21~=,blob"],
    )
    def test_a_link_that_makes_no_sense_begins_afresh(self, word):
        assert ground.from_word(word, load_suite("toy")) == Ground()

    @pytest.mark.parametrize(
        ("place", "value"),
        [("plane.0", "moon"), ("pair.0", "pretrained"), ("pair.0", "average"), ("detail", "5"), ("pictures", None),
         ("plane.2", ["blob"])],
    )
    def test_what_does_not_exist_is_refused(self, session, place, value):
        with pytest.raises(MergeError):
            turned(session, place, value)
        with pytest.raises(MergeError):
            acts.perform(session, {"act": "ground.plane.3", "value": "blob"})

    def test_another_suite_begins_afresh(self, session):
        assert state.choose_suite(session, "toy", session.experts).ground == Ground()


class TestMeasuring:
    def test_all_views_are_measured_and_found_again(self, bench, session):
        landscape = Landscape(bench)
        begun = landscape.at_hand(session, "")
        assert all("Nothing is measured" in begun[name].to_json() for name in PANELS)
        assert "97 models" in begun["ground"]
        parts = list(landscape.steps(session, "", lambda: True))
        drawn = {name for part in parts for name in part if name in PANELS}
        assert drawn == set(PANELS)
        assert "Done in" in parts[-1]["surveying"]
        assert "is measured" in parts[-1]["ground"]
        again = Landscape(Workbench(svd=SvdStore(folder=None))).at_hand(session, "")
        for name in PANELS:
            assert '"empty"' not in again[name].to_json()
        assert "already" in list(landscape.steps(session, "", lambda: True))[-1]["surveying"]
        finer = turned(session, "detail", "11")
        assert "about" in landscape.at_hand(finer, "")["ground"], "the pace is known by now"

    def test_it_stops_where_nobody_waits_and_goes_on_there(self, bench, session):
        landscape = Landscape(bench)
        left = iter([True] * 10)
        list(landscape.steps(session, "", lambda: next(left, False)))
        missing = landscape.views(session).left
        assert 0 < missing["plane"] < 39
        assert missing["map"] == 49
        list(landscape.steps(session, "", lambda: True))
        assert not any(landscape.views(session).left.values())

    def test_merges_of_the_visit_are_placed(self, bench, session):
        landscape = Landscape(bench)
        list(landscape.steps(session, "", lambda: True))
        runs = [merged(bench, "task_arithmetic", scaling=0.3), merged(bench, "task_arithmetic", scaling=0.5)]
        session = visited(session, *runs)
        assert list(placed(bench, session.comparison, "toy").names.values()) == [
            "Task Arithmetic, scaling 0.3", "Task Arithmetic, scaling 0.5",
        ]  # fmt: skip
        assert "2 models" in landscape.at_hand(session, "")["ground"]
        waiting = figure(landscape.at_hand(session, "")["plane"])["layout"]["meta"]["note"]
        assert "not drawn: Task Arithmetic, scaling 0.3 and Task Arithmetic, scaling 0.5 (press Start" in waiting
        list(landscape.steps(session, "", lambda: True))
        shown = figure(landscape.at_hand(session, runs[1].recipe.digest)["plane"])
        assert "not on this plane" in shown["layout"]["meta"]["note"]
        assert "not drawn" not in shown["layout"]["meta"]["note"]
        kinds = [row[0] for row in shown["layout"]["meta"]["table"]["rows"]]
        assert kinds[:5] == ["model"] * 3 + ["merge, projected"] * 2
        assert "<b>Task Arithmetic, scaling 0.5</b>" in [a["text"] for a in shown["layout"]["annotations"]]

    def test_merges_of_the_visit_can_be_corners_and_ends(self, bench, session):
        landscape, run = Landscape(bench), merged(bench, "task_arithmetic", scaling=0.3)
        session = visited(session, run)
        word = f"={run.recipe.to_link()}"
        assert f'value="{word}"' in landscape.menus(session)
        for place, value in (("plane.0", "average"), ("plane.1", word), ("line.1", word)):
            session = turned(session, place, value)
        list(landscape.steps(session, "", lambda: True))
        parts = landscape.at_hand(session, run.recipe.digest)
        plane, line = figure(parts["plane"]), figure(parts["line"])
        kinds = [row[:2] for row in plane["layout"]["meta"]["table"]["rows"]]
        assert kinds[:3] == [["model", name] for name in ("Weight average of 4", "Task Arithmetic", "blob")]
        assert "merge, projected" not in [kind for kind, _ in kinds], "it is on the plane already"
        assert "barrier" in str(line["layout"]["annotations"])
        assert "Task Arithmetic" in line["layout"]["xaxis"]["title"]["text"]

    def test_a_merge_of_a_link_is_made_before_it_is_measured(self, bench, session):
        session = turned(session, "line.0", f"={recipe('ties').to_link()}")
        landscape = Landscape(bench)
        assert "Ties is merged first: not timed yet" in landscape.menus(session)
        said = [json.loads(part["surveying"])["text"] for part in landscape.steps(session, "", lambda: True)]
        assert said[0].startswith("Merging")
        assert bench.merged(recipe("ties")) is not None
        assert "merged first" not in landscape.menus(session)
        again = Landscape(Workbench(svd=SvdStore(folder=None)))
        assert not any(again.views(session).left.values())
        assert "merged first" not in again.menus(session), "what is measured needs no weights"

    def test_a_routed_merge_of_a_link_is_no_corner(self, bench, session):
        session = turned(session, "line.0", f"={recipe('tsv_c').to_link()}")
        with pytest.raises(MergeError, match="not one point"):
            list(Landscape(bench).steps(session, "", lambda: True))

    def test_another_visitors_merges_are_never_placed(self, bench, session):
        landscape, theirs = Landscape(bench), merged(bench, "task_arithmetic", scaling=0.3)
        list(landscape.steps(visited(session, theirs), "", lambda: True))
        mine = visited(session, merged(bench, "average"))
        assert list(placed(bench, mine.comparison, "toy").names.values()) == ["Weight average"]
        assert "Task Arithmetic" not in landscape.at_hand(mine, theirs.recipe.digest)["plane"].to_json()
        assert not placed(bench, session.comparison, "toy").names

    def test_runs_without_a_place_are_named_with_the_reason(self, bench, session):
        landscape, routed, other = Landscape(bench), merged(bench, "tsv_c"), merged(bench, "average")
        list(landscape.steps(session, "", lambda: True))
        seen = visited(session, routed, other, dataclasses.replace(other, recipe=recipe("ties")))
        note = figure(landscape.at_hand(seen, "")["plane"])["layout"]["meta"]["note"]
        assert f"TSV-C ({ROUTED})" in note
        assert f"Ties ({UNKEPT})" in note
        assert f"Weight average ({WAITS})" in note

    def test_the_latest_merges_are_placed_and_long_lists_are_cut(self, bench, session):
        seen = visited(session, *(merged(bench, "task_arithmetic", scaling=0.1 * i) for i in range(1, 16)))
        found = placed(bench, seen.comparison, "toy")
        assert list(found.names.values()) == [f"Task Arithmetic, scaling {0.1 * i:g}" for i in range(8, 16)]
        assert "scaling 0.4 and 3 more (only the latest 8 are placed)." in found.sentence(lambda digest: True)

    def test_names_differ(self):
        given = [recipe("task_arithmetic", scaling=0.3), recipe("task_arithmetic", scaling=0.5)]
        assert names_of(given[:1]) == ["Task Arithmetic"]
        assert len(set(names_of([*given, dataclasses.replace(given[0], seed=3)]))) == 3

    def test_the_time_left_comes_from_the_second_model_on(self):
        progress = Progress(64)
        progress.add(16)
        assert progress.pace is None
        assert "left" not in progress.said("plane")
        progress.add(16)
        assert progress.pace > 0
        assert json.loads(progress.said("plane"))["done"] == 32


class TestButtons:
    @pytest.fixture
    def tab(self, bench):
        on = SimpleNamespace(tickets=Tickets(), bench=bench, prepare=None)
        page = SimpleNamespace(fill=dict)
        return Landscapes(page, on, WAITING, visitor)

    @pytest.fixture
    def request_(self):
        return SimpleNamespace(session_hash="me")

    def test_a_second_click_starts_nothing(self, tab, session, request_):
        assert "surveying" in tab.start(request_)
        assert "surveying" not in tab.start(request_)
        running = tab.run(session, "", request_)
        next(running), next(running)
        assert BEGUN in tab.tickets.held(tab._name(request_)).done
        assert "surveying" not in tab.start(request_)
        assert len(list(tab.run(session, "", request_))) == 1
        last = list(running)[-1]
        assert last["survey"]["interactive"] is True
        assert last["halt"]["interactive"] is False
        assert "surveying" in tab.start(request_), "after the end a click starts again"

    def test_stop_keeps_what_was_measured(self, tab, session, request_):
        tab.start(request_)
        running = tab.run(session, "", request_)
        next(running), next(running)
        tab.stop(request_)
        last = list(running)[-1]
        assert "Stopped" in last["surveying"]
        assert "97 models" in last["ground"]

    def test_a_merge_of_the_same_visitor_goes_first(self, tab, session, request_):
        tab.start(request_)
        running = tab.run(session, "", request_)
        next(running), next(running)
        tab.tickets.take("me", WAITING)
        assert "let the merge go first" in list(running)[-1]["surveying"]

    def test_another_choice_ends_it_and_has_the_last_word(self, tab, session, request_):
        tab.start(request_)
        running = tab.run(session, "", request_)
        next(running), next(running)
        event = SimpleNamespace(_data={"act": "ground.pair.1", "value": "grain"})
        parts = tab.turn(session, "", event, request_)
        assert "choice changed" in parts["surveying"]
        assert parts["session"].ground.pair == ("stripes", "grain")
        assert set(list(running)[-1]) == {"survey", "halt"}
        bad = tab.turn(session, "", SimpleNamespace(_data={"act": "ground.detail", "value": "3"}), request_)
        assert set(bad) == {"surveying"}

    def test_it_shares_the_queue_of_heavy_work(self):
        assert COMPUTE["concurrency_limit"] == 1


class TestPanels:
    def test_merges_are_filled_by_their_own_loss(self):
        data = landscape_examples.surface()
        drawn = figure(draw(loss_plane, data))
        scatters = [t for t in drawn["data"] if t["type"] == "scatter" and "hovertext" in t]
        models, merges = scatters
        assert (models["marker"]["symbol"], merges["marker"]["symbol"]) == ("circle", "diamond")
        assert merges["marker"]["color"] == [pytest.approx(m.loss.mean()) for m in data.markers if m.merge]
        heat = drawn["data"][0]
        assert (merges["marker"]["cmin"], merges["marker"]["cmax"]) == (heat["zmin"], heat["zmax"])
        assert all("off the plane by" in words for words in merges["hovertext"])

    def test_views_are_loss_accuracy_and_tasks(self):
        views = loss_plane.VIEWS(landscape_examples.surface())
        assert list(views) == ["loss", "accuracy", "loss digits", "loss letters"]

    @pytest.mark.parametrize(("side", "words"), [(6, "6 × 6 points"), (11, "11 × 11 points"), (21, "21 × 21 points")])
    def test_the_finest_whole_lattice_is_smooth(self, side, words):
        data = landscape_examples.surface(side=side)
        assert words in figure(draw(loss_plane, data))["layout"]["meta"]["title"]
        smooth = [t.zsmooth for t in loss_plane.figure(data).data if t.type == "heatmap"]
        assert smooth[0] == "best"

    def test_a_lattice_under_way_lies_on_the_one_before(self):
        data = landscape_examples.surface(side=6)
        loss = data.loss.copy()
        loss[2, :6:2] = 1.0
        found = levels.traces(data.x, data.y, loss[..., 0], loss_plane.heat.Scale("loss", 0, 3), "", data.mixture)
        assert [len(t.x) for t in found] == [6, 11]
        assert levels.progress(loss[..., 0]) == "39 of 11 × 11 points"
        nothing = np.full_like(loss[..., 0], np.nan)
        assert len(levels.traces(data.x, data.y, nothing, loss_plane.heat.Scale("loss", 0, 3), "", data.mixture)) == 1
        assert levels.progress(nothing) == "nothing measured yet"

    def test_the_barrier_is_drawn_from_the_chord(self):
        data = landscape_examples.path()
        found = data.barrier()
        drawn = figure(draw(loss_path, data))
        bar = next(s for s in drawn["layout"]["shapes"] if s.get("line", {}).get("width") == 3)
        assert bar["x0"] == bar["x1"] == found.at
        assert bar["y1"] - bar["y0"] == pytest.approx(found.height)
        assert any("barrier" in a["text"] for a in drawn["layout"]["annotations"])
        assert "not connected" in loss_path.verdict(data)

    def test_half_a_line_has_no_verdict(self):
        data = landscape_examples.path()
        half = dataclasses.replace(data, shares=data.shares[:20], loss=data.loss[:20], accuracy=data.accuracy[:20])
        assert loss_path.verdict(half) == ""
        assert '"empty"' not in draw(loss_path, half).to_json()

    def test_the_ring_is_at_the_scaling_that_the_method_starts_from(self, bench, session):
        landscape = Landscape(bench)
        list(landscape.steps(session, "", lambda: True))
        drawn = figure(landscape.at_hand(session, "")["map"])
        usual = declared(method_class("task_arithmetic"))["scaling"].default
        ring = next(s for s in drawn["layout"]["shapes"] if s["type"] == "circle")
        assert [(ring[f"{axis}0"] + ring[f"{axis}1"]) / 2 for axis in "xy"] == pytest.approx([usual, usual])
        assert f"default of Task Arithmetic: {usual:g} of both" in drawn["layout"]["meta"]["about"]

    def test_the_error_is_said_for_a_little_and_for_all_of_both(self):
        data = landscape_examples.disentanglement()
        fifth, whole = (data.error[i, i] for i in (11, 15))
        assert f"{fifth:.2f} with 0.2 of both and {whole:.2f} with both in full" in disentanglement.note(data)
        coarse = np.full_like(data.changed, np.nan)
        coarse[::5, ::5] = data.changed[::5, ::5]
        words = disentanglement.note(dataclasses.replace(data, changed=coarse))
        assert words == f"The error is {whole:.2f} with both in full, from 16 inputs per task."
        assert disentanglement.note(dataclasses.replace(data, changed=np.full_like(coarse, np.nan))) == ""


def test_a_session_without_experts_still_has_a_landscape(bench, session):
    assert Landscape(bench).views(dataclasses.replace(session, experts=())).ground.pair == ("stripes", "blob")


def test_models_on_a_line_are_a_sentence(bench, session, monkeypatch):
    suite = load_suite("toy")
    monkeypatch.setitem(suite._expert_files, "stripes", suite._expert_files["blob"])
    suite.expert.cache_clear()
    on = SimpleNamespace(tickets=Tickets(), bench=bench, prepare=None)
    tab, request = Landscapes(SimpleNamespace(fill=dict), on, WAITING, visitor), SimpleNamespace(session_hash="me")
    tab.start(request)
    *_, last = tab.run(session, "", request)
    suite.expert.cache_clear()
    assert "one line" in json.loads(last["surveying"])["text"]
    assert last["survey"]["interactive"] is True


class TestShipped:
    def test_the_first_landscape_is_read_not_measured(self, bench, tmp_path, monkeypatch):
        shipped = tmp_path / "shipped"
        monkeypatch.setattr(first, "PICTURES", 4)
        monkeypatch.setattr(first, "DETAIL", 6)
        files = drive(first.survey_steps(load_suite("toy"), shipped / "toy"))
        assert len({file.name for file in files}) == 3 * len(KNOWN)
        monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "another machine"))
        opened = dataclasses.replace(acts.first_session(("toy",), {})[0], ground=Ground(pictures=4, detail=6))
        waiting = Landscape(bench).at_hand(opened, "")
        assert "passes" in waiting["ground"]
        monkeypatch.setattr(results, "SHIPPED", shipped)
        found = Landscape(bench).at_hand(opened, "")
        assert "Everything chosen here is measured." in found["ground"]
        for name in PANELS:
            assert '"empty"' in waiting[name].to_json()
            assert '"empty"' not in found[name].to_json()
        for damage in ("[1, 2", "null", ""):
            for file in files:
                file.write_text(damage)
            assert Landscape(bench).views(opened).plane.missing(6) == 39

    def test_what_is_shipped_is_what_the_page_begins_with(self):
        toy = load_suite("toy")
        chosen = ground.settled(Ground(), toy, toy.experts)
        plane, line, spread = first.first_surveys(toy, live_dtype())
        assert (chosen.plane, chosen.line, chosen.pair) == (plane.models, line.models, spread.experts)
        assert (chosen.pictures, chosen.detail) == (plane.probe.pictures, first.DETAIL)
