"""Cosine between task vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ._cell import Cell
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio


@dataclass(frozen=True, eq=False)
class Cosine(Measured):
    """Cosines of all pairs of models."""

    cosine: np.ndarray = field(
        metadata=quantity("row expert other", "cos(τ_i, τ_j), signed.", symmetric=True, chance="chance")
    )
    chance: np.ndarray = field(metadata=quantity("row", "Standard deviation between random directions, 1/√n."))


@dataclass(frozen=True)
class MeasureCosine(WeightMetric):
    """Measure the angle between the task vectors of every pair of models.

        cos(i, j) = ⟨τ_i, τ_j⟩ / (|τ_i| |τ_j|)

    References
    ----------
    Ilharco et al., Editing Models with Task Arithmetic, ICLR 2023, arXiv:2212.04089.

    Notes
    -----
    Inner products and squared norms are accumulated in float64 per tensor and added before the division. The sign is
    kept. Missing beside a zero task vector.
    """

    title: ClassVar[str] = "Cosine"
    about: ClassVar[str] = "How much two experts moved the same way: 1 the same, 0 unrelated, −1 opposite."
    formula: ClassVar[str] = "cos(i, j) = ⟨τᵢ, τⱼ⟩ / (|τᵢ| |τⱼ|)"
    reference: ClassVar[str] = "Ilharco et al., Editing Models with Task Arithmetic, ICLR 2023, arXiv:2212.04089"
    unit: ClassVar[str] = "cosine"
    produces: ClassVar = Cosine
    headline: ClassVar[str] = "cosine"
    merge: ClassVar = "beside"

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        return {"gram": cell.gram, "entries": cell.flat.shape[1]}

    def collect(self, swept: Swept) -> Cosine:
        return Cosine(swept.models, swept.rows, cosines(swept.total("gram")), 1 / np.sqrt(swept.total("entries")))


def cosines(gram: np.ndarray) -> np.ndarray:
    """Return the cosines of vectors from their inner products (..., M, M); missing beside a zero vector."""
    norms = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    return np.clip(ratio(gram, norms[..., :, None] * norms[..., None, :]), -1, 1)
