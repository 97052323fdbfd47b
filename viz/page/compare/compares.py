"""The listeners of the tab of comparisons, and their wiring."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError

from .. import acts, library, view
from ..guarded import guarded
from ..inputs import sight
from ..layout import Page
from ..listeners import Listeners
from ..plotly_panel import Selection
from ..session import Session
from ..widget import said
from . import compare, comparison
from .apart import Aparts
from .beside import beside

Kind = Mapping[str, Any]
AMONG = ("scatter", "studied")
DRAWN = " drawn"  # ends the word of a tab that shows all but what looks into weights
QUIET = {"comparing": view.status("")}
TABLE, PAIR = ("runs", "costs"), ("verdict", "sides", "differences", "differing", "apart")
MARKS = ("sight", "eye")


class Compares:
    """What visitors do with the runs of their visit, beside the listeners of the page."""

    def __init__(self, page: Page, on: Listeners) -> None:
        self.page, self.on, self.bench, self.aparts = page, on, on.bench, Aparts(on.bench)

    def wire(self, act: Kind, look: Kind, everything: Sequence[Any]) -> None:
        """Attach the listeners to the queues of acts and of what takes time; loading a recipe changes `everything`."""
        page, told = self.page, self.page.some("session", "shown")
        page.compare.select(self.opened, page.some("session", "compared"), page.some("compared", "comparing"), **act)
        remembered = page.some("session", "compared", "fault")
        page.seen.turn(self.remember, page.some("session", "seen", "compared"), remembered, **act)
        page.compared.turn(self.show, [*told, page.compared], page.some(*TABLE, *PAIR, "comparing"), **look)
        for widget in page.some("runs", "verdict"):
            drawn = page.some(*TABLE, *PAIR, *AMONG, "compared", "comparing")
            widget.act(self.act, told, [*everything, *drawn], **act)
        page.pins.act(self.tray, [*told, page.compared], [*everything, *page.some(*AMONG, "compared")], **act)
        page.costs.select(self.dot, told, [*everything, page.comparing], **act)
        for panel in page.some("sides", "differences"):
            panel.select(self.task, told, page.some("session", "differing", "link", "comparing"), **act)
        page.differing.act(self.differing, told, [*everything, *page.some("differing", "comparing", *MARKS)], **act)

    @guarded("comparing", "Opening the comparison")
    def opened(self, session: Session, compared: str) -> dict[Any, Any]:
        """Draw the tab unless it shows all this; not here, since its panels are only being put on the page now."""
        mark = compare.mark(self.bench, session) if session.suite else ""
        return gr.skip() if mark in ("", compared.removesuffix(DRAWN)) else self.page.fill({"compared": mark})

    @guarded("fault", "Remembering this run")
    def remember(self, session: Session, seen: str, compared: str) -> dict[Any, Any]:
        """Add the result that came onto the page to the visit, and draw the tab if it was opened before."""
        try:
            link = comparison.recipe_at(seen.partition(" ")[0]).to_link()
        except MergeError:
            return gr.skip()
        after = dataclasses.replace(session, comparison=comparison.remembered(session.comparison, link))
        return self.page.fill({"session": after, "compared": compare.mark(self.bench, after) if compared else ""})

    @guarded("comparing", "Comparing")
    def show(self, session: Session, shown: str, compared: str) -> Iterator[dict[Any, Any]]:
        """Draw the whole tab, what looks into weights last and alone where the rest is drawn."""
        yield gr.skip()
        if session.suite:
            yield gr.skip() if compared.endswith(DRAWN) else self.page.fill(self._parts(session))
            yield self.page.fill({"apart": self.aparts.part(session)})

    @guarded("comparing", "Doing that")
    def act(
        self, session: Session, shown: str, event: gr.EventData, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        """Sort, pin, exchange or load; after pins changed, this tab comes first and what shows them elsewhere last."""
        words = said(event)
        if words.get("act") == "load":
            yield self.on.compose(session, str(words.get("recipe", "")))
            return
        after = acts.perform(session, words)
        if words["act"] == "sort":
            ordered = compare.table_parts(self.bench, after)["runs"]
            yield self.page.fill({"session": after, "runs": ordered, "link": view.link(after), **QUIET})
            return
        self.on.looks.leave(after, shown, request)
        yield self.page.fill({"session": after, "link": view.link(after), **self._parts(after)})
        yield self.page.fill(self._moved(after, shown) | {"compared": compare.mark(self.bench, after) + DRAWN})

    @guarded("fault", "Changing the pins")
    def tray(self, session: Session, shown: str, compared: str, event: gr.EventData) -> dict[Any, Any]:
        """Let go of a pinned run, exchange or load one, on whatever tab is open; `compared` was the tab of runs."""
        words = said(event)
        if words.get("act") == "load":
            return self.on.compose(session, str(words.get("recipe", ""))) | {self.page.tabs: gr.skip()}
        after = acts.perform(session, words)
        moved = self._moved(after, shown) | {"compared": compare.mark(self.bench, after) if compared else ""}
        return self.page.fill({"session": after, "link": view.link(after), **moved})

    @guarded("comparing", "Composing the recipe")
    def dot(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Compose the recipe behind a dot of the scatter."""
        digest, links = Selection.of(event).method, session.comparison.seen
        link = next((link for link in links if comparison.recipe_at(link).digest == digest), "")
        return self.on.compose(session, link) if link else gr.skip()

    @guarded("comparing", "Showing the differing inputs")
    def task(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Show the differing inputs of the task of a line."""
        where = Selection.of(event)
        return self._narrowed(session, {"act": "differ", "value": where.expert or where.task})

    @guarded("comparing", "Showing the differing inputs")
    def differing(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Narrow the differing inputs, or open one in the tab of inputs, where B is explained if neither pin is."""
        words, links = said(event), session.comparison.pins
        if words.get("act") != "input":
            return self._narrowed(session, words)
        digests = [comparison.recipe_at(link).digest for link in links if link]
        loaded = {} if shown in digests else self.on.compose(session, links[1])
        after = acts.perform(loaded.get(self.page.session, session), words)
        marks = sight.marks(self.bench, after, shown if shown in digests else digests[-1])
        return loaded | self.page.fill({"session": after, **marks, "tabs": gr.Tabs(selected="inputs")})

    def _narrowed(self, session: Session, words: dict[str, Any]) -> dict[Any, Any]:
        after = acts.perform(session, words)
        differing = compare.differing_part(self.bench, after)
        return self.page.fill({"session": after, "link": view.link(after), **differing, **QUIET})

    def _moved(self, session: Session, shown: str) -> dict[str, Any]:
        """Return what shows a pinned run on the other tabs, or has it shown there, after the pins changed."""
        run = self.bench.record.shown(shown) if shown else None
        answered = view.answer_parts(self.bench, session, run) if run or not shown else {}
        focus, pinned = self.on.looks.key(session, shown), beside(self.bench.record, session, shown)
        return {"focus": focus, **answered, **library.among(session, pinned)}

    def _parts(self, session: Session) -> dict[str, Any]:
        pair = {**compare.pair_parts(self.bench, session), "apart": self.aparts.at_once(session)}
        return {**compare.table_parts(self.bench, session), **pair, **QUIET}
