"""What results are compared with, measured while nobody merges: the models alone, then the plain average."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import gradio as gr

from merge_engine.suite import load_suite

from . import view
from .cost_line import cost_line
from .guarded import guarded
from .layout import Page
from .record import Run, average_of
from .remaining import Countdown
from .session import Session
from .shelf import Ticket, Tickets
from .workbench import Workbench, paced

FIRST_LOOK = 32  # pictures of every task in the first estimate of the models alone
OFTEN = 6  # models scored between two drawings
PATIENCE = 0.1  # seconds between two looks whether somebody still merges
Kind = Mapping[str, Any]
T = TypeVar("T")


class Background:
    """What is computed unasked, on one workbench. It has a queue of its own and pauses while somebody merges."""

    def __init__(self, page: Page, bench: Workbench, tickets: Tickets, visitor: Callable[[Any], str]) -> None:
        self.page, self.bench, self.tickets, self.visitor = page, bench, tickets, visitor
        self.count = itertools.count(1)

    @guarded("preparing", "Scoring what results are compared with")
    def prepare(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Measure what is not stored yet, the models alone on a few pictures first, then on all.

        The visitor goes on meanwhile, so nothing is drawn here from the session as it was: `news` calls `refresh`.
        """
        yield gr.skip()
        if not session.suite or not load_suite(session.suite).experts:
            return
        ticket = self.tickets.take(f"prepare {self.visitor(request)}", session.suite)
        if changed := self.bench.costs.calibrate(load_suite(session.suite)):
            yield self.page.fill(self._news())
        for limit in (FIRST_LOOK, None):
            for parts in self._alone(session.suite, limit, ticket):
                changed = True
                yield self.page.fill(parts)
        for run in self._patiently(self._compared(session, ticket), ticket):
            changed = True
            yield self.page.fill({"preparing": view.comparing(run)})
        yield self.page.fill({"preparing": view.status("")} | (self._news() if changed else {}))

    @guarded("fault", "Drawing what was measured")
    def refresh(self, session: Session, shown: str) -> dict[Any, Any]:
        """Draw again what stands beside the answer, now that more is known."""
        if not session.suite:
            return gr.skip()
        run = self.bench.record.shown(shown) if shown else None
        parts = view.answer_parts(self.bench, session, run) if run or not shown else {}
        beside = {"experts": view.expert_strip(self.bench, session), "cost": cost_line(self.bench, session)}
        return self.page.fill(parts | beside)

    def _alone(self, suite: str, limit: int | None, ticket: Ticket) -> Iterator[dict[str, Any]]:
        """Score the pretrained model and the experts, telling now and then that there is news."""
        countdown, told = Countdown(), 0
        for step in self._patiently(self.bench.record.baseline_steps(suite, limit, ticket.going), ticket):
            words = f"Scoring the models before merging{countdown.words(step.done, step.total)}"
            parts = {"preparing": view.status(words, done=step.done, total=step.total, tone="busy")}
            fresh = step.done - told >= OFTEN or told < step.done == step.total
            told = step.done if fresh else told
            yield parts | (self._news() if fresh else {})

    def _compared(self, session: Session, ticket: Ticket) -> Iterator[Run]:
        """Measure the plain average of the chosen experts when everything before it is done."""
        known = self.bench.record.average(session.suite, session.experts) if session.experts else None
        if session.experts and known is None and ticket.going():
            yield from paced(self.bench.compare(average_of(session.suite, session.experts), ticket.going))

    def _patiently(self, steps: Iterable[T], ticket: Ticket) -> Iterator[T]:
        """Pass steps on, taking none while somebody merges."""
        steps = iter(steps)
        while True:
            while self.bench.busy and ticket.going():
                time.sleep(PATIENCE)
            try:
                yield next(steps)
            except StopIteration:
                return

    def _news(self) -> dict[str, Any]:
        return {"news": str(next(self.count))}
