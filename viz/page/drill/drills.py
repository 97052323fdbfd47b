"""The listeners of the section of collisions, and their wiring."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError
from viz.panels import collisions

from .. import acts, view
from .. import session as state
from ..compare.beside import beside
from ..guarded import guarded
from ..inputs import sight
from ..layout import Page
from ..listeners import OFF, ON, WAITING
from ..plotly_panel import Selection
from ..session import Session
from ..shelf import Tickets
from ..widget import said
from ..workbench import Workbench
from . import asking, drill
from .knocked import Knocked

Kind = Mapping[str, Any]
SCORING = "without "  # tickets of merges without something begin so


class Drills:
    """What visitors do with collisions and knock-outs, on one workbench."""

    def __init__(
        self, page: Page, bench: Workbench, tickets: Tickets, visitor: Callable[[Any], str], runs: Knocked
    ) -> None:
        self.page, self.bench, self.tickets, self.visitor = page, bench, tickets, visitor
        self.runs, self.count = runs, itertools.count(1)

    def wire(self, act: Kind, look: Kind, compute: Kind) -> None:
        """Attach the listeners on the queues of acts, looks and heavy work."""
        page, told = self.page, self.page.some("session", "shown")
        chosen = page.some("session", "fault", "link", "drill", "collisions", "knock")
        page.knock.act(self.act, told, chosen, **act)
        page.collisions.select(self.select, told, chosen, **act)
        page.spectrum.select(self.component, told, chosen, **act)
        opened = page.some("session", "sight", "eye", "tabs", "fault", "without", "knocking", "flips")
        page.flips.act(self.open, told, opened, **act)
        shown = page.some("collisions", "knock", "vectors", "flips", "without", "knocking")
        for word in page.some("focus", "drill"):
            word.turn(self.show, told, shown, **look)
        scored, queued = page.some("flips", "knocking", "cancel", "without", "drill"), {"trigger_mode": "multiple"}
        page.without.turn(self.score, page.some("session", "without"), scored, **compute, **queued)

    @guarded("fault", "The knock-out")
    def act(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose a pair, knock something out or put it back."""
        return self._done(session, shown, said(event), request)

    @guarded("fault", "Choosing a pair")
    def select(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose the components of a cell."""
        where = Selection.of(event)
        found = [collisions.named(text) for text in (where.y, where.x)]
        value = "|".join(f"{each[0]}:{each[1]}" for each in found if each)
        return self._done(session, shown, {"act": "pick", "value": value}, request)

    @guarded("fault", "Choosing a component")
    def component(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose the component of a point on the spectrum of an expert."""
        where = Selection.of(event)
        if where.expert not in session.experts or not isinstance(where.x, int | float):
            return gr.skip()
        words = {"act": "component", "expert": where.expert, "value": round(where.x) - 1}
        return self._done(session, shown, words, request)

    @guarded("fault", "Opening the input")
    def open(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose an input that flipped, in the tab of inputs; or have what is knocked out scored."""
        if said(event).get("act") == "score":
            word, ahead = drill.wanted(self.bench, session, shown), self.tickets.ahead(self.visitor(request))
            flipped = drill.flips_html(self.bench, self.runs, session, shown, running=word)
            return self.page.fill({"without": word, "knocking": view.waiting(ahead), "flips": flipped})
        after = acts.perform(session, {"act": "input", "value": said(event).get("value")})
        moved = self.page.fill({"session": after, **sight.marks(self.bench, after, shown)})
        return moved | {self.page.tabs: gr.Tabs(selected="inputs")}

    @guarded("knocking", "Drawing what collides")
    def show(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Draw the section for the place and the knock-outs as they are now."""
        yield gr.skip()
        if session.suite:
            who = self.visitor(request)
            self._give_way(session, shown, request)
            ticket, scoring = self.tickets.take(f"drill {who}", shown), self.tickets.held(who)
            running = scoring.what.removeprefix(SCORING) if scoring.going() else ""
            steps = drill.drill_steps(self.bench, self.runs, session, shown, ticket.going, running)
            yield from map(self.page.fill, steps)

    @guarded("knocking", "Scoring without it", {"cancel": OFF})
    def score(self, session: Session, word: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Merge without what is knocked out and score it, unless a merge is wanted first."""
        yield gr.skip()
        who, shown = self.visitor(request), word.partition(" ")[0]
        merges = self.tickets.held(who).what == WAITING
        base = drill.base_of(self.bench, session, shown)
        if base is None or drill.wanted(self.bench, session, shown) != word:
            return
        if merges:
            yield self._again(session)
            return
        ticket = self.tickets.take(who, SCORING + word)
        try:
            pinned = beside(self.bench.record, session, shown)
            steps = drill.score_steps(self.bench, self.runs, base, session.knocked, pinned, ticket.going)
            for parts in steps:
                if not ticket.going() and not ticket.cancelled:
                    yield self.page.fill({"knocking": view.status("")})
                    break
                yield self.page.fill({**parts, "cancel": ON})
        except Exception:
            yield self.page.fill({"flips": asking.unscored(self.bench, base, session.knocked), "without": ""})
            raise
        finally:
            ticket.ended = True
        if self.tickets.held(who) is ticket:  # a button may ask for the same again
            yield self.page.fill({"cancel": OFF} | ({"without": ""} if ticket.cancelled else {}))
        else:
            yield self._again(session)

    def _again(self, session: Session) -> dict[Any, Any]:
        """Ask again, in the queue behind the merge that was wanted first."""
        words = f"{drill.mark(session)} {next(self.count)}"
        return self.page.fill({"without": "", "drill": words, "knocking": view.status("")})

    def _give_way(self, session: Session, shown: str, request: gr.Request) -> None:
        """End a scoring that is not what the page shows any more."""
        who = self.visitor(request)
        if self.tickets.held(who).what.startswith(SCORING):
            self.tickets.want(who, SCORING + drill.wanted(self.bench, session, shown))

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
