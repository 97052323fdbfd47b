"""Routers: what each promises, the identities of their manifolds, and naive versions of all of them."""

from __future__ import annotations

import dataclasses
import importlib
import re

import numpy as np
import pytest
import torch
from conftest import fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import routing as naive
from reference import training as reference

from merge_engine import routers
from merge_engine.errors import DataError, RecipeError
from merge_engine.hp import declared
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import decompose
from merge_engine.methods import build as build_method
from merge_engine.routers import Fitted, SupportRouter
from merge_engine.routers._features import Features
from merge_engine.routers._support import GAP_FOLDS, held_out
from merge_engine.routers.subspace import Manifolds, Subspace
from merge_engine.routing.by_router import Blend
from merge_engine.routing.trained_router import Course, Layers, Training
from merge_engine.weights import in_memory

ROUTERS = routers.registry()
ON_SUPPORT = {key: cls for key, cls in ROUTERS.items() if issubclass(cls, SupportRouter)}
every = pytest.mark.parametrize(("key", "cls"), ROUTERS.items(), ids=list(ROUTERS))


def support_of(tasks: int = 3, examples: int = 8, d: int = 12, seed: int = 0) -> list[torch.Tensor]:
    """Return support features of every task, in low-rank clouds of their own."""
    g = torch.Generator().manual_seed(seed)
    clouds = []
    for _ in range(tasks):
        basis, mean = torch.randn(4, d, generator=g), torch.randn(d, generator=g)
        noise = 0.1 * torch.randn(examples, d, generator=g)
        clouds.append((torch.randn(examples, 4, generator=g) @ basis + mean + noise).double())
    return clouds


def rows(count: int = 6, d: int = 12, seed: int = 9) -> torch.Tensor:
    return torch.randn(count, d, generator=torch.Generator().manual_seed(seed)).double()


def numpy(support) -> list[np.ndarray]:
    return [z.numpy() for z in support]


def scores_of(router: SupportRouter, support, z) -> np.ndarray:
    return router.scorer(support)(z).numpy()


def by_loops(score, support, z) -> np.ndarray:
    """Return score(task, input) of every input and task, (B, T)."""
    return np.array([[score(t, one) for t in range(len(support))] for one in z.numpy()])


# What every router declares


@every
def test_declared_documented_and_found_by_key(key, cls):
    assert cls() == cls()
    assert routers.key_of(cls()) == routers.key_of(cls) == key
    assert routers.build(key) == cls()
    assert importlib.import_module(cls.__module__).__doc__.endswith(".")
    assert cls.__doc__.splitlines()[0].endswith(".")
    assert re.search(r"^ {8}\S.*=", cls.__doc__, re.MULTILINE)
    assert "References\n    ----------\n" in cls.__doc__
    assert "Notes\n    -----\n" in cls.__doc__
    assert cls.idea.endswith(".")
    assert cls.formula
    assert cls.paper
    assert cls.needs <= {"support", "task id", "train"}
    assert [f.name for f in dataclasses.fields(cls)] == list(declared(cls))
    assert [other.title for other in ROUTERS.values()].count(cls.title) == 1


@every
def test_parameters_are_refused_out_of_range_and_misspelt(key, cls):
    for hp in declared(cls).values():
        bad = "no such choice" if hp.choices or hp.type is bool else (hp.low or 0) - 1
        with pytest.raises(RecipeError, match=f"{cls.__name__}.{hp.name} must be"):
            routers.build(key, **{hp.name: bad})
    with pytest.raises(RecipeError, match="No parameter"):
        routers.build(key, nonsense=1)
    with pytest.raises(RecipeError, match=f"No router named '{key}x'. Did you mean '{key}'"):
        routers.build(f"{key}x")


# Naive versions


