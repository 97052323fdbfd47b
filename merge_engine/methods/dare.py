"""DARE: drop and rescale."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..maths.ops import AGREEING, disjoint_merge, drop_and_rescale
from ..maths.selection import Trimmed, trim_globally
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Dare(TensorMerge):
    """Drop random entries of each task vector, rescale the rest, and add up or merge by Ties.

        m_t ~ Bernoulli(d),  τ̃_t = m_t τ_t / d
        θ = θ_0 + λ Σ_t τ̃_t,  or Ties of the τ̃_t

    References
    ----------
    Yu, Yu, Yu, Huang, Li, Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free
    Lunch, ICML 2024, arXiv:2311.03099.

    Notes
    -----
    d is the share kept, 1 − p in the paper. `inverse` divides by d, so the expectation is τ_t; `l1` restores
    the sum of magnitudes of each tensor, as mergekit does. With `ties` the dropped task vectors are trimmed over
    the whole model and their signs elected (paper and FusionBench, which takes λ = 0.5; mergekit's dare_ties is
    trim = 1). λ = 1/T gives the average. FusionBench's only_on_linear_weights is tensors = matrices: the others
    are merged undropped. Draws depend on seed, tensor name and task alone.
    """

    title: ClassVar[str] = "DARE"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "Drop most changes at random and enlarge the rest, so that fewer of them collide."
    formula: ClassVar[str] = "θ = θ₀ + λ Σₜ τ̃ₜ\nτ̃ₜ = c mₜ τₜ,  mₜ ~ Bernoulli(d)"
    paper: ClassVar[str] = "Yu et al., Language Models are Super Mario, ICML 2024, arXiv:2311.03099"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"density": 0.002}}
    lesson: ClassVar[str] = (
        "Two entries of a thousand stay and are multiplied by five hundred: the expectation is the same, but the noise "
        "drowns every task."
    )

    density: float = hp(0.5, "Share of entries kept, 1 − p.", low=0.001, high=1, soft=(0.05, 1), step=0.05, symbol="d")
    rescale: str = hp(
        "inverse", "Divide by the density, restore each tensor's L1 norm, or neither.",
        choices={
            "inverse": "c divides by the share kept, so that the mean stays; mergekit restores the L1 norm",
            "l1": "c restores the L1 norm of every tensor, as in mergekit; the paper divides by the share kept",
            "none": "c is 1: what is kept is not enlarged",
        },
        always=True,
    )  # fmt: skip
    combine: str = hp(
        "linear", "Add the task vectors up, or merge them by Ties.",
        choices={
            "linear": "what is kept is added up",
            "ties": "Ties takes the place of the sum: the largest share s of τ̃ₜ stays, and signs are elected",
        },
    )  # fmt: skip
    trim: float = hp(
        0.2, "Share of entries that the Ties step keeps.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="s"
    )
    merge_by: str = hp(
        "sum", "How the Ties step merges agreeing values.", choices=AGREEING, always=True, when=("combine", ("ties",))
    )
    tensors: str = hp(
        "all", "Drop in all tensors, or in the blocks' matrices only.",
        choices={
            "all": "entries of all tensors are dropped; FusionBench can leave all but linear weights alone",
            "matrices": "entries of the blocks' matrices alone are dropped, as FusionBench's only_on_linear_weights",
        },
    )  # fmt: skip
    scaling: float = hp(
        0.3, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
        symbol="λ", sweep=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
        if self.combine == "ties":
            return (yield from trim_globally(groups, self.trim, lambda group: self.dropped(group, ctx)))

    def dropped(self, group: TensorGroup, ctx: Context) -> Tensor:
        """Return the dropped and rescaled task vectors, (T, *S); the same whenever they are asked for."""
        if self.tensors == "matrices" and not group.is_matrix:
            return group.task_vectors
        each = zip(group.task_vectors, group.tasks, strict=True)
        return torch.stack(
            [drop_and_rescale(v, self.density, self.rescale, ctx.generator(group.name, t)) for v, t in each]
        )

    def merge(self, group: TensorGroup, ctx: Context, state: Trimmed | None) -> Tensor:
        if state is None:
            return self.dropped(group, ctx).sum(0)
        kept = state.of(group)
        return disjoint_merge(kept, state.elect_sign(kept), self.merge_by)
