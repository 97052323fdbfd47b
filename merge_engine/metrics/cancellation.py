"""Cancellation between task vectors."""

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
class Cancellation(Measured):
    """Cancellation ratios of all experts together and of every pair."""

    ratio: np.ndarray = field(metadata=quantity("row", "|Σ τ|² / Σ |τ|² of all experts.", chance="chance"))
    pair: np.ndarray = field(
        metadata=quantity("row expert other", "The ratio of two experts alone.", symmetric=True, chance="chance")
    )
    chance: np.ndarray = field(metadata=quantity("row", "Ratio of orthogonal task vectors, 1."))


@dataclass(frozen=True)
class MeasureCancellation(WeightMetric):
    """Measure how much of the task vectors survives their sum.

        |Σ_t τ_t|² / Σ_t |τ_t|²

    References
    ----------
    Follows from the inner products of task vectors (Ilharco et al., ICLR 2023, arXiv:2212.04089).

    Notes
    -----
    1 for orthogonal task vectors, T for identical ones, below 1 where they cancel. Squares are added over tensors
    before the division. Missing where no expert moved.
    """

    title: ClassVar[str] = "Cancellation"
    about: ClassVar[str] = "What is left of the task vectors in their sum: below 1 they cancel, 1 is no interaction."
    formula: ClassVar[str] = "|Σₜ τₜ|² / Σₜ |τₜ|²"
    reference: ClassVar[str] = "From the inner products of task vectors; Ilharco et al., ICLR 2023, arXiv:2212.04089"
    unit: ClassVar[str] = "ratio"
    produces: ClassVar = Cancellation
    headline: ClassVar[str] = "ratio"

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        return {"gram": cell.gram}

    def collect(self, swept: Swept) -> Cancellation:
        gram = swept.total("gram")
        norms = np.diagonal(gram, axis1=1, axis2=2)
        pairs = norms[:, :, None] + norms[:, None, :]
        return Cancellation(
            swept.models,
            swept.rows,
            ratio(gram.sum((1, 2)), norms.sum(1)),
            ratio(pairs + 2 * gram, pairs),
            np.ones(len(swept.rows)),
        )
