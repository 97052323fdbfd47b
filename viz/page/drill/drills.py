"""The listeners of the section of collisions, and their wiring."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError
from viz.panels import collisions

from .. import acts, view
from .. import session as state
from ..inputs import sight
from ..layout import Page
from ..listeners import OFF, ON, WAITING
from ..plotly_panel import Selection
from ..session import Session
from ..shelf import Tickets
from ..widget import said
from ..workbench import Workbench
from . import drill
from .knocked import Knocked

LOG = logging.getLogger("mergescope")
Kind = Mapping[str, Any]
SCORING = "without "  # tickets of merges without something begin so


class Drills:
    """What visitors do with collisions and knock-outs, on one workbench."""

    def __init__(
        self, page: Page, bench: Workbench, tickets: Tickets, visitor: Callable[[Any], str], runs: Knocked
    ) -> None:
        self.page, self.bench, self.tickets, self.visitor = page, bench, tickets, visitor
        self.runs, self.count = runs, itertools.count(1)

    def wire(self, act: Kind, look: Kind, compute: Kind) -> Any:
        """Attach the listeners on the queues of acts, looks and heavy work; returns the event after a scoring."""
        page, told = self.page, self.page.some("session", "shown")
        chosen = page.some("session", "fault", "link", "drill", "collisions", "knock")
        page.knock.act(self.act, told, chosen, **act)
        page.collisions.select(self.select, told, chosen, **act)
        page.spectrum.select(self.component, told, chosen, **act)
        page.flips.act(self.open, told, page.some("session", "sight", "eye", "tabs"), **act)
        for word in page.some("focus", "drill"):
            word.turn(self.show, told, page.some("collisions", "knock", "vectors", "flips", "without"), **look)
        scored, queued = page.some("flips", "knocking", "cancel", "without", "drill"), {"trigger_mode": "multiple"}
        return page.without.turn(self.score, page.some("session", "without"), scored, **compute, **queued)

    def act(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose a pair, knock something out or put it back."""
        return self._done(session, shown, said(event), request)

    def select(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose the components of a cell."""
        where = Selection.of(event)
        found = [collisions.named(text) for text in (where.y, where.x)]
        value = "|".join(f"{each[0]}:{each[1]}" for each in found if each)
        return self._done(session, shown, {"act": "pick", "value": value}, request)

    def component(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose the component of a point on the spectrum of an expert."""
        where = Selection.of(event)
        if where.expert not in session.experts or not isinstance(where.x, int | float):
            return gr.skip()
        words = {"act": "component", "expert": where.expert, "value": round(where.x) - 1}
        return self._done(session, shown, words, request)

    def open(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Choose an input that flipped, in the tab of inputs."""
        try:
            after = acts.perform(session, {"act": "input", "value": said(event).get("value")})
        except MergeError:
            return gr.skip()
        moved = self.page.fill({"session": after, **sight.marks(self.bench, after, shown)})
        return moved | {self.page.tabs: gr.Tabs(selected="inputs")}

    def show(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Draw the section for the place and the knock-outs as they are now."""
        yield gr.skip()
        if session.suite:
            self._give_way(session, shown, request)
            ticket = self.tickets.take(f"drill {self.visitor(request)}", shown)
            steps = drill.drill_steps(self.bench, self.runs, session, shown, ticket.going)
            yield from map(self.page.fill, steps)

    def score(self, session: Session, word: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Merge without what is knocked out and score it, unless a merge is wanted first."""
        yield gr.skip()
        who, shown = self.visitor(request), word.partition(" ")[0]
        base = drill.base_of(self.bench, session, shown)
        if base is None or drill.wanted(self.bench, session, shown) != word or self.tickets.held(who).what == WAITING:
            return
        ticket = self.tickets.take(who, SCORING + word)
        try:
            for parts in drill.score_steps(self.runs, base, session.knocked, ticket.going):
                if not ticket.going() and not ticket.cancelled:
                    yield self.page.fill({"knocking": view.status("")})
                    break
                yield self.page.fill({**parts, "cancel": ON})
        except MergeError as error:
            yield self.page.fill({"knocking": view.complaint(str(error))})
        except Exception as error:
            LOG.exception("scoring without something failed")
            words = f"Scoring without it failed: {type(error).__name__}: {error}. The log has the details."
            yield self.page.fill({"knocking": view.complaint(words)})
        if self.tickets.held(who) is ticket:
            yield self.page.fill({"cancel": OFF})
        else:  # a merge was wanted first: ask again, in the queue behind it
            yield self.page.fill({"without": "", "drill": f"{drill.mark(session)} {next(self.count)}"})

    def _give_way(self, session: Session, shown: str, request: gr.Request) -> None:
        """End a scoring that is not what the page shows any more, and what can wait where a new one is to begin."""
        who, word = self.visitor(request), drill.wanted(self.bench, session, shown)
        if self.tickets.held(who).what.startswith(SCORING):
            self.tickets.want(who, SCORING + word)
        if word and not drill.known(self.bench, self.runs, session, shown):
            self.tickets.want("prepare", "")

    def _done(self, session: Session, shown: str, words: dict[str, Any], request: gr.Request) -> dict[Any, Any]:
        """Return what an act changed; another knock-out ends the scoring of the one before."""
        try:
            after = acts.perform(session, words)
        except MergeError as error:
            after = acts.refused(session, words, str(error))
        if after.knocked != session.knocked:
            self._give_way(after, shown, request)
        parts = drill.map_parts(self.bench, after, shown, drill.measured_of(self.bench, after))
        told = {"session": after, "fault": view.complaint(state.fault(after)), "link": view.link(after)}
        return self.page.fill({**told, **parts, "drill": drill.turned(after)})
