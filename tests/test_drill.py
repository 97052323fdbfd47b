"""From a cell of the map of collisions to the inputs that flip, on the toy suite and without a browser."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from merge_engine.errors import MergeError
from merge_engine.knock_out import KnockOut, tensors_of
from merge_engine.maths.svd import SvdStore
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from viz.drill_examples import joint_overlap
from viz.page import acts
from viz.page import session as state
from viz.page.costs import Seconds
from viz.page.drill import drill, knock
from viz.page.drill.knocked import EXAMPLES, KEPT, Knocked, flip_view
from viz.page.drill.vectors import vectors_of
from viz.page.headline import duration
from viz.page.inputs import sight
from viz.page.record import Run
from viz.page.session import Session
from viz.page.shelf import Shelf
from viz.page.weights.measure import Ask
from viz.page.workbench import Workbench, paced
from viz.panel import draw
from viz.panels import collisions, flips, vectors

METHODS = {"task_arithmetic": {}, "ties": {}, "sim": {"examples": 8, "rank": 4}, "tall_mask": {}}


@pytest.fixture(scope="module")
def bench(toy_suite):
    return Workbench(svd=SvdStore(folder=None))


@pytest.fixture(scope="module")
def bases(bench) -> dict[str, Run]:
    """A finished run of several kinds of merge."""
    for _ in bench.record.baseline_steps("toy", None, lambda: True):
        pass
    bench.costs.calibrate(load_suite("toy"))
    experts = load_suite("toy").experts
    return {m: finished(bench.run(Recipe("toy", experts, m, given))) for m, given in METHODS.items()}


@pytest.fixture
def session(bench) -> Session:
    return acts.first_session(("toy",), {})[0]


def finished(steps) -> Run:
    *_, last = paced(steps, pause=0)
    return last


def act(session: Session, name: str, value: object) -> Session:
    return acts.perform(session, {"act": name, "value": value})


def component(session: Session, expert: object, value: object) -> Session:
    return acts.perform(session, {"act": "component", "expert": expert, "value": value})


def parts(bench, runs, session, shown="") -> dict:
    found: dict = {}
    for each in drill.drill_steps(bench, runs, session, shown, lambda: True):
        found |= each
    return found


class TestPanel:
    def test_cells_are_the_terms_and_own_experts_are_blank(self):
        data = joint_overlap()
        row, each = 0, collisions.components(data)
        z = np.asarray(collisions.figure(data).data[0].z, float)
        for i, j, a, b in ((0, 1, 0, 0), (2, 5, 3, 1), (7, 0, 5, 2)):
            assert z[i * each + a, j * each + b] == pytest.approx(data.terms[row, i, j, a, b], rel=1e-5)
        assert all(np.isnan(z[i * each : (i + 1) * each, i * each : (i + 1) * each]).all() for i in range(8))

    @pytest.mark.parametrize(("experts", "each"), [(2, 6), (8, 6), (12, 4), (24, 2)])
    def test_more_experts_leave_room_for_fewer_components(self, experts, each):
        data = joint_overlap(tuple(f"e{i}" for i in range(experts)))
        assert collisions.components(data) == each
        assert len(collisions.figure(data).data[0].x) == experts * each

    def test_directions_leave_the_strengths_out(self):
        data = joint_overlap(("a", "b"))
        alone = collisions.directions(data)
        assert np.abs(alone).max() <= 1 + 1e-9
        np.testing.assert_allclose(np.einsum("rttaa->rta", alone), 1)

    def test_the_strongest_pairs_are_found_by_their_sign(self):
        data = joint_overlap(("a", "b", "c"))
        every = collisions.strongest(data, 0, 10**6)
        upper = np.triu(np.ones((3, 3), bool), 1)
        assert len(every) == upper.sum() * 16 * 16
        assert sum(p.term for p in every) == pytest.approx(data.total[0][upper].sum())
        sizes = [abs(p.term) for p in every]
        assert sizes == sorted(sizes, reverse=True)
        signs = {sign: collisions.strongest(data, 0, 10**6, sign) for sign in (1, -1)}
        assert {sign: {np.sign(p.term) for p in found} for sign, found in signs.items()} == {1: {1}, -1: {-1}}
        assert sum(map(len, signs.values())) == len(every)
        one = every[0]
        i, j = data.models.index(one.expert), data.models.index(one.other)
        assert data.terms[0, i, j, one.index, one.across] == one.term
        assert one.directions == pytest.approx(collisions.directions(data)[0, i, j, one.index, one.across])
        assert one.part == pytest.approx(one.term / np.sqrt(data.inner[0, i, i] * data.inner[0, j, j]))

    def test_what_is_chosen_is_framed_and_what_is_gone_fades(self):
        data = joint_overlap()
        plain, marked = (collisions.figure(data, **m) for m in ({}, {"chosen": ["icons #1"], "gone": ["digits #0"]}))
        assert len(marked.layout.shapes) - len(plain.layout.shapes) == 4

    @pytest.mark.parametrize("text", [None, 3, "", "a", "a #", "#1", "a #x", " #1"])
    def test_only_names_on_the_axes_are_read(self, text):
        assert collisions.named(text) is None
        assert collisions.named(collisions.name("an expert", 3)) == ("an expert", 3)

    def test_the_title_is_the_mean_over_the_merged_experts_tasks(self):
        change = flips.TaskChange("a", 10, 5, 4, 0, 1, 0)
        view = flips.FlipView("x 1.q", (change, dataclasses.replace(change, task="z", after=10, seen=False)))
        assert flips.title(view) == "Without x 1.q: 40.0 % (−10.0 points)"
        assert "≈" in flips.title(dataclasses.replace(view, scoring=True))


class TestVectors:
    def test_the_vectors_of_a_pair_make_its_term(self, bench, session):
        ask = drill.ask(session)
        for _ in bench.measures.steps(ask):
            pass
        measured = drill.measured_of(bench, session)
        row, place = 0, (session.block, session.kind)
        matrix = next(iter(tensors_of(load_suite("toy").problem(), KnockOut("blob", *place))))
        size = {e: SvdStore(folder=None)(task_matrix(e, matrix)).s for e in session.experts}
        for one in collisions.strongest(measured, row, 8):
            ends = KnockOut(one.expert, *place, one.index), KnockOut(one.other, *place, one.across)
            found = vectors_of(bench, session, *ends, "here")
            left, right = (float(side[0] @ side[1]) for side in (found.left, found.right))
            s = float(size[one.expert][one.index] * size[one.other][one.across])
            assert right >= 0
            assert left * right == pytest.approx(one.directions, abs=1e-5)
            assert s * left * right == pytest.approx(one.term, abs=1e-5 * s)

    def test_the_pair_that_meets_most_stands_until_one_is_chosen(self, bench, session):
        def title(of):
            drawing = json.loads(parts(bench, Knocked(bench), of)["vectors"])
            assert list(drawing["views"]) == ["right", "left"]
            return drawing["views"]["right"]["layout"]["meta"]["title"]

        most = title(session)
        (one,) = collisions.strongest(drill.measured_of(bench, session), 0, 1)
        assert f"{one.expert} #{one.index} and {one.other} #{one.across}, " in most
        chosen = title(act(session, "pick", "blob:3|grain:2"))
        assert "blob #3 and grain #2, " in chosen
        assert chosen != most

    def test_one_expert_has_no_pair(self, bench, session):
        alone = dataclasses.replace(session, experts=session.experts[:1])
        assert parts(bench, Knocked(bench), alone)["vectors"].figures[""].layout.meta["empty"]

    def test_turning_both_vectors_of_a_component_changes_no_collision(self):
        random = np.random.default_rng(0)
        left, right = random.normal(size=(2, 5)), random.normal(size=(2, 7))
        found = vectors.Vectors.of(("a", "b"), "here", left, right)
        turned = vectors.Vectors.of(("a", "b"), "here", *(side * [[1.0], [-1.0]] for side in (left, right)))
        np.testing.assert_allclose(np.outer(found.left[1], found.right[1]), np.outer(left[1], right[1]))
        for side in ("left", "right"):
            np.testing.assert_allclose(found.side(side), turned.side(side))

    def test_half_of_the_pull_counts_the_fewest(self):
        assert vectors.half(np.array([0.5, -0.3, 0.1, 0.1])) == 1
        assert vectors.half(np.array([0.25, -0.25, 0.25, 0.25])) == 2
        assert vectors.half(np.zeros(3)) == 0

    def test_dots_are_the_entries_and_their_products_add_up_to_the_cosine(self):
        data = vectors.demo()
        for view in vectors.VIEWS:
            dots, (a, b) = vectors.figure(data, view=view).data[0], data.side(view)
            n = len(a)
            assert np.sum(np.asarray(dots.x, float) * np.asarray(dots.y, float)) / n == pytest.approx(a @ b, abs=1e-5)
            aligned = {ink for ink, x, y in zip(dots.marker.color, dots.x, dots.y, strict=True) if x * y > 1e-6}
            assert len(aligned) == 1


def task_matrix(expert: str, name: str):
    problem = load_suite("toy").problem()
    return problem.experts[expert][name] - problem.pretrained[name]


class TestSession:
    def test_things_are_knocked_out_and_put_back_one_by_one_and_at_once(self, session):
        one = act(session, "knock", "blob:1.fc1:0")
        two = act(one, "knock", "grain")
        assert two.knocked == ("blob:1.fc1:0", "grain")
        assert act(two, "knock", "blob").knocked == ("blob", "grain")
        assert act(two, "restore", "grain").knocked == ("blob:1.fc1:0",)
        assert act(two, "restore", "").knocked == () == act(two, "restore", None).knocked
        assert knock.said(two.knocked) == "blob 1.fc1 #0 and grain"

    @pytest.mark.parametrize("value", [None, "", "moon", "blob:99.q", "blob:1.q:9999", "blob:1.norm", {"a": 1}, "a,b"])
    def test_what_is_not_there_cannot_be_knocked_out(self, session, value):
        with pytest.raises(MergeError):
            act(session, "knock", value)

    def test_there_is_an_end_to_it(self, session, monkeypatch):
        monkeypatch.setattr(knock, "LIMIT", 1)
        with pytest.raises(MergeError, match="At most 1"):
            act(act(session, "knock", "blob:1.fc1:0"), "knock", "blob:1.fc1:1")

    def test_knock_outs_go_with_their_expert_and_with_the_suite(self, session):
        given = act(act(session, "knock", "blob:1.q"), "knock", "grain:1.q")
        left = [e for e in session.experts if e != "blob"]
        assert state.choose_experts(given, left, session.experts).knocked == ("grain:1.q",)
        assert act(given, "suite", "toy").knocked == ()
        assert state.load(given, Recipe("toy", tuple(left), "average"), session.experts).knocked == ("grain:1.q",)

    def test_a_link_brings_them_back_or_says_why_not(self, session):
        from urllib.parse import parse_qsl

        given = act(act(session, "knock", "blob:1.fc1:3"), "knock", "grain")
        again, sorry = acts.first_session(("toy",), dict(parse_qsl(state.query(given))))
        assert not sorry
        assert again.knocked == given.knocked
        for wrong in ("moon", "blob:1.fc1:3,,", "blob:77.q", "," * 500):
            plain, sorry = acts.first_session(("toy",), {"without": wrong})
            assert plain.knocked == ()
            assert sorry.endswith(".")

    def test_a_pair_is_chosen_in_the_order_of_the_experts_and_let_go(self, session):
        first, second = session.experts[:2]
        one, other = (act(session, "pick", v) for v in (f"{first}:1|{second}:0", f"{second}:0|{first}:1"))
        place = f"{session.block}.{session.kind}"
        assert one.pair == other.pair == (f"{first}:{place}:1", f"{second}:{place}:0")
        assert act(one, "pick", f"{first}:1|{second}:0").pair == ()
        assert len(knock.chosen(one)) == 2
        assert knock.chosen(dataclasses.replace(one, kind="q")) == ()

    def test_any_component_of_any_expert_is_chosen_and_let_go(self, session):
        place = f"{session.block}.{session.kind}"
        one = component(session, "grain", 11)
        assert one.pair == (f"grain:{place}:11",)
        assert component(one, "grain", 11).pair == ()
        assert act(one, "component", "blob").pair == (f"blob:{place}:11",), "the menu keeps the number"
        assert act(session, "component", "blob").pair == (f"blob:{place}:0",)
        assert len(act(one, "pick", "blob:3|grain:2").pair) == 2

    @pytest.mark.parametrize(
        ("expert", "value"), [("moon", 1), ("blob", 10**4), ("blob", -1), ("blob", None), (None, 1)]
    )
    def test_a_component_that_is_not_there_is_refused(self, session, expert, value):
        with pytest.raises(MergeError):
            component(session, expert, value)

    def test_a_link_brings_one_component_back(self, session):
        from urllib.parse import parse_qsl

        given = component(session, "grain", 11)
        again, sorry = acts.first_session(("toy",), dict(parse_qsl(state.query(given))))
        assert (again.pair, sorry) == (given.pair, "")
        whole = given.pair[0].rpartition(":")[0]
        assert acts.first_session(("toy",), {"pair": whole})[1].endswith(".")

    @pytest.mark.parametrize("value", [None, "", "blob:1", "blob:1|blob:2", "blob:1|moon:2", "blob:x|grain:0", "a|b|c"])
    def test_what_is_no_pair_is_refused(self, session, value):
        with pytest.raises(MergeError):
            act(session, "pick", value)


class TestScoring:
    @pytest.mark.parametrize("method", METHODS)
    def test_without_an_expert_its_task_suffers_and_the_counts_agree(self, bench, bases, method):
        runs, base = Knocked(bench), bases[method]
        run = finished(runs.run(base, ("stripes",)))
        assert run.phase == "done"
        view = flip_view(base, run, ("stripes",))
        assert {t.task: t.n for t in view.tasks} == dict.fromkeys(base.scores, 80)
        for t in view.tasks:
            assert (t.before, t.after) == (base.scores[t.task].correct, run.scores[t.task].correct)
            assert t.after - t.before == t.right - t.wrong
        assert next(t.gain for t in view.tasks if t.task == "stripes") < 0
        shown = [one for one in view.examples if one.change == "wrong"]
        assert len(shown) == min(EXAMPLES, sum(t.wrong for t in view.tasks))
        suite = load_suite("toy")
        for one in shown:
            classes = suite.task(one.task).classes
            assert classes[int(suite.labels(one.task, "score")[one.index])] == one.label
            assert one.before == one.label != one.after
        assert "Without stripes:" in drill.result_html(bench, base, run, ("stripes",))

    def test_it_is_never_the_result_of_the_recipe(self, bench, bases):
        base = bases["task_arithmetic"]
        finished(Knocked(bench).run(base, ("blob",)))
        assert bench.record.known(base.recipe) is base
        again, stored = finished(bench.run(base.recipe)), Workbench(svd=SvdStore(folder=None)).record.known(base.recipe)
        assert stored.stored
        for run in (again, stored):
            assert {t: s.correct for t, s in run.scores.items()} == {t: s.correct for t, s in base.scores.items()}

    def test_it_is_done_once_and_old_ones_are_forgotten(self, bench, bases, monkeypatch):
        runs, base = Knocked(bench), bases["task_arithmetic"]
        first = finished(runs.run(base, ("blob:1.fc1:0",)))
        assert list(paced(runs.run(base, ("blob:1.fc1:0",)), pause=0)) == [first]
        monkeypatch.setattr("viz.page.drill.knocked.KEPT", 1)
        finished(runs.run(base, ("blob:1.fc1:1",)))
        assert runs.get(base, ("blob:1.fc1:0",)) is None
        assert KEPT > 1

    def test_it_stops_at_once_and_keeps_what_was_scored(self, bench, bases):
        runs, base = Knocked(bench), bases["task_arithmetic"]
        steps, waiting = runs.run(base, ("grain",), lambda: bool(waiting)), [True]
        for run in steps:
            if flip_view(base, run, ("grain",)):
                waiting.clear()
        last = runs.get(base, ("grain",))
        assert last.phase == "stopped"
        assert not bench.busy
        assert last.partial
        view = flip_view(base, last, ("grain",))
        assert view.partial
        assert not view.scoring
        assert all(t.n <= 80 for t in view.tasks)
        compared = sum(t.n for t in view.tasks)
        assert 0 < compared < view.total == sum(score.total for score in base.scores.values())
        words = drill.result_html(bench, base, last, ("grain",))
        assert f"From {compared:,} of {view.total:,} inputs only; the others were not scored." in words
        whole = drill.result_html(bench, base, finished(runs.run(base, ("grain",))), ("grain",))
        assert "inputs only" not in whole
        assert "≈" not in whole
        assert "Stopped" in drill.run_status(last, ("grain",))

    def test_stopped_before_anything_was_scored_it_says_so_until_it_is_asked_for_again(self, bench, bases):
        runs, base = Knocked(bench), bases["sim"]
        assert finished(runs.run(base, ("grain",), lambda: False)).phase == "stopped"
        words = drill.result_html(bench, base, runs.get(base, ("grain",)), ("grain",))
        assert "not scored" in words
        assert 'data-emit="score"' in words
        assert finished(runs.run(base, ("grain",))).phase == "done"

    def test_a_merge_that_has_to_start_over_tells_its_cost_first(self, bench, bases, session):
        lines = {}
        for method, base in bases.items():
            given = dict(base.recipe.parameters)
            own = dataclasses.replace(session, method=method, edits=((method, tuple(given.items())),))
            lines[method] = drill.cost_line(bench, own, base.recipe.digest)
        score = duration(bench.costs.seconds(bases["task_arithmetic"].recipe).score)
        assert f"Every knock-out takes about {score} to score." in lines["task_arithmetic"], "nothing else is merged"
        cost = bench.costs.seconds(bases["sim"].recipe)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench.costs, "seconds", lambda *_: Seconds(None, None))
            assert "knock-out takes a time that" in drill.cost_line(bench, own, base.recipe.digest)
        assert cost.merge > 0
        assert f"SiM merges all over again without it: every knock-out takes {cost.words}." in lines["sim"]
        assert drill.cost_line(bench, session, bases["sim"].recipe.digest) == "", "another merge is on the page"

    def test_what_takes_long_waits_until_somebody_asks(self, bench, bases, session):
        """As behind a link to a stored result: single inputs are known, the merge is not kept."""
        base, runs = bases["task_arithmetic"], Knocked(bench)
        gone, shown = act(session, "knock", "blob"), base.recipe.digest
        word = drill.wanted(bench, gone, shown)
        assert drill.unasked(bench, gone, shown) == word
        assert "data-emit" not in drill.flips_html(bench, runs, gone, shown)
        kept, soon, slow = bench.shelf, Seconds(1.5, 3.0), Seconds(2.5, 3.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench, "shelf", Shelf(1 << 30))
            patch.setattr(bench.costs, "seconds", lambda *given, **more: soon)
            assert drill.unasked(bench, gone, shown) == word, "it is soon merged again"
            patch.setattr(bench.costs, "seconds", lambda *given, **more: slow)
            assert drill.unasked(bench, gone, shown) == ""
            assert drill.wanted(bench, gone, shown) == word, "a button may ask for it"
            words = drill.flips_html(bench, runs, gone, shown)
            assert 'data-emit="score"' in words
            assert f"It takes {slow.words}." in words
            assert 'data-emit="score"' not in drill.flips_html(bench, runs, gone, shown, running=word)
        assert bench.shelf is kept

    def test_what_starts_over_is_never_scored_unasked(self, bench, bases, session):
        base = bases["sim"]
        own = dataclasses.replace(session, method="sim", edits=(("sim", tuple(base.recipe.parameters)),))
        gone = act(own, "knock", "blob")
        assert bench.merged(base.recipe) is not None
        assert drill.wanted(bench, gone, base.recipe.digest)
        assert drill.unasked(bench, gone, base.recipe.digest) == ""

    def test_while_it_merges_and_scores_the_page_says_so(self, bench, bases):
        runs, base = Knocked(bench), bases["ties"]
        steps = drill.score_steps(bench, runs, base, ("blob",), None, lambda: True)
        said = [json.loads(part["knocking"])["text"] for part in steps]
        assert said[0] == "Merging without blob"
        assert any(text.startswith("Scoring without blob: ") for text in said)
        assert said[-1] == ""


class TestSection:
    def test_the_map_and_the_pairs_come_once_they_are_measured(self, bench, session):
        runs = Knocked(bench)
        at = dataclasses.replace(session, block=0, kind="v")
        first = next(drill.drill_steps(bench, runs, at, "", lambda: True))
        assert "Measuring" in first["collisions"].to_json()
        found = parts(bench, runs, at)
        assert '"empty"' not in found["collisions"]
        assert found["knock"].count('data-emit="pick"') > 0
        assert 'data-emit="knock"' not in found["knock"]
        assert found["flips"] == ""

    def test_a_chosen_pair_can_be_knocked_out_in_three_sizes(self, bench, session):
        first, second = session.experts[:2]
        runs, picked = Knocked(bench), act(session, "pick", f"{first}:0|{second}:1")
        parts(bench, runs, picked)
        text = parts(bench, runs, picked)["knock"]
        place = f"{session.block}.{session.kind}"
        sizes = [f"{first}:{place}:0", f"{first}:{place}", first, f"{second}:{place}:1", f"{second}:{place}", second]
        for word in sizes:
            assert f'data-emit="knock" value="{word}"' in text
        gone = parts(bench, runs, act(picked, "knock", f"{first}:{place}"))["knock"]
        assert gone.count(" disabled") == 2
        assert f'data-emit="restore" value="{first}:{place}"' in gone

    def test_one_component_far_down_can_be_knocked_out_in_three_sizes(self, bench, session):
        runs, picked = Knocked(bench), component(session, "grain", 11)
        list(bench.measures.steps(Ask("toy", session.experts, "spectrum", session.block, session.kind)))
        text, place = parts(bench, runs, picked)["knock"], f"{session.block}.{session.kind}"
        for word in (f"grain:{place}:11", f"grain:{place}", "grain"):
            assert f'data-emit="knock" value="{word}"' in text
        assert "grain #11 has the singular value" in text
        gone = act(picked, "knock", f"grain:{place}:11")
        assert parts(bench, runs, gone)["knock"].count(" disabled") == 1

    def test_of_one_expert_everything_can_be_knocked_out(self, bench, session):
        alone = component(state.choose_experts(session, ["blob"], session.experts), "blob", 9)
        found = parts(bench, Knocked(bench), alone)
        assert f'data-emit="knock" value="blob:{alone.block}.{alone.kind}:9"' in found["knock"]
        recipe = Recipe("toy", ("blob",), "task_arithmetic", {"scaling": 1.0})
        base = finished(bench.run(recipe))
        changes = {}
        for words in ((f"blob:{alone.block}.{alone.kind}:9",), ("blob",)):
            view = flip_view(base, finished(Knocked(bench).run(base, words)), words)
            changes[words[0]] = next(t.gain for t in view.tasks if t.task == "blob")
        assert changes["blob"] < min(0, changes[f"blob:{alone.block}.{alone.kind}:9"])

    def test_an_input_that_flipped_is_explained_with_both_predictions(self, bench, bases, session):
        base, runs, gone = bases["task_arithmetic"], Knocked(bench), act(session, "knock", "stripes")
        run = finished(runs.run(base, gone.knocked))
        flipped = next(f for f in flip_view(base, run, gone.knocked).examples if f.change == "wrong")
        looking, shown = act(gone, "input", flipped.key), base.recipe.digest
        marked = sight.marks(bench, looking, shown)["eye"]
        assert marked != sight.marks(bench, act(looking, "restore", ""), shown)["eye"]
        whys = [p["why"] for p in sight.eye_steps(bench, runs, looking, shown, lambda: True) if "why" in p]
        for html in (whys[0], whys[-1]):
            assert f">merged model</th><td>{flipped.before}<" in html
            assert f">without stripes</th><td>{flipped.after}<" in html
        *_, alone = sight.eye_steps(bench, Knocked(bench), looking, shown, lambda: "why")
        assert "without stripes" not in str(alone)

    def test_one_expert_alone_collides_with_nobody(self, bench, session):
        alone = state.choose_experts(session, ["blob"], session.experts)
        assert collisions.EMPTY in parts(bench, Knocked(bench), alone)["collisions"].to_json()
        nobody = state.choose_experts(session, [], session.experts)
        assert collisions.EMPTY in parts(bench, Knocked(bench), nobody)["collisions"].to_json()

    def test_without_a_run_of_this_recipe_the_page_says_what_to_do(self, bench, bases, session):
        gone, runs = act(session, "knock", "blob"), Knocked(bench)
        other = bases["ties"].recipe.digest
        for shown in ("", other):
            assert "Press Merge" in parts(bench, runs, gone, shown)["flips"]
        shown = bases["task_arithmetic"].recipe.digest
        assert drill.base_of(bench, gone, shown).recipe == bases["task_arithmetic"].recipe
        assert "merging" in parts(bench, runs, gone, shown)["flips"]
        list(drill.score_steps(bench, runs, bases["task_arithmetic"], gone.knocked, None, lambda: True))
        assert "points)" in parts(bench, runs, gone, shown)["flips"]

    def test_the_sentence_about_a_pair_adds_up(self, bench, session):
        first, second = session.experts[:2]
        measured = bench.measures.widest(drill.ask(session))
        if measured is None:
            parts(bench, Knocked(bench), session)
            measured = bench.measures.widest(drill.ask(session))
        pair = knock.chosen(act(session, "pick", f"{first}:0|{second}:0"))
        row = measured.index("tensor", measured.rows[-1].tensor)
        words = drill.sentence(measured, row, *pair)
        assert f"{first} #0 and {second} #0" in words
        assert len(draw(collisions, measured).to_json()) < 150_000
