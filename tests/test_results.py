"""Runs, baselines and the stores they are kept in."""

from __future__ import annotations

import json

import pytest

from merge_engine.errors import MergeError, RecipeError
from merge_engine.evaluate import Fixed, score
from merge_engine.hp import declared
from merge_engine.methods import method_class
from merge_engine.metrics import build as build_metric
from merge_engine.running import drive
from merge_engine.runs import baselines as baselines_module
from merge_engine.runs.baselines import Baselines
from merge_engine.runs.content import suite_digest
from merge_engine.runs.measuring import measure_steps
from merge_engine.runs.publish import stored_lines
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Result, Results, TaskAccuracy, averages, cached_folder
from merge_engine.runs.run import Protocol, recipe_for, run_steps
from merge_engine.runs.table import TableRun, by_line, entries
from merge_engine.runs.tuning import Merges, choose_steps, swept
from merge_engine.suite import load_suite


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, cache_folder):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(cache_folder))


def scores_computed(monkeypatch) -> list[str]:
    """Return a list that grows by the task of every baseline that is computed."""
    seen: list[str] = []
    real = baselines_module.logits_made

    def spying(suite, weights, task, split, limit=None):
        seen.append(task)
        return (yield from real(suite, weights, task, split, limit))

    monkeypatch.setattr(baselines_module, "logits_made", spying)
    return seen


def test_averages_leave_out_what_is_undefined():
    accuracy = {
        "a": TaskAccuracy(merged=60, expert=80, pretrained=40, n=10),
        "b": TaskAccuracy(merged=50, expert=50, pretrained=60, n=10),
        "c": TaskAccuracy(merged=30, expert=None, pretrained=20, n=10),
        "new": TaskAccuracy(merged=10, expert=None, pretrained=5, n=10),
    }
    found = averages(accuracy, ("a", "b", "c"), ("new",))
    assert found["average"] == pytest.approx(140 / 3)
    assert found["normalised_average"] == pytest.approx((75 + 100) / 2)
    assert found["nai"] == pytest.approx(0.5)
    assert found["unseen_average"] == 10
    assert set(averages({}, ("a",)).values()) == {None}


def test_baselines_are_the_scores_of_fixed_models(toy):
    expert = toy.experts[0]
    pairs = [(None, "blob"), (expert, toy.task_of[expert])]
    found = drive(Baselines(toy).steps(pairs))
    for (model, task), baseline in found.items():
        weights = toy.pretrained_in_memory if model is None else toy.expert(model)
        full, part = (score(toy, Fixed(weights), [task], limit=limit)[task] for limit in (None, 13))
        assert baseline.accuracy() == pytest.approx(full.accuracy)
        assert baseline.accuracy(13) == pytest.approx(part.accuracy)


def test_baselines_are_computed_once(toy, monkeypatch):
    seen = scores_computed(monkeypatch)
    pairs = [(None, task) for task in toy.tasks]
    monkeypatch.setenv("MERGESCOPE_CACHE", str(cached_folder("x").parent / "elsewhere"))
    first = drive(Baselines(toy).steps(pairs, 10))
    assert len(seen) == len(pairs)
    assert drive(Baselines(toy).steps(pairs, 5)) == first
    assert len(seen) == len(pairs)
    assert all(b.n == b.total for b in drive(Baselines(toy).steps(pairs)).values())
    assert len(seen) == 2 * len(pairs)
    drive(Baselines(toy).steps(pairs, 10))
    assert len(seen) == 2 * len(pairs)


def test_a_damaged_baseline_is_computed_again(toy, monkeypatch):
    drive(Baselines(toy).steps([(None, "blob")]))
    file = Baselines(toy).folder / f"{Baselines(toy).key((None, 'blob'))}.json"
    good = file.read_text()
    for broken in ("{", "[]", "{}"):
        file.write_text(broken)
        drive(Baselines(toy).steps([(None, "blob")]))
        assert file.read_text() == good