@pytest.mark.parametrize("centring", ["task", "none", "global"])
@pytest.mark.parametrize("kind", ["squared", "relative"])
@pytest.mark.parametrize("rank", [0, 1, 3, 100])
def test_the_residual_is_what_a_projection_matrix_leaves(centring, kind, rank):
    support, z = support_of(), rows()
    router = Subspace(rank=rank, centring=centring, residual=kind)
    wanted = by_loops(lambda t, x: -naive.residual(numpy(support), t, x, rank, centring, kind), support, z)
    np.testing.assert_allclose(scores_of(router, support, z), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centring", ["task", "none", "global"])
@pytest.mark.parametrize("kind", ["squared", "relative"])
def test_the_calibration_is_a_refit_without_each_input(centring, kind):
    support, z = support_of(examples=6), rows()
    router = Subspace(rank=3, centring=centring, residual=kind, calibration="leave-one-out")
    wanted = by_loops(lambda t, x: -naive.calibrated(numpy(support), t, x, 3, centring, kind), support, z)
    np.testing.assert_allclose(scores_of(router, support, z), wanted, rtol=1e-4)


def test_nearest_neighbour_and_mean_by_loops():
    support, z = support_of(), rows()
    neighbour = by_loops(lambda t, x: -naive.nearest(numpy(support), t, x), support, z)
    np.testing.assert_allclose(scores_of(routers.build("nearest_neighbour"), support, z), neighbour, rtol=1e-9)
    mean = by_loops(lambda t, x: -naive.mean_distance(numpy(support), t, x), support, z)
    np.testing.assert_allclose(scores_of(routers.build("nearest_mean"), support, z), mean, rtol=1e-9)
    np.testing.assert_allclose(scores_of(Subspace(rank=0), support, z), mean, rtol=1e-9)


@pytest.mark.parametrize("covariance", ["shared", "task"])
@pytest.mark.parametrize("shrinkage", [0.01, 0.5, 1.0])
def test_mahalanobis_by_an_inverse(covariance, shrinkage):
    support, z = support_of(), rows()
    router = routers.build("mahalanobis", covariance=covariance, shrinkage=shrinkage)
    wanted = by_loops(lambda t, x: -naive.gaussian(numpy(support), t, x, covariance, shrinkage), support, z)
    np.testing.assert_allclose(scores_of(router, support, z), wanted, rtol=1e-4)


def test_held_out_scores_are_refits():
    support = support_of(examples=5)
    found = held_out(Subspace(rank=2).scorer, support)
    for i in range(5):
        others = [np.delete(z, i, axis=0) for z in numpy(support)]
        for t, z in enumerate(numpy(support)):
            wanted = [-naive.residual(others, u, z[i], 2) for u in range(3)]
            np.testing.assert_allclose(found[t][i].numpy(), wanted, rtol=1e-5, atol=1e-6)


# Identities of the manifolds


def test_s1_an_input_on_a_manifold_wins_with_no_residual():
    support = support_of()
    manifolds = Subspace(rank=4).scorer(support)
    for t in range(3):
        z = manifolds.centre[t] + rows(5, 4) @ manifolds.basis[t]
        found = manifolds.residuals(z)
        assert found[:, t].max() < 1e-5
        assert (found.argmin(1) == t).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 9), st.integers(0, 12), st.sampled_from(["task", "none", "global"]))
def test_s2_residuals_lie_between_zero_and_the_distance(tasks, examples, rank, centring):
    support, z = support_of(tasks, examples), rows()
    manifolds = Subspace(rank=rank, centring=centring).scorer(support)
    found = manifolds.residuals(z)
    bare = dataclasses.replace(manifolds, basis=manifolds.basis[:, :0]).residuals(z)
    assert found.shape == (6, tasks)
    assert (found >= 0).all()
    assert (found <= bare + 1e-9).all()
    assert all(r <= min(rank, examples - (centring == "task")) for r in manifolds.ranks)
    relative = Subspace(rank=rank, centring=centring, residual="relative").scorer(support).residuals(z)
    assert ((relative >= 0) & (relative <= 1 + 1e-9)).all()


class Same:
    """A network whose features are its inputs."""

    def features(self, weights, inputs, changes=None):
        return inputs

    def block_features(self, weights, inputs, mean=False):
        return [inputs + 1 + 10 * mean, inputs + 2 + 10 * mean]


