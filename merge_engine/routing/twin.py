"""A shared model and exclusive parts of the experts, mixed for every input by a trained router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..routers._training import TrainedRouter
from ..weights import Weights, in_memory
from .per_input import Decided, blended
from .prediction import Network, Prediction, Predictor, one_hot
from .routed import BlendedMerged

MIXES = ("router", "uniform", "one-hot", "shared-only", "exclusive-only")


@dataclass(frozen=True)
class Mix:
    """Weights of the experts from a router's scores: their softmax, or something to compare it with.

    `stored` says that the model whose features the router reads is kept anyway.
    """

    router: TrainedRouter
    how: str = "router"
    stored: bool = True
    forwards: float = 1.0

    def weights(self, scores: Tensor) -> Tensor:
        """Return w (B, T) from scores (B, T)."""
        if self.how == "uniform":
            return torch.full_like(scores, 1 / scores.shape[1])
        if self.how == "one-hot":
            return one_hot(scores.argmax(1), scores.shape[1])[:, 0]
        return torch.zeros_like(scores) if self.how == "shared-only" else scores.softmax(1)

    def begin(self, network: Network, inputs: Tensor) -> Callable[[str, nn.Module, Tensor], Tensor]:
        """Return one w (B, T) for all layers."""
        w = self.weights(self.router.ready(network)(inputs))
        return lambda path, layer, x: w

    @property
    def stored_parameters(self) -> float:
        return self.router.own_parameters if self.stored else self.router.stored_parameters


@dataclass(frozen=True)
class TwinMerged(BlendedMerged):
    """θ(x) = θ_shared + Σ_t w_t(x) v_t, and the head of the expert with the highest score, whatever w is.

    `own` are tensors by task, such as biases, that are neither merged nor mixed but taken from the true task's expert
    together with its head; a merge with such tensors knows the task of every input and is a ceiling.
    """

    own: Mapping[str, Weights] | None = None

    @property
    def knows_task(self) -> bool:
        return self.own is not None

    @property
    def stored_parameters(self) -> float:
        borrowed = sum(weights[n].numel() for weights in (self.own or {}).values() for n in weights)
        return super().stored_parameters + borrowed

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor: one pass of the model whose features route, and one of the blend."""
        mix: Any = self.weighting
        route, shared = mix.router.ready(network), in_memory(self.shared, network.device, dtype)
        shares = {path: share.to(dtype, network.device) for path, share in self.shares.items()}
        own = {task: in_memory(weights, network.device, dtype) for task, weights in (self.own or {}).items()}

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            scores = route(inputs)
            w, picked = mix.weights(scores), None if own else scores.argmax(1)
            base = {**shared, **own[task]} if task in own else shared
            if not shares:
                return Prediction(network.features(base, inputs), picked, w.unsqueeze(1))
            features, used = blended(network, base, shares, Decided(w), inputs)
            return Prediction(features, picked, used)

        return predict

