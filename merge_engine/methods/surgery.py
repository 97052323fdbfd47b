"""Representation surgery, an adapter of the merged features per task."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..adapting import adaptive
from ..adapting.adapt import Settings
from ..adapting.surgery import SurgeryMerged, pool_steps, surgery_steps
from ..contract import Context, Kind, MergeMethod, Step
from ..hp import hp
from ..merged import StaticMerged
from ..problem import Problem
from .adamerging import AdaMerging
from .average import Average
from .task_arithmetic import TaskArithmetic
from .ties import Ties

BASES: Mapping[str, type[MergeMethod]] = {
    "average": Average, "task_arithmetic": TaskArithmetic, "ties": Ties, "adamerging": AdaMerging,
}  # fmt: skip


@dataclass(frozen=True)
class Surgery(MergeMethod):
    """Correct the features of a merged encoder by a small network per task, fitted to the expert's features.

        z' = z − U_t ReLU(D_t z),  loss = Σ_t mean |z' − z_t|,  z_t of the expert of task t

    References
    ----------
    Yang, Shen, Wang, Guo, Chen, Wang, Tao, Representation Surgery for Multi-Task Model Merging, ICML 2024,
    arXiv:2402.02705.

    Notes
    -----
    A ceiling: it needs the task of every input. U starts from zero, so that the start is the merge itself. The
    encoder stays as it is, so its features and the experts' are computed once, for `examples` inputs of every task,
    and batches are drawn from those. FusionBench fits the adapters after layer-wise AdaMerging and takes 1000 steps
    for both, which `base` adamerging does here; the other merges stand at their published defaults.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "Representation surgery"
    family: ClassVar[str] = "Adaptive"
    idea: ClassVar[str] = (
        "Behind a merged encoder, take each task's features back towards those of its expert."
    )
    formula: ClassVar[str] = "z′ = z − Uₜ ReLU(Dₜ z)"
    where: ClassVar[str] = (
        "Dₜ has r rows; U and D follow S updates of Adam at rate η, each on B of M inputs of every task, which "
        "minimise |z′ − zₜ|, the distance to the expert's features"
    )
    paper: ClassVar[str] = "Yang et al., Representation Surgery, ICML 2024, arXiv:2402.02705"
    needs: ClassVar[frozenset[str]] = frozenset({"stream", "task id"})

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"examples": 4}}
    lesson: ClassVar[str] = (
        "Four pictures per task are learned by heart: the corrected features fit them and bend all others, and most "
        "tasks fall below the merge that was to be corrected."
    )

    base: str = hp(
        "task_arithmetic", "The merge whose features are corrected.", always=True,
        choices={key: f"z are the features of {cls.title} at its published default" for key, cls in BASES.items()},
    )  # fmt: skip
    rank: int = hp(16, "Inner width of an adapter.", low=1, high=4096, soft=(1, 64), step=1, symbol="r")
    steps: int = adaptive.steps(1000)
    batch: int = adaptive.batch(16)
    learning_rate: float = adaptive.learning_rate(1e-3)
    examples: int = hp(
        512, "Unlabelled inputs of every task to draw batches from.", low=1, high=100_000, soft=(16, 1024), symbol="M"
    )

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["Representation surgery needs the task of every input: a ceiling, not one merged model."]

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, SurgeryMerged]:
        """Merge, take features, then fit the adapters; yields a Step per tensor group, per task and per update."""
        self.check(problem.tasks)
        inputs = problem.need_inputs(self.title)
        changes: dict[str, Any] = {"steps": self.steps} if self.base == "adamerging" else {}
        base = yield from BASES[self.base](**changes).run(problem, ctx)  # type: ignore[attr-defined]
        assert isinstance(base, StaticMerged)
        pools = yield from pool_steps(problem, inputs, base, self.examples, ctx.device)
        settings = Settings(self.steps, self.batch, self.learning_rate)
        merged = yield from surgery_steps(inputs, base, pools, self.rank, settings, ctx)
        return dataclasses.replace(merged, notes=(*self.remarks(problem.tasks), *ctx.notes))
