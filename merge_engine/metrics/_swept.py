"""Statistics of many tensors, added up by block, kind and part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..problem import Place
from ._measured import Row

PARTS = {"q": "attention", "k": "attention", "v": "attention", "out": "attention", "fc1": "mlp", "fc2": "mlp"}


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
