"""PCB-Merging: parameter competition balancing."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..maths.ops import flat, min_max, per_expert
from ..maths.selection import order_statistics
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge

CLAMPED = {"vision": 0.01, "top-level": 0.0001}


@dataclass(frozen=True)
class Pcb(TensorMerge):
    """Weigh every entry by its size within its expert and its agreement with the others; keep the top share.

        a_t = |τ_t| clamped to its own quantiles,  n_t = minmax(a_t)
        score_t = exp(T n_t²) · tanh(τ_t S),       S = Σ_j sign(τ_j) n_j   (vision)  or  Σ_j τ_j   (top-level)
        s_t = minmax(max(score_t, its (1 − r)-quantile))
        θ = θ_0 + λ Σ_t w_t s_t sign(τ_t) a_t / Σ_t s_t

    References
    ----------
    Du, Lee, Li, Jiang, Guo, Yu, Liu, Goh, Tang, He, Zhang, Parameter Competition Balancing for Model Merging,
    NeurIPS 2024, arXiv:2410.02396.

    Notes
    -----
    The authors' repository has two versions: the vision file clamps 1 % at both ends and has r = 0.05, the
    top-level file 0.01 % and r = 0.1. Quantiles are order statistics of the whole model. The scale s does not
    change when a score is multiplied by a constant, so exp(T (n² − 1)) is used, which cannot overflow. One
    expert gives its top entries, not itself.
    """

    title: ClassVar[str] = "PCB-Merging"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "Keep the entries that are large in their expert and welcome to the others."
    formula: ClassVar[str] = "θ = θ₀ + λ Σₜ wₜ sₜ τₜ / Σₜ sₜ\nsₜ from exp(T · nₜ²) · tanh(τₜ S)"
    where: ClassVar[str] = "nₜ is |τₜ| from 0 to 1; the share r with the largest scores has sₜ above zero"
    paper: ClassVar[str] = "Du et al., Parameter Competition Balancing, NeurIPS 2024, arXiv:2410.02396"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"ratio": 0.001}}
    lesson: ClassVar[str] = (
        "One entry in a thousand is kept, which leaves nearly the pretrained model: balance needs something to weigh."
    )

    variant: str = hp(
        "vision", "Which of the authors' two formulas.",
        choices={
            "vision": "S adds up sign τₜ · nₜ, as the authors' file for vision; their top-level file adds up τₜ",
            "top-level": "S adds up τₜ, as the authors' top-level file; their file for vision adds up sign τₜ · nₜ",
        },
        always=True,
    )  # fmt: skip
    ratio: float = hp(
        0.05, "Share of entries kept of each expert.", low=0.001, high=1, soft=(0.01, 0.5), step=0.01, symbol="r"
    )
    weights: tuple[float, ...] = hp(
        (), "Weight of each expert beside the scaling; none given means one.", low=-10, high=10, soft=(0.5, 1.5),
        step=0.05, symbol="wₜ", per_expert=True,
    )  # fmt: skip
    scaling: float = hp(
        1.2, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 3), step=0.05,
        symbol="λ", sweep=(0.6, 0.8, 1.0, 1.2, 1.5, 2.0),
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, tuple[Tensor, ...]]:
        edge = CLAMPED[self.variant]
        bounds = yield from order_statistics(
            groups,
            lambda group: group.task_vectors.abs(),
            lambda count: (int(count * edge), max(0, int(count * (1 - edge) - 1))),
            "Finding the quantiles of the magnitudes",
        )
        low, high = bounds.split(1, dim=1)
        scores = yield from order_statistics(
            groups,
            lambda group: self.score(flat(group.task_vectors), low, high),
            lambda count: (min(int(count * (1 - self.ratio)), count - 1), count - 1),
            "Finding the quantiles of the scores",
        )
        return low, high, *scores.split(1, dim=1)

    def score(self, vectors: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the score of every entry up to a constant factor, (T, n); the bounds of |τ_t| are (T, 1)."""
        sizes = min_max(vectors.abs(), low, high)
        others = (vectors.sign() * sizes if self.variant == "vision" else vectors).sum(0)
        return torch.exp(len(vectors) * (sizes**2 - 1)) * torch.tanh(vectors * others)

    def merge(self, group: TensorGroup, ctx: Context, state: tuple[Tensor, ...]) -> Tensor:
        low, high, cut, top = state
        vectors = flat(group.task_vectors)
        scale = min_max(self.score(vectors, low, high), cut, top)
        clamped = vectors.sign() * vectors.abs().clamp(low, high)
        weighted = (per_expert(self.weights, vectors) * scale * clamped).sum(0)
        return (weighted / scale.sum(0).clamp_min(1e-12)).view_as(group.pretrained)
