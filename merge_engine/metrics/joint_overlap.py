"""The terms that turn subspace overlap into the inner product of two task matrices."""

from __future__ import annotations

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


@dataclass(frozen=True, eq=False)
class JointOverlap(Measured):
    """Signed contributions of pairs of singular components to ⟨D_i, D_j⟩."""

    terms: np.ndarray = field(
        metadata=quantity(
            "row expert other index across",
            "Contribution of component a of one model and b of the other; added over matrices.",
            symmetric=True,
        )
    )
    total: np.ndarray = field(metadata=quantity("row expert other", "Sum of the terms shown.", symmetric=True))
    inner: np.ndarray = field(metadata=quantity("row expert other", "⟨D_i, D_j⟩, all components.", symmetric=True))
    cosine_total: np.ndarray = field(
        metadata=quantity("row expert other", "Sum of the terms over |D_i| |D_j|.", symmetric=True)
    )
    cosine: np.ndarray = field(metadata=quantity("row expert other", "Cosine, all components.", symmetric=True))

    def strongest(self, row: int, count: int, sign: int = 0) -> np.ndarray:
        """Return the places in `terms` of the largest terms between different models, int (≤ count, 4).

        A place is model, component, other model, its component; by `sign` only aligned (1) or cancelling ones (-1).
        """
        terms, models = self.terms[row], len(self.models)
        upper = np.triu(np.ones((models, models), bool), 1)[:, :, None, None]
        size = np.where(upper & np.isfinite(terms), np.abs(terms) if sign == 0 else np.maximum(sign * terms, 0), 0)
        order = np.argsort(-size, axis=None, kind="stable")[:count]
        found = np.stack(np.unravel_index(order[size.ravel()[order] > 0], size.shape), 1)
        return found[:, [0, 2, 1, 3]]


@dataclass(frozen=True)
class MeasureJointOverlap(WeightMetric):
    """Split the inner product of two task matrices into one signed term per pair of singular components.

        ⟨D_i, D_j⟩ = Σ_ab s_a^i s_b^j (u_a^i · u_b^j)(v_a^i · v_b^j)

    References
    ----------
    Follows from the singular value decompositions of both matrices; Gargiulo et al., CVPR 2025, arXiv:2412.00081.

    Notes
    -----
    Over all components the sum is exact; the leading k are shown. Terms are added over matrices, rank by rank.
    """

    title: ClassVar[str] = "Joint overlap"
    about: ClassVar[str] = "Which singular components of two experts make their updates agree or cancel."
    formula: ClassVar[str] = "⟨Dᵢ, Dⱼ⟩ = Σₐᵦ sₐⁱ sᵦʲ (uₐⁱ·uᵦʲ)(vₐⁱ·vᵦʲ)"
    reference: ClassVar[str] = "From both singular value decompositions; Gargiulo et al., CVPR 2025, arXiv:2412.00081"
    unit: ClassVar[str] = ""
    produces: ClassVar = JointOverlap
    headline: ClassVar[str] = "terms"
    matrices: ClassVar[bool] = True
    merge: ClassVar = "beside"

    components: int = hp(16, "Leading components of each model.", low=1, soft=(1, 64), symbol="k")

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        kept = [f.top(self.components) for f in cell.factors]
        left = _products([sharpened(f.U) for f in kept])
        right = _products([sharpened(f.Vh.T) for f in kept])
        s = cell.spectra[:, : self.components]
        terms = left * right * s[:, None, :, None] * s[None, :, None, :]
        return {"terms": terms, "gram": cell.gram}

    def collect(self, swept: Swept) -> JointOverlap:
        terms, gram = swept.total("terms"), swept.total("gram")
        norms = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
        norms = norms[:, :, None] * norms[:, None, :]
        total = terms.sum((3, 4))
        return JointOverlap(swept.models, swept.rows, terms, total, gram, ratio(total, norms), ratio(gram, norms))


def _products(bases: list[Tensor]) -> Tensor:
    """Return B_iᵀ B_j of all pairs of bases (m, k), (M, M, k, k)."""
    count, width = len(bases), bases[0].shape[1]
    joined = torch.cat(bases, 1)
    return (joined.T @ joined).view(count, width, count, width).transpose(1, 2)
