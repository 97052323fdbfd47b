"""E-WEMoE, sparse task vectors and one router for the whole network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import flat, kth_largest_magnitude
from ..maths.parts import SparsePart
from ..problem import TensorGroup
from ..routing.mlp_routing import MlpRoutedMerge


@dataclass(frozen=True)
class EWeMoe(MlpRoutedMerge):
    """Blend sparse MLP task vectors for every input by one router that all blocks share.

        MLP_l(x) = θ_0 + Σ_t w_lt(x) (m_t ⊙ τ_t),  m_t = 1[|τ_t| > quantile(|τ_t|, ρ)],  w_l(x) = (1/N) Σ_n r(h_n(x))

    References
    ----------
    Shen, Tang, Yang, Guo, Luo, Zhang, Cao, Du, Tao, Efficient and Effective Weight-Ensembling Mixture of Experts for
    Multi-Task Model Merging, 2024, arXiv:2410.21804.

    Notes
    -----
    As WEMoE otherwise. Every MLP tensor, biases included, keeps its largest entries, which are not rescaled; ρ = 0
    keeps all of them, ρ = 1 none, and then the MLPs are the pretrained ones. Each block feeds the router its own
    hidden state, so the weights differ by depth. Kept entries are stored as values with a bit per entry for their
    places, where the published code stores the zeros; they are made dense once before serving. Of the preset `cpu`
    the learning rate was chosen on validation pictures, and updates and batch without a search.
    """

    title: ClassVar[str] = "E-WEMoE"
    idea: ClassVar[str] = (
        "WEMoE with a tenth of the numbers: sparse experts, and one router that every block asks."
    )
    one_router: ClassVar[bool] = True
    formula: ClassVar[str] = "MLP(x) = θ₀ + Σₜ wₜ(x) (mₜ ⊙ τₜ),  mₜ = 1[|τₜ| > quantile(|τₜ|, ρ)]"
    paper: ClassVar[str] = (
        "Shen et al., Efficient Weight-Ensembling Mixture of Experts, 2024, arXiv:2410.21804"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {"steps": 60, "batch": 4, "learning_rate": 3e-4, "schedule": "cosine"}
    }

    sparsity: float = hp(
        0.9, "Share of the entries of every MLP task vector that is left out, the smallest ones.", low=0, high=1,
        step=0.05, symbol="ρ",
    )  # fmt: skip

    def part(self, group: TensorGroup, ctx: Context) -> SparsePart:
        return SparsePart.of(group.task_vectors, largest(group.task_vectors, self.sparsity))


def largest(vectors: Tensor, sparsity: float) -> Tensor:
    """Return which entries exceed the quantile `sparsity` of their expert's magnitudes, (T, *S); all at 0."""
    magnitudes = flat(vectors).abs()
    count = magnitudes.shape[1]
    below = kth_largest_magnitude(vectors, count - math.floor(sparsity * (count - 1)))
    kept = magnitudes > below.unsqueeze(1) if sparsity > 0 else magnitudes >= 0
    return kept.view_as(vectors)
