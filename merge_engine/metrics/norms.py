"""Norms and ranks of task vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..hp import hp
from ._cell import Cell
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio


@dataclass(frozen=True, eq=False)
class Norms(Measured):
    """Size and rank of every model's task vector."""

    length: np.ndarray = field(metadata=quantity("row expert", "|τ|₂."))
    relative: np.ndarray = field(metadata=quantity("row expert", "|τ|₂ / |θ₀|₂; missing where θ₀ is zero."))
    rms: np.ndarray = field(metadata=quantity("row expert", "|τ|₂ / √(number of entries)."))
    stable_rank: np.ndarray = field(metadata=quantity("row expert", "|D|²_F / s₁², mean over matrices."))
    effective_rank: np.ndarray = field(metadata=quantity("row expert", "exp H(s / Σs), mean over matrices."))
    effective_rank_energy: np.ndarray = field(metadata=quantity("row expert", "exp H(s² / Σs²), mean over matrices."))
    flatness: np.ndarray = field(metadata=quantity("row expert", "(Σs)² / (r Σs²), 1 is flat; mean over matrices."))


@dataclass(frozen=True)
class MeasureNorms(WeightMetric):
    """Measure how far every model moved and how many directions its updates use.

        |τ|_2,  |D|_F / |W_0|_F,  |D|_F / √(mn),  |D|_F² / s_1²,  exp H(p),  (Σ s)² / (r Σ s²)

    References
    ----------
    Roy, Vetterli, The Effective Rank: A Measure of Effective Dimensionality, EUSIPCO 2007 (p = s / Σs);
    Rudelson, Vershynin, Sampling from Large Matrices, JACM 2007, arXiv:math/0503442 (stable rank).

    Notes
    -----
    Norms of several tensors come from sums of squares. Ranks belong to one matrix, so rows above the tensor level
    hold their mean over the block matrices that moved. The second effective rank uses p = s² / Σs².
    """

    title: ClassVar[str] = "Norms and ranks"
    about: ClassVar[str] = "How far each model moved from the pretrained one, and in how many directions."
    formula: ClassVar[str] = "|τ|₂,  |D|/|W₀|,  |D|²/s₁²,  exp H(s/Σs),  (Σs)²/(r Σs²)"
    reference: ClassVar[str] = "Roy and Vetterli, EUSIPCO 2007; Rudelson and Vershynin, arXiv:math/0503442"
    unit: ClassVar[str] = ""
    produces: ClassVar = Norms
    headline: ClassVar[str] = "relative"
    merge: ClassVar = "beside"

    ranks: bool = hp(True, "Also measure ranks, which need every singular value.")

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        found = {
            "squares": cell.gram.diagonal(),
            "base": cell.group.pretrained.double().square().sum(),
            "entries": cell.flat.shape[1],
        }
        if not (self.ranks and cell.group.is_matrix):
            missing = torch.full((cell.count,), torch.nan)
            return found | dict.fromkeys(("stable", "effective", "energy", "flat"), missing)
        s, power = cell.spectra, cell.spectra.square()
        return found | {
            "stable": power.sum(1) / power[:, 0],
            "effective": effective_rank(s),
            "energy": effective_rank(power),
            "flat": s.sum(1).square() / (s.shape[1] * power.sum(1)),
        }

    def collect(self, swept: Swept) -> Norms:
        squares = swept.total("squares")
        return Norms(
            swept.models,
            swept.rows,
            length=np.sqrt(squares),
            relative=np.sqrt(ratio(squares, swept.total("base")[:, None])),
            rms=np.sqrt(ratio(squares, swept.total("entries")[:, None])),
            stable_rank=swept.mean("stable"),
            effective_rank=swept.mean("effective"),
            effective_rank_energy=swept.mean("energy"),
            flatness=swept.mean("flat"),
        )


def effective_rank(weights: Tensor) -> Tensor:
    """Return exp H(p), p = w / Σw, along the last axis; NaN where all weights are zero."""
    return torch.special.entr(weights / weights.sum(-1, keepdim=True)).sum(-1).exp()
