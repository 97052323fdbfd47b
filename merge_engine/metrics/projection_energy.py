"""Where updates lie in the singular space of the pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..hp import hp
from ._cell import Cell, numerical, sharpened
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio


@dataclass(frozen=True, eq=False)
class ProjectionEnergy(Measured):
    """Shares of |D|² by zone of the pretrained matrix's right singular space; top + rest + null = 1."""

    top: np.ndarray = field(metadata=quantity("row expert", "Zone I: leading directions of W₀.", chance="chance"))
    rest: np.ndarray = field(metadata=quantity("row expert", "Zone II: its other directions."))
    null: np.ndarray = field(metadata=quantity("row expert", "Zone III: directions W₀ does not read."))
    beyond: np.ndarray = field(metadata=quantity("row expert", "Zones II and III together."))
    chance: np.ndarray = field(metadata=quantity("row expert", "Zone I of a random update of the same size, k / n."))


@dataclass(frozen=True)
class MeasureProjectionEnergy(WeightMetric):
    """Split every update by the right singular directions of the pretrained matrix.

        W_0 = U diag(s) Vᵀ,  top = |D V_k|²_F / |D|²_F,  k = min {k : Σ_{i≤k} s_i ≥ 0.5 Σ s}

    References
    ----------
    Tang, Shen, Luo, Xie, Hu, Zhang, Du, Tao, SMILE: Zero-Shot Sparse Mixture of Low-Rank Experts Construction From
    Pre-Trained Foundation Models, arXiv:2408.10174.

    Notes
    -----
    The share that sets k is of s, not of s². Energies are added over matrices before the division. Missing where the
    model did not move.
    """

    title: ClassVar[str] = "Projection energy"
    about: ClassVar[str] = "Whether updates use the pretrained matrix's main input directions or the unused ones."
    formula: ClassVar[str] = "top = |D Vₖ|² / |D|²,  k = min { k : Σᵢ≤ₖ sᵢ ≥ ½ Σ s } of W₀"
    reference: ClassVar[str] = "Tang et al., SMILE, arXiv:2408.10174"
    unit: ClassVar[str] = "share of |D|²"
    produces: ClassVar = ProjectionEnergy
    headline: ClassVar[str] = "top"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "beside"

    share: float = hp(0.5, "Share of Σ s that the leading directions hold.", low=0, high=1, step=0.05)

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        factors = cell.ctx.svd(cell.group.pretrained)
        s = numerical(factors.s)
        k = int((s.cumsum(0) < self.share * s.sum() * (1 - 1e-12)).sum()) + 1 if s.any() else 0
        basis = sharpened(factors.Vh[: int((s > 0).sum())].T).float()
        along = (cell.deltas @ basis).double().square().sum(1)
        energy = cell.deltas.double().square().sum((1, 2))
        top, rest = along[:, :k].sum(1), along[:, k:].sum(1)
        return {
            "top": top,
            "rest": rest,
            "null": (energy - top - rest).clamp_min(0),
            "energy": energy,
            "chance": energy * k / cell.group.pretrained.shape[1],
        }

    def collect(self, swept: Swept) -> ProjectionEnergy:
        energy = swept.total("energy")
        top, rest, null = (ratio(swept.total(name), energy) for name in ("top", "rest", "null"))
        return ProjectionEnergy(
            swept.models, swept.rows, top, rest, null, rest + null, ratio(swept.total("chance"), energy)
        )
