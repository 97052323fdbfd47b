"""WEMoE, E-WEMoE and rank-one MoE: identities, and equality with one dense model per input in float64."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import weakref

import pytest
import torch
from reference import adaptive as reference

from merge_engine.adapting import adapt
from merge_engine.adapting.adapt import adapt_steps, descend, entropy
from merge_engine.contract import Context
from merge_engine.evaluate import score
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.parts import SparsePart
from merge_engine.maths.parts import dense as unpacked
from merge_engine.maths.svd import SvdStore
from merge_engine.methods.e_we_moe import EWeMoe, largest
from merge_engine.methods.rankone_moe import RankOneMoe, Selecting
from merge_engine.methods.task_arithmetic import TaskArithmetic
from merge_engine.methods.we_moe import WeMoe
from merge_engine.routing.mlp_routers import MlpWeighting, Router
from merge_engine.routing.mlp_routing import RoutedMlps
from merge_engine.routing.per_input import DenseLinear
from merge_engine.running import drive

FULL = 4096  # more components than any matrix here has
WHOLE = [WeMoe(), EWeMoe(sparsity=0), RankOneMoe(components=FULL)]  # methods that keep all of every expert
whole = pytest.mark.parametrize("method", WHOLE, ids=lambda m: type(m).__name__)


def context() -> Context:
    return Context(svd=SvdStore(folder=None))


def adaptable(method, problem) -> RoutedMlps:
    """Return what the method adapts, before the first update."""
    return drive(method.adaptable(problem, context()))


def some(toy, count=2) -> torch.Tensor:
    return torch.cat([toy.prepared(task, "validation")[:count] for task in toy.seen])


def features(merged, toy, inputs=None, dtype=torch.float32) -> torch.Tensor:
    with torch.inference_mode():
        return merged.predictor(SuiteInputs(toy), dtype)(some(toy) if inputs is None else inputs).features


def dense(toy, weights) -> torch.Tensor:
    with torch.inference_mode():
        return toy.features(weights, some(toy))


def arithmetic(problem, scaling=0.3) -> dict[str, torch.Tensor]:
    merged = drive(TaskArithmetic(scaling=scaling).run(problem, context())).weights()
    return {name: merged[name] for name in merged}


def is_mlp(name: str) -> bool:
    return ".mlp." in name


def scatter(what: RoutedMlps, size: float = 1.0) -> None:
    """Give the routers weights that tell inputs apart."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in what.weighting.parameters():
            p += size * torch.randn(p.shape, generator=g) / (p.shape[-1] ** 0.5 if p.ndim == 2 else 4)


# Identities


