"""Weights of whole experts from a router's scores: every layer of an input gets the same ones."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .per_input import Decision
from .prediction import Network, one_hot
from .routed import FittedRouter
from .trained_router import TrainedRouter

MIXES = ("router", "uniform", "one-hot", "shared-only", "exclusive-only")


@dataclass(frozen=True)
class ByRouter(abc.ABC):
    """Abstract base. A subclass turns scores into weights; the head is of the best score, whatever the weights are."""

    router: FittedRouter

    @abc.abstractmethod
    def weights(self, scores: Tensor) -> Tensor:
        """Return w (B, T) from scores (B, T)."""

    def ready(self, network: Network) -> Callable[[Tensor], Decision]:
        """Return what routes a batch, with the router's network at hand."""
        route = self.router.ready(network)

        def decide(inputs: Tensor) -> Decision:
            scores = route(inputs)
            return Decision.same(self.weights(scores), scores.argmax(1))

        return decide

    @property
    def forwards(self) -> float:
        return self.router.forwards

    @property
    def reads(self) -> str:
        return self.router.reads

    @property
    def stored_parameters(self) -> float:
        return self.router.stored_parameters


@dataclass(frozen=True)
class Blend(ByRouter):
    """w = softmax(score / σ) over all experts, or over the `most` best ones."""

    sigma: float
    most: int | None = None

    def weights(self, scores: Tensor) -> Tensor:
        """Return coefficients (B, T) of scores (B, T), one on the best expert as σ goes to 0."""
        shifted = (scores - scores.amax(1, keepdim=True)) / max(self.sigma, 1e-12)
        if self.most is not None and self.most < scores.shape[1]:
            best = scores.topk(self.most, dim=1).indices
            shifted = torch.full_like(shifted, -math.inf).scatter(1, best, shifted.gather(1, best))
        return shifted.softmax(1)


@dataclass(frozen=True)
class Mix(ByRouter):
    """Twin-Merging's weights: the softmax of a trained router's scores, or something to compare it with."""

    router: TrainedRouter
    how: str = "router"

    def weights(self, scores: Tensor) -> Tensor:
        """Return w (B, T) from scores (B, T)."""
        if self.how == "uniform":
            return torch.full_like(scores, 1 / scores.shape[1])
        if self.how == "one-hot":
            return one_hot(scores.argmax(1), scores.shape[1])[:, 0]
        return torch.zeros_like(scores) if self.how == "shared-only" else scores.softmax(1)
