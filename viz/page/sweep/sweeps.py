"""The listeners of the tab of sweeps, and their wiring.

A sweep computes for some seconds at a time and then queues up again, so that others who wait get their turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError

from .. import acts, view
from ..guarded import guarded
from ..layout import Page
from ..listeners import IDLE, OFF, ON, Listeners, visitor
from ..plotly_panel import Selection
from ..session import Session
from ..shelf import Ticket
from ..widget import said
from . import sweeping
from .sweep_acts import sweep_of

Kind = Mapping[str, Any]
BEGUN = "begun"
READY = {"sweep_start": IDLE["merge"], "sweep_stop": IDLE["cancel"]}
PARTS = ("sweep_bar", "sweep_cost", "sweeping", *sweeping.PANELS)
BUTTONS = ("sweep_start", "sweep_stop")


class Sweeps:
    """What visitors do on the tab of sweeps."""

    def __init__(self, page: Page, on: Listeners) -> None:
        self.page, self.on, self.bench, self.tickets = page, on, on.bench, on.tickets
        self.count = itertools.count(1)

    def wire(self, everything: list[Any], act: Kind, compute: Kind, light: Kind) -> None:
        """Attach the listeners; `everything` is what taking a point's values into the recipe may change."""
        page, told = self.page, self.page.some("session", "shown")
        streamed = page.some(*PARTS[1:], *BUTTONS, "sweep_next")
        page.sweeps.select(self.opened, told, page.some(*PARTS), **act)
        page.pinned.on_sweep(self.opened, told, page.some(*PARTS), **act)
        page.sweep_bar.act(self.act, told, page.some("session", "link", *PARTS), **act)
        started = page.sweep_start.click(self.start, told[:1], page.some("sweeping", *BUTTONS), **light)
        heard = started.then(self.on.heard, None, None, **act)
        heard.then(self.sweep, told, streamed, **compute)
        page.sweep_next.turn(self.sweep, told, streamed, trigger_mode="multiple", **compute)
        page.sweep_stop.click(self.stop, None, page.some("sweeping", "sweep_stop"), **light)
        for panel in page.some(*sweeping.PANELS):
            panel.select(self.take, told, [*everything, *page.some(*PARTS)], **act)

    @guarded("sweeping", "Opening the sweep")
    def opened(self, session: Session, shown: str, request: gr.Request) -> dict[Any, Any]:
        """Fill the tab for the recipe as it is now."""
        return self.page.fill(self._parts(session, shown, request)) if session.suite else gr.skip()

    @guarded("sweeping", "Choosing the sweep")
    def act(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Sweep something else, elsewhere, or on other pictures."""
        after = acts.perform(session, said(event))
        return self.page.fill({"session": after, "link": view.link(after), **self._parts(after, shown, request)})

    @guarded("sweeping", "Taking the values")
    def take(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Take the values of the clicked point into the recipe."""
        values = sweeping.clicked(sweep_of(session), Selection.of(event))
        if values is None:
            return gr.skip()
        words = {"act": "take", "values": list(values)}
        after = acts.perform(session, words)
        parts = self._parts(after, shown, request) | {"sweeping": sweeping.taken(sweep_of(after), values)}
        return self.on.act(session, shown, gr.EventData(None, words), request) | self.page.fill(parts)

    @guarded("sweeping", "Starting", READY)
    def start(self, session: Session, request: gr.Request) -> Any:
        """Answer the button at once; the sweep follows in the queue. A second press while it runs changes nothing.

        Where all points are known there is nothing to wait for.
        """
        held = self._held(request)
        if held.going() and BEGUN in held.done:
            return gr.skip()
        ahead, sweep = self.tickets.ahead(visitor(request)), sweep_of(session)
        ticket = self.tickets.take(self._name(request), sweep.key)
        if known := sweeping.finished(sweep):
            ticket.ended = True
            return self.page.fill({**READY, "sweeping": known})
        return self.page.fill({"sweeping": view.waiting(ahead), "sweep_start": OFF, "sweep_stop": ON})

    @guarded("sweeping", "The sweep", READY)
    def sweep(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Sweep for a while, streaming, unless that was stopped meanwhile; then queue up again."""
        yield gr.skip()
        ticket = self._held(request)
        if ticket.what and not ticket.ended:
            yield from self._stream(session, shown, ticket)
        elif ticket.cancelled:
            words = view.status("Stopped before it went on; what was scored is kept.", tone="stale")
            yield self.page.fill({**READY, "sweeping": words})

    @guarded("sweeping", "Stopping")
    def stop(self, request: gr.Request) -> Any:
        """Stop this visitor's sweep at its next step; what was scored is kept."""
        if not self._held(request).going():
            return gr.skip()
        self.tickets.cancel(self._name(request))
        return self.page.fill({"sweeping": view.status("Stopping …", tone="busy"), "sweep_stop": OFF})

    def _stream(self, session: Session, shown: str, ticket: Ticket) -> Generator[dict[Any, Any], None, None]:
        ticket.done.add(BEGUN)
        more = False
        try:
            sweep = sweep_of(session)
            if sweep.key != ticket.what:
                yield self.page.fill({**READY, "sweeping": view.status("Stopped: the recipe changed.", tone="stale")})
                return
            steps = sweeping.sweep_parts(self.bench, session, sweep, ticket.going, shown=shown)
            more = yield from self._filled(steps, ticket)
            if more:
                yield self.page.fill({"sweep_next": str(next(self.count))})
            elif ticket.ended and not ticket.cancelled:
                yield self.page.fill(READY)
            else:
                yield self.page.fill(READY | {"sweep_cost": sweeping.tab_parts(self.bench, session)["sweep_cost"]})
        finally:
            ticket.ended = ticket.ended or not more

    def _filled(
        self, steps: Generator[dict[str, Any], None, bool], ticket: Ticket
    ) -> Generator[dict[Any, Any], None, bool]:
        """Pass parts on to the page while they are of the sweep that it shows; returns whether points are left."""
        try:
            while True:
                try:
                    parts = next(steps)
                except StopIteration as end:
                    return end.value
                if not ticket.ended or ticket.cancelled:
                    yield self.page.fill(parts | {"sweep_start": OFF, "sweep_stop": OFF if ticket.ended else ON})
        finally:
            steps.close()

    def _parts(self, session: Session, shown: str, request: gr.Request) -> dict[str, Any]:
        """Return the tab for a session; a sweep that it does not describe any more ends."""
        parts, ticket = sweeping.tab_parts(self.bench, session, shown), self._held(request)
        try:
            key = sweep_of(session).key
        except MergeError:
            key = ""
        running = bool(ticket.what) and ticket.going()
        self.tickets.want(self._name(request), key)
        if running and ticket.going():
            parts.pop("sweeping")
        return parts

    def _held(self, request: gr.Request) -> Ticket:
        return self.tickets.held(self._name(request))

    def _name(self, request: gr.Request) -> str:
        return f"sweep {visitor(request)}"