def test_s3_signs_and_order_of_the_directions_do_not_matter_nor_the_length_of_a_feature():
    support, z = support_of(), rows()
    manifolds = Subspace(rank=4).scorer(support)
    turned = dataclasses.replace(manifolds, basis=-manifolds.basis.flip(1))
    torch.testing.assert_close(turned(z), manifolds(z))
    look = Features({}, normalise=True)
    torch.testing.assert_close(look(Same(), 7.5 * z), look(Same(), z))
    assert not torch.allclose(Features({}, normalise=False)(Same(), 7.5 * z), z)
    for layer, tokens, shift in ((1, "pooled", 1), (2, "pooled", 2), (1, "mean", 11), (0, "mean", 12)):
        torch.testing.assert_close(Features({}, layer, normalise=False, tokens=tokens)(Same(), z), z + shift)


@pytest.mark.parametrize("centring", ["task", "none"])
def test_s4_at_full_rank_the_support_set_has_no_residual_so_it_is_never_scored_on(centring):
    support = support_of(examples=6)
    rank = 5 if centring == "task" else 6
    router = Subspace(rank=rank, centring=centring)
    fitted = router.scorer(support)
    for t, z in enumerate(support):
        assert fitted.residuals(z)[:, t].max() < 1e-4
    left_out = held_out(router.scorer, support)
    assert min(float(-s[:, t].max()) for t, s in enumerate(left_out)) > 1e-3


def test_s5_a_task_with_more_dimensions_takes_more_of_any_input():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 20, generator=g).double()
    basis = decompose(torch.randn(20, 20, generator=g)).Vh.double()
    shares = []
    for k in (2, 4, 8, 16):
        picked = Manifolds.of(z.new_zeros(1, 0), [basis[:4], basis[20 - k :]])(z).argmax(1)
        shares.append(float(picked.double().mean()))
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert abs(shares[1] - 0.5) < 0.05
    assert shares[-1] > 0.9


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 10), st.floats(0.05, 1.0))
def test_a_rank_by_energy_keeps_the_fewest_dimensions_that_hold_it(examples, energy):
    support = support_of(examples=examples)
    manifolds = Subspace(rank=100, energy=energy).scorer(support)
    for z, rank in zip(support, manifolds.ranks, strict=True):
        spectrum = np.linalg.svd(z.numpy() - z.numpy().mean(0), compute_uv=False) ** 2
        held = np.cumsum(spectrum) / spectrum.sum()
        assert held[rank - 1] >= energy - 1e-5
        assert rank == 1 or held[rank - 2] < energy + 1e-5


