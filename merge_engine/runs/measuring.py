"""Taking any measurement on a suite: on weights, features, predictions or a finished merge, as it declares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..answers import route_layers
from ..contract import Context, Step
from ..errors import DataError, RecipeError
from ..evaluate import BATCH, Model, predictions, scoring_order
from ..merged import Merged, PerTaskMerged, StaticMerged
from ..metrics import MERGED, Measured, Metric, WeightMetric, key_of
from ..problem import Problem
from ..routing.told import told
from ..routing.twin_energy import energy_steps, is_twin
from ..suite import Suite
from ..weights import in_memory
from .baselines import Baselines
from .protocol import Protocol
from .run import history_of, scoring

INPUTS = 64
Features = list[np.ndarray]
Steps = Generator[Step, None, Measured]


def measure_steps(
    metric: Metric,
    problem: Problem,
    suite: Suite | None = None,
    merged: Merged | None = None,
    ctx: Context | None = None,
    *,
    names: Collection[str] | str | None = None,
    limit: int | None = None,
) -> Steps:
    """Take a measurement, yielding Steps. All but those on weights need a suite; `limit` bounds inputs per task.

    Features are taken on the unlabelled adapt half, 64 inputs per task unless `limit` says otherwise; predictions on
    the score half. Raises RecipeError or DataError when the measurement needs what is not there.
    """
    if isinstance(metric, WeightMetric):
        return metric.steps(problem, ctx, names=names, merged=merged)
    if suite is None:
        raise DataError(f"{metric.title} is measured on {metric.source}; run it on a suite that has data.")
    if key_of(metric) not in TAKERS:
        raise RecipeError(f"{metric.title} is measured on {metric.source} that only the page collects.")
    return TAKERS[key_of(metric)](metric, problem, suite, merged, limit)


def features(suite: Suite, weights: Mapping[str, Tensor], inputs: Tensor) -> Features:
    """Return features (N, width) after every block and, last, as the head receives them."""
    blocks: list[list[np.ndarray]] = []
    for part in inputs.split(BATCH):
        with torch.inference_mode():
            inside = suite.backbone.block_features(suite.module, weights, part)
            layers = [*inside, suite.features(weights, part)]
        blocks.append([layer.float().numpy(force=True) for layer in layers])
    return [np.concatenate(layer) for layer in zip(*blocks, strict=True)]


def _cka(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    """Compare all models on one mixture of every task's inputs."""
    inputs = torch.cat([_inputs(suite, suite.task_of[e], limit) for e in problem.tasks])
    models = dict(problem.experts)
    if merged is not None:
        models[MERGED] = _one(merged, metric)
    found = {}
    for done, (name, weights) in enumerate(models.items(), 1):
        found[name] = features(suite, in_memory(weights, suite.device), inputs)
        yield Step(done, len(models), name)
    return metric.measure(found)


