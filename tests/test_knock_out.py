"""Knocking out parts of experts, and the inputs that flip: identities, a naive float64 reference, every method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import fresh, small_problem
from torch.testing import assert_close

from merge_engine.answers import Predicted
from merge_engine.errors import RecipeError
from merge_engine.evaluate import predictions
from merge_engine.flips import flips
from merge_engine.knock_out import (
    KnockOut,
    canonical,
    knocked_out,
    looks_at_groups,
    tensors_of,
    without_steps,
)
from merge_engine.merged import StaticMerged
from merge_engine.methods import build, registry
from merge_engine.problem import MATRIX_KINDS
from merge_engine.running import drive, merge
from merge_engine.tensorwise import TensorMerge

FC1 = "blocks.1.fc1.weight"
STATIC = [key for key, cls in registry().items() if issubclass(cls, TensorMerge) and not cls.needs]
LOCAL = [key for key in STATIC if looks_at_groups(build(key))]


def outs(*words: str) -> tuple[KnockOut, ...]:
    return tuple(map(KnockOut.parse, words))


def without(problem, *words: str):
    return knocked_out(problem, outs(*words), fresh().svd)


def taught(method: str, tasks: int = 4):
    """Return a problem that a method can take, and the method."""
    low, high = build(method).experts_allowed
    return small_problem(max(low, min(tasks, high or tasks))), build(method)


class TestWords:
    @pytest.mark.parametrize("word", ["letters:5.fc1:0", "letters:11.q", "my expert 2"])
    def test_a_word_is_read_as_it_is_written(self, word):
        assert KnockOut.parse(word).word == word

    @pytest.mark.parametrize(
        "word",
        ["", ":", "a:", "a:5", "a:5.", "a:05.q", "a:5.q:", "a:5.q:01", "a:5.q:-1", "a:5.q:0:1", "a,b", "a|b", "x" * 65],
    )
    def test_anything_else_is_refused_in_a_sentence(self, word):
        with pytest.raises(RecipeError, match=r"letters:5\.fc1:0"):
            KnockOut.parse(word)

    def test_readers_see_no_colons(self):
        assert [one.said for one in outs("a:5.fc1:0", "a:5.fc1", "a")] == ["a 5.fc1 #0", "a 5.fc1", "a"]

    def test_what_another_covers_is_dropped_and_the_order_is_fixed(self):
        given = outs("b:1.q", "a:1.q:3", "b:1.q:0", "a:1.q:2", "c:0.v", "c", "a:1.q:2")
        assert [one.word for one in canonical(given)] == ["a:1.q:2", "a:1.q:3", "b:1.q", "c"]
        assert canonical(reversed(given)) == canonical(given)

    @pytest.mark.parametrize(
        ("word", "sentence"),
        [("nobody", "expert"), ("task0:7.fc1", "matrix"), ("task0:1.bias", "matrix"), ("task0:1.fc1:8", "0 to 7")],
    )  # fmt: skip
    def test_what_is_not_there_is_named(self, problem, word, sentence):
        with pytest.raises(RecipeError, match=sentence):
            tensors_of(problem, KnockOut.parse(word))


class TestProblem:
    def test_a_component_is_subtracted_as_the_naive_reference_has_it(self, problem):
        given = without(problem, "task2:1.fc1:0", "task2:1.fc1:3").experts["task2"]
        base = problem.pretrained[FC1].double().numpy()
        U, s, Vh = np.linalg.svd(problem.experts["task2"][FC1].double().numpy() - base, full_matrices=False)
        expected = base + sum(s[i] * np.outer(U[:, i], Vh[i]) for i in range(len(s)) if i not in (0, 3))
        np.testing.assert_allclose(given[FC1].double().numpy(), expected, atol=1e-6)
        for name in problem.pretrained:
            assert name == FC1 or torch.equal(given[name], problem.experts["task2"][name])

    def test_all_components_of_a_matrix_are_the_matrix(self, problem):
        every = without(problem, *(f"task0:1.fc1:{i}" for i in range(8)))
        whole = without(problem, "task0:1.fc1")
        assert_close(every.experts["task0"][FC1], whole.experts["task0"][FC1], atol=1e-6, rtol=0)
        assert torch.equal(whole.experts["task0"][FC1], problem.pretrained[FC1])

    def test_all_matrices_of_an_expert_leave_its_other_tensors(self, problem):
        words = [f"task0:{block}.{kind}" for block in range(2) for kind in MATRIX_KINDS]
        matrices, expert = (without(problem, *w).experts["task0"] for w in (words, ["task0"]))
        for name in problem.pretrained:
            kept = problem.architecture.place(name).kind not in MATRIX_KINDS
            assert torch.equal(matrices[name], (problem.experts["task0"] if kept else problem.pretrained)[name])
            assert torch.equal(expert[name], problem.pretrained[name])

    def test_nothing_is_read_before_it_is_asked_for(self, problem):
        class Closed(dict):
            def __getitem__(self, name):
                raise AssertionError(f"{name} was read")

        closed = dataclasses.replace(problem, experts={n: Closed(w) for n, w in problem.experts.items()})
        assert set(without(closed, "task0:1.fc1:0", "task1").experts) == set(problem.experts)

    def test_the_other_experts_are_the_same_objects(self, problem):
        given = without(problem, "task0")
        assert given.tasks == problem.tasks
        assert given.experts["task1"] is problem.experts["task1"]


class TestMerge:
    @pytest.mark.parametrize("method", LOCAL)
    def test_merging_the_touched_groups_again_is_merging_everything_again(self, method):
        problem, made = taught(method)
        whole = merge(problem, made, ctx=fresh())
        assert isinstance(whole, StaticMerged)
        words = outs("task0:1.fc1:0", "task1:0.q", "task0:0.v:2")
        steps = list(without_steps(problem, words, made, (), fresh(), whole))
        assert 0 < len(steps) < len(problem.groups())
        quick = drive(without_steps(problem, words, made, (), fresh(), whole))
        again = merge(knocked_out(problem, words, fresh().svd), made, ctx=fresh())
        for name in problem.pretrained:
            assert torch.equal(quick.weights()[name], again.weights()[name]), name

    def test_fused_attention_is_merged_again_as_a_whole(self, problem):
        made = build("tsv_m", attention="fused")
        whole, words = merge(problem, made, ctx=fresh()), outs("task0:1.k")
        found = drive(without_steps(problem, words, made, (), fresh(), whole))
        again = merge(knocked_out(problem, words, fresh().svd), made, ctx=fresh())
        assert all(torch.equal(found.weights()[n], again.weights()[n]) for n in problem.pretrained)
        assert not torch.equal(found.weights()["blocks.1.q.weight"], whole.weights()["blocks.1.q.weight"])

    @pytest.mark.parametrize("method", STATIC)
    def test_without_nothing_it_is_the_same_merge(self, method):
        problem, made = taught(method)
        whole = merge(problem, made, ctx=fresh())
        for known in (None, whole):
            again = drive(without_steps(problem, (), made, (), fresh(), known))
            assert all(torch.equal(again.weights()[n], whole.weights()[n]) for n in problem.pretrained)

    @pytest.mark.parametrize("method", STATIC)
    def test_every_method_merges_an_expert_that_learned_nothing(self, method):
        problem, made = taught(method)
        found = drive(without_steps(problem, outs("task1"), made, (), fresh(), merge(problem, made, ctx=fresh())))
        assert all(torch.isfinite(found.weights()[name]).all() for name in problem.pretrained)

    def test_a_sum_without_an_expert_is_the_sum_of_the_others(self, problem):
        made = build("task_arithmetic")
        gone = drive(without_steps(problem, outs("task1"), made, (), fresh()))
        others = dataclasses.replace(problem, experts={n: w for n, w in problem.experts.items() if n != "task1"})
        few = merge(others, made, ctx=fresh())
        for name in problem.pretrained:
            assert_close(gone.weights()[name], few.weights()[name])

    def test_the_scaling_of_the_whole_merge_stays(self, problem):
        made = build("task_arithmetic")
        whole = merge(problem, made, ctx=fresh()).rescaled(0.9)
        found = drive(without_steps(problem, outs("task1:1.fc1"), made, (), fresh(), whole))
        assert found.scaling == 0.9
        left = sum(problem.experts[t][FC1] - problem.pretrained[FC1] for t in problem.tasks if t != "task1")
        assert_close(found.task_vector(FC1), 0.9 * left)

    def test_with_a_post_step_everything_is_merged_again(self, problem):
        made, post = build("task_arithmetic"), (build("lines"),)
        whole, words = merge(problem, made, post, fresh()), outs("task1:1.fc1")
        found = drive(without_steps(problem, words, made, post, fresh(), whole))
        again = merge(knocked_out(problem, words, fresh().svd), made, post, fresh())
        assert all(torch.equal(found.weights()[n], again.weights()[n]) for n in problem.pretrained)

    def test_the_terms_of_a_component_leave_the_inner_products_with_it(self, problem):
        """What the panel of collisions shows of a component is what knocking it out takes away."""
        from merge_engine.metrics import measure

        before, after = (
            measure("joint_overlap", given, fresh(), names=[FC1], components=8)
            for given in (problem, without(problem, "task0:1.fc1:2"))
        )
        row = before.index("tensor", FC1)
        gone = before.terms[row, 0, 1, 2].sum()
        assert abs(gone) > 1e-3
        np.testing.assert_allclose(before.inner[row, 0, 1] - after.inner[row, 0, 1], gone, atol=1e-5)


class TestFlips:
    LABEL = np.array([0, 0, 0, 0, 1, 1])

    def said(self, guess, picked=None, n=6, task="a"):
        guess = np.array(guess)[:n]
        picked = None if picked is None else np.array(picked)[:n]
        return Predicted(task, np.arange(n) * 7, self.LABEL[:n], guess, np.ones(n), picked, None)

    def test_rows_are_now_right_now_wrong_or_otherwise_wrong(self):
        found = flips(self.said([0, 1, 1, 2, 1, 0]), self.said([1, 0, 2, 2, 1, 0]), ("a", "b"))
        assert [list(rows) for rows in (found.right, found.wrong, found.other)] == [[1], [0], [2]]
        assert (found.n, found.before, found.after, len(found)) == (6, 2, 2, 3)

    def test_counts_explain_the_change(self):
        random = np.random.default_rng(0)
        one, two = (self.said(random.integers(0, 3, 6), random.integers(0, 2, 6)) for _ in range(2))
        found = flips(one, two, ("a", "b"))
        assert found.after - found.before == len(found.right) - len(found.wrong)

    def test_another_head_is_a_flip_and_its_class_is_never_right(self):
        found = flips(self.said([0] * 6, [0, 0, 1, 1, 0, 0]), self.said([0] * 6, [0, 1, 0, 1, 0, 1]), ("a", "b"))
        assert [list(rows) for rows in (found.right, found.wrong, found.other)] == [[2], [1], [5]]

    def test_only_what_both_were_asked_about_is_compared(self):
        assert flips(self.said([0] * 6), self.said([1] * 6, n=2), ("a",)).n == 2
        with pytest.raises(ValueError, match="same inputs"):
            flips(self.said([0] * 6), self.said([0] * 6, task="b"), ("a",))

    @pytest.mark.parametrize("method", ["task_arithmetic", "sim", "tall_mask"])
    def test_a_merge_scored_twice_flips_nothing_and_agrees_with_its_score(self, toy, method):
        from merge_engine.evaluate import score

        merged = merge(toy.problem(), build(method), ctx=fresh())
        for task, scored in score(toy, merged, ["blob", "grain"]).items():
            again = predictions(toy, merged, task)
            found = flips(scored.said, again, toy.experts)
            assert not len(found)
            assert found.before == scored.correct
