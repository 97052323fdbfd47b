"""What every event does: from a session and what the visitor did to the parts of the page that change.

A listener with nothing to say returns `gr.skip()`, and a generator yields it first: Gradio blanks the outputs of a
generator that ends without having yielded.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError
from merge_engine.places import depth
from merge_engine.suite import load_suite, suite_folders

from . import acts, library, view
from . import session as state
from .compare.beside import beside
from .cost_line import cost_line
from .guarded import guarded
from .headline import answer
from .inputs import sight
from .layout import Page
from .plotly_panel import Selection
from .record import Run
from .reopened import reopened
from .session import Session
from .shelf import Tickets
from .table import lines, link_of
from .weights.looks import Looks
from .widget import said
from .workbench import Workbench, paced

ON, OFF = gr.update(interactive=True), gr.update(interactive=False)
IDLE = {"merge": ON, "cancel": OFF}
WAITING = "a merge that waits in the queue"
CANCELLED = view.status("Cancelled before it began.", tone="stale")


class Listeners:
    """The listeners of one page on one workbench."""

    def __init__(self, page: Page, bench: Workbench) -> None:
        self.page, self.bench, self.tickets = page, bench, Tickets()
        self.looks = Looks(page, bench, self.tickets, visitor)

    @guarded("fault", "Opening the page")
    def open(self, request: gr.Request) -> dict[Any, Any]:
        """Fill the page for the session that the address describes."""
        session, sorry = acts.first_session(tuple(suite_folders()), dict(request.query_params))
        parts = self._all(session)
        parts |= self.looks.ready(session, str(parts.get("shown", "")), request)
        return self._answered(state.refused(session, sorry) if sorry else session, parts)

    @guarded("fault", "Listing the methods")
    def methods(self, session: Session, shown: str) -> dict[Any, Any]:
        """Fill the tab of all methods."""
        if not session.suite:
            return gr.skip()
        return self.page.fill(library.methods(session, beside(self.bench.record, session, shown)))

    @guarded("fault", "Telling about the suite")
    def told(self, session: Session) -> dict[Any, Any]:
        """Fill the tab about the suite."""
        return self.page.fill(library.told(session)) if session.suite else gr.skip()

    @guarded("fault", "Doing that")
    def act(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Do what the visitor did, and redraw only what it changes."""
        words = said(event)
        if session.turn == state.LOST and words.get("act") != "open":
            return self.page.fill({"link": view.link(session)})
        try:
            after = acts.perform(session, words)
        except MergeError as error:
            after, words = acts.refused(session, words, str(error)), {"act": "refused"}
        if words["act"] == "view":
            return self.page.fill({"session": after, "link": view.link(after)})
        if words["act"] in ("block", "kind"):
            return self.looks.moved(after, shown, request)
        if acts.everywhere(str(words["act"])):
            self.tickets.want(f"prepare {visitor(request)}", after.suite)
            parts = self._all(after)
            if words["act"] == "open":
                parts |= {"tabs": gr.skip(), **reopened(self.bench, session, after, str(parts.get("shown", "")))}
                pinned = beside(self.bench.record, after, str(parts.get("shown", "")))
                parts |= {} if after.suite == session.suite else library.parts(after, pinned)
            return self._answered(after, parts)
        parts = view.live_parts(self.bench, after) | (view.form_parts(after) if after.drawn != session.drawn else {})
        return self._answered(after, parts | self._after(after, shown, words, request))

    @guarded("status", "Starting")
    def start(self, request: gr.Request) -> dict[Any, Any]:
        """Answer the button at once; the merge follows in the queue."""
        ahead = self.tickets.ahead(visitor(request))
        self.tickets.take(visitor(request), WAITING)
        return self.page.fill({"status": view.waiting(ahead), "merge": OFF, "cancel": ON})

    def heard(self) -> None:
        """Wait in the queue of acts, so that what the visitor did before is done before what follows."""

    @guarded("status", "The merge", IDLE)
    def merge(self, session: Session, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Merge and score the session's recipe, streaming, unless it was cancelled while it waited."""
        yield gr.skip()
        if session.turn == state.LOST:
            yield self.page.fill({"link": view.link(session), "status": view.status(""), **IDLE})
            return
        if self.tickets.held(visitor(request)).cancelled:
            yield self.page.fill({"status": CANCELLED, **IDLE})
            return
        yield from self._stream(session, request)

    @guarded("status", "Scoring at another scaling", IDLE)
    def rescale(self, session: Session, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Score the kept merge at another scaling while the slider moves; nothing is merged."""
        yield gr.skip()
        try:
            recipe = state.recipe(session)
            known = self.bench.record.known(recipe)
            if self.bench.merged(recipe) is None or (known is not None and not known.partial):
                return
        except MergeError:
            return
        yield from self._stream(session, request)

    @guarded("status", "What follows a merge")
    def settle(self, session: Session, shown: str, seen: str, request: gr.Request) -> dict[Any, Any]:
        """After a merge, for the session as it is now: look into it, tell what it learned and the next one's cost.

        `seen` says that single inputs are being looked at.
        """
        if not session.suite:
            return gr.skip()
        parts = {"cost": cost_line(self.bench, session), "running": view.method_notes(self.bench, session)}
        parts["focus"] = self.looks.key(session, shown)
        parts |= sight.marks(self.bench, session, shown) if seen else {}
        if state.digest(session) not in (shown, self.tickets.held(visitor(request)).what):
            parts["status"] = view.stale_status(self.bench, session)
        return self.page.fill(parts)

    @guarded("status", "Cancelling")
    def cancel(self, request: gr.Request) -> dict[Any, Any]:
        """Stop what this visitor is computing at its next step, or at once what waits for its turn."""
        waits = self.tickets.held(visitor(request)).what == WAITING
        self.tickets.cancel(visitor(request))
        return self.page.fill({"status": CANCELLED, **IDLE} if waits else {"cancel": OFF})

    @guarded("fault", "Composing the recipe")
    def choose(self, session: Session, shown: str, event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        """Compose the recipe behind a dot of the scatter."""
        wanted = Selection.of(event).method
        line = next((line for line in lines(load_suite(session.suite)) if line.name == wanted), None)
        return self.compose(session, link_of(line.best)) if line else gr.skip()

    def compose(self, session: Session, link: str) -> dict[Any, Any]:
        """Compose the recipe of a link, on the whole page; raises MergeError where it cannot be read."""
        after = acts.perform(session, {"act": "load", "recipe": link})
        return self._answered(after, self._all(after))

    def _stream(self, session: Session, request: gr.Request) -> Generator[dict[Any, Any], None, None]:
        ticket = None
        try:
            recipe = state.recipe(session)
            ticket = self.tickets.take(visitor(request), recipe.digest)
            for run in paced(self.bench.run(recipe, ticket.going)):
                if run.phase == "stopped" and not ticket.cancelled:  # something else is wanted
                    break
                yield self.page.fill(self._shown(session, run) | {"cancel": ON if run.partial else OFF})
            yield self.page.fill(IDLE)
        except MergeError as error:
            words = "" if str(error) == state.fault(session) else str(error)
            yield self.page.fill({"status": view.complaint(words), **IDLE})
        finally:
            if ticket is not None:
                ticket.ended = True

    def _answered(self, session: Session, parts: dict[str, Any]) -> dict[Any, Any]:
        """Return what an act changed. Only acts say what is wrong with the input: what streams cannot cover it."""
        return self.page.fill(view.answered(session, parts))

    def _shown(self, session: Session, run: Run) -> dict[str, Any]:
        """Return the parts of a run; while it merges, the answer before it stays, unless its accuracy is watched."""
        watched = run.phase == "merging" and bool(run.scores)
        if not watched and (run.phase == "merging" or not (run.scores or run.phase == "scoring")):
            return {"status": view.run_status(run, None)}
        parts = view.answer_parts(self.bench, session, run)
        if watched:
            return parts | {"status": view.run_status(run, None)}
        own = [load_suite(session.suite).task_of[e] for e in run.recipe.experts]
        words = view.run_status(run, answer(run, own, {}).average)
        return parts | {"status": words, "shown": run.recipe.digest}

    def _all(self, session: Session) -> dict[str, Any]:
        suite, known = load_suite(session.suite), self._known(session)
        chosen = session.inputs.chosen
        return {
            **view.controls_parts(self.bench, session),
            **known,
            **(sight.marks(self.bench, session, known.get("shown", "")) if chosen else {}),
            "where": view.where(session, depth(suite)),
            "tabs": gr.Tabs(selected="inputs" if chosen else "merge"),
        }

    def _known(self, session: Session) -> dict[str, Any]:
        """Return the answer for a session as far as it is known without computing."""
        try:
            run = self.bench.record.known(state.recipe(session))
        except MergeError:
            run = None
        if run is not None:
            return self._shown(session, run) | {"focus": self.looks.key(session, run.recipe.digest)}
        words = view.status("Choose experts and a method, then press Merge.")
        parts = view.answer_parts(self.bench, session, None)
        return {**parts, "status": words, "shown": "", "focus": self.looks.key(session, "")}

    def _after(self, session: Session, shown: str, words: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Return the answer parts after an act: a known result at once, else what to do."""
        try:
            recipe = state.recipe(session)
        except MergeError:
            return {"status": view.status("", tone="stale" if shown else ""), "focus": self.looks.key(session, shown)}
        self.tickets.want(visitor(request), recipe.digest) if "live" in words else None
        run = self.bench.record.known(recipe)
        if run is not None and not run.partial:
            return self._shown(session, run) | {"focus": self.looks.key(session, recipe.digest)}
        parts = {"focus": self.looks.key(session, shown)}
        if recipe.digest == shown:
            return parts
        return parts | {"status": view.stale_status(self.bench, session, "live" in words)}


def visitor(request: gr.Request | None) -> str:
    """Return the name of a visitor's browser tab."""
    return str(getattr(request, "session_hash", None) or "api")
