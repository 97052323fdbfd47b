"""How much a merge depends on chance: the order of pictures, the start of what is trained, the entries dropped.

A run is stored as soon as it is measured, so an interrupted study goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..contract import Step
from ..suite import Suite
from .content import suite_digest
from .protocol import Protocol
from .recipe import Recipe
from .results import cached_folder, read_json, write_json
from .run import adapts, run_steps
from .table import by_line, entries
from .variants import anchor_of

SEEDS = 3
DRAW = ("twin_merging", "dare", "della")  # the other methods whose result depends on the seed
Row = dict[str, Any]


def seed_steps(
    suite: Suite,
    rows: Sequence[Mapping[str, Any]] = (),
    names: Collection[str] | None = None,
    seeds: int = SEEDS,
    limit: int | None = None,
) -> Generator[Step, None, list[Row]]:
    """Run every method that depends on chance with `seeds` seeds, yielding Steps; seed 0 is a table's row if it can.

    With `names` only those methods. They run at the setting of the table, else at their cpu preset, or as published
    where they have none.

    Returns a row per method: mean accuracy over the experts' tasks and accuracy by task, in percent, by seed.
    """
    content = suite_digest(suite, suite.experts, "score")
    file = cached_folder(suite.name) / f"seeds-{content[:16]}-{limit or 'all'}.json"
    stored: dict[str, dict[str, float]] = read_json(file) or {}
    measured, found = by_line(rows), []
    lines = [e for e in entries() if not e.post and (e.method in DRAW or adapts(e.recipe(suite)))]
    lines = [e for e in lines if names is None or e.name in names]
    for line in lines:
        anchor, known = anchor_of(suite, line, measured.get(line.name))
        runs = []
        for seed in range(seeds):
            recipe = replace(anchor, seed=seed)
            if known is not None and known.recipe == recipe.digest and limit is None:
                runs.append({task: known.accuracy[task].merged for task in suite.task_of.values()})
                continue
            if recipe.digest not in stored:
                stored[recipe.digest] = yield from _measured(suite, recipe, limit)
                write_json(file, stored, quiet=True)
            runs.append(stored[recipe.digest])
            yield Step(len(found) + 1, len(lines), f"{line.name} with seed {seed}")
        found.append(_row(line.about(), runs))
    return found


def joined(new: Sequence[Row], before: Sequence[Row]) -> list[Row]:
    """Return new rows in the place of earlier ones of their methods, and the earlier ones of others."""
    return list({row["name"]: row for row in (*before, *new)}.values())


def _measured(suite: Suite, recipe: Recipe, limit: int | None) -> Generator[Step, None, dict[str, float]]:
    run = yield from run_steps(suite, recipe, Protocol(limit=limit))
    return {task: accuracy.merged for task, accuracy in run.result.accuracy.items()}


def _row(about: Mapping[str, Any], runs: Sequence[Mapping[str, float]]) -> Row:
    return {
        "name": about["name"],
        "title": about["title"],
        "seeds": list(range(len(runs))),
        "average": [round(sum(run.values()) / len(run), 2) for run in runs],
        "accuracy": {task: [round(run[task], 2) for run in runs] for task in runs[0]},
    }
