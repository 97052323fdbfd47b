"""How long a sweep will still take, from how long its points took so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

CERTAIN = 0.1  # share of a phase after which its end can be told


def kinds(directions: Sequence[Any]) -> list[str]:
    """Return for points in order, by what their merges depend on, whether each is "new" or "shared" with the last."""
    return ["new" if i == 0 or directions[i - 1] != key else "shared" for i, key in enumerate(directions)]


class Pace:
    """Seconds of the points still to come: those that need a new merge of experts, and those that share one.

    `directions` tells, in order, what the merge of every point depends on; a point alike the one before shares it.
    """

    def __init__(self, directions: Sequence[Any], clock: Callable[[], float] = time.perf_counter) -> None:
        self.coming = kinds(directions)
        self.clock = clock
        self.took: dict[str, list[float]] = {"new": [], "shared": [], "score": []}
        self.now: dict[str, float] = {}
        self._phase, self._started, self._share, self._steps = "", 0.0, 0.0, 0

    def know(self, kind: str, seconds: Mapping[str, float]) -> None:
        """Learn what a point took before, whose merge was "new" or "shared"; one at hand tells nothing."""
        if seconds["merge"] or kind != "new":
            self.took[kind].append(seconds["merge"])
        self.took["score"].append(seconds["score"])

    def begin(self, phase: str) -> None:
        """Begin to "merge" or to "score" the next point."""
        self._close()
        self._phase = self.coming[0] if phase == "merge" else phase
        self._started, self._share, self._steps = self.clock(), 0.0, 0

    def step(self, share: float) -> None:
        """Note that a share of the phase is done."""
        self._share, self._steps = share, self._steps + 1

    def end(self) -> dict[str, float]:
        """End a point; returns the seconds that its merge and its score took."""
        self._close()
        now, self.now = self.now, {}
        self.coming.pop(0)
        for kind, seconds in now.items():
            self.took[kind].append(seconds)
        return {"merge": sum(s for kind, s in now.items() if kind != "score"), "score": now.get("score", 0.0)}

    def left(self) -> float | None:
        """Return the seconds that are left, None while some part of them was never timed."""
        total = 0.0
        for kind, count in Counter((*self.coming, *("score" for _ in self.coming))).items():
            expected = self._expected(kind)
            if expected is None:
                return None
            total += count * expected
        return max(0.0, total - sum(self.now.values()) - self._elapsed())

    def _expected(self, kind: str) -> float | None:
        """Return the seconds of one phase of a kind: their median so far, else what the present one tells."""
        if self.took[kind]:
            return median(self.took[kind])
        if kind in self.now:
            return self.now[kind]
        if kind == self._phase and self._share >= CERTAIN:
            return self._elapsed() / self._share
        return 0.0 if kind == "shared" else None

    def _elapsed(self) -> float:
        return self.clock() - self._started if self._phase else 0.0

    def _close(self) -> None:
        """End the present phase; a merge that was at hand tells nothing about the next ones."""
        if self._phase and not (self._phase == "new" and not self._steps):
            self.now[self._phase] = self._elapsed()
        self._phase = ""