def test_a_run_is_found_by_its_recipe(toy):
    recipe = recipe_for(toy, "task_arithmetic", {"scaling": 0.7})
    run = drive(run_steps(toy, recipe, Protocol(limit=9)))
    content = suite_digest(toy, recipe.experts, "score")
    store = Results(toy.name)
    assert store.find(recipe, content, limit=9) is None
    store.save(run.result)
    found = store.find(recipe, content, limit=9)
    assert found is not None
    assert found.to_dict() == json.loads(json.dumps(run.result.to_dict()))
    assert store.find(recipe, content) is None
    assert store.find(recipe, "other content", limit=9) is None
    assert store.find(recipe_for(toy, "task_arithmetic"), content, limit=9) is None


def test_a_run_scores_merged_models_beside_their_baselines(toy):
    recipe = recipe_for(toy, "average")
    run = drive(run_steps(toy, recipe, Protocol(tasks=tuple(toy.tasks))))
    direct = score(toy, run.merged)
    for task, accuracy in run.result.accuracy.items():
        assert accuracy.merged == direct[task].accuracy
        assert (accuracy.expert is None) == (task in toy.unseen)
    own = [direct[task].accuracy for task in toy.seen]
    assert run.result.average == pytest.approx(sum(own) / len(own))
    assert run.result.unseen_average == direct["shape"].accuracy
    assert "320 pictures" not in run.result.protocol
    assert "400 pictures" in run.result.protocol


def test_a_smaller_run_does_not_replace_a_larger_one(toy):
    recipe = recipe_for(toy, "average", experts=("blob", "grain"))
    content = suite_digest(toy, recipe.experts, "score")
    store = Results(toy.name)
    for tasks in (("blob", "grain"), ("blob",)):
        store.save(drive(run_steps(toy, recipe, Protocol(limit=5, tasks=tasks))).result)
    found = store.find(recipe, content, limit=5)
    assert found is not None
    assert set(found.accuracy) == {"blob", "grain"}


def test_a_result_ignores_keys_it_does_not_know(toy):
    result = drive(run_steps(toy, recipe_for(toy, "average"), None)).result
    assert Result.from_dict({**result.to_dict(), "added later": 1}).to_dict() == result.to_dict()


def test_stored_averages_are_those_of_the_counts_to_every_place_shown():
    suite = load_suite("pictures")
    for line in stored_lines(suite).values():
        for row in line.values():
            exact = {task: _exact(given) for task, given in Result.from_dict(row).accuracy.items()}
            found = averages(exact, [suite.task_of[e] for e in row["experts"]], suite.unseen)
            for name, value in found.items():
                assert row[name] is None or row[name] == pytest.approx(value, abs=1e-4), (row["name"], name)


def _exact(given: TaskAccuracy) -> TaskAccuracy:
    """Return accuracies that are whole numbers of pictures."""

    def share(percent: float) -> float:
        return 100 * round(percent * given.n / 100) / given.n

    expert = None if given.expert is None else share(given.expert)
    return TaskAccuracy(share(given.merged), expert, share(given.pretrained), given.n)


@pytest.mark.parametrize("protocol", [{"split": "scor"}, {"split": "test"}, {"limit": 0}, {"limit": -3}])
def test_a_wrong_protocol_is_refused(protocol):
    with pytest.raises(RecipeError):
        Protocol(**protocol)


def test_another_scaling_merges_nothing_again(toy):
    merges = Merges(toy)
    first, seconds = drive(merges.steps(recipe_for(toy, "task_arithmetic", {"scaling": 0.2})))
    second, again = drive(merges.steps(recipe_for(toy, "task_arithmetic", {"scaling": 0.4})))
    assert second.direction is first.direction
    assert (second.scaling, again) == (0.4, seconds)
    other, _ = drive(merges.steps(recipe_for(toy, "magmax")))
    assert other.direction is not first.direction


def test_the_choice_is_the_best_setting_tried(toy):
    start, protocol = recipe_for(toy, "task_arithmetic", experts=toy.experts[:2]), Protocol("validation", 24)
    choice = drive(choose_steps(Merges(toy), start, protocol))
    sweep = declared(method_class(start.method))["scaling"].sweep
    tried = [recipe_for(toy, start.method, {"scaling": s}, start.experts) for s in sweep]
    averages = [drive(run_steps(toy, recipe, protocol)).result.average for recipe in tried]
    assert choice.tried == len(tried)
    assert choice.average == pytest.approx(max(averages))
    assert choice.recipe in [r for r, a in zip(tried, averages, strict=True) if a == max(averages)]


