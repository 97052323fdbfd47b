"""Wiring: which event runs which listener, and which components its answer may change.

Heavy work shares one queue. What visitors do waits in another, one act at a time, so that none is lost and each sees
the session that the one before left; buttons that must always answer skip the queues.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from .adapting import learned, moving
from .background import Background
from .compare.compares import Compares
from .drill.drills import Drills
from .drill.knocked import Knocked
from .inputs.sights import Sights
from .landscape.landscapes import Landscapes
from .layout import Page
from .listeners import WAITING, Listeners, visitor
from .own.yours_desk import YoursDesk
from .sweep.sweeps import Sweeps
from .weights import lenses
from .workbench import Workbench

COLUMN = ("suites", "experts", "method", "card", "form", "running", "post", "post_card", "post_form", "post_running",
          "cost", "link")  # fmt: skip
RESULT = ("headline", "measured", "accuracy", "learned", "seen", "pins", "pinned", *moving.PANELS)
ANSWER = ("shown", "focus", "fault", "status", *RESULT)
PREPARED = ("preparing", "news")
REST = ("where", "tabs")
METHODS = ("table", "scatter", "studied", "spoiled", "options", "luck", "surer")
BUTTONS = ("merge", "cancel")
WIDGETS = ("experts", "method", "form", "post", "post_form", "metrics", "table")
PANELS = ("accuracy", "apart", *lenses.LENSES, *learned.PANELS)
MARKS = ("sight", "eye")
# The page shows progress itself. Without `show_progress_on`, Gradio copies all properties of every output, and of all
# that it contains, each time the state of any event changes.
QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
COMPUTE: dict[str, Any] = {"concurrency_id": "compute", "concurrency_limit": 1, **QUIET}
UNASKED: dict[str, Any] = {"concurrency_id": "background", "concurrency_limit": 1, **QUIET}
LOOK: dict[str, Any] = {"concurrency_id": "look", "concurrency_limit": 4, "trigger_mode": "multiple", **QUIET}
SIGHT: dict[str, Any] = {"concurrency_id": "sight", "concurrency_limit": 6, "trigger_mode": "multiple", **QUIET}
ACT: dict[str, Any] = {"concurrency_id": "act", "concurrency_limit": 1, "trigger_mode": "multiple", **QUIET}
LIGHT: dict[str, Any] = {"queue": False, **QUIET}


def wire(page: Page, bench: Workbench, demo: gr.Blocks) -> None:
    """Attach every listener of a page."""
    on, told = Listeners(page, bench), page.some("session", "shown")
    behind = Background(page, bench, on.tickets, visitor)
    everything = page.some("session", *COLUMN, *ANSWER, *REST, *MARKS)
    prepare = {"fn": behind.prepare, "inputs": told, "outputs": page.some(*PREPARED), **UNASKED}
    demo.load(on.open, None, [*everything, *page.some(*lenses.NEAR)], **LIGHT).then(**prepare)
    page.link.act(on.act, told, [*everything, *page.some("drill", "compared", *METHODS, "about")], **ACT)
    page.suites.act(on.act, told, everything, **ACT).then(**prepare)
    for widget in page.some(*WIDGETS):
        widget.act(on.act, told, everything, **ACT)
    page.news.turn(behind.refresh, told, page.some("experts", "cost", "fault", *RESULT), **ACT)
    page.scatter.select(on.choose, told, everything, **ACT)
    page.methods.select(on.methods, told, page.some("fault", *METHODS), **ACT)
    page.about_tab.select(on.told, told[:1], page.some("fault", "about"), **ACT)
    _wire_places(page, on, told)
    runs = Knocked(bench)
    Sights(page, bench, on.tickets, visitor, runs).wire(ACT, SIGHT)
    Drills(page, bench, on.tickets, visitor, runs).wire(ACT, LOOK, COMPUTE)
    Compares(page, on).wire(ACT, SIGHT, everything)
    Sweeps(page, on).wire(everything, ACT, COMPUTE, LIGHT)
    YoursDesk(page, bench, on.tickets, visitor).wire(ACT, SIGHT)
    Landscapes(page, on, WAITING, visitor).wire(ACT, COMPUTE, LIGHT)
    _wire_merging(page, on, told, prepare)


def _wire_places(page: Page, on: Listeners, told: list[Any]) -> None:
    """Clicks on cells and the menus of places move every panel; what is not measured yet follows."""
    moved = page.some("session", "focus", "fault", "where", "link", *lenses.NEAR)
    page.where.act(on.act, told, moved, **ACT)
    for panel in page.some(*PANELS):
        panel.select(on.looks.select, told, moved, **ACT)
    page.focus.turn(on.looks.look, told, page.some(*lenses.LENSES, "metrics", "measuring"), **LOOK)
    for turned in page.some("learned", "focus"):
        turned.turn(on.looks.learn, page.some("session", "learned"), page.some("fault", *learned.PANELS), **LOOK)


def _wire_merging(page: Page, on: Listeners, told: list[Any], prepare: dict[str, Any]) -> None:
    """Merge, cancel, and score again while the scaling slider moves."""
    streamed, session = page.some("shown", "status", "link", *RESULT, *BUTTONS), page.some("session")
    settled, told = page.some("cost", "running", "focus", "status", *MARKS), [*told, page.sight]
    started = page.merge.click(on.start, None, page.some("status", *BUTTONS), **LIGHT)
    merged = started.then(on.heard, None, None, **ACT).then(on.merge, session, streamed, **COMPUTE)
    merged.then(on.settle, told, settled, **ACT).then(**prepare)
    page.cancel.click(on.cancel, None, page.some("status", *BUTTONS), **LIGHT)
    for form in page.some("form", "post_form"):
        moved = form.live(on.heard, None, None, **ACT)  # a deferred event would come back with the words of an old one
        scored = moved.then(on.rescale, session, streamed, trigger_mode="always_last", **COMPUTE)
        scored.then(on.settle, told, settled, **ACT).then(**prepare)
