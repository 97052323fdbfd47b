"""What a merge answers to an input whose task nobody knows: no label, and no task to choose a head by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .answers import by_block
from .evaluate import Model
from .routing.prediction import Prediction
from .suite import Suite


@dataclass(frozen=True)
class HeadAnswer:
    """What one task's head says: the class it finds likeliest, its probability, and how uncertain the head is.

    `uncertainty` is the entropy of the probabilities divided by the largest there is, ln C, in [0, 1]; so heads with
    different numbers of classes can be compared.
    """

    task: str
    guess: int
    probability: float
    uncertainty: float


@dataclass(frozen=True, eq=False)
class Reply:
    """Answers under the heads of several tasks, the most certain first.

    `picked` is the number of the expert whose head the merge itself chose, None where it chose none; `route` (L, T) is
    how it weighed the experts, by block. `told` says that the merge had to be told each task to answer under its head.
    """

    heads: tuple[HeadAnswer, ...]
    picked: int | None = None
    route: np.ndarray | None = None
    told: bool = False

    def under(self, task: str) -> HeadAnswer | None:
        """Return the answer under one task's head."""
        return next((head for head in self.heads if head.task == task), None)


def reply(model: Model, inputs: Tensor) -> Reply:
    """Return what a merge answers to one input (1, ...), under the head of every task that it can answer for.

    A merge that has to know the task is told each of those that it serves in turn.
    """
    suite = model.suite
    if model.knows_task:
        logits = {task: model(inputs, task)[0] for task in suite.tasks if model.serves(task)}
        return Reply(_sorted(logits), told=True)
    said = model.predict(inputs)
    with torch.inference_mode():
        logits = {task: suite.head(task)(said.features.float()) for task in suite.tasks}
    picked = None if said.picked is None else int(said.picked[0])
    return Reply(_sorted(logits), picked, _route(said, model))


def head_answer(suite: Suite, task: str, features: Tensor) -> HeadAnswer:
    """Return what a task's head says of features (D,)."""
    with torch.inference_mode():
        return answer_of(task, suite.head(task)(features[None].float())[0])


def answer_of(task: str, logits: Tensor) -> HeadAnswer:
    """Return the answer in logits (C,).

    p = softmax(logits), uncertainty = −Σ p ln p / ln C; a head with one class is certain.
    """
    p = logits.double().softmax(-1)
    entropy = float(-(p * p.clamp_min(1e-300).log()).sum())
    most = math.log(len(p)) if len(p) > 1 else 1.0
    return HeadAnswer(task, int(p.argmax()), float(p.max()), min(1.0, max(0.0, entropy / most)))


def _sorted(logits: dict[str, Tensor]) -> tuple[HeadAnswer, ...]:
    found: Sequence[HeadAnswer] = [answer_of(task, own[0].float()) for task, own in logits.items()]
    return tuple(sorted(found, key=lambda head: head.uncertainty))


def _route(said: Prediction, model: Model) -> np.ndarray | None:
    """Return the route of the one input (L, T), averaged over the layers of a block; None where there is none."""
    if said.route is None or not said.route.numel():
        return None
    route = said.route.float()
    places = model.places if len(model.places) == route.shape[1] else ((None, ""),) * route.shape[1]
    return by_block(route, places)[0].numpy()
