"""Merges that decide per input: a router over stored experts, or weights blended for every input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..adapting.history import History
from ..errors import RecipeError
from ..merged import Merged, PerTaskMerged
from ..weights import Weights, in_memory
from .per_input import Share, Weighting, blended
from .prediction import Network, Prediction, Predictor, one_hot


class FittedRouter(Protocol):
    """A router fitted to T experts. Higher scores are better, whatever the router measures."""

    def ready(self, network: Network) -> ReadyRouter: ...
    @property
    def stored_parameters(self) -> float: ...
    @property
    def forwards(self) -> float:
        """Passes of one model that routing an input costs, such as 1 for features of the pretrained model."""
        ...


class ReadyRouter(Protocol):
    """A fitted router with its network at hand."""

    def __call__(self, inputs: Tensor, task: str | None = None) -> Tensor: ...


@dataclass(frozen=True)
class RoutedMerged(Merged):
    """A store of experts and a router: every input runs the expert with the highest score, and that expert's head.

    `oracle` tells a router that needs it the true task; such a merge is a ceiling and can score only its own tasks.
    """

    store: PerTaskMerged
    router: FittedRouter
    oracle: bool = False
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.store.tasks

    @property
    def forwards(self) -> float:
        return self.store.forwards + self.router.forwards

    @property
    def knows_task(self) -> bool:
        return self.oracle

    def weights(self, task: str | None = None) -> Weights:
        """Return the weights of one stored expert; raises RecipeError without its name."""
        return self.store.weights(task)

    @property
    def stored_parameters(self) -> float:
        return self.store.stored_parameters + self.router.stored_parameters

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that groups a batch by expert, so that every expert runs once."""
        route, serve = self.router.ready(network), self.store.predictor(network, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            picked = route(inputs, task).argmax(1)
            parts = [(picked == t).nonzero().squeeze(1) for t in range(len(self.tasks))]
            found = [
                serve(inputs[rows], name).features
                for name, rows in zip(self.tasks, parts, strict=True)
                if len(rows)
            ]
            order = torch.cat(parts).argsort()
            return Prediction(torch.cat(found)[order], picked, one_hot(picked, len(self.tasks)))

        return predict


@dataclass(frozen=True)
class BlendedMerged(Merged):
    """Weights of their own for every input: θ(x) = θ_shared + Σ_t w_t(x) v_t, layer by layer.

    `shared` holds every tensor, `shares` the experts' parts v_t by path of the layer, and `weighting` says how the
    coefficients w come about. The sum over experts runs inside each layer; no input gets weight tensors of its own.
    Where an expert has several parts in a layer, w names them expert by expert, and the route is their mean.
    """

    shared: Weights
    tasks: tuple[str, ...]
    shares: Mapping[str, Share]
    weighting: Weighting
    picks_head: bool = True
    notes: tuple[str, ...] = ()
    history: History | None = None

    def weights(self, task: str | None = None) -> Weights:
        """Raise RecipeError: there is no one model."""
        raise RecipeError(
            "This merge has weights of its own for every input and no single model; "
            "score it, or save it as parts."
        )

    @property
    def stored_parameters(self) -> float:
        base = float(sum(self.shared[n].numel() for n in self.shared))
        return base + sum(s.stored_parameters for s in self.shares.values()) + self.weighting.stored_parameters

    @property
    def forwards(self) -> float:
        return 1.0 + self.weighting.forwards

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that adds every layer's blended share to its output."""
        shared = in_memory(self.shared, network.device, dtype)
        shares = {path: share.to(dtype, network.device) for path, share in self.shares.items()}

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            features, used = blended(network, shared, shares, self.weighting, inputs)
            route = used.unflatten(-1, (len(self.tasks), -1)).mean(-1)
            return Prediction(features, route.mean(1).argmax(1) if self.picks_head else None, route)

        return predict
