"""How long a merge and its scoring should take, before they run.

A run that was timed says how many passes of one input they were worth, and so how long they take at another pace. The
rows of a stored table were timed elsewhere, but each brings its own clock: where one plain model was scored, the
seconds per picture are that machine's pace at the time, whatever else it did. Other merges make more passes than they
count (experts' shares are multiplied beside a pass), up to a bound by their kind; only what is beyond that bound is
taken for a machine that was slower than the table's fastest row shows it to be.

    passes of a merge = its seconds / pace,     passes of an input = seconds per picture / pace
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..methods import method_class
from ..tensorwise import StoreMerge
from .recipe import Recipe
from .table import Row, recipe_of

LONGER = ("steps", "batch", "examples", "epochs")  # parameters that a course is proportional to
TABLE_BASE = "task_arithmetic"  # the merge that post-steps follow in the table


@dataclass(frozen=True)
class Timed:
    """A run that was timed, in passes of one input of one plain model: its merge, and scoring one input."""

    recipe: Recipe
    merge: float
    score: float

    @property
    def after(self) -> tuple[str, ...]:
        """Keys of the post-steps."""
        return tuple(key for key, _ in self.recipe.post)


def timed_rows(rows: Iterable[Row]) -> list[Timed]:
    """Return what the rows of a stored table tell, those that were not measured left out."""
    given = [row for row in rows if row["accuracy"] and row["seconds"]["score"]]
    slow = [row["seconds"]["score"] / sum(task["n"] for task in row["accuracy"].values()) for row in given]
    plain = [each for each, row in zip(slow, given, strict=True) if _most(row) == 1]
    fastest = min(plain or slow, default=0.0)
    found = []
    for each, row in zip(slow, given, strict=True):
        pace = max(fastest, each / _most(row))
        found.append(Timed(recipe_of(row), row["seconds"]["merge"] / pace, max(1.0, each / pace)))
    return found


def expected(recipe: Recipe, timed: Sequence[Timed]) -> Timed | None:
    """Return what a recipe should take, from the run most like it; None where its method was never timed.

    A merge is proportional to its experts and to the length of its course. A post-step that was not timed after it
    takes what it took after the table's own merge.
    """
    after = tuple(key for key, _ in recipe.post)
    alike = [one for one in timed if one.recipe.method == recipe.method]
    near = nearest(recipe, [one for one in alike if one.after == after] or [one for one in alike if not one.after])
    if near is None:
        return None
    share = len(recipe.experts) / len(near.recipe.experts)
    merge = near.merge * longer(dict(recipe.parameters), dict(near.recipe.parameters))
    merge += sum(_alone(key, timed) for key in after if not near.after)
    return Timed(recipe, share * merge, 1 + (near.score - 1) * share)


def nearest(recipe: Recipe, timed: Iterable[Timed]) -> Timed | None:
    """Return the run with the most parameters alike, the latest among equals."""
    wanted = {*recipe.parameters, *(pair for _, given in recipe.post for pair in given)}

    def alike(one: Timed) -> int:
        return len(wanted & {*one.recipe.parameters, *(pair for _, given in one.recipe.post for pair in given)})

    return max(reversed([*timed]), key=alike, default=None)


def longer(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> float:
    """Return how many times as long as a known course another one is."""
    pairs = ((wanted[name], known[name]) for name in LONGER if wanted.get(name) and known.get(name))
    return math.prod(one / other for one, other in pairs)


def _alone(key: str, timed: Sequence[Timed]) -> float:
    """Return the passes that a post-step was worth in the table."""
    of_base = [one for one in timed if one.recipe.method == TABLE_BASE]
    followed, bare = ([one.merge for one in of_base if one.after == after] for after in ((key,), ()))
    return max(0.0, min(followed) - min(bare)) if followed and bare else 0.0


def _most(row: Row) -> float:
    """Return the passes that an input of a merge makes at most: all experts beside it where it blends them."""
    cls = method_class(row["method"])
    if cls.kind != "routed":
        return 1.0
    return 2.0 if issubclass(cls, StoreMerge) else row["forwards"] + len(row["experts"])
