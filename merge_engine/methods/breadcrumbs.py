"""Model Breadcrumbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import disjoint_merge, elect_sign, kth_largest_magnitude, trim
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Breadcrumbs(TensorMerge):
    """Drop the largest and the smallest entries of each tensor of each task vector, and add up the rest.

        τ̂_t = τ_t without its γ n largest entries, then the d n largest of those
        θ   = θ_0 + λ Σ_t τ̂_t     (sum, or the disjoint sum after electing signs)

    References
    ----------
    Davari, Belilovsky, Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks, ECCV 2024,
    arXiv:2312.06795.

    Notes
    -----
    As mergekit 0.1.5 (`breadcrumbs`, `breadcrumbs_ties`): int(d n) entries per tensor stay, and fewer outliers go
    where the density needs them, so small tensors are not emptied by γ and d = 1 is Task Arithmetic. Entries
    equal to a bound stay. Nothing is rescaled. The authors' code ranks along the last dimension and its search
    starts at d = 0.15, γ = 0.006, λ = 0.2.
    """

    title: ClassVar[str] = "Model Breadcrumbs"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "Drop both the outliers and the small changes of every expert, then add up."
    formula: ClassVar[str] = "θ = θ₀ + λ Σₜ τ̂ₜ"
    where: ClassVar[str] = (
        "τ̂ₜ is τₜ in a middle band of magnitudes: without the share γ that is largest, the next largest share d stays"
    )
    paper: ClassVar[str] = "Davari, Belilovsky, Model Breadcrumbs, ECCV 2024, arXiv:2312.06795"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"gamma": 0.5}}
    lesson: ClassVar[str] = (
        "Half of the entries are dropped as outliers, and with the largest changes goes what the experts learned."
    )

    density: float = hp(0.15, "Share of entries kept.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="d")
    gamma: float = hp(
        0.01, "Share of largest entries dropped.", low=0, high=1, soft=(0, 0.1), step=0.001, symbol="γ"
    )
    combine: str = hp(
        "sum", "Add up, or elect signs and add who agrees.",
        choices={
            "sum": "what is kept is added up",
            "ties": "signs are elected, and of what is kept those entries that agree are added up",
        },
    )  # fmt: skip
    scaling: float = hp(
        0.3, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
        symbol="λ", sweep=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    )  # fmt: skip

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        vectors = group.task_vectors
        count = vectors[0].numel()
        stay = int(self.density * count)
        if stay == 0:
            return torch.zeros_like(group.pretrained)
        outliers = min(int(self.gamma * count), count - stay)
        low = kth_largest_magnitude(vectors, outliers + stay)
        kept = trim(vectors, low, kth_largest_magnitude(vectors, outliers + 1))
        return kept.sum(0) if self.combine == "sum" else disjoint_merge(kept, elect_sign(kept), "sum")
