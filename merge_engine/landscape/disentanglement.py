"""Weight disentanglement: whether two task vectors, added together, change each other's predictions.

    ξ(α_1, α_2) = Σ_{i=1,2} E_{x∼D_i} [ argmax f(x; θ_0 + α_i τ_i) ≠ argmax f(x; θ_0 + α_1 τ_1 + α_2 τ_2) ]

between 0, where neither disturbs the other, and 2. No label is needed.

References
    Ortiz-Jimenez, Favero, Frossard, Task Arithmetic in the Tangent Space, NeurIPS 2023, arXiv:2305.12827.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..contract import Step
from ..errors import RecipeError
from ..suite import Suite
from . import lattice
from .corners import PRETRAINED, corners, of_suite
from .probe import Probe
from .span import Span
from .stored import Stored

REACH = 2.0  # largest scaling of a task vector, either way
ZERO = lattice.FINE // 2  # place of the scaling 0 on the lattice


@dataclass(frozen=True, eq=False)
class Disentanglement:
    """Share of changed predictions on the inputs of the first expert and of the second, (21, 21, 2).

    Rows are the second expert's scaling, columns the first's, both in `scalings` (21,); not a number where unmeasured.
    """

    experts: tuple[str, str]
    pictures: int
    scalings: np.ndarray
    changed: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """ξ, (21, 21), between 0 and 2."""
        return self.changed.sum(-1)


class DisentanglementSurvey:
    """The weight disentanglement of two experts, measured on `pictures` validation pictures of each one's task."""

    def __init__(
        self, suite: Suite, experts: Sequence[str], pictures: int = 16, dtype: torch.dtype = torch.float32
    ) -> None:
        if PRETRAINED in experts:
            raise RecipeError("Weight disentanglement is between two experts; the pretrained model has no task vector.")
        first, second = corners(suite, experts, 2)
        self.suite, self.experts = suite, (first.name, second.name)
        self.own = [suite.task_of[name] for name in self.experts]
        self.probe = Probe(suite, tuple(dict.fromkeys(self.own)), pictures, dtype)
        models = (of_suite(suite, PRETRAINED), first, second)
        self.stored = Stored("disentanglement", suite, models, self.probe, str(lattice.FINE))

    def missing(self, detail: int) -> int:
        """Return how many models have to be read for a lattice of `detail` scalings a side."""
        return sum(lattice.word(point) not in self.stored for point in axes_first(detail))

    def steps(self, detail: int) -> Generator[Step, None, Disentanglement | None]:
        """Read the models of the lattices up to `detail`, single experts first, yielding a Step after each."""
        total, done = self.missing(detail), 0
        if total:
            experts = [self.suite.expert(name) for name in self.experts]
            base, dtype, scalings = self.suite.pretrained_in_memory, self.probe.dtype, scale()
            span = Span(base, experts, dtype, self.suite.device)
            try:
                for point in (p for side in lattice.sides_to(detail) for p in axes_first(side)):
                    if (word := lattice.word(point)) not in self.stored:
                        self.stored.keep(word, self.probe.guesses(span.at(*scalings[[*point]])))
                        done += 1
                        yield Step(done, total, "two task vectors")
            finally:
                self.stored.write()
        return self.map()

    def map(self) -> Disentanglement | None:
        """Return what is known so far; None before anything is."""
        changed = np.full((lattice.FINE + 1, lattice.FINE + 1, 2), np.nan)
        for column, row in lattice.points(lattice.SIDES[-1]):
            both = self._guesses((column, row))
            for i, alone in enumerate(((column, ZERO), (ZERO, row))):
                single = self._guesses(alone)
                if both is not None and single is not None:
                    task = self.probe.tasks.index(self.own[i])
                    changed[row, column, i] = np.mean(np.array(both[task]) != np.array(single[task]))
        if not np.isfinite(changed).any():
            return None
        return Disentanglement(self.experts, self.probe.pictures, scale(), changed)

    def _guesses(self, point: lattice.Point) -> list[list[int]] | None:
        return self.stored.get(lattice.word(point))


def scale() -> np.ndarray:
    """Return the scalings of the finest lattice, (21,)."""
    return np.linspace(-REACH, REACH, lattice.FINE + 1).round(9)


def axes_first(side: int) -> list[lattice.Point]:
    """Return what a lattice needs: the pretrained model, one expert alone at every scaling, then both."""
    along = lattice.along(side)
    alone = [point for place in along for point in ((place, ZERO), (ZERO, place))]
    return list(dict.fromkeys(((ZERO, ZERO), *alone, *lattice.points(side))))