def test_post_steps_are_swept_alone():
    recipe = Recipe("toy", ("a", "b", "c"), "cart", post=(("svc", {}),))
    assert {position for axis in swept(recipe) for position, _, _ in axis} == {1}
    assert {name for axis in swept(Recipe("toy", ("a",), "cart")) for _, name, _ in axis} == {"rank"}


def test_an_interrupted_table_goes_on_where_it_stopped(toy, monkeypatch):
    lines = entries(["average", "task_arithmetic", "emr", "slerp"])
    run = TableRun(toy, limit=6, validation=6)
    steps = run.steps(lines)
    while "task_arithmetic/default" not in run.stored:
        next(steps)
    steps.close()
    later = TableRun(toy, limit=6, validation=6)
    assert set(later.stored) >= {"average/default", "average/validation"}
    made: list[str] = []
    real = Merges.steps
    monkeypatch.setattr(Merges, "steps", lambda self, recipe: made.append(recipe.method) or real(self, recipe))
    rows = drive(later.steps(lines))
    assert "average" not in made
    names = [(row["name"], row["setting"]) for row in rows]
    assert names.count(("average", "validation")) == 0
    assert [name for name, setting in names if setting == "default"] == ["average", "emr", "slerp", "task_arithmetic"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["slerp"]["experts"] == list(toy.experts[:2])
    assert set(by_name["emr"]["accuracy"]) == set(toy.seen)
    assert set(by_name["task_arithmetic"]["accuracy"]) == set(toy.tasks)
    later.forget()
    assert TableRun(toy, limit=6, validation=6).stored == {}


@pytest.mark.parametrize("key", ["accuracy", "cka", "cost", "cross_task", "representation", "cosine"])
def test_every_source_of_a_measurement(toy, key):
    run = drive(run_steps(toy, recipe_for(toy, "average"), None))
    found = drive(measure_steps(build_metric(key), toy.problem(), toy, run.merged, limit=6))
    assert found.rows


def test_a_measurement_on_features_needs_a_suite(problem):
    with pytest.raises(MergeError, match="run it on a suite"):
        measure_steps(build_metric("cka"), problem)


def test_a_table_is_measured_again_at_the_settings_it_chose(toy, monkeypatch):
    lines = entries(["average", "task_arithmetic"])
    first = TableRun(toy, limit=6, validation=6)
    rows = drive(first.steps(lines))
    first.forget()

    def never(*_):
        raise AssertionError("a setting was chosen again")

    monkeypatch.setattr("merge_engine.runs.table.choose_steps", never)
    again = TableRun(toy, limit=6, validation=6, before=by_line(rows))
    again.forget()
    kept = ("name", "setting", "recipe", "tried", "average", "protocol")
    assert [[row[k] for k in kept] for row in drive(again.steps(lines))] == [[row[k] for k in kept] for row in rows]
    again.forget()


def test_bytes_and_time_a_picture_follow_from_what_is_stored(toy):
    result = drive(run_steps(toy, recipe_for(toy, "average"), Protocol(limit=5))).result
    assert result.megabytes == pytest.approx(4e-6 * sum(toy.pretrained[n].numel() for n in toy.pretrained))
    pictures = 5 * len(result.accuracy)
    assert result.milliseconds == pytest.approx(1000 * result.seconds["score"] / pictures)


def test_a_protocol_says_who_picks_the_head(toy):
    said = {}
    for key in ("average", "emr", "sim", "adamerging"):
        quick = {"steps": 1, "batch": 2} if key == "adamerging" else {}
        said[key] = drive(run_steps(toy, recipe_for(toy, key, quick), Protocol(limit=2))).result.protocol
    assert "true task picks head and classes of every picture; all else" in said["average"]
    assert "what the merge keeps for one task alone" in said["emr"]
    assert "The merge picks head and classes of every picture itself" in said["sim"]
    assert "batches of one task each" in said["adamerging"]
    assert "batches" not in said["average"]
