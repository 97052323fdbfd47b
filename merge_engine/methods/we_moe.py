"""WEMoE, a weight-ensembling mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contract import Context
from ..hp import hp
from ..maths.parts import DensePart, Part
from ..problem import TensorGroup
from ..routing.mlp_routing import MlpRoutedMerge, leading


@dataclass(frozen=True)
class WeMoe(MlpRoutedMerge):
    """Merge everything but the MLPs once, and blend the MLPs for every input by learned routers.

        MLP_l(x) = θ_0 + Σ_t w_lt(x) τ_t,  w_l(x) = (1/N) Σ_n r_l(h_n(x)),  all else θ_0 + λ Σ_t τ_t

    References
    ----------
    Tang, Shen, Luo, Yin, Zhang, Tao, Merging Multi-Task Models via Weight-Ensembling Mixture of Experts, ICML 2024,
    arXiv:2402.00433.

    Notes
    -----
    One router per block reads what the MLP reads; its outputs are averaged over tokens and used as they are, without
    softmax. Weights start from a normal distribution of standard deviation 0.01 (the paper's text takes 0.01 for the
    variance) and the last bias from λ, so that the start is close to Task Arithmetic. Only routers learn, by entropy
    on task-pure batches scored with the task's own head; when serving, the head is given and the weights do not look
    at the task. The published learning rate is constant as in FusionBench; the authors' code anneals it by a cosine.
    Routing by batch follows FusionBench and leaks the task. A `rank` below 1 keeps the leading singular components
    of the MLPs' task vectors, which is ours, for speed. Of the preset `cpu` the learning rate was chosen on validation
    pictures, and rank, updates and batch without a search.
    """

    title: ClassVar[str] = "WEMoE"
    idea: ClassVar[str] = (
        "Let a small router in every block decide for each input how much of each MLP to add."
    )
    formula: ClassVar[str] = (
        "MLP(x) = θ₀ + Σₜ wₜ(x) τₜ,  w = mean over tokens of r(h),  all else θ₀ + λ Σₜ τₜ"
    )
    paper: ClassVar[str] = "Tang et al., Weight-Ensembling Mixture of Experts, ICML 2024, arXiv:2402.00433"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {"rank": 0.1, "steps": 60, "batch": 4, "learning_rate": 3e-4, "schedule": "cosine"},
        "failure": {"rank": 0.1, "steps": 30, "batch": 4, "learning_rate": 0.1},
    }
    lesson: ClassVar[str] = (
        "Predictions can be certain without being right: with steps this long the routers run away, and within thirty "
        "updates every task is at chance."
    )

    rank: float = hp(
        1.0, "Share of singular components kept of the MLPs' task vectors; 1 keeps them whole.", low=0.001, high=1,
        soft=(0.02, 1), step=0.02, symbol="ρ",
    )  # fmt: skip

    def part(self, group: TensorGroup, ctx: Context) -> Part:
        """Return the task vectors of one MLP tensor, factored where that is asked for."""
        if self.rank == 1 or not group.is_matrix:
            return DensePart(group.task_vectors)
        k = max(1, round(self.rank * min(group.pretrained.shape)))
        return leading(group, k, ctx)
