"""Singular task interference."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

FLOOR = 1e-12  # of the largest eigenvalue of UᵀU: singular values of U below 1e-6 of the largest are dropped


@dataclass(frozen=True, eq=False)
class Interference(Measured):
    """Singular task interference of all experts together and of every pair alone."""

    relative: np.ndarray = field(metadata=quantity("row", "STI / Σ s.", chance="chance"))
    whitened: np.ndarray = field(metadata=quantity("row", "STI / Σ s after whitening U and V, as TSV-M does."))
    chance: np.ndarray = field(metadata=quantity("row", "STI / Σ s of random subspaces with these singular values."))
    sti: np.ndarray = field(metadata=quantity("row", "|(UᵀU − I) S (VᵀV − I)|₁, entry-wise."))
    routes: np.ndarray = field(
        metadata=quantity("row expert other", "Share of STI in block (i, j): routes through the other experts.")
    )
    pair: np.ndarray = field(
        metadata=quantity("row expert other", "STI / Σ s of the two experts alone.", symmetric=True)
    )


@dataclass(frozen=True)
class MeasureInterference(WeightMetric):
    """Measure how far the experts' leading singular vectors are from being orthonormal together.

        STI = | (UᵀU − I) S (VᵀV − I) |_1,  U = [U_1 .. U_T], V = [V_1 .. V_T], k = ⌊r / T⌋ components each

    References
    ----------
    Gargiulo, Crisostomi, Bucarelli, Scardapane, Silvestri, Rodolà, Task Singular Vectors: Reducing Task Interference
    in Model Merging, CVPR 2025, arXiv:2412.00081.

    Notes
    -----
    |·|_1 is the sum of the absolute entries. Block (i, j) of the product is Σ_l U_iᵀU_l S_l V_lᵀV_j over l other than
    i and j: routes through third experts, not a value of the pair, which is measured on the two alone with the same k.
    It is 0 if the columns of U or of V are orthonormal, and only then unless left and right meet in other components.
    STI and Σ s are added over matrices before the division. Components of singular value zero do not count. Missing
    where k = 0 (more experts than r) or nothing moved. At random, UᵀU and VᵀV have entries of variance 1/m and 1/n.
    """

    title: ClassVar[str] = "Singular task interference"
    about: ClassVar[str] = "How much the experts' main directions run into each other when stacked; 0 is none."
    formula: ClassVar[str] = "STI = |(UᵀU − I) S (VᵀV − I)|₁, entry-wise"
    reference: ClassVar[str] = "Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081"
    unit: ClassVar[str] = "STI / Σ s"
    produces: ClassVar = Interference
    headline: ClassVar[str] = "relative"
    matrices: ClassVar[bool] = True

    components: int = hp(0, "Leading components of each expert; 0 takes r / T.", low=0, symbol="k")

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        tasks, (m, n) = cell.tasks, cell.group.pretrained.shape
        k = min(self.components or min(m, n) // tasks, min(m, n))
        s = cell.spectra[:, :k]
        U = torch.cat([sharpened(f.U[:, :k]) for f in cell.factors], 1)
        V = torch.cat([sharpened(f.Vh[:k].T) for f in cell.factors], 1)
        kept = s.flatten() > 0
        left, right = deviation(U.T @ U, kept), deviation(V.T @ V, kept)
        routes = absolute(left, s.flatten(), right).view(tasks, k, tasks, k).sum((1, 3))
        white = absolute(deviation(whitened(U.T @ U), kept), s.flatten(), deviation(whitened(V.T @ V), kept))
        blocks = [d.view(tasks, k, tasks, k).transpose(1, 2) for d in (left, right)]
        through = ((blocks[0] * s[None, :, None, :]) @ blocks[1].transpose(0, 1)).abs().sum((2, 3))
        return {
            "routes": routes,
            "whitened": white.sum(),
            "pair": through + through.T,
            "values": s.sum(1),
            "chance": expected(s, m, n),
        }

    def collect(self, swept: Swept) -> Interference:
        routes, values = swept.total("routes"), swept.total("values")
        sti, scale = routes.sum((1, 2)), values.sum(1)
        pair = ratio(swept.total("pair"), values[:, :, None] + values[:, None, :])
        pair[:, range(swept.tasks), range(swept.tasks)] = np.nan
        return Interference(
            swept.models,
            swept.rows,
            relative=ratio(sti, scale),
            whitened=ratio(swept.total("whitened"), scale),
            chance=ratio(swept.total("chance"), scale),
            sti=np.where(scale > 0, sti, np.nan),
            routes=np.where(scale[:, None, None] > 0, routes, np.nan),
            pair=pair,
        )


def deviation(gram: Tensor, kept: Tensor) -> Tensor:
    """Return a Gram matrix minus the unit matrix, without the rows and columns that do not count."""
    return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)) * kept * kept[:, None]


def absolute(left: Tensor, s: Tensor, right: Tensor) -> Tensor:
    """Return |left diag(s) right|, entry by entry."""
    return ((left * s) @ right).abs()


def whitened(gram: Tensor) -> Tensor:
    """Return the Gram matrix of U (UᵀU)^(−1/2), the partial isometry of U, from UᵀU."""
    if not gram.numel():
        return gram
    values, vectors = torch.linalg.eigh(gram)
    kept = values > FLOOR * values[-1].clamp_min(1e-300)
    root = torch.where(kept, values.where(kept, 1.0).rsqrt(), 0.0)
    inverse = (vectors * root) @ vectors.T
    return inverse @ gram @ inverse


def expected(s: Tensor, m: int, n: int) -> Tensor:
    """Return the expected STI of independent random subspaces, Σ_ij k_i k_j √(2/π) √(Σ_{l∉{i,j}} |s_l|² / mn)."""
    squares, counts = s.square().sum(1), (s > 0).sum(1).double()
    rest = squares.sum() - squares[:, None] - squares[None, :] + torch.diag(squares)
    sizes = (rest.clamp_min(0) / (m * n)).sqrt() * counts[:, None] * counts[None, :]
    return math.sqrt(2 / math.pi) * sizes.sum()
