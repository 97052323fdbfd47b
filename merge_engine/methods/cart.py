"""CART, centred low-rank task arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..pausing import Pausing, decomposed
from ..problem import TensorGroup
from ..tensorwise import Slice, TensorMerge


@dataclass(frozen=True)
class Cart(TensorMerge):
    """Centre the experts at their average, keep each one's leading singular components and add them up.

        C_t = θ_t − θ_avg,  W = W_avg + λ Σ_t SVD_k(C_t),  k = max(1, ⌊ρ r⌋)

    References
    ----------
    Choi, Kim, Lee, Hong, Revisiting Weight Averaging for Model Merging, arXiv:2412.12153.

    Notes
    -----
    Only block matrices are truncated; every other tensor is averaged. All components, or none (ρ = 0), give the
    weight average for any λ, because Σ_t C_t = 0; so do two experts, whose centred matrices are opposite.
    Published for 8, 14 and 20 experts: λ 2, 1.5, 1.9 with ρ .12, .16, .32 on fused attention.
    """

    title: ClassVar[str] = "CART"
    family: ClassVar[str] = "Spectral"
    idea: ClassVar[str] = "Start from the weight average and add what sets every expert apart, at low rank."
    formula: ClassVar[str] = "θ = θ_avg + λ Σₜ SVDₖ(θₜ − θ_avg)"
    paper: ClassVar[str] = "Choi et al., Revisiting Weight Averaging for Model Merging, arXiv:2412.12153"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"rank": 1.0}}
    lesson: ClassVar[str] = (
        "With every singular component kept, the differences to the average add up to zero: whatever the scaling, "
        "this is the plain average."
    )

    scaling: float = hp(
        2.0, "Scaling coefficient of the low-rank parts.", low=-10, high=10, soft=(0, 4), step=0.05, symbol="λ",
        sweep=(1.0, 1.5, 2.0, 2.5, 3.0),
    )  # fmt: skip
    rank: float = hp(
        0.12, "Share of the rank (or, by energy, of the squared singular values) that every expert keeps.",
        low=0, high=1, step=0.01, symbol="ρ", sweep=(0.04, 0.08, 0.12, 0.16, 0.32, 0.5),
    )  # fmt: skip
    rank_rule: str = spectral.rank_rule()
    centre: str = hp(
        "average", "Centre at the average, or at the pretrained model (low-rank Task Arithmetic).",
        choices={
            "average": "experts are centred at their average",
            "pretrained": "θ₀ takes the place of θ_avg: low-rank Task Arithmetic",
        },
    )  # fmt: skip
    attention: str = spectral.attention()

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        if len(tasks) > 2 or self.centre != "average":
            return []
        what = "the weight average" if len(tasks) == 2 else "that expert"
        words = {1: "one expert", 2: "two experts"}[len(tasks)]
        return [f"CART of {words} equals {what} at every rank and scaling; choose at least three."]

    def decomposes(self) -> str:
        return "centred" if self.centre == "average" else "experts"

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Pausing[Slice]:
        vectors, mean = group.task_vectors, None
        if self.centre == "average":
            vectors, mean = spectral.centred(vectors)
        if group.is_matrix:
            found = yield from decomposed(ctx.svd, vectors)
            kept = spectral.joined([spectral.leading(factors, self.rank, self.rank_rule) for factors in found])
            return Slice(kept.matrix(), mean)
        return Slice(vectors.sum(0) if mean is None else torch.zeros_like(mean), mean)
