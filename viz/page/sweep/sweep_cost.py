"""What a sweep will cost before it runs: merges, scorings and seconds, as far as something like it was timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from merge_engine.methods import method_class
from merge_engine.runs.grid import Values
from merge_engine.runs.publish import table_folder
from merge_engine.runs.results import read_json
from merge_engine.runs.run import adapts, own_tasks
from merge_engine.runs.sweep import Stored, Sweep
from merge_engine.runs.table import by_line
from merge_engine.runs.tuning import direction
from merge_engine.suite import Suite

from ..headline import duration
from ..workbench import Workbench


@dataclass(frozen=True)
class Cost:
    """A sweep's points, those that are known already, the merges of experts still to do, and pictures per scoring.

    `seconds` are None before anything like it was timed; `adapting` says that every merge adapts again.
    """

    points: int
    known: int
    merges: int
    pictures: int
    seconds: float | None = None
    adapting: bool = False
    after: str = ""

    @property
    def scorings(self) -> int:
        return self.points - self.known

    def words(self) -> str:
        """Return the cost in a sentence or two."""
        if not self.scorings:
            return f"All {self.points} points are known already; nothing is computed."
        what = f"{_count(self.merges, 'merge')} and {_count(self.scorings, 'scoring')} of {self.pictures:,} pictures"
        known = f" ({self.known} of {self.points} points are known already)" if self.known else ""
        takes = "not timed yet" if self.seconds is None else f"about {duration(self.seconds)}"
        return f"{what}{known}: {takes}.{self._remarks()}"

    def _remarks(self) -> str:
        again = " Every point adapts again, which is what takes long." if self.adapting and self.merges > 1 else ""
        return again + (f" {self.after} runs again at every point." if self.after else "")


def cost_of(bench: Workbench, suite: Suite, sweep: Sweep, store: Stored) -> Cost:
    """Return what is left to do of a sweep, and how long it should take."""
    visits = sweep.visits()
    todo = [values for values in visits if store.get(sweep, values) is None]
    merges = _merges(bench, sweep, todo)
    tasks, limit = own_tasks(suite, sweep.recipe), sweep.pictures
    sizes = [len(suite.indices(task, sweep.split)) for task in tasks]
    pictures = sum(sizes if limit is None else (min(size, limit) for size in sizes))
    merge, score = _rates(bench, suite, sweep, store, todo)
    known = score is not None and (merge is not None or not merges)
    seconds = (merge or 0.0) * merges + (score or 0.0) * pictures * len(todo) if known else None
    after = " and ".join(method_class(key).title for key, _ in sweep.recipe.post)
    return Cost(len(visits), len(visits) - len(todo), merges, pictures, seconds, adapts(sweep.recipe), after)


def cost_line(cost: Cost) -> str:
    """Return the line above the buttons."""
    return f'<p class="mp-cost mp-sweep-cost"><span>{escape(cost.words())}</span></p>'


def _merges(bench: Workbench, sweep: Sweep, todo: Sequence[Values]) -> int:
    """Return how often experts are merged on the way, but for merges that are kept."""
    found, last = 0, None
    for values in todo:
        recipe = dataclasses.replace(sweep.at(values), post=())
        if direction(recipe) != last:
            last = direction(recipe)
            found += bench.merged(recipe) is None
    return found


def _rates(
    bench: Workbench, suite: Suite, sweep: Sweep, store: Stored, todo: Sequence[Values]
) -> tuple[float | None, float | None]:
    """Return seconds per merge and per picture scored: of this process, of stored points, else of the results table."""
    alike = [entry for entry in store.known.values() if entry["method"] == sweep.recipe.method]
    merge = bench.estimate(dataclasses.replace(sweep.at(todo[0]), post=())) if todo else None
    took = [entry["seconds"]["merge"] for entry in alike]
    merge = merge or median([seconds for seconds in took if seconds >= max(took) / 4] or [0.0]) or None
    scored = [(entry["seconds"]["score"], sum(n for _, n, _ in entry["scores"].values())) for entry in alike]
    run = bench.record.known(sweep.recipe)
    if run is not None and run.score_seconds:
        scored.append((run.score_seconds, sum(score.n for score in run.scores.values())))
    score = median([seconds / n for seconds, n in scored if n]) if scored else None
    if merge is None or score is None:
        table = _timed(suite, sweep)
        merge, score = merge if merge is not None else table[0], score if score is not None else table[1]
    return merge, score


def _timed(suite: Suite, sweep: Sweep) -> tuple[float | None, float | None]:
    """Return seconds per merge and per picture of the method's row in the results table."""
    rows = (read_json(table_folder(suite) / "table.json") or {}).get("rows", [])
    row = next(iter(by_line(rows).get(sweep.recipe.method, {}).values()), None)
    pictures = sum(task["n"] for task in row["accuracy"].values()) if row else 0
    return (row["seconds"]["merge"], row["seconds"]["score"] / pictures) if row and pictures else (None, None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
