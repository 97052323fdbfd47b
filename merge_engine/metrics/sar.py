"""Subspace alignment ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..hp import hp
from ..maths.svd import Factors
from ._cell import Cell, numerical
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept


@dataclass(frozen=True, eq=False)
class Alignment(Measured):
    """Share of each expert's update inside the leading left subspace of the merge, or of another expert."""

    merged: np.ndarray = field(
        metadata=quantity("row expert", "SAR of the expert in the merged model; missing without one.", chance="chance")
    )
    chance: np.ndarray = field(metadata=quantity("row", "√(k / m), a random subspace as large as the merge's."))
    pair: np.ndarray = field(
        metadata=quantity("row expert other", "SAR of the expert in the other expert.", chance="pair_chance")
    )
    pair_chance: np.ndarray = field(metadata=quantity("row other", "√(k / m), a random subspace as large."))


@dataclass(frozen=True)
class MeasureAlignment(WeightMetric):
    """Measure how much of each expert's update lies in the leading left singular subspace of the merged one.

        SAR(D_t, M) = |U_k U_kᵀ D_t|_F / |D_t|_F,  k = min {k : Σ_{i>k} s_i² ≤ ε² Σ s_i²} of M

    References
    ----------
    Marczak, Magistri, Cygert, Twardowski, Bagdanov, van de Weijer, No Task Left Behind: Isotropic Model Merging with
    Common and Task-Specific Subspaces, ICML 2025, arXiv:2502.04959.

    Notes
    -----
    The formula of the paper, not the rank rule of its plotting script. Rows above the tensor level are means over
    matrices, as published. Missing where the expert or M did not move.
    """

    title: ClassVar[str] = "Subspace alignment"
    about: ClassVar[str] = "How much of each expert's update survives inside the main directions of the merge."
    formula: ClassVar[str] = "SAR(Dₜ, M) = |Uₖ Uₖᵀ Dₜ| / |Dₜ|"
    reference: ClassVar[str] = "Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959"
    unit: ClassVar[str] = "share"
    produces: ClassVar = Alignment
    headline: ClassVar[str] = "merged"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "optional"

    tolerance: float = hp(
        0.05, "Relative error allowed when M is cut to k components.", low=0, high=1, step=0.01, symbol="ε"
    )
    pairs: bool = hp(True, "Also measure every expert in every other one.")

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        found = self._inside(cell, cell.merged_factors) if cell.merged is not None else self._missing(cell)
        others = [self._inside(cell, f) if self.pairs else self._missing(cell) for f in cell.factors]
        shares, chances = zip(*others, strict=True)
        return {
            "merged": found[0],
            "chance": found[1],
            "pair": torch.stack(shares, 1),
            "pair_chance": torch.stack(chances),
        }

    def collect(self, swept: Swept) -> Alignment:
        names = ("merged", "chance", "pair", "pair_chance")
        return Alignment(swept.models, swept.rows, *(swept.mean(name) for name in names))

    def _inside(self, cell: Cell, factors: Factors) -> tuple[Tensor, Tensor]:
        """Return SAR of every expert in the matrix of these factors, and the chance level."""
        k = leading(numerical(factors.s), self.tolerance)
        if k == 0:
            return self._missing(cell)
        span = factors.U[:, :k]
        shares = [share_inside(span, expert.U, s) for expert, s in zip(cell.factors, cell.spectra, strict=True)]
        return torch.stack(shares), cell.spectra.new_tensor(k / len(span)).sqrt()

    def _missing(self, cell: Cell) -> tuple[Tensor, Tensor]:
        missing = cell.spectra.new_full((cell.tasks + 1,), torch.nan)
        return missing[1:], missing[0]


def leading(s: Tensor, tolerance: float) -> int:
    """Return the smallest k with Σ_{i>k} s_i² ≤ tolerance² Σ s_i²; 0 for a zero matrix."""
    energy = s.square()
    tails = energy.flip(0).cumsum(0).flip(0)
    return int((tails > tolerance**2 * energy.sum()).sum())


def share_inside(span: Tensor, U: Tensor, s: Tensor) -> Tensor:
    """Return |span spanᵀ D|_F / |D|_F of D = U diag(s) Vᵀ; NaN where D is zero."""
    inside = ((span.T @ U).double() * s).square().sum()
    return (inside / s.square().sum()).sqrt().clamp_max(1)
