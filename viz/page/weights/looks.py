"""The listeners that look into the weights, at the place and the merges that the page shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from merge_engine.places import depth
from merge_engine.suite import load_suite

from .. import acts, view
from .. import session as state
from ..adapting import learned
from ..compare.beside import beside
from ..guarded import guarded
from ..layout import Page
from ..plotly_panel import Selection
from ..session import Session
from ..shelf import Ticket, Tickets
from ..workbench import Workbench
from . import lenses
from .lenses import Focus, focus_of
from .meeting import meeting
from .pinned import pinned_merge


class Looks:
    """What visitors look at in the weights, on one workbench."""

    def __init__(self, page: Page, bench: Workbench, tickets: Tickets, visitor: Callable[[Any], str]) -> None:
        self.page, self.bench, self.tickets, self.visitor = page, bench, tickets, visitor

    @guarded("fault", "Looking there")
    def select(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Look at the matrix that was clicked, or at the one in which a clicked pair meets most, in every panel."""
        chosen, remark = Selection.of(event), ""
        place = (chosen.block, chosen.kind)
        if place == (None, None) and chosen.expert and chosen.other:
            focus = self.focus(session, shown)
            place = meeting(self.bench, focus, chosen) or place
            remark = f"{chosen.expert} and {chosen.other} meet most here."
        after = acts.perform(session, {"act": "cell", "block": place[0], "kind": place[1]})
        if after == session and not (remark and place[1]):
            return gr.skip()
        return self.moved(after, shown, request, remark)

    @guarded("measuring", "Looking into the weights")
    def look(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Draw the panels that look into the weights."""
        yield gr.skip()
        if not session.suite:
            return
        focus = self.focus(session, shown)
        ticket = self._looking(focus, request)
        steps = lenses.lens_steps(self.bench, focus, ticket.going, ticket.done)
        yield from map(self.page.fill, view.spoken(steps, "measuring"))

    @guarded("fault", "Drawing what was learned")
    def learn(self, session: Session, word: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Draw what the run that a word is about learned; a later word or place ends this."""
        yield gr.skip()
        ticket = self.tickets.take(f"learn {self.visitor(request)}", word)
        for parts in learned.learned_steps(self.bench, session, word, ticket.going):
            if ticket.going():
                yield self.page.fill(parts)

    def leave(self, session: Session, shown: str, request: gr.Request) -> None:
        """End a look at what is not wanted any more, before the one that replaces it begins."""
        self.tickets.want(self._name(request), self.key(session, shown))

    def _looking(self, focus: Focus, request: gr.Request) -> Ticket:
        """Return a ticket for a look that knows which panels show the right thing already."""
        name = self._name(request)
        before = self.tickets.held(name)
        ticket = self.tickets.take(name, focus.key)
        if before.what.partition("||")[0] == focus.about:
            stale = lenses.stale(before.what, focus)
            ticket.done.update(mark for mark in before.done if mark not in stale)
        return ticket

    def moved(self, session: Session, shown: str, request: gr.Request, remark: str = "") -> dict[Any, Any]:
        """Return the panels of another place as far as they are measured; the look that follows does the rest."""
        parts = self.ready(session, shown, request)
        parts["where"] = view.where(session, depth(load_suite(session.suite)), remark)
        told = {"focus": self.key(session, shown), "link": view.link(session)}
        return self.page.fill(view.answered(session, parts | told))

    def ready(self, session: Session, shown: str, request: gr.Request) -> view.Parts:
        """Return the panels of a place that need no measuring; the look that follows does the rest."""
        focus = self.focus(session, shown)
        parts = lenses.at_hand(self.bench, focus)
        self._looking(focus, request).done.update(parts, (f"seen {name}" for name in parts))
        return parts

    def key(self, session: Session, shown: str) -> str:
        """Return the word that differs whenever the lenses would draw something else."""
        return self.focus(session, shown).key

    def focus(self, session: Session, shown: str) -> Focus:
        """Return what the lenses look at: the experts, and the merges shown and pinned as far as they are kept."""
        pinned = pinned_merge(self.bench, session, beside(self.bench.record, session, shown))
        return focus_of(session, self._recipe(session, shown), pinned)

    def _recipe(self, session: Session, shown: str) -> Any:
        """Return the recipe shown beside the experts when it is the session's own."""
        if not shown or state.digest(session) != shown:
            return None
        recipe = state.recipe(session)
        return recipe if self.bench.merged(recipe) is not None else None

    def _name(self, request: gr.Request) -> str:
        """Return the purpose of a visitor's looks."""
        return f"look {self.visitor(request)}"
