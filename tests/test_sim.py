"""SiM: its routes over every store, alone and in batches, hard and blended, and what it is told."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from conftest import moved_outside
from reference import per_input as slow
from reference import routing as naive

from merge_engine import routers
from merge_engine.contract import Context
from merge_engine.errors import DataError, RecipeError
from merge_engine.evaluate import score
from merge_engine.hp import declared
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from merge_engine.merged import BATCH, PerTaskMerged
from merge_engine.methods import build, registry
from merge_engine.routers._support import GAP_FOLDS
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
            alone = network.features(dict(merged.store.weights(merged.tasks[chosen])), x[None])[0]
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
                torch.testing.assert_close(merged.store.weights(task)[name], weights[name].float(), rtol=0, atol=1e-6)
        model = sum(problem.pretrained[n].numel() for n in problem.pretrained)
        kept = merged.store.stored_parameters + merged.router.stored_parameters
        read = {"pretrained": store == "cart_indexed", "average": store != "cart_indexed", "tsv_m": True}
        for backbone, more in read.items():
            looking = dataclasses.replace(merged.router.look, reads=backbone)
            router = routers.Fitted(looking, merged.router.support, merged.router._fit)
            found = dataclasses.replace(merged, router=router)
            assert found.stored_parameters == kept + more * model, (store, backbone)


@pytest.mark.parametrize("store", stores.stores())
def test_a_blend_of_a_store_keeps_what_the_store_keeps(toy, svd, store):
    """Masks are unpacked to be blended, and tensors that no expert changed are left out; neither is stored so."""
    hard, soft = (fit(toy, svd, store=store, decision=decision) for decision in ("hard", "soft"))
    assert soft.stored_parameters == hard.stored_parameters


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
    served = dict(one) if store == "experts" else dict(merged.store.weights(problem.tasks[0]))
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
    alone = {"router", "store", "decision", "unit", "head", "router_settings", "store_settings"}
    assert set(method.parameters()) - set(chosen.__dict__) == alone
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
    assert ((said.route[:, 0] > 0).sum(1) == (2 if decision == "top-2" else TASKS)).all()
    for x, w, features in zip(inputs, said.route[:, 0], said.features, strict=True):
        dense = {
            n: base + sum(w[t] * (hard.store.weights(task)[n] - base) for t, task in enumerate(hard.tasks))
            for n, base in toy.pretrained_in_memory.items()
        }
        with torch.inference_mode():
            torch.testing.assert_close(features, network.features(dense, x[None])[0], rtol=1e-3, atol=1e-3)
    assert merged.forwards == 2


@pytest.mark.parametrize("decision", ["hard", "soft", "top-2"])
def test_sim_equals_loops_in_float64(toy, svd, decision):
    """Support features, manifolds, σ, weights, compressed experts and the pass, one input at a time."""
    problem, network = toy.problem(toy.experts[:TASKS]), SuiteInputs(toy)
    merged, inputs = fit(toy, svd, decision=decision, rank=3), mixture(toy, 1)
    base, experts = slow.double(problem.pretrained), [slow.double(problem.experts[t]) for t in problem.tasks]
    kinds = ("q", "k", "v", "out", "fc1", "fc2")
    stored = slow.tsv_c(base, experts, [n for n in base if toy.backbone.place(n).kind in kinds])

    def feature(x):
        z = network.features(base, x[None].double())[0].double().numpy()
        return z / np.linalg.norm(z)

    support = [np.stack([feature(x) for x in network.support(task, 8)]) for task in problem.tasks]
    sigma = naive.gap(support, lambda left, t, z: -naive.residual(left, t, z, 3), GAP_FOLDS)
    said = predict(merged, toy, inputs)
    for x, route, picked, features in zip(inputs, said.route[:, 0], said.picked, said.features, strict=True):
        scores = np.array([-naive.residual(support, t, feature(x), 3) for t in range(TASKS)])
        assert int(picked) == scores.argmax()
        w = np.eye(TASKS)[scores.argmax()]
        if decision != "hard":
            w = np.zeros(TASKS)
            best = sorted(range(TASKS), key=lambda t: -scores[t])[: 2 if decision == "top-2" else TASKS]
            w[best] = slow.softmax(scores[best] / sigma)
        np.testing.assert_allclose(route, w, atol=2e-4)
        parts = [{n: own[n] - base[n] for n in base} for own in stored]
        torch.testing.assert_close(features, slow.mixed(network, base, parts, w, x), rtol=1e-4, atol=1e-4)


def test_experts_that_changed_nothing_still_bring_their_heads(toy, svd):
    """No layer has a share; the best score picks the head all the same, and the route tells the weights."""
    problem = toy.problem(toy.experts[:TASKS])
    same = dataclasses.replace(problem, experts=dict.fromkeys(problem.tasks, problem.pretrained))
    inputs, hard = mixture(toy, 2), fit(toy, svd)
    for decision in ("soft", "top-2"):
        merged = fit(toy, svd, problem=same, store="experts", decision=decision)
        assert not merged.shares
        said = predict(merged, toy, inputs)
        assert torch.equal(said.picked, predict(hard, toy, inputs).picked)
        assert len(set(said.picked.tolist())) > 1
        assert said.route.shape == (len(inputs), 1, TASKS)
        assert torch.equal(said.route[:, 0].argmax(1), said.picked)


def test_several_batches_at_once_say_what_each_does_alone(toy, svd):
    merged, inputs = fit(toy, svd), mixture(toy, 40)
    assert len(inputs) > 2 * BATCH
    assert merged.window > 1
    assert fit(toy, svd, unit="batch").window == 1, "a vote is of one batch"
    whole, parts = predict(merged, toy, inputs), [predict(merged, toy, part) for part in inputs.split(BATCH)]
    assert torch.equal(whole.picked, torch.cat([part.picked for part in parts]))
    torch.testing.assert_close(whole.features, torch.cat([part.features for part in parts]), rtol=1e-4, atol=1e-5)


def test_a_batch_votes_and_says_that_it_leaks(toy, svd):
    merged, inputs = fit(toy, svd, unit="batch"), mixture(toy, 2)
    one = fit(toy, svd)
    wanted = predict(one, toy, inputs).picked
    said = predict(merged, toy, inputs)
    assert (said.picked == wanted.bincount().argmax()).all()
    assert len(set(wanted.tolist())) > 1
    served = dict(merged.store.weights(merged.tasks[int(said.picked[0])]))
    with torch.inference_mode():
        torch.testing.assert_close(said.features, SuiteInputs(toy).features(served, inputs), rtol=1e-4, atol=1e-5)
    assert any("what it gains over routing by input" in note for note in merged.notes)
    for refused in ({"unit": "batch"}, {"head": "given"}):
        with pytest.raises(RecipeError, match="decision=hard alone"):
            fit(toy, svd, decision="soft", **refused)


def test_a_given_head_is_what_wrong_heads_cost(toy, svd):
    """The same routes and features; the true head can still read a wrong expert right."""
    routed, given = fit(toy, svd, store="experts"), fit(toy, svd, store="experts", head="given")
    inputs = mixture(toy)
    assert predict(given, toy, inputs).picked is None
    torch.testing.assert_close(predict(given, toy, inputs).features, predict(routed, toy, inputs).features)
    assert torch.equal(predict(given, toy, inputs).route, predict(routed, toy, inputs).route)
    scores = [score(toy, merged, toy.experts[:TASKS], limit=32) for merged in (routed, given)]
    assert all(scores[0][t].correct <= scores[1][t].correct for t in scores[0])
    assert sum(s.correct for s in scores[0].values()) < sum(s.correct for s in scores[1].values())
    assert any("upper bound" in note for note in given.notes)


def test_parameters_of_its_router_and_its_store_can_be_set(toy, svd):
    method = build("sim", router="mahalanobis", router_settings=" shrinkage = 0.50,covariance=task", examples=8)
    assert method.router_settings == "covariance=task, shrinkage=0.5"
    assert method == build("sim", router="mahalanobis", router_settings="covariance=task,shrinkage=.5", examples=8)
    assert method.chooser() == routers.build("mahalanobis", shrinkage=0.5, covariance="task", examples=8)
    assert build("sim", router="trained", router_settings="epochs=3").chooser() == routers.build("trained", epochs=3)
    merged = fit(toy, svd, store="cart_indexed", store_settings="rank=0.5, coefficient=0.8")
    indexed = build("cart_indexed", rank=0.5, coefficient=0.8)
    kept = merge(toy.problem(toy.experts[:TASKS]), indexed, (), Context(svd=svd))
    name = next(n for n in toy.pretrained_in_memory if "fc1.weight" in n)
    assert torch.equal(merged.store.weights(merged.tasks[0])[name], kept.weights(merged.tasks[0])[name])
    own = {"store": "tall_mask", "store_settings": "thresholds=0.2 0.4 3"}
    masked = fit(toy, svd, **own)
    assert build("sim", **own).store_settings == "thresholds=0.2 0.4 3.0"
    assert masked.store.parts[name].mask(2).sum() < masked.store.parts[name].mask(0).sum()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"router_settings": "shrinkage=0.1"}, "No parameter of subspace to set named 'shrinkage'"),
        ({"router": "mahalanobis", "router_settings": "shrinkag=0.1"}, "Did you mean 'shrinkage'"),
        ({"router": "mahalanobis", "router_settings": "shrinkage=7"}, "mahalanobis.shrinkage must be a number in"),
        ({"router": "mahalanobis", "router_settings": "draw=4"}, "parameter of mahalanobis to set named 'draw'"),
        ({"store": "experts", "store_settings": "rank=1"}, "No parameter of experts to set named 'rank'"),
        ({"store_settings": "rank"}, "SiM.store_settings must be NAME=VALUE, separated by commas, or nothing; got"),
        ({"store_settings": "a=1,a=2"}, "SiM.store_settings must be"),
    ],
)
def test_what_cannot_be_set_is_refused(given, sentence):
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        build("sim", **given)


def test_thresholds_of_a_mask_store_can_be_chosen_on_validation(toy, svd):
    method = build("sim", store="tall_mask", store_settings="rule=validation")
    assert method.needs == {"support", "validation labels"}
    problem = toy.problem(toy.experts[:TASKS])
    with pytest.raises(DataError, match="declare `validation labels`"):
        fit(toy, svd, problem=problem, store="tall_mask", store_settings="rule=validation")
    open_ = toy.problem(toy.experts[:TASKS], needs=method.needs)
    merged = fit(toy, svd, problem=open_, store="tall_mask", store_settings="rule=validation")
    tried, best = (0.4, 0.2, 0.3, 0.5, 0.6), []
    found = {v: merge(problem, build("tall_mask", threshold=v), (), Context(svd=svd)) for v in tried}
    for task in problem.tasks:
        share = {v: score(toy, found[v], [task], split="validation")[task] for v in tried}
        assert all(s.n <= 100 for s in share.values()), "all validation inputs count, whatever their order"
        best.append(max(tried, key=lambda v, share=share: share[v].correct))
    chosen = merge(problem, build("tall_mask", thresholds=tuple(best)), (), Context(svd=svd))
    for task in problem.tasks:
        for name in list(problem.pretrained)[::5]:
            assert torch.equal(merged.store.weights(task)[name], chosen.weights(task)[name])
    said = ", ".join(f"{task} {value:g}" for task, value in zip(problem.tasks, best, strict=True))
    assert any(said in note for note in merged.notes)


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
