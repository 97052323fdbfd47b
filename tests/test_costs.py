"""What a merge takes is told before: from stored tables, one calibration, and what ran here."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
import torch
from conftest import fresh, small_problem
from test_contract import OF_INPUTS, frugal, problem_for

from merge_engine.maths.decompositions import EACH, KINDS, UNTOLD
from merge_engine.maths.svd import SvdStore, decompose
from merge_engine.methods import registry
from merge_engine.problem import MATRIX_KINDS
from merge_engine.running import drive, merge_steps
from merge_engine.runs.calibration import Calibration, calibrate, svd_work
from merge_engine.runs.costs import expected, timed_rows
from merge_engine.runs.run import recipe_for
from merge_engine.tensorwise import PostStep
from viz.page.costs import NEVER, Costs, Seconds, memory_of, missing_work, scored
from viz.page.headline import duration

MACHINE = Calibration(plain=0.01, live=0.005, svd=1e-9)


def row(suite, method, *, merge, score, n=100, forwards=1.0, post=(), **parameters) -> dict:
    recipe = recipe_for(suite, method, parameters, post=post)
    accuracy = {task: {"merged": 50.0, "expert": 60.0, "pretrained": 40.0, "n": n} for task in suite.seen}
    return {
        **recipe.to_dict(),
        "accuracy": accuracy,
        "seconds": {"merge": merge, "score": score},
        "forwards": forwards,
    }


def costs(suite=None, *, calibrated: bool = True) -> Costs:
    found = Costs(SvdStore(folder=None), lambda suite, dtype: MACHINE)
    if calibrated:
        found.calibrate(suite)
    return found


class TestTable:
    def test_a_row_brings_its_own_clock(self, toy):
        """The same merge on a machine that was three times as slow just then is the same number of passes."""
        pictures = 100 * len(toy.seen)
        rows = [
            row(toy, "average", merge=1.0, score=0.01 * pictures),
            row(toy, "ties", merge=6.0, score=0.03 * pictures),
        ]
        average, ties = timed_rows(rows)
        assert (average.merge, average.score) == (pytest.approx(100), 1)
        assert (ties.merge, ties.score) == (pytest.approx(200), 1)

    def test_a_blend_may_make_more_passes_than_it_counts_but_not_any_number(self, toy):
        pictures, experts = 100 * len(toy.seen), len(toy.experts)
        plain = row(toy, "average", merge=1.0, score=0.01 * pictures)
        for times, found in ((1.7, 1.7), (experts + 1, experts + 1), (50, experts + 1)):
            blend = row(toy, "we_moe", merge=10.0, score=0.01 * times * pictures)
            _, timed = timed_rows([plain, blend])
            assert timed.score == pytest.approx(found)
            assert timed.merge == pytest.approx(10 / 0.01 * found / times), (
                "beyond the bound it was the machine"
            )

    def test_rows_that_were_not_measured_tell_nothing(self, toy):
        empty = {**row(toy, "average", merge=1.0, score=1.0), "accuracy": {}}
        assert timed_rows([empty]) == []
        assert expected(recipe_for(toy, "average"), []) is None

    def test_longer_courses_and_more_experts_take_longer(self, toy):
        pictures = 100 * len(toy.seen)
        rows = [row(toy, "average", merge=1.0, score=0.01 * pictures),
                row(toy, "adamerging", merge=5.0, score=0.01 * pictures, steps=10, batch=4)]  # fmt: skip
        timed = timed_rows(rows)

        def merge(experts=None, **given) -> float:
            return expected(recipe_for(toy, "adamerging", given, experts), timed).merge

        assert merge(steps=10, batch=4) == pytest.approx(500)
        assert merge(steps=30, batch=8) == pytest.approx(3000)
        assert merge(toy.experts[:2], steps=10, batch=4) == pytest.approx(500 * 2 / len(toy.experts))

    def test_the_run_most_alike_stands_for_a_recipe(self, toy):
        pictures = 100 * len(toy.seen)
        rows = [row(toy, "ties", merge=merge, score=0.01 * pictures, density=density)
                for merge, density in ((1.0, 0.2), (2.0, 0.5))]  # fmt: skip
        timed = timed_rows(rows)
        assert expected(recipe_for(toy, "ties", {"density": 0.2}), timed).merge == pytest.approx(100)
        assert expected(
            recipe_for(toy, "ties", {"density": 0.5, "scaling": 0.7}), timed
        ).merge == pytest.approx(200)

    def test_a_post_step_is_added(self, toy):
        pictures = 100 * len(toy.seen)
        rows = [row(toy, "task_arithmetic", merge=1.0, score=0.01 * pictures),
                row(toy, "task_arithmetic", merge=4.0, score=0.01 * pictures, post=(("svc", {}),)),
                row(toy, "ties", merge=2.0, score=0.01 * pictures)]  # fmt: skip
        timed = timed_rows(rows)
        assert expected(recipe_for(toy, "ties", post=(("svc", {}),)), timed).merge == pytest.approx(500)
        assert expected(
            recipe_for(toy, "task_arithmetic", post=(("svc", {}),)), timed
        ).merge == pytest.approx(400)


class TestCalibration:
    def test_the_fastest_of_a_few_counts(self, toy):
        """A clock that runs ever slower tells by what each of its readings is divided."""
        times = iter(range(10_000))
        found = calibrate(toy, torch.bfloat16, lambda: next(times) ** 2 / 1e4)
        assert 0 < found.plain < found.live, "the second precision was timed later, when the clock ran faster"
        assert found.svd > 0
        same = calibrate(toy, torch.float32)
        assert same.plain == same.live > 0

    def test_it_is_measured_once(self, toy):
        asked = []
        found = Costs(SvdStore(folder=None), lambda suite, dtype: asked.append(suite.name) or MACHINE)
        assert [found.calibrate(toy), found.calibrate(toy)] == [True, False]
        assert asked == ["toy"]

    def test_of_two_measurements_the_faster_counts(self, toy):
        measured = iter((Calibration(3.0, 1.0, 0.2), Calibration(2.0, 4.0, 0.1)))
        found = Costs(SvdStore(folder=None), lambda suite, dtype: next(measured))
        found.calibrate(toy)
        found.calibrate_again(toy)
        assert found.passes("toy", 1) == 1.0
        assert Calibration(3.0, 1.0, 0.2).faster(Calibration(2.0, 4.0, 0.1)) == Calibration(2.0, 1.0, 0.1)

    @pytest.mark.usefixtures("toy_by_name")
    def test_what_ran_on_a_busy_machine_still_takes_what_it_took(self, toy):
        measured = iter((Calibration(4.0, 3.0, 0.2), Calibration(1.0, 1.5, 0.1)))
        found = Costs(SvdStore(folder=None), lambda suite, dtype: next(measured))
        found.calibrate(toy)
        recipe = recipe_for(toy, "average")
        found.note(recipe, 8.0, 600.0, 100)
        found.calibrate_again(toy)
        assert found.passes("toy", 2) == 3.0
        assert found.seconds(recipe, pictures=100) == Seconds(8.0, 600.0)


@pytest.mark.usefixtures("toy_by_name")
class TestSeconds:
    def test_before_the_calibration_nothing_is_claimed(self, toy):
        found = costs(calibrated=False)
        assert found.seconds(recipe_for(toy, "average")) == Seconds(None, None)
        assert found.seconds(recipe_for(toy, "average")).words == NEVER
        assert found.passes("toy", 3) is None

    def test_a_suite_without_a_table_borrows_the_passes_of_the_bundled_one(self, toy):
        found, recipe = costs(toy), recipe_for(toy, "task_arithmetic")
        cost = found.seconds(recipe)
        assert 0 < cost.merge < 60
        assert cost.score == pytest.approx(scored(recipe) * MACHINE.live)
        assert found.seconds(recipe, kept=True).merge == 0
        assert found.seconds(recipe, pictures=10).score == pytest.approx(10 * MACHINE.live)
        exact = found.seconds(recipe, pictures=10, dtype=torch.float32)
        assert exact.score == pytest.approx(10 * MACHINE.plain), "as a stored run was scored elsewhere"

    def test_what_ran_here_counts_for_itself(self, toy):
        found, recipe = costs(toy), recipe_for(toy, "ties")
        found.note(recipe, 7.0, 3.0, scored(recipe))
        assert found.seconds(recipe) == Seconds(pytest.approx(7.0), pytest.approx(3.0))
        found.note(recipe, None, 5.0, scored(recipe))
        assert found.seconds(recipe) == Seconds(pytest.approx(7.0), pytest.approx(5.0)), "its merge was kept"

    def test_a_merge_told_the_task_is_not_scored_on_unseen_ones(self, toy):
        unseen = sum(len(toy.indices(task, "score")) for task in toy.unseen)
        assert scored(recipe_for(toy, "average")) - scored(recipe_for(toy, "tsv_c")) == unseen > 0

    def test_decompositions_that_are_kept_cost_nothing(self, toy):
        recipe = recipe_for(toy, "tsv_m")
        slow = dataclasses.replace(MACHINE, svd=1e-3)
        found = Costs(SvdStore(folder=None), lambda suite, dtype: slow)
        found.calibrate(toy)
        cold = found.seconds(recipe).merge
        drive(merge_steps(toy.problem(), *recipe.build(), dataclasses.replace(fresh(), svd=found.svd)))
        assert found.seconds(recipe).merge < cold / 10

    @pytest.mark.parametrize(("seconds", "words"), [
        (Seconds(2.0, 35.0), "about 2.0 s to merge + 35 s to score"), (Seconds(0.0, 35.0), "about 35 s to score"),
        (Seconds(None, 35.0), "about 35 s to score, merging was never timed"), (Seconds(None, None), NEVER),
        (Seconds(30_000.0, 300.0), "about 8.3 h to merge + 5 min to score"),
    ])  # fmt: skip
    def test_in_words(self, seconds, words):
        assert seconds.words == words

    def test_durations_of_every_size(self):
        words = {0: "0 s", 0.01: "0.1 s", 3.21: "3.2 s", 12: "12 s", 600: "10 min", 36_000: "10 h"}
        assert {seconds: duration(seconds) for seconds in words} == words

    def test_memory_grows_with_what_is_held(self, toy):
        stored = {"average": 1.0, "tsv_c": 1.5, "adamerging": 1.0}
        one = sum(w.numel() for w in toy.pretrained_in_memory.values())
        found = {method: memory_of(recipe_for(toy, method), one * times) for method, times in stored.items()}
        assert 4 * one < found["average"] < found["adamerging"]
        few = memory_of(recipe_for(toy, "adamerging", experts=toy.experts[:2]), one)
        assert few < found["adamerging"] - 4 * one


@pytest.mark.parametrize("key", registry())
def test_a_method_asks_for_the_decompositions_it_names(key, toy):
    cls = registry()[key]
    method = frugal(cls)
    post = issubclass(cls, PostStep)
    problem = small_problem(3) if post else problem_for(cls, min(3, cls.experts_allowed[1] or 3), toy)
    asked: list[tuple[int, ...]] = []

    def counting(matrix):
        asked.append(tuple(matrix.shape))
        return decompose(matrix)

    first = registry()["average"]() if post else method
    ctx = dataclasses.replace(fresh(), svd=counting)
    drive(merge_steps(problem, first, (method,) if post else (), ctx))
    word = method.decomposes()
    groups = [g for g in problem.groups() if g.is_matrix and g.place.kind in KINDS.get(word, MATRIX_KINDS)]
    named = Counter(tuple(matrix.shape) for group in groups for matrix in EACH[word](group.task_vectors))
    assert bool(asked) == bool(named)
    assert named <= Counter(asked)
    assert word in EACH
    assert word not in UNTOLD or post or cls.needs & OF_INPUTS


def test_what_is_missing_is_looked_up_once_until_something_is_decomposed(toy):
    asked, recipe = [], recipe_for(toy, "tsv_m")
    found = costs(toy)
    found.svd.holds = lambda matrix: asked.append(matrix)
    found.look_up(toy)
    assert asked
    before, there = found.seconds(recipe).merge, len(asked)
    assert len(asked) == there
    found.svd.holds = lambda matrix: True
    found.svd.computed += 1
    assert found.seconds(recipe).merge < before


def test_what_is_missing_is_looked_up_by_the_last_tensor(toy):
    asked = []
    whole = missing_work(toy, toy.experts, "experts", lambda matrix: asked.append(matrix) or False)
    shapes = [w.shape for n, w in toy.pretrained_in_memory.items()
              if toy.backbone.place(n).kind in ("q", "k", "v", "out", "fc1", "fc2") and w.ndim == 2]  # fmt: skip
    assert whole == pytest.approx(len(toy.experts) * sum(svd_work(*shape) for shape in shapes))
    assert missing_work(toy, toy.experts, "experts", lambda matrix: True) == 0
    assert missing_work(toy, toy.experts, "apart", lambda matrix: True) == pytest.approx(whole), (
        "nobody can know"
    )
    assert missing_work(toy, toy.experts, "sum", lambda matrix: False) == pytest.approx(
        whole / len(toy.experts)
    )
    assert math.isclose(svd_work(8, 16), svd_work(16, 8))
