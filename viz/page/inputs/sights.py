"""The listeners of the tab of inputs, and their wiring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from merge_engine.suite import load_suite

from .. import acts, view
from ..adapting import moving
from ..compare.beside import beside
from ..drill.knocked import Knocked
from ..guarded import guarded
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
        moved = page.some("session", "sight", "eye", "link", "looking")
        page.inputs.select(self.opened, told, moved, **act)
        page.pinned.on_inputs(self.opened, told, moved, **act)
        for widget in page.some("narrow", "gallery"):
            widget.act(self.act, told, moved, **act)
        page.map.select(self.point, told, [*moved, page.gallery], **act)
        page.routes.select(self.cell, told, [*moved, *page.some("tabs", "fault")], **act)
        page.layers.select(self.deepen, told, page.some("session", "layers", "link", "fault"), **act)
        page.sight.turn(self.show, told, page.some("narrow", "gallery", "map", "looking", "why"), **look)
        page.eye.turn(self.explain, told, page.some("why", "map", "asking"), **look)

    @guarded("looking", "Opening the inputs")
    def opened(self, session: Session, shown: str) -> dict[Any, Any]:
        """Fill the tab for what is on the page now."""
        return self._moved(session, shown) if session.suite else gr.skip()

    @guarded("looking", "Choosing inputs")
    def act(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Narrow the inputs, or choose one."""
        return self._done(session, shown, said(event))

    @guarded("fault", "Opening the inputs")
    def cell(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Open the inputs of a task that were sent to an expert."""
        where = Selection.of(event)
        done = self._done(session, shown, {"act": "routed", "task": where.task, "expert": where.expert})
        return done | {self.page.tabs: gr.Tabs(selected="inputs")}

    @guarded("looking", "Choosing inputs")
    def point(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Choose the input of a point, or show those that were drawn around."""
        where = Selection.of(event)
        run = sight.run_of(self.bench, shown)
        other = sight.told_of(self.bench, session, shown) if session.suite else None
        given = points(load_suite(session.suite), run, session.inputs, other) if session.suite else None
        if given is None:
            return gr.skip()
        if where.ids is not None:
            return self._done(session, shown, {"act": "circle", "values": within(given, where.ids)})
        if not (word := given.word(-1 if where.id is None else where.id)):  # a support input cannot be chosen
            return gr.skip()
        done = self._done(session, shown, {"act": "input", "value": word})
        return done | self.page.fill({"gallery": sight.gallery_html(self.bench, done[self.page.session], shown)})

    @guarded("fault", "Looking at the depth of a task")
    def deepen(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Show the routing by depth of one task, or of all again."""
        after = acts.perform(session, {"act": "deep", "value": Selection.of(event).task})
        run = sight.run_of(self.bench, shown)
        layers = moving.layers(run, beside(self.bench.record, after, shown), after.inputs.deep)
        return self.page.fill({"session": after, "layers": layers, "link": view.link(after)})

    @guarded("looking", "Drawing the inputs")
    def show(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Draw the gallery and the map."""
        yield gr.skip()
        if session.suite:
            ticket = self.tickets.take(f"inputs {self.visitor(request)}", shown)
            steps = sight.sight_steps(self.bench, session, shown, ticket.going)
            yield from map(self.page.fill, view.spoken(steps, "looking"))

    @guarded("asking", "Explaining the input")
    def explain(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Explain the chosen input."""
        yield gr.skip()
        if session.suite:
            ticket = self.tickets.take(f"input {self.visitor(request)}", shown)
            steps = sight.eye_steps(self.bench, self.runs, session, shown, ticket.going)
            yield from map(self.page.fill, view.spoken(steps, "asking"))

    def _done(self, session: Session, shown: str, words: dict[str, Any]) -> dict[Any, Any]:
        return self._moved(acts.perform(session, words), shown)

    def _moved(self, session: Session, shown: str) -> dict[Any, Any]:
        marks = sight.marks(self.bench, session, shown)
        return self.page.fill({"session": session, "link": view.link(session), **marks})
