"""Loss and accuracy along the straight line between two models, and its barrier.

References
    Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020, arXiv:1912.05671.
    Entezari et al., The Role of Permutation Invariance in Linear Mode Connectivity, ICLR 2022, arXiv:2110.06296.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..contract import Step
from ..suite import Suite
from .corners import Corner, corners, tasks_of
from .probe import Probe
from .span import Span
from .stored import Stored
from .surface import plain

STEP = 24  # parts of the line between the models
BEYOND = 12  # as many parts beyond each of them
STRIDES = {6: 6, 11: 3, 21: 1}  # parts between two points, by the detail of a lattice
TOLERANCE = 2.0  # points of accuracy that two connected models may lose between them


@dataclass(frozen=True)
class Barrier:
    """How far a curve rises above the chord between its ends, and where, as a share of the way."""

    height: float
    at: float


@dataclass(frozen=True, eq=False)
class Path:
    """Loss in nats and accuracy in %, (S, T), after a share (S,) of the way from the first model to the second."""

    models: tuple[str, str]
    tasks: tuple[str, ...]
    pictures: int
    shares: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray

    def barrier(self, task: str = "", *, accuracy: bool = False) -> Barrier | None:
        """Return the barrier in loss, or in accuracy lost, of a task or of the average; None before both ends."""
        values = self.accuracy if accuracy else self.loss
        curve = values[:, self.tasks.index(task)] if task else values.mean(1)
        return barrier(self.shares, -curve if accuracy else curve)

    @property
    def connected(self) -> bool | None:
        """True when the average accuracy falls by at most the tolerance below the chord; None before both ends."""
        found = self.barrier(accuracy=True)
        return None if found is None else found.height <= TOLERANCE


class PathSurvey:
    """The line through two models, measured on `pictures` validation pictures of every task.

    Models of the suite are given by name.
    """

    def __init__(self, suite: Suite, models: Sequence[str | Corner], pictures: int = 16,
                 tasks: Sequence[str] | None = None, dtype: torch.dtype = torch.float32) -> None:  # fmt: skip
        self.suite, self.ends = suite, corners(suite, models, 2)
        self.models = (self.ends[0].name, self.ends[1].name)
        self.probe = Probe(suite, tuple(tasks or tasks_of(self.ends)), pictures, dtype)
        self.stored = Stored("path", suite, self.ends, self.probe)

    def missing(self, detail: int) -> int:
        """Return how many models have to be read for this detail."""
        return sum(str(part) not in self.stored for part in parts(detail))

    def steps(self, detail: int) -> Generator[Step, None, Path | None]:
        """Read the points of the line, coarse to fine, yielding a Step after each."""
        total = self.missing(detail)
        if total:
            first, second = (end.weights() for end in self.ends)
            span, done = Span(first, [second], self.probe.dtype, self.suite.device), 0
            try:
                for part in (p for side in STRIDES if side <= detail for p in parts(side)):
                    if str(part) not in self.stored:
                        self.stored.keep(str(part), plain(self.probe.read(span.at(part / STEP))))
                        done += 1
                        yield Step(done, total, "the line")
            finally:
                self.stored.write()
        return self.path()

    def path(self) -> Path | None:
        """Return what is known so far; None before anything is."""
        known = [part for part in parts(max(STRIDES)) if str(part) in self.stored]
        if not known:
            return None
        read = np.array([self.stored[str(part)] for part in known], float)
        shares = np.array(known) / STEP
        return Path(self.models, self.probe.tasks, self.probe.pictures, shares, read[..., 0], read[..., 1])


def barrier(shares: np.ndarray, curve: np.ndarray) -> Barrier | None:
    """Return max_α [L(α) − ((1 − α) L(0) + α L(1))] over the measured α in [0, 1]; None unless both ends are known."""
    inside = (shares >= 0) & (shares <= 1) & np.isfinite(curve)
    at, values = shares[inside], curve[inside]
    if 0.0 not in at or 1.0 not in at:
        return None
    start, end = values[at == 0][0], values[at == 1][0]
    above = (1 - at) * (values - start) + at * (values - end)
    top = int(above.argmax())
    return Barrier(float(above[top]), float(at[top]))


def parts(detail: int) -> range:
    """Return the points of the line at a detail, in parts of the way between the models."""
    return range(-BEYOND, STEP + BEYOND + 1, STRIDES[detail])
