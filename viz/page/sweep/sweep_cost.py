"""What a sweep will cost before it runs: merges, scorings and seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from merge_engine.methods import method_class
from merge_engine.runs.grid import Values
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import adapts, own_tasks
from merge_engine.runs.sweep import Stored, Sweep
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
    merging = _merging(bench, sweep, todo)
    tasks, limit = own_tasks(suite, sweep.recipe), sweep.pictures
    sizes = [len(suite.indices(task, sweep.split)) for task in tasks]
    pictures = sum(sizes if limit is None else (min(size, limit) for size in sizes))
    parts = [bench.costs.seconds(recipe).merge for recipe in merging]
    parts += [second for values in todo for second in _point(bench, sweep.at(values), pictures)]
    known = [second for second in parts if second is not None]
    after = " and ".join(method_class(key).title for key, _ in sweep.recipe.post)
    return Cost(
        len(visits), len(visits) - len(todo), len(merging), pictures,
        sum(known) if len(known) == len(parts) else None, adapts(sweep.recipe), after,
    )  # fmt: skip


def cost_line(cost: Cost) -> str:
    """Return the line above the buttons."""
    return f'<p class="mp-cost mp-sweep-cost"><span>{escape(cost.words())}</span></p>'


def _merging(bench: Workbench, sweep: Sweep, todo: Sequence[Values]) -> list[Recipe]:
    """Return the merges of experts on the way that are not kept, without post-steps."""
    found, last = [], None
    for values in todo:
        recipe = dataclasses.replace(sweep.at(values), post=())
        if direction(recipe) != last:
            last = direction(recipe)
            found += [] if bench.merged(recipe) is not None else [recipe]
    return found


def _point(bench: Workbench, recipe: Recipe, pictures: int) -> tuple[float | None, float | None]:
    """Return the seconds of the post-steps and of the scoring of one point, whose experts are merged already."""
    whole = bench.costs.seconds(recipe, pictures=pictures)
    bare = bench.costs.seconds(dataclasses.replace(recipe, post=())).merge if recipe.post else whole.merge
    return 0.0 if whole.merge is None or bare is None else max(0.0, whole.merge - bare), whole.score


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
