"""Twin-Merging and its router: equal to one dense model per input, and to other merges where theory says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import fresh, moved_outside, said, some
from reference import per_input as naive

from merge_engine.contract import Step
from merge_engine.errors import RecipeError
from merge_engine.evaluate import predictions, score
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.compress import compressed, kept
from merge_engine.maths.parts import DensePart
from merge_engine.methods import build, method_class
from merge_engine.routers.trained import Trained
from merge_engine.routing.per_input import LowRankLinear
from merge_engine.routing.routed import RoutedMerged
from merge_engine.routing.told import told
from merge_engine.routing.trained_router import CHUNK, layers_of
from merge_engine.running import drive, merge
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.run import recipe_for, run_steps

FEW = {"examples": 16, "epochs": 2}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def twin(problem, **parameters):
    return merge(problem, build("twin_merging", **FEW, **parameters), ctx=fresh())


def model_of(problem) -> int:
    return sum(v.numel() for v in problem.pretrained.values())


def names_inside(network) -> list[str]:
    return [f"{path}.{leaf}" for path, layer in network.layers().items() for leaf, _ in layer.named_parameters()]


@pytest.fixture(scope="module")
def problem(toy):
    return moved_outside(toy.problem())


@pytest.fixture(scope="module")
def network(toy):
    return SuiteInputs(toy)


@pytest.fixture(scope="module")
def plain(problem):
    """Twin-Merging at a rank share that keeps several components."""
    return twin(problem, rank_share=0.2)


# Twin-Merging against one dense model per input


@pytest.mark.parametrize("weights", ["router", "one-hot", "uniform", "exclusive-only"])
def test_twin_equals_one_dense_model_per_input(toy, problem, network, plain, weights):
    """T4: the factored pass, the router and the compression together, against loops in float64."""
    inputs, base = some(toy, 1), naive.double(problem.pretrained)
    experts = [naive.double(problem.experts[t]) for t in problem.tasks]
    shared = naive.task_arithmetic(base, experts, 0.3)
    parts = naive.exclusive(shared, experts, names_inside(network), lambda rank: int((1 - 0.8) * rank))
    alone = weights == "exclusive-only"
    merged = plain if weights == "router" else twin(problem, rank_share=0.2, weights=weights)
    got = said(merged, network, inputs)
    for i, x in enumerate(inputs):
        scores = naive.router_scores(plain.weighting.router.parameters, network.features(shared, x[None].double())[0])
        w = {"uniform": np.full(len(scores), 1 / len(scores)), "one-hot": np.eye(len(scores))[scores.argmax()]}
        w = w.get(weights, naive.softmax(scores))
        np.testing.assert_allclose(got.route[i].mean(0), w, atol=1e-4)
        assert int(got.picked[i]) == scores.argmax()
        wanted = naive.mixed(network, base if alone else shared, parts, w, x)
        torch.testing.assert_close(got.features[i], wanted, **TOLERANCE)


def test_full_rank_and_one_hot_weights_give_the_expert(toy, problem, network):
    """T1."""
    inputs = some(toy)
    got = said(twin(problem, rank_share=1.0, weights="one-hot"), network, inputs)
    for x, features, expert in zip(inputs, got.features, got.picked, strict=True):
        wanted = network.features(problem.experts[problem.tasks[expert]], x[None])[0]
        torch.testing.assert_close(features, wanted, **TOLERANCE)


def test_full_rank_and_uniform_weights_give_the_average(toy, problem, network):
    """T2: whatever the shared model is."""
    inputs = some(toy, 1)
    average = merge(problem, build("average"), ctx=fresh()).weights()
    for shared in ("task_arithmetic", "ties"):
        got = said(twin(problem, rank_share=1.0, weights="uniform", shared=shared), network, inputs)
        torch.testing.assert_close(got.features, network.features(average, inputs), **TOLERANCE)


def test_matrices_of_rank_zero_leave_the_vectors(toy, problem, network):
    """T3 and T5: a share of a rank that rounds to nothing; the factors are there, empty, and the pass runs."""
    merged, inputs, base = twin(problem, rank_share=0.02), some(toy, 1), naive.double(problem.pretrained)
    empty = [share for share in merged.shares.values() if isinstance(share, LowRankLinear)]
    assert empty
    assert not any(share.owner.numel() for share in empty)
    experts = [naive.double(problem.experts[t]) for t in problem.tasks]
    shared = naive.task_arithmetic(base, experts, 0.3)
    parts = naive.exclusive(shared, experts, names_inside(network), lambda rank: 0)
    got = said(merged, network, inputs)
    for i, x in enumerate(inputs):
        wanted = naive.mixed(network, shared, parts, got.route[i].mean(0), x)
        torch.testing.assert_close(got.features[i], wanted, **TOLERANCE)
    factors = {p: dataclasses.replace(s, bias=None) for p, s in merged.shares.items() if isinstance(s, LowRankLinear)}
    bare = said(dataclasses.replace(merged, shares=factors), network, inputs)
    torch.testing.assert_close(bare.features, network.features(merged.shared, inputs), **TOLERANCE)


@pytest.mark.parametrize("nothing", [{"rank_share": 0.0}, {"weights": "shared-only"}])
def test_nothing_exclusive_leaves_the_shared_model(toy, problem, network, nothing):
    """T3; the router still picks the head."""
    merged, inputs = twin(problem, **nothing), some(toy)
    shared = merge(problem, build("task_arithmetic", scaling=0.3), ctx=fresh()).weights()
    got = said(merged, network, inputs)
    torch.testing.assert_close(got.features, network.features(shared, inputs), **TOLERANCE)
    assert torch.equal(got.picked, merged.weighting.router.ready(network)(inputs).argmax(1))
    torch.testing.assert_close(said(told(merged), network, inputs, problem.tasks[0]).features, got.features)
    router = sum(v.numel() for v in merged.weighting.router.parameters.values())
    assert merged.stored_parameters == model_of(problem) + router


def test_exclusive_parts_alone_still_need_the_model_that_the_router_reads(problem, plain):
    alone = twin(problem, rank_share=0.2, weights="exclusive-only")
    assert alone.stored_parameters == plain.stored_parameters + model_of(problem)


@pytest.mark.parametrize(
    ("shared", "options", "wanted"),
    [
        ("task_arithmetic", {"shared_scaling": 0.5}, {"scaling": 0.5}),
        ("tsv_m", {}, {}),
        ("task_arithmetic", {}, {"scaling": 0.3}),
        ("tsv_m", {"shared_scaling": 0.7}, {"scaling": 0.7}),
        ("average", {"shared_scaling": 0.7}, {}),
        ("ties", {"shared_settings": "density=0.5", "shared_scaling": 0.9}, {"density": 0.5, "scaling": 0.9}),
        ("fisher", {"shared_settings": "examples=8"}, {"examples": 8}),
        ("regmean", {"shared_settings": "examples=8"}, {"examples": 8}),
    ],
)
def test_the_shared_model_is_any_static_merge_at_its_own_defaults(problem, shared, options, wanted):
    method = build("twin_merging", shared=shared, **options)
    assert method.needs == {"train"} | method_class(shared).needs
    ordered = dataclasses.replace(problem, experts=dict(sorted(problem.experts.items())))
    expected = merge(ordered, build(shared, **wanted), ctx=fresh()).weights()
    found = twin(problem, shared=shared, weights="shared-only", **options).shared
    assert all(torch.equal(found[n], expected[n]) for n in problem.pretrained)


def test_what_is_no_parameter_of_the_shared_merge_is_refused():
    with pytest.raises(RecipeError, match="No parameter of tsv_m to set named 'density'"):
        build("twin_merging", shared="tsv_m", shared_settings="density=0.1")
    for name in ("scaling", "weights"):  # a control of its own; one per expert, and experts are sorted
        with pytest.raises(RecipeError, match=f"No parameter of ties to set named '{name}'"):
            build("twin_merging", shared="ties", shared_settings=f"{name}=0.1")


def test_one_expert_comes_back(toy, network):
    """G1."""
    problem, inputs = toy.problem(toy.experts[:1]), some(toy)
    (task,) = problem.tasks
    wanted = network.features(problem.experts[task], inputs)
    got = said(twin(problem, shared_scaling=1.0), network, inputs, task)
    torch.testing.assert_close(got.features, wanted, **TOLERANCE)


def test_identical_experts_come_back(toy, network):
    """G2."""
    expert, experts = toy.expert(toy.experts[0]), toy.experts[:3]
    problem = dataclasses.replace(toy.problem(experts), experts=dict.fromkeys(experts, expert))
    inputs, task = some(toy), experts[0]
    wanted = network.features(expert, inputs)
    got = said(twin(problem, rank_share=1.0), network, inputs, task)
    torch.testing.assert_close(got.features, wanted, **TOLERANCE)


def test_the_order_of_experts_permutes_routes(toy, problem, network, plain):
    """G3: the same router, its outputs permuted."""
    inputs, order = some(toy), [2, 0, 3, 1]
    there = said(plain, network, inputs)
    moved = dataclasses.replace(problem, experts={problem.tasks[t]: problem.experts[problem.tasks[t]] for t in order})
    back = said(twin(moved, rank_share=0.2), network, inputs)
    torch.testing.assert_close(back.route, there.route[:, :, order])
    torch.testing.assert_close(back.features, there.features, **TOLERANCE)
    assert [order[t] for t in back.picked] == there.picked.tolist()


# Twin-Merging's parts


def test_how_many_components_are_kept_is_published():
    """The code drops a share: 1 − 0.9 is less than 0.1, so 10 % of 20 is 1."""
    assert [kept(0.1, r) for r in (768, 384, 20, 10, 1)] == [76, 38, 1, 0, 0]
    assert [kept(1.0, r) for r in (768, 1)] == [768, 1]
    assert kept(0.0, 768) == 0


def test_a_matrix_of_one_row_keeps_no_component():
    """T5."""
    part = compressed(torch.randn(3, 1, 8), "svd", 0.1, fresh(), ("x", ("a", "b", "c")))
    assert part.stored_parameters == 0
    assert torch.equal(part.task_vector(1), torch.zeros(1, 8))


def test_the_error_of_compression_is_the_tail():
    """G4."""
    vectors = torch.randn(2, 10, 7, generator=torch.Generator().manual_seed(0))
    part = compressed(vectors, "svd", 0.5, fresh(), ("x", ("a", "b")))
    for t, vector in enumerate(vectors):
        tail = np.linalg.svd(vector.double().numpy(), compute_uv=False)[kept(0.5, 7) :]
        np.testing.assert_allclose((vector - part.task_vector(t)).square().sum(), (tail**2).sum(), rtol=1e-4)


def test_sparse_parts_count_their_values_and_bits():
    vectors = torch.randn(2, 20, 10, generator=torch.Generator().manual_seed(0))
    key = ("x", ("a", "b"))
    largest = compressed(vectors, "magnitude", 0.1, fresh(), key)
    assert largest.stored_parameters == 2 * kept(0.1, 200) + 2 * 200 / 32
    for t, vector in enumerate(vectors):
        dense = largest.task_vector(t)
        assert torch.equal(dense[dense != 0], vector[dense != 0])
        assert dense[dense != 0].abs().min() >= vector[dense == 0].abs().max()
    drawn = compressed(vectors, "bernoulli", 0.5, fresh(), key)
    for t, vector in enumerate(vectors):
        dense = drawn.task_vector(t)
        torch.testing.assert_close(dense[dense != 0], 2 * vector[dense != 0])
        assert 60 < int((dense != 0).sum()) < 140
    assert isinstance(compressed(vectors[:, 0], "magnitude", 0.1, fresh(), key), DensePart)
    again = compressed(vectors.flip(0), "bernoulli", 0.5, fresh(), ("x", ("b", "a")))
    assert torch.equal(again.task_vector(0), drawn.task_vector(1))


@pytest.mark.parametrize("compression", ["magnitude", "bernoulli"])
def test_sparse_parts_blend_like_one_dense_model_per_input(toy, problem, network, compression):
    merged, inputs = twin(problem, compression=compression, rank_share=0.3), some(toy, 1)
    got = said(merged, network, inputs)
    parts = [{} for _ in problem.tasks]
    for name in names_inside(network):
        experts = torch.stack([problem.experts[t][name] for t in problem.tasks])
        part = compressed(experts - merged.shared[name], compression, 0.3, fresh(), (name, problem.tasks))
        for t, own in enumerate(parts):
            own[name] = part.task_vector(t).double()
    for i, x in enumerate(inputs):
        wanted = naive.mixed(network, naive.double(merged.shared), parts, got.route[i, 0], x)
        torch.testing.assert_close(got.features[i], wanted, **TOLERANCE)
    stored = sum(share.stored_parameters for share in merged.shares.values())
    assert stored < 0.5 * 4 * sum(problem.pretrained[n].numel() for n in names_inside(network))


# Twin-Merging as published


def test_as_published_borrows_biases_and_head_and_says_so(toy, problem, network):
    merged = twin(problem, protocol="as published", rank_share=1.0, weights="one-hot")
    assert merged.knows_task
    assert any("ceiling" in note for note in merged.notes)
    biases = [n for n in problem.pretrained if "bias" in n]
    assert all(torch.equal(merged.shared[n], problem.pretrained[n]) for n in biases)
    borrowed = sum(problem.pretrained[n].numel() for n in biases) * len(problem.tasks)
    router = merged.weighting.router.stored_parameters
    exclusive = sum(share.stored_parameters for share in merged.shares.values())
    assert merged.stored_parameters == model_of(problem) + borrowed + exclusive + router
    inputs, task = some(toy), problem.tasks[1]
    got = said(merged, network, inputs, task)
    assert got.picked is None
    chosen = merged.weighting.router.ready(network)(inputs).argmax(1)
    for x, features, expert in zip(inputs, got.features, chosen, strict=True):
        model = {**problem.experts[problem.tasks[expert]], **{n: problem.experts[task][n] for n in biases}}
        torch.testing.assert_close(features, network.features(model, x[None])[0], **TOLERANCE)
    with pytest.raises(RecipeError, match="got None, give one of those"):
        said(merged, network, inputs)
    assert merged.serves(task)
    assert not merged.serves(toy.unseen[0])


def test_as_published_told_the_task_is_the_expert_with_its_own_biases(toy, problem, network):
    merged, inputs = twin(problem, protocol="as published", rank_share=1.0), some(toy, 1)
    for task in problem.tasks:
        wanted = network.features(problem.experts[task], inputs)
        torch.testing.assert_close(said(told(merged), network, inputs, task).features, wanted, **TOLERANCE)


def test_as_published_says_what_it_was_given_and_that_it_saw_the_test_split(toy):
    protocols = {half: Protocol(limit=4, half=half) for half in ("adapt", "score")}
    plain, published = (recipe_for(toy, "twin_merging", {**FEW, "protocol": p}) for p in ("routed", "as published"))
    runs = {half: drive(run_steps(toy, published, given)).result for half, given in protocols.items()}
    for words in ("the true task of every picture", "train pictures, each known to be of its task"):
        assert all(words in run.protocol for run in runs.values())
    assert "unlabelled pictures of the adapt half" in runs["adapt"].protocol
    assert "Inductive" in runs["adapt"].protocol
    assert "under that task's own head" not in runs["adapt"].protocol, "no entropy is minimised"
    assert "unlabelled pictures of the score half" in runs["score"].protocol
    assert "Transductive" in runs["score"].protocol
    assert (runs["adapt"].half, runs["score"].half) == ("adapt", "score")
    assert runs["adapt"].key != runs["score"].key
    routed = drive(run_steps(toy, plain, protocols["adapt"])).result
    assert routed.half == ""
    assert "stream" not in plain.build()[0].needs
    assert "true task" not in routed.protocol


@dataclasses.dataclass(frozen=True)
class Watched(SuiteInputs):
    """Inputs that record what they were asked for."""

    asked: list = dataclasses.field(default_factory=list)

    def validation(self, task, count):
        self.asked.append("validation")
        return super().validation(task, count)

    def stream(self, task, batch=16):
        self.asked.append("stream")
        return super().stream(task, batch)

    def logits(self, task, features):
        self.asked.append("logits")
        return super().logits(task, features)


@pytest.mark.parametrize(("protocol", "picks"), [("routed", "validation"), ("as published", "stream")])
def test_what_picks_the_epoch(toy, problem, protocol, picks):
    inputs = Watched(toy)
    watched = dataclasses.replace(problem, inputs=inputs)
    twin(watched, protocol=protocol, weights="shared-only")
    assert set(inputs.asked) == {picks}


# The trained router


def test_a_router_learns_tasks_and_keeps_its_best_epoch(toy, problem, network):
    router = Trained(train_inputs=64, epochs=12).fit(problem, fresh())
    assert len(router.accuracy) == 12
    assert router.epoch == 1 + router.accuracy.index(max(router.accuracy))
    assert max(router.accuracy) > 50
    held = torch.cat([network.features(router.model, network.validation(t, 64)) for t in problem.tasks])
    labels = torch.arange(len(problem.tasks)).repeat_interleave(64)
    again = 100 * float((layers_of(router.parameters)(held).argmax(1) == labels).float().mean())
    assert again == pytest.approx(max(router.accuracy))


def test_a_router_is_the_same_for_the_same_seed(problem):
    first, again, other = (
        Trained(train_inputs=8, epochs=2).fit(problem, dataclasses.replace(fresh(), seed=seed)) for seed in (1, 1, 2)
    )
    assert all(torch.equal(value, again.parameters[n]) for n, value in first.parameters.items())
    assert not torch.equal(first.parameters["last.weight"], other.parameters["last.weight"])


def test_a_router_picks_experts_of_any_store(toy, problem, network):
    store = merge(problem, build("tsv_c"), ctx=fresh())
    router = Trained(train_inputs=16, epochs=2).fit(problem, fresh())
    merged, inputs = RoutedMerged(store, router), some(toy)
    got = said(merged, network, inputs)
    assert torch.equal(got.picked, router.ready(network)(inputs).argmax(1))
    assert router.stored_parameters == sum(v.numel() for v in router.parameters.values())
    assert merged.stored_parameters == store.stored_parameters + router.stored_parameters + model_of(problem)


def test_training_counts_epochs_and_gives_snapshots(toy, problem, network):
    steps: list[Step] = []
    snapshots = []

    def watch(step: Step) -> None:
        steps.append(step)
        if step.snapshot is not None:
            snapshots.append(step.snapshot())

    merged = drive(build("twin_merging", examples=CHUNK + 1, epochs=3).run(problem, fresh()), watch)
    epochs = [s for s in steps if "route accuracy" in s.metrics]
    assert [(s.done, s.total) for s in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert len(snapshots) == 3
    assert torch.equal(said(snapshots[-1], network, some(toy)).features, said(merged, network, some(toy)).features)


def test_routed_inputs_are_right_only_under_their_own_head(toy, plain):
    astray = 0
    for number, task in enumerate(toy.experts):
        found, scored = predictions(toy, plain, task, limit=30), score(toy, plain, [task], limit=30)[task]
        assert found.route.shape == (30, len(plain.shares), len(toy.experts))
        assert scored.routed == {e: int((found.picked == t).sum()) for t, e in enumerate(toy.experts)}
        class_right = found.guess == found.label
        assert scored.correct == int((class_right & (found.picked == number)).sum())
        astray += int((class_right & (found.picked != number)).sum())
    assert astray, "some inputs have the right class under a head that was not chosen, and count as wrong"