@whole
@pytest.mark.parametrize("depth", [1, 2])
def test_w1_silent_routers_are_task_arithmetic(toy, method, depth):
    problem = toy.problem()
    what = adaptable(method.replace(depth=depth), problem)
    for router in what.weighting.routers.values():
        router.weights[-1].data.zero_()
    torch.testing.assert_close(features(what.merged(), toy), dense(toy, arithmetic(problem)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("method", WHOLE[:2], ids=lambda m: type(m).__name__)
def test_w2_one_hot_weights_are_that_experts_mlps(toy, method, depth):
    problem = toy.problem()
    what, merged = adaptable(method.replace(depth=depth), problem), arithmetic(problem)
    for t, task in enumerate(problem.tasks):
        for router in what.weighting.routers.values():
            for last in router.weights[-1:]:
                last.data.zero_()
            router.biases[-1].data = torch.eye(len(problem.tasks))[t]
        weights = {n: problem.experts[task][n] if is_mlp(n) else merged[n] for n in merged}
        torch.testing.assert_close(features(what.merged(), toy), dense(toy, weights), rtol=1e-4, atol=1e-5)


def test_w3_a_batch_of_one_is_routed_as_by_input(toy):
    by_input, by_batch = (adaptable(WeMoe(routing=r), toy.problem()) for r in ("input", "batch"))
    scatter(by_input)
    by_batch.weighting = dataclasses.replace(by_batch.weighting, routers=by_input.weighting.routers)
    one, two = some(toy, 1)[:1], some(toy, 1)
    same = [features(what.merged(), toy, one) for what in (by_input, by_batch)]
    torch.testing.assert_close(*same, rtol=1e-5, atol=1e-5)
    other = [features(what.merged(), toy, two) for what in (by_input, by_batch)]
    assert not torch.allclose(*other, atol=1e-2)
    route = by_batch.merged().predictor(SuiteInputs(toy))(two).route
    assert route.shape == (len(two), 6, 4)
    assert torch.equal(route, route[:1].expand_as(route))


@pytest.mark.parametrize("method", [WeMoe(), EWeMoe(), RankOneMoe(components=2)], ids=lambda m: type(m).__name__)
def test_w5_only_routers_learn(toy, method):
    what = adaptable(method, toy.problem())
    fixed = {name: value.clone() for name, value in what.shared.items()}
    with torch.enable_grad():
        entropy(what.inputs.logits("blob", what.features({"blob": some(toy)})["blob"])).mean().backward()
    learned = what.weighting.parameters()
    assert all(p.grad is not None and p.grad.any() for p in learned)
    [group] = what.parameters()
    assert group["params"] == learned
    held = [v for share in what.ready.values() for v in vars(share).values() if isinstance(v, torch.Tensor)]
    assert not any(v.requires_grad for v in [*what.shared.values(), *held])
    assert all(torch.equal(what.shared[n], v) for n, v in fixed.items())


@whole
def test_g1_one_expert_with_weight_one_is_that_expert(toy, method):
    problem = toy.problem(toy.experts[:1])
    what = adaptable(method.replace(prior=1.0, depth=0), problem)
    expert = problem.experts[toy.experts[0]]
    torch.testing.assert_close(features(what.merged(), toy), dense(toy, expert), rtol=1e-4, atol=1e-5)


@whole
def test_g2_equal_experts_count_as_many_times(toy, method):
    problem = toy.problem(toy.experts[:2])
    first = next(iter(problem.experts.values()))
    equal = dataclasses.replace(problem, experts=dict.fromkeys(problem.tasks, first))
    what = adaptable(method.replace(depth=0), equal)
    alone = dataclasses.replace(problem, experts={"one": first})
    expected = dense(toy, arithmetic(alone, 0.6))
    torch.testing.assert_close(features(what.merged(), toy), expected, rtol=1e-4, atol=1e-5)


def test_e1_without_sparsity_it_is_wemoe_with_one_router(toy):
    sparse, plain = (adaptable(m, toy.problem()) for m in (EWeMoe(sparsity=0), WeMoe()))
    scatter(sparse)
    plain.weighting = sparse.weighting
    torch.testing.assert_close(features(sparse.merged(), toy), features(plain.merged(), toy), rtol=1e-5, atol=1e-5)


def test_with_full_sparsity_the_mlps_are_pretrained(toy):
    problem = toy.problem()
    what, merged = adaptable(EWeMoe(sparsity=1), problem), arithmetic(problem)
    weights = {n: problem.pretrained[n] if is_mlp(n) else merged[n] for n in merged}
    torch.testing.assert_close(features(what.merged(), toy), dense(toy, weights), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(7,), (8, 5), (33, 31)])
@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.9, 0.99, 1])
def test_e2_kept_entries_exceed_the_quantile(shape, sparsity):
    vectors = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    kept, count = largest(vectors, sparsity), math.prod(shape)
    for vector, mask in zip(vectors, kept, strict=True):
        if sparsity:
            bound = torch.quantile(vector.abs().double(), sparsity)
            assert torch.equal(mask, vector.abs() > bound)
        assert abs(int(mask.sum()) - math.ceil((1 - sparsity) * count)) <= 1
    assert bool(kept.all()) == (sparsity == 0)


def test_e3_one_router_object_and_bytes_as_stored(toy):
    what = adaptable(EWeMoe(), toy.problem())
    for weighting in (what.weighting, what.merged().weighting):
        assert len({id(r) for r in weighting.routers.values()}) == 1
        assert len(weighting.routers) == 3
    d, tasks = 32, 4
    merged = what.merged()
    router = d * d + d + tasks * d + tasks
    assert merged.weighting.stored_parameters == router
    base = sum(v.numel() for v in what.shared.values())
    per_expert = 3 * (2 * 32 * 64 + 64 + 32)
    kept = sum(len(v) for s in merged.shares.values() for part in (s.weight, s.bias) for v in part.values)
    assert kept == pytest.approx(0.1 * per_expert * tasks, rel=0.01)
    assert merged.stored_parameters == base + kept + per_expert * tasks / 32 + router


