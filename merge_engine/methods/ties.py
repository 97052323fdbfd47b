"""Ties-Merging."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..maths.ops import disjoint_merge, elect_sign, kth_largest_magnitude, per_expert, trim
from ..maths.selection import Trimmed, trim_globally
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Ties(TensorMerge):
    """Trim each task vector, elect a sign for every entry, and merge the values that agree with it.

        τ̂_t = τ_t where |τ_t| is in the top share d, else 0
        γ   = sign(Σ_t τ̂_t)
        θ   = θ_0 + λ · mean{τ̂_t : sign τ̂_t = γ}

    References
    ----------
    Yadav, Tam, Choshen, Raffel, Bansal, TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023,
    arXiv:2306.01708.

    Notes
    -----
    Scope `global` trims over the whole model as the authors' code and FusionBench do (int(dP) + 1 entries stay),
    `tensor` trims every tensor to max(1, int(d n)) entries as mergekit does; entries equal to the threshold stay.
    A sum of exactly zero takes the majority sign, as in the authors' code (mergekit takes plus); a tied majority
    drops the entry. The paper's mean goes with λ = 1; FusionBench uses merge `sum` with λ = 0.3. Weights count
    `after` the election (PEFT: the mean divides by how many agree), `before` it (mergekit: the mean divides by
    the weights that agree) or not at all (the paper).
    """

    title: ClassVar[str] = "Ties"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "Keep the largest changes, let the experts vote on each sign, and drop who disagrees."
    formula: ClassVar[str] = "θ = θ₀ + λ · merge{τ̂ₜ : sign τ̂ₜ = γ}\nγ = sign Σₜ τ̂ₜ"
    where: ClassVar[str] = "τ̂ₜ is τₜ at its largest share d of entries, else zero; an expert counts wₜ times, or once"
    paper: ClassVar[str] = "Yadav et al., TIES-Merging, NeurIPS 2023, arXiv:2306.01708"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 3.0}}
    lesson: ClassVar[str] = (
        "What the experts agree on is added three times over: agreement does not keep a step from being too long, "
        "and the average falls below the pretrained model's."
    )

    density: float = hp(0.2, "Share of entries kept.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="d")
    scope: str = hp(
        "global", "Trim over the whole model, or within each tensor.",
        choices={
            "global": "trims over the whole model, as the authors and FusionBench; mergekit trims every tensor",
            "tensor": "trims every tensor, as mergekit; the authors and FusionBench trim over the whole model",
        },
        always=True,
    )  # fmt: skip
    merge_by: str = hp(
        "mean", "How the agreeing values are merged.",
        choices={
            "mean": "averages the values that agree, as the paper; FusionBench adds them up at a scaling of 0.3",
            "sum": "adds up the values that agree, as FusionBench at a scaling of 0.3; the paper averages them",
            "max": "takes the largest of the values that agree; the paper averages them",
        },
        always=True,
    )  # fmt: skip
    weights: tuple[float, ...] = hp(
        (), "Weight of each expert; none given means one.", low=0, high=10, soft=(0, 2), step=0.05,
        symbol="wₜ", per_expert=True,
    )  # fmt: skip
    weighting: str = hp(
        "after", "Whether weights count before or after the election.",
        choices={
            "after": "weights count after the election, as in PEFT",
            "before": "weights count in the election too, as in mergekit",
            "none": "weights do not count, as in the paper",
        },
    )  # fmt: skip
    scaling: float = hp(
        1.0, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 3), step=0.05,
        symbol="λ", sweep=(0.3, 0.5, 0.7, 1.0, 1.3, 1.6),
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
        if self.scope == "global":
            votes = self.weights if self.weighting == "before" else ()
            return (yield from trim_globally(groups, self.density, lambda g: g.task_vectors, votes))

    def merge(self, group: TensorGroup, ctx: Context, state: Trimmed | None) -> Tensor:
        weights = self.weights if self.weighting != "none" else ()
        votes = self.weights if self.weighting == "before" else ()
        if state is None:
            vectors = group.task_vectors
            most = max(1, int(self.density * vectors[0].numel()))
            kept = trim(vectors, kth_largest_magnitude(vectors, most))
            sign = elect_sign(kept * per_expert(votes, kept))
        else:
            kept = state.of(group)
            sign = state.elect_sign(kept)
        return disjoint_merge(kept, sign, self.merge_by, weights, votes)
