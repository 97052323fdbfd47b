"""Loss and accuracy over the plane through three models, and of merges that are projected onto it.

Coordinates are distances over all parameters. A merge does not lie on the plane: its own loss belongs to its marker,
not to the place of the plane that it is projected to.

References
    Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, NeurIPS 2018, arXiv:1802.10026.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..contract import Step
from ..errors import RecipeError, no_such
from ..merged import Merged, StaticMerged
from ..suite import Suite
from . import lattice
from .corners import Corner, corners, tasks_of
from .probe import Probe
from .span import Plane, Span
from .stored import Stored

MARGIN = 0.5  # of the longer side of the models' box, on every side of it
DISTANCE = "distance"
CORNERS = ("corner 1", "corner 2", "corner 3")


@dataclass(frozen=True, eq=False)
class Marker:
    """A model on the plane, or a merge projected onto it: its own loss in nats and accuracy in % by task, (T,)."""

    name: str
    x: float
    y: float
    off: float
    loss: np.ndarray
    accuracy: np.ndarray
    merge: bool = False
    key: str = ""


@dataclass(frozen=True, eq=False)
class Surface:
    """Loss in nats and accuracy in %, (21, 21, T), rows along `y`, columns along `x`; not a number where unmeasured.

    `mixture` (21, 21, 3) is how much of each of the three `models` a point holds; it sums to one.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    pictures: int
    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    mixture: np.ndarray
    markers: tuple[Marker, ...] = ()

    @property
    def measured(self) -> int:
        """Points of the lattice that are known."""
        return int(np.isfinite(self.loss[..., 0]).sum())


class PlaneSurvey:
    """The plane through three models, measured on `pictures` validation pictures of every task.

    Models of the suite are given by name.
    """

    def __init__(self, suite: Suite, models: Sequence[str | Corner], pictures: int = 16,
                 tasks: Sequence[str] | None = None, dtype: torch.dtype = torch.float32) -> None:  # fmt: skip
        self.suite, self.corners = suite, corners(suite, models, 3)
        self.models = tuple(corner.name for corner in self.corners)
        self.probe = Probe(suite, tuple(tasks or tasks_of(self.corners)), pictures, dtype)
        self.stored = Stored("plane", suite, self.corners, self.probe, str(lattice.FINE))

    def missing(self, detail: int, merges: Mapping[str, Merged] | None = None) -> int:
        """Return how many models have to be read for a lattice of `detail` points a side."""
        wanted = [*map(lattice.word, lattice.points(detail)), *CORNERS, *only_static(merges or {})]
        return sum(word not in self.stored for word in wanted)

    def steps(self, detail: int, merges: Mapping[str, Merged] | None = None) -> Generator[Step, None, Surface | None]:
        """Read the three models, the merges (by the digest of their recipe) and the lattices up to `detail`.

        Yields a Step after every model that is read. Raises RecipeError when the models lie on one line.
        """
        merges = only_static(merges or {})
        total, done = self.missing(detail, merges), 0
        if total:
            span = self._span()
            try:
                for label in self._reading(span, detail, merges):
                    done += 1
                    yield Step(done, total, label)
            finally:
                self.stored.write()
        return self.surface()

    def surface(self, names: Mapping[str, str] | None = None) -> Surface | None:
        """Return what is known so far, with markers of those merges that have a name; None before the first look."""
        if "gram" not in self.stored:
            return None
        plane, shape = self._plane(), (lattice.FINE + 1, lattice.FINE + 1, len(self.probe.tasks), 2)
        x, y = frame(plane)
        read = np.full(shape, np.nan)
        for column, row in lattice.points(lattice.SIDES[-1]):
            if (word := lattice.word((column, row))) in self.stored:
                read[row, column] = np.array(self.stored[word], float)
        mix = np.stack([np.stack([plane.coefficients((a, b)) for a in x]) for b in y])
        corners = zip(self.models, CORNERS, plane.corners, strict=True)
        markers = [self._marker(name, word, (*at, 0.0)) for name, word, at in corners if word in self.stored]
        markers += [
            self._marker(name, key, self.stored[f"{DISTANCE} {key}"], merge=True)
            for key, name in (names or {}).items()
            if key in self.stored
        ]
        return Surface(
            self.models, self.probe.tasks, self.probe.pictures, x, y, read[..., 0], read[..., 1],
            np.concatenate([1 - mix.sum(-1, keepdims=True), mix], -1), tuple(markers),
        )  # fmt: skip

    def _span(self) -> Span:
        weights = [corner.weights() for corner in self.corners]
        span = Span(weights[0], weights[1:], self.probe.dtype, self.suite.device)
        if "gram" not in self.stored:
            gram = span.gram()
            Plane.of(gram)
            self.stored.keep("gram", gram.tolist())
        return span

    def _plane(self) -> Plane:
        return Plane.of(np.array(self.stored["gram"]))

    def _reading(self, span: Span, detail: int, merges: Mapping[str, StaticMerged]) -> Generator[str, None, None]:
        """Read whatever is missing, yielding in words what was read."""
        plane = self._plane()
        x, y = frame(plane)
        for name, word, at in zip(self.models, CORNERS, ((0, 0), (1, 0), (0, 1)), strict=True):
            if word not in self.stored:
                self.stored.keep(word, plain(self.probe.read(span.at(*at))))
                yield name
        for key, merged in merges.items():
            if key not in self.stored:
                self.stored.keep(f"{DISTANCE} {key}", project(span, plane, merged))
                self.stored.keep(key, plain(self.probe.read(merged)))
                yield "a merge"
        for side in lattice.sides_to(detail):
            for point in lattice.points(side):
                if (word := lattice.word(point)) not in self.stored:
                    coefficients = plane.coefficients((x[point[0]], y[point[1]]))
                    self.stored.keep(word, plain(self.probe.read(span.at(*coefficients))))
                    yield f"{side} × {side} points"

    def _marker(self, name: str, key: str, place: Sequence[float], merge: bool = False) -> Marker:
        own, (x, y, off) = np.array(self.stored[key], float), map(float, place)
        return Marker(name, x, y, off, own[:, 0], own[:, 1], merge, key if merge else "")


def frame(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates (21,) and (21,) of the finest lattice: a box around the three models with a margin."""
    low, high = plane.corners.min(0), plane.corners.max(0)
    room = MARGIN * (high - low).max()
    x, y = (np.linspace(a - room, b + room, lattice.FINE + 1) for a, b in zip(low, high, strict=True))
    return x, y


def project(span: Span, plane: Plane, merged: StaticMerged) -> list[float]:
    """Return where a merge is projected to, along both axes, and how far it lies off the plane."""
    weights = merged.weights()
    x, y = plane.place(span.dots(weights))
    return [float(x), float(y), span.residual(weights, plane.coefficients((x, y)).tolist())]


def only_static(merges: Mapping[str, Merged]) -> dict[str, StaticMerged]:
    """Return the merges that are one model; one that routes or knows the task is several and has no place."""
    return {key: merged for key, merged in merges.items() if isinstance(merged, StaticMerged)}


def check_detail(detail: int) -> int:
    """Return the points along a side; raises RecipeError for a lattice that does not exist."""
    if detail not in lattice.SIDES:
        raise RecipeError(no_such("lattice", str(detail), map(str, lattice.SIDES)))
    return detail


def plain(reading: np.ndarray) -> list[list[float | None]]:
    """Return a reading as JSON; what is not a number, such as the loss of a model that broke, as nothing."""
    return [[float(v) if np.isfinite(v) else None for v in line] for line in reading]
