"""AdaRank, masks over singular components learned by entropy minimisation."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..adapting import adaptive
from ..adapting.adapt import Settings
from ..adapting.coefficients import CONSTRAINTS, Coefficients, Masks
from ..adapting.components import Components
from ..contract import Context, Step
from ..hp import hp
from ..maths import spectral
from ..maths.svd import Factors
from ..merged import StaticMerged
from ..problem import Problem, TensorGroup
from ..running import drive

PUBLISHED = {
    "task_arithmetic": {8: (0.3, 1.0), 14: (0.3, 1.0), 20: (0.05, 1.0)},
    "cart": {8: (2.3, 0.16), 14: (2.8, 0.32), 20: (2.4, 0.32)},
    "tsv_m": {8: (1.0, 1.0)},
}
"""Coefficient, and share of the components that start on, by base and number of experts."""


@dataclass(frozen=True)
class AdaRank(adaptive.AdaptiveMerge):
    """Learn which singular components of every expert to add, and how much of them, by minimising entropy.

        W = W_base + Σ_t λ_t U_t diag(b_t s_t) V_tᵀ,  b = 1[m > 0],  ∂b/∂m := σ'(m/τ)/τ

    References
    ----------
    Lee, Choi, Lee, Kim, Hong, AdaRank: Adaptive Rank Pruning for Enhanced Model Merging, ICLR 2026,
    arXiv:2503.22178.

    Notes
    -----
    Block matrices have masks; every tensor has one λ per task, free in sign unless constrained. Task Arithmetic:
    W_base = θ_0, all components on. CART: W_base = θ_avg, components of θ_t − θ_avg, the leading ones on. TSV-M, for
    which no code is public: W_base = θ_0, the ⌊r/T⌋ leading components of every expert after orthogonalisation, all
    on, other tensors from their mean; nothing beyond them can come in. Published starts follow the number of experts,
    the nearest of 8, 14 and 20. ⌊ρ r⌋ components start on, which may be none where CART keeps one; ρ = 0 stands for
    1/T. Logits start at ±0.1, so a mask needs 0.1/η updates to flip; soft ones at 2 and 0, with σ(m/τ) in the forward
    pass. Published runs take 10,000 updates, fuse q, k, v and report the best of several test scores; this is the last
    step, and `History` keeps the others. The preset `cpu` starts from CART, takes 60 updates of 5e-3, in which a mask
    flips after 20, and learns those of the largest quarter; it was chosen without a search.
    """

    title: ClassVar[str] = "AdaRank"
    family: ClassVar[str] = "Adaptive"
    idea: ClassVar[str] = (
        "Switch singular components of every expert on and off, guided by unlabelled inputs."
    )
    formula: ClassVar[str] = "W = W_base + Σₜ λₜ Uₜ diag(bₜ sₜ) Vₜᵀ,  b ∈ {0, 1} and λ minimise the entropy"
    paper: ClassVar[str] = "Lee et al., AdaRank, ICLR 2026, arXiv:2503.22178"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {
            "base": "cart", "steps": 60, "batch": 8, "learning_rate": 5e-3, "mask_rate": 5e-3, "candidates": 0.25,
            "schedule": "cosine",
        },
        "failure": {
            "base": "cart", "steps": 60, "batch": 8, "learning_rate": 5e-3, "mask_rate": 1.5e-2, "candidates": 0.25,
            "schedule": "cosine",
        },
    }  # fmt: skip
    lesson: ClassVar[str] = (
        "With masks three times as fast, too many components flip: entropy falls lower than ever while accuracy "
        "collapses. Surer is not better; look at letters."
    )

    base: str = hp("task_arithmetic", "Merge to start from.", choices=("task_arithmetic", "cart", "tsv_m"))
    prior: float | str = hp(
        adaptive.AS_PUBLISHED, "Coefficient to start from; published for 8, 14, 20 experts: 0.3, 0.3, 0.05 on Task "
        "Arithmetic, 2.3, 2.8, 2.4 on CART, and 1 on TSV-M.",
        low=-10, high=10, soft=(0, 3), step=0.05, symbol="λ₀", word=adaptive.AS_PUBLISHED,
    )  # fmt: skip
    rank: float | str = hp(
        adaptive.AS_PUBLISHED, "Share of the components that start on, 0 for 1/T; published for 8, 14, 20 experts: "
        "0.16, 0.32, 0.32 on CART, else all.",
        low=0, high=1, step=0.01, symbol="ρ", word=adaptive.AS_PUBLISHED,
    )  # fmt: skip
    constraint: str = hp(
        "none", "Coefficients as they are, within [0, 1] or [−0.5, 2], or their softmax over the experts, for which "
        "the start counts nothing; published runs use none.", choices=CONSTRAINTS,
    )  # fmt: skip
    learn: str = hp("both", "What is learned.", choices=("both", "masks", "coefficients"))
    candidates: float = hp(
        1.0, "Share of the rank whose masks are learned, the largest components first; the others stay as they start.",
        low=0.01, high=1, step=0.01,
    )  # fmt: skip
    soft: bool = hp(False, "Masks between 0 and 1 instead of 0 or 1.")
    temperature: float = hp(
        10.0, "Temperature of the masks.", low=0.01, high=1000, soft=(0.1, 20), symbol="τ"
    )
    delay: int = hp(
        0, "Updates of the coefficients before masks may move.", low=0, high=100_000, soft=(0, 500)
    )
    steps: int = adaptive.steps(10_000)
    batch: int = adaptive.batch(16)
    learning_rate: float = adaptive.learning_rate(1e-3)
    mask_rate: float = hp(1e-3, "Learning rate of the masks.", low=0, high=1, soft=(1e-4, 1e-1), symbol="η_m")
    schedule: str = adaptive.schedule()
    balanced: bool = adaptive.balanced()
    share: float = adaptive.share()
    loss: str = adaptive.loss()
    attention: str = spectral.attention()

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return [*adaptive.of_few_on_cart(self.title, self.base, tasks), *super().remarks(tasks)]

    def settings(self) -> Settings:
        rates = self.steps, self.batch, self.learning_rate, self.schedule
        return Settings(*rates, self.balanced, self.share, self.loss == adaptive.ORACLE)

    def adaptable(self, problem: Problem, ctx: Context) -> Generator[Step, None, Coefficients]:
        groups, parts = problem.groups(fuse=self.attention == "fused", device=ctx.device), []
        for done, group in enumerate(groups, 1):
            if bool(group.task_vectors.any()):
                with torch.no_grad():
                    parts.append(self.parts(group, ctx))
            yield Step(done, len(groups), group.name)
        prior, _ = self.starts(len(problem.tasks))
        start = torch.full((len(problem.tasks), len(parts)), prior, device=ctx.device)
        given = {"soft": self.soft, "rate": self.mask_rate, "delay": self.delay}
        masks = Masks(parts, self.temperature, reach=self.settings().reach(self.delay), **given)
        masked = None if self.learn == "coefficients" else masks
        learned = self.learn != "masks"
        return Coefficients(problem, parts, start, constraint=self.constraint, learned=learned, masks=masked)

    def starts(self, experts: int) -> tuple[float, float]:
        """Return λ₀, and the share of the components that start on."""
        prior, rank = adaptive.published(PUBLISHED[self.base], experts)
        return adaptive.chosen(self.prior, prior), adaptive.chosen(self.rank, rank) or 1 / experts

    def parts(self, group: TensorGroup, ctx: Context) -> Components:
        """Return what a tensor may take from every expert."""
        vectors, offset = group.task_vectors, None
        if self.base == "cart":
            vectors, offset = spectral.centred(vectors)
        count = min(group.pretrained.shape, default=0) // (len(vectors) if self.base == "tsv_m" else 1)
        on = int(self.starts(len(vectors))[1] * count)
        learned = 0 if self.learn == "coefficients" else math.ceil(self.candidates * count)
        if not group.is_matrix or count == 0:
            return Components.whole(
                group, vectors / len(vectors) if self.base == "tsv_m" else vectors, offset
            )
        if self.base == "tsv_m":
            return Components.of(
                group, _orthogonal(vectors, count, ctx), count, on=on, learned=learned, soft=self.soft
            )
        if on == count and not learned:
            return Components.whole(group, vectors, offset)
        parts = [spectral.definite(ctx.svd(vector)) for vector in vectors]
        return Components.of(
            group, parts, count, on=on, learned=learned, soft=self.soft, offset=offset, total=vectors
        )

    def at(
        self, state: Mapping[str, np.ndarray], problem: Problem, ctx: Context | None = None
    ) -> StaticMerged:
        """Return the merge of a kept state of `History`, such as the best step's."""
        what = drive(self.adaptable(problem, ctx or Context()))
        what.load(state)
        return what.merged()


def _orthogonal(vectors: Tensor, count: int, ctx: Context) -> list[Factors]:
    """Return every expert's leading components, made orthogonal across experts as in TSV-M."""
    leading = [spectral.definite(ctx.svd(vector).top(count)) for vector in vectors]
    joint, _ = spectral.orthogonalised(leading)
    sizes = [len(part.s) for part in leading]
    pieces = zip(joint.U.split(sizes, 1), joint.s.split(sizes), joint.Vh.split(sizes), strict=True)
    return [Factors(*piece) for piece in pieces]
