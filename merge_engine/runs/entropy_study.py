"""When minimising entropy helps: methods that do it, with one thing changed at a time around their cpu preset.

Every case is scored beside the static merge that it starts from. A case is stored as soon as it is measured, so an
interrupted study goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..adapting.adaptive import ORACLE, AdaptiveMerge
from ..contract import Context, Step
from ..hp import declared
from ..merged import Merged
from ..methods import method_class
from ..running import merge_steps
from ..suite import Suite
from .content import suite_digest
from .protocol import Protocol
from .recipe import Recipe
from .results import cached_folder, read_json, write_json
from .run import own_tasks, problem_of, scoring
from .table import CPU, entries

METHODS = ("adamerging", "adarank")
START, ANCHOR = "start", "anchor"
START_WORDS = "static start, nothing adapted"
Row = dict[str, Any]
Case = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Variation:
    """One change to the anchor: a short name, the change in words, the parameter, and its value from the anchor's."""

    name: str
    words: str
    parameter: str = ""
    value: Callable[[Mapping[str, Any]], Any] = lambda anchor: None

    def of(self, anchor: Recipe) -> Recipe:
        """Return the anchor's recipe with the change made."""
        known = dict(anchor.parameters)
        return replace(anchor, parameters=known | {self.parameter: self.value(known)}) if self.parameter else anchor


VARIATIONS = (
    Variation(ANCHOR, "anchor, the cpu preset"),
    Variation("share", "a tenth of the pictures", "share", lambda _: 0.1),
    Variation("H / ln C", "entropy over ln C", "balanced", lambda _: True),
    Variation(ORACLE, "true labels (oracle)", "loss", lambda _: ORACLE),
    Variation("rate ÷ 3", "learning rate a third", "learning_rate", lambda anchor: anchor["learning_rate"] / 3),
    Variation("rate × 3", "learning rate three times", "learning_rate", lambda anchor: anchor["learning_rate"] * 3),
    Variation("masks × 3", "mask rate three times", "mask_rate", lambda anchor: anchor["mask_rate"] * 3),
    Variation("mask delay", "masks wait a tenth of the run", "delay", lambda anchor: -(-anchor["steps"] // 10)),
    Variation("masks", "masks only", "learn", lambda _: "masks"),
    Variation("coeffs", "coefficients only", "learn", lambda _: "coefficients"),
)
"""A third of the mask rate, or a delay of a third of the run, is left out: at the preset's rates, which add up to less
than the 0.1 that masks start from, hardly any mask could flip, and the case would be `coefficients only` again."""


def variations(method: str) -> list[Variation]:
    """Return the variations of a method: those of parameters that it declares, the anchor first."""
    known = declared(method_class(method))
    return [v for v in VARIATIONS if not v.parameter or v.parameter in known]


def entropy_steps(suite: Suite, limit: int | None = None) -> Generator[Step, None, list[Row]]:
    """Measure every variation of every method and the static merges they start from, yielding Steps.

    Returns a row per case: accuracy by task in percent on the score half, inductive, points gained over the start, and
    the mean entropy of the predictions on the same pictures over ln C, [at the start, at the end].
    """
    store, rows = _Stored(suite, limit), []
    lines = entries(METHODS)
    total = sum(1 + len(variations(line.method)) for line in lines)
    for line in lines:
        anchor = line.recipe(suite, CPU)
        begun = yield from store.case(f"{anchor.digest}/{START}", anchor, _started)
        rows.append(_row(anchor, line.about(), Variation(START, START_WORDS), begun, begun, limit))
        yield Step(len(rows), total, f"{rows[-1]['title']}, {START_WORDS}", {"average %": rows[-1]["average"]})
        for variation in variations(line.method):
            recipe = variation.of(anchor)
            ended = yield from store.case(recipe.digest, recipe, _adapted)
            rows.append(_row(recipe, line.about(), variation, begun, ended, limit))
            yield Step(len(rows), total, f"{rows[-1]['title']}, {variation.words}", {"average %": rows[-1]["average"]})
    return rows


class _Stored:
    """Accuracy and entropy over ln C by task of the cases measured so far, in the user's cache."""

    def __init__(self, suite: Suite, limit: int | None) -> None:
        self.suite, self.limit = suite, limit
        content = suite_digest(suite, suite.experts, "score")
        self.file = cached_folder(suite.name) / f"entropy-{content[:16]}-{limit or 'all'}.json"
        self.cases: dict[str, Case] = read_json(self.file) or {}

    def case(
        self, key: str, recipe: Recipe, made: Callable[[Suite, Recipe], Generator[Step, None, Merged]]
    ) -> Generator[Step, None, Case]:
        """Return a stored case, or merge and score it."""
        if key not in self.cases:
            merged = yield from made(self.suite, recipe)
            tasks = own_tasks(self.suite, recipe)
            scores = yield from scoring(self.suite, merged, tasks, Protocol(limit=self.limit))
            self.cases[key] = {
                task: {"accuracy": round(s.accuracy, 2), "entropy": round(s.entropy / self._largest(task), 4)}
                for task, s in scores.items()
            }
            write_json(self.file, self.cases, quiet=True)
        return self.cases[key]

    def _largest(self, task: str) -> float:
        """Return ln C, the largest possible entropy of a task."""
        return math.log(max(2, len(self.suite.task(task).classes)))


def _started(suite: Suite, recipe: Recipe) -> Generator[Step, None, Merged]:
    """Return the merge before the first update."""
    method, _ = recipe.build()
    assert isinstance(method, AdaptiveMerge)
    what = yield from method.adaptable(problem_of(suite, recipe), Context(suite.device, recipe.seed))
    return what.merged()


def _adapted(suite: Suite, recipe: Recipe) -> Generator[Step, None, Merged]:
    """Return the merge after the last update."""
    method, post = recipe.build()
    return (yield from merge_steps(problem_of(suite, recipe), method, post, Context(suite.device, recipe.seed)))


def _row(
    recipe: Recipe, about: Mapping[str, Any], variation: Variation, begun: Case, ended: Case, limit: int | None
) -> Row:
    gain = {task: round(ended[task]["accuracy"] - begun[task]["accuracy"], 2) for task in ended}
    known = dict(recipe.parameters)
    return {
        "method": recipe.method, "title": about["title"], "variation": variation.name, "changed": variation.words,
        "parameters": {variation.parameter: known[variation.parameter]} if variation.parameter else {},
        "labels": variation.name != START and "labels" in recipe.build()[0].needs,
        "average": _mean(case["accuracy"] for case in ended.values()), "average_gain": _mean(gain.values()),
        "accuracy": {task: case["accuracy"] for task, case in ended.items()}, "gain": gain,
        "entropy": {task: [begun[task]["entropy"], ended[task]["entropy"]] for task in ended},
        "pictures": limit, "recipe": recipe.digest,
    }  # fmt: skip


def _mean(values: Any) -> float:
    found = list(values)
    return round(sum(found) / len(found), 2)
