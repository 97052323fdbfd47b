"""EMR-Merging: elect, mask and rescale."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..maths.ops import Numbers, exact_sum, flat, widest
from ..maths.parts import MaskedPart
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import StoreMerge


@dataclass(frozen=True)
class Emr(StoreMerge):
    """Elect one unified task vector and store, for each task, a mask and one rescaling number.

        γ = sign(Σ_t τ_t), zero counts as −1
        τ_uni = γ · max{|τ_t| : sign τ_t = γ},   m_t = 1[τ_t γ > 0]
        r_t = Σ_tensors mean|τ_t| / Σ_tensors mean|m_t τ_uni|
        θ for task t = θ_0 + r_t m_t τ_uni

    References
    ----------
    Huang, Ye, Chen, He, Yue, Ouyang, EMR-Merging: Tuning-Free High-Performance Model Merging, NeurIPS 2024,
    arXiv:2405.17461.

    Notes
    -----
    A ceiling, not one merged model: it needs the task of every input, or a router. The rescaling number follows
    the authors' code, which adds up the means of the tensors, so small tensors weigh as much as large ones;
    `sums` is the paper's ratio of sums over the whole model. Storage: two models and one bit per parameter
    and task.
    """

    title: ClassVar[str] = "EMR-Merging"
    family: ClassVar[str] = "Masks (task known)"
    idea: ClassVar[str] = "Store the strongest agreed change, and per task a mask and one number to resize it."
    formula: ClassVar[str] = "θ⁽ᵗ⁾ = θ₀ + rₜ mₜ τ_uni\nτ_uni = γ max{|τₜ| : sign τₜ = γ},  mₜ = 1[τₜ γ > 0]"
    paper: ClassVar[str] = "Huang et al., EMR-Merging, NeurIPS 2024, arXiv:2405.17461"
    lesson: ClassVar[str] = (
        "It has no number to get wrong. It fails with the task: on the bundled pictures it loses eight points where "
        "SiM's router has to find the task that EMR is told here."
    )

    rescale: str = hp(
        "means", "Compare means tensor by tensor, or sums over the whole model.",
        choices={
            "means": "rₜ compares the mean magnitudes of every tensor, as the authors' code; the paper compares sums",
            "sums": "rₜ compares sums of magnitudes over the model, as the paper; the authors' code compares means",
        },
        always=True,
    )  # fmt: skip

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["EMR-Merging needs the task of every input, or a router: a ceiling, not one merged model."]

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Numbers]:
        before = after = torch.zeros(len(problem.tasks), dtype=torch.float64)
        for done, group in enumerate(groups, 1):
            unified, masks = elect(group.task_vectors)
            before = before + self.size(group.task_vectors)
            after = after + self.size(masks * unified)
            yield Step(done, len(groups), "Comparing sizes")
        return tuple(torch.where(after > 0, before / after, 1.0).tolist())

    def size(self, vectors: Tensor) -> Tensor:
        """Return the mean (or sum) of magnitudes of each expert, (T, *S) to (T,)."""
        sizes = flat(vectors).abs().sum(1, dtype=widest(vectors))
        return (sizes if self.rescale == "sums" else sizes / vectors[0].numel()).cpu().double()

    def part(self, group: TensorGroup, ctx: Context, state: Numbers) -> MaskedPart:
        return MaskedPart.of(*elect(group.task_vectors), state)


def elect(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unified task vector (S) and the masks of the experts that agree with its sign, (T, *S)."""
    sign = torch.where(exact_sum(vectors) > 0, 1.0, -1.0).to(vectors.dtype)
    agreeing = (vectors * sign).clamp_min(0)
    return sign * agreeing.amax(0), agreeing > 0
