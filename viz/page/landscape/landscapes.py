"""The tab of landscapes: its components, its listeners, and their wiring."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from .. import acts, view
from ..guarded import guarded
from ..plotly_panel import PlotlyPanel
from ..session import Session
from ..shelf import Ticket
from ..widget import Status, Widget, said
from .landscape import PANELS, Landscape

if TYPE_CHECKING:
    from ..layout import Page
    from ..listeners import Listeners

Kind = Mapping[str, Any]
ON, OFF = gr.update(interactive=True), gr.update(interactive=False)
IDLE = {"survey": ON, "halt": OFF}
BEGUN = "begun"


def components() -> dict[str, Any]:
    """Create the components of the tab inside the current Blocks."""
    parts: dict[str, Any] = {}
    with gr.Column(elem_classes="mp-desk"):
        parts["ground"] = Widget(elem_id="mp-ground")
        with gr.Row(elem_id="mp-survey-row"):
            parts["survey"] = gr.Button("Start", variant="primary", elem_id="mp-survey")
            parts["halt"] = gr.Button("Stop", interactive=False, elem_id="mp-halt")
            parts["surveying"] = Status(elem_id="mp-surveying")
    with gr.Row(elem_classes="mp-panels"):
        for name, module in PANELS.items():
            with gr.Column(elem_classes="mp-stack"):
                parts[f"land_{name}"] = PlotlyPanel.of(module, height=300, elem_id=f"panel-land-{name}")
    return parts


class Landscapes:
    """What visitors do on the tab of landscapes, beside the listeners of the page."""

    def __init__(self, page: Page, on: Listeners, waiting: str, visitor: Any) -> None:
        self.page, self.on, self.tickets = page, on, on.tickets
        self.landscape, self.waiting, self.visitor = Landscape(on.bench), waiting, visitor

    def wire(self, act: Kind, compute: Kind, light: Kind) -> None:
        """Attach the listeners; `act` and `compute` are the queues of acts and of heavy work, `light` is none."""
        page, told = self.page, self.page.some("session", "shown")
        panels = [f"land_{name}" for name in PANELS]
        page.landscape.select(self.opened, told, page.some("ground", "surveying", *panels), **act)
        page.pinned.on_landscape(self.opened, told, page.some("ground", "surveying", *panels), **act)
        turned = page.some("session", "link", "ground", "surveying", *panels)
        page.ground.act(self.turn, told, turned, **act)
        buttons = page.some("surveying", "survey", "halt")
        started = page.survey.click(self.start, None, buttons, **light)
        heard = started.then(self.on.heard, None, None, **act)
        heard.then(self.run, told, [*page.some("ground", *panels), *buttons], **compute)
        page.halt.click(self.stop, None, page.some("surveying", "halt"), **light)

    @guarded("surveying", "Opening the landscape")
    def opened(self, session: Session, shown: str) -> dict[Any, Any]:
        """Fill the tab with what is measured for the session as it is now."""
        return self._fill(self.landscape.at_hand(session, shown)) if session.suite else gr.skip()

    @guarded("surveying", "Choosing the landscape")
    def turn(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Choose other models or another detail; what is being measured for the choice before ends."""
        after = acts.perform(session, said(event))
        if after == session:
            return gr.skip()
        self.tickets.want(self._name(request), "")
        parts = {"session": after, "link": view.link(after), "surveying": self.landscape.stale(after)}
        return self._fill({**parts, **self.landscape.at_hand(after, shown)})

    @guarded("surveying", "Starting", IDLE)
    def start(self, request: gr.Request) -> dict[Any, Any]:
        """Answer the button at once, unless this visitor's measuring waits or runs already."""
        held = self.tickets.held(self._name(request))
        if held.what and held.going():
            return gr.skip()
        ahead = self.tickets.ahead(self.visitor(request))
        self.tickets.take(self._name(request), self.waiting)
        return self._fill({"surveying": view.waiting(ahead), "survey": OFF, "halt": ON})

    @guarded("surveying", "Measuring", IDLE)
    def run(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Measure, streaming, once for every ticket; a merge that this visitor starts goes first."""
        yield gr.skip()
        ticket = self.tickets.held(self._name(request))
        if not ticket.what or BEGUN in ticket.done or not session.suite:
            return
        ticket.done.add(BEGUN)
        try:
            whole = yield from self._streamed(session, shown, ticket, request)
            last = {} if whole else self._ended(ticket, session)
        finally:
            ticket.ended = True
        yield self._fill(IDLE | last)

    @guarded("surveying", "Stopping")
    def stop(self, request: gr.Request) -> Any:
        """Stop what this visitor is measuring at its next step."""
        self.tickets.cancel(self._name(request))
        return self._fill({"halt": OFF})

    def _streamed(
        self, session: Session, shown: str, ticket: Ticket, request: gr.Request
    ) -> Generator[dict[Any, Any], None, bool]:
        """Yield what is measured until somebody ends it; returns whether it came to its end."""
        steps = self.landscape.steps(session, shown, lambda: ticket.going() and not self._merging(request))
        while True:
            try:
                parts = next(steps)
            except StopIteration as end:
                return end.value
            if ticket.going():
                yield self._fill(parts)

    def _ended(self, ticket: Ticket, session: Session) -> dict[str, Any]:
        """Return what is left of a measuring that was ended early; a changed choice has said so itself."""
        if not (ticket.cancelled or ticket.going()):
            return {}
        why = "Stopped; what was measured is kept." if ticket.cancelled else "Stopped to let the merge go first."
        words = view.status(f"{why} Press Start to go on.", tone="stale")
        return {"surveying": words, "ground": self.landscape.menus(session)}

    def _merging(self, request: gr.Request) -> bool:
        held = self.tickets.held(self.visitor(request))
        return held.what == self.waiting and held.going()

    def _name(self, request: gr.Request) -> str:
        return f"landscape {self.visitor(request)}"

    def _fill(self, parts: Mapping[str, Any]) -> dict[Any, Any]:
        return self.page.fill({f"land_{name}" if name in PANELS else name: value for name, value in parts.items()})
