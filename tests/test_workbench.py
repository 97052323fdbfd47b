"""The engine-facing half of the page on the toy suite: merging, scoring, stopping, rescaling, remembering."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from merge_engine.contract import Step
from merge_engine.errors import MergeError
from merge_engine.evaluate import Score
from merge_engine.maths.svd import SvdStore
from merge_engine.places import depth
from merge_engine.running import drive
from merge_engine.runs.content import suite_digest
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Results
from merge_engine.runs.run import run_steps
from merge_engine.suite import load_suite
from viz import places
from viz.page import acts, view
from viz.page import session as state
from viz.page.compare.beside import Beside
from viz.page.measured import measured
from viz.page.plotly_panel import Selection
from viz.page.record import Run, average_of
from viz.page.remaining import Countdown, words_left
from viz.page.session import Session
from viz.page.shelf import Shelf, Tickets
from viz.page.weights import drawn, lenses
from viz.page.weights.measure import Ask, metrics
from viz.page.weights.meeting import meeting
from viz.page.weights.pinned import PinnedMerge, pinned_merge
from viz.page.workbench import Workbench, can_rescale, direction_key, paced
from viz.panel import Drawing, empty

pytestmark = pytest.mark.usefixtures("toy_by_name")


@pytest.fixture
def bench() -> Workbench:
    return Workbench(svd=SvdStore(folder=None))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("toy", load_suite("toy").experts, "task_arithmetic")


def at(recipe: Recipe, scaling: float) -> Recipe:
    return dataclasses.replace(recipe, parameters={"scaling": scaling})


def finished(steps) -> Run:
    *_, last = paced(steps, pause=0)
    return last


def test_a_run_merges_then_scores_until_every_picture_is_done(bench, recipe):
    runs = list(paced(bench.run(recipe), pause=0))
    phases = [run.phase for run in runs]
    assert phases == sorted(phases, key=("merging", "scoring", "done").index)
    assert {task: s.n for task, s in runs[-1].scores.items()} == {task: 80 for task in load_suite("toy").tasks}
    counts = [sum(s.n for s in run.scores.values()) for run in runs]
    assert counts == sorted(counts)
    widths = [s.interval[1] - s.interval[0] for run in runs if "blob" in run.scores for s in [run.scores["blob"]]]
    assert widths[0] > widths[-1]


def test_rescaling_merges_nothing_and_equals_merging_again(bench, recipe):
    finished(bench.run(recipe))
    moved = list(paced(bench.run(at(recipe, 0.9)), pause=0))
    assert "merging" not in {run.phase for run in moved}
    again = finished(Workbench(svd=SvdStore(folder=None)).run(at(recipe, 0.9)))
    assert {t: s.correct for t, s in moved[-1].scores.items()} == {t: s.correct for t, s in again.scores.items()}
    kept, fresh = bench.merged(at(recipe, 0.9)), bench.merged(recipe)
    name = next(iter(kept.direction))
    torch.testing.assert_close(kept.task_vector(name), 3 * fresh.task_vector(name))


def test_closing_the_generator_stops_and_keeps_what_was_scored(bench, recipe):
    runs = bench.run(recipe)
    for run in runs:
        if len(run.scores) >= 2:
            runs.close()
            break
    known = bench.record.known(recipe)
    assert known.phase == "stopped"
    assert known.partial
    assert len(known.scores) >= 2
    assert finished(bench.run(recipe)).phase == "done"
    assert bench.record.known(recipe).phase == "done"


def test_stopping_while_merging_keeps_nothing(bench, recipe):
    asked = iter([True, True, False])
    last = finished(bench.run(recipe, lambda: next(asked)))
    assert last.phase == "stopped"
    assert not last.scores
    assert bench.merged(recipe) is None


def test_a_finished_run_is_found_by_another_process(bench, recipe):
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    done = finished(bench.run(recipe))
    stored = Workbench(svd=SvdStore(folder=None)).record.known(recipe)
    assert stored.stored
    assert {t: s.correct for t, s in stored.scores.items()} == {t: s.correct for t, s in done.scores.items()}


def test_a_finished_run_is_stored_with_its_protocol_and_unseen_tasks(bench, recipe):
    list(bench.record.baseline_steps("toy", None, lambda: True))
    list(bench.run(recipe))
    suite = load_suite(recipe.suite)
    found = Results(recipe.suite).find(recipe, suite_digest(suite, recipe.experts, "score"))
    unseen = [found.accuracy[task].merged for task in suite.unseen]
    assert found.unseen_average == pytest.approx(sum(unseen) / len(unseen))
    assert "true task picks head" in found.protocol
    assert "scored in float32" in found.protocol


def test_the_plain_average_is_measured_once_and_in_nobodys_way(bench, recipe):
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    runs, average = bench.compare(average_of("toy", recipe.experts)), None
    for run in runs:
        assert not bench.busy
        average = bench.record.average("toy", recipe.experts)
        assert average is None or run.phase == "done"
    average = bench.record.average("toy", recipe.experts)
    assert average.merge_seconds > 0
    assert finished(bench.compare(average.recipe)) == average
    parts = view.answer_parts(bench, acts.first_session(("toy",), {})[0], finished(bench.run(recipe)))
    assert "over plain average" in parts["headline"]


def test_a_comparison_that_was_stopped_is_not_used(bench, recipe):
    asked = iter([True] * 40 + [False] * 9)
    list(bench.compare(average_of("toy", recipe.experts), lambda: next(asked, False)))
    assert bench.record.average("toy", recipe.experts) is None


def test_a_method_that_knows_the_task_is_scored_on_its_own_tasks_only(bench):
    recipe = Recipe("toy", load_suite("toy").experts, "tsv_c")
    done = finished(bench.run(recipe))
    assert set(done.scores) == set(load_suite("toy").seen)
    assert not can_rescale(recipe) or direction_key(recipe) != recipe.digest


def test_only_the_scaling_is_left_out_of_the_key(recipe):
    assert direction_key(recipe) == direction_key(at(recipe, 1.1))
    after = dataclasses.replace(recipe, post=(("lines", ()),))
    assert direction_key(after) == after.digest


def test_the_shelf_lets_the_oldest_go_and_keeps_the_newest(bench, recipe):
    finished(bench.run(recipe))
    merged = bench.merged(recipe)
    shelf = Shelf(limit=1)
    for key in "ab":
        shelf.put(key, merged)
    assert len(shelf) == 1
    assert shelf.get("a") is None
    assert shelf.get("b") is merged


def test_tickets_end_when_replaced_and_when_cancelled():
    tickets = Tickets()
    first = tickets.take("me", "a")
    tickets.want("me", "a")
    assert first.going()
    second = tickets.take("me", "b")
    assert not first.going()
    assert not first.cancelled
    tickets.cancel("me")
    assert second.cancelled
    assert not second.going()
    tickets.cancel("somebody else")


def test_paced_runs_skip_but_never_the_last(recipe):
    def runs():
        for i in range(10):
            yield Run(recipe, "scoring", merge_seconds=i)
        return Run(recipe, "done", merge_seconds=10)

    clock = iter(range(100))
    shown = [run.merge_seconds for run in paced(runs(), pause=3, clock=lambda: next(clock))]
    assert shown[0] == 0
    assert shown[-1] == 10
    assert len(shown) < 8


def test_measurements_are_taken_once_and_resumed(bench):
    ask = Ask("toy", load_suite("toy").experts, "cosine")
    asked = iter([True, True, False])
    assert list(bench.measures.steps(ask, going=lambda: next(asked)))
    assert bench.measures.get(ask) is None
    rest = list(bench.measures.steps(ask))
    assert rest[0].done == 3
    assert bench.measures.get(ask).cosine.shape[1:] == (4, 4)
    assert list(bench.measures.steps(ask)) == []


def test_a_place_is_drawn_once_for_a_measurement(bench, monkeypatch):
    session, _ = acts.first_session(("toy",), {})
    focus, drawings = lenses.focus_of(session, None), []
    for name, draw in lenses.DRAWN.items():
        monkeypatch.setitem(lenses.DRAWN, name, lambda *about, draw=draw: drawings.append(about) or draw(*about))
    list(lenses.lens_steps(bench, focus, lambda: True, set()))
    parts = lenses.at_hand(bench, focus)
    drawings.clear()
    assert lenses.at_hand(bench, focus) == parts
    assert not drawings
    other = dataclasses.replace(focus, block=0)
    assert lenses.at_hand(bench, other)["overlap"] != parts["overlap"]
    assert len(drawings) == len(lenses.at_hand(bench, other))
    measured = bench.measures.widest(lenses.ask(bench, focus, "overlap"))
    waiting = Drawing({"": empty("Measuring …")}, {}, "")
    assert "Measuring" in bench.drawn.text("overlap", focus.key, [dataclasses.replace(measured)], lambda: waiting)
    monkeypatch.setattr(drawn, "MOST", 2)
    assert lenses.at_hand(bench, focus)["overlap"] == parts["overlap"]
    assert len(bench.drawn._kept) == 2


@pytest.mark.parametrize(("metric", "view"), [("cosine", ""), ("sign_conflict", "agreement"), ("", "left")])
def test_a_clicked_pair_leads_to_the_matrix_where_it_is_furthest_from_chance(bench, metric, view):
    session, _ = acts.first_session(("toy",), {})
    focus = dataclasses.replace(lenses.focus_of(session, None), metric=metric or session.metric or "cosine")
    first, second = focus.experts[:2]
    name, quantity = ("overlap", "overlap_left") if view == "left" else ("interference", view or "cosine")
    chosen = Selection(panel=name, view=view, expert=first, other=second)
    list(lenses.lens_steps(bench, focus, lambda: True, set()))
    found = meeting(bench, focus, chosen)
    measured = bench.measures.widest(lenses.ask(bench, focus, name))
    i, j = measured.models.index(first), measured.models.index(second)
    value, level = getattr(measured, quantity), places.chance(measured, quantity)
    away = {}
    for position, row in enumerate(measured.rows):
        if row.level == "tensor":
            chance = level[position, i, j]
            away[row.block, row.kind] = abs(value[position, i, j] - (chance if chance == chance else 0.0))
    assert found == max(away, key=lambda place: (away[place], *place))
    assert len(away) > 1 or name == "overlap"
    assert meeting(bench, focus, dataclasses.replace(chosen, other="<b>")) is None
    assert meeting(bench, focus, dataclasses.replace(chosen, view="rows")) is None
    assert meeting(bench, focus, dataclasses.replace(chosen, panel="manifold")) is None
    assert meeting(bench, focus, dataclasses.replace(chosen, other=first)) is None


def test_the_lenses_fill_every_panel(bench, recipe):
    session, _ = acts.first_session(("toy",), {})
    finished(bench.run(recipe))
    parts: dict = {}
    focus, done = lenses.focus_of(session, recipe), set()
    assert not lenses.at_hand(bench, focus)
    for part in lenses.lens_steps(bench, focus, lambda: True, done):
        parts |= part
    assert set(lenses.at_hand(bench, focus)) == set(lenses.NEAR)
    assert not any(set(part) & set(lenses.LENSES) for part in lenses.lens_steps(bench, focus, lambda: True, done))
    assert set(lenses.LENSES) <= set(parts)
    for name in lenses.LENSES:
        assert '"empty"' not in parts[name], name
    assert "merged" in parts["spectrum"]


def test_a_pinned_merge_is_measured_beside_the_one_shown(bench, recipe):
    session, _ = acts.first_session(("toy",), {})
    pinned = dataclasses.replace(recipe, method="magmax")
    finished(bench.run(recipe))
    finished(bench.run(pinned))
    beside = PinnedMerge("A", pinned, "", "")
    alone, both = (lenses.focus_of(session, recipe, other) for other in (None, beside))
    assert alone.key != both.key
    for focus in (alone, dataclasses.replace(both, metric="sar")):
        list(lenses.lens_steps(bench, focus, lambda: True, set()))
    drawn_alone = lenses.at_hand(bench, alone)
    drawn_both = lenses.at_hand(bench, dataclasses.replace(both, metric="sar"))
    assert "pinned as A" in drawn_both["spectrum"]
    assert "pinned as A" not in drawn_alone["spectrum"]
    assert "_less" in drawn_both["interference"]
    assert "_less" not in drawn_alone["interference"]
    wanted = lenses.asks(bench, both, "spectrum")
    assert [ask.merged for ask in wanted] == [recipe.digest, pinned.digest]
    shown, other = bench.measures.together(wanted)
    merged = bench.merged(pinned)
    row = next(i for i, r in enumerate(other.rows) if r.level == "tensor")
    values = torch.linalg.svdvals(merged.task_vector(other.rows[row].tensor).double()).numpy()
    found = other.singular_values[row, -1]
    assert found[: len(values)] == pytest.approx(values, rel=1e-4, abs=1e-6)
    assert shown.models == other.models
    assert lenses.asks(bench, both, "overlap") == [lenses.ask(bench, both, "overlap")]
    unknown = pinned_merge(bench, session, Beside("A", dataclasses.replace(recipe, method="dare"), None))
    gone = dataclasses.replace(both, pinned=unknown)
    assert len(lenses.asks(bench, gone, "spectrum")) == 1


def test_a_look_that_ends_early_takes_back_its_words(bench, monkeypatch):
    def measured(*_):
        yield from (Step(done, 12) for done in (3, 6))

    monkeypatch.setattr(bench.measures, "steps", measured)
    focus = lenses.focus_of(acts.first_session(("toy",), {})[0], None)
    steps = list(lenses.lens_steps(bench, focus, lambda: True, set()))
    words = [part["measuring"] for part in steps if "measuring" in part]
    assert "busy" in words[-1]
    after = [part["measuring"] for part in view.spoken(iter(steps), "measuring") if "measuring" in part]
    assert after == [*words, view.status("")]
    assert list(view.spoken(iter([{"a": "b"}]), "measuring")) == [{"a": "b"}]


def test_a_merge_kept_at_another_scaling_is_scored_by_the_slider_or_the_button(bench, recipe):
    finished(bench.run(recipe))
    session = acts.first_session(("toy",), {})[0]
    session = state.choose_method(session, recipe.method)
    session = state.take(session, recipe.method, {"scaling": 0.77})
    assert "busy" in view.stale_status(bench, session, follows=True)
    waiting = view.stale_status(bench, session)
    assert "press Merge" in waiting
    assert "busy" not in waiting


def test_a_panel_of_these_experts_is_never_blanked(bench):
    focus = lenses.focus_of(acts.first_session(("toy",), {})[0], None)
    done: set[str] = set()
    steps = lenses.lens_steps(bench, focus, lambda: True, done)
    while "overlap" not in done:
        next(steps)
    steps.close()
    done.difference_update(lenses.NEAR)
    first = next(lenses.lens_steps(bench, dataclasses.replace(focus, block=0), lambda: True, done))
    assert set(first) & set(lenses.LENSES) == {"depths", "histogram"}


@pytest.mark.parametrize("metric", list(metrics(None)))
def test_every_measurement_of_the_menu_can_be_drawn(bench, metric):
    focus = dataclasses.replace(lenses.focus_of(acts.first_session(("toy",), {})[0], None), metric=metric)
    ask = Ask("toy", focus.experts, metric, block=1)
    assert list(bench.measures.steps(ask))
    drawn = lenses.draw_interference(focus, "", bench.measures.get(ask)).to_json()
    assert '"empty"' not in drawn
    assert len(drawn) < 400_000


def test_every_part_of_the_page_has_something_to_show(bench, recipe):
    session, sorry = acts.first_session(("toy",), {})
    assert not sorry
    assert session.experts == load_suite("toy").experts
    parts = view.controls_parts(bench, session) | view.answer_parts(bench, session, None)
    assert "python -m merge_engine" not in parts["experts"]
    assert parts["experts"].count("data:image/png;base64,") == 4
    parts = view.answer_parts(bench, session, finished(bench.run(recipe)))
    assert "%" in parts["headline"]


def test_a_suite_without_experts_says_how_to_make_them(bench, toy_folder, tmp_path, monkeypatch):
    folder = tmp_path / "bare"
    folder.mkdir()
    for item in toy_folder.iterdir():
        if item.name not in ("experts", "suite.toml"):
            (folder / item.name).symlink_to(item)
    text = (toy_folder / "suite.toml").read_text().replace('name = "toy"', 'name = "bare"', 1)
    (folder / "suite.toml").write_text(text)
    monkeypatch.setenv("MERGESCOPE_SUITES", str(tmp_path))
    session, _ = acts.first_session(("bare",), {})
    parts = view.controls_parts(bench, session)
    assert "python -m merge_engine train bare" in parts["experts"]
    assert "No expert is chosen" in parts["cost"]
    assert view.answer_parts(bench, session, None)["headline"]


@pytest.mark.parametrize(
    "said",
    [{}, {"act": "fly"}, {"act": None}, {"act": ["set"]}, {"act": "suite", "value": "../.."}, {"act": "load"},
     {"act": "metric", "value": None}, {"act": "method", "value": {"a": 1}}, {"act": "set", "owner": []},
     {"act": "post", "value": 3}],
)  # fmt: skip
def test_acts_that_make_no_sense_are_refused(said):
    session, _ = acts.first_session(("toy",), {})
    with pytest.raises(MergeError):
        acts.perform(session, said)


def test_a_refused_number_stays_until_its_box_is_filled_again():
    session, _ = acts.first_session(("toy",), {})
    tied = {"owner": "task_arithmetic", "name": "scaling"}
    bad = acts.refused(session, {"act": "set", **tied, "value": "77"}, "too big")
    assert state.fault(acts.perform(bad, {"act": "block", "value": "0"})) == "too big"
    back = {"act": "preset", "owner": "task_arithmetic", "name": "published"}
    for said in ({"act": "set", **tied, "value": "1"}, back, {"act": "method", "value": "ties"}):
        assert state.fault(acts.perform(bad, said)) == "", said
    assert acts.perform(bad, back).drawn == bad.drawn + 1


def test_a_passing_remark_ends_with_the_next_act():
    session, _ = acts.first_session(("toy",), {})
    told = acts.refused(session, {"act": "suite", "value": "moon"}, "no such suite")
    assert state.fault(told) == "no such suite"
    assert state.recipe(told) == state.recipe(session)
    assert state.fault(acts.perform(told, {"act": "block", "value": "0"})) == ""


@pytest.mark.parametrize("said", [{"act": "block", "value": "99"}, {"act": "cell", "block": "x"}, {"act": "kind"}])
def test_acts_that_point_nowhere_change_nothing(said):
    session, _ = acts.first_session(("toy",), {})
    assert acts.perform(session, said) == session


def test_the_first_look_is_at_the_middle_of_the_network():
    session, _ = acts.first_session(("toy",), {})
    assert session == Session("toy", load_suite("toy").experts, block=depth(load_suite("toy")) // 2)


def test_a_stopped_adaptation_keeps_the_accuracy_it_had_reached(bench):
    adapting = Recipe("toy", load_suite("toy").experts, "adamerging", {"steps": 50, "batch": 4})
    stop: list[bool] = []
    for run in bench.run(adapting, lambda: not stop):
        if run.curve:
            stop.append(True)
    last = bench.record.known(adapting)
    assert last.phase == "stopped"
    assert last.curve[-1].step < 50
    assert set(last.scores) == set(load_suite("toy").seen)
    assert bench.merged(adapting) is None


def test_a_finished_adaptation_remembers_its_curve(bench):
    adapting = Recipe("toy", load_suite("toy").experts, "adamerging", {"steps": 3, "batch": 4})
    last = finished(bench.run(adapting))
    assert [point.step for point in last.curve][-1] == 3
    again = Workbench(svd=SvdStore(folder=None)).record.known(adapting)
    if again is not None:  # stored only once the baselines are known
        assert [point.step for point in again.curve] == [point.step for point in last.curve]


def test_what_is_left_follows_the_pace_so_far():
    recipe = Recipe("toy", ("blob", "grain"), "ties")
    slow = Run(recipe, "merging", Step(2, 8), left=12.0)
    assert words_left(slow) == ", about 12 s left"
    assert words_left(dataclasses.replace(slow, left=0.2)) == "", "not worth telling"
    assert words_left(dataclasses.replace(slow, left=None)) == ""
    scores = {"blob": Score("blob", 5, 10, 40, 0.0, 0.0), "grain": Score("grain", 5, 10, 40, 0.0, 0.0)}
    assert words_left(Run(recipe, "scoring", scores=scores, score_seconds=3.0)) == ", about 9.0 s left"
    assert words_left(Run(recipe, "scoring", scores=scores, score_seconds=1.0)) == "", "too early to tell"


def test_every_phase_has_a_pace_of_its_own():
    now = [0.0]
    countdown = Countdown(clock=lambda: now[0])
    moments = [(0, 0, 1), (1, 1, 4), (4, 2, 4), (8, 4, 4), (9, 1, 10), (13, 5, 10)]
    left = []
    for now[0], done, total in moments:
        left.append(countdown.left(done, total))
    assert left == [None, None, pytest.approx(3.0), 0.0, None, pytest.approx(4.0)]


def test_before_a_later_phase_begins_its_cost_is_counted():
    """Reading inputs is nearly done at its pace; the solving that follows was expected to take most of the time."""
    now = [0.0]
    countdown = Countdown(60.0, clock=lambda: now[0])
    assert countdown.left(0, 8) == 60.0
    now[0] = 10.0
    assert countdown.left(7, 8) == 50.0
    now[0] = 70.0
    assert countdown.left(8, 8) == 0.0
    now[0] = 75.0
    assert countdown.left(1, 4) is None, "longer than expected, and too early to tell from the pace"
    now[0] = 80.0
    assert countdown.left(2, 4) == pytest.approx(5.0)


def test_a_merge_tells_what_is_left_of_it(bench):
    suite = load_suite("toy")
    bench.costs.calibrate(suite)
    recipe = Recipe("toy", suite.experts, "regmean", {"examples": 32})
    told = [run.left for run in bench.run(recipe) if run.phase == "merging" and run.step.total]
    assert told[0] == pytest.approx(bench.costs.seconds(recipe).merge, rel=10), "a guess before anything ran here"
    assert all(left is None or left >= 0 for left in told)


def test_a_number_says_how_it_was_measured(bench, recipe):
    list(bench.record.baseline_steps("toy", None, lambda: True))
    assert measured(None) == ""
    *_, done = bench.run(recipe)
    assert "the true task picks the head" in measured(done)
    assert "inductive" not in measured(done)
    *_, routed = bench.run(dataclasses.replace(recipe, method="sim", parameters={}))
    assert "the merge picks the head" in measured(routed)


def test_an_adapted_number_has_its_transductive_one_beside_it(bench, recipe):
    quick = dataclasses.replace(recipe, method="adamerging", parameters={"steps": 1, "batch": 2})
    *_, done = bench.run(quick)
    suite = load_suite("toy")
    seen = drive(run_steps(suite, quick, Protocol("score", half="score"))).result
    Results("toy").save(seen)
    assert f"inductive · the true task picks the head · {seen.average:.1f} % transductive" in measured(done)
