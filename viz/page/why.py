"""One input explained: what every expert says of it, what every router makes of it, and where the merge sent it."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from merge_engine.answers import Predicted
from merge_engine.contract import Step
from merge_engine.evaluate import Model
from merge_engine.merged import Merged
from merge_engine.methods import method_class
from merge_engine.routers import Fitted, router_class
from merge_engine.routers.mahalanobis import Gaussians
from merge_engine.routing.routed import FittedRouter, RoutedMerged
from merge_engine.routing.subsets import SubsetMerged
from merge_engine.suite import Suite
from viz.panels.route_input import InputView, RouterView

from .insight import Insight, scores
from .record import Run

Kind = Literal["residual", "distance", "softmax", "score", "weights"]
WORDS: dict[str, tuple[str, Kind, str]] = {
    "subspace": ("SiM: subspace residual", "residual", "manifold"),
    "nearest_mean": ("Nearest mean", "distance", "mean feature"),
    "nearest_neighbour": ("Nearest neighbour", "distance", "nearest support input"),
    "mahalanobis": ("Mahalanobis distance", "distance", "mean feature"),
    "weight_projection": ("MASS: weight projection", "distance", "input directions"),
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

    def named(self, expert: str, features: Tensor) -> str:
        """Return the class that features (D,) get under an expert's head, or the task's own where it has no expert."""
        owned = any(self.suite.task_of[e] == self.task for e in self.experts)
        task = self.suite.task_of[expert] if owned else self.task
        return _class(self.suite, task, features)


def case_of(suite: Suite, run: Run, task: str, index: int) -> Case | None:
    """Return an input of a run by task and place in the split; None where nothing was said about it."""
    score = run.scores.get(task)
    said = score.said if score else None
    rows = np.flatnonzero(said.index == index) if said is not None else ()
    return Case(suite, run, said, int(rows[0])) if said is not None and len(rows) else None


def why_steps(
    insight: Insight, case: Case, merged: Merged | None
) -> Generator[InputView | Step, None, InputView]:
    """Yield what is known about an input, more and more of it: where it went, the routers, then expert after expert."""
    suite, experts = case.suite, case.experts
    shown = suite.pictures(case.task, "score")[case.index]
    own = _own_view(case, merged)
    guess = own.guess if own else case.guess
    view = InputView(
        case.task, case.index, shown, case.label, experts, ("",) * len(experts), (own,) if own else (), guess
    )
    yield view
    here = (case.task, "score", case.index)
    feature = (yield from insight.feature_steps(suite, [here]))[0]
    routers = yield from insight.router_steps(suite, experts)
    cards = [_card(case, key, fitted, feature) for key, fitted in routers.items()]
    view = dataclasses.replace(view, routers=(*view.routers, *(c for c in cards if not _alike(c, own))))
    yield view
    features: dict[str, Tensor] = {}
    for expert in _by_interest(case, view):
        features[expert] = (yield from _silent(insight, suite, here, expert))[0]
        view = _told(case, view, features)
        yield view
    return view


def _own_view(case: Case, merged: Merged | None) -> RouterView | None:
    """Return how the merge itself routes the input; None for one model without routes."""
    said, title = case.said, f"{OWN}: {method_class(case.run.recipe.method).title}"
    guess = case.guess if case.picked in (None, case.task) or not _owned(case) else _other_head(case, merged)
    if isinstance(merged, RoutedMerged) and not isinstance(merged, SubsetMerged):
        kind, values, near = _scored(case, merged.router)
        return RouterView(title, kind, values, case.picked, guess, near)
    if said.route is None:
        return None
    route = said.route[case.row]
    if np.ptp(route, axis=0).max(initial=0) < 1e-6:
        route = route[0]
    shares = route.ndim == 1 and route.min() >= 0 and abs(float(route.sum()) - 1) < 1e-3
    return RouterView(title, "softmax" if shares else "weights", route, case.picked, guess)


def _other_head(case: Case, merged: Merged | None) -> str:
    """Return the class that the merge predicted with the head of another task; empty when it is not kept any more."""
    if merged is None or case.picked is None:
        return ""
    _, found = Model(merged, case.suite)(case.inputs, case.task)
    return _class(case.suite, case.suite.task_of[case.picked], found.features[0])


def _scored(case: Case, fitted: FittedRouter) -> tuple[Kind, np.ndarray, str]:
    """Return the kind and values (T,) of the scores of a merge's own router, and what they are a distance to."""
    found = scores(case.suite, fitted, torch.zeros(0), case.inputs)
    key = _key(fitted)
    if key in WORDS:
        return WORDS[key][1], _distances(fitted, found), WORDS[key][2]
    if hasattr(fitted, "accuracy"):  # a trained network's scores are logits
        return "softmax", found.softmax(0).double().numpy(), ""
    return "score", found.double().numpy(), ""


def _card(case: Case, key: str, fitted: FittedRouter, feature: Tensor) -> RouterView:
    found = scores(case.suite, fitted, feature, case.inputs)
    title, kind, near = WORDS[key]
    return RouterView(title, kind, _distances(fitted, found), case.experts[int(found.argmax())], "", near)


def _distances(fitted: FittedRouter, found: Tensor) -> np.ndarray:
    """Return scores (T,) as what has to be short; the log-determinant that all tasks share is left out."""
    scorer = getattr(fitted, "scorer", None)
    if isinstance(scorer, Gaussians) and len(scorer.spreads) == 1:
        found = found + scorer.spreads[0].distance(torch.zeros_like(scorer.centre[0]))
    return -found.double().numpy()


def _told(case: Case, view: InputView, features: Mapping[str, Tensor]) -> InputView:
    """Return the view with the answers of the experts whose features are known."""
    says = tuple(_class(case.suite, case.suite.task_of[e], features[e]) if e in features else "" for e in case.experts)
    cards = tuple(
        dataclasses.replace(card, guess=case.named(card.picked, features[card.picked]))
        if not card.guess and card.picked in features
        else card
        for card in view.routers
    )
    merged = view.merged
    if not merged and cards and cards[0].router.startswith(OWN):
        merged = cards[0].guess
    return dataclasses.replace(view, says=says, routers=cards, merged=merged)


def _by_interest(case: Case, view: InputView) -> list[str]:
    """Return the experts, those first that the input belongs to or was sent to."""
    picked = {card.picked for card in view.routers} | {case.task}
    return sorted(case.experts, key=lambda expert: expert not in picked)


def _silent(insight: Insight, suite: Suite, here: tuple, expert: str) -> Generator[Step, None, Tensor]:
    """Read one input with an expert; one step is not worth telling."""
    steps = insight.feature_steps(suite, [here], expert)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        yield Step(0, 0, f"asking {expert}")


def _class(suite: Suite, task: str, features: Tensor) -> str:
    with torch.inference_mode():
        return suite.task(task).classes[int(suite.head(task)(features[None].float())[0].argmax())]


def _owned(case: Case) -> bool:
    return any(case.suite.task_of[e] == case.task for e in case.experts)


def _alike(card: RouterView, own: RouterView | None) -> bool:
    """True where the merge's own card says the same already."""
    return own is not None and own.values.shape == card.values.shape and np.allclose(own.values, card.values, atol=1e-4)


def _key(fitted: FittedRouter) -> str:
    """Return the key of a fitted router that measures distances, or nothing."""
    made = fitted.scorer if isinstance(fitted, Fitted) else fitted
    module = type(made).__module__.rpartition(".")[2]
    return module if module in WORDS and router_class(module) else ""
