"""What a merge said about single inputs, kept while it is scored: no further pass, and nothing copied until asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .merged import Merged
from .routing.prediction import Prediction
from .suite import Suite

Place = tuple[int | None, str]
ANYWHERE: Place = (None, "")


@dataclass(frozen=True)
class Predicted:
    """What a merge said about every input of a split of one task, in the seeded scoring order.

    `index` (N,) are positions within the split, `label` (N,) true classes; `guess` (N,) and `confidence` (N,) in [0, 1]
    are those of the task's own head. `picked` (N,) numbers the expert whose head was used, None where the head was
    given; `route` (N, L, T) as in `Prediction`, or its mean by block.
    """

    task: str
    index: np.ndarray
    label: np.ndarray
    guess: np.ndarray
    confidence: np.ndarray
    picked: np.ndarray | None
    route: np.ndarray | None

    def right(self, experts: Sequence[str]) -> np.ndarray:
        """Return which inputs (N,) count as right: their class is, and so is the head where the merge chose one.

        `experts` are those that heads are picked from; a task that has none of them is given its head.
        """
        found = self.guess == self.label
        if self.picked is None or self.task not in experts:
            return found
        return found & (self.picked == list(experts).index(self.task))


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """How `n` inputs of a task weigh the experts in every layer.

    `mean` (L, T), and the share of inputs for which a weight is the `largest`, in [0, 1], the same shape; `places` (L,)
    are block and kind of the layers.
    """

    places: tuple[Place, ...]
    mean: np.ndarray
    largest: np.ndarray
    n: int


class Answers:
    """What a merge said about the inputs of one task, batch after batch; it only grows.

    Routes are kept by block, so that an input takes no more than depth times experts numbers, unless `whole`; sums by
    layer are kept beside them.
    """

    def __init__(self, task: str, index: Tensor, label: Tensor, whole: bool = False) -> None:
        self.task, self.index, self.label, self.whole = task, index, label, whole
        self.places: tuple[Place, ...] = ()
        self.guess: list[Tensor] = []
        self.confidence: list[Tensor] = []
        self.picked: list[Tensor] = []
        self.route: list[Tensor] = []
        self._sum, self._largest = torch.zeros(()), torch.zeros(())

    def add(self, logits: Tensor, said: Prediction, places: tuple[Place, ...] = ()) -> None:
        """Keep what was said about the next inputs; `places` are the layers of their routes."""
        confidence, guess = logits.softmax(-1).max(-1)
        self.guess.append(guess)
        self.confidence.append(confidence)
        if said.picked is not None:
            self.picked.append(said.picked)
        if said.route is not None and said.route.numel():
            self._add_route(said.route.float(), places)

    def _add_route(self, route: Tensor, places: tuple[Place, ...]) -> None:
        self.places = places if len(places) == route.shape[1] else (ANYWHERE,) * route.shape[1]
        self.route.append(route if self.whole else by_block(route, self.places))
        self._sum = self._sum + route.sum(0)
        self._largest = self._largest + torch.nn.functional.one_hot(route.argmax(2), route.shape[2]).sum(0)

    def first(self, batches: int, routes: bool = True) -> Predicted:
        """Return what was said in the first batches, perhaps without routes."""
        parts = (self.guess, self.confidence, self.picked, self.route if routes else [])
        guess, confidence, picked, route = (torch.cat(p[:batches]).numpy() if p else None for p in parts)
        assert guess is not None
        assert confidence is not None
        index, label = self.index[: len(guess)].numpy(), self.label[: len(guess)].numpy()
        return Predicted(self.task, index, label, guess, confidence, picked, route)

    def weights(self) -> LayerWeights | None:
        """Return the mean weights by layer so far, None where nothing is routed."""
        if not self.route:
            return None
        n = sum(map(len, self.route))
        return LayerWeights(self.places, (self._sum / n).numpy(), (self._largest / n).numpy(), n)


@dataclass(frozen=True, eq=False)
class Said:
    """The first `batches` of some answers, which may have grown since."""

    answers: Answers
    batches: int

    def __call__(self) -> Predicted:
        return self.answers.first(self.batches)


def by_block(route: Tensor, places: tuple[Place, ...]) -> Tensor:
    """Return routes (B, L, T) averaged over the layers of every block, (B, blocks, T); one where none has a block."""
    blocks = sorted({block for block, _ in places if block is not None})
    if len(places) == 1 or not blocks:
        return route.mean(1, keepdim=True)
    where = [[i for i, (block, _) in enumerate(places) if block == b] for b in blocks]
    return torch.stack([route[:, layers].mean(1) for layers in where], 1)


def route_places(merged: Merged, suite: Suite) -> tuple[Place, ...]:
    """Return block and kind of the layers that a merge routes in, in the order of its routes; empty where unknown."""
    found = (suite.backbone.place(name) for name in route_layers(merged))
    return tuple((place.block, place.kind) for place in found)


def route_layers(merged: Merged) -> tuple[str, ...]:
    """Return the names of the matrices of these layers."""
    return tuple(f"{path}.weight" for path in getattr(merged, "shares", None) or {})
