"""SMILE, sparse mixture of low-rank experts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Kind, MergeMethod, Step
from ..hp import hp
from ..maths.parts import LowRankPart
from ..maths.svd import Factors
from ..problem import MATRIX_KINDS, Problem, TensorGroup
from ..routing.per_input import Decision, LowRankLinear, Share
from ..routing.prediction import Network
from ..routing.routed import BlendedMerged
from ..weights import AddedWeights


@dataclass(frozen=True)
class Smile(MergeMethod):
    """Let every token, in every linear layer, take the expert whose leading directions it points along.

        w = top_k softmax_t ‖V_t,gateᵀ x‖₂,  y = W_0 x + b_0 + Σ_t w_t (U_t,k diag(s_t,k) V_t,kᵀ x + δb_t)

    References
    ----------
    Tang, Shen, Luo, Yin, Zhang, Tao, SMILE: Zero-Shot Sparse Mixture of Low-Rank Experts Construction From
    Pre-Trained Foundation Models, 2024, arXiv:2408.10174.

    Notes
    -----
    No data, no training and no decision about an input as a whole, so the head is that of the asked task. Directions
    come from the decomposition of the task matrices of the blocks; every other tensor is averaged. Weights of the
    chosen experts are divided by their sum. Ranks above a matrix's own are cut to it. `gate=weight` is the published
    `routing_use_diff=false`.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "SMILE"
    family: ClassVar[str] = "Routed"
    idea: ClassVar[str] = "Send every token of every layer to the small experts whose main directions it follows."
    formula: ClassVar[str] = "y = W₀x + Σₜ wₜ Uₜₖ diag(sₜₖ) Vₜₖᵀ x,  w = top softmaxₜ ‖Vₜᵀx‖"
    paper: ClassVar[str] = "Tang et al., SMILE: Zero-Shot Sparse Mixture of Low-Rank Experts, 2024, arXiv:2408.10174"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"rank": 2}}
    lesson: ClassVar[str] = (
        "Two directions per expert and layer: inputs are still sent somewhere, but there is little at the "
        "place they reach."
    )

    rank: int = hp(128, "Singular components of an expert in a layer.", low=1, high=65_536, soft=(1, 384), symbol="k")
    gate_rank: int = hp(1, "Directions of an expert that a token is compared with.", low=1, high=65_536, soft=(1, 64))
    top_k: int = hp(1, "Experts that a token takes.", low=1, high=1024, soft=(1, 8))
    gate: str = hp(
        "difference", "Whose directions a token is compared with: those of an expert's change, or of its whole weight.",
        choices=("difference", "weight"),
    )  # fmt: skip

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, BlendedMerged]:
        """Decompose the matrices and average the rest, yielding a Step after every tensor."""
        self.check(problem.tasks)
        groups, low_rank, gates = problem.groups(device=ctx.device), {}, {}
        biases: dict[str, Tensor] = {}
        average: dict[str, Tensor] = {}
        for done, group in enumerate(groups, 1):
            path, _, leaf = group.name.rpartition(".")
            if group.is_matrix:
                low_rank[path], gates[path] = self._experts(group, ctx)
            elif leaf == "bias" and _is_linear(problem, f"{path}.weight"):
                biases[path] = group.task_vectors
            else:
                average[group.name] = group.task_vectors.mean(0)
            yield Step(done, len(groups), group.name)
        shares: dict[str, Share] = {p: LowRankLinear.of(part, biases.get(p)) for p, part in low_rank.items()}
        shared = AddedWeights(problem.pretrained, average)
        notes = (*self.remarks(problem.tasks), *ctx.notes)
        return BlendedMerged(shared, problem.tasks, shares, Gates(gates, self.top_k), notes=notes)

    def _experts(self, group: TensorGroup, ctx: Context) -> tuple[LowRankPart, Tensor]:
        """Return the components of every expert, and the directions it is known by, (T, g, n)."""
        found = [ctx.svd(vector) for vector in group.task_vectors]
        part = LowRankPart(tuple(Factors(*(p.clone() for p in factors.top(self.rank))) for factors in found))
        gating = found if self.gate == "difference" else [ctx.svd(weight) for weight in group.experts]
        return part, torch.stack([factors.Vh[: self.gate_rank] for factors in gating])


@dataclass(frozen=True)
class Gates:
    """Weights by token: the softmax of ‖V_tᵀ x‖₂ over experts, all but the `top_k` largest set to zero."""

    directions: Mapping[str, Tensor]
    top_k: int
    forwards: float = 0.0
    reads: str = ""

    def ready(self, network: Network) -> Callable[[Tensor], Decision]:
        """Return what weighs every token inside the pass, w (B, N, T)."""
        return lambda inputs: Decision(lambda path, layer, x: self.weights(path, x))

    def weights(self, path: str, x: Tensor) -> Tensor:
        """Return w (B, N, T) for tokens x (B, N, n)."""
        directions = self.directions[path].to(x)
        along = (x @ directions.flatten(0, 1).T).unflatten(-1, directions.shape[:2])
        gates = along.norm(dim=-1).softmax(-1)
        best = gates.topk(min(self.top_k, gates.shape[-1]), dim=-1)
        chosen = best.values / best.values.sum(-1, keepdim=True)
        return torch.zeros_like(gates).scatter_(-1, best.indices, chosen)

    @property
    def stored_parameters(self) -> float:
        return float(sum(d.numel() for d in self.directions.values()))


def _is_linear(problem: Problem, weight: str) -> bool:
    """True when a name belongs to a matrix of the blocks."""
    inside = weight in problem.pretrained and problem.pretrained[weight].ndim == 2
    return inside and problem.architecture.place(weight).kind in MATRIX_KINDS
