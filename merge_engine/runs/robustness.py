"""Accuracy on corrupted pictures: seven corruptions at five severities, for some lines of the results table.

A method that adapts is measured twice: adapted to clean pictures and scored on corrupted ones, and adapted to pictures
corrupted like those it is scored on. A case is stored as soon as it is measured, so an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contract import Context, Step
from ..corruptions import KINDS, SEVERITIES
from ..merged import Merged
from ..running import merge_steps
from ..suite import Suite
from .baselines import Baselines
from .content import suite_digest
from .protocol import Protocol
from .recipe import Recipe
from .results import cached_folder, read_json, write_json
from .run import adapts, own_tasks, problem_of, scoring
from .table import by_line, recipe_of, shown_row

PICTURES = 50
LINES = (
    "average", "task_arithmetic", "tsv_m", "iso_c", "cart", "regmean_pp", "sim", "mass", "smile", "twin_merging",
    "surgery", "adamerging", "adarank", "we_moe", "e_we_moe", "rankone_moe",
)  # fmt: skip
CLEAN, ALIKE = ADAPTED = ("clean", "alike")
PRETRAINED, EXPERTS = "pretrained", "experts"
FIXED = {PRETRAINED: "pretrained model", EXPERTS: "experts, each on its own task"}
SEEN = {"": "", CLEAN: "adapted to clean pictures", ALIKE: "adapted to pictures corrupted alike"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A line of the study: a recipe (None: the pretrained model, or every task's expert), and what it adapts to."""

    name: str
    title: str
    recipe: Recipe | None = None
    seen: str = ""


def cases(
    suite: Suite,
    rows: Sequence[Mapping[str, Any]],
    names: Collection[str] | None = None,
    adapted: Sequence[str] = ADAPTED,
) -> list[Case]:
    """Return the pretrained model, the experts, and lines of a results table at the setting it shows first.

    With `names` only those lines. A line that adapts comes once for every kind of pictures in `adapted`.
    """
    found = [Case(*words) for words in FIXED.items()] if names is None else []
    measured = by_line(rows)
    for name in (n for n in LINES if n in measured and (names is None or n in names)):
        row = shown_row(measured[name])
        recipe = recipe_of(row)
        seen = adapted if adapts(recipe) else ("",)
        found += [Case(name, row["title"], recipe, s) for s in seen]
    return found


def robustness_steps(
    suite: Suite,
    lines: Sequence[Case],
    severities: Sequence[int] = SEVERITIES,
    limit: int = PICTURES,
    corruptions: Sequence[str] = tuple(KINDS),
) -> Generator[Step, None, list[Row]]:
    """Score every case clean and under every corruption, yielding Steps.

    Returns a row per case and corruption: mean accuracy over the experts' tasks and accuracy by task, in percent.
    """
    store = _Stored(suite, limit)
    spoiled = [(CLEAN, 0), *((kind, severity) for kind in corruptions for severity in severities)]
    total, rows = len(lines) * len(spoiled), []
    for line in lines:
        kept: Merged | None = None
        for kind, severity in spoiled:
            again = line.seen == ALIKE and kind != CLEAN
            seen = ALIKE if again else CLEAN
            key = "/".join((line.recipe.digest if line.recipe else line.name, seen, f"{kind}:{severity}"))
            if key not in store.accuracy:
                scored = suite if kind == CLEAN else suite.corrupted(kind, severity)
                if kept is None or again:
                    kept = yield from _made(scored if again else suite, line)
                store.keep(key, (yield from _accuracy(scored, line, kept, limit)))
            rows.append(_row(line, kind, severity, limit, store.accuracy[key]))
            yield Step(len(rows), total, f"{line.title}, {kind} {severity or ''}", {"average %": rows[-1]["average"]})
    return rows


