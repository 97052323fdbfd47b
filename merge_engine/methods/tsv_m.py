"""TSV-M, merging of task singular vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..maths.ops import per_expert
from ..maths.svd import Factors
from ..pausing import Pausing, decomposed
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class TsvM(TensorMerge):
    """Keep the leading singular vectors of every task matrix and orthogonalise them across tasks.

        D_t = U_t diag(s_t) V_tᵀ,  k = ⌊r/T⌋
        W = W_0 + α polar([U_1k … U_Tk]) diag([s_1k … s_Tk]) polar([V_1k … V_Tk])ᵀ

    References
    ----------
    Gargiulo, Crisostomi, Bucarelli, Scardapane, Silvestri, Rodolà, Task Singular Vectors: Reducing Task
    Interference in Model Merging, CVPR 2025, arXiv:2412.00081.

    Notes
    -----
    Where experts share directions exactly, the polar factor is not unique; this one is the partial isometry, so
    T identical experts give that expert's leading components. Components of relative size below 1e-6 are left out.
    With more experts than r the matrix is averaged. The official code fuses q, k and v and treats every 2-D
    tensor (`attention="fused"`, `embeddings="spectral"`); `weights` scales task vectors before the decomposition.
    """

    title: ClassVar[str] = "TSV-M"
    family: ClassVar[str] = "Spectral"
    idea: ClassVar[str] = (
        "Give every task an equal share of the rank and make the tasks' directions orthogonal."
    )
    formula: ClassVar[str] = (
        "W = W₀ + α polar([U₁ₖ … U_Tₖ]) diag([s₁ₖ … s_Tₖ]) polar([V₁ₖ … V_Tₖ])ᵀ\nk = ⌊r/T⌋"
    )
    where: ClassVar[str] = "the task vector of an expert counts αₜ times, or once"
    paper: ClassVar[str] = "Gargiulo et al., Task Singular Vectors, CVPR 2025, arXiv:2412.00081"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 4.0}}
    lesson: ClassVar[str] = (
        "Orthogonal directions do not cancel each other, so their sum grows with every task; four times as "
        "long, it overshoots."
    )

    scaling: float = hp(
        1.0, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 3), step=0.05,
        symbol="α", sweep=(0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0),
    )  # fmt: skip
    weights: tuple[float, ...] = hp((), "Weight of every task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
                                    symbol="αₜ", per_expert=True)  # fmt: skip
    attention: str = spectral.attention()
    others: str = spectral.other_tensors()
    embeddings: str = spectral.embeddings()

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["With two experts TSV-M keeps half of the rank of each."] if len(tasks) == 2 else []

    def decomposes(self) -> str:
        return "experts"

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Pausing[Tensor]:
        vectors = group.task_vectors
        weights = per_expert(self.weights, vectors)
        done = spectral.untreated(group, weights * vectors, self.others, self.embeddings)
        if done is not None:
            return done
        k = min(group.pretrained.shape) // len(vectors)
        if k == 0:
            return (weights * vectors).mean(0)
        found = yield from decomposed(ctx.svd, vectors)
        leading = [factors.top(k) for factors in found]
        scaled = [Factors(f.U, w * f.s, f.Vh) for f, w in zip(leading, weights.flatten(), strict=True)]
        factors, deficient = spectral.orthogonalised([spectral.definite(f) for f in scaled])
        if deficient:
            ctx.note(
                "Some experts share singular directions exactly, so TSV-M's orthogonal factors are not unique "
                "there; shared directions are counted once (partial isometry)."
            )
        return factors.matrix()
