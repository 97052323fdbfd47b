"""How long something still takes, from the pace so far and, where it goes through phases, from what it should cost."""

from __future__ import annotations

import time
from collections.abc import Callable

from .headline import duration
from .record import Run

SOON = 2.0  # seconds of a pace before it is trusted
LEAST = 0.5  # seconds that are worth telling


class Countdown:
    """The seconds left of work that is counted, phase by phase.

    `expected` are the seconds of all phases together, as far as they were estimated before: what the present phase's
    own pace tells is the least that is left, since nobody has begun the others.
    """

    def __init__(self, expected: float | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.expected, self.clock = expected, clock
        self._started = self._phase = clock()
        self._done, self._total = 0, 0

    def left(self, done: int, total: int) -> float | None:
        """Return the seconds left with `done` of `total` units; None while neither pace nor cost is known."""
        now = self.clock()
        if total != self._total or done < self._done:
            self._phase = now if self._total else self._started
        self._done, self._total = done, total
        pace = at_pace(now - self._phase, done, total)
        if self.expected is None:
            return pace
        return max(pace or 0.0, self.expected - (now - self._started)) or pace

    def words(self, done: int, total: int) -> str:
        """Return the rest of a status line: `, about 12 s left`, or nothing."""
        return said(self.left(done, total))


def words_left(run: Run) -> str:
    """Return the rest of a run's status line."""
    if run.phase != "scoring":
        return said(run.left)
    done, total = (sum(getattr(s, k) for s in run.scores.values()) for k in ("n", "total"))
    return said(at_pace(run.score_seconds, done, total))


def said(left: float | None) -> str:
    """Return the seconds left as the end of a line."""
    return f", about {duration(left)} left" if left is not None and left >= LEAST else ""


def at_pace(seconds: float, done: int, total: int) -> float | None:
    """Return the seconds left if all goes on as before; None while it is too early to tell."""
    return seconds * (total - done) / done if seconds >= SOON and 0 < done <= total else None
