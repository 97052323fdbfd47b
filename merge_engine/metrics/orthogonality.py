"""Orthogonality of weight vectors."""

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
class Orthogonality(Measured):
    """How far the columns of a matrix are from being orthogonal: 0 they are, near 1 they are all alike."""

    coupling: np.ndarray = field(metadata=quantity("row expert", "|DᵀD − diag|_F / |DᵀD|_F.", chance="chance"))
    chance: np.ndarray = field(metadata=quantity("row expert", "The same of Gaussian matrices, √((n−1)/(m+n+1))."))


@dataclass(frozen=True)
class MeasureOrthogonality(WeightMetric):
    """Measure how much the columns of every update overlap.

        |DᵀD − diag(DᵀD)|_F / |DᵀD|_F

    References
    ----------
    Liu, Yin, Wang, Fan, Shi, Li, Gao, Tao, Understanding and Enforcing Weight Disentanglement in Task Arithmetic,
    CVPR 2026, arXiv:2604.17078.

    Notes
    -----
    Columns are what one input feature feeds. Several matrices are joined as one block-diagonal matrix: squares add up
    before the division, so large updates weigh most. Missing where the matrix is zero.
    """

    title: ClassVar[str] = "Weight orthogonality"
    about: ClassVar[str] = "How much the columns of an update overlap; near 0 has been tied to less interference."
    formula: ClassVar[str] = "|DᵀD − diag(DᵀD)| / |DᵀD|"
    reference: ClassVar[str] = "Liu et al., CVPR 2026, arXiv:2604.17078"
    unit: ClassVar[str] = "ratio"
    produces: ClassVar = Orthogonality
    headline: ClassVar[str] = "coupling"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "beside"

    of: str = hp("update", "Columns of the update D or of the weights W.", choices=("update", "weights"))

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        base = cell.group.pretrained if self.of == "weights" else 0.0
        squares = torch.stack([gram_squares(delta + base) for delta in cell.deltas])
        m, n = cell.group.pretrained.shape
        whole = squares.sum(1)
        return {"off": squares[:, 0], "whole": whole, "chance": whole * ((n - 1) / (m + n + 1))}

    def collect(self, swept: Swept) -> Orthogonality:
        whole = swept.total("whole")
        coupling, chance = (np.sqrt(ratio(swept.total(name), whole)) for name in ("off", "chance"))
        return Orthogonality(swept.models, swept.rows, coupling, chance)


def gram_squares(matrix: Tensor) -> Tensor:
    """Return |DᵀD − diag|² and |diag|², (2,) float64."""
    gram = matrix.T @ matrix
    diagonal = gram.diagonal().double().square().sum()
    gram.fill_diagonal_(0)
    return torch.stack([torch.linalg.vector_norm(gram, dtype=torch.float64).square(), diagonal])
