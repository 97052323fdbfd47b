"""MASS, adaptive subspace selection."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contract import Context, Kind, MergeMethod, Step
from ..hp import hp, like
from ..merged import Merged, PerTaskMerged
from ..problem import Problem
from ..routers.weight_projection import WeightProjection
from ..routing.subsets import Selection, SubsetMerged
from .tsv_c import TsvC


@dataclass(frozen=True)
class Mass(MergeMethod):
    """Select for every input the experts whose weights read it, and merge those by TSV-M for a second pass.

        r_t = ‖x − V_t V_tᵀ x‖ at one MLP of the TSV-M model,  p = softmax((mean(r) − r) / std(r))
        S(x) = {t : p_t > threshold}, at most three,  θ(x) = TSV-M of S(x),  the head in S(x) with the largest logit

    References
    ----------
    Crisostomi et al., MASS: MoErging through Adaptive Subspace Selection, arXiv:2504.05342.

    Notes
    -----
    No data. Every expert keeps ⌊r/T⌋ components, from which both passes are merged. The published code keeps merges by
    selected tasks with the coefficients first seen, and pads the logits of a wrong head to the true number of classes;
    here coefficients only select, merges are kept by set within a bound, and an answer of a wrong head is wrong.
    Logits of different heads are cosines times one scale; `head` can compare probabilities or coefficients instead.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "MASS"
    family: ClassVar[str] = "Routed"
    idea: ClassVar[str] = "Ask the weights which experts know an input, and merge only those, without any data."
    formula: ClassVar[str] = "S = {t : softmaxₜ((r̄ − rₜ)/std r) > .2}, rₜ = ‖x − VₜVₜᵀx‖,  θ(x) = TSV-M of S"
    paper: ClassVar[str] = "Crisostomi et al., MASS: MoErging through Adaptive Subspace Selection, arXiv:2504.05342"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"depth": 0.25}}
    lesson: ClassVar[str] = (
        "A quarter of the way up, inputs of all tasks still look alike: nearly all of them are sent to the same two "
        "tasks, and a wrong head is a wrong answer."
    )

    depth: float = like(WeightProjection, "depth")
    first: str = like(WeightProjection, "first")
    norm: str = like(WeightProjection, "norm")
    threshold: float = hp(0.2, "Coefficient that an expert must pass to be merged.", low=0, high=1, step=0.05)
    most: int = hp(3, "Experts that an input may select.", low=1, high=64, soft=(1, 8), step=1)
    temperature: float = hp(
        1.0, "Divides the standardised scores; below 1 fewer experts are selected.", low=0.01, high=100, soft=(0.1, 3),
        step=0.1,
    )  # fmt: skip
    head: str = hp(
        "logit", "Picks among the heads of the selected experts: the largest logit, probability, or coefficient.",
        choices=("logit", "confidence", "route"),
    )  # fmt: skip

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Merge the model of the first pass, then keep every expert's components, yielding Steps."""
        self.check(problem.tasks)
        router = yield from WeightProjection(self.depth, self.first, self.norm).fit_steps(problem, ctx)
        store = yield from TsvC().run(problem, ctx)
        assert isinstance(store, PerTaskMerged)
        selection = Selection(self.threshold, self.most, self.temperature)
        notes = (*self.remarks(problem.tasks), *ctx.notes)
        return SubsetMerged(store, router, notes=notes, select=selection, head=self.head)
