"""Sign conflicts between task vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..hp import hp
from ..maths import ops
from ._cell import CHUNK, Cell
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio

BINS = 20


@dataclass(frozen=True, eq=False)
class SignConflict(Measured):
    """How often the experts disagree about the direction of an entry."""

    agreement: np.ndarray = field(
        metadata=quantity(
            "row expert other", "Share of entries with equal signs, where both moved.", symmetric=True,
            chance="agreement_chance",
        )
    )  # fmt: skip
    conflict: np.ndarray = field(
        metadata=quantity("row", "Share of entries, moved by two or more experts, without one sign.", chance="chance")
    )
    strength: np.ndarray = field(
        metadata=quantity("row", "Σ |Σ_t τ_t| / Σ Σ_t |τ_t|: agreement weighted by size.", chance="strength_chance")
    )
    histogram: np.ndarray = field(
        metadata=quantity("row index", "Share of moved entries by |Σ_t τ_t| / Σ_t |τ_t|, 20 equal bins of [0, 1].")
    )
    agreement_chance: np.ndarray = field(metadata=quantity("row", "Agreement of independent signs, 1/2."))
    chance: np.ndarray = field(metadata=quantity("row", "Conflict of independent signs, mean of 1 − 2^(1−T')."))
    strength_chance: np.ndarray = field(metadata=quantity("row", "Strength of independent, equal Gaussians, 1/√T."))


@dataclass(frozen=True)
class MeasureSignConflict(WeightMetric):
    """Measure how often experts pull an entry in opposite directions, beside what random signs would show.

        agreement(i, j) = share of entries with τ_i τ_j > 0 where both are non-zero
        conflict = share of entries, non-zero in T' ≥ 2 experts, whose signs differ; at random 1 − 2^(1−T')
        strength = |Σ_t τ_t| / Σ_t |τ_t| per entry

    References
    ----------
    Yadav, Tam, Choshen, Raffel, Bansal, TIES-Merging, NeurIPS 2023, arXiv:2306.01708.

    Notes
    -----
    Trimming is per tensor, so that one tensor can be measured alone; entries equal to the threshold stay. Entries are
    counted over tensors before the division. Missing where no entry counts, as the conflict of a single expert.
    """

    title: ClassVar[str] = "Sign conflict"
    about: ClassVar[str] = "How often experts pull the same number in opposite directions, beside random signs."
    formula: ClassVar[str] = "conflict = share of entries whose signs differ;  at random 1 − 2^(1−T′)"
    reference: ClassVar[str] = "Yadav et al., TIES-Merging, NeurIPS 2023, arXiv:2306.01708"
    unit: ClassVar[str] = "share of entries"
    produces: ClassVar = SignConflict
    headline: ClassVar[str] = "conflict"

    density: float = hp(
        1.0, "Share of largest entries kept in each tensor before counting; 1 keeps all.", low=0, high=1, step=0.05,
        symbol="k",
    )  # fmt: skip

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        vectors, entries = cell.flat, cell.flat.shape[1]
        keep = max(1, int(self.density * entries))
        if keep < entries:
            vectors = ops.trim(vectors, ops.kth_largest_magnitude(vectors, keep))
        pieces = [counts(piece) for piece in vectors.split(CHUNK, 1)]
        return {name: sum(piece[name] for piece in pieces) for name in pieces[0]}

    def collect(self, swept: Swept) -> SignConflict:
        histogram, ones = swept.total("histogram"), np.ones(len(swept.rows))
        return SignConflict(
            swept.models,
            swept.rows,
            agreement=ratio(swept.total("agree"), swept.total("both")),
            conflict=ratio(swept.total("conflict"), swept.total("contested")),
            strength=ratio(swept.total("net"), swept.total("gross")),
            histogram=ratio(histogram, histogram.sum(1, keepdims=True)),
            agreement_chance=ones / 2,
            chance=ratio(swept.total("chance"), swept.total("contested")),
            strength_chance=ones / np.sqrt(swept.tasks),
        )


def counts(vectors: Tensor) -> dict[str, Tensor]:
    """Return what adds up over entries, from task vectors (T, entries)."""
    signs = vectors.sign()
    moved = signs.abs()
    both, product = (moved @ moved.T).double(), (signs @ signs.T).double()
    ups, downs = (signs > 0).sum(0), (signs < 0).sum(0)
    contested = ups + downs >= 2
    net = vectors.sum(0, dtype=torch.float64).abs()
    gross = vectors.abs().sum(0, dtype=torch.float64)
    strength = net[gross > 0] / gross[gross > 0]
    bins = (strength * BINS).long().clamp_max(BINS - 1)
    return {
        "agree": (both + product) / 2,
        "both": both,
        "conflict": ((ups > 0) & (downs > 0)).sum(),
        "contested": contested.sum(),
        "chance": torch.where(contested, 1 - 2.0 ** (1 - (ups + downs).double()), 0.0).sum(),
        "net": net.sum(),
        "gross": gross.sum(),
        "histogram": torch.bincount(bins, minlength=BINS),
    }

