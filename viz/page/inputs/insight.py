"""Features of single inputs and routers fitted to the support set, each computed once in a process. Knows no Gradio."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from merge_engine import routers
from merge_engine.contract import Context, Step
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from merge_engine.routing.routed import FittedRouter
from merge_engine.running import drive
from merge_engine.suite import Suite
from merge_engine.weights import Weights, in_memory

from ..own.yours_pictures import SPLIT, YoursPictures

Input = tuple[str, str, int]  # task, split, place in the split; of a visitor's picture "", "yours", its number
BATCH = 16
KEPT = 8192  # features, about 3 kB each
FITTED = 4  # sets of experts
TRAINING_FREE = ("subspace", "nearest_mean", "nearest_neighbour", "mahalanobis", "weight_projection")


class Insight:
    """What is known about single inputs beside any merge, shared by all visitors."""

    def __init__(self, svd: SvdStore) -> None:
        self.svd, self.yours = svd, YoursPictures()
        self._features: OrderedDict[tuple, Tensor] = OrderedDict()
        self._routers: OrderedDict[tuple, Mapping[str, FittedRouter]] = OrderedDict()
        self._lock, self._working = threading.Lock(), threading.Lock()

    def feature(self, suite: Suite, model: str, one: Input) -> Tensor | None:
        """Return a feature (D,) under an expert, or the pretrained model where `model` is empty, if it is known."""
        return self._features.get((suite.name, model, one))

    def feature_steps(
        self, suite: Suite, wanted: Sequence[Input], model: str = ""
    ) -> Generator[Step, None, Tensor]:
        """Return features (N, D) of some inputs, yielding a Step after each batch of those that were not known."""
        weights: Weights | None = None
        known = self._known(suite, model, wanted)
        missing = [one for one in dict.fromkeys(wanted) if one not in known]
        total = len(missing)
        while missing:
            with self._working:  # two visitors who want the same inputs read them once
                known |= self._known(suite, model, missing)
                if some := [one for one in missing if one not in known][:BATCH]:
                    weights = weights or _weights(suite, model)
                    known |= self._read(suite, model, weights, some)
            missing = [one for one in missing if one not in known]
            yield Step(total - len(missing), total, f"asking {model}" if model else "reading inputs")
        return torch.stack([known[one] for one in wanted])

    def prepared(self, suite: Suite, one: Input) -> Tensor:
        """Return an input as the backbone takes it, (1, ...)."""
        task, split, place = one
        return self.yours.prepared(suite, place) if split == SPLIT else suite.prepared(task, split)[place : place + 1]

    def _known(self, suite: Suite, model: str, wanted: Sequence[Input]) -> dict[Input, Tensor]:
        return {one: found for one in wanted if (found := self.feature(suite, model, one)) is not None}

    def _read(self, suite: Suite, model: str, weights: Weights, some: Sequence[Input]) -> dict[Input, Tensor]:
        with torch.inference_mode():
            inputs = torch.cat([self.prepared(suite, one) for one in some])
            found = dict(zip(some, suite.features(weights, inputs).cpu(), strict=True))
        self._keep({(suite.name, model, one): feature for one, feature in found.items()})
        return found

    def router_steps(
        self, suite: Suite, experts: tuple[str, ...]
    ) -> Generator[Step, None, Mapping[str, FittedRouter]]:
        """Return every training-free router fitted to the support inputs of some experts, by key.

        Weight projection reads the pretrained model here instead of a TSV-M of the experts, which takes minutes.
        """
        if (key := (suite.name, experts)) in self._routers:
            return self._routers[key]
        support = [support_of(suite, expert) for expert in experts]
        features = yield from self.feature_steps(suite, [one for own in support for one in own])
        parts = normalize(features.double(), dim=-1).split([len(own) for own in support])
        found: dict[str, FittedRouter] = {}
        for router in TRAINING_FREE:
            found[router] = self._fitted(suite, experts, router, parts)
            yield Step(len(found), len(TRAINING_FREE), "fitting routers")
        with self._lock:
            self._routers[key] = found
            while len(self._routers) > FITTED:
                self._routers.popitem(last=False)
        return found

    def fitted(self, suite: Suite, experts: tuple[str, ...]) -> Mapping[str, FittedRouter]:
        """Return the routers that were fitted to some experts, by key; none before `router_steps` was through."""
        return self._routers.get((suite.name, experts), {})

    def _fitted(self, suite: Suite, experts: tuple[str, ...], key: str, support: Sequence[Tensor]) -> FittedRouter:
        made: Any = routers.build(key)
        if isinstance(made, routers.SupportRouter):
            look = routers.Features(suite.pretrained_in_memory)
            return routers.Fitted(look, support, made.scorer)
        ctx = Context(suite.device, svd=self.svd)
        return drive(routers.build(key, first="pretrained").fit_steps(suite.problem(experts), ctx))

    def _keep(self, found: Mapping[tuple, Tensor]) -> None:
        with self._lock:
            self._features.update(found)
            while len(self._features) > KEPT:
                self._features.popitem(last=False)


def support_of(suite: Suite, expert: str) -> list[Input]:
    """Return the support inputs of an expert's task."""
    task = suite.task_of[expert]
    return [(task, "support", i) for i in range(len(suite.indices(task, "support")))]


def scores(suite: Suite, fitted: FittedRouter, feature: Tensor, inputs: Tensor) -> Tensor:
    """Return the scores (T,) of a router for one input: from its pretrained feature (D,) where that is enough."""
    with torch.inference_mode():
        if isinstance(fitted, routers.Fitted) and _reads_pretrained(fitted, suite):
            return fitted.scorer(normalize(feature[None].double(), dim=-1))[0]
        return fitted.ready(SuiteInputs(suite))(inputs)[0].cpu()


def _reads_pretrained(fitted: routers.Fitted, suite: Suite) -> bool:
    look = fitted.look
    plain = (look.layer, look.tokens, look.normalise) == (0, routers.TOKENS[0], True)
    return look.weights is suite.pretrained_in_memory and plain


def _weights(suite: Suite, model: str) -> Mapping[str, Tensor]:
    return in_memory(suite.expert(model) if model else suite.pretrained_in_memory, suite.device)
