"""How a merge is scored, in names and numbers and in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..contract import MergeMethod
from ..corruptions import KINDS, SEVERITIES
from ..errors import RecipeError, no_such
from ..suite import Suite

SPLITS = ("score", "validation", "adapt")
HALVES = ("adapt", "score")
SPLIT_WORDS = {
    "score": "the score half of the test split",
    "adapt": "the adapt half of the test split",
    "validation": "the validation split",
}
PROTOCOLS = {
    ("score", "adapt"): "Inductive: adapted to other pictures than it is scored on",
    ("score", "score"): "Transductive: adapted to the pictures it is scored on, without their labels",
    ("validation", "adapt"): "Inductive: adapted to other pictures than it is scored on",
    ("validation", "score"): "Inductive: adapted to other pictures than it is scored on",
    ("adapt", "adapt"): "Transductive: adapted to the pictures it is scored on, without their labels",
    ("adapt", "score"): "Inductive: adapted to other pictures than it is scored on",
}
NEED_WORDS = {
    "support": "unlabelled support pictures of every task",
    "stream": "unlabelled pictures of {half}",
    "train": "train pictures, each known to be of its task but without its class",
    "labels": "the labels of the pictures it adapts to",
    "validation labels": "labelled validation pictures",
    "task id": "the true task of every picture",
}
PURE = " It adapts to batches of one task each, under that task's own head."
ROUTED = " The merge picks head and classes of every picture itself: a wrong task is a wrong answer."
TOLD = " The true task picks head and classes of every picture, and what the merge keeps for one task alone."
GIVEN = " The true task picks head and classes of every picture; all else, biases too, is of the one merge."


@dataclass(frozen=True)
class Protocol:
    """How a merge is scored: the split, the most pictures per task, and the tasks (None: those of the experts).

    `half` of the test split is what an adaptive method sees without labels: "adapt" (inductive), or "score" itself
    (transductive). `watch` scores so many pictures per task now and then while it adapts; 0 does not. `corruption`,
    such as "jpeg:3", spoils the pictures that are scored and, unless `clean_stream`, those that are adapted to.
    """

    split: str = "score"
    limit: int | None = None
    tasks: tuple[str, ...] | None = None
    half: str = "adapt"
    watch: int = 0
    corruption: str = ""
    clean_stream: bool = False

    def __post_init__(self) -> None:
        if self.corruption:
            self.spoiled()
        if self.split not in SPLITS:
            raise RecipeError(no_such("split to score on", self.split, SPLITS))
        if self.limit is not None and self.limit < 1:
            raise RecipeError(f"limit must be at least 1 picture per task; got {self.limit}.")
        if self.half not in HALVES:
            raise RecipeError(no_such("half to adapt to", self.half, HALVES))

    def spoiled(self) -> tuple[str, int]:
        """Return kind and severity of the corruption; raises RecipeError when it is none."""
        kind, _, severity = self.corruption.partition(":")
        if kind not in KINDS or severity not in map(str, SEVERITIES):
            known = ", ".join(KINDS)
            raise RecipeError(
                f"A corruption is KIND:SEVERITY with KIND one of {known} and SEVERITY from 1 to 5; "
                f"got '{self.corruption[:80]}'."
            )
        return kind, int(severity)

    def suites(self, suite: Suite) -> tuple[Suite, Suite]:
        """Return the suite that is scored, and the suite that a method adapts to."""
        scored = suite.corrupted(*self.spoiled()) if self.corruption else suite
        return scored, suite if self.clean_stream else scored

    def sentence(
        self, pictures: Collection[int], steps: Sequence[MergeMethod], chosen: str, routed: bool = False
    ) -> str:
        """Return in words what was measured, on what, what the method was given, and who picks the head.

        `pictures` is how many were scored of every task; `routed` says that the merge sends every picture to an
        expert, whose head answers.
        """
        part = "all of " if self.limit is None else f"at most {self.limit} pictures per task of "
        needs = sorted({need for step in steps for need in step.needs})
        given = " and ".join(NEED_WORDS.get(need, need) for need in needs) or "the weights only"
        given = given.format(half=SPLIT_WORDS[self.half])
        learns = any("stream" in type(step).needs for step in steps)  # others may look at the stream, and no more
        adapted = f" {PROTOCOLS[self.split, self.half]}.{PURE if learns else ''}" if "stream" in needs else ""
        if self.corruption:
            kind, severity = self.spoiled()
            adapted += f" The scored pictures are corrupted by {kind.replace('_', ' ')} at severity {severity} of 5"
            seen = "clean" if self.clean_stream else "corrupted alike"
            adapted += f"; those adapted to are {seen}." if "stream" in needs else "."
        heads = ROUTED if routed else TOLD if "task id" in needs else GIVEN
        counted = f"{len(pictures)} tasks, {sum(pictures)} pictures"
        return (
            f"Top-1 accuracy in percent on {part}{SPLIT_WORDS[self.split]}: {counted}. "
            f"The method is given {given}.{adapted}{heads} Parameters: {chosen}."
        )
