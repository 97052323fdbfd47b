"""One input of a run, and how the merge itself routes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from merge_engine.answers import Predicted
from merge_engine.evaluate import Model
from merge_engine.merged import Merged
from merge_engine.methods import method_class
from merge_engine.routers import Fitted
from merge_engine.routers.mahalanobis import Gaussians
from merge_engine.routing.routed import FittedRouter, RoutedMerged
from merge_engine.routing.subsets import SubsetMerged
from merge_engine.suite import Suite
from viz.panels.route_input import RouterView

from ..record import Run
from .insight import Input, scores

Kind = Literal["residual", "distance", "softmax", "score", "weights"]
WORDS: dict[str, tuple[str, Kind, str]] = {
    "subspace": ("SiM: subspace residual", "residual", "manifold"),
    "nearest_mean": ("Nearest mean", "distance", "mean feature"),
    "nearest_neighbour": ("Nearest neighbour", "distance", "nearest support input"),
    "mahalanobis": ("Mahalanobis distance", "distance", "mean feature"),
    "weight_projection": ("Weight projection, as in MASS", "distance", "input directions"),
}
OWN = "This merge"


@dataclass(frozen=True, eq=False)
class Case:
    """An input of a run: what the merge said of it stands in `said` at `row`."""

    suite: Suite
    run: Run
    said: Predicted
    row: int

    @property
    def task(self) -> str:
        return self.said.task

    @property
    def index(self) -> int:
        return int(self.said.index[self.row])

    @property
    def one(self) -> Input:
        return self.task, "score", self.index

    @property
    def picture(self) -> np.ndarray:
        return self.suite.pictures(self.task, "score")[self.index]

    @property
    def method(self) -> str:
        return self.run.recipe.method

    @property
    def experts(self) -> tuple[str, ...]:
        return self.run.recipe.experts

    @property
    def picked(self) -> str | None:
        """The expert whose head was used, None where the head was given."""
        return None if self.said.picked is None else self.experts[self.said.picked[self.row]]

    @property
    def label(self) -> str:
        return self.suite.task(self.task).classes[self.said.label[self.row]]

    @property
    def guess(self) -> str:
        """The class under the task's own head."""
        return self.suite.task(self.task).classes[self.said.guess[self.row]]

    @property
    def inputs(self) -> Tensor:
        """The input as the backbone takes it, (1, ...)."""
        return self.suite.prepared(self.task, "score")[self.index : self.index + 1]

    @property
    def owned(self) -> bool:
        """True where the input's task has an expert in the run."""
        return any(self.suite.task_of[e] == self.task for e in self.experts)

    def named(self, expert: str, features: Tensor) -> str:
        """Return the class that features (D,) get under an expert's head, or the task's own where it has no expert."""
        return class_of(self.suite, self.suite.task_of[expert] if self.owned else self.task, features)

    def says(self, expert: str, features: Tensor) -> str:
        """Return the class that an expert with features (D,) predicts with its own head."""
        return class_of(self.suite, self.suite.task_of[expert], features)

    def routed(self, merged: Merged | None, whose: str = "") -> RouterView | None:
        """Return how the merge itself routes the input, or one named `whose`; None for one model without routes."""
        guess = self.guess if self.picked in (None, self.task) or not self.owned else _other_head(self, merged)
        return way(self, merged, None if self.said.route is None else self.said.route[self.row], guess, whose)


class Asked(Protocol):
    """An input that is explained: what every router and expert is asked about it, and how the answers are worded.

    Its `task`, `label` and `guess` are empty where nobody knows them.
    """

    @property
    def suite(self) -> Suite: ...
    @property
    def experts(self) -> tuple[str, ...]: ...
    @property
    def method(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def one(self) -> Input: ...
    @property
    def picture(self) -> np.ndarray: ...
    @property
    def inputs(self) -> Tensor: ...
    @property
    def label(self) -> str: ...
    @property
    def guess(self) -> str: ...
    @property
    def picked(self) -> str | None: ...
    def named(self, expert: str, features: Tensor) -> str: ...
    def says(self, expert: str, features: Tensor) -> str: ...
    def routed(self, merged: Merged | None) -> RouterView | None: ...


def case_of(suite: Suite, run: Run, task: str, index: int) -> Case | None:
    """Return an input of a run by task and place in the split; None where nothing was said about it."""
    score = run.scores.get(task)
    said = score.said if score else None
    if said is None:
        return None
    rows = np.flatnonzero(said.index == index)
    return Case(suite, run, said, int(rows[0])) if len(rows) else None


def way(
    case: Asked, merged: Merged | None, route: np.ndarray | None, guess: str, whose: str = ""
) -> RouterView | None:
    """Return how a merge routes an input, from its own router or from its route (L, T); None where it does not."""
    title = whose or f"{OWN}: {method_class(case.method).title}"
    if isinstance(merged, RoutedMerged) and not isinstance(merged, SubsetMerged):
        kind, values, near = _scored(case, merged.router)
        return RouterView(title, kind, values, case.picked, guess, near)
    if route is None:
        return None
    alike = np.ptp(route, axis=0).max(initial=0) < 1e-6
    weights: np.ndarray = route[0] if alike else route
    shares = weights.ndim == 1 and weights.min() >= 0 and abs(float(weights.sum()) - 1) < 1e-3
    return RouterView(title, "softmax" if shares else "weights", weights, case.picked, guess)


def _other_head(case: Case, merged: Merged | None) -> str:
    """Return the class that the merge predicted with the head of another task, or what is left to say of it."""
    if merged is None or case.picked is None:
        return f"a class of {case.picked}"
    _, found = Model(merged, case.suite)(case.inputs, case.task)
    return class_of(case.suite, case.suite.task_of[case.picked], found.features[0])


def _scored(case: Asked, fitted: FittedRouter) -> tuple[Kind, np.ndarray, str]:
    """Return the kind and values (T,) of the scores of a merge's own router, and what they are a distance to."""
    found = scores(case.suite, fitted, torch.zeros(0), case.inputs)
    key = _key(fitted)
    if key in WORDS:
        return WORDS[key][1], distances(fitted, found), WORDS[key][2]
    if hasattr(fitted, "accuracy"):  # a trained network's scores are logits
        return "softmax", found.softmax(0).double().numpy(), ""
    return "score", found.double().numpy(), ""


def distances(fitted: FittedRouter, found: Tensor) -> np.ndarray:
    """Return scores (T,) as what has to be short."""
    return nearness(getattr(fitted, "scorer", None), found).double().numpy()


def nearness(scorer: object, found: Tensor) -> Tensor:
    """Return scores (..., T) as distances; the log-determinant that all tasks share is left out."""
    if isinstance(scorer, Gaussians) and len(scorer.spreads) == 1:
        found = found + scorer.spreads[0].distance(torch.zeros_like(scorer.centre[0], device=found.device))
    return -found


def class_of(suite: Suite, task: str, features: Tensor) -> str:
    """Return the class of features (D,) under a task's head."""
    with torch.inference_mode():
        return suite.task(task).classes[int(suite.head(task)(features[None].float())[0].argmax())]


def _key(fitted: FittedRouter) -> str:
    """Return the key of a fitted router that measures distances, or nothing."""
    made = fitted.scorer if isinstance(fitted, Fitted) else fitted
    module = type(made).__module__.rpartition(".")[2]
    return module if module in WORDS else ""
