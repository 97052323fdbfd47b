"""Iso-C, isotropic merging in the common subspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class IsoC(TensorMerge):
    """Sum the task matrices and make all singular values of the sum equal to their mean.

        Σ_t D_t = U diag(s) Vᵀ,  W = W_0 + α mean(s) U Vᵀ

    References
    ----------
    Marczak, Magistri, Cygert, Twardowski, Bagdanov, van de Weijer, No Task Left Behind: Isotropic Model Merging
    with Common and Task-Specific Subspaces, ICML 2025, arXiv:2502.04959.

    Notes
    -----
    The mean is over all r = min(m, n) singular values; directions below 1e-6 of the largest are left out of U Vᵀ
    because they are arbitrary. One expert is not returned unchanged: its spectrum is flattened too. α = 1 in the
    code, 1.5 in the documentation of FusionBench; the best one depends on T.
    """

    title: ClassVar[str] = "Iso-C"
    family: ClassVar[str] = "Spectral"
    idea: ClassVar[str] = "Add the task matrices and flatten the spectrum, so that no direction dominates."
    formula: ClassVar[str] = "W = W₀ + α mean(s) U Vᵀ\nΣₜ Dₜ = U diag(s) Vᵀ"
    paper: ClassVar[str] = "Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 6.0}}
    lesson: ClassVar[str] = (
        "A flat spectrum makes even the weakest directions as strong as the others; scaled up, they drown "
        "the network."
    )

    scaling: float = hp(
        1.0, "Scaling coefficient of the merged task vector; FusionBench's table uses 1.5.", low=-10, high=10,
        soft=(0, 4), step=0.05, symbol="α", sweep=(0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0),
    )  # fmt: skip
    attention: str = spectral.attention()
    others: str = spectral.other_tensors()
    embeddings: str = spectral.embeddings()

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        alone = "Iso-C flattens the spectrum of a single expert too, so it does not return that expert."
        return [alone] if len(tasks) == 1 else []

    def decomposes(self) -> str:
        return "sum"

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        vectors = group.task_vectors
        done = spectral.untreated(group, vectors, self.others, self.embeddings)
        if done is not None:
            return done
        total = ctx.svd(vectors.sum(0))
        U, _, Vh = spectral.definite(total)
        return total.s.mean() * (U @ Vh)
