"""Accuracy while a method adapts: snapshots scored on a few pictures of every task, for watching only.

Nothing is chosen by these scores. What is reported of an adaptive method is its last update; the best point of the
curve is an upper bound that needed labels to find.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..contract import Step
from ..evaluate import Score, score_steps
from ..merged import Merged
from ..suite import Suite

PICTURES = 32
SHARE = 0.2  # of the time may go into watching
EARLY, EARLY_SHARE = 30.0, 0.5  # seconds from the first point in which gains are to be seen soon, and the share there


@dataclass(frozen=True)
class Point:
    """A moment of the curve: updates done, seconds of adapting so far, mean entropy (nats), accuracy (%) by task."""

    step: int
    seconds: float
    entropy: float | None
    accuracy: Mapping[str, float]

    @property
    def average(self) -> float:
        return sum(self.accuracy.values()) / len(self.accuracy)

    def to_dict(self) -> dict[str, Any]:
        """Return the point as JSON types."""
        rounded = {task: round(value, 2) for task, value in self.accuracy.items()}
        entropy = None if self.entropy is None else round(self.entropy, 4)
        return {
            "step": self.step, "seconds": round(self.seconds, 2), "entropy": entropy, "accuracy": rounded,
            "average": round(self.average, 2),
        }  # fmt: skip


    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Point:
        """Return the point of a mapping as `to_dict` makes it."""
        return cls(given["step"], given["seconds"], given["entropy"], given["accuracy"])


@dataclass
class Watch:
    """Scores the snapshots of a run now and then, and keeps the curve.

    The start, update 0, is the first point. After a scoring that took s seconds, the next waits until s / SHARE - s
    seconds have passed, so that watching costs about that share, or less long while the run is young. The last update
    is always scored. Where a course follows another, the curve is that of the latter.
    """

    suite: Suite
    tasks: Sequence[str]
    split: str = "score"
    pictures: int = PICTURES
    dtype: torch.dtype = torch.float32
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        self.points: list[Point] = []
        self.scores: Mapping[str, Score] = {}
        self._watching, self._next = 0.0, 0.0

    def steps(self, run: Generator[Step, None, Merged]) -> Generator[Step, None, Merged]:
        """Pass the Steps of a run on, with the accuracy of the snapshots that were scored; returns the merge."""
        start = self.clock()
        while True:
            try:
                step = next(run)
            except StopIteration as end:
                return end.value
            if step.snapshot is not None and (step.done == step.total or self.clock() >= self._next):
                step = yield from self._look(step, start)
            yield step

    def _look(self, step: Step, start: float) -> Generator[Step, None, Step]:
        """Score a snapshot, yielding a Step after every task; returns the step with what was found."""
        assert step.snapshot is not None
        begun = self.clock()
        given: dict[str, Any] = {"split": self.split, "limit": self.pictures, "dtype": self.dtype}
        scoring = score_steps(self.suite, step.snapshot(), self.tasks, first=self.pictures, **given)
        while True:
            try:
                next(scoring)
            except StopIteration as end:
                self.scores = end.value
                break
            yield replace(step, snapshot=None)
        accuracy = {task: found.accuracy for task, found in self.scores.items()}
        if self.points and step.done <= self.points[-1].step:  # another course, as of surgery after AdaMerging
            self.points.clear()
        point = Point(step.done, begun - start - self._watching, step.metrics.get("entropy"), accuracy)
        self.points.append(point)
        taken = self.clock() - begun
        self._watching += taken
        share = EARLY_SHARE if point.seconds - self.points[0].seconds < EARLY else SHARE
        self._next = self.clock() + taken * (1 / share - 1)
        live = {"accuracy %": point.average, **{f"{task} %": value for task, value in accuracy.items()}}
        return replace(step, metrics={**step.metrics, **live})
