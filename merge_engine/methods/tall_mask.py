"""TALL-masks: one merged task vector and a bit mask per task."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contract import Context, Step
from ..hp import hp
from ..maths.ops import per_expert, task_masks
from ..maths.parts import MaskedPart
from ..maths.selection import Trimmed, merged_task_vector, summed, trim_globally
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import StoreMerge


@dataclass(frozen=True)
class TallMask(StoreMerge):
    """Keep one merged task vector and, for each task, a mask of the entries that serve it.

        τ_M = Σ_t τ_t  (or the disjoint Ties sum)
        m_t = 1[|τ_t| > λ_t |τ_M − τ_t|],   θ for task t = θ_0 + m_t τ_M

    References
    ----------
    Wang, Dimitriadis, Ortiz-Jimenez, Fleuret, Frossard, Localizing Task Information for Improved Model Merging
    and Compression, ICML 2024, arXiv:2405.07813.

    Notes
    -----
    A ceiling, not one merged model: it needs the task of every input, or a router. The authors choose λ_t in
    0.2 ... 0.6 for each task on validation; there is no scaling coefficient. Storage: θ_0, τ_M and one bit per
    parameter and task. FusionBench 0.2.33 compares weights with task vectors here and is not followed.
    """

    title: ClassVar[str] = "TALL-masks"
    family: ClassVar[str] = "Masks (task known)"
    idea: ClassVar[str] = "Store one sum, and per task one bit per weight that says whether to use it."
    formula: ClassVar[str] = "θ⁽ᵗ⁾ = θ₀ + mₜ τ_M\nmₜ = 1[|τₜ| > λₜ |τ_M − τₜ|]"
    where: ClassVar[str] = "λₜ is λ unless every expert is given its own"
    paper: ClassVar[str] = "Wang et al., Localizing Task Information, ICML 2024, arXiv:2405.07813"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"threshold": 3.0}}
    lesson: ClassVar[str] = (
        "Masks this strict keep few entries of an expert; even with the task known, much of what it learned "
        "is left out."
    )

    threshold: float = hp(
        0.4, "How large an expert's own change must be beside the rest of the sum.", low=0, soft=(0, 1), step=0.05,
        symbol="λ", sweep=(0.2, 0.3, 0.4, 0.5, 0.6),
    )  # fmt: skip
    thresholds: tuple[float, ...] = hp(
        (), "Threshold of each expert; none given means the common one.", low=0, soft=(0, 1), step=0.05,
        symbol="λₜ", per_expert=True,
    )  # fmt: skip
    base: str = merged_task_vector("The merged task vector that is masked.")
    density: float = hp(
        0.2, "Share of entries that the Ties base keeps.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="d"
    )

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["TALL-masks need the task of every input, or a router: a ceiling, not one merged model."]

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
        if self.base == "ties":
            return (yield from trim_globally(groups, self.density, lambda group: group.task_vectors))

    def part(self, group: TensorGroup, ctx: Context, state: Trimmed | None) -> MaskedPart:
        merged, vectors = summed(group, state), group.task_vectors
        thresholds = per_expert(self.thresholds or (self.threshold,) * len(vectors), vectors)
        return MaskedPart.of(merged, task_masks(vectors, merged, thresholds), (1.0,) * len(vectors))
