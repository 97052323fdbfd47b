"""TSV-C, compressed experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..contract import Context
from ..hp import hp
from ..maths.parts import DensePart, LowRankPart, Part
from ..maths.svd import Factors
from ..pausing import Pausing, decomposed
from ..problem import TensorGroup
from ..tensorwise import StoreMerge


@dataclass(frozen=True)
class TsvC(StoreMerge):
    """Keep the leading singular components of every expert, and serve the expert of the known task.

        D_t = U_t diag(s_t) V_tᵀ,  k = ⌊r/T⌋,  W(t) = W_0 + U_tk diag(s_tk) V_tkᵀ

    References
    ----------
    Gargiulo, Crisostomi, Bucarelli, Scardapane, Silvestri, Rodolà, Task Singular Vectors: Reducing Task
    Interference in Model Merging, CVPR 2025, arXiv:2412.00081.

    Notes
    -----
    A ceiling: it needs the task of every input, or a router. About 2.5 times one model, whatever T is. Tensors that
    are not matrices, and matrices with less rank than experts, are kept whole for every task.
    """

    title: ClassVar[str] = "TSV-C"
    family: ClassVar[str] = "Masks (task known)"
    idea: ClassVar[str] = (
        "Store every expert as a few singular components and serve the one of the known task."
    )
    formula: ClassVar[str] = "W(t) = W₀ + Uₜₖ diag(sₜₖ) Vₜₖᵀ\nk = ⌊r/T⌋"
    paper: ClassVar[str] = "Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081"
    lesson: ClassVar[str] = (
        "It has no number to get wrong. It fails with the task: on the bundled pictures it loses eight points where "
        "SiM's router has to find the task that TSV-C is told here."
    )

    embeddings: str = hp(
        "dense", "Matrices outside the blocks, such as position embeddings: kept whole, or spectral as the official "
        "code does with every 2-D tensor.", always=True,
        choices={
            "dense": "matrices outside the blocks are kept whole; the official code cuts their rank too",
            "spectral": "matrices outside the blocks are cut to rank k too, as in the official code",
        },
    )  # fmt: skip

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["TSV-C needs the task of every input, or a router: a ceiling, not one merged model."]

    def decomposes(self) -> str:
        return "experts"

    def part(self, group: TensorGroup, ctx: Context, state: Any) -> Pausing[Part]:
        vectors = group.task_vectors
        k = min(group.pretrained.shape, default=0) // len(vectors)
        outside = self.embeddings == "spectral" and group.pretrained.ndim == 2
        if k == 0 or not (group.is_matrix or outside):
            return DensePart(vectors)
        found = yield from decomposed(ctx.svd, vectors)
        return LowRankPart(tuple(_copied(factors.top(k)) for factors in found))


def _copied(factors: Factors) -> Factors:
    """Let go of the components that are not kept."""
    return Factors(*(part.clone() for part in factors))
