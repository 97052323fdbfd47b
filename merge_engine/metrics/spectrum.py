"""Singular values of task vectors and how fast their energy adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from ..hp import hp
from ._cell import Cell
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio

SLACK = 1e-12


@dataclass(frozen=True, eq=False)
class Spectrum(Measured):
    """Spectra of every model's task vector; index i is the i-th largest singular value, missing beyond the rank r."""

    singular_values: np.ndarray = field(metadata=quantity("row expert index", "s_i; root mean square over matrices."))
    energy: np.ndarray = field(metadata=quantity("row expert index", "E(k) = Σ_{i≤k} s_i² / Σ s²."))
    energy_linear: np.ndarray = field(metadata=quantity("row expert index", "Σ_{i≤k} s_i / Σ s."))
    rank: np.ndarray = field(metadata=quantity("row expert", "Smallest k with E(k) of at least the share."))
    rank_linear: np.ndarray = field(metadata=quantity("row expert", "The same for s instead of s²."))


@dataclass(frozen=True)
class MeasureSpectrum(WeightMetric):
    """Measure the singular values of every model's task matrices and the rank that holds most of their energy.

        E(k) = Σ_{i≤k} s_i² / Σ_i s_i²,  k95 = min {k : E(k) ≥ 0.95}

    References
    ----------
    Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081.

    Notes
    -----
    Some programs accumulate s instead of s²; both are given. Rows above the tensor level pool their matrices: the
    i-th values are added (s² for the energy, s for the linear one) before the curve is taken.
    """

    title: ClassVar[str] = "Spectrum"
    about: ClassVar[str] = "Singular values of each task matrix, and how few of them hold most of its energy."
    formula: ClassVar[str] = "E(k) = Σᵢ≤ₖ sᵢ² / Σᵢ sᵢ²,  k₉₅ = min { k : E(k) ≥ 0.95 }"
    reference: ClassVar[str] = "Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081"
    unit: ClassVar[str] = ""
    produces: ClassVar = Spectrum
    headline: ClassVar[str] = "rank"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "beside"

    share: float = hp(0.95, "Share of the energy that the rank must hold.", low=0, high=1, step=0.01, symbol="E")

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        return {"s": cell.spectra, "squares": cell.spectra.square(), "present": torch.ones(cell.spectra.shape[1])}

    def collect(self, swept: Swept) -> Spectrum:
        present = swept.total("present")[:, None, :]
        squares, linear = swept.total("squares"), swept.total("s")
        energy, energy_linear = accumulated(squares, present), accumulated(linear, present)
        return Spectrum(
            swept.models,
            swept.rows,
            np.sqrt(ratio(squares, present)),
            energy,
            energy_linear,
            rank_holding(energy, self.share),
            rank_holding(energy_linear, self.share),
        )


def accumulated(weights: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return Σ_{i≤k} w_i / Σ w along the last axis; missing where nothing is present or all is zero."""
    curve = ratio(weights.cumsum(-1), weights.sum(-1, keepdims=True))
    return np.where(present > 0, curve, np.nan)


def rank_holding(curve: np.ndarray, share: float) -> np.ndarray:
    """Return the smallest k whose share is reached, along the last axis; missing where the curve is."""
    reached = curve >= share - SLACK
    return np.where(reached.any(-1), 1.0 + reached.argmax(-1), np.nan)
