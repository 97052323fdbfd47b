"""What every measurement declares, how it is asked for, and the table of any of them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re

import numpy as np
import pytest
import torch
from conftest import SHAPES, fresh, small_problem

from merge_engine import metrics
from merge_engine.errors import DataError, RecipeError
from merge_engine.hp import declared
from merge_engine.merged import StaticMerged
from merge_engine.methods import build as build_method
from merge_engine.metrics import LEVELS, Measured, Row, WeightMetric, measure, table
from merge_engine.metrics.cka import linear_cka
from merge_engine.problem import Problem
from merge_engine.running import merge, merge_steps

METRICS = metrics.registry()
ON_WEIGHTS = {key: cls for key, cls in METRICS.items() if issubclass(cls, WeightMetric)}
every = pytest.mark.parametrize("key", METRICS)
every_on_weights = pytest.mark.parametrize("key", ON_WEIGHTS)


def merge_of(problem: Problem) -> StaticMerged:
    return merge(problem, build_method("task_arithmetic"), (), fresh())


@every
def test_declares_what_the_list_shows(key):
    cls = METRICS[key]
    assert metrics.metric_class(key) is cls
    assert metrics.key_of(cls) == metrics.key_of(cls()) == key
    assert cls.title
    assert cls.about.endswith(".")
    assert cls.formula
    assert cls.reference
    assert isinstance(cls.unit, str)
    assert set(cls.levels) <= set(LEVELS)
    assert set(cls.shown) & set(cls.levels)
    assert set(cls.shown) <= set(LEVELS)
    assert set(cls.per()) <= {"expert", "pair", "merge"}
    assert cls.per()
    assert [c.title for c in METRICS.values()].count(cls.title) == 1
    quantities = cls.produces.quantities()
    assert cls.headline in quantities
    for what in quantities.values():
        assert what.help.endswith(".")
        assert set(what.axes) <= {"row", "expert", "other", "index", "across"}
        assert not what.chance or what.chance in quantities
        assert not what.symmetric or {"expert", "other"} <= set(what.axes)


@every
def test_documented(key):
    cls = METRICS[key]
    assert importlib.import_module(cls.__module__).__doc__.endswith(".")
    assert cls.__doc__.splitlines()[0].endswith(".")
    assert re.search(r"^ {8}\S", cls.__doc__, re.MULTILINE)
    assert "References\n    ----------\n" in cls.__doc__
    assert "Notes\n    -----\n" in cls.__doc__
    assert cls.produces.__doc__
    for what in re.findall(r"arXiv:[\w./-]+\d", cls.reference):
        assert what in cls.__doc__


@every
def test_options_are_declared_and_refused_out_of_range(key):
    cls = METRICS[key]
    assert [f.name for f in dataclasses.fields(cls)] == list(declared(cls))
    for option in declared(cls).values():
        assert option.help.endswith(".")
        bad = "no such choice" if option.choices or option.type is bool else (option.low or 0) - 1e6
        with pytest.raises(RecipeError, match=option.name):
            metrics.build(key, **{option.name: bad})
    with pytest.raises(RecipeError, match="No parameter"):
        metrics.build(key, nonsense=1)


def test_near_names_are_suggested():
    with pytest.raises(RecipeError, match="Did you mean 'cosine'"):
        metrics.build("cosin")
    with pytest.raises(RecipeError, match="Did you mean 'density'"):
        metrics.build("sign_conflict", densty=0.5)
    with pytest.raises(RecipeError, match=r"Did you mean 'blocks\.0\.fc1\.weight'"):
        measure("cosine", small_problem(2), fresh(), names="blocks.0.fc1.weigh")


def test_chance_levels_do_not_count_as_measurements():
    assert METRICS["cosine"].per() == ("pair",)
    assert METRICS["norms"].per() == ("expert",)
    assert METRICS["cancellation"].per() == ("pair", "merge")


@every_on_weights
@pytest.mark.parametrize("tasks", [1, 2, 9])
def test_measures_any_number_of_experts_without_a_warning(key, tasks):
    """Nine experts are more than the rank of the matrices; warnings are errors."""
    problem = small_problem(tasks)
    found = measure(key, problem, fresh(), merged=merge_of(problem))
    assert isinstance(found, METRICS[key].produces)
    assert found.models[:tasks] == problem.tasks
    assert found.models[tasks:] == (("merged",) if METRICS[key].merge == "beside" else ())
    assert {row.level for row in found.rows} == set(METRICS[key].levels)


@every_on_weights
def test_experts_that_did_not_move_are_missing_and_json_is_valid(key):
    problem = small_problem(2)
    still = Problem(problem.pretrained, {t: problem.pretrained for t in ("a", "b", "c")}, problem.architecture)
    found = measure(key, still, fresh(), merged=merge_of(still))
    rows = table(found, quantities=found.quantities())
    json.dumps(rows, allow_nan=False)
    headline = getattr(found, METRICS[key].headline)
    assert not np.nan_to_num(headline).any() or key == "mask_counts"
    assert all(np.isfinite(getattr(found, n)).all() or np.isnan(getattr(found, n)).any() for n in found.quantities())


@every_on_weights
def test_one_tensor_alone_is_the_row_of_the_whole(key):
    problem = small_problem(3)
    merged = merge_of(problem)
    whole = measure(key, problem, fresh(), merged=merged)
    for name in ("blocks.1.fc2.weight", "blocks.0.q.weight"):
        alone = measure(key, problem, fresh(), merged=merged, names=name)
        for quantity, what in whole.quantities().items():
            one, row = getattr(alone, quantity), getattr(whole, quantity)[whole.index("tensor", name)]
            for position in range(len(alone.rows)):
                cut = row[tuple(slice(n) for n in one.shape[1:])]
                np.testing.assert_allclose(one[position], cut, rtol=1e-9, atol=1e-12)
            assert "row" in what.axes


@every_on_weights
def test_only_the_chosen_tensors_are_read(key):
    problem, read = small_problem(2), set()

    class Watched(dict):
        def __getitem__(self, name):
            read.add(name)
            return super().__getitem__(name)

    experts = {t: Watched(w) for t, w in problem.experts.items()}
    watched = Problem(Watched(problem.pretrained), experts, problem.architecture)
    measure(key, watched, fresh(), merged=merge_of(problem), names=["blocks.0.fc1.weight"])
    assert read == {"blocks.0.fc1.weight"}


@every_on_weights
def test_steps_count_up_and_can_be_left(key):
    problem = small_problem(2)
    names = ["blocks.0.q.weight", "blocks.1.q.weight"]
    steps = metrics.build(key).steps(problem, fresh(), merged=merge_of(problem), names=names)
    first = next(steps)
    assert (first.done, first.total, first.label) == (1, 2, "blocks.0.q.weight")
    second = next(steps)
    assert second.done == 2
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert isinstance(end.value.value, METRICS[key].produces)
    fresh_steps = metrics.build(key).steps(problem, fresh(), merged=merge_of(problem))
    next(fresh_steps)
    fresh_steps.close()
    assert next(fresh_steps, None) is None


@pytest.mark.parametrize("key", [k for k, c in ON_WEIGHTS.items() if c.matrices])
def test_matrices_are_those_of_the_blocks_unless_others_are_named(key):
    problem = small_problem(2)
    found = measure(key, problem, fresh(), merged=merge_of(problem))
    assert {r.tensor for r in found.rows if r.tensor} == {f"blocks.{b}.{k}.weight" for b in range(2) for k in SHAPES}
    other = measure(key, problem, fresh(), merged=merge_of(problem), names="embed.weight")
    assert [r.tensor for r in other.rows if r.tensor] == ["embed.weight"]
    with pytest.raises(RecipeError, match="no matrix"):
        measure(key, problem, fresh(), merged=merge_of(problem), names="norm.weight")


def test_merges_are_refused_in_a_sentence():
    problem = small_problem(2)
    with pytest.raises(RecipeError, match="needs a merged model"):
        measure("svc_coefficients", problem, fresh())
    with pytest.raises(RecipeError, match="needs a merged model"):
        measure("mask_counts", problem, fresh(), unified="merged")
    per_task = merge(problem, build_method("emr"), (), fresh())
    with pytest.raises(RecipeError, match="one part per expert"):
        measure("sar", problem, fresh(), merged=per_task)
    assert measure("sti", problem, fresh(), merged=per_task).models == problem.tasks
    with pytest.raises(RecipeError, match="not on weights"):
        measure("cka", problem, fresh())


def test_experts_decompose_once_for_every_metric():
    problem, ctx = small_problem(3), fresh()
    measure("spectrum", problem, ctx)
    assert ctx.svd.computed == 3 * 12
    for key in ("subspace", "sti", "sar", "joint_overlap", "norms"):
        measure(key, problem, ctx)
    assert ctx.svd.computed == 3 * 12
    list(merge_steps(problem, build_method("tsv_m"), (), ctx))
    assert ctx.svd.computed <= 3 * 12 + 3, "a method finds the experts' factors there; an embedding is new"


def test_scaling_does_not_decompose_a_merge_again():
    problem, ctx = small_problem(2), fresh()
    merged = merge_of(problem)
    first = measure("sar", problem, ctx, merged=merged)
    count = ctx.svd.computed
    second = measure("sar", problem, ctx, merged=merged.rescaled(-1.7))
    assert ctx.svd.computed == count
    np.testing.assert_allclose(first.merged, second.merged, rtol=1e-6)


# the table


def test_a_symmetric_pair_comes_once_and_chance_stands_beside():
    problem = small_problem(3)
    rows = table(measure("cosine", problem, fresh()), levels=["kind"])
    assert [(r["expert"], r["other"]) for r in rows[:3]] == [("task0", "task1"), ("task0", "task2"), ("task1", "task2")]
    paired = [r for r in rows if r["other"]]
    assert len(paired) == 3 * len({r["kind"] for r in rows})
    assert all(r["chance"] > 0 and r["cosine"] is not None for r in paired)
    assert {tuple(r) for r in rows} == {("level", "tensor", "block", "kind", "expert", "other", "cosine", "chance")}


def test_an_ordered_pair_comes_twice():
    rows = table(measure("sar", small_problem(2), fresh()), levels=["all"], quantities=["pair"])
    assert {(r["expert"], r["other"]) for r in rows} == {(a, b) for a in ("task0", "task1") for b in ("task0", "task1")}


def test_curves_come_only_when_named():
    found = measure("spectrum", small_problem(2), fresh())
    assert "index" not in table(found)[0]
    rows = table(found, quantities=["energy"], levels=["tensor"])
    assert len(rows) == 12 * 2 * 8
    assert {r["index"] for r in rows} == set(range(8))
    last = [r["energy"] for r in rows if r["index"] == 7]
    np.testing.assert_allclose(last, 1)
    found = measure("joint_overlap", small_problem(2), fresh(), components=3)
    terms = table(found, quantities=["terms"], levels=["all"])
    assert len(terms) == 9
    assert {(r["index"], r["across"]) for r in terms} == {(a, b) for a in range(3) for b in range(3)}


def test_table_values_are_those_of_the_arrays():
    found = measure("norms", small_problem(3), fresh())
    rows = table(found)
    assert len(rows) == len(found.rows) * 3
    for row in rows:
        which = {"tensor": row["tensor"], "block": row["block"], "all": None}.get(row["level"], row["kind"])
        position = found.index(row["level"], which)
        expert = found.models.index(row["expert"])
        assert row["length"] == found.length[position, expert]
        value = found.stable_rank[position, expert]
        assert row["stable_rank"] == (None if np.isnan(value) else value)
    assert any(row["stable_rank"] is None for row in rows), "a bias has no rank"


def test_unknown_quantities_and_rows_are_refused():
    found = measure("cosine", small_problem(2), fresh())
    with pytest.raises(RecipeError, match="Did you mean 'cosine'"):
        table(found, quantities=["cosines"])
    with pytest.raises(RecipeError, match="row of level 'block'"):
        found.index("block", 7)
    assert found.rows[found.index("block", 1)] == Row("block", block=1)
    assert found.rows[found.index("tensor", "norm.weight")].label == "norm.weight"
    assert [found.rows[i].block for i in found.indices("block")] == [0, 1]


@dataclasses.dataclass(frozen=True, eq=False)
class Sample(Measured):
    value: np.ndarray = dataclasses.field(metadata=metrics._measured.quantity("row expert", "Anything."))


def test_arrays_must_fit_their_axes_and_are_frozen():
    good = Sample(("a", "b"), (Row("all"),), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="read-only"):
        good.value[0, 0] = 1
    for shape in ((1, 3), (2, 2), (1,), (1, 2, 1)):
        with pytest.raises(ValueError, match="axes"):
            Sample(("a", "b"), (Row("all"),), np.zeros(shape))


# cost, and features


@pytest.mark.parametrize("method", ["task_arithmetic", "emr", "tall_mask", "tsv_c"])
def test_cost_adds_up_to_what_the_merge_says(method):
    problem = small_problem(3)
    merged = merge(problem, build_method(method), (), fresh())
    found = metrics.build("cost").measure(problem, merged, merge_seconds=2.5, disk=17)
    size = sum(w.numel() for w in problem.pretrained.values())
    assert found.parameters[0] == merged.stored_parameters
    np.testing.assert_allclose(found.parameters[found.indices("tensor")].sum(), merged.stored_parameters)
    np.testing.assert_allclose(found.relative[0], merged.stored_parameters / size)
    assert (found.relative[0] == 1) == (method == "task_arithmetic")
    assert found.experts[0] == 3 * size
    assert found.bytes[0] == 4 * found.parameters[0]
    assert (found.merge_seconds[0], found.disk[0]) == (2.5, 17)
    assert np.isnan(found.score_seconds).all()
    assert np.isnan(found.merge_seconds[1:]).all()
    assert table(found, levels=["all"])[0]["merge_seconds"] == 2.5


def test_features_of_other_inputs_are_refused():
    with pytest.raises(DataError, match="same inputs"):
        linear_cka(np.zeros((5, 2)), np.zeros((6, 2)))
    with pytest.raises(DataError, match="at least 4"):
        linear_cka(np.eye(3), np.eye(3))


def test_tensors_are_taken_like_arrays():
    features = {m: [torch.randn(6, 3, generator=torch.Generator().manual_seed(i))] for i, m in enumerate("ab")}
    arrays = {m: [f.numpy() for f in layers] for m, layers in features.items()}
    np.testing.assert_array_equal(
        metrics.build("cka").measure(features).cka, metrics.build("cka").measure(arrays).cka
    )
