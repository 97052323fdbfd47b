"""What every measurement declares, and how one is taken from weights: tensor by tensor, in one pass."""

from __future__ import annotations

import abc
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .. import hp as declarations
from ..contract import Context, Step
from ..errors import RecipeError, no_such
from ..merged import Merged, StaticMerged
from ..problem import MATRIX_KINDS, Place, Problem
from ..running import drive
from ._cell import Cell
from ._measured import LEVELS, MERGED, Measured
from ._swept import Swept


@dataclass(frozen=True)
class Metric(abc.ABC):
    """Abstract base. A subclass declares the class variables below and its options with `hp`.

    `source` says what it is measured on; `headline` is the array to show first, and `shown` are the levels of rows to
    print where nobody asked for others.
    """

    title: ClassVar[str]
    about: ClassVar[str]
    formula: ClassVar[str]
    reference: ClassVar[str]
    unit: ClassVar[str]
    produces: ClassVar[type[Measured]]
    headline: ClassVar[str]
    source: ClassVar[Literal["weights", "merge", "features", "predictions"]] = "weights"
    levels: ClassVar[tuple[str, ...]] = LEVELS
    shown: ClassVar[tuple[str, ...]] = ("all", "part", "kind")

    def __post_init__(self) -> None:
        for name, declared in declarations.declared(type(self)).items():
            object.__setattr__(self, name, declared.check(getattr(self, name), type(self).__name__))

    @classmethod
    def per(cls) -> tuple[str, ...]:
        """Return what its numbers belong to: `expert`, `pair` of experts, `merge` (all experts together)."""
        declared = cls.produces.quantities().values()
        axes = [q.axes for q in declared if q.name not in {other.chance for other in declared}]
        single = any("expert" in a and "other" not in a for a in axes)
        merge = any("expert" not in a for a in axes)
        found = {"expert": single, "pair": any("other" in a for a in axes), "merge": merge}
        return tuple(name for name, there in found.items() if there)


@dataclass(frozen=True)
class WeightMetric(Metric):
    """A measurement on weights: `cell` takes one tensor's statistics, `collect` turns all of them into arrays.

    Rows above the tensor level come from sums of statistics, so ratios are ratios of sums, never means of ratios,
    unless the metric's Notes say otherwise. `merge` says what a merged model does: nothing, it is measured beside the
    experts as one more model, it may be used, or it must be given.
    """

    matrices: ClassVar[bool] = False
    merge: ClassVar[Literal["unused", "beside", "optional", "needed"]] = "unused"

    @abc.abstractmethod
    def cell(self, cell: Cell) -> Mapping[str, Any]:
        """Return the statistics of one tensor by name: numbers or arrays."""

    @abc.abstractmethod
    def collect(self, swept: Swept) -> Measured:
        """Return the measurement from the statistics of all tensors."""

    def measure(
        self,
        problem: Problem,
        ctx: Context | None = None,
        *,
        names: Collection[str] | str | None = None,
        merged: Merged | None = None,
    ) -> Measured:
        """Measure a problem, or only the tensors in `names`."""
        return drive(self.steps(problem, ctx, names=names, merged=merged))

    def steps(
        self,
        problem: Problem,
        ctx: Context | None = None,
        *,
        names: Collection[str] | str | None = None,
        merged: Merged | None = None,
    ) -> Generator[Step, None, Measured]:
        """Measure, yielding a Step after each tensor; the generator's return value is the measurement."""
        ctx = ctx or Context()
        shown = self._merge(merged)
        device = "cpu" if ctx.device.type == "mps" else ctx.device  # sums are in float64, which mps lacks
        groups = problem.groups(device=device, names=self._names(problem, names))
        models = problem.tasks + ((MERGED,) if shown is not None and self.merge == "beside" else ())
        found: list[tuple[str, Place, Mapping[str, Any]]] = []
        for done, group in enumerate(groups, 1):
            if not self.matrices or group.pretrained.ndim == 2:
                with torch.no_grad():
                    statistics = self.cell(Cell(group, ctx, shown, len(models)))
                found.append((group.name, group.place, {k: _numpy(v) for k, v in statistics.items()}))
            yield Step(done, len(groups), group.name)
        if not found:
            what = "matrix" if self.matrices else "tensor of numbers"
            raise RecipeError(f"{self.title} found no {what} among the chosen tensors; choose one, such as fc1.")
        return self.collect(Swept(models, len(problem.tasks), found))

    def _merge(self, merged: Merged | None) -> StaticMerged | None:
        if merged is None and self.merge == "needed":
            raise RecipeError(f"{self.title} needs a merged model; merge first, then measure.")
        if self.merge == "unused" or merged is None:
            return None
        if not isinstance(merged, StaticMerged):
            raise RecipeError(f"{self.title} is measured on one merged model; this merge keeps one part per expert.")
        return merged

    def _names(self, problem: Problem, names: Collection[str] | str | None) -> Collection[str] | None:
        if names is None:
            place = problem.architecture.place
            return {n for n in problem.pretrained if place(n).kind in MATRIX_KINDS} if self.matrices else None
        chosen = (names,) if isinstance(names, str) else tuple(names)
        for name in chosen:
            if name not in problem.pretrained:
                raise RecipeError(no_such("tensor", name, problem.pretrained))
        return set(chosen)


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, float)
