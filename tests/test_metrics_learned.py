"""Measurements of merges that adapt or route layer by layer: against loops, refusals, and from the command line."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from conftest import fresh

from merge_engine import metrics
from merge_engine.adapting.history import History
from merge_engine.errors import RecipeError
from merge_engine.evaluate import predictions, score
from merge_engine.merged import StaticMerged
from merge_engine.methods import build
from merge_engine.routing.twin_energy import Energies, energy_steps
from merge_engine.running import drive, merge
from merge_engine.runs.measuring import measure_steps

FEW, LIMIT = {"steps": 2, "batch": 2}, 6
WAYS = {
    "twin_merging": {"examples": 16, "epochs": 1, "rank_share": 0.3}, "smile": {}, "dawin": {},
    "sim": {"examples": 8, "rank": 4}, "we_moe": FEW, "average": {}, "emr": {}, "ensemble": {},
    "adarank": {**FEW, "base": "cart", "mask_rate": 0.5}, "adamerging": FEW,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(toy):
    """Merges of three experts by method, each made once."""

    @cache
    def of(method: str, **more):
        return merge(toy.problem(toy.experts[:3]), build(method, **{**WAYS[method], **more}), (), fresh())

    return of


def measured(toy, key: str, merged, **options):
    return drive(measure_steps(metrics.build(key), toy.problem(toy.experts[:3]), toy, merged, limit=LIMIT, **options))


# energies


def test_energies_stand_by_block_below_their_sums(toy, made):
    merged, problem = made("twin_merging"), toy.problem(toy.experts[:3])
    found, energies = measured(toy, "twin_energy", merged), drive(energy_steps(problem, merged))
    assert [row.block for row in found.rows] == [None, *energies.blocks]
    for name in ("shared", "exclusive", "kept"):
        assert getattr(found, name)[1:] == pytest.approx(getattr(energies, name))
    inside = [n for n in problem.pretrained if toy.backbone.place(n).block is not None]
    model = merged.weighting.router.model
    for t, expert in enumerate(problem.experts.values()):
        whole = sum(float((expert[n] - model[n]).double().square().sum()) for n in inside)
        assert found.exclusive[0, t] == pytest.approx(whole, rel=1e-4)
        assert found.kept_share[0, t] == pytest.approx(energies.kept[:, t].sum() / whole, rel=1e-4)
    assert (found.kept_share < 1).all()


def test_an_expert_with_nothing_of_its_own_keeps_no_share():
    exclusive, kept = np.array([[4.0, 0], [1.0, 0]]), np.array([[1.0, 0], [1.0, 0]])
    found = metrics.build("twin_energy").measure(Energies(("a", "b"), (2, 5), np.array([1.0, 2.0]), exclusive, kept))
    assert found.shared.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(found.kept_share, [[0.4, np.nan], [0.25, np.nan], [1, np.nan]])


# masks and coefficients


def test_masks_are_counted_one_by_one(toy, made):
    history = made("adarank").history
    found = measured(toy, "mask_share", made("adarank"))
    names = [row.tensor for row in found.rows if row.tensor]
    assert sorted(names) == sorted(history.ranks)
    assert (found.switched_on + found.switched_off).any()
    rows = {"all": (lambda name: True), "block": (lambda name: toy.backbone.place(name).block == 1)}
    which = {"all": found.index("all"), "block": found.index("block", 1)}
    rows |= {name: (lambda other, name=name: other == name) for name in names}
    which |= {name: found.index("tensor", name) for name in names}
    for key, inside in rows.items():
        for t in range(3):
            on = begun = come = gone = total = 0
            for name in filter(inside, names):
                bits = [np.unpackbits(history.states[at][f"masks/{name}"][t])[: history.ranks[name]] for at in (-1, 0)]
                for now, before in zip(*bits, strict=True):
                    on, begun, total = on + int(now), begun + int(before), total + 1
                    come, gone = come + int(now > before), gone + int(before > now)
            here = [getattr(found, q)[which[key], t] for q in ("kept", "start", "switched_on", "switched_off")]
            assert here == pytest.approx([count / total for count in (on, begun, come, gone)])
            assert found.components[which[key], t] == on


@pytest.mark.parametrize("method", ["adarank", "adamerging"])
def test_coefficients_are_those_of_the_last_state(toy, made, method):
    history, found = made(method).history, measured(toy, "coefficients", made(method))
    first, last = history.states[0]["coefficients"], history.states[-1]["coefficients"]
    assert (first != last).any()
    for n, name in enumerate(history.tensors):
        row = found.index("tensor", name)
        assert found.coefficient[row] == pytest.approx(last[:, n])
        assert found.start[row] == pytest.approx(first[:, n])
        assert found.change[row] == pytest.approx(last[:, n] - first[:, n], abs=1e-7)
    assert found.coefficient[0] == pytest.approx(last.mean(1))
    inside = [n for n, name in enumerate(history.tensors) if toy.backbone.place(name).block == 2]
    assert found.coefficient[found.index("block", 2)] == pytest.approx(last[:, inside].mean(1))


def test_one_coefficient_for_all_tensors_stands_in_every_row(toy, made):
    merged = made("adamerging", unit="task")
    last = merged.history.states[-1]["coefficients"]
    assert last.shape == (3, 1)
    found = measured(toy, "coefficients", merged)
    assert found.coefficient == pytest.approx(np.repeat(last.T, len(found.rows), 0))


# routes


@pytest.mark.parametrize("method", ["smile", "we_moe", "twin_merging"])
def test_weights_are_means_over_inputs_and_layers(toy, made, method):
    merged = made(method)
    found, layers = measured(toy, "route_depth", merged), [f"{path}.weight" for path in merged.shares]
    assert found.inputs.tolist() == [LIMIT] * 3
    for t, task in enumerate(toy.experts[:3]):
        route = predictions(toy, merged, task, limit=LIMIT).route.astype(float)
        for j, name in enumerate(layers):
            row = found.index("tensor", name)
            for u in range(3):
                assert found.weight[row, t, u] == pytest.approx(sum(x[j, u] for x in route) / LIMIT, abs=1e-5)
                first = sum(x[j].argmax() == u for x in route)
                assert found.largest[row, t, u] == pytest.approx(first / LIMIT)
        block = [j for j, name in enumerate(layers) if toy.backbone.place(name).block == 1]
        assert found.weight[found.index("block", 1), t] == pytest.approx(route[:, block].mean((0, 1)), abs=1e-5)
        assert found.own[0, t] == pytest.approx(route[..., t].mean(), abs=1e-5)


def test_they_are_the_weights_that_the_page_draws(toy, made):
    found, scores = measured(toy, "route_depth", made("smile")), score(toy, made("smile"), toy.experts[:3], limit=LIMIT)
    rows = found.indices("tensor")
    for t, task in enumerate(toy.experts[:3]):
        np.testing.assert_array_equal(found.weight[rows, t], scores[task].by_layer.mean.astype(float))


def test_layers_without_a_name_are_one_row(toy, made):
    """DaWin unpacks its store only to predict, so nothing says which layers its weights belong to."""
    found = measured(toy, "route_depth", made("dawin"))
    assert [row.level for row in found.rows] == ["all"]
    for t, task in enumerate(toy.experts[:3]):
        route = predictions(toy, made("dawin"), task, limit=LIMIT).route
        assert found.weight[0, t] == pytest.approx(route.mean((0, 1)), abs=1e-5)


# refusals


@pytest.mark.parametrize(("key", "method", "said"), [
    ("twin_energy", "average", "choose Twin-Merging"), ("twin_energy", "smile", "choose Twin-Merging"),
    ("mask_share", "average", "such as AdaRank"), ("mask_share", "adamerging", "such as AdaRank"),
    ("mask_share", "we_moe", "such as AdaRank"), ("coefficients", "average", "such as AdaMerging or AdaRank"),
    ("coefficients", "sim", "such as AdaMerging or AdaRank"), ("coefficients", "we_moe", "learned no merging"),
    ("route_depth", "average", "such as WEMoE or SMILE"), ("route_depth", "sim", "layer by layer"),
    ("route_depth", "emr", "layer by layer"), ("route_depth", "ensemble", "layer by layer"),
])  # fmt: skip
def test_a_merge_without_it_is_refused_in_a_sentence(toy, made, key, method, said):
    with pytest.raises(RecipeError, match=said):
        measured(toy, key, made(method))


@pytest.mark.parametrize("key", ["twin_energy", "mask_share", "coefficients", "route_depth"])
def test_a_merge_must_be_given(toy, key):
    with pytest.raises(RecipeError, match="needs a merged model"):
        measured(toy, key, None)


def test_an_adaptation_that_has_not_begun_has_learned_nothing(toy):
    merged = StaticMerged(toy.pretrained, {}, {}, history=History(toy.experts[:3], ranks={"x": 4}))
    for key in ("mask_share", "coefficients"):
        with pytest.raises(RecipeError, match="learned no m"):
            measured(toy, key, merged)


# the command line


@pytest.mark.parametrize(("key", "method", "quantities"), [
    ("twin_energy", "twin_merging", {"shared", "exclusive", "kept", "kept_share"}),
    ("mask_share", "adarank", {"kept", "start", "switched_on", "switched_off", "components"}),
    ("coefficients", "adamerging", {"coefficient", "start", "change"}),
    ("route_depth", "smile", {"weight", "largest", "own", "inputs"}),
])  # fmt: skip
def test_the_command_line_measures_it(command, key, method, quantities):
    given = [f"{method}.{name}={value}" for name, value in WAYS[method].items()]
    sets = [word for one in given for word in ("--set", one)]
    call = ("inspect", "--suite", "toy", "--experts", "stripes,blob", "--metric", key, "--method", method, *sets)
    code, out, err = command(*call, "--limit", 4, "--json", "-")
    assert code == 0, err
    rows = json.loads(out)
    assert quantities <= set(rows[0])
    assert {row["block"] for row in rows if row["level"] == "block"} >= {0, 1}
    code, out, _ = command(*call, "--limit", 4)
    assert code == 0
    assert metrics.metric_class(key).title in out
    assert ("block" in out) == ("block" in metrics.metric_class(key).shown)
    code, _, err = command(*call[:-2 - len(sets)], "--method", "average")
    assert code != 0
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if "choose" in line]) == 1
