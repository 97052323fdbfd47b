"""Coefficients of singular value calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from ..hp import hp
from ._cell import Cell, numerical
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio

NOISE = 1e-6  # of |D_t|: what is left of D_t along a float32 direction it does not have


@dataclass(frozen=True, eq=False)
class SvcCoefficients(Measured):
    """How strongly the merge repeats each expert along its own singular directions; index is the rank in M."""

    coefficients: np.ndarray = field(metadata=quantity("row expert index", "p_{t,r}; mean over matrices."))
    gain: np.ndarray = field(metadata=quantity("row index", "γ_r, what SVC multiplies s_r by; mean over matrices."))
    over: np.ndarray = field(metadata=quantity("row expert", "Mean of max(0, p − 1): over-accumulation."))
    conflict: np.ndarray = field(metadata=quantity("row expert", "Share of directions with p < 0."))
    mean_gain: np.ndarray = field(metadata=quantity("row", "Mean of γ_r: a learned global scale."))


@dataclass(frozen=True)
class MeasureSvcCoefficients(WeightMetric):
    """Project the merged update and every expert's on the merge's left singular vectors, and compare.

        a_M = u_rᵀ D_M,  a_t = u_rᵀ D_t,  p_{t,r} = ⟨a_M, a_t⟩ / |a_t|²,  γ_r = T / Σ_t max(floor, p_{t,r})

    References
    ----------
    Li, Peng, Zhang, Guo, Duan, Shi, When Shared Knowledge Hurts: Spectral Over-Accumulation in Model Merging,
    ICML 2026, arXiv:2602.05536.

    Notes
    -----
    In float64. The scaling coefficient of the merge counts. Above 1 the expert is counted more than once, below 0 the
    merge runs against it. Missing where the merge has no such direction (s_r = 0) or the expert none along it; the
    floor then stands in for p in γ. Scores pool all directions of all matrices.
    """

    title: ClassVar[str] = "SVC coefficients"
    about: ClassVar[str] = "Whether the merge counts an expert's direction too often (above 1) or fights it (below 0)."
    formula: ClassVar[str] = "pₜᵣ = ⟨uᵣᵀD_M, uᵣᵀDₜ⟩ / |uᵣᵀDₜ|²,  γᵣ = T / Σₜ max(α, pₜᵣ)"
    reference: ClassVar[str] = "Li et al., When Shared Knowledge Hurts, ICML 2026, arXiv:2602.05536"
    unit: ClassVar[str] = ""
    produces: ClassVar = SvcCoefficients
    headline: ClassVar[str] = "over"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "needed"

    floor: float = hp(0.1, "Smallest coefficient that enters γ.", low=1e-6, high=10, soft=(0.05, 1), symbol="α")

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        factors = cell.merged_factors
        there = numerical(factors.s) > 0
        U = factors.U.double().T[there]
        merged, experts = U @ cell.merged_delta.double(), U @ cell.deltas.double()
        lengths = experts.square().sum(2)
        known = lengths > NOISE**2 * cell.deltas.double().square().sum((1, 2))[:, None]
        p = torch.where(known, (experts * merged).sum(2) / lengths.where(known, 1.0), torch.nan)
        gain = cell.tasks / p.nan_to_num(self.floor).clamp_min(self.floor).sum(0)
        return {
            "p": p,
            "gain": gain,
            "gains": gain.sum(),
            "directions": there.sum(),
            "known": known.sum(1),
            "over": (p - 1).clamp_min(0).nansum(1),
            "conflict": (p < 0).sum(1),
        }

    def collect(self, swept: Swept) -> SvcCoefficients:
        known = swept.total("known")
        return SvcCoefficients(
            swept.models,
            swept.rows,
            coefficients=swept.mean("p"),
            gain=swept.mean("gain"),
            over=ratio(swept.total("over"), known),
            conflict=ratio(swept.total("conflict"), known),
            mean_gain=ratio(swept.total("gains"), swept.total("directions")),
        )
