"""Representation surgery: the start is the merge, the fast path equals loops, and the distance falls."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference import training as reference

from merge_engine.adapting.adapt import Settings
from merge_engine.adapting.surgery import Adapters, Pool, SurgeryMerged, surgery_steps
from merge_engine.contract import Context
from merge_engine.errors import RecipeError
from merge_engine.evaluate import score
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from merge_engine.methods.average import Average
from merge_engine.methods.surgery import BASES, Surgery
from merge_engine.running import drive


def context() -> Context:
    return Context(svd=SvdStore(folder=None))


def run(method: Surgery, problem):
    return drive(method.run(problem, context()))


def served(merged, toy, task: str) -> torch.Tensor:
    with torch.inference_mode():
        return merged.predictor(SuiteInputs(toy))(toy.prepared(task, "validation")[:4], task).features


def drawn(count: int, d: int = 6, r: int = 3) -> Adapters:
    g = torch.Generator().manual_seed(2)
    return Adapters(torch.randn(count, r, d, generator=g), torch.randn(count, d, r, generator=g))


def test_without_a_correction_it_is_the_merge(toy):
    problem = toy.problem()
    base = drive(Average().run(problem, context()))
    merged = SurgeryMerged(base, problem.tasks, Adapters.start(64, 4, problem.tasks, context()))
    assert merged.knows_task
    for task in problem.tasks:
        inputs = toy.prepared(task, "validation")[:4]
        assert torch.equal(served(merged, toy, task), toy.features(base.weights(), inputs))


def test_equals_loops_in_float64():
    adapters = drawn(2)
    z = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(3))
    for t in range(2):
        down, up = adapters.down[t].double(), adapters.up[t].double()
        for b in range(5):
            inner = [max(0.0, float(sum(down[i] * z[t, b].double()))) for i in range(3)]
            expected = [float(z[t, b, i]) - sum(float(up[i, j]) * inner[j] for j in range(3)) for i in range(6)]
            torch.testing.assert_close(adapters(z)[t, b], torch.tensor(expected), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(adapters.of(t)(z[t : t + 1])[0], adapters(z)[t])


def test_training_equals_written_out_gradients_in_float64():
    tasks, d, r, size, steps = ("a", "b"), 7, 3, 4, 30
    random = torch.Generator().manual_seed(5)
    pools = {t: Pool(torch.randn(9, d, generator=random), torch.randn(9, d, generator=random)) for t in tasks}
    start = Adapters.start(d, r, tasks, context())
    inputs: Any = SimpleNamespace(logits=lambda task, features: features[:, :3])
    base: Any = SimpleNamespace()
    settings = Settings(steps, size, 0.02)
    fitted = drive(surgery_steps(inputs, base, pools, r, settings, context())).adapters
    for i, task in enumerate(tasks):
        draw = context().generator("surgery rows", task)
        rows = [torch.randint(9, (size,), generator=draw) for _ in range(steps)]
        batches = [(pools[task].merged[taken], pools[task].expert[taken]) for taken in rows]
        down, up = reference.surgery(start.down[i], start.up[i], batches, 0.02)
        torch.testing.assert_close(fitted.down[i].double(), down, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fitted.up[i].double(), up, rtol=1e-4, atol=1e-5)
    assert float(fitted.up.abs().max()) > 0.05


@pytest.mark.parametrize("base", list(BASES))
def test_features_come_closer_to_the_experts(toy, base):
    problem = toy.problem(toy.experts[:2])
    steps = 4 if base == "adamerging" else 60
    merged = run(Surgery(base=base, steps=steps, learning_rate=0.01, examples=64), problem)
    history = merged.history
    distance = history.over_time("distance")
    assert distance.shape == (len(history.steps), 2)
    assert len(history.entropy) == len(history.seconds) == steps
    if steps > 4:
        assert distance[-1].mean() < 0.9 * distance[0].mean()
    assert set(score(toy, merged, limit=4)) == set(problem.tasks), "only tasks with an adapter"


def test_one_expert_averaged_needs_no_correction(toy):
    problem = toy.problem(toy.experts[:1])
    merged = run(Surgery(base="average", steps=3, examples=16), problem)
    task = problem.tasks[0]
    expected = toy.features(problem.experts[task], toy.prepared(task, "validation")[:4])
    torch.testing.assert_close(served(merged, toy, task), expected, rtol=1e-4, atol=1e-3)


bases = pytest.mark.parametrize("base", list(BASES))


def still(base: str, problem, **options):
    """The merge that is corrected, and what surgery serves before it has learned anything."""
    merged = run(Surgery(base=base, steps=1, learning_rate=0.0, examples=8, **options), problem)
    assert not merged.adapters.up.any()
    changes = {"steps": 1} if base == "adamerging" else {}
    return drive(BASES[base](**changes).run(problem, context())), merged


@bases
def test_g1_of_one_expert_it_starts_at_the_merge_of_that_expert_and_goes_towards_it(toy, base):
    problem = toy.problem(toy.experts[:1])
    [task] = problem.tasks
    plain, merged = still(base, problem)
    inputs = toy.prepared(task, "validation")[:4]
    wanted = toy.features(plain.weights(), inputs)
    torch.testing.assert_close(served(merged, toy, task), wanted, rtol=1e-5, atol=1e-5)
    expert = toy.features(problem.experts[task], inputs)
    fitted = run(Surgery(base=base, steps=40, learning_rate=0.005, examples=64), problem)
    then, now = ((features - expert).abs().mean() for features in (wanted, served(fitted, toy, task)))
    assert now < 0.9 * then or then < 1e-4


@bases
def test_g2_of_equal_experts_it_starts_at_their_merge(toy, base):
    problem = toy.problem(toy.experts[:2])
    first = next(iter(problem.experts.values()))
    equal = dataclasses.replace(problem, experts=dict.fromkeys(problem.tasks, first))
    plain, merged = still(base, equal)
    pretrained, inputs = problem.pretrained, toy.prepared(problem.tasks[1], "validation")[:4]
    share = {"average": 1.0, "task_arithmetic": 0.6}.get(base)
    if share is not None:
        model = {n: v + share * (first[n] - v) for n, v in pretrained.items()}
        wanted = toy.features(model, inputs)
        torch.testing.assert_close(served(merged, toy, problem.tasks[1]), wanted, rtol=1e-4, atol=1e-4)
    for task in problem.tasks:
        inputs = toy.prepared(task, "validation")[:4]
        wanted = toy.features(plain.weights(), inputs)
        torch.testing.assert_close(served(merged, toy, task), wanted, rtol=1e-5, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Unlabelled(SuiteInputs):
    """Inputs of which nothing but the stream may be seen: the others are known to be of a task's train split."""

    def support(self, task, count=32, draw=0):
        raise AssertionError("surgery declares the stream alone")

    train = validation = labelled_stream = support


@bases
def test_it_looks_at_the_stream_alone(toy, base):
    problem = dataclasses.replace(toy.problem(toy.experts[:2]), inputs=Unlabelled(toy))
    assert Surgery(base=base).needs == {"stream", "task id"}
    merged = run(Surgery(base=base, steps=2, examples=8), problem)
    assert merged.adapters.up.any()


def test_tells_what_it_stores_and_what_it_cannot_give(toy):
    problem = toy.problem()
    merged = run(Surgery(base="average", steps=1, examples=8, rank=4), problem)
    assert merged.stored_parameters == merged.base.stored_parameters + 4 * 2 * 64 * 4
    with pytest.raises(RecipeError, match="features after the encoder"):
        merged.weights("blob")
    with pytest.raises(RecipeError, match="none for 'zzz'"):
        merged.predictor(SuiteInputs(toy))(toy.prepared("blob", "score")[:1], "zzz")
    assert any("needs the task" in note for note in merged.notes)
