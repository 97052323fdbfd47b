"""The tab of inputs on the toy suite: what is shown of a run, why an input went where it went, and the map."""

from __future__ import annotations

import dataclasses
import json
import threading

import numpy as np
import pytest
from conftest import draw_plain_maps

from merge_engine.contract import Step
from merge_engine.embedding import pca
from merge_engine.errors import MergeError
from merge_engine.maths.svd import SvdStore
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from viz.page import acts
from viz.page.adapting import moving
from viz.page.drill.knocked import Knocked
from viz.page.inputs import choice, inputs, others, sight
from viz.page.inputs.case import case_of
from viz.page.inputs.choice import Choice
from viz.page.inputs.manifold_data import feature_map, points, unit, within
from viz.page.inputs.neighbourhoods import Neighbourhoods
from viz.page.inputs.why import why_steps
from viz.page.record import INPUTS, Record, Run, without_inputs
from viz.page.session import Session, choose_suite
from viz.page.workbench import Workbench, paced
from viz.panels import route_gallery

METHODS = {
    "task_arithmetic": {}, "sim": {"examples": 8, "rank": 4}, "smile": {}, "we_moe": {"steps": 2, "batch": 4},
    "mass": {}, "tall_mask": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(toy_suite):
    """A workbench that knows the toy suite, and whose second map comes at once."""
    made = Workbench(svd=SvdStore(folder=None))
    draw_plain_maps(made)
    return made


@pytest.fixture(scope="module")
def runs(bench) -> dict[str, Run]:
    """A finished run of every kind of merge."""
    found = {}
    for method, parameters in METHODS.items():
        recipe = Recipe("toy", load_suite("toy").experts, method, parameters)
        *_, found[method] = paced(bench.run(recipe), pause=0)
    return found


@pytest.fixture
def session() -> Session:
    return choose_suite(Session(), "toy", load_suite("toy").experts)


def last(steps):
    """Return what a generator returned, and all that it yielded."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return end.value, yielded


def view(bench, run, task, index):
    case = case_of(load_suite("toy"), run, task, index)
    return last(why_steps(bench.insight, case, bench.merged(run.recipe)))


class TestGallery:
    def test_some_of_every_task_are_shown(self, bench, runs):
        found = inputs.shown(runs["sim"], Choice())
        assert {t: len(rows) for t, rows in found.rows.items()} == dict.fromkeys(load_suite("toy").tasks, 12)
        assert found.of == sum(score.n for score in runs["sim"].scores.values())
        data = inputs.gallery(load_suite("toy"), runs["sim"], found)
        assert len(data) == len(found.keys()) == 60
        assert data.sent
        one = data.inputs[0]
        assert (one.picture == load_suite("toy").pictures(one.task, "score")[one.index]).all()
        label = load_suite("toy").labels(one.task, "score")[one.index]
        assert one.label == load_suite("toy").task(one.task).classes[label]

    @pytest.mark.parametrize("method", ["task_arithmetic", "smile", "we_moe", "tall_mask"])
    def test_without_routes_inputs_are_right_or_wrong(self, runs, method):
        run = runs[method]
        data = inputs.gallery(load_suite("toy"), run, inputs.shown(run, Choice()))
        assert not data.sent
        states = {route_gallery.state(data, one) for one in data.inputs}
        assert states <= {"right", "class"}
        text = route_gallery.html(data)
        assert "sent to" not in text
        assert "sent right" not in text
        assert "sent to" not in inputs.bar(run, Choice())

    @pytest.mark.parametrize("method", ["sim", "mass"])
    def test_a_cell_of_the_confusion_gives_exactly_its_inputs(self, runs, method):
        run = runs[method]
        for task, score in run.scores.items():
            for expert, count in score.routed.items():
                found = inputs.shown(run, choice.narrowed(Choice(), task=task, sent=expert))
                assert len(found) == count
                data = inputs.gallery(load_suite("toy"), run, found)
                assert {(one.task, one.picked) for one in data.inputs} == ({(task, expert)} if count else set())

    def test_one_task_is_shown_whole_and_never_too_many(self, runs, monkeypatch):
        assert len(inputs.shown(runs["sim"], Choice(task="blob"))) == 80
        monkeypatch.setattr(inputs, "MOST", 9)
        found = inputs.shown(runs["sim"], Choice(sent="blob"))
        assert len(found) == 9 < found.of
        assert "9 of" in route_gallery.html(inputs.gallery(load_suite("toy"), runs["sim"], found))

    def test_circled_inputs_alone_are_shown(self, runs):
        keys = inputs.shown(runs["sim"], Choice()).keys()[5:8]
        found = inputs.shown(runs["sim"], choice.circled(Choice(), keys))
        assert set(found.keys()) == set(keys)

    def test_what_is_narrowed_to_is_said_and_can_be_undone(self, runs):
        bar = inputs.bar(runs["sim"], Choice(task="blob", sent="grain"))
        assert "blob sent to grain" in bar
        assert 'data-emit="widen"' in bar
        assert 'data-emit="widen"' not in inputs.bar(runs["sim"], Choice())
        assert choice.words(choice.circled(Choice(), ["a:1"])) == "1 input from the map"

    def test_a_choice_that_means_nothing_here_is_left_out(self, runs):
        wanted = Choice(task="nothing", sent="grain")
        assert inputs.effective(runs["sim"], wanted) == Choice(sent="grain")
        assert inputs.effective(runs["task_arithmetic"], wanted) == Choice()

    def test_a_stored_run_says_what_to_do(self, bench, runs, session):
        stored = without_inputs(runs["sim"])
        assert inputs.shown(stored, Choice()) is None
        assert inputs.bar(stored, Choice()) == ""
        assert points(load_suite("toy"), stored, Choice()) is None
        parts = next(sight.sight_steps(bench, session, "", lambda: True))
        assert "Press Merge" in parts["gallery"]
        assert "Press Merge" in parts["map"].to_json()


class TestWhy:
    def test_every_router_and_every_expert_answers(self, bench, runs):
        task, index = choice.parsed(inputs.shown(runs["task_arithmetic"], Choice()).keys()[0])
        found, seen = view(bench, runs["task_arithmetic"], task, index)
        assert [r.router.split(":")[0] for r in found.routers] == [
            "SiM", "Nearest mean", "Nearest neighbour", "Mahalanobis distance", "Weight projection, as in MASS",
        ]  # fmt: skip
        assert found.merged
        assert all(found.says)
        assert all(np.isfinite(r.values).all() and (r.values >= 0).all() for r in found.routers)
        for card in found.routers:
            assert card.picked == found.experts[int(card.values.argmin())]
            assert card.guess == found.says[found.experts.index(card.picked)]
        told = [sum(map(bool, v.says)) for v in seen if not isinstance(v, Step)]
        assert told == [0, 0, 1, 2, 3, 4]

    def test_the_inputs_beside_are_asked_along(self, bench, runs, monkeypatch):
        suite, run = load_suite("toy"), runs["task_arithmetic"]
        first, second = (int(i) for i in run.scores["colour"].said.index[70:72])
        here = [("colour", "score", second)]
        last(why_steps(bench.insight, case_of(suite, run, "colour", first), None, here))
        opened = "viz.page.inputs.insight.in_memory"

        def in_memory(weights, device):
            return weights if weights is suite.pretrained_in_memory else pytest.fail("an expert was opened again")

        monkeypatch.setattr(opened, in_memory)
        found, _ = view(bench, run, "colour", second)
        assert all(found.says)

    def test_an_expert_says_what_it_was_scored_for(self, bench, runs):
        suite = load_suite("toy")
        from merge_engine.evaluate import Fixed, predictions

        said = predictions(suite, Fixed(suite.expert("blob")), "blob", limit=3)
        for index, guess in zip(said.index, said.guess, strict=True):
            found, _ = view(bench, runs["task_arithmetic"], "blob", int(index))
            assert found.says[found.experts.index("blob")] == suite.task("blob").classes[guess]

    def test_the_merges_own_residuals_choose_what_it_chose(self, bench, runs):
        run = runs["sim"]
        said = run.scores["grain"].said
        for row in range(6):
            found, _ = view(bench, run, "grain", int(said.index[row]))
            own = found.routers[0]
            assert own.router == "This merge: SiM"
            assert own.kind == "residual"
            assert own.picked == found.experts[int(own.values.argmin())] == run.recipe.experts[said.picked[row]]
            assert found.merged == ""
            assert own.guess

    @pytest.mark.parametrize(("method", "kind"), [("we_moe", "weights"), ("smile", "weights"), ("mass", "softmax")])
    def test_blends_show_their_weights(self, bench, runs, method, kind):
        run = runs[method]
        said = run.scores["blob"].said
        own = view(bench, run, "blob", int(said.index[0]))[0].routers[0]
        assert own.kind == kind
        assert own.values.shape[-1] == 4
        assert (own.values.ndim == 2) == (kind == "weights")
        assert (own.picked is None) == (method != "mass")

    def test_a_wrong_way_says_the_class_of_the_other_head(self, bench, runs):
        run = runs["mass"]
        for task in load_suite("toy").seen:
            said = run.scores[task].said
            wrong = np.flatnonzero(said.picked != run.recipe.experts.index(task))
            for row in wrong[:1]:
                own = view(bench, run, task, int(said.index[row]))[0].routers[0]
                assert own.picked != task
                assert own.guess in load_suite("toy").task(own.picked).classes

    def test_a_task_without_an_expert_keeps_its_own_head(self, bench, runs):
        (task,) = load_suite("toy").unseen
        said = runs["sim"].scores[task].said
        found, _ = view(bench, runs["sim"], task, int(said.index[0]))
        classes = load_suite("toy").task(task).classes
        assert found.label in classes
        assert all(card.guess in classes for card in found.routers)

    def test_a_merge_that_is_no_longer_kept(self, bench, runs):
        run = runs["sim"]
        case = case_of(load_suite("toy"), run, "blob", int(run.scores["blob"].said.index[0]))
        found, _ = last(why_steps(bench.insight, case, None))
        assert found.routers[0].kind == "softmax"
        assert found.routers[0].values.max() == 1

    def test_nothing_said_about_an_input(self, runs):
        assert case_of(load_suite("toy"), without_inputs(runs["sim"]), "blob", 0) is None
        assert case_of(load_suite("toy"), runs["sim"], "blob", 10_000) is None


class TestMap:
    def test_points_are_support_and_shown_inputs(self, runs):
        suite, run = load_suite("toy"), runs["sim"]
        given = points(suite, run, Choice())
        support = sum(split == "support" for _, split, _ in given.inputs)
        assert support == sum(len(suite.indices(task, "support")) for task in suite.seen)
        assert len(given.inputs) - support == 60
        assert max(given.routed[:support]) == -1
        assert min(given.routed[support:]) >= 0
        assert given.word(0) == given.word(10_000) == given.word(-1) == ""
        key = given.word(support + 3)
        assert given.place(key) == support + 3
        assert given.place("") is None
        assert within(given, [0, support + 3, 9999]) == [key]
        assert points(suite, run, choice.circled(Choice(), [key])).inputs == given.inputs
        assert points(suite, runs["task_arithmetic"], Choice()).key == given.key
        assert max(points(suite, runs["task_arithmetic"], Choice()).routed) == -1

    def test_the_map_is_the_pca_of_directions(self, bench, runs):
        given = points(load_suite("toy"), runs["sim"], Choice())
        features, _ = last(bench.insight.feature_steps(load_suite("toy"), given.inputs))
        data = feature_map(given, features.numpy())
        assert data.pca == pytest.approx(pca(unit(features.numpy())).coordinates)
        assert [data.tasks[t] for t in data.task[[0, -1]]] == ["stripes", "shape"]
        assert data.support.sum() == sum(split == "support" for _, split, _ in given.inputs)

    def test_inputs_are_read_once(self, bench, runs):
        given = points(load_suite("toy"), runs["sim"], Choice())
        last(bench.insight.feature_steps(load_suite("toy"), given.inputs))
        assert last(bench.insight.feature_steps(load_suite("toy"), given.inputs))[1] == []


class TestTab:
    def test_the_gallery_comes_first_and_the_second_map_last(self, bench, runs, session):
        shown = runs["sim"].recipe.digest
        parts = list(sight.sight_steps(bench, session, shown, lambda: True))
        assert "gallery" in parts[0]
        maps = [json.loads(p["map"].to_json()) for p in parts if "map" in p]
        assert list(maps[-1]["views"]) == ["pca", "pca_routed", "umap", "umap_routed"]
        again = list(sight.sight_steps(bench, session, shown, lambda: True))
        assert len([p for p in again if "map" in p]) == 1

    def test_nobody_waits_for_what_nobody_wants(self, bench, runs, session):
        steps = sight.sight_steps(Workbench(svd=SvdStore(folder=None)), session, "", lambda: False)
        assert [set(p) for p in steps] == [{"narrow", "gallery", "map", "looking", "why"}]

    def test_an_input_is_explained_and_ringed(self, bench, runs, session):
        shown = runs["sim"].recipe.digest
        list(sight.sight_steps(bench, session, shown, lambda: True))
        key = inputs.shown(runs["sim"], Choice()).keys()[0]
        chosen = acts.perform(session, {"act": "input", "value": key})
        parts = list(sight.eye_steps(bench, Knocked(bench), chosen, shown, lambda: True))
        assert "circle-open" in parts[0]["map"].to_json()
        assert "Mahalanobis distance" in [p for p in parts if "why" in p][-1]["why"]
        assert json.loads(parts[-1]["asking"])["text"] == ""
        gone = list(sight.eye_steps(bench, Knocked(bench), chosen, "", lambda: True))
        assert "No input is chosen" in gone[0]["why"]

    def test_the_words_of_the_tab_change_with_what_it_shows(self, bench, runs, session):
        shown = runs["sim"].recipe.digest
        before = sight.marks(bench, session, shown)
        narrow = acts.perform(session, {"act": "routed", "task": "blob", "expert": "grain"})
        assert sight.marks(bench, narrow, shown)["sight"] != before["sight"]
        assert before["eye"] == ""
        assert sight.marks(bench, session, runs["smile"].recipe.digest) != before
        assert acts.perform(narrow, {"act": "widen"}) == session

    @pytest.mark.parametrize(
        "said",
        [{"act": "of", "value": "moon"}, {"act": "sent", "value": None}, {"act": "routed", "task": "blob"},
         {"act": "input", "value": "blob:99999"}, {"act": "input", "value": "moon:1"}, {"act": "input"},
         {"act": "input", "value": ["blob:1"]}],
    )  # fmt: skip
    def test_acts_on_inputs_that_do_not_exist_are_refused(self, session, said):
        with pytest.raises(MergeError):
            acts.perform(session, said)

    def test_what_was_drawn_around_is_checked(self, session):
        after = acts.perform(session, {"act": "circle", "values": ["blob:1", "moon:3", 7, "blob:1"]})
        assert after.inputs.circled == ("blob:1",)
        assert acts.perform(after, {"act": "circle", "values": "blob:1"}).inputs.circled == ()

    def test_another_suite_starts_afresh(self, session):
        narrow = acts.perform(session, {"act": "of", "value": "blob"})
        assert choose_suite(narrow, "toy", narrow.experts).inputs == Choice()


class TestDepth:
    def test_only_merges_with_several_layers_have_it(self, runs):
        assert moving.layers(None, None) is None
        assert moving.layers(runs["task_arithmetic"], None) is None
        assert moving.layers(runs["sim"], None) is None
        assert moving.layers(without_inputs(runs["we_moe"]), None) is not None

    def test_weights_by_block_or_by_layer(self, runs):
        blocks = json.loads(moving.layers(runs["we_moe"], None).figures["mean"].to_json())
        assert blocks["data"][0]["x"][0] == "block 0"
        kinds = json.loads(moving.layers(runs["smile"], None).figures["mean"].to_json())
        assert kinds["data"][0]["x"][:6] == [f"block 0, {k}" for k in ("q", "k", "v", "out", "fc1", "fc2")]
        assert "even .250" in [a["text"] for a in kinds["layout"]["annotations"]]

    def test_a_row_opens_its_task(self, runs):
        figure = json.loads(moving.layers(runs["we_moe"], None, "blob").figures["mean"].to_json())
        assert figure["layout"]["meta"]["title"].endswith("inputs of blob")
        assert moving.layers(runs["we_moe"], None, "moon") is not None


def test_only_the_latest_runs_remember_single_inputs(runs):
    record = Record()
    for seed in range(INPUTS + 2):
        record.keep(dataclasses.replace(runs["sim"], recipe=dataclasses.replace(runs["sim"].recipe, seed=seed)))
    knowing = [bool(run.scores["blob"].said) for run in record._runs.values()]
    assert knowing == [False, False, *[True] * INPUTS]


def test_the_second_map_waits_for_merges_and_survives_a_failure():
    busy, asked = threading.Event(), []
    busy.set()

    def embed(features):
        asked.append(len(features))
        if len(features) == 2:
            raise ValueError("too few")
        return features[:, :2]

    near = Neighbourhoods(busy.is_set, embed)
    near.ask("a", np.zeros((5, 3)))
    assert not near.settled("a")
    assert not asked
    near.ask("b", np.zeros((2, 3)))
    busy.clear()
    for _ in range(100):
        if near.settled("a") and near.settled("b"):
            break
        threading.Event().wait(0.05)
    assert near.get("a").shape == (5, 2)
    assert near.get("b") is None
    assert near.settled("never asked")


def test_a_map_that_was_made_before_is_read_and_an_other_finds_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))
    features, asked = np.random.default_rng(0).normal(size=(6, 3)), []

    def waited(near, key):
        for _ in range(100):
            if near.settled(key):
                return near.get(key)
            threading.Event().wait(0.05)
        return None

    def machine():
        near = Neighbourhoods(lambda: False, put=lambda given, others: pca(given).place(others))
        near._process.fit = lambda given: asked.append(len(given)) or given[:, :2].astype(float)
        near.ask("map", features)
        near.ask("mine", features, features[2])
        return near

    for _ in range(2):
        near = machine()
        assert np.array_equal(waited(near, "map"), features[:, :2])
        assert waited(near, "mine") == pytest.approx(pca(features).coordinates[2])
    assert asked == [6], "the second machine reads what the first one wrote"
    (file,) = (tmp_path / "maps").iterdir()
    file.write_bytes(file.read_bytes()[:20])
    assert np.array_equal(waited(machine(), "map"), features[:, :2])
    assert asked == [6, 6]


class TestOthers:
    """Routers that had to be learned stand beside the others, from results that are stored."""

    @pytest.fixture
    def stored(self, runs, monkeypatch):
        lines = {name: {"cpu": runs[name].recipe.to_dict()} for name in ("sim", "we_moe", "task_arithmetic")}
        monkeypatch.setattr(others, "LINES", (*lines, "mass"))
        monkeypatch.setattr(others, "stored_lines", lambda suite: lines)

    def test_what_they_made_of_an_input_is_what_their_own_run_shows(self, bench, runs, stored):
        suite, here = load_suite("toy"), runs["mass"]
        case = case_of(suite, here, "grain", int(here.scores["grain"].said.index[2]))
        found = {other.method: other for other in others.other_cases(bench.record, case)}
        assert set(found) == {"sim", "we_moe"}, "a merge without routes has nothing to say, one not stored either"
        for method, other in found.items():
            own = case_of(suite, runs[method], "grain", case.index)
            card, wanted = other.routed(None, "T"), own.routed(None)
            np.testing.assert_array_equal(card.values, wanted.values)
            assert (card.router, card.picked, card.guess) == ("T", wanted.picked, wanted.guess)
        shown, _ = last(why_steps(bench.insight, case, None, (), found.values()))
        names = [card.router for card in shown.routers]
        assert {"SiM", "WEMoE", "Mahalanobis distance"} <= set(names)

    def test_a_line_of_which_nothing_is_known_about_single_inputs_is_left_out(self, bench, runs, monkeypatch):
        lines = {name: {"cpu": runs[name].recipe.to_dict()} for name in ("sim", "we_moe", "smile")}
        monkeypatch.setattr(others, "stored_lines", lambda suite: {**lines, "e_we_moe": lines["we_moe"]})
        known = {runs["we_moe"].recipe: without_inputs(runs["we_moe"]), runs["smile"].recipe: runs["smile"]}
        monkeypatch.setattr(bench.record, "known", known.get)
        case = case_of(load_suite("toy"), runs["sim"], "blob", int(runs["sim"].scores["blob"].said.index[0]))
        assert [other.method for other in others.other_cases(bench.record, case)] == ["smile"]

    def test_every_method_that_learned_or_weighs_is_looked_for(self):
        assert set(others.LINES) >= {"twin_merging", "we_moe", "e_we_moe", "rankone_moe", "smile", "mass"}

    def test_a_run_is_not_beside_itself_and_other_experts_are_not_compared(self, bench, runs, stored):
        suite, here = load_suite("toy"), runs["sim"]
        case = case_of(suite, here, "blob", int(here.scores["blob"].said.index[0]))
        assert [other.method for other in others.other_cases(bench.record, case)] == ["we_moe"]
        fewer = dataclasses.replace(here, recipe=dataclasses.replace(here.recipe, experts=here.recipe.experts[:2]))
        assert list(others.other_cases(bench.record, dataclasses.replace(case, run=fewer))) == []
