"""AdaMerging, coefficients learned by entropy minimisation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..adapting import adaptive
from ..adapting.adapt import Settings
from ..adapting.coefficients import Coefficients
from ..adapting.components import Components
from ..contract import Context, Step
from ..hp import hp, like
from ..maths import spectral
from ..maths.ops import agreeing
from ..maths.selection import trim_globally
from ..problem import Groups, Problem, TensorGroup
from .cart import Cart

PUBLISHED = {"task_arithmetic": {8: 0.3}, "ties": {8: 0.3}, "cart": {8: 2.0, 14: 1.5, 20: 1.9}}
"""Coefficient to start from, by base and number of experts."""
RANKS = {8: 0.12, 14: 0.16, 20: 0.32}
"""Share of the rank that CART keeps, by number of experts."""


@dataclass(frozen=True)
class AdaMerging(adaptive.AdaptiveMerge):
    """Learn one coefficient per task, or per task and tensor, by minimising entropy on unlabelled inputs.

        θ(λ) = θ_base + Σ_t λ_t,n δ_t,n,  loss = Σ_t mean H(softmax(head_t(f(x; θ(λ)))))

    References
    ----------
    Yang, Wang, Shen, Liu, Guo, Wang, Tao, AdaMerging: Adaptive Model Merging for Multi-Task Learning, ICLR 2024,
    arXiv:2310.02575.

    Notes
    -----
    Every task's batch is scored with the task's own frozen head; the result is one static model. The last step is
    what is returned. δ are the task vectors; with base `ties` (AdaMerging++) those entries of the trimmed ones that
    have the elected sign, not summed; with base `cart` (Choi et al., arXiv:2412.12153) θ_base is the average and δ
    are the centred experts, block matrices truncated to the share `rank`; of two experts they cancel, and the start is
    the average. The published code clamps coefficients to [0, 1], FusionBench does not; on CART they are always free,
    since they start at 2. What is published of CART follows the number of experts, the nearest of 8, 14 and 20, and
    was found with q, k and v fused, where a matrix has a third of the components. The preset `cpu` was chosen without
    a search.
    """

    title: ClassVar[str] = "AdaMerging"
    family: ClassVar[str] = "Adaptive"
    idea: ClassVar[str] = "Learn how much of every expert to add, tensor by tensor, from unlabelled inputs."
    formula: ClassVar[str] = "θ = θ₀ + Σₜ λₜₙ τₜₙ,  λ minimises the entropy of predictions"
    paper: ClassVar[str] = "Yang et al., AdaMerging, ICLR 2024, arXiv:2310.02575"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {"steps": 60, "batch": 8, "learning_rate": 5e-3},
        "failure": {"steps": 40, "batch": 8, "learning_rate": 0.1},
    }
    lesson: ClassVar[str] = (
        "With steps this long a few tasks take over: digits are solved, and emoji fall far below the pretrained model."
    )

    base: str = hp(
        "task_arithmetic", "Task vectors as they are, trimmed and sign-filtered as in Ties (AdaMerging++), or of CART.",
        choices=("task_arithmetic", "ties", "cart"),
    )  # fmt: skip
    prior: float | str = hp(
        adaptive.AS_PUBLISHED, "Coefficient to start from; published: 0.3; on CART 2, 1.5, 1.9 for 8, 14, 20 experts.",
        low=-10, high=10, soft=(0, 3), step=0.05, symbol="λ₀", word=adaptive.AS_PUBLISHED,
    )  # fmt: skip
    density: float = hp(
        0.2, "Share of entries that Ties keeps.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="d"
    )
    rank: float | str = hp(
        adaptive.AS_PUBLISHED, "Share of the rank (or, by energy, of the squared singular values) that CART keeps; "
        "published: 0.12, 0.16, 0.32 for 8, 14, 20 experts.",
        low=0, high=1, step=0.01, symbol="ρ", word=adaptive.AS_PUBLISHED,
    )  # fmt: skip
    rank_rule: str = like(Cart, "rank_rule")
    unit: str = hp("tensor", "One coefficient per task and tensor, or per task.", choices=("tensor", "task"))
    clamp: bool = hp(True, "Keep coefficients within [0, 1], but not those of CART.")
    steps: int = adaptive.steps(500)
    batch: int = adaptive.batch(16)
    learning_rate: float = adaptive.learning_rate(1e-3)
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
        of = yield from self._source(groups, ctx)
        for done, group in enumerate(groups, 1):
            if bool(group.task_vectors.any()):
                parts.append(of(group))
            yield Step(done, len(groups), group.name)
        count = len(parts) if self.unit == "tensor" else 1
        prior = adaptive.chosen(self.prior, adaptive.published(PUBLISHED[self.base], len(problem.tasks)))
        start = torch.full((len(problem.tasks), count), prior, device=ctx.device)
        clamped = self.clamp and self.base != "cart"
        return Coefficients(problem, parts, start, constraint="unit" if clamped else "none")

    def _source(
        self, groups: Groups, ctx: Context
    ) -> Generator[Step, None, Callable[[TensorGroup], Components]]:
        """Return what makes the task vectors of a group."""
        if self.base == "ties":
            trimmed = yield from trim_globally(groups, self.density, lambda group: group.task_vectors)
            return lambda group: Components.whole(
                group, agreeing(kept := trimmed.of(group), trimmed.elect_sign(kept))
            )
        if self.base == "cart":
            return lambda group: self._centred(group, ctx)
        return lambda group: Components.whole(group, group.task_vectors)

    def _centred(self, group: TensorGroup, ctx: Context) -> Components:
        vectors, mean = spectral.centred(group.task_vectors)
        if group.is_matrix:
            rank = adaptive.chosen(self.rank, adaptive.published(RANKS, len(vectors)))
            kept = [spectral.leading(ctx.svd(v), rank, self.rank_rule) for v in vectors]
            vectors = torch.stack([factors.matrix() for factors in kept])
        return Components.whole(group, vectors, mean)