def _representation(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    made, mine, theirs = _needed(merged, metric), {}, {}
    if not isinstance(made, StaticMerged | PerTaskMerged):
        raise RecipeError(
            f"{metric.title} looks inside one model, block by block, and this merge is none; choose a static merge, or "
            "one that keeps a part per expert."
        )
    for done, expert in enumerate(problem.tasks, 1):
        inputs = _inputs(suite, suite.task_of[expert], limit)
        mine[expert] = features(suite, in_memory(made.weights(expert), suite.device), inputs)
        theirs[expert] = features(suite, in_memory(problem.experts[expert], suite.device), inputs)
        yield Step(done, len(problem.tasks), expert)
    return metric.measure(mine, theirs)


def _accuracy(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    made = _needed(merged, metric)
    own = {expert: suite.task_of[expert] for expert in problem.tasks}
    pairs = [*((e, t) for e, t in own.items()), *((None, t) for t in own.values())]
    fixed = yield from Baselines(suite).steps(pairs, limit)
    scores = yield from scoring(suite, made, tuple(own.values()), Protocol(limit=limit))
    share = {pair: found.accuracy(limit) / 100 for pair, found in fixed.items()}
    experts = {task: share[expert, task] for expert, task in own.items()}
    return metric.measure(scores, experts, {task: share[None, task] for task in own.values()})


def _cross_task(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    own = {expert: suite.task_of[expert] for expert in problem.tasks}
    pairs = [(model, task) for model in (None, *own) for task in own.values()]
    fixed = yield from Baselines(suite).steps(pairs, limit)
    accuracy = {pair: found.accuracy(limit) / 100 for pair, found in fixed.items()}
    experts = {e: {other: accuracy[e, task] for other, task in own.items()} for e in own}
    return metric.measure(experts, {e: accuracy[None, task] for e, task in own.items()})


def _cost(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    yield Step(1, 1, "counting")
    return metric.measure(problem, _needed(merged, metric))


def _routing(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    """Score a merge as it routes, and once more told the true task."""
    made = _needed(merged, metric)
    ceiling = told(made)
    routing, best = Model(made, suite), None if ceiling is None else Model(ceiling, suite)
    picked, right, known = {}, {}, {}
    for done, expert in enumerate(problem.tasks, 1):
        said = predictions(suite, routing, suite.task_of[expert], limit=limit)
        if said.picked is None:
            raise RecipeError(f"{metric.title} needs a merge that picks an expert for every input; choose another.")
        picked[expert], right[expert] = said.picked, said.right(problem.tasks)
        if best is not None:
            knowing = predictions(suite, best, suite.task_of[expert], limit=limit)
            known[expert] = float(knowing.right(problem.tasks).mean())
        yield Step(done, len(problem.tasks), expert)
    return metric.measure(picked, right, known)


def _route_depth(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    """Score a merge, and read how its inputs weighed the experts; one input tells first whether they do."""
    made, own = _needed(merged, metric), {expert: suite.task_of[expert] for expert in problem.tasks}
    route = predictions(suite, made, next(iter(own.values())), limit=1).route
    if route is None or route.shape[1] < 2:
        raise RecipeError(
            f"{metric.title} needs a merge that weighs experts layer by layer, such as WEMoE or SMILE; choose another."
        )
    scores = yield from scoring(suite, made, tuple(own.values()), Protocol(limit=limit))
    weights = {expert: scores[task].by_layer for expert, task in own.items()}
    layers = route_layers(made)
    return metric.measure(weights, layers if len(layers) == route.shape[1] else ())


def _twin_energy(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    made = _needed(merged, metric)
    if not is_twin(made):
        raise RecipeError(
            f"{metric.title} needs a shared model with exclusive parts that a router mixes; choose Twin-Merging."
        )
    return metric.measure((yield from energy_steps(problem, made)))


def _learned(metric: Any, problem: Problem, suite: Suite, merged: Merged | None, limit: int | None) -> Steps:
    yield Step(1, 1, "reading")
    return metric.measure(problem, history_of(_needed(merged, metric)))


TAKERS: dict[str, Callable[..., Steps]] = {
    "accuracy": _accuracy,
    "cka": _cka,
    "coefficients": _learned,
    "cost": _cost,
    "cross_task": _cross_task,
    "mask_share": _learned,
    "representation": _representation,
    "route_depth": _route_depth,
    "routing": _routing,
    "twin_energy": _twin_energy,
}


def _inputs(suite: Suite, task: str, limit: int | None) -> Tensor:
    inputs = suite.prepared(task, "adapt")
    return inputs[scoring_order(len(inputs), INPUTS if limit is None else limit)]


def _needed(merged: Merged | None, metric: Metric) -> Merged:
    if merged is None:
        raise RecipeError(f"{metric.title} needs a merged model; add --method, or merge first.")
    return merged


def _one(merged: Merged, metric: Metric) -> Mapping[str, Tensor]:
    try:
        return merged.weights()
    except RecipeError:
        raise RecipeError(f"{metric.title} compares single models; this merge keeps one part per expert.") from None
