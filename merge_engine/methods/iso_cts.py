"""Iso-CTS, isotropic merging in common and task-specific subspaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..maths.svd import Factors, decompose
from ..pausing import Pausing, decomposed
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class IsoCts(TensorMerge):
    """Replace the weakest directions of the summed task matrices by directions of single tasks, then flatten.

        c_0 = ⌊fraction · r⌋,  k = round((r − c_0)/T),  c = r − T k
        U_c, s_c, V_c: the c leading triples of Σ_t D_t;  U_tk, s_tk, V_tk: the k leading ones of (I − U_c U_cᵀ) D_t
        W = W_0 + α s̄ polar([U_1k … U_Tk U_c]) polar([V_1k … V_Tk V_c])ᵀ

    References
    ----------
    Marczak, Magistri, Cygert, Twardowski, Bagdanov, van de Weijer, No Task Left Behind: Isotropic Model Merging
    with Common and Task-Specific Subspaces, ICML 2025, arXiv:2502.04959.

    Notes
    -----
    s̄ is the mean of all r chosen singular values, and halves are rounded to even. With k = 0 (many experts, a small
    matrix, or fraction 1) it is Iso-C. As in TSV-M, arbitrary directions are left out and shared ones count once.
    """

    title: ClassVar[str] = "Iso-CTS"
    family: ClassVar[str] = "Spectral"
    idea: ClassVar[str] = "Share most of the rank, give the rest to single tasks, and flatten the spectrum."
    formula: ClassVar[str] = (
        "W = W₀ + α s̄ polar([U₁ₖ … U_Tₖ U_c]) polar([V₁ₖ … V_Tₖ V_c])ᵀ\nk = round((r − ⌊f r⌋)/T),  c = r − T k"
    )
    where: ClassVar[str] = "U_c are leading directions of the sum, U_tₖ those of task t in what they leave"
    paper: ClassVar[str] = "Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 6.0}}
    lesson: ClassVar[str] = (
        "Every direction has the same length, so too long a step goes wrong in all of them at once; "
        "icons and emoji lose most."
    )

    scaling: float = hp(
        1.0, "Scaling coefficient of the merged task vector; FusionBench's table uses 1.5.", low=-10, high=10,
        soft=(0, 4), step=0.05, symbol="α", sweep=(0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0),
    )  # fmt: skip
    fraction: float = hp(
        0.8, "Share of the rank that is common to all tasks.", low=0, high=1, step=0.05, symbol="f"
    )
    attention: str = spectral.attention()
    others: str = spectral.other_tensors()
    embeddings: str = spectral.embeddings()

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        alone = "Iso-CTS flattens the spectrum of a single expert too, so it does not return that expert."
        return [alone] if len(tasks) == 1 else []

    def decomposes(self) -> str:
        return "sum"

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Pausing[Tensor]:
        vectors = group.task_vectors
        done = spectral.untreated(group, vectors, self.others, self.embeddings)
        if done is not None:
            return done
        (total,) = yield from decomposed(ctx.svd, [vectors.sum(0)])
        rank, count = len(total.s), len(vectors)
        own = min(round((rank - int(self.fraction * rank)) / count), rank // count)
        chosen = total.top(rank - count * own)
        common = spectral.definite(chosen, float(total.s[0]))
        left = yield from decomposed(lambda vector: residual(vector, total, len(common.s)), vectors if own else [])
        parts = [factors.top(own) for factors in left]
        level = torch.cat([part.s for part in (*parts, chosen)]).mean()
        sizes = [float(vector.norm()) for vector in vectors]
        kept = [spectral.definite(part, size) for part, size in zip(parts, sizes, strict=False)]
        (U, _, Vh), _ = spectral.orthogonalised([*kept, common])
        return level * (U @ Vh)


def residual(matrix: Tensor, total: Factors, common: int) -> Factors:
    """Return the SVD of (I − U_c U_cᵀ) D, U_c the leading left vectors of the total.

    Where the total's left vectors span the whole space, the projector is the rest of them, and the SVD is small.
    """
    if total.U.shape[0] == total.U.shape[1]:
        rest = total.U[:, common:]
        U, s, Vh = decompose(rest.T @ matrix)
        return Factors(rest @ U, s, Vh)
    leading = total.U[:, :common]
    return decompose(matrix - leading @ (leading.T @ matrix))
