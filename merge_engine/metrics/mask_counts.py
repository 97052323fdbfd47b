"""How many experts' masks keep an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import RecipeError
from ..hp import hp
from ..maths import ops
from ._cell import Cell
from ._measured import Measured, quantity
from ._metric import WeightMetric
from ._swept import Swept, ratio


@dataclass(frozen=True, eq=False)
class MaskCounts(Measured):
    """Counts of TALL masks per entry, and their overlap."""

    catastrophic: np.ndarray = field(metadata=quantity("row", "Share of entries kept by no mask."))
    selfish: np.ndarray = field(metadata=quantity("row", "Share of entries kept by exactly one mask."))
    general: np.ndarray = field(metadata=quantity("row", "Share of entries kept by two or more masks."))
    density: np.ndarray = field(metadata=quantity("row expert", "Share of entries kept by the expert's mask."))
    overlap: np.ndarray = field(
        metadata=quantity(
            "row expert other", "Intersection over union of two masks.", symmetric=True, chance="chance"
        )
    )
    chance: np.ndarray = field(
        metadata=quantity("row expert other", "Overlap of independent masks of these densities.", symmetric=True)
    )
    histogram: np.ndarray = field(metadata=quantity("row index", "Share of entries kept by n = 0..T masks."))


@dataclass(frozen=True)
class MeasureMaskCounts(WeightMetric):
    """Count the experts whose TALL mask keeps an entry, and compare the masks.

        mask_t = 1[ |τ_t| > λ |τ_MT − τ_t| ],  n(e) = Σ_t mask_t(e)

    References
    ----------
    Wang, Dimitriadis, Ortiz-Jimenez, Fleuret, Frossard, Localizing Task Information for Improved Model Merging and
    Compression, ICML 2024, arXiv:2405.07813.

    Notes
    -----
    τ_MT is the sum of the task vectors, or the merged task vector (a Ties merge, say). Entries are counted over
    tensors before the division. At random, two masks of density a and b overlap in ab / (a + b − ab).
    """

    title: ClassVar[str] = "Mask counts"
    about: ClassVar[str] = "How many experts need an entry of the merged vector: none, one (selfish) or several."
    formula: ClassVar[str] = "maskₜ = 1[ |τₜ| > λ |τ_MT − τₜ| ],  n(e) = Σₜ maskₜ(e)"
    reference: ClassVar[str] = "Wang et al., Localizing Task Information, ICML 2024, arXiv:2405.07813"
    unit: ClassVar[str] = "share of entries"
    produces: ClassVar = MaskCounts
    headline: ClassVar[str] = "catastrophic"
    merge: ClassVar = "optional"

    unified: str = hp("sum", "The multi-task vector that masks select from.", choices=("sum", "merged"), symbol="τ_MT")
    threshold: float = hp(
        0.4, "How large an entry must be beside the other experts' share.", low=0, high=10, soft=(0, 1), step=0.1,
        symbol="λ", sweep=(0.2, 0.3, 0.4, 0.5, 0.6),
    )  # fmt: skip

    def cell(self, cell: Cell) -> Mapping[str, Any]:
        masks = ops.task_masks(cell.flat, self._unified(cell), cell.flat.new_tensor(self.threshold))
        kept = torch.bincount(masks.sum(0), minlength=cell.tasks + 1)
        together = torch.stack([(masks & mask).sum(1) for mask in masks])
        return {"histogram": kept, "together": together, "entries": masks.shape[1]}

    def collect(self, swept: Swept) -> MaskCounts:
        entries, together = swept.total("entries"), swept.total("together")
        histogram = swept.total("histogram") / entries[:, None]
        density = np.diagonal(together, axis1=1, axis2=2) / entries[:, None]
        a, b = density[:, :, None], density[:, None, :]
        return MaskCounts(
            swept.models,
            swept.rows,
            catastrophic=histogram[:, 0],
            selfish=histogram[:, 1],
            general=histogram[:, 2:].sum(1),
            density=density,
            overlap=ratio(together / entries[:, None, None], a + b - together / entries[:, None, None]),
            chance=ratio(a * b, a + b - a * b),
            histogram=histogram,
        )

    def _unified(self, cell: Cell) -> Tensor:
        if self.unified == "sum":
            return cell.flat.sum(0)
        if cell.merged is None:
            raise RecipeError(f"{self.title} with unified = merged needs a merged model; merge first, then measure.")
        return cell.merged_delta.flatten()
