"""Watching a method adapt: snapshots are scored now and then, the last one always, and a stop keeps what there is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from merge_engine.adapting import adapt, live
from merge_engine.adapting.live import Watch
from merge_engine.contract import Context
from merge_engine.errors import RecipeError
from merge_engine.evaluate import score
from merge_engine.methods import build
from merge_engine.running import drive, merge, merge_steps
from merge_engine.runs.run import Protocol, recipe_for, run_steps


class Clock:
    """Time that passes by one second whenever somebody looks."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def adapting(toy, steps: int):
    method = build("adamerging", steps=steps, batch=4, learning_rate=0.05)
    return merge_steps(toy.problem(), method, (), Context())


def test_the_curve_ends_with_the_result_and_watching_costs_its_share(toy):
    watch = Watch(toy, toy.seen, pictures=20, clock=Clock())
    merged = drive(watch.steps(adapting(toy, 30)))
    assert watch.points[0].step == 0
    assert watch.points[-1].step == 30
    start = merge(toy.problem(), build("task_arithmetic", scaling=0.3))
    before = score(toy, start, toy.seen, limit=20)
    assert watch.points[0].accuracy == {task: found.accuracy for task, found in before.items()}
    assert 3 < len(watch.points) < 30
    final = score(toy, merged, toy.seen, limit=20)
    assert watch.points[-1].accuracy == {task: found.accuracy for task, found in final.items()}
    assert watch.points[0].entropy is None, "nothing is minimised yet"
    assert all(point.entropy is not None and point.entropy > 0 for point in watch.points[1:])


def test_a_young_run_is_watched_more_often(toy, monkeypatch):
    found = {}
    for early in (0.0, 1e9):
        monkeypatch.setattr(live, "EARLY", early)
        watch = Watch(toy, toy.seen, pictures=4, clock=Clock())
        drive(watch.steps(adapting(toy, 40)))
        found[early] = watch.points
    assert len(found[1e9]) > 2 * len(found[0.0])
    assert found[1e9][0].step == found[0.0][0].step == 0


def test_snapshots_are_scored_in_the_arithmetic_that_is_asked_for(toy, monkeypatch):
    seen, real = set(), live.score_steps
    monkeypatch.setattr(live, "score_steps", lambda *a, dtype, **k: seen.add(dtype) or real(*a, dtype=dtype, **k))
    drive(Watch(toy, toy.seen, pictures=4, dtype=torch.bfloat16).steps(adapting(toy, 2)))
    assert seen == {torch.bfloat16}


def test_one_who_wants_to_stop_is_asked_after_every_pass_and_every_task_that_is_scored(toy, monkeypatch):
    monkeypatch.setattr(adapt, "JOINT", 4)  # a pass per task
    steps = list(Watch(toy, toy.seen, pictures=4).steps(adapting(toy, 2)))
    tasks = len(toy.seen)
    working = [step for step in steps if step.label.startswith("step")]
    assert len([step for step in working if step.snapshot is None]) >= 2 * (tasks - 1) + tasks
    assert [step.done for step in working if step.snapshot is not None] == [1, 2]
    assert all(step.history is not None for step in working)


def test_a_snapshot_is_not_changed_by_later_updates(toy):
    steps = adapting(toy, 4)
    early = next(step for step in steps if step.snapshot is not None).snapshot()
    before = {n: early.weights()[n].clone() for n in early.direction}
    drive(steps)
    assert all((early.weights()[n] == before[n]).all() for n in before)


def test_a_run_records_its_protocol_and_curve(toy):
    recipe = recipe_for(toy, "adamerging", {"steps": 3, "batch": 4})
    inductive = drive(run_steps(toy, recipe, Protocol(limit=20, watch=10))).result
    transductive = drive(run_steps(toy, recipe, Protocol(limit=20, half="score"))).result
    assert "Inductive" in inductive.protocol
    assert "Transductive" in transductive.protocol
    assert (inductive.half, transductive.half) == ("adapt", "score")
    assert inductive.key != transductive.key
    assert inductive.curve[-1]["step"] == 3
    assert type(inductive).from_dict(inductive.to_dict()).curve == inductive.curve
    static = drive(run_steps(toy, recipe_for(toy, "average"), Protocol(limit=20, half="score"))).result
    assert static.half == ""
    with pytest.raises(RecipeError, match="No half to adapt to named 'test'"):
        Protocol(half="test")


def test_another_half_is_another_stream(toy):
    seen = {half: next(toy.problem(half=half).inputs.stream("blob", 4)) for half in ("adapt", "score")}
    assert seen["adapt"].shape == seen["score"].shape
    assert not (seen["adapt"] == seen["score"]).all()


def test_points_are_plain_numbers(toy):
    watch = Watch(toy, toy.seen[:1], pictures=4)
    drive(watch.steps(adapting(toy, 1)))
    point = watch.points[0]
    assert set(point.to_dict()) == {f.name for f in dataclasses.fields(point)} | {"average"}


def test_robustness_adapts_to_what_the_protocol_says(toy):
    recipe = recipe_for(toy, "adamerging", {"steps": 2, "batch": 4})
    found = {}
    for clean in (False, True):
        protocol = Protocol(limit=20, corruption="contrast:5", clean_stream=clean)
        found[clean] = drive(run_steps(toy, recipe, protocol)).result
    plain = drive(run_steps(toy, recipe, Protocol(limit=20))).result
    assert len({found[False].key, found[True].key, plain.key}) == 3
    assert "corrupted by contrast at severity 5 of 5; those adapted to are clean" in found[True].protocol
    assert "corrupted alike" in found[False].protocol
    assert "corrupted" not in plain.protocol
    before = {task: a.pretrained for task, a in plain.accuracy.items()}
    assert before != {task: a.pretrained for task, a in found[False].accuracy.items()}
    for wrong in ("jpeg", "jpeg:6", "jpg:3", "jpeg:3:4", ":"):
        with pytest.raises(RecipeError, match="KIND:SEVERITY"):
            Protocol(corruption=wrong)
