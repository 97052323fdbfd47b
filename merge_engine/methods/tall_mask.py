"""TALL-masks: one merged task vector and a bit mask per task."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..contract import Context, Step
from ..hp import declared, hp
from ..maths.ops import Numbers, per_expert, task_masks
from ..maths.parts import MaskedPart
from ..maths.selection import Trimmed, merged_task_vector, summed, trim_globally
from ..merged import PerTaskMerged
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import StoreMerge
from ..weights import in_memory

VALIDATION, BATCH = 100, 64
State = tuple[Trimmed | None, Numbers]
"""Trimmed task vectors where the Ties sum is masked, and the threshold of every expert."""


@dataclass(frozen=True)
class TallMask(StoreMerge):
    """Keep one merged task vector and, for each task, a mask of the entries that serve it.

        τ_M = Σ_t τ_t  (or the disjoint Ties sum)
        m_t = 1[|τ_t| > λ_t |τ_M − τ_t|],   θ for task t = θ_0 + m_t τ_M

    References
    ----------
    Wang, Dimitriadis, Ortiz-Jimenez, Fleuret, Frossard, Localizing Task Information for Improved Model Merging
    and Compression, ICML 2024, arXiv:2405.07813.

    Notes
    -----
    A ceiling, not one merged model: it needs the task of every input, or a router. The authors choose λ_t in
    0.2 ... 0.6 for each task on validation, as `rule=validation` does, on at most 100 labelled inputs of every task;
    among equals the given threshold comes first. There is no scaling coefficient. Storage: θ_0, τ_M and one bit per
    parameter and task. FusionBench 0.2.33 compares weights with task vectors here and is not followed.
    """

    title: ClassVar[str] = "TALL-masks"
    family: ClassVar[str] = "Masks (task known)"
    idea: ClassVar[str] = "Store one sum, and per task one bit per weight that says whether to use it."
    formula: ClassVar[str] = "θ⁽ᵗ⁾ = θ₀ + mₜ τ_M\nmₜ = 1[|τₜ| > λₜ |τ_M − τₜ|]"
    where: ClassVar[str] = "λₜ is λ unless every expert has its own"
    paper: ClassVar[str] = "Wang et al., Localizing Task Information, ICML 2024, arXiv:2405.07813"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"threshold": 3.0}}
    lesson: ClassVar[str] = (
        "Masks this strict keep few entries of an expert; even with the task known, much of what it learned "
        "is left out."
    )

    threshold: float = hp(
        0.4, "How large an expert's own change must be beside the rest of the sum.", low=0, soft=(0, 1), step=0.05,
        symbol="λ", sweep=(0.2, 0.3, 0.4, 0.5, 0.6),
    )  # fmt: skip
    thresholds: tuple[float, ...] = hp(
        (), "Threshold of each expert; none given means the common one.", low=0, soft=(0, 1), step=0.05,
        symbol="λₜ", per_expert=True, when=("rule", ("given",)),
    )  # fmt: skip
    rule: str = hp(
        "given", "Thresholds as given, or the best of 0.2 to 0.6 for every task by its accuracy on validation inputs.",
        choices={
            "given": "thresholds are as given; the authors choose one per task on validation",
            "validation": "every task takes the threshold that is best on validation, of 0.2 to 0.6 and the given one",
        },
        always=True,
    )  # fmt: skip
    base: str = merged_task_vector("The merged task vector that is masked.")
    density: float = hp(
        0.2, "Share of entries that the Ties base keeps.", low=0.001, high=1, soft=(0.01, 1), step=0.01, symbol="d"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule == "validation":
            object.__setattr__(self, "needs", type(self).needs | {"validation labels"})

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["TALL-masks need the task of every input, or a router: a ceiling, not one merged model."]

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, State]:
        trimmed = None
        if self.base == "ties":
            trimmed = yield from trim_globally(groups, self.density, lambda group: group.task_vectors)
        given = self.thresholds or (self.threshold,) * len(problem.tasks)
        if self.rule == "given":
            return trimmed, given
        tried = dict.fromkeys((self.threshold, *declared(type(self))["threshold"].sweep))
        best, accuracy = list(given), [-1.0] * len(problem.tasks)
        for value in tried:
            found = yield from self._accuracy(groups, problem, ctx, (trimmed, (value,) * len(problem.tasks)))
            for t, share in enumerate(found):
                if share > accuracy[t]:
                    best[t], accuracy[t] = value, share
        chosen = ", ".join(f"{task} {value:g}" for task, value in zip(problem.tasks, best, strict=True))
        ctx.note(f"λ chosen on validation: {chosen}.")
        return trimmed, tuple(best)

    def part(self, group: TensorGroup, ctx: Context, state: State) -> MaskedPart:
        trimmed, thresholds = state
        merged, vectors = summed(group, trimmed), group.task_vectors
        masks = task_masks(vectors, merged, per_expert(thresholds, vectors))
        return MaskedPart.of(merged, masks, (1.0,) * len(vectors))

    def _accuracy(
        self, groups: Groups, problem: Problem, ctx: Context, state: State
    ) -> Generator[Step, None, list[float]]:
        """Return the accuracy of every task's own masks on its validation inputs."""
        inputs, label, parts, found = problem.need_inputs(self.title), f"λ = {state[1][0]:g} on validation", {}, []
        for group in groups:
            parts[group.name] = self.part(group, ctx, state)
            yield Step(0, len(problem.tasks), label)
        served = PerTaskMerged(problem.pretrained, problem.tasks, parts)
        for done, task in enumerate(problem.tasks, 1):
            pictures, labels = inputs.labelled_validation(task, VALIDATION)
            weights = in_memory(served.weights(task), ctx.device)
            with torch.no_grad():
                guesses = [inputs.logits(task, inputs.features(weights, x)).argmax(1) for x in pictures.split(BATCH)]
            found.append(float((torch.cat(guesses).cpu() == labels).double().mean()))
            yield Step(done, len(problem.tasks), f"{label}: {task}")
        return found
