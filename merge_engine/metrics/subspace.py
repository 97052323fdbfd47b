"""Angles between the leading singular subspaces of task matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..hp import hp
from ._cell import Cell, sharpened
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio
from .norms import effective_rank

BINS = 18
SIDES = ("left", "right")


def _pair(help: str, chance: str = "", curve: bool = False) -> Any:
    axes = "row expert other index" if curve else "row expert other"
    return quantity(axes, help, symmetric=True, chance=chance)


@dataclass(frozen=True, eq=False)
class Subspaces(Measured):
    """How close the leading subspaces of two models are; angles in radians."""

    overlap_left: np.ndarray = field(metadata=_pair("|U_iᵀ U_j|² / min(k_i, k_j).", "chance_left"))
    overlap_right: np.ndarray = field(metadata=_pair("|V_iᵀ V_j|² / min(k_i, k_j).", "chance_right"))
    chance_left: np.ndarray = field(metadata=_pair("Overlap of random subspaces, max(k_i, k_j) / m."))
    chance_right: np.ndarray = field(metadata=_pair("Overlap of random subspaces, max(k_i, k_j) / n."))
    grassmann_left: np.ndarray = field(metadata=_pair("√(Σ θ²) over the principal angles of the left subspaces."))
    grassmann_right: np.ndarray = field(metadata=_pair("√(Σ θ²) over the principal angles of the right subspaces."))
    projection_left: np.ndarray = field(metadata=_pair("|U_i U_iᵀ − U_j U_jᵀ|_F / √2."))
    projection_right: np.ndarray = field(metadata=_pair("|V_i V_iᵀ − V_j V_jᵀ|_F / √2."))
    angles_left: np.ndarray = field(metadata=_pair("Principal angles, smallest first; means.", curve=True))
    angles_right: np.ndarray = field(metadata=_pair("Principal angles, smallest first; means.", curve=True))
    histogram_left: np.ndarray = field(metadata=_pair("Number of principal angles in bins of 5 degrees.", curve=True))
    histogram_right: np.ndarray = field(metadata=_pair("Number of principal angles in bins of 5 degrees.", curve=True))
    components: np.ndarray = field(metadata=quantity("row expert", "Components k compared, added over matrices."))


@dataclass(frozen=True)
class MeasureSubspaces(WeightMetric):
    """Compare the spans of the leading k singular vectors of every pair of models, left and right.

        cos θ = singular values of U_iᵀ U_j,  overlap = |U_iᵀ U_j|²_F / k,  distance = √(k − |U_iᵀ U_j|²_F)

    References
    ----------
    Björck, Golub, Numerical Methods for Computing Angles between Linear Subspaces, Math. Comp. 1973;
    Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081.

    Notes
    -----
    Several matrices count as one product of subspaces: squared overlaps, k, squared angles and chance levels add up
    before the division or the root. Components of singular value zero do not count, so k can be smaller
    than asked; with unlike k the overlap divides by the smaller one and the projection distance is
    √((k_i + k_j)/2 − |U_iᵀ U_j|²). Missing where one of the two models did not move.
    """

    title: ClassVar[str] = "Subspace overlap"
    about: ClassVar[str] = "How much the main directions of two experts' updates coincide, beside random directions."
    formula: ClassVar[str] = "overlap = |Uᵢᵀ Uⱼ|² / k,  cos θ = singular values of Uᵢᵀ Uⱼ;  at random k / m"
    reference: ClassVar[str] = "Björck and Golub, Math. Comp. 1973; Gargiulo et al., CVPR 2025, arXiv:2412.00081"
    unit: ClassVar[str] = "share"
    produces: ClassVar = Subspaces
    headline: ClassVar[str] = "overlap_left"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "beside"

    rule: str = hp("fixed", "How many components span a subspace.", choices=("fixed", "effective_rank", "energy"))
    components: int = hp(0, "Components under the rule fixed; 0 takes r / T, at least 1.", low=0, symbol="k")
    energy: float = hp(0.95, "Share of the energy under the rule energy.", low=0, high=1, step=0.01)

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        ranks = self._ranks(cell)
        k = torch.tensor(ranks, dtype=torch.float64)
        spans = {
            "left": [sharpened(f.U[:, :rank]) for f, rank in zip(cell.factors, ranks, strict=True)],
            "right": [sharpened(f.Vh[:rank].T) for f, rank in zip(cell.factors, ranks, strict=True)],
        }
        found = {
            "k": k,
            "smaller": torch.minimum(k[:, None], k[None, :]),
            "average": (k[:, None] + k[None, :]) / 2,
        }
        for side, size in zip(SIDES, cell.group.pretrained.shape, strict=True):
            found[f"chance_{side}"] = k[:, None] * k[None, :] / size
            for name, value in compared(spans[side]).items():
                found[f"{name}_{side}"] = value
        return found

    def _ranks(self, cell: Cell) -> list[int]:
        s = cell.spectra
        if self.rule == "fixed":
            wanted = s.new_full((len(s),), self.components or max(1, s.shape[1] // cell.tasks))
        elif self.rule == "effective_rank":
            wanted = effective_rank(s).nan_to_num(0).round()
        else:
            energy = s.square().cumsum(1)
            wanted = 1 + (energy < self.energy * energy[:, -1:] * (1 - 1e-12)).sum(1)
        return torch.minimum(wanted, (s > 0).sum(1)).int().tolist()

    def collect(self, swept: Swept) -> Subspaces:
        smaller, average = swept.total("smaller"), swept.total("average")
        found: dict[str, np.ndarray] = {"components": swept.total("k")}
        for side in SIDES:
            inner, angles = swept.total(f"inner_{side}"), swept.total(f"angles2_{side}")
            found[f"overlap_{side}"] = ratio(inner, smaller)
            found[f"chance_{side}"] = ratio(swept.total(f"chance_{side}"), smaller)
            found[f"grassmann_{side}"] = np.where(smaller > 0, np.sqrt(angles), np.nan)
            found[f"projection_{side}"] = np.where(smaller > 0, np.sqrt(np.maximum(average - inner, 0)), np.nan)
            found[f"angles_{side}"] = swept.mean(f"angles_{side}")
            found[f"histogram_{side}"] = swept.total(f"histogram_{side}")
        return Subspaces(swept.models, swept.rows, **found)


def compared(spans: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return squared overlaps, principal angles and their histogram of all pairs of orthonormal bases (m, k_i)."""
    count, width = len(spans), max(1, *(span.shape[1] for span in spans))
    inner = torch.zeros(count, count, dtype=torch.float64)
    angles = torch.full((count, count, width), torch.nan, dtype=torch.float64)
    for i, first in enumerate(spans):
        for j, second in enumerate(spans[i:], i):
            product = first.T @ second if first.shape[1] >= second.shape[1] else second.T @ first
            cosines = torch.linalg.eigvalsh(product.T @ product).flip(0).clamp(0, 1).sqrt()
            inner[i, j] = inner[j, i] = product.square().sum()
            angles[i, j, : len(cosines)] = angles[j, i, : len(cosines)] = cosines.acos().cpu()
    edges = torch.arange(BINS, dtype=torch.float64) * (math.pi / 2 / BINS)
    bins = torch.bucketize(angles, edges[1:], right=True)
    histogram = torch.stack([((bins == b) & ~angles.isnan()).sum(-1) for b in range(BINS)], -1)
    return {"inner": inner, "angles": angles, "angles2": angles.square().nansum(-1), "histogram": histogram}
