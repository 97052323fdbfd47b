"""Routers as weights of a blend: every layer of an input gets the same coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..routing.prediction import Network
from ..routing.routed import FittedRouter


@dataclass(frozen=True)
class Blend:
    """w = softmax(score / σ) over all experts, or over the `most` best ones."""

    router: FittedRouter
    sigma: float
    most: int | None = None
    forwards: float = 1.0

    @property
    def stored_parameters(self) -> float:
        return self.router.stored_parameters

    def begin(self, network: Network, inputs: Tensor) -> Callable[[str, nn.Module, Tensor], Tensor]:
        """Route a batch; return its coefficients, the same in every layer."""
        w = self.weights(self.router.ready(network)(inputs))
        return lambda path, layer, x: w

    def weights(self, scores: Tensor) -> Tensor:
        """Return coefficients (B, T) of scores (B, T), one on the best expert as σ goes to 0."""
        shifted = (scores - scores.amax(1, keepdim=True)) / max(self.sigma, 1e-12)
        if self.most is not None and self.most < scores.shape[1]:
            best = scores.topk(self.most, dim=1).indices
            shifted = torch.full_like(shifted, -math.inf).scatter(1, best, shifted.gather(1, best))
        return shifted.softmax(1)
