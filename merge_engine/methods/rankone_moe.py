"""Rank-one mixture of experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..contract import Context
from ..hp import hp
from ..maths.parts import Part
from ..problem import TensorGroup
from ..routing.mlp_routers import MlpWeighting, Router
from ..routing.mlp_routing import MlpRoutedMerge, leading
from ..routing.per_input import LowRankLinear, Share

STEEPNESS = 100.0


@dataclass(frozen=True)
class RankOneMoe(MlpRoutedMerge):
    """Blend single singular components of all experts' MLPs for every input by learned routers.

        W_l(x) = W_0 + Σ_t Σ_{j ≤ k} w_ltj(x) s_tj u_tj v_tjᵀ,  w_l(x) = (1/N) Σ_n r_l(h_n(x))

    References
    ----------
    Tang, Shen, Luo, Hu, Du, Tao, FusionBench: A Comprehensive Benchmark of Deep Model Fusion, 2024,
    arXiv:2406.03280; its method `rankone_moe`, after E. Yang's RankOne-MoE.

    Notes
    -----
    There is no paper; this follows FusionBench's code, whose description differs: weights are averaged over tokens
    and not passed through a softmax, entropy is minimised, and the matrices start from the pretrained ones, so that
    the start is Task Arithmetic with MLPs of k components per expert. Component j of a task has the same weight in
    both layers of an MLP. Biases are merged with λ. A router of two layers is 2 T k wide inside. With `select`,
    components below the largest few weights of an input fade by a sigmoid of steepness 100. FusionBench routes by
    batch while it adapts. Between WEMoE, which weighs whole experts, and AdaRank, which chooses components once. The
    preset `cpu` keeps the learning rate; its updates and batch were chosen without a search.
    """

    title: ClassVar[str] = "Rank-one MoE"
    idea: ClassVar[str] = "Let a router weigh every singular component of every expert's MLP, input by input."
    formula: ClassVar[str] = "W(x) = W₀ + Σₜⱼ wₜⱼ(x) sₜⱼ uₜⱼ vₜⱼᵀ,  w = mean over tokens of r(h)"
    paper: ClassVar[str] = "Tang et al., FusionBench, 2024, arXiv:2406.03280"
    leaves: ClassVar[tuple[str, ...]] = ("weight",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {"steps": 60, "batch": 4, "schedule": "cosine"},
        "failure": {"steps": 30, "batch": 4, "learning_rate": 0.1},
    }
    lesson: ClassVar[str] = (
        "With steps this long the routers run away: within thirty updates every prediction is certain and every task "
        "is at chance."
    )

    depth: int = hp(
        1, "Layers of a router; 0 gives all inputs the same weights.", low=0, high=2, soft=(0, 2), step=1
    )
    components: int = hp(
        32,
        "Singular components kept of every expert and matrix.",
        low=1,
        high=4096,
        soft=(1, 64),
        step=1,
        symbol="k",
    )
    select: int = hp(
        0, "Components of all experts with the largest weights that an input uses; 0 uses all.", low=0, high=100_000,
        soft=(0, 256), step=8,
    )  # fmt: skip

    def part(self, group: TensorGroup, ctx: Context) -> Part:
        return leading(group, self.components, ctx)

    def shares(self, parts: Mapping[str, Part], layers: Mapping[str, nn.Module]) -> Mapping[str, Share]:
        """Return the components of all experts, each one with a weight of its own."""
        return {path: _by_component(share) for path, share in super().shares(parts, layers).items()}

    def router(self, layer: nn.Linear, tasks: Sequence[str], draw: Callable[..., torch.Generator]) -> Router:
        each = min(self.components, *layer.weight.shape)
        hidden = 2 * each * len(tasks)
        return Router.start(layer.in_features, tasks, self.prior, self.depth, draw, each=each, hidden=hidden)

    def weighting(self, blocks: Mapping[str, int], routers: Mapping[int, Router]) -> MlpWeighting:
        return Selecting(blocks, routers, self.routing, select=self.select)


@dataclass(frozen=True)
class Selecting(MlpWeighting):
    """Weights of which only the largest few of an input count: w_i σ(100 (w_i − w_(k))), w_(k) the k-th largest."""

    select: int = 0

    def choose(self, w: Tensor) -> Tensor:
        if not 0 < self.select < w.shape[1]:
            return w
        least = w.topk(self.select, dim=1).values[:, -1:]
        return w * torch.sigmoid(STEEPNESS * (w - least))


def _by_component(share: Share) -> Share:
    assert isinstance(share, LowRankLinear)
    return dataclasses.replace(share, owner=torch.arange(len(share.owner), device=share.owner.device))