@pytest.mark.parametrize("key", ON_SUPPORT)
@settings(max_examples=8, deadline=None)
@given(tasks=st.integers(1, 4), examples=st.integers(2, 7), data=st.data())
def test_the_order_of_tasks_is_the_order_of_scores(key, tasks, examples, data):
    support, z, order = support_of(tasks, examples), rows(), data.draw(st.permutations(range(tasks)))
    router = routers.build(key)
    there, back = scores_of(router, support, z), scores_of(router, [support[t] for t in order], z)
    np.testing.assert_allclose(back, there[:, list(order)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("key", ON_SUPPORT)
def test_clouds_apart_are_told_apart_and_equal_inputs_do_no_harm(key):
    support = [z / 4 + 10 * t for t, z in enumerate(support_of(examples=12))]
    router = routers.build(key)
    left_out = held_out(router.scorer, support, folds=4)
    assert all((scores.argmax(1) == t).all() for t, scores in enumerate(left_out))
    alike = [z[:1].repeat(4, 1) for z in support]
    assert router.scorer(alike)(rows()).isfinite().all()


def clouds_that_differ_by_covariance(tasks: int = 8, each: int = 400, d: int = 512) -> list[torch.Tensor]:
    """Return features of tasks in one narrow cone: directions that all share, some of their own, and close means."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g).double()

    axis, shared, clouds = normal(d), normal(8, d), []
    for _ in range(tasks):
        own, mean = normal(12, d), 0.3 * normal(d)
        z = 3 * axis + mean + 0.2 * normal(each, 8) @ shared + 0.4 * normal(each, 12) @ own + 0.3 * normal(each, d)
        clouds.append(torch.nn.functional.normalize(z, dim=1))
    return clouds


def test_a_subspace_beats_means_and_neighbours_where_tasks_differ_by_covariance():
    clouds = clouds_that_differ_by_covariance()
    support, held = [z[:32] for z in clouds], [z[32:] for z in clouds]

    def right(key: str, **parameters) -> float:
        scorer = routers.build(key, **parameters).scorer(support)
        return float(np.mean([float((scorer(z).argmax(1) == t).double().mean()) for t, z in enumerate(held)]))

    found = {start: right("subspace", rank=16, centring=start) for start in ("task", "none", "global")}
    mean, neighbour = right("nearest_mean"), right("nearest_neighbour")
    assert 0.5 < mean < 0.8, "the means are close"
    assert mean + 0.1 < neighbour < 0.99
    assert all(share > 0.995 for share in found.values()), "wherever a manifold starts"
    assert right("subspace", rank=4) < min(found.values()), "few dimensions hold less of a task"


# On a suite


@pytest.mark.parametrize("key", ON_SUPPORT)
def test_a_fitted_router_scores_the_features_of_its_model(key, toy):
    problem, network = toy.problem(), SuiteInputs(toy)
    router = routers.build(key, examples=6)
    fitted = router.fit(problem, fresh())
    inputs = toy.prepared("grain", "score")[:5]
    with torch.no_grad():
        z = torch.nn.functional.normalize(network.features(toy.pretrained_in_memory, inputs).double(), dim=-1)
        support = [
            torch.nn.functional.normalize(
                network.features(toy.pretrained_in_memory, network.support(t, 6)).double(), dim=-1
            )
            for t in problem.tasks
        ]
        found = fitted.ready(network)(inputs)
    torch.testing.assert_close(found, router.scorer(support)(z), rtol=1e-4, atol=1e-6)
    assert fitted.forwards == 1
    assert fitted.stored_parameters == router.scorer(support).stored_parameters
    assert fitted.gap() > 0


def test_stored_parameters_count_what_is_kept():
    support = support_of(3, 8, 12)
    assert Subspace(rank=5).scorer(support).stored_parameters == 3 * (5 + 1) * 12
    assert Subspace(rank=5, centring="none").scorer(support).stored_parameters == 3 * 5 * 12
    assert Subspace(rank=5, centring="global").scorer(support).stored_parameters == (3 * 5 + 1) * 12
    assert routers.build("nearest_mean").scorer(support).stored_parameters == 3 * 12
    assert routers.build("nearest_neighbour").scorer(support).stored_parameters == 3 * 8 * 12


def test_features_may_come_from_a_block_another_model_or_another_draw(toy):
    problem, network = toy.problem(), SuiteInputs(toy)
    inputs = toy.prepared("grain", "score")[:4]
    scores = {}
    for name, options in {
        "final": {}, "block": {"layer": 2}, "average": {"backbone": "average"}, "draw": {"draw": 1},
    }.items():  # fmt: skip
        fitted = routers.build("nearest_mean", examples=4, **options).fit(problem, fresh())
        with torch.no_grad():
            scores[name] = fitted.ready(network)(inputs)
        assert fitted.reads == options.get("backbone", "pretrained")
        assert fitted.stored_parameters == 4 * (32 if name == "block" else 64)
    assert len({tuple(s.flatten().tolist()) for s in scores.values()}) == 4
    with pytest.raises(RecipeError, match="a block from 1 to 3; got 4"):
        routers.build("nearest_mean", layer=4).fit(problem, fresh())


@pytest.mark.parametrize("tokens", ["pooled", "mean"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_layer_is_what_that_block_gives(toy, layer, tokens):
    """Against transformers' own hidden states: the class token, or the mean over all tokens, after the block."""
    from transformers import Dinov2Config, Dinov2Model

    module = Dinov2Model(Dinov2Config(**toy.config)).eval()
    module.load_state_dict(toy.pretrained_in_memory)
    inputs = toy.prepared("grain", "score")[:3]
    look = Features(toy.pretrained_in_memory, layer, normalise=False, tokens=tokens)
    with torch.no_grad():
        hidden = module(inputs, output_hidden_states=True)
        found = look(SuiteInputs(toy), inputs)
    state = hidden.hidden_states[layer or -1]
    if tokens == "mean":
        wanted = state.mean(1)
    elif layer:
        wanted = state[:, 0]
    else:
        wanted = torch.cat([hidden.last_hidden_state[:, 0], hidden.last_hidden_state[:, 1:].mean(1)], 1)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-4, atol=1e-5)


def test_train_inputs_are_no_validation_or_support_inputs(toy):
    """A router is picked on validation inputs, and its support set is another's: neither is trained on."""

    class Numbered:
        indices, name, backbone = toy.indices, toy.name, type("", (), {"prepare": staticmethod(torch.from_numpy)})

        def sheet(self, task, side):
            assert side == "train"
            return np.arange(len(toy.sheet(task, side)))

    for task in toy.seen:
        held = {split: set(toy.indices(task, split).tolist()) for split in ("validation", "support")}
        found = set(SuiteInputs(Numbered()).train(task, 10**6).tolist())
        assert found
        assert not found & held["validation"]
        assert not found & held["support"]
        assert found | held["validation"] | held["support"] == set(range(len(toy.sheet(task, "train"))))
        drawn = set(SuiteInputs(Numbered()).support(task, 20, draw=3).tolist())
        assert len(drawn) == 20
        assert not drawn & held["validation"]


def test_a_support_set_of_one_is_refused(toy):
    class Poor(SuiteInputs):
        def support(self, task, count, draw=0):
            return super().support(task, 1)

    problem = dataclasses.replace(toy.problem(), inputs=Poor(toy))
    with pytest.raises(DataError, match="at least 2 inputs of 'stripes'; got 1"):
        routers.build("subspace").fit(problem, fresh())


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_weight_projection_leaves_what_the_expert_does_not_read(toy, norm):
    problem, network = toy.problem(), SuiteInputs(toy)
    inputs = toy.prepared("stripes", "score")[:3]
    router = routers.build("weight_projection", depth=0.5, first="pretrained", norm=norm)
    with torch.no_grad():
        scores = router.fit(problem, fresh()).ready(network)(inputs)
    name = router.tensor(problem)
    place = toy.backbone.place(name)
    assert (place.block, place.kind) == (1, "fc1")
    tokens = network.linear_inputs(problem.pretrained, inputs)[name].reshape(3, -1, 32)[:, 0].numpy().astype(float)
    for t, expert in enumerate(problem.experts.values()):
        D = (expert[name] - problem.pretrained[name]).numpy().astype(float)
        P = naive.projector(D, min(D.shape) // 4)
        wanted = [-np.linalg.norm(x - P @ x, ord={"l2": 2, "l1": 1}[norm]) for x in tokens]
        np.testing.assert_allclose(scores[:, t].numpy(), wanted, rtol=1e-4)


def test_the_published_mahalanobis_distance_is_the_length_in_another_unit():
    """Its covariance is that of the directions, plus εI; what is left of an input is orthogonal to all of them."""
    draw, epsilon = np.random.default_rng(0), 1e-3
    V = np.linalg.svd(draw.normal(size=(9, 20)), full_matrices=False)[2][:5]
    covariance = np.cov(V.T) + epsilon * np.eye(20)
    for x in draw.normal(size=(4, 20)):
        left = x - V.T @ V @ x
        distance = np.sqrt(left @ np.linalg.inv(covariance) @ left)
        np.testing.assert_allclose(distance, np.linalg.norm(left) / np.sqrt(epsilon), rtol=1e-9)


def test_weight_projection_looks_at_the_tsv_m_model_and_needs_no_data(toy):
    problem = dataclasses.replace(toy.problem(), inputs=None)
    fitted = routers.build("weight_projection").fit(problem, fresh())
    steps = build_method("tsv_m").run(toy.problem(), fresh())
    merged = in_memory(_end(steps).weights())
    assert all(torch.equal(fitted.weights[n], merged[n]) for n in merged)
    assert fitted.forwards == 1
    assert fitted.path == "encoder.layer.2.mlp.fc1"


def _end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_the_oracle_is_told(toy):
    fitted = routers.build("oracle").fit(toy.problem(), fresh())
    ready = fitted.ready(SuiteInputs(toy))
    inputs = toy.prepared("blob", "score")[:2]
    assert (ready(inputs, "blob").argmax(1) == toy.problem().tasks.index("blob")).all()
    with pytest.raises(RecipeError, match="got None"):
        ready(inputs)
    assert fitted.forwards == fitted.stored_parameters == 0


# Soft decisions


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.floats(0, 5), st.sampled_from([None, 1, 2]))
def test_blends_are_weights_that_prefer_the_best(tasks, sigma, most):
    scores = rows(7, tasks)
    w = Blend(router=None, sigma=sigma, most=most).weights(scores)  # type: ignore[arg-type]
    torch.testing.assert_close(w.sum(1), torch.ones(7, dtype=w.dtype))
    assert (w.argmax(1) == scores.argmax(1)).all()
    assert ((w > 0).sum(1) <= (most or tasks)).all()
    if sigma == 0:
        assert torch.equal(w, torch.nn.functional.one_hot(scores.argmax(1), tasks).double())


@pytest.mark.parametrize("examples", [5, 9])
def test_weights_are_the_softmax_of_scores_over_their_median_gap(examples):
    support, z = support_of(examples=examples), rows()
    fitted = Fitted(Features({}), support, Subspace(rank=2).scorer)
    sigma = naive.gap(numpy(support), lambda left, t, x: -naive.residual(left, t, x, 2), GAP_FOLDS)
    np.testing.assert_allclose(fitted.gap(), sigma, rtol=1e-5)
    for most in (None, 2):
        found = Blend(fitted, fitted.gap(), most).weights(fitted.scorer(z))
        for x, w in zip(z.numpy(), found.numpy(), strict=True):
            scores = [-naive.residual(numpy(support), t, x, 2) for t in range(3)]
            kept = sorted(range(3), key=lambda t, scores=scores: -scores[t])[:most]
            lifted = {t: np.exp((scores[t] - max(scores)) / sigma) for t in kept}
            wanted = [lifted.get(t, 0.0) / sum(lifted.values()) for t in range(3)]
            np.testing.assert_allclose(w, wanted, rtol=1e-4, atol=1e-12)


class Clouds:
    """Inputs that are features already: a cloud per task."""

    def __init__(self, d: int = 6) -> None:
        self.random, self.d = torch.Generator().manual_seed(4), d

    def train(self, task: str, count: int) -> torch.Tensor:
        return torch.randn(count, self.d, generator=self.random) + 0.8 * int(task)

    validation = train

    def features(self, model, inputs):
        return inputs


@pytest.fixture
def in_float64():
    """Make float64 the type of what is built; Adam turns the rounding of gradients that are zero into steps."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("rate", [5e-4, 5e-2], ids=["published", "a hundred times as fast"])
def test_the_course_of_the_trained_router_equals_formulas_in_float64(rate):
    course, tasks = Course(examples=10, pick_examples=6, epochs=4, batch=16, learning_rate=rate), ("0", "1", "2")
    inputs = Clouds()
    training = Training({}, "", tasks, course, torch.Generator().manual_seed(8))
    for _ in training.steps(inputs, inputs.validation):
        pass
    generator = torch.Generator().manual_seed(8)
    start = Layers(6, 3)
    start.draw(generator)
    router = reference.Router({n: v.detach() for n, v in start.named_parameters()})
    again, data = Clouds(), []
    for count in (course.examples, course.pick_examples):
        features = torch.cat([again.train(task, count) for task in tasks])
        data.append((features, torch.arange(3).repeat_interleave(count)))
    best, accuracy = reference.trained_router(router, *data, course, generator)
    assert training.accuracy == pytest.approx(accuracy)
    assert training.epoch == 1 + accuracy.index(max(accuracy))
    kept = training.router().parameters
    assert set(kept) == set(best)
    for name, value in best.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
