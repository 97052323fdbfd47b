"""One input explained: what every expert says of it, what every router makes of it, and where the merge sent it."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from merge_engine.contract import Step
from merge_engine.merged import Merged
from merge_engine.methods import method_class
from merge_engine.routing.routed import FittedRouter
from viz.panels.route_input import InputView, PinnedAnswer, RouterView

from .case import WORDS, Asked, Case, distances
from .insight import Input, Insight, scores


@dataclass(frozen=True)
class PinnedView:
    """What the pinned run says of an input and how it routes it, each None where it does not."""

    answer: PinnedAnswer | None = None
    card: RouterView | None = None


UNASKED = PinnedView()


def why_steps(
    insight: Insight, case: Asked, merged: Merged | None, beside: Sequence[Input] = (), others: Iterable[Case] = (),
    pinned: PinnedView = UNASKED,
) -> Generator[InputView | Step, None, InputView]:  # fmt: skip
    """Yield what is known about an input, more and more of it: where it went, the routers, then expert after expert.

    Opening an expert takes longer than asking it, so the inputs `beside` are asked along with this one. `others` are
    the input as other merges met it, which learned to route; `pinned` is what the pinned run makes of it.
    """
    suite, experts = case.suite, case.experts
    own, here = case.routed(merged), case.one
    blank, guess = ("",) * len(experts), case.guess if case.picked is None else ""
    learned = (other.routed(None, method_class(other.method).title) for other in others)
    known = tuple(card for card in (own, pinned.card, *learned) if card is not None)
    view = InputView(
        case.task, case.index, case.picture, case.label, experts, blank, known, guess, pinned=pinned.answer
    )
    yield view
    feature = (yield from insight.feature_steps(suite, [here]))[0]
    routers = yield from insight.router_steps(suite, experts)
    cards = [_card(case, key, fitted, feature) for key, fitted in routers.items()]
    view = dataclasses.replace(view, routers=(*view.routers, *(c for c in cards if not _alike(c, own))))
    yield view
    features: dict[str, Tensor] = {}
    for expert in _by_interest(case, view):
        known = insight.feature(suite, expert, here) is not None
        asked = [here] if known else [here, *beside]
        features[expert] = (yield from insight.feature_steps(suite, asked, expert))[0]
        view = _told(case, view, features)
        yield view
    return view


def _card(case: Asked, key: str, fitted: FittedRouter, feature: Tensor) -> RouterView:
    found = scores(case.suite, fitted, feature, case.inputs)
    title, kind, near = WORDS[key]
    return RouterView(title, kind, distances(fitted, found), case.experts[int(found.argmax())], "", near)


def _told(case: Asked, view: InputView, features: Mapping[str, Tensor]) -> InputView:
    """Return the view with the answers of the experts whose features are known."""
    says = tuple(case.says(e, features[e]) if e in features else "" for e in case.experts)
    cards = tuple(
        dataclasses.replace(card, guess=case.named(card.picked, features[card.picked]))
        if not card.guess and card.picked is not None and card.picked in features
        else card
        for card in view.routers
    )
    return dataclasses.replace(view, says=says, routers=cards)


def _by_interest(case: Asked, view: InputView) -> list[str]:
    """Return the experts, those first that the input belongs to or was sent to."""
    picked = {card.picked for card in view.routers} | {case.task}
    return sorted(case.experts, key=lambda expert: expert not in picked)


def _alike(card: RouterView, own: RouterView | None) -> bool:
    """True where the merge's own card says the same already."""
    return own is not None and own.values.shape == card.values.shape and np.allclose(own.values, card.values, atol=1e-4)


