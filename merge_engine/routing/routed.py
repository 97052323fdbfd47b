"""Merges that decide per input: a router over stored experts, or weights blended for every input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..adapting.history import History
from ..errors import RecipeError
from ..merged import BATCH, Merged, PerTaskMerged
from ..weights import Weights, in_memory
from .per_input import Decision, Share, Weighting, blended
from .prediction import Network, Prediction, Predictor, one_hot

WINDOW = 8  # batches that are sorted by expert together


class FittedRouter(Protocol):
    """A router fitted to T experts. Higher scores are better, whatever the router measures."""

    def ready(self, network: Network) -> ReadyRouter: ...
    @property
    def reads(self) -> str:
        """The model whose features it reads, such as `pretrained` or the key of a merge; empty where it reads none."""
        ...

    @property
    def stored_parameters(self) -> float:
        """Numbers to store beside that model."""
        ...

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
    With `vote` all inputs of a batch take the expert that most of them would; with `given_head` no head is chosen.
    """

    store: PerTaskMerged
    router: FittedRouter
    oracle: bool = False
    notes: tuple[str, ...] = ()
    vote: bool = False
    given_head: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.store.tasks

    @property
    def forwards(self) -> float:
        return self.store.forwards + self.router.forwards

    @property
    def knows_task(self) -> bool:
        return self.oracle

    @property
    def stored_parameters(self) -> float:
        read = read_beside(self.router.reads, self.store.keeps, self.store.pretrained)
        return self.store.stored_parameters + self.router.stored_parameters + read

    @property
    def window(self) -> int:
        """Several batches, so that the few inputs that stray to an expert go through it together; a vote is of one."""
        return 1 if self.vote else WINDOW

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that groups its inputs by expert, so that every expert runs as seldom as it can."""
        route, serve = self.router.ready(network), self.store.predictor(network, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            picked = torch.cat([route(part, task) for part in inputs.split(BATCH)]).argmax(1)
            if self.vote:
                picked = picked.mode().values.expand(len(picked))
            parts = [(picked == t).nonzero().squeeze(1) for t in range(len(self.tasks))]
            found = [
                serve(inputs[some], name).features
                for name, rows in zip(self.tasks, parts, strict=True)
                if len(rows)
                for some in rows.split(BATCH)
            ]
            order = torch.cat(parts).argsort()
            way = one_hot(picked, len(self.tasks))
            return Prediction(torch.cat(found)[order], None if self.given_head else picked, way)

        return predict


@dataclass(frozen=True)
class BlendedMerged(Merged):
    """Weights of their own for every input: θ(x) = θ_shared + Σ_t w_t(x) v_t, layer by layer.

    `shared` holds every tensor, `shares` the experts' parts v_t by path of the layer, and `weighting` says how the
    coefficients w come about. The sum over experts runs inside each layer; no input gets weight tensors of its own.
    Where an expert has several parts in a layer, w names them expert by expert, and the route is their mean.

    `keeps` names the model that `shared` is; where the shares were unpacked from a `store`, that is what is kept.
    `own` are tensors by task, such as biases, that are neither shared nor blended but taken from the true task's expert
    together with its head; a merge with such tensors knows the task of every input and is a ceiling.
    """

    shared: Weights
    tasks: tuple[str, ...]
    shares: Mapping[str, Share]
    weighting: Weighting
    notes: tuple[str, ...] = ()
    history: History | None = None
    keeps: str = "pretrained"
    store: PerTaskMerged | None = None
    own: Mapping[str, Weights] | None = None

    @property
    def knows_task(self) -> bool:
        return self.own is not None

    @property
    def stored_parameters(self) -> float:
        read = read_beside(self.weighting.reads, self.store.keeps if self.store else self.keeps, self.shared)
        return self._kept + self.weighting.stored_parameters + read

    @property
    def _kept(self) -> float:
        if self.store is not None:
            return self.store.stored_parameters
        models = (self.shared, *(self.own or {}).values())
        return float(sum(w[n].numel() for w in models for n in w)) + sum(
            share.stored_parameters for share in self.shares.values()
        )

    @property
    def forwards(self) -> float:
        return 1.0 + self.weighting.forwards

    @property
    def work(self) -> float:
        """Passes of one model, and the experts' shares as far as an input is multiplied with them."""
        model = sum(self.shared[n].numel() for n in self.shared)
        return self.forwards + sum(share.multiplied for share in self.shares.values()) / model

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that adds every layer's blended share to its output."""
        decide, blend = self.weighting.ready(network), self.blend(network, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            decision = decide(inputs)
            features, used = blend(inputs, decision, task)
            route = used.unflatten(-1, (len(self.tasks), -1)).mean(-1)
            return Prediction(features, None if self.own else decision.picked, route)

        return predict

    def blend(
        self, network: Network, dtype: torch.dtype = torch.float32
    ) -> Callable[[Tensor, Decision, str | None], tuple[Tensor, Tensor]]:
        """Return what gives features (B, D) and route of a batch that was decided about, with all parts in memory."""
        shared = in_memory(self.shared, network.device, dtype)
        shares = {path: share.to(dtype, network.device) for path, share in self.shares.items()}
        own = {task: in_memory(weights, network.device, dtype) for task, weights in (self.own or {}).items()}

        def blend(inputs: Tensor, decision: Decision, task: str | None) -> tuple[Tensor, Tensor]:
            base = shared
            if own:
                if task is None or task not in own:
                    raise RecipeError(f"This merge knows the tasks {', '.join(own)}; got {task!r}, give one of those.")
                base = {**shared, **own[task]}
            return blended(network, base, shares, decision, inputs)

        return blend


def leaks(who: str) -> str:
    """Return the sentence about what looks at a whole batch."""
    return (
        f"{who} looks at all inputs of a batch together; test batches hold one task each, so what it gains over "
        "routing by input comes from knowing that."
    )


def read_beside(reads: str, keeps: str, model: Weights) -> float:
    """Return the numbers of the model that a router reads; 0 where it reads none, or the one that is kept anyway."""
    return 0.0 if reads in ("", keeps) else float(sum(model[n].numel() for n in model))
