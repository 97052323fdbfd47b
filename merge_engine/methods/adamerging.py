"""AdaMerging, coefficients learned by entropy minimisation."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import adaptive
from ..adapt import Settings
from ..contract import Context, Inputs, Problem, Step
from ..hp import hp
from ..merged import StaticMerged
from ..weights import Weights


@dataclass(frozen=True)
class AdaMerging(adaptive.AdaptiveMerge):
    """Learn one coefficient per task, or per task and tensor, by minimising entropy on unlabelled inputs.

        θ(λ) = θ_0 + Σ_t λ_t,n τ_t,n,  loss = Σ_t mean H(softmax(head_t(f(x; θ(λ)))))

    References
    ----------
    Yang, Wang, Shen, Liu, Guo, Wang, Tao, AdaMerging: Adaptive Model Merging for Multi-Task Learning, ICLR 2024,
    arXiv:2310.02575.

    Notes
    -----
    Every task's batch is scored with the task's own frozen head; the result is one static model. The last step is
    what is returned. The published code clamps coefficients to [0, 1]; FusionBench does not.
    """

    title: ClassVar[str] = "AdaMerging"
    family: ClassVar[str] = "Adaptive"
    idea: ClassVar[str] = "Learn how much of every expert to add, tensor by tensor, from unlabelled inputs."
    formula: ClassVar[str] = "θ = θ₀ + Σₜ λₜₙ τₜₙ,  λ minimises the entropy of predictions"
    paper: ClassVar[str] = "Yang et al., AdaMerging, ICLR 2024, arXiv:2310.02575"

    prior: float = hp(0.3, "Coefficient to start from.", low=-10, high=10, soft=(0, 1), step=0.05, symbol="λ₀")
    unit: str = hp("tensor", "One coefficient per task and tensor, or per task.", choices=("tensor", "task"))
    clamp: bool = hp(True, "Keep coefficients within [0, 1].")
    steps: int = adaptive.steps(500)
    batch: int = adaptive.batch(16)
    learning_rate: float = adaptive.learning_rate(1e-3)
    balanced: bool = adaptive.balanced()

    def settings(self) -> Settings:
        return Settings(self.steps, self.batch, self.learning_rate, balanced=self.balanced)

    def adaptable(self, problem: Problem, ctx: Context) -> Generator[Step, None, Coefficients]:
        groups, vectors = problem.groups(device=ctx.device), {}
        for done, group in enumerate(groups, 1):
            if bool(group.task_vectors.any()):
                vectors[group.name] = group.task_vectors
            yield Step(done, len(groups), group.name)
        count = len(vectors) if self.unit == "tensor" else 1
        start = torch.full((len(problem.tasks), count), self.prior, device=ctx.device)
        return Coefficients(problem.pretrained, vectors, start, self.clamp, problem.need_inputs(self.title))


class Coefficients:
    """λ (T, N), or (T, 1), and the merged weights they give; gradients go through ⟨∂L/∂W_n, τ_t,n⟩."""

    def __init__(
        self, pretrained: Weights, vectors: Mapping[str, Tensor], start: Tensor, clamp: bool, inputs: Inputs
    ) -> None:
        self.pretrained, self.vectors, self.clamp, self.inputs = pretrained, vectors, clamp, inputs
        self.values = torch.nn.Parameter(start)
        self.leaves: dict[str, Tensor] = {}

    def parameters(self) -> Sequence[Mapping[str, object]]:
        return [{"params": [self.values]}]

    def used(self) -> Tensor:
        """Return the coefficients as they are applied, (T, N) or (T, 1)."""
        return self.values.detach().clamp(0, 1) if self.clamp else self.values.detach()

    def begin(self) -> None:
        self.leaves = {n: (self.pretrained[n] + d).requires_grad_() for n, d in self._merged_vectors().items()}

    def features(self, task: str, inputs: Tensor) -> Tensor:
        return self.inputs.features({**self.pretrained, **self.leaves}, inputs)

    def finish(self) -> None:
        if not self.leaves:
            return
        columns = [
            v.flatten(1) @ leaf.grad.flatten()
            for v, leaf in zip(self.vectors.values(), self.leaves.values(), strict=True)
            if leaf.grad is not None
        ]
        grad = torch.stack(columns, 1)
        if self.values.shape[1] == 1:
            grad = grad.sum(1, keepdim=True)
        inside = (self.values.detach() >= 0) & (self.values.detach() <= 1)
        self.values.grad = grad * inside if self.clamp else grad

    def state(self) -> Mapping[str, np.ndarray]:
        return {"coefficients": self.used().numpy(force=True).copy()}

    def merged(self) -> StaticMerged:
        return StaticMerged(self.pretrained, self._merged_vectors(), {})

    def _merged_vectors(self) -> dict[str, Tensor]:
        used = self.used().expand(-1, len(self.vectors)).unbind(1)
        return {n: torch.tensordot(c, v, 1) for c, (n, v) in zip(used, self.vectors.items(), strict=True)}
