"""Every method, router, store and measurement on another device: it computes there, and finds what the CPU finds."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import fresh

from merge_engine import metrics, routers
from merge_engine.adapting.live import Watch
from merge_engine.backbones import Backbone
from merge_engine.contract import Context
from merge_engine.devices import VARIABLE, chosen_device, fastest
from merge_engine.errors import RecipeError
from merge_engine.evaluate import Model, score
from merge_engine.hp import declared
from merge_engine.inputs import SuiteInputs
from merge_engine.knock_out import KnockOut, without_steps
from merge_engine.landscape.corners import of_recipe
from merge_engine.landscape.disentanglement import DisentanglementSurvey
from merge_engine.landscape.path import PathSurvey
from merge_engine.landscape.span import Span
from merge_engine.landscape.surface import PlaneSurvey
from merge_engine.maths import svd
from merge_engine.maths.svd import decompose
from merge_engine.merged import StaticMerged
from merge_engine.methods import build, registry
from merge_engine.routing.routed import RoutedMerged
from merge_engine.routing.told import told
from merge_engine.routing.twin_energy import energy_steps
from merge_engine.running import drive, merge, merge_steps
from merge_engine.runs.first_look import look_steps
from merge_engine.runs.measuring import measure_steps
from merge_engine.runs.run import recipe_for
from merge_engine.suite import Suite, load_suite
from merge_engine.training import suite_training
from viz.page.inputs.case import distances
from viz.page.inputs.insight import scores
from viz.page.own.usual import usual

CPU = torch.device("cpu")
SMALL = {"steps": 2, "batch": 4, "epochs": 2, "examples": 4, "train_inputs": 16, "iterations": 3}
EXPERTS, SHOWN = 2, 2  # experts, and inputs of every task
DETAIL = 6  # points along a side of a landscape
ON_WEIGHTS = {key for key, cls in metrics.registry().items() if issubclass(cls, metrics.WeightMetric)}
ASKS_FOR = {
    "coefficients": "adamerging", "mask_share": "adarank", "route_depth": "smile", "routing": "sim",
    "twin_energy": "twin_merging",
}  # fmt: skip
METHODS = {key: (key, {}) for key, cls in registry().items() if cls.kind != "post"}
POST = {f"task_arithmetic+{key}": ("task_arithmetic", {}, key) for key, cls in registry().items() if cls.kind == "post"}
OPTIONS = {
    "adamerging, ties": ("adamerging", {"base": "ties"}),
    "adamerging, cart": ("adamerging", {"base": "cart", "unit": "task"}),
    "adamerging, cart by energy, fused": ("adamerging", {"base": "cart", "rank_rule": "energy", "attention": "fused"}),
    "adamerging, oracle": ("adamerging", {"loss": "oracle"}),
    "adarank, soft cart": ("adarank", {"base": "cart", "soft": True}),
    "adarank, tsv_m fused": ("adarank", {"base": "tsv_m", "attention": "fused"}),
    "adarank, softmax": ("adarank", {"constraint": "softmax"}),
    "adarank, wide": ("adarank", {"constraint": "wide", "mask_rate": 0.05}),
    "adarank, oracle": ("adarank", {"loss": "oracle", "mask_rate": 0.1}),
    "fisher, batches": ("fisher", {"estimator": "batch-summed"}),
    "we_moe, low rank": ("we_moe", {"rank": 0.5, "depth": 1}),
    "we_moe, by batch": ("we_moe", {"routing": "batch", "depth": 0}),
    "rankone_moe, selecting": ("rankone_moe", {"components": 4, "select": 3}),
    "surgery, adamerging": ("surgery", {"base": "adamerging"}),
    "twin_merging, as published": ("twin_merging", {"protocol": "as published", "compression": "bernoulli"}),
    "twin_merging, exclusive": ("twin_merging", {"weights": "exclusive-only", "compression": "magnitude"}),
    "twin_merging, one-hot": ("twin_merging", {"weights": "one-hot", "shared": "ties"}),
    "tall_mask, validation": ("tall_mask", {"rule": "validation"}),
    "cart_indexed, fused": ("cart_indexed", {"attention": "fused"}),
    "smile, whole weights": ("smile", {"gate": "weight"}),
    "ensemble, probabilities": ("ensemble", {"average": "probabilities"}),
    "mass, by route": ("mass", {"head": "route", "first": "average"}),
    "mass, l1": ("mass", {"norm": "l1"}),
}
SIM = {
    **{f"sim, {router}": {"router": router} for router in ("mahalanobis", "nearest_mean", "nearest_neighbour",
                                                            "oracle", "weight_projection")},
    **{f"sim, {store}": {"store": store} for store in ("experts", "cart_indexed", "emr", "tall_mask")},
    **{f"sim, soft {store}": {"store": store, "decision": "soft"} for store in ("experts", "emr", "tsv_c")},
    "sim, top-2": {"decision": "top-2", "backbone": "average", "layer": 1},
    "sim, mean token": {"tokens": "mean", "decision": "soft"},
    "sim, vote": {"unit": "batch", "head": "given"},
    "sim, trained": {"router": "trained", "router_settings": "train_inputs=12, epochs=2"},
    "sim, validated masks": {"store": "tall_mask", "store_settings": "rule=validation"},
}  # fmt: skip
CASES = {**METHODS, **POST, **OPTIONS, **{name: ("sim", given) for name, given in SIM.items()}}


def method_of(key: str, given: dict):
    own = declared(registry()[key])
    return build(key, **{name: value for name, value in SMALL.items() if name in own} | given)


def merged_experts(key: str, toy) -> tuple[str, ...]:
    return toy.experts[: min(EXPERTS, registry()[key].experts_allowed[1] or EXPERTS)]


def merged_on(toy, where: torch.device, key: str, given: dict, post: str = ""):
    """Return a small merge that was made on a device, and the suite that scores there."""
    method, suite = method_of(key, given), toy.on(where)
    problem = suite.problem(merged_experts(key, toy), needs=method.needs)
    ctx = dataclasses.replace(fresh(), device=where)
    return merge(problem, method, (build(post),) if post else (), ctx), suite


def answers(merged, suite) -> dict[str, torch.Tensor]:
    """Return what a merge says about a few inputs of every task: logits, routes and picked experts."""
    model, found = Model(merged, suite), {}
    for task in suite.tasks if not merged.knows_task else merged.tasks:
        logits, said = model(suite.prepared(task, "score")[:SHOWN], task)
        given = {"logits": logits, "route": said.route, "picked": said.picked}
        found |= {f"{task} {name}": value for name, value in given.items() if value is not None}
    return found


@pytest.fixture
def passes(monkeypatch) -> list[torch.device]:
    """Where the weights of every forward pass lay."""
    seen, forward = [], Backbone.forward

    def watched(self, module, weights, inputs):
        seen.extend(value.device for value in (weights[name] for name in self.names(module)))
        return forward(self, module, weights, inputs)

    monkeypatch.setattr(Backbone, "forward", watched)
    return seen


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].device.type == "cpu"
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-2, msg=lambda m, n=name: f"{n}: {m}")


def places(passes: list[torch.device]) -> set[str]:
    return {where.type for where in passes}


@pytest.mark.parametrize("case", CASES)
def test_a_merge_made_there_answers_as_that_of_the_cpu(case, toy, device, passes):
    merged, suite = merged_on(toy, device, *CASES[case])
    found = answers(merged, suite)
    assert places(passes) == {device.type}
    if isinstance(merged, StaticMerged):
        assert places([value.device for value in merged.direction.values()]) == {device.type}
    same(found, answers(*merged_on(toy, CPU, *CASES[case])))


@pytest.mark.parametrize("case", ["average", "emr", "sim", "smile", "mass", "twin_merging", "ensemble", "surgery"])
def test_scores_count_the_same_and_can_be_read(case, toy, device):
    found, wanted = ((score(suite, merged, limit=4), merged) for merged, suite in (
        merged_on(toy, device, *CASES[case]), merged_on(toy, CPU, *CASES[case])
    ))  # fmt: skip
    assert found[1].stored_parameters == wanted[1].stored_parameters
    for task, known in wanted[0].items():
        assert abs(found[0][task].correct - known.correct) <= 1
        assert found[0][task].entropy == pytest.approx(known.entropy, abs=1e-2)
        said, known = found[0][task].said, known.said
        np.testing.assert_allclose(said.confidence, known.confidence, atol=1e-2)
        assert (said.route is None) == (known.route is None)


def test_a_merge_made_on_one_device_is_scored_on_another(toy, device, passes):
    for case in ("average", "sim, soft tsv_c", "twin_merging"):
        here, _ = merged_on(toy, CPU, *CASES[case])
        there, _ = merged_on(toy, device, *CASES[case])
        wanted = answers(here, toy)
        passes.clear()
        same(answers(there, toy), wanted)
        assert places(passes) == {"cpu"}
        same(answers(here, toy.on(device)), wanted)


@pytest.mark.parametrize("case", ["sim", "sim, soft emr", "twin_merging"])
def test_what_a_merge_reaches_when_told_is_that_of_the_cpu(case, toy, device, passes):
    made, suite = merged_on(toy, device, *CASES[case])
    knowing, known = told(made), told(merged_on(toy, CPU, *CASES[case])[0])
    assert knowing is not None
    assert known is not None
    passes.clear()
    found = answers(knowing, suite)
    assert places(passes) == {device.type}
    same(found, answers(known, toy))


@pytest.mark.parametrize("key", ["tsv_m", "adamerging"])
def test_knock_outs_are_merged_there(key, toy, device, passes):
    found = []
    for where in (device, CPU):
        whole, suite = merged_on(toy, where, key, {})
        outs = KnockOut(toy.experts[0], 1, "fc1", 0), KnockOut(toy.experts[1], 0, "q")
        ctx, problem = dataclasses.replace(fresh(), device=where), suite.problem(toy.experts[:EXPERTS])
        merged = drive(without_steps(problem, outs, method_of(key, {}), (), ctx, whole))
        assert isinstance(merged, StaticMerged)
        assert places([value.device for value in merged.direction.values()]) == {where.type}
        passes.clear()
        found.append(answers(merged, suite))
        assert places(passes) == {where.type}
        assert any(not torch.equal(value, found[-1][name]) for name, value in answers(whole, suite).items())
    same(*found)


def test_landscapes_go_through_merges_there(toy, device, passes, monkeypatch, tmp_path):
    found, built, at = [], [], Span.at

    def watched(self, *place):
        weights = at(self, *place)
        built.extend(value.device for value in weights.values())
        return weights

    monkeypatch.setattr(Span, "at", watched)
    for where in (device, CPU):
        monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / where.type))
        suite = toy.on(where)
        made = of_recipe(suite, recipe_for(suite, "regmean", {"examples": 4}))  # which looks at inputs
        beside = of_recipe(suite, recipe_for(suite, "ties"))
        passes.clear()
        built.clear()
        line = drive(PathSurvey(suite, (made, beside), 2).steps(DETAIL))
        plane = PlaneSurvey(suite, ("pretrained", "blob", made), 2)
        average = merge(suite.problem(), build("average"), (), Context(where))
        drive(plane.steps(DETAIL, {"merge": average}))
        pair = drive(DisentanglementSurvey(suite, ("blob", "grain"), 2).steps(DETAIL))
        assert places(passes) == places(built) == {where.type}
        surface = plane.surface({"merge": "Average"})
        assert surface is not None
        (marker,) = (m for m in surface.markers if m.merge)
        found.append([line.loss, surface.loss, marker.loss, [marker.x, marker.y, marker.off], pair.changed])
    changed = [values.pop() for values in found]
    for value, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-2, atol=1e-2)
    assert np.nanmean(np.abs(changed[0] - changed[1])) < 0.05  # a prediction may flip where two classes are as likely


def test_the_page_asks_routers_there(toy, device):
    read = []
    for where in (device, CPU):
        merged, suite = merged_on(toy, where, "sim", {"router": "mahalanobis"})
        assert isinstance(merged, RoutedMerged)
        inputs = suite.prepared("blob", "score")[:1]
        found = scores(suite, merged.router, torch.zeros(0), inputs)
        assert found.device.type == "cpu"
        read.append([distances(merged.router, found), usual(merged.router)])
    np.testing.assert_allclose(read[0][0], read[1][0], rtol=1e-3)
    np.testing.assert_allclose(read[0][1], read[1][1], rtol=1e-3)


def test_the_first_look_taken_there_is_that_of_the_cpu(toy, device, monkeypatch, tmp_path):
    taken, found = [], []
    monkeypatch.setattr(svd, "decompose", lambda matrix: found.append(matrix.device) or decompose(matrix))
    for where in (device, CPU):
        found.clear()
        monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / f"{where.type} cache"))
        files = drive(look_steps(toy.on(where), tmp_path / where.type))
        assert places(found) == {where.type}
        taken.append({file.name: np.load(file, allow_pickle=False) for file in files})
    assert taken[0].keys() == taken[1].keys()
    for name, wanted in taken[1].items():
        for part in wanted.files:
            if wanted[part].dtype.kind == "f":
                np.testing.assert_allclose(taken[0][name][part], wanted[part], rtol=1e-2, atol=1e-3, err_msg=name)


def test_a_router_is_trained_there(toy, device, passes):
    scores = []
    for where in (device, CPU):
        suite = toy.on(where)
        router = routers.build("trained", train_inputs=12, epochs=2)
        passes.clear()
        fitted = router.fit(suite.problem(toy.experts[:EXPERTS]), dataclasses.replace(fresh(), device=where))
        inputs = suite.prepared("blob", "score")[:SHOWN]
        with torch.inference_mode():
            scores.append(fitted.ready(SuiteInputs(suite))(inputs).cpu())
        assert places(passes) == {where.type}
    torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-3)


def test_corrupted_and_unseen_pictures_are_scored_there(toy, device, passes):
    merged, suite = merged_on(toy, device, "average", {})
    passes.clear()
    spoiled = suite.corrupted("jpeg", 3)
    found = score(spoiled, merged, (*toy.seen[:1], *toy.unseen), limit=4)
    assert [s.n for s in found.values()] == [4, 4]
    assert places(passes) == {device.type}
    wanted = score(toy.corrupted("jpeg", 3), merged, found, limit=4)
    assert [s.entropy for s in found.values()] == pytest.approx([s.entropy for s in wanted.values()], abs=1e-2)


def test_a_method_is_watched_where_it_adapts(toy, device, passes):
    curves = []
    for where in (device, CPU):
        suite = toy.on(where)
        steps = merge_steps(suite.problem(), method_of("adamerging", {"learning_rate": 0.05}), (), Context(where))
        watch = Watch(suite, toy.seen, pictures=4, clock=lambda: 0.0)  # every update is scored
        history = drive(watch.steps(steps)).history
        curves.append([history.entropy, [point.average for point in watch.points]])
        if where == device:
            assert places(passes) == {device.type}
    np.testing.assert_allclose(curves[0][0], curves[1][0], rtol=1e-3)
    assert curves[0][1] == pytest.approx(curves[1][1], abs=100 / 16)


@pytest.mark.parametrize("key", metrics.registry())
def test_a_measurement_taken_there_is_that_of_the_cpu(key, toy, device, passes, monkeypatch, tmp_path):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))
    rows, method = [], ASKS_FOR.get(key, "task_arithmetic")
    for where in (device, CPU):
        merged, suite = merged_on(toy, where, method, {})
        ctx, metric = dataclasses.replace(fresh(), device=where), metrics.build(key)
        names = [n for n in toy.pretrained_in_memory if ".1.mlp.fc" in n] if key in ON_WEIGHTS else None
        passes.clear()
        problem = suite.problem(merged_experts(method, toy))
        steps = measure_steps(metric, problem, suite, merged, ctx, names=names, limit=4)
        rows.append(metrics.table(drive(steps), quantities=None, levels=metrics.LEVELS))
        assert places(passes) <= {where.type}
        monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "again"))
    found, wanted = ([{n: v for n, v in row.items() if isinstance(v, float)} for row in table] for table in rows)
    assert [row.keys() for row in found] == [row.keys() for row in wanted]
    for row, known in zip(found, wanted, strict=True):
        assert row == pytest.approx(known, rel=1e-3, abs=1e-3, nan_ok=True)


def test_energies_of_a_twin_merge_are_those_of_the_cpu(toy, device):
    problem, merges = toy.problem(toy.experts[:EXPERTS]), (merged_on(toy, d, "twin_merging", {}) for d in (device, CPU))
    found, wanted = (drive(energy_steps(problem, merged)) for merged, _ in merges)
    for name in ("shared", "exclusive", "kept"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-3)


def test_what_does_not_converge_is_tried_again_there(device, monkeypatch):
    def fails(*_):
        raise torch.linalg.LinAlgError("did not converge")

    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    wanted = decompose(matrix)
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    found = decompose(matrix.to(device))
    torch.testing.assert_close(found.matrix().cpu(), wanted.matrix(), rtol=1e-4, atol=1e-5)


def test_an_expert_trained_there_is_that_of_the_cpu(toy, device, passes, monkeypatch, tmp_path):
    monkeypatch.setattr(suite_training, "QUICK_PICTURES", 64)
    found = []
    for where in (device, CPU):
        out = tmp_path / where.type
        passes.clear()
        drive(suite_training.train_suite(toy.folder, out, quick=True, experts=toy.experts[:1], device=where))
        assert places(passes) == {where.type}
        expert = Suite(out).expert(toy.experts[0])
        found.append({n: expert[n] - toy.pretrained_in_memory[n] for n in expert})
    gap = sum(float((found[0][n] - value).square().sum()) for n, value in found[1].items())
    assert gap < 0.01 * sum(float(value.square().sum()) for value in found[1].values())


ASKED = {
    "merge": ("--method", "sim", "--evaluate", "--limit", "2"),
    "inspect": ("--metric", "cosine"),
    "sweep": ("--method", "task_arithmetic", "--over", "scaling=0.1,0.3", "--limit", "2"),
    "landscape": ("--models", "pretrained,blob,ties", "--merge", "average", "--path", "grain,average",
                  "--disentangle", "blob,grain", "--pictures", "1", "--detail", "6"),
    "table": ("--methods", "average", "--limit", "2", "--validation", "2"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_commands_run_where_they_are_told(name, command, device, passes, monkeypatch, tmp_path):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))
    code, out, err = command(name, "--suite", "toy", *ASKED[name], "--device", device.type, "--json", "-")
    assert code == 0, err
    assert json.loads(out)
    assert places(passes) == ({device.type} if name != "inspect" else set())


def test_a_device_that_is_not_there_is_refused_by_every_command(command):
    for name, asked in {**ASKED, "train": ()}.items():
        suite = ("toy",) if name == "train" else ("--suite", "toy")
        code, _, err = command(name, *suite, *asked, "--device", "cuda:99")
        assert (code, err.count("\n")) == (2, 1)
        assert "Device 'cuda:99' is not on this machine; choose one of cpu" in err


def test_the_environment_names_the_device_of_suites(toy_folder, device, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert chosen_device() == CPU
    assert Suite(toy_folder).device == CPU
    monkeypatch.setenv(VARIABLE, str(device))
    load_suite.cache_clear()
    assert load_suite(str(toy_folder)).device == device
    assert chosen_device("cpu") == CPU
    monkeypatch.setenv(VARIABLE, "moon")
    with pytest.raises(RecipeError, match="Device 'moon' is not on this machine; choose one of cpu"):
        chosen_device()
    load_suite.cache_clear()
    assert (fastest() == "cuda") == torch.cuda.is_available()
