"""The listeners of the tab of inputs, and their wiring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError
from merge_engine.suite import load_suite

from .. import acts, view
from ..adapting import moving
from ..drill.knocked import Knocked
from ..layout import Page
from ..plotly_panel import Selection
from ..session import Session
from ..shelf import Tickets
from ..widget import said
from ..workbench import Workbench
from . import sight
from .manifold_data import points, within

Kind = Mapping[str, Any]


class Sights:
    """What visitors do with single inputs, on one workbench."""

    def __init__(
        self, page: Page, bench: Workbench, tickets: Tickets, visitor: Callable[[Any], str], runs: Knocked
    ) -> None:
        self.page, self.bench, self.tickets, self.visitor, self.runs = page, bench, tickets, visitor, runs

    def wire(self, act: Kind, look: Kind) -> None:
        """Attach the listeners; `act` and `look` are the queues of acts and of what takes time."""
        page, told = self.page, self.page.some("session", "shown")
        moved = page.some("session", "sight", "eye", "link")
        page.inputs.select(self.opened, told, moved, **act)
        for widget in page.some("narrow", "gallery"):
            widget.act(self.act, told, moved, **act)
        page.map.select(self.point, told, [*moved, page.gallery], **act)
        page.routes.select(self.cell, told, [*moved, page.tabs], **act)
        page.layers.select(self.deepen, told, page.some("session", "layers", "link"), **act)
        page.sight.turn(self.show, told, page.some("narrow", "gallery", "map", "looking", "why"), **look)
        page.eye.turn(self.explain, told, page.some("why", "map", "asking"), **look)

    def opened(self, session: Session, shown: str) -> dict[Any, Any]:
        """Fill the tab for what is on the page now."""
        return self._moved(session, shown) if session.suite else gr.skip()

    def act(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Narrow the inputs, or choose one."""
        return self._done(session, shown, said(event)) or gr.skip()

    def cell(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Open the inputs of a task that were sent to an expert."""
        where = Selection.of(event)
        done = self._done(session, shown, {"act": "routed", "task": where.task, "expert": where.expert})
        return done | {self.page.tabs: gr.Tabs(selected="inputs")} if done else gr.skip()

    def point(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Choose the input of a point, or show those that were drawn around."""
        where = Selection.of(event)
        run = sight.run_of(self.bench, shown)
        given = points(load_suite(session.suite), run, session.inputs) if session.suite else None
        if given is None:
            return gr.skip()
        if where.ids is not None:
            return self._done(session, shown, {"act": "circle", "values": within(given, where.ids)}) or gr.skip()
        done = self._done(session, shown, {"act": "input", "value": given.word(-1 if where.id is None else where.id)})
        if not done:
            return gr.skip()
        return done | self.page.fill({"gallery": sight.gallery_html(self.bench, done[self.page.session], shown)})

    def deepen(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Show the routing by depth of one task, or of all again."""
        after = acts.perform(session, {"act": "deep", "value": Selection.of(event).task})
        run = sight.run_of(self.bench, shown)
        layers = moving.layers(run, after.inputs.deep)
        return self.page.fill({"session": after, "layers": layers, "link": view.link(after)})

    def show(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Draw the gallery and the map."""
        yield gr.skip()
        if session.suite:
            ticket = self.tickets.take(f"inputs {self.visitor(request)}", shown)
            steps = sight.sight_steps(self.bench, session, shown, ticket.going)
            yield from map(self.page.fill, view.spoken(steps, "looking"))

    def explain(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Explain the chosen input."""
        yield gr.skip()
        if session.suite:
            ticket = self.tickets.take(f"input {self.visitor(request)}", shown)
            steps = sight.eye_steps(self.bench, self.runs, session, shown, ticket.going)
            yield from map(self.page.fill, view.spoken(steps, "asking"))

    def _done(self, session: Session, shown: str, words: dict[str, Any]) -> dict[Any, Any]:
        """Return what an act changed, nothing for one that makes no sense."""
        try:
            return self._moved(acts.perform(session, words), shown)
        except MergeError:
            return {}

    def _moved(self, session: Session, shown: str) -> dict[Any, Any]:
        marks = sight.marks(self.bench, session, shown)
        return self.page.fill({"session": session, "link": view.link(session), **marks})
