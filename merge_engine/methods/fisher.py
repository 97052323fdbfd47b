"""Fisher merging."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import WeightsError
from ..hp import hp
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge
from ..weights import Weights, in_memory

BATCH = 32
LIBRARY_FLOOR = 1e-6


@dataclass
class Sums:
    """Σ_t F_t τ_t and Σ_t F_t by name."""

    weighted: dict[str, Tensor] = field(default_factory=dict)
    total: dict[str, Tensor] = field(default_factory=dict)

    def add(self, fisher: dict[str, Tensor], expert: Weights, pretrained: Weights) -> None:
        """Add one expert."""
        for name, weight in fisher.items():
            change = expert[name] - pretrained[name].to(weight)
            self.weighted[name] = self.weighted.get(name, 0) + weight * change
            self.total[name] = self.total.get(name, 0) + weight


@dataclass(frozen=True)
class Fisher(TensorMerge):
    """Average every entry with the experts' diagonal Fisher information as weights.

        F_t = mean over x of Σ_c p_c (∂ log p_c / ∂θ)²,  θ = Σ_t F_t θ_t / Σ_t F_t

    References
    ----------
    Matena, Raffel, Merging Models with Fisher-Weighted Averaging, NeurIPS 2022, arXiv:2111.09832.

    Notes
    -----
    Gradients per example. Σ_c p_c (∂ log p_c)(∂ log p_c)ᵀ = Jᵀ (diag p − p pᵀ) J with J = ∂ logits/∂θ, so one
    backward pass per eigenvector of diag p − p pᵀ is exact and saves the null one; `tolerance` also leaves out weak
    ones. Entries that no expert's predictions depend on are averaged. `batch-summed` is FusionBench's estimator: the
    square of the gradient of Σ_x Σ_c √p_c log p_c over batches of 32, plus 1e-6, divided by 1e-6 + |F_t|₂. The
    preset `cpu` takes a quarter of the inputs and leaves out up to 0.3 of each one's trace, which for most takes
    one or two backward passes instead of one less than there are classes; `fusionbench` takes one for 32 inputs.
    """

    title: ClassVar[str] = "Fisher merging"
    family: ClassVar[str] = "Uses inputs"
    idea: ClassVar[str] = "Let every expert weigh most where its own predictions are most sensitive."
    formula: ClassVar[str] = "θ = Σₜ Fₜ θₜ / Σₜ Fₜ\nFₜ = mean of N inputs' Σ_c p_c (∂ log p_c / ∂θ)²"
    where: ClassVar[str] = "of every input's Fisher trace the share δ may be left out"
    paper: ClassVar[str] = (
        "Matena & Raffel, Merging Models with Fisher-Weighted Averaging, NeurIPS 2022, arXiv:2111.09832"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"support"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {"examples": 64, "tolerance": 0.3},
        "fusionbench": {"estimator": "batch-summed"},
        "failure": {"examples": 2},
    }
    lesson: ClassVar[str] = (
        "Two pictures per task decide which weights matter; the estimate is noise, and the merge falls below "
        "the plain average."
    )

    examples: int = hp(256, "Unlabelled inputs of every task.", low=1, high=4096, soft=(32, 512), step=32, symbol="N")
    estimator: str = hp(
        "per-example", "Squared gradients of single examples, or FusionBench's of batch sums.",
        choices={
            "per-example": "gradients are squared input by input, as in the paper; FusionBench squares sums",
            "batch-summed": "sums over batches of 32 inputs are squared, and F is normalised, as in FusionBench",
        },
        always=True,
    )  # fmt: skip
    tolerance: float = hp(0.0, "Share of each example's Fisher trace over the logits that may be left out.",
                          low=0, high=0.5, step=0.001, symbol="δ",
                          when=("estimator", ("per-example",)))  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Sums]:
        """Differentiate every expert on its own inputs; memory holds a few models, whatever T is."""
        inputs, sums = problem.need_inputs(self.title), Sums()
        for index, (task, expert) in enumerate(problem.experts.items()):
            weights = in_memory(expert, ctx.device)
            fisher = {n: torch.zeros_like(w) for n, w in weights.items() if w.is_floating_point()}
            chosen = inputs.support(task, self.examples)
            batches = chosen.split(1 if self.estimator == "per-example" else BATCH)
            total, label = len(batches) * len(problem.tasks), f"gradients of {task}"
            for done, batch in enumerate(batches, index * len(batches)):
                free = {n: weights[n].detach().requires_grad_() for n in fisher}
                with torch.enable_grad():
                    logits = inputs.logits(task, inputs.features({**weights, **free}, batch))
                    if not torch.isfinite(logits).all():
                        raise WeightsError(
                            f"Expert '{task}' predicts NaN or infinite values; use another checkpoint."
                        )
                    outputs = self._outputs(logits.double()).unbind()
                for output in outputs:
                    yield Step(done, total, label)
                    _add_squares(fisher, output, free, 1 / len(chosen))
                yield Step(done + 1, total, label)
            if self.estimator == "batch-summed":
                fisher = _normalised(fisher)
            sums.add(fisher, weights, problem.pretrained)
        return sums

    def merge(self, group: TensorGroup, ctx: Context, state: Sums) -> Tensor:
        weighted, total = state.weighted[group.name], state.total[group.name]
        return torch.where(total > 0, weighted / total.where(total > 0, 1.0), group.task_vectors.mean(0))

    def _outputs(self, logits: Tensor) -> Tensor:
        """Return the scalars whose squared gradients add up to the estimate for these logits (N, C)."""
        p = logits.detach().softmax(-1)
        if self.estimator == "per-example":
            return logits[0] @ fisher_roots(p[0], self.tolerance)
        return (p.sqrt() * logits.log_softmax(-1)).sum().unsqueeze(0)


def fisher_roots(p: Tensor, tolerance: float) -> Tensor:
    """Return L (C, R) with L Lᵀ = diag p − p pᵀ up to a share `tolerance` of its trace; float64."""
    values, vectors = torch.linalg.eigh(p.diag() - p.outer(p))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    missing = 1 - values.cumsum(0) / values.sum().clamp_min(1e-300)
    count = 1 + int((missing > max(tolerance, 1e-12)).sum())
    return vectors[:, :count] * values[:count].sqrt()


def _add_squares(fisher: dict[str, Tensor], output: Tensor, free: dict[str, Tensor], share: float) -> None:
    found = torch.autograd.grad(output, list(free.values()), retain_graph=True, allow_unused=True)
    for name, gradient in zip(free, found, strict=True):
        if gradient is not None:
            fisher[name].addcmul_(gradient, gradient, value=share)


def _normalised(fisher: dict[str, Tensor]) -> dict[str, Tensor]:
    norm = sum(float(f.square().sum(dtype=torch.float64)) for f in fisher.values()) ** 0.5
    return {name: (f + LIBRARY_FLOOR) / (norm + LIBRARY_FLOOR) for name, f in fisher.items()}
