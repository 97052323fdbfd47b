"""KnOTS, merging in a shared singular basis."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..maths import spectral
from ..maths.ops import disjoint_merge, drop_and_rescale, elect_sign, kth_largest_magnitude, trim
from ..maths.selection import Trimmed, trim_globally
from ..pausing import Pausing
from ..problem import MATRIX_KINDS, Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Knots(TensorMerge):
    """Express all task matrices in one left singular basis, and merge their coordinates entry by entry.

        [D_1 … D_T] = U diag(s) [V_1 … V_T]ᵀ,  Z_t = diag(s) V_tᵀ,  D = U merge(Z_1 … Z_T)

    References
    ----------
    Stoica, Ramesh, Ecsedi, Choshen, Hoffman, Model Merging with SVD to Tie the Knots, ICLR 2025, arXiv:2410.19735.

    Notes
    -----
    Components with s up to `floor`, an absolute number, are dropped. A plain sum of Z_t is Task Arithmetic, so the
    basis matters only to a merge that is not linear. Made for low-rank adapters, which leave other tensors alone;
    here those are averaged. Ties trims over the whole model as the reference code does (`scope="global"`);
    dare drops entries, divides by 1 − p, elects signs and averages those that agree, published with scaling 0.7.
    """

    title: ClassVar[str] = "KnOTS"
    family: ClassVar[str] = "Spectral"
    idea: ClassVar[str] = (
        "Align the experts in one singular basis before resolving their conflicts entry by entry."
    )
    formula: ClassVar[str] = "W = W₀ + λ U merge(Z₁ … Z_T)\n[D₁ … D_T] = U [Z₁ … Z_T]"
    where: ClassVar[str] = "U are the left singular vectors of all Dₜ side by side, without those of s up to s₀"
    paper: ClassVar[str] = (
        "Stoica et al., Model Merging with SVD to Tie the Knots, ICLR 2025, arXiv:2410.19735"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"rule": "sum", "scaling": 1.0}}
    lesson: ClassVar[str] = (
        "In the shared basis the experts are simply added in full: the basis changes nothing, and the step "
        "is too long."
    )

    scaling: float = hp(0.6, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
                        symbol="λ", sweep=(0.3, 0.6, 0.8, 1.0, 1.3, 1.6))  # fmt: skip
    rule: str = hp(
        "ties", "How coordinates are merged.",
        choices={
            "ties": "merge is Ties: the largest share d of Zₜ stays, signs are elected, and who agrees is averaged",
            "dare": "merge drops the share p of Zₜ, enlarges the rest, elects signs and averages what agrees",
            "sum": "merge is the sum, which is Task Arithmetic",
        },
        always=True,
    )  # fmt: skip
    density: float = hp(0.2, "Share of coordinates that Ties keeps.", low=0.001, high=1, soft=(0.01, 1),
                        step=0.01, symbol="d")  # fmt: skip
    scope: str = hp(
        "global", "Ties trims over the whole model, or in every matrix.",
        choices={
            "global": "Ties trims over the whole model, as the reference code does",
            "tensor": "Ties trims in every matrix; the reference code trims over the whole model",
        },
        always=True, when=("rule", ("ties",)),
    )  # fmt: skip
    drop: float = hp(0.1, "Share of coordinates that DARE drops.", low=0, high=0.99, step=0.05, symbol="p")
    floor: float = hp(
        1e-5, "Singular values up to this number are dropped.", low=0, high=1, soft=(0, 1e-3), symbol="s₀"
    )
    others: str = spectral.other_tensors()

    def decomposes(self) -> str:
        return "joint"

    def prepare(
        self, groups: Groups, problem: Problem, ctx: Context
    ) -> Generator[Step, None, Trimmed] | None:
        place = problem.architecture.place
        names = [
            n for n in problem.pretrained if place(n).kind in MATRIX_KINDS and problem.pretrained[n].ndim == 2
        ]
        if self.rule != "ties" or self.scope != "global" or not names:
            return None
        matrices = problem.groups(device=ctx.device, names=set(names))
        return trim_globally(matrices, self.density, lambda group: self._aligned(group, ctx)[1])

    def merge(self, group: TensorGroup, ctx: Context, state: Trimmed | None) -> Pausing[Tensor]:
        done = spectral.untreated(group, group.task_vectors, self.others)
        if done is not None:
            return done
        basis, coordinates = self._aligned(group, ctx)
        yield
        return basis @ self._merged(coordinates, group, ctx, state)

    def _aligned(self, group: TensorGroup, ctx: Context) -> tuple[Tensor, Tensor]:
        """Return U (m, R) and Z (T, R, n)."""
        vectors = group.task_vectors
        U, s, Vh = ctx.svd(torch.cat(tuple(vectors), 1))
        rank = max(1, int((s > self.floor).sum()))
        coordinates = (s[:rank, None] * Vh[:rank]).reshape(rank, len(vectors), -1)
        return U[:, :rank], coordinates.transpose(0, 1)

    def _merged(self, Z: Tensor, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        """Return the merged coordinates (R, n)."""
        if self.rule == "sum":
            return Z.sum(0)
        if self.rule == "dare":
            seeds = [ctx.generator("knots", task, group.name) for task in group.tasks]
            pairs = zip(Z, seeds, strict=True)
            Z = torch.stack([drop_and_rescale(z, 1 - self.drop, "inverse", seed) for z, seed in pairs])
        elif state is None:
            Z = trim(Z, kth_largest_magnitude(Z, max(1, int(self.density * Z[0].numel()))))
        else:
            Z = trim(Z, state.thresholds)
        return disjoint_merge(Z, state.elect_sign(Z) if state else elect_sign(Z), "mean")
