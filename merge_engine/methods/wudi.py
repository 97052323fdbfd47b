"""WUDI, data-free optimisation of the merged matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..pausing import Pausing
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge

BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Wudi(TensorMerge):
    """Move the sum of the task matrices away from what disturbs each task, without data.

        minimise L(M) = Σ_t |(M − D_t) D_tᵀ|² / |D_t|² from M = Σ_t D_t with Adam;  W = W_0 + M
        ∇L = 2 (M A − B),  A = Σ_t A_t,  B = Σ_t D_t A_t,  A_t = D_tᵀ D_t / |D_t|²

    References
    ----------
    Cheng, Xiong, Wei, Zhu, Yuan, Whoever Started the Interference Should End It: Guiding Data-Free Model Merging
    via Task Vectors, ICML 2025, arXiv:2503.08099.

    Notes
    -----
    Zero steps are Task Arithmetic with λ = 1 on the matrices; the end of the path is the closed form
    (B + ε Σ_t D_t)(A + ε I)⁻¹ with ε = ridge · tr A / n. Other tensors stay pretrained in the official code, which
    fuses q, k and v; FusionBench, which the preset `fusionbench` follows, averages them, optimises every 2-D tensor
    and takes 400 steps. The preset `quick` takes a fifth of the steps, each five times as long: near the published
    point, not at it. `closed-form` is the end of the path, which 300 steps stay far from.
    """

    title: ClassVar[str] = "WUDI"
    family: ClassVar[str] = "Spectral"
    idea: ClassVar[str] = "Change the summed task matrices until they disturb no task's own input directions."
    formula: ClassVar[str] = "W = W₀ + λ M\nM lowers Σₜ ‖(M − Dₜ) Dₜᵀ‖² / ‖Dₜ‖²"
    paper: ClassVar[str] = (
        "Cheng et al., Whoever Started the Interference Should End It, ICML 2025, arXiv:2503.08099"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"steps": 60, "learning_rate": 5e-5},
        "closed-form": {"solution": "closed-form"},
        "fusionbench": {"steps": 400, "others": "mean", "embeddings": "optimised"},
        "failure": {"steps": 0},
    }
    lesson: ClassVar[str] = (
        "Without its optimisation this is the sum of all task vectors at full length: what the steps remove "
        "is interference."
    )

    scaling: float = hp(1.0, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 2),
                        step=0.05, symbol="λ", sweep=(0.6, 0.8, 1.0, 1.2))  # fmt: skip
    solution: str = hp(
        "path", "Follow Adam's path, or solve for its end.", always=True,
        choices={
            "path": "M goes from Σₜ Dₜ along S steps of Adam at rate η",
            "closed-form": "M is where that path ends, solved with the ridge ε",
        },
    )  # fmt: skip
    steps: int = hp(300, "Steps of Adam.", low=0, high=10_000, soft=(0, 1000), step=10, symbol="S")
    learning_rate: float = hp(1e-5, "Learning rate of Adam.", low=1e-8, high=1, soft=(1e-6, 1e-3), symbol="η")
    ridge: float = hp(1e-6, "Ridge of the closed form, relative to tr A / n.", low=1e-10, high=1, symbol="ε")
    attention: str = spectral.attention()
    others: str = spectral.other_tensors("pretrained")
    embeddings: str = hp(
        "pretrained", "Matrices outside the blocks: left as pretrained, averaged, or optimised.",
        choices={
            "pretrained": "matrices outside the blocks stay pretrained, as in the official code",
            "mean": "matrices outside the blocks are averaged; in the official code they stay pretrained",
            "optimised": "matrices outside the blocks are optimised too, as in FusionBench",
        },
        always=True,
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> dict[int, float]:
        """Return the losses by step, summed over the matrices done so far."""
        return {}

    def live(self, state: dict[int, float]) -> Mapping[str, float]:
        return {f"loss at step {step}": loss for step, loss in state.items()}

    def merge(self, group: TensorGroup, ctx: Context, state: dict[int, float]) -> Pausing[Tensor]:
        vectors = group.task_vectors
        done = spectral.untreated(group, vectors, self.others, self.embeddings)
        if done is not None:
            return done
        return (yield from self._end(vectors) if self.solution == "closed-form" else self._path(vectors, state))

    def _path(self, vectors: Tensor, losses: dict[int, float]) -> Pausing[Tensor]:
        A, B, constant = yield from quadratic(vectors)
        merged = vectors.sum(0)
        first, second = torch.zeros_like(merged), torch.zeros_like(merged)
        for step in range(self.steps + 1):
            product = merged @ A
            if step % max(1, self.steps // 10) == 0 or step == self.steps:
                loss = float(((product - 2 * B) * merged).sum()) + constant
                losses[step] = losses.get(step, 0.0) + loss
            if step < self.steps:
                gradient = 2 * (product - B)
                first.lerp_(gradient, 1 - BETAS[0])
                second.lerp_(gradient.square(), 1 - BETAS[1])
                size = (second / (1 - BETAS[1] ** (step + 1))).sqrt_().add_(1e-8)
                merged.addcdiv_(first, size, value=-self.learning_rate / (1 - BETAS[0] ** (step + 1)))
            yield
        return merged

    def _end(self, vectors: Tensor) -> Pausing[Tensor]:
        A, B, _ = yield from quadratic(vectors.double())
        ridge = self.ridge * A.trace() / len(A)
        if ridge == 0:
            return vectors.sum(0)
        factor = torch.linalg.cholesky(A + ridge * torch.eye(len(A), dtype=A.dtype, device=A.device))
        return torch.cholesky_solve((B + ridge * vectors.sum(0)).T, factor).T.float()


def quadratic(vectors: Tensor) -> Pausing[tuple[Tensor, Tensor, float]]:
    """Return A, B and c of L(M) = <M A − 2 B, M> + c; a zero task vector adds nothing."""
    A = vectors.new_zeros(vectors.shape[2], vectors.shape[2])
    B = torch.zeros_like(vectors[0])
    constant = 0.0
    for vector in vectors:
        size = vector.square().sum()
        if size > 0:
            own = vector.T @ vector / size
            A += own
            B += vector @ own  # not (D Dᵀ) D: one expert alone then has a gradient of exactly zero
            constant += float(size * own.square().sum())
        yield
    return A, B, constant
