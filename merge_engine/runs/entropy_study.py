"""When minimising entropy helps: methods that do it, at their cpu preset, at the published course, and with one thing
changed at a time.

Every case is scored beside the static merge that it starts from. A case is stored as soon as it is measured, so an
interrupted study goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
Value = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Variation:
    """Changes to the anchor: a short name, the change in words, and new values by parameter.

    A value is made from the anchor's parameters and the published ones.
    """

    name: str
    words: str
    changes: Mapping[str, Value] = field(default_factory=dict)

    def of(self, anchor: Recipe) -> Recipe:
        """Return the anchor's recipe with the changes made to what its method declares."""
        known = dict(anchor.parameters)
        published = {name: parameter.default for name, parameter in declared(method_class(anchor.method)).items()}
        made = {name: value(known, published) for name, value in self.changes.items() if name in known}
        return replace(anchor, parameters=known | made) if made else anchor


def _as_published(*names: str) -> dict[str, Value]:
    return {name: lambda _, published, name=name: published[name] for name in names}


def _times(name: str, factor: float) -> dict[str, Value]:
    return {name: lambda anchor, _: anchor[name] * factor}


LONGEST = 1000
"""Most updates of the published course: AdaRank's 10,000 are most of a day on two cores."""
VARIATIONS = (
    Variation(ANCHOR, "anchor, the cpu preset"),
    Variation(
        "published",
        "published, at most 1,000 steps",
        _as_published("batch", "learning_rate", "mask_rate", "candidates", "schedule")
        | {"steps": lambda _, published: min(published["steps"], LONGEST)},
    ),
    Variation("share", "a tenth of the pictures", {"share": lambda *_: 0.1}),
    Variation("H / ln C", "entropy over ln C", {"balanced": lambda *_: True}),
    Variation(ORACLE, "true labels (oracle)", {"loss": lambda *_: ORACLE}),
    Variation("rate ÷ 3", "learning rate a third", {"learning_rate": lambda anchor, _: anchor["learning_rate"] / 3}),
    Variation("rate × 3", "learning rate three times", _times("learning_rate", 3)),
    Variation("masks × 3", "mask rate three times", _times("mask_rate", 3)),
    Variation("mask delay", "masks wait a tenth of the run", {"delay": lambda anchor, _: -(-anchor["steps"] // 10)}),
    Variation("masks", "masks only", {"learn": lambda *_: "masks"}),
    Variation("coeffs", "coefficients only", {"learn": lambda *_: "coefficients"}),
)
"""A third of the mask rate, or a delay of a third of the run, is left out: at the preset's rates, which add up to less
than the 0.1 that masks start from, hardly any mask could flip, and the case would be `coefficients only` again."""


def variations(method: str) -> list[Variation]:
    """Return the variations of a method, the anchor first: those with a parameter that it declares."""
    known = declared(method_class(method))
    return [v for v in VARIATIONS if not v.changes or not known.keys().isdisjoint(v.changes)]


def entropy_steps(
    suite: Suite, limit: int | None = None, before: Iterable[Mapping[str, Any]] = ()
) -> Generator[Step, None, list[Row]]:
    """Measure every variation of every method and the static merges they start from, yielding Steps.

    `before` are rows of the same suite: what they hold is not measured again.

    Returns a row per case: accuracy by task in percent on the score half, inductive, points gained over the start, and
    the mean entropy of the predictions on the same pictures over ln C, [at the start, at the end].
    """
    store, rows = _Stored(suite, limit, before), []
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

    def __init__(self, suite: Suite, limit: int | None, before: Iterable[Mapping[str, Any]]) -> None:
        self.suite, self.limit = suite, limit
        content = suite_digest(suite, suite.experts, "score")
        self.file = cached_folder(suite.name) / f"entropy-{content[:16]}-{limit or 'all'}.json"
        known = {_key(row): _case(row) for row in before if row["pictures"] == limit}
        self.cases: dict[str, Case] = known | (read_json(self.file) or {})

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
        "parameters": {name: known[name] for name in variation.changes if name in known},
        "labels": variation.name != START and "labels" in recipe.build()[0].needs,
        "average": _mean(case["accuracy"] for case in ended.values()), "average_gain": _mean(gain.values()),
        "accuracy": {task: case["accuracy"] for task, case in ended.items()}, "gain": gain,
        "entropy": {task: [begun[task]["entropy"], ended[task]["entropy"]] for task in ended},
        "pictures": limit, "recipe": recipe.digest,
    }  # fmt: skip


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['recipe']}/{START}" if row["variation"] == START else row["recipe"]


def _case(row: Mapping[str, Any]) -> Case:
    return {
        task: {"accuracy": value, "entropy": row["entropy"][task][1]} for task, value in row["accuracy"].items()
    }


def _mean(values: Any) -> float:
    found = list(values)
    return round(sum(found) / len(found), 2)
