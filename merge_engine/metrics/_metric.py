"""What every measurement declares, and how one is taken from weights: tensor by tensor, in one pass."""

from __future__ import annotations

import abc
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .. import hp as declarations
from ..contract import MATRIX_KINDS, Context, Place, Problem, Step, TensorGroup, drive
from ..errors import RecipeError, no_such
from ..merged import Merged, StaticMerged
from ..svd import FLOOR, Factors, decompose
from ._measured import LEVELS, MERGED, Measured, Row

PARTS = {"q": "attention", "k": "attention", "v": "attention", "out": "attention", "fc1": "mlp", "fc2": "mlp"}
CHUNK = 1 << 22


@dataclass(frozen=True)
class Metric(abc.ABC):
    """Abstract base. A subclass declares the class variables below and its options with `hp`.

    `source` says what it is measured on; `headline` is the array to show first.
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
        groups = problem.groups(device=ctx.device, names=self._names(problem, names))
        models = problem.tasks + ((MERGED,) if shown is not None and self.merge == "beside" else ())
        found: list[tuple[str, Place, Mapping[str, Any]]] = []
        for done, group in enumerate(groups, 1):
            if not self.matrices or group.pretrained.ndim == 2:
                with torch.no_grad():
                    statistics = self.cell(Cell(group, ctx, shown, len(models)))
                found.append((group.name, group.place, {k: _numpy(v) for k, v in statistics.items()}))
            yield Step(done, len(groups), group.name)
        if not found:
            raise RecipeError(f"{self.title} is measured on matrices and none was selected; choose one, such as fc1.")
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


@dataclass(frozen=True)
class Cell:
    """One tensor: the pretrained one, the task vectors of the experts and, where `merged` is one of `count` models,
    the merged task vector after them."""

    group: TensorGroup
    ctx: Context
    merged: StaticMerged | None = None
    count: int = 0

    @property
    def tasks(self) -> int:
        """Number of experts T."""
        return len(self.group.tasks)

    @cached_property
    def deltas(self) -> Tensor:
        """Task vectors of all models, (M, *S) float32."""
        vectors = self.group.task_vectors
        return vectors if self.count == self.tasks else torch.cat([vectors, self.merged_delta.unsqueeze(0)])

    @cached_property
    def merged_delta(self) -> Tensor:
        """Merged task vector, S; zero for a tensor the merge left alone."""
        assert self.merged is not None
        known = self.group.name in self.merged.direction
        blank = torch.zeros_like(self.group.pretrained)
        return self.merged.task_vector(self.group.name).to(blank) if known else blank

    @cached_property
    def flat(self) -> Tensor:
        """Task vectors as rows, (M, entries)."""
        return self.deltas.flatten(1)

    @cached_property
    def gram(self) -> Tensor:
        """Inner products of the task vectors, (M, M), accumulated in float64."""
        pieces = (piece.double() for piece in self.flat.split(CHUNK, 1))
        return torch.stack([piece @ piece.T for piece in pieces]).sum(0)

    @cached_property
    def factors(self) -> tuple[Factors, ...]:
        """Singular components of all models; the experts' come from the store."""
        found = tuple(self.ctx.svd(delta) for delta in self.deltas[: self.tasks])
        return found if self.count == self.tasks else (*found, self.merged_factors)

    @cached_property
    def merged_factors(self) -> Factors:
        """Singular components of the merged task vector."""
        assert self.merged is not None
        known = self.group.name in self.merged.direction
        found = self.merged.factors(self.group.name, self.ctx.svd) if known else decompose(self.merged_delta)
        return Factors(*(part.to(self.group.pretrained) for part in found))

    @cached_property
    def spectra(self) -> Tensor:
        """Singular values, (M, r) float64, with what is only rounding set to zero."""
        return torch.stack([numerical(f.s) for f in self.factors])


@dataclass(frozen=True)
class Swept:
    """The statistics of all tensors, and the rows they add up to."""

    models: tuple[str, ...]
    tasks: int
    found: Sequence[tuple[str, Place, Mapping[str, np.ndarray]]]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        places = [place for _, place, _ in self.found]
        blocks = sorted({p.block for p in places if p.block is not None})
        kinds = dict.fromkeys(p.kind for p in places)
        parts = dict.fromkeys(PARTS[k] for k in kinds if k in PARTS)
        return (
            Row("all"),
            *(Row("part", kind=part) for part in parts),
            *(Row("block", block=block) for block in blocks),
            *(Row("kind", kind=kind) for kind in kinds),
            *(Row("tensor", name, place.block, place.kind) for name, place, _ in self.found),
        )

    @cached_property
    def members(self) -> np.ndarray:
        """Which tensors a row holds, (rows, tensors)."""
        return np.array([[_holds(row, name, place) for name, place, _ in self.found] for row in self.rows], float)

    def each(self, name: str, fill: float = 0.0) -> np.ndarray:
        """Return a statistic of every tensor, (tensors, ...), shorter arrays filled up at the end."""
        values = [statistics[name] for _, _, statistics in self.found]
        shape = tuple(max(sizes) for sizes in zip(*(v.shape for v in values), strict=True))
        stacked = np.full((len(values), *shape), fill)
        for tensor, value in enumerate(values):
            stacked[(tensor, *(slice(size) for size in value.shape))] = value
        return stacked

    def total(self, name: str) -> np.ndarray:
        """Return the sum of a statistic over the tensors of every row, (rows, ...)."""
        return np.tensordot(self.members, self.each(name), 1)

    def mean(self, name: str) -> np.ndarray:
        """Return the mean of a statistic over the tensors of every row where it is defined, (rows, ...)."""
        values = self.each(name, np.nan)
        there = np.isfinite(values)
        count = np.tensordot(self.members, there.astype(float), 1)
        return ratio(np.tensordot(self.members, np.where(there, values, 0.0), 1), count)


def _holds(row: Row, name: str, place: Place) -> bool:
    return {
        "all": True,
        "part": PARTS.get(place.kind) == row.kind,
        "block": place.block is not None and place.block == row.block,
        "kind": place.kind == row.kind,
        "tensor": name == row.tensor,
    }[row.level]


def ratio(above: Any, below: Any) -> np.ndarray:
    """Return above / below, missing where below is zero."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def numerical(s: Tensor) -> Tensor:
    """Return singular values in float64 with those below 1e-7 of the largest set to zero."""
    s = s.double()
    return torch.where(s > FLOOR * s[:1], s, torch.zeros_like(s))


def sharpened(U: Tensor) -> Tensor:
    """Return float32 orthonormal columns in float64, their rounding removed by one Newton–Schulz step."""
    U = U.double()
    return U @ (1.5 * torch.eye(U.shape[1], dtype=U.dtype, device=U.device) - 0.5 * U.T @ U)


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, float)
