"""SiM: its routes over every store, alone and in batches, hard and blended, and what it is told."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import moved_outside

from merge_engine import routers
from merge_engine.contract import Context
from merge_engine.errors import RecipeError
from merge_engine.evaluate import score
from merge_engine.hp import declared
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from merge_engine.merged import PerTaskMerged
from merge_engine.methods import build, registry
from merge_engine.routing import stores
from merge_engine.routing.routed import BlendedMerged, RoutedMerged
from merge_engine.running import merge
from merge_engine.tensorwise import StoreMerge

TASKS = 3


@pytest.fixture(scope="module")
def svd() -> SvdStore:
    """Decompositions shared by the tests of this file."""
    return SvdStore(folder=None)


def fit(toy, svd, tasks: int = TASKS, problem=None, **parameters):
    problem = problem or toy.problem(toy.experts[:tasks])
    return merge(problem, build("sim", examples=8, **parameters), (), Context(svd=svd))


def mixture(toy, each: int = 2) -> torch.Tensor:
    """Return inputs of several tasks, shuffled."""
    inputs = torch.cat([toy.prepared(task, "score")[:each] for task in toy.seen])
    return inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))]


def predict(merged, toy, inputs, task=None):
    with torch.inference_mode():
        return merged.predictor(SuiteInputs(toy))(inputs, task)


def test_every_store_and_router_can_be_chosen():
    choices = {name: hp.choices for name, hp in declared(registry()["sim"]).items()}
    kept = {key for key, cls in registry().items() if issubclass(cls, StoreMerge)}
    assert set(choices["store"]) == {"experts"} | kept
    assert {"tsv_c", "emr", "tall_mask"} < kept
    assert set(choices["router"]) == set(routers.registry())


@pytest.mark.parametrize("store", stores.stores())
def test_a_batch_equals_every_input_alone_through_its_expert(toy, svd, store):
    merged = fit(toy, svd, store=store)
    assert isinstance(merged, RoutedMerged)
    inputs, network = mixture(toy), SuiteInputs(toy)
    said, ready = predict(merged, toy, inputs), merged.router.ready(network)
    for i, x in enumerate(inputs):
        with torch.inference_mode():
            chosen = int(ready(x[None]).argmax())
            alone = network.features(dict(merged.weights(merged.tasks[chosen])), x[None])[0]
        assert int(said.picked[i]) == chosen
        torch.testing.assert_close(said.features[i], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(said.route.argmax(-1)[:, 0], said.picked)
    assert len(set(said.picked.tolist())) > 1
    assert merged.forwards == 2


def test_a_store_keeps_what_its_method_would(toy, svd):
    problem = toy.problem(toy.experts[:TASKS])
    for store in stores.stores():
        merged = fit(toy, svd, store=store)
        if store == "experts":
            wanted = problem.experts
            size = sum(problem.pretrained[n].numel() for n in problem.pretrained)
            assert merged.store.stored_parameters == (1 + TASKS) * size
        else:
            kept = merge(problem, build(store), (), Context(svd=svd))
            wanted = {t: kept.weights(t) for t in problem.tasks}
            assert merged.store.stored_parameters == kept.stored_parameters
        for task, weights in wanted.items():
            for name in list(problem.pretrained)[::7]:
                torch.testing.assert_close(merged.weights(task)[name], weights[name].float(), rtol=0, atol=1e-6)
        assert merged.stored_parameters == merged.store.stored_parameters + merged.router.stored_parameters


@pytest.mark.parametrize("store", stores.stores())
def test_g1_one_expert_is_that_expert(toy, svd, store):
    problem, inputs = toy.problem(toy.experts[:1]), mixture(toy, 1)
    said = predict(fit(toy, svd, problem=problem, store=store), toy, inputs)
    with torch.inference_mode():
        wanted = SuiteInputs(toy).features(dict(problem.experts[problem.tasks[0]]), inputs)
    torch.testing.assert_close(said.features, wanted, rtol=1e-3, atol=1e-3)
    assert (said.picked == 0).all()


@pytest.mark.parametrize("store", ["experts", "tall_mask"])
def test_g2_identical_experts_are_that_expert_wherever_it_routes(toy, svd, store):
    problem = toy.problem(toy.experts[:TASKS])
    one = problem.experts[problem.tasks[0]]
    same = dataclasses.replace(problem, experts=dict.fromkeys(problem.tasks, one))
    merged, inputs = fit(toy, svd, problem=same, store=store), mixture(toy, 2)
    said = predict(merged, toy, inputs)
    served = dict(one) if store == "experts" else dict(merged.weights(problem.tasks[0]))
    with torch.inference_mode():
        wanted = SuiteInputs(toy).features(served, inputs)
    torch.testing.assert_close(said.features, wanted, rtol=1e-3, atol=1e-4)
    assert len(set(said.picked.tolist())) > 1


@pytest.mark.parametrize("router", ["subspace", "mahalanobis", "weight_projection"])
def test_g3_the_order_of_tasks_changes_no_route(toy, svd, router):
    problem = toy.problem(toy.experts[:TASKS])
    backwards = dataclasses.replace(problem, experts=dict(reversed(problem.experts.items())))
    inputs = mixture(toy)
    there = fit(toy, svd, problem=problem, router=router)
    back = fit(toy, svd, problem=backwards, router=router)
    said, again = predict(there, toy, inputs), predict(back, toy, inputs)
    assert [there.tasks[i] for i in said.picked] == [back.tasks[i] for i in again.picked]
    torch.testing.assert_close(said.features, again.features, rtol=1e-3, atol=1e-4)


def test_parameters_reach_the_router(toy):
    method = build("sim", rank=3, centring="global", residual="relative", calibration="leave-one-out",
                   normalise=False, backbone="average", layer=2, draw=4, examples=9, energy=0.5)  # fmt: skip
    chosen = method.chooser()
    assert chosen == routers.build("subspace", **chosen.__dict__)
    assert {chosen.__dict__[n] == v for n, v in method.parameters().items() if n in chosen.__dict__} == {True}
    assert len(chosen.__dict__) == len(method.parameters()) - 3
    assert method.replace(router="nearest_mean").chooser() == routers.build(
        "nearest_mean", normalise=False, backbone="average", layer=2, draw=4, examples=9
    )


def test_the_true_task_is_asked_for_only_by_the_oracle(toy, svd):
    assert build("sim").needs == {"support"}
    assert build("sim", router="weight_projection").needs == frozenset()
    oracle = build("sim", router="oracle")
    assert oracle.needs == {"task id"}
    assert oracle == build("sim", router="oracle")
    merged = fit(toy, svd, router="oracle")
    assert merged.knows_task
    assert not fit(toy, svd).knows_task
    assert any("true task" in note for note in merged.notes)
    task = merged.tasks[1]
    inputs = toy.prepared(task, "score")[:4]
    said = predict(merged, toy, inputs, task)
    known = predict(PerTaskMerged(merged.store.pretrained, merged.tasks, merged.store.parts), toy, inputs, task)
    assert torch.equal(said.features, known.features)
    assert merged.forwards == 1


def test_without_data_it_routes_by_weights_alone(toy, svd):
    problem = dataclasses.replace(toy.problem(toy.experts[:TASKS]), inputs=None)
    merged = fit(toy, svd, problem=problem, router="weight_projection")
    assert predict(merged, toy, mixture(toy, 1)).picked.max() < TASKS


def test_a_rank_above_the_examples_is_said_to_be_lowered(toy, svd):
    assert any("at most 7 dimensions; rank 16 is lowered" in note for note in fit(toy, svd).notes)
    assert fit(toy, svd, rank=7).notes == ()
    assert not fit(toy, svd, rank=8, centring="none").notes


@pytest.mark.parametrize(("decision", "store"), [("soft", "tsv_c"), ("top-2", "experts"), ("soft", "emr")])
def test_a_blend_is_one_dense_model_per_input_with_the_head_of_the_best(toy, svd, decision, store):
    problem = moved_outside(toy.problem(toy.experts[:TASKS]))
    merged = fit(toy, svd, problem=problem, decision=decision, store=store)
    assert isinstance(merged, BlendedMerged)
    inputs, network = mixture(toy, 1), SuiteInputs(toy)
    said, hard = predict(merged, toy, inputs), fit(toy, svd, problem=problem, store=store)
    assert torch.equal(said.picked, predict(hard, toy, inputs).picked)
    assert torch.equal(said.route.argmax(-1)[:, 0], said.picked)
    assert ((said.route[:, 0] > 0).sum(1) <= (2 if decision == "top-2" else TASKS)).all()
    for x, w, features in zip(inputs, said.route[:, 0], said.features, strict=True):
        dense = {
            n: base + sum(w[t] * (hard.weights(task)[n] - base) for t, task in enumerate(hard.tasks))
            for n, base in toy.pretrained_in_memory.items()
        }
        with torch.inference_mode():
            torch.testing.assert_close(features, network.features(dense, x[None])[0], rtol=1e-3, atol=1e-3)
    assert merged.forwards == 2


def test_a_blend_of_sharp_weights_is_the_hard_route(toy, svd):
    merged, inputs = fit(toy, svd, decision="soft"), mixture(toy, 1)
    sharp = dataclasses.replace(merged, weighting=dataclasses.replace(merged.weighting, sigma=0.0))
    hard = predict(fit(toy, svd), toy, inputs)
    torch.testing.assert_close(predict(sharp, toy, inputs).features, hard.features, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_blended_is_refused(toy, svd):
    for router in ("oracle", "weight_projection"):
        with pytest.raises(RecipeError, match="scores on a support set, which router="):
            fit(toy, svd, decision="top-2", router=router)


def test_it_scores_a_suite_and_needs_both_the_right_expert_and_the_right_class(toy, svd):
    merged = fit(toy, svd, tasks=4, store="experts")
    known = score(toy, merged.store, toy.seen, limit=24)
    found = score(toy, merged, toy.seen, limit=24)
    for task in toy.seen:
        right = found[task].routed[task]
        assert found[task].correct <= min(right, known[task].correct + 24 - right)
    assert sum(s.routed[t] for t, s in found.items()) > 0.4 * 4 * 24