def joined(rows: Sequence[Row], there: Sequence[Row]) -> list[Row]:
    """Return the rows and, from those stored before, other lines, severities and pictures to adapt to.

    Stored rows are kept where the number of pictures, and the recipe of a line that is measured, are those of the new.
    """
    recipes, new = {row["name"]: row["recipe"] for row in rows}, {_key(row) for row in rows}
    pictures = {row["pictures"] for row in rows}
    kept = [r for r in there if _key(r) not in new and {r["pictures"]} == pictures]
    names, seen, kinds = [*FIXED, *LINES], list(SEEN.values()), [CLEAN, *KINDS]
    kept = [r for r in kept if r["name"] in names and recipes.get(r["name"], r["recipe"]) == r["recipe"]]
    places = {"name": names.index, "seen": seen.index, "kind": kinds.index, "severity": int}
    return sorted([*rows, *kept], key=lambda row: [place(row[name]) for name, place in places.items()])


def comparable(rows: Sequence[Row]) -> list[tuple[tuple[int, ...], list[Row]]]:
    """Return rows that can be compared, with their severities: the cases measured at most severities come first.

    Cases at fewer follow, if there are any, beside those of the same methods at the same severities.
    """
    degrees: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        degrees.setdefault((row["name"], row["seen"]), set()).update({row["severity"]} - {0})
    most = max(degrees.values(), key=len)
    few = {case: found for case, found in degrees.items() if found != most}
    whole = [(tuple(sorted(most)), [row for row in rows if (row["name"], row["seen"]) not in few])]
    if not few:
        return whole
    names, fewer = {name for name, _ in few}, set().union(*few.values())
    beside = [row for row in rows if row["name"] in names and row["severity"] in {0, *fewer}]
    return [*whole, (tuple(sorted(fewer)), beside)]


def summary(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """Return by case the accuracy on clean pictures, by corruption (mean over severities), and their mean, "all"."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault((row["title"], row["seen"]), {}).setdefault(row["kind"], []).append(row["average"])
    means = {case: {kind: sum(v) / len(v) for kind, v in kinds.items()} for case, kinds in found.items()}
    for kinds in means.values():
        spoiled = [value for kind, value in kinds.items() if kind != CLEAN]
        if spoiled:
            kinds["all"] = sum(spoiled) / len(spoiled)
    return means


def _key(row: Row) -> tuple[Any, ...]:
    return row["name"], row["seen"], row["kind"], row["severity"]


class _Stored:
    """Accuracies by task of the cases measured so far, in the user's cache."""

    def __init__(self, suite: Suite, limit: int) -> None:
        content = suite_digest(suite, suite.experts, "score")
        self.file = cached_folder(suite.name) / f"robustness-{content[:16]}-{limit}.json"
        self.accuracy: dict[str, dict[str, float]] = read_json(self.file) or {}

    def keep(self, key: str, accuracy: dict[str, float]) -> None:
        self.accuracy[key] = accuracy
        write_json(self.file, self.accuracy, quiet=True)


def _made(suite: Suite, line: Case) -> Generator[Step, None, Merged | None]:
    """Merge a line, adapting to the pictures of the given suite; None where nothing is merged."""
    if line.recipe is None:
        return None
    (method, post), ctx = line.recipe.build(), Context(suite.device, line.recipe.seed)
    return (yield from merge_steps(problem_of(suite, line.recipe), method, post, ctx))


def _accuracy(
    suite: Suite, line: Case, merged: Merged | None, limit: int
) -> Generator[Step, None, dict[str, float]]:
    if merged is None or line.recipe is None:
        models = {suite.task_of[expert]: expert for expert in suite.experts}
        pairs = {task: (None if line.name == PRETRAINED else models[task], task) for task in models}
        fixed = yield from Baselines(suite).steps(pairs.values(), limit)
        accuracy = {task: fixed[pair].accuracy(limit) for task, pair in pairs.items()}
    else:
        scores = yield from scoring(suite, merged, own_tasks(suite, line.recipe), Protocol(limit=limit))
        accuracy = {task: score.accuracy for task, score in scores.items()}
    return {task: round(value, 2) for task, value in accuracy.items()}


def _row(line: Case, kind: str, severity: int, limit: int, accuracy: Mapping[str, float]) -> Row:
    return {
        "name": line.name, "title": line.title, "seen": SEEN[line.seen], "kind": kind, "severity": severity,
        "pictures": limit, "average": round(sum(accuracy.values()) / len(accuracy), 2), "accuracy": dict(accuracy),
        "recipe": line.recipe.digest if line.recipe else "",
    }  # fmt: skip