def test_wemoe_stores_every_expert_whole_and_a_router_per_block(toy):
    merged = adaptable(WeMoe(), toy.problem()).merged()
    base = sum(v.numel() for v in merged.shared.values())
    router = 32 * 32 + 32 + 4 * 32 + 4
    assert merged.stored_parameters == base + 4 * 3 * (2 * 32 * 64 + 64 + 32) + 3 * router


# Against explicit loops in float64


def naive_router(router: Router, tokens: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of the router's outputs, token by token."""
    outputs = []
    for h in tokens:
        if len(router.weights) == 2:
            h = (router.weights[0].double() @ h + router.biases[0].double()).relu()
        outputs.append((router.weights[-1].double() @ h if len(router.weights) else 0) + router.biases[-1].double())
    return torch.stack(outputs).mean(0)


def read_by(toy, weights, x: torch.Tensor, path: str) -> torch.Tensor:
    """What a layer reads for one input, (tokens, d), with its gradient."""
    taken = []

    def keep(layer, tokens, y):
        taken.append(tokens[0])
        return y

    toy.features(weights, x[None].double(), {path: keep})
    return taken[0]


def naive_vector(method, vector: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """What one expert adds to one tensor, from its task vector and its weights w (1,) or (k,)."""
    if isinstance(method, EWeMoe):
        return w * torch.where(vector.abs() > torch.quantile(vector.abs(), method.sparsity), vector, 0)
    if vector.ndim == 1 and isinstance(method, RankOneMoe):
        return method.prior * vector
    rank = getattr(method, "rank", 0.0)
    if vector.ndim == 1 or rank == 1:
        return w * vector
    U, s, Vh = torch.linalg.svd(vector, full_matrices=False)
    k = len(w) if isinstance(method, RankOneMoe) else round(rank * len(s))
    return sum((w[j] if len(w) > 1 else w) * s[j] * torch.outer(U[:, j], Vh[j]) for j in range(k))


@functools.lru_cache
def start_of(toy, prior: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The pretrained model, and what Task Arithmetic makes of it, in float64."""
    problem = toy.problem()
    merged = arithmetic(problem, prior)
    return tuple({n: v.double() for n, v in model.items()} for model in (problem.pretrained, merged))


def naive(method, what: RoutedMlps, toy, x: torch.Tensor) -> torch.Tensor:
    """Features of one input: dense MLP weights of its own, block after block."""
    problem, (base, merged) = toy.problem(), start_of(toy, method.prior)
    weights = {n: base[n] if is_mlp(n) else v for n, v in merged.items()}
    for block in range(3):
        path = f"encoder.layer.{block}.mlp"
        tokens = read_by(toy, weights, x, f"{path}.fc1")
        w = naive_router(what.weighting.routers[block], tokens)
        if getattr(method, "select", 0):
            least = w.sort(descending=True).values[method.select - 1]
            w = w / (1 + torch.exp(-100 * (w - least)))
        for leaf in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
            name = f"{path}.{leaf}"
            for expert, own in zip(problem.experts.values(), w.chunk(len(problem.tasks)), strict=True):
                vector = expert[name].double() - base[name]
                weights[name] = weights[name] + naive_vector(method, vector, own)
    return toy.features(weights, x[None].double())[0]


CASES = [
    WeMoe(depth=0), WeMoe(depth=1), WeMoe(depth=2), WeMoe(depth=2, rank=0.3), EWeMoe(depth=1), EWeMoe(sparsity=0.5),
    RankOneMoe(components=3), RankOneMoe(components=3, depth=2, select=5),
]  # fmt: skip


@pytest.mark.parametrize("method", CASES, ids=lambda m: f"{type(m).__name__}{m.depth}")
def test_w4_the_fast_path_equals_dense_weights_per_input(toy, method):
    what, inputs = adaptable(method, toy.problem()), some(toy, 1)
    scatter(what)
    with torch.no_grad():
        expected = torch.stack([naive(method, what, toy, x) for x in inputs])
    exact = features(what.merged(), toy, inputs, torch.float64)
    torch.testing.assert_close(exact, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features(what.merged(), toy, inputs), expected, rtol=1e-4, atol=1e-5)
    if method.depth:
        route = what.merged().predictor(SuiteInputs(toy))(inputs).route
        assert route.std(0).max() > 0.01, "inputs should differ"


def naive_loss(method, what: RoutedMlps, toy, batches: dict[str, torch.Tensor]) -> torch.Tensor:
    """Σ_t mean entropy of single inputs, over ln C where balanced."""
    total = torch.zeros((), dtype=torch.float64)
    for task, inputs in batches.items():
        for x in inputs:
            logits = toy.head(task)(naive(method, what, toy, x)[None])[0]
            share = len(inputs) * (math.log(len(logits)) if method.balanced else 1.0)
            total = total + reference.entropy(logits) / share
    return total


def in_double(what: RoutedMlps) -> RoutedMlps:
    what.shared = {n: v.double() for n, v in what.shared.items()}
    what.ready = {path: share.to(torch.float64) for path, share in what.shares.items()}
    for router in what.weighting.routers.values():
        router.double()
    return what


LEARNING = [
    WeMoe(depth=0), WeMoe(depth=1, balanced=True), WeMoe(depth=2), WeMoe(depth=2, rank=0.3, balanced=True),
    EWeMoe(depth=2, sparsity=0.5), EWeMoe(depth=1, balanced=True),
    RankOneMoe(components=3, balanced=True), RankOneMoe(components=3, depth=2, select=5),
]  # fmt: skip
learning = pytest.mark.parametrize("method", LEARNING, ids=lambda m: f"{type(m).__name__}{m.depth}{m.balanced}")


@learning
def test_gradients_of_the_routers(toy, method):
    """Every path counts: through the weights of an MLP, and through what later routers read."""
    problem = toy.problem()
    fast, slow = (in_double(adaptable(method, problem)) for _ in "12")
    for what in (fast, slow):
        scatter(what, 0.3)
    batches = {task: next(problem.inputs.stream(task, 2)).double() for task in problem.tasks}
    given = {task: (inputs, None) for task, inputs in batches.items()}
    drive(descend(fast, problem.inputs, given, method.settings()))
    learned = slow.weighting.parameters()
    wanted = torch.autograd.grad(naive_loss(method, slow, toy, batches), learned)
    for parameter, gradient in zip(fast.weighting.parameters(), wanted, strict=True):
        assert gradient.any()
        assert (parameter.grad - gradient).norm() < 1e-5 * gradient.norm()


COURSES = [
    WeMoe(depth=2, schedule="cosine"), EWeMoe(depth=1, sparsity=0.5, balanced=True, schedule="cosine"),
    RankOneMoe(components=3, depth=1, select=5, schedule="cosine"),
]  # fmt: skip


@pytest.mark.parametrize("method", COURSES, ids=lambda m: type(m).__name__)
def test_a_course_of_the_routers_follows_the_naive_one(toy, method):
    """Adam written out, its rate by the cosine; the snapshot of every update is where the naive routers are."""
    problem, steps, rate = toy.problem(), 3, 0.02
    start, snapshots = adaptable(method, problem), []
    scatter(start, 0.3)
    slow = in_double(copy.deepcopy(start))
    settings = dataclasses.replace(method.settings(), steps=steps, batch=2, learning_rate=rate)
    drive(
        adapt_steps(start, problem.inputs, problem.tasks, settings),
        lambda step: snapshots.append(step.snapshot().weighting.parameters()) if step.snapshot else None,
    )
    learned, streams = slow.weighting.parameters(), {t: problem.inputs.stream(t, 2) for t in problem.tasks}
    before = [p.detach().clone() for p in learned]
    optimiser = reference.Adam(learned, [])
    for step, found in enumerate(snapshots[-steps:]):
        optimiser.rates = [rate * (1 + math.cos(math.pi * step / steps)) / 2] * len(learned)
        batches = {task: next(stream) for task, stream in streams.items()}
        optimiser.step([*torch.autograd.grad(naive_loss(method, slow, toy, batches), learned)])
        for parameter, wanted in zip(found, learned, strict=True):
            assert (parameter - wanted.detach()).abs().max() < 0.02 * rate
    assert all((p.detach() - b).abs().max() > rate for p, b in zip(learned, before, strict=True))


# Pieces


def test_routers_start_close_to_the_prior_and_know_their_tasks_by_name():
    def start(tasks, **size):
        return Router.start(16, tasks, 0.3, 2, lambda *key: context().generator(*key), **size)

    tokens = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    there, back = start(("a", "b", "c")), start(("c", "b", "a"))
    assert torch.equal(there(tokens), back(tokens).flip(1))
    assert (there(tokens) - 0.3).abs().max() < 0.05
    assert start(("a", "b"), each=3, hidden=12)(tokens).shape == (2, 6)
    assert [p.shape for p in start(("a", "b"), each=3, hidden=12).weights] == [(12, 16), (6, 12)]
    wide = Router.start(64, "abcdefgh", 0.3, 2, context().generator)
    spread = torch.cat([p.detach().flatten() for p in wide.weights])
    assert spread.std().item() == pytest.approx(0.01, rel=0.05)


def test_padding_does_not_route():
    router = Router.start(8, ("a", "b"), 0.3, 2, context().generator)
    tokens = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1))
    real = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    expected = torch.cat([router(tokens[:1, :4]), router(tokens[1:])])
    torch.testing.assert_close(router(tokens, real), expected)


def test_weights_shared_by_all_inputs_blend_first():
    g = torch.Generator().manual_seed(0)
    share = DenseLinear(torch.randn(3, 4, 5, generator=g), torch.randn(3, 4, generator=g))
    x, w = torch.randn(2, 6, 5, generator=g), torch.randn(1, 3, generator=g)
    torch.testing.assert_close(share.added(None, x, w), share.added(None, x, w.expand(2, 3)))


def test_a_sparse_share_is_made_dense_once_while_somebody_holds_it(toy):
    what = adaptable(EWeMoe(), toy.problem())
    share, held = next((share, what.ready[path]) for path, share in what.shares.items())
    device = SuiteInputs(toy).device
    assert share.to(torch.float32, device) is held, "looks at a run take what the run has"
    assert share.to(torch.float64, device).weight.dtype == torch.float64
    gone = weakref.ref(held)
    del held
    what.ready.clear()
    assert gone() is None, "a merge keeps what is sparse alone"
    torch.testing.assert_close(share.to(torch.float32, device).weight, unpacked(share.weight))


def test_first_routes_are_noted_a_pass_of_several_tasks_at_a_time(toy, monkeypatch):
    monkeypatch.setattr(adapt, "JOINT", 2 * EWeMoe().batch)
    steps = [step for step in EWeMoe().adaptable(toy.problem(), context()) if step.label.startswith("first routes")]
    tasks = toy.experts
    pairs = [tasks[i : i + 2] for i in range(0, len(tasks), 2)]
    assert [step.label for step in steps] == [f"first routes of {', '.join(some)}" for some in pairs]
    assert [(step.done, step.total) for step in steps] == [(i, len(pairs)) for i in range(1, len(pairs) + 1)]


def test_selection_keeps_the_largest_weights():
    w = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.0, -1.0, -2.0, -3.0]])
    chosen = Selecting({}, {}, select=2).choose(w)
    expected = torch.tensor([[0.9, 0.0, 0.25, 0.0], [0.0, -0.5, 0.0, 0.0]])
    torch.testing.assert_close(chosen, expected, rtol=0, atol=1e-6)
    for whole in (Selecting({}, {}), Selecting({}, {}, select=4), MlpWeighting({}, {})):
        assert torch.equal(whole.choose(w), w)


def test_sparse_parts_come_back():
    vectors = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    part = SparsePart.of(vectors, vectors > 0.5)
    assert torch.equal(unpacked(part), vectors.where(vectors > 0.5, 0))
    assert part.stored_parameters == int((vectors > 0.5).sum()) + 3 * 15 / 32


# Whole runs


@pytest.mark.parametrize("cls", [WeMoe, EWeMoe, RankOneMoe])
def test_entropy_falls_and_snapshots_stand_still(toy, cls):
    problem = toy.problem(toy.experts[:3])
    method = cls(steps=12, batch=8, learning_rate=0.01)
    kept = []

    def watch(step):
        if step.snapshot is not None and step.done == 1:
            early = step.snapshot()
            kept.extend([early, features(early, toy)])

    merged = drive(method.run(problem, context()), watch)
    early, then = kept
    assert torch.equal(features(early, toy), then)
    assert not torch.allclose(then, features(merged, toy), atol=1e-3)
    entropies = torch.tensor(merged.history.entropy).mean(1)
    assert entropies[-3:].mean() < entropies[:3].mean()
    routes = merged.history.over_time("routes")
    assert routes.shape == (13, 3, 3, 3)
    assert abs(routes[0] - 0.3).max() < 0.1
    assert abs(routes[-1] - routes[0]).max() > 0.02
    assert all(s.routed is None for s in score(toy, merged, limit=8).values()), "the head is given"


def test_batch_routing_is_labelled(toy):
    assert "batch" in WeMoe(routing="batch").remarks(("a",))[0]
    assert not WeMoe().remarks(("a",))
