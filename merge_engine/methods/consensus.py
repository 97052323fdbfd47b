"""Consensus merging: Consensus Task Arithmetic and Consensus Ties."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..maths.ops import per_expert, task_masks
from ..maths.selection import Trimmed, merged_task_vector, summed, trim_globally
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Consensus(TensorMerge):
    """Keep the entries of the merged task vector that at least k experts use.

        τ_M = Σ_t τ_t  (or the disjoint Ties sum)
        m_t = 1[|τ_t| > λ_t |τ_M − τ_t|],   n = Σ_t m_t
        θ   = θ_0 + α · 1[n ≥ k] τ_M

    References
    ----------
    Wang, Dimitriadis, Ortiz-Jimenez, Fleuret, Frossard, Localizing Task Information for Improved Model Merging
    and Compression, ICML 2024, arXiv:2405.07813.

    Notes
    -----
    k = 1 removes only what no expert uses, k = 2 also what a single one uses; k = 0 is Task Arithmetic and k > T
    the pretrained model. The authors choose λ_t in 0.2 ... 0.6 per task and α on validation; their Ties variant
    keeps 20 % over the whole model and sums. With two experts k = 2 asks both to use an entry.
    """

    title: ClassVar[str] = "Consensus"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "Forget the changes that only one expert, or none, makes use of."
    formula: ClassVar[str] = "θ = θ₀ + α · 1[Σₜ mₜ ≥ k] τ_M\nmₜ = 1[|τₜ| > λₜ |τ_M − τₜ|]"
    where: ClassVar[str] = "λₜ is λ unless every expert is given its own"
    paper: ClassVar[str] = "Wang et al., Localizing Task Information, ICML 2024, arXiv:2405.07813"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"k": 8}}
    lesson: ClassVar[str] = (
        "Only entries that all eight experts use are kept. There are hardly any, so this is close to the "
        "pretrained model."
    )

    k: int = hp(2, "Number of experts that must use an entry.", low=0, soft=(0, 8), step=1, symbol="k")
    threshold: float = hp(
        0.4, "How large an expert's own change must be beside the rest of the sum.", low=0, soft=(0, 1), step=0.05,
        symbol="λ", sweep=(0.2, 0.4, 0.6),
    )  # fmt: skip
    thresholds: tuple[float, ...] = hp(
        (), "Threshold of each expert; none given means the common one.", low=0, soft=(0, 1), step=0.05,
        symbol="λₜ", per_expert=True,
    )  # fmt: skip
    base: str = merged_task_vector("The merged task vector to prune.")
    density: float = hp(
        0.2, "Share of entries that the Ties base keeps.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="d"
    )
    scaling: float = hp(
        0.3, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
        symbol="α", sweep=(0.2, 0.3, 0.4, 0.5, 0.7),
    )  # fmt: skip

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        if self.k <= len(tasks):
            return []
        return ["Consensus asks for more experts than there are, so this is the pretrained model."]

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
        if self.base == "ties":
            return (yield from trim_globally(groups, self.density, lambda group: group.task_vectors))

    def merge(self, group: TensorGroup, ctx: Context, state: Trimmed | None) -> Tensor:
        merged, vectors = summed(group, state), group.task_vectors
        thresholds = per_expert(self.thresholds or (self.threshold,) * len(vectors), vectors)
        return (task_masks(vectors, merged, thresholds).sum(0) >= self.k) * merged
