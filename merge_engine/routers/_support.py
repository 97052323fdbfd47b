"""Routers fitted to a few unlabelled inputs of every task, the support set."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import DataError
from ..hp import hp
from ..pausing import made_steps
from ..problem import Problem
from ..routing.prediction import Network
from ..routing.routed import ReadyRouter
from ..weights import in_memory
from ._features import TOKENS, Features, check_layer, model, model_steps
from ._router import Router

LEAVE_ONE_OUT = 64  # folds, at most; exact up to so many examples
GAP_FOLDS = 8


class Scorer(Protocol):
    """Scores (B, T) of features (B, d); higher is better."""

    def __call__(self, z: Tensor) -> Tensor: ...
    @property
    def stored_parameters(self) -> float: ...


@dataclass(frozen=True)
class SupportRouter(Router):
    """Abstract base. A subclass writes `scorer`; features and support set are chosen here."""

    needs: ClassVar[frozenset[str]] = frozenset({"support"})

    examples: int = hp(32, "Unlabelled inputs of every task.", low=2, high=1024, soft=(4, 128), step=4, symbol="N")
    draw: int = hp(
        0, "Which support set: 0 is the suite's own, others are drawn at random, to see how much depends on it.",
        low=0, high=10_000, soft=(0, 9), step=1, symbol="n",
    )  # fmt: skip
    backbone: str = model()
    layer: int = hp(
        0, "Features to look at: 0 is what the heads receive, j is one vector after the j-th block.",
        low=0, high=200, soft=(0, 12), step=1, symbol="ℓ",
    )  # fmt: skip
    tokens: str = hp(
        TOKENS[0], "One vector of all tokens: as the backbone pools them, or their mean (layer 0: of the last block).",
        choices={
            TOKENS[0]: "a feature is the vector that the backbone pools",
            TOKENS[1]: "a feature is the mean of all tokens",
        },
    )  # fmt: skip
    normalise: bool = hp(
        True, "Divide features by their length.",
        says=("features keep their length", "features are divided by their length"),
    )  # fmt: skip

    @abc.abstractmethod
    def scorer(self, support: Sequence[Tensor]) -> Scorer:
        """Return what scores features, from the support features (N, d) of every task."""

    def fit_steps(self, problem: Problem, ctx: Context) -> Generator[Step, None, Fitted]:
        """Look at the support set of every task, yielding a Step after each."""
        inputs = problem.need_inputs(self.title)
        check_layer(self.layer, problem)
        weights = yield from model_steps(self.backbone, problem, ctx)
        look, support = Features(weights, self.layer, self.normalise, self.backbone, self.tokens), []
        for done, task in enumerate(problem.tasks, 1):
            chosen = inputs.support(task, self.examples, self.draw)
            if len(chosen) < 2:
                raise DataError(f"{self.title} needs at least 2 inputs of '{task}'; got {len(chosen)}, add some.")
            label = f"support of {task}"
            moment = Step(done - 1, len(problem.tasks), label)
            support.append((yield from made_steps(partial(look.of_many, inputs, chosen), moment)))
            yield Step(done, len(problem.tasks), label)
        return Fitted(look, tuple(support), self.scorer)


class Fitted:
    """A router over features, with the support features it was fitted to."""

    forwards = 1.0

    def __init__(
        self, look: Features, support: Sequence[Tensor], fit: Callable[[Sequence[Tensor]], Scorer]
    ) -> None:
        self.look, self.support, self._fit = look, support, fit
        self.scorer = fit(support)

    def ready(self, network: Network) -> ReadyRouter:
        """Return the router with its network, and the model that it looks with on the network's device."""
        look = dataclasses.replace(self.look, weights=in_memory(self.look.weights, network.device))
        return lambda inputs, task=None: self.scorer(look(network, inputs))

    @property
    def reads(self) -> str:
        return self.look.reads

    @property
    def stored_parameters(self) -> float:
        return self.scorer.stored_parameters

    def usual(self, distance: Callable[[Scorer, Tensor], Tensor], folds: int = GAP_FOLDS) -> Tensor:
        """Return how far (ΣN,) support inputs lie from the task nearest to them, by a scorer fitted without them.

        `distance` turns a scorer and its scores (B, T) into distances (B, T).
        """
        found = []
        for scorer, left in folds_of(self._fit, self.support, folds):
            rows = torch.cat([z[out] for z, out in zip(self.support, left, strict=True)])
            found.append(distance(scorer, scorer(rows)).amin(1))
        return torch.cat(found)

    def gap(self) -> float:
        """Return the median gap between the best and the second score of support inputs held out in turn.

        The scale on which scores differ; 0 with one expert.
        """
        if len(self.support) < 2:
            return 0.0
        best = torch.cat(held_out(self._fit, self.support, GAP_FOLDS)).topk(2, dim=1).values
        return float((best[:, 0] - best[:, 1]).median())


def held_out(
    fit: Callable[[Sequence[Tensor]], Scorer], support: Sequence[Tensor], folds: int = LEAVE_ONE_OUT
) -> list[Tensor]:
    """Return the scores (N, T) of every support input by a scorer fitted without it.

    Input i of every task is left out in turn; with more inputs than `folds`, several at once.
    """
    scores = [z.new_zeros(len(z), len(support)) for z in support]
    for scorer, left in folds_of(fit, support, folds):
        for z, out, found in zip(support, left, scores, strict=True):
            found[out] = scorer(z[out]).to(found)
    return scores


def folds_of(
    fit: Callable[[Sequence[Tensor]], Scorer], support: Sequence[Tensor], folds: int
) -> Iterator[tuple[Scorer, list[Tensor]]]:
    """Yield scorers fitted without some inputs of every task, and which (N,) of every task were left out."""
    folds = min(folds, max(len(z) for z in support))
    for fold in range(folds):
        left = [torch.arange(len(z), device=z.device) % folds == fold for z in support]
        yield fit([z[~out] for z, out in zip(support, left, strict=True)]), left
