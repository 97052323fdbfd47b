"""Sweeps: what one or two hyper-parameters do to the accuracy, point by point, on validation pictures by default.

The merge is shared wherever it can be: another scaling coefficient, or another post-step, merges no expert again. A
point is stored as soon as it is scored, so that a sweep which was stopped goes on, and a second one is instant.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..contract import Step
from ..errors import MergeError, RecipeError, no_such
from ..evaluate import Score, score_steps
from ..paired import paired
from ..suite import Suite
from . import grid
from .baselines import Baseline, Baselines
from .content import suite_digest
from .grid import Axis, Values
from .pace import Pace, kinds
from .protocol import Protocol
from .recipe import Recipe
from .results import cached_folder, read_json, shipped_folder, write_json
from .run import expert_of, own_tasks, scored_tasks, warm
from .tuning import Merges, direction, scales

FOLDER = "sweeps"
PICTURES = 50
POINTS = 200  # in one sweep
SPLITS = ("validation", "score")
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class Sweep:
    """One or two axes through a recipe, scored on `pictures` of every expert's task; raises RecipeError otherwise.

    A setting may be chosen on the validation split. The score half is to look at only: `best` is None there.
    """

    recipe: Recipe
    axes: tuple[Axis, ...]
    split: str = SPLITS[0]
    pictures: int | None = PICTURES

    def __post_init__(self) -> None:
        if not 1 <= len(self.axes) <= 2 or len({axis.word for axis in self.axes}) < len(self.axes):
            raise RecipeError("A sweep is over one hyper-parameter or over two different ones.")
        if self.split not in SPLITS:
            raise RecipeError(no_such("split to sweep on", self.split, SPLITS))
        if math.prod(len(axis.values) for axis in self.axes) > POINTS:
            raise RecipeError(f"A sweep has at most {POINTS} points; give fewer values.")
        Protocol(limit=self.pictures)

    @classmethod
    def of(cls, recipe: Recipe, over: Sequence[str], split: str = SPLITS[0], pictures: int | None = PICTURES) -> Sweep:
        """Return the sweep over axes given as texts; see `grid`."""
        count = grid.CURVE if len(over) < 2 else grid.PLANE
        return cls(recipe, tuple(grid.axis_of(recipe, text, count) for text in over), split, pictures)

    @property
    def chooses(self) -> bool:
        """True where the best point may be taken as the setting to use."""
        return self.split == SPLITS[0]

    @property
    def cheap(self) -> dict[str, bool]:
        """By axis: whether moving along it merges no expert again."""
        rescaled = scales(self.recipe)
        return {axis.word: axis.position > 0 or (rescaled and axis.hp.name == "scaling") for axis in self.axes}

    def visits(self) -> list[Values]:
        """Return the values of all points in the order in which they are scored."""
        return grid.visits(self.axes, self.cheap)

    def at(self, values: Values) -> Recipe:
        """Return the recipe of a point."""
        return grid.at(self.recipe, self.axes, values)

    def place_of(self, recipe: Recipe) -> Values | None:
        """Return the values at which the axes pass through a recipe, swept or not; None where they do not."""
        steps = ((one.method, *(key for key, _ in one.post)) for one in (recipe, self.recipe))
        if len(set(steps)) > 1:
            return None
        found = (axis.value_in(recipe) for axis in self.axes)
        values = tuple(value for value in found if not isinstance(value, str))
        return values if len(values) == len(self.axes) and self.at(values).digest == recipe.digest else None

    def words(self, values: Values) -> str:
        """Return some values beside the names of the axes."""
        return ", ".join(f"{axis.word} {value:g}" for axis, value in zip(self.axes, values, strict=True))

    @property
    def key(self) -> str:
        """Return a word that differs for every other sweep, whatever the swept numbers are at in the recipe."""
        axes = [(axis.word, axis.values) for axis in self.axes]
        anywhere = self.at(tuple(axis.values[0] for axis in self.axes))
        text = json.dumps([anywhere.digest, axes, self.split, self.pictures])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Point:
    """What a sweep found at some values; `alone` is the accuracy of each task's expert on the same pictures, in %.

    `lost` is the share, in %, of what that expert alone gets right and the merge gets wrong. `fault` says why there is
    no score; `seconds` holds what merging (with post-steps) and scoring took.
    """

    values: Values
    scores: Mapping[str, Score] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    lost: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""

    @property
    def average(self) -> float:
        """Mean accuracy over the experts' tasks, in percent."""
        return _mean([score.accuracy for score in self.scores.values()])

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of the average, 95 %, in percent."""
        return mean_interval(self.scores.values())

    @property
    def normalised(self) -> float:
        """Mean over tasks of merged over expert accuracy, in percent."""
        ratios = (s.accuracy / self.alone[t] if self.alone[t] else math.nan for t, s in self.scores.items())
        return 100 * _mean(list(ratios))

    @property
    def interference(self) -> float:
        """Mean over tasks of what the expert alone gets right and the merge gets wrong, in percent of the former."""
        return _mean(list(self.lost.values()))


@dataclass(frozen=True)
class SweepStep(Step):
    """One moment of a sweep: the points so far, and the seconds that are left, where that can be told."""

    points: tuple[Point, ...] = ()
    left: float | None = None


class Stored:
    """The points scored on a sweep's pictures in some arithmetic: in the user's cache, else as shipped."""

    def __init__(self, suite: Suite, sweep: Sweep, dtype: torch.dtype) -> None:
        content = suite_digest(suite, sweep.recipe.experts, sweep.split)
        arithmetic = str(dtype).removeprefix("torch.")
        name = f"sweep-{content[:16]}-{sweep.split}-{sweep.pictures or 'all'}-{arithmetic}.json"
        self.file: Path = cached_folder(suite.name) / name
        self.known: dict[str, Any] = read_json(self.file) or {}
        self.shipped: dict[str, Any] = read_json(shipped_folder(suite.name) / FOLDER / name) or {}

    def get(self, sweep: Sweep, values: Values) -> Point | None:
        """Return a point of a sweep if it was scored before."""
        entry = self.entry(sweep, values)
        if entry is None:
            return None
        counts = entry["scores"].items()
        scores = {task: Score(task, right, n, total, math.nan, math.nan) for task, (right, n, total) in counts}
        return Point(values, scores, entry["alone"], entry["lost"], entry["seconds"])

    def entry(self, sweep: Sweep, values: Values) -> dict[str, Any] | None:
        """Return a point of a sweep as it is stored."""
        digest = sweep.at(values).digest
        entries = (known.get(digest) for known in (self.known, self.shipped))
        return next((entry for entry in entries if entry is not None and "lost" in entry), None)

    def keep(self, recipe: Recipe, point: Point) -> None:
        """Keep a point, beside what others stored meanwhile."""
        counts = {task: [score.correct, score.n, score.total] for task, score in point.scores.items()}
        kept = {name: dict(getattr(point, name)) for name in ("alone", "lost", "seconds")}
        entry = {"method": recipe.method, "scores": counts, **kept}
        self.known = {**(read_json(self.file) or {}), recipe.digest: entry}
        write_json(self.file, self.known, quiet=True)

    def points(self, sweep: Sweep) -> list[Point]:
        """Return the points of a sweep that are stored."""
        return [point for values in sweep.visits() if (point := self.get(sweep, values)) is not None]


def sweep_steps(
    sweep: Sweep, merges: Merges, dtype: torch.dtype = torch.float32
) -> Generator[SweepStep, None, list[Point]]:
    """Merge and score the points of a sweep, coarse ones first, yielding SweepSteps; stored points come at once.

    A point that cannot be merged keeps the sentence that says why, and the sweep goes on.
    """
    work = _Work(sweep, merges, Stored(merges.suite, sweep, dtype), dtype)
    return (yield from work.steps())


def best(points: Iterable[Point]) -> Point | None:
    """Return the point with the best average; the first one scored wins a draw."""
    return max((p for p in points if p.scores), key=lambda point: point.average, default=None)


def mean_interval(scores: Iterable[Score]) -> tuple[float, float]:
    """Return the 95 % interval of the mean accuracy over tasks, in percent, from the tasks' Wilson intervals.

        mean − √(Σ_t (p_t − l_t)²) / T  to  mean + √(Σ_t (u_t − p_t)²) / T

    References
    ----------
    Newcombe, Statistics in Medicine 1998 (square and add); Zou and Donner, Statistics in Medicine 2008.
    """
    known = [(score.accuracy, *score.interval) for score in scores]
    if not known:
        return math.nan, math.nan
    mean = _mean([p for p, _, _ in known])
    below = math.sqrt(sum((p - low) ** 2 for p, low, _ in known)) / len(known)
    above = math.sqrt(sum((high - p) ** 2 for p, _, high in known)) / len(known)
    return mean - below, mean + above


@dataclass
class _Work:
    """One sweep under way."""

    sweep: Sweep
    merges: Merges
    store: Stored
    dtype: torch.dtype
    points: list[Point] = field(default_factory=list)
    alone: Mapping[str, Baseline] = field(default_factory=dict)
    total: int = 0
    pace: Pace = field(default_factory=lambda: Pace(()))

    def steps(self) -> Generator[SweepStep, None, list[Point]]:
        visits, suite = self.sweep.visits(), self.merges.suite
        self.points = self.store.points(self.sweep)
        stored = {point.values: point for point in self.points}
        todo = [values for values in visits if values not in stored]
        self.total, self.pace = len(visits), Pace(self._directions(todo))
        for values, kind in zip(visits, kinds(self._directions(visits)), strict=True):
            if values in stored:
                self.pace.know(kind, stored[values].seconds)
        yield self._moment("" if self.points else "preparing the pictures")
        if todo:
            warm(suite, own_tasks(suite, self.sweep.recipe), self.sweep.split)
            self.alone = yield from self._alone()
        for values in todo:
            self.points.append((yield from self._point(values)))
            yield self._moment(self.sweep.words(values))
        return self.points

    def _directions(self, visits: Sequence[Values]) -> list[Any]:
        return [direction(self.sweep.at(values)) for values in visits]

    def _alone(self) -> Generator[SweepStep, None, dict[str, Baseline]]:
        """Return what every task's expert gets right of the pictures of the sweep."""
        sweep, suite = self.sweep, self.merges.suite
        pairs = [(expert_of(suite, sweep.recipe, task), task) for task in own_tasks(suite, sweep.recipe)]
        steps = Baselines(suite, sweep.split).steps(pairs, sweep.pictures)
        found = yield from self._followed(steps, "scoring the experts, for comparison")
        return {pair[1]: baseline for pair, baseline in found.items()}

    def _point(self, values: Values) -> Generator[SweepStep, None, Point]:
        recipe, words = self.sweep.at(values), self.sweep.words(values)
        try:
            self.pace.begin("merge")
            merged, _ = yield from self._followed(self.merges.steps(recipe), f"{words}: merging")
            self.pace.begin("score")
            tasks = scored_tasks(self.merges.suite, recipe, merged, Protocol(limit=self.sweep.pictures))
            steps = self._scoring(merged, tasks)
            scores = yield from self._followed(steps, f"{words}: scoring")
        except MergeError as error:
            self.pace.end()
            return Point(values, fault=str(error))
        alone = {task: self.alone[task].accuracy(self.sweep.pictures) for task in scores}
        point = Point(values, scores, alone, {t: self._lost(score) for t, score in scores.items()}, self.pace.end())
        self.store.keep(recipe, point)
        return point

    def _lost(self, score: Score) -> float:
        """Return the share, in percent, of what the task's expert gets right alone and the merge gets wrong."""
        assert score.said is not None, "a score made here knows what was said"
        both = paired(self.alone[score.task].right[: score.n], score.said.right(self.sweep.recipe.experts))
        return 100 * both.first / max(1, both.both + both.first)

    def _scoring(self, merged: Any, tasks: Sequence[str]) -> Generator[Step, None, dict[str, Score]]:
        suite, split, limit = self.merges.suite, self.sweep.split, self.sweep.pictures
        sizes = (len(suite.indices(task, split)) for task in tasks)
        total = sum(size if limit is None else min(size, limit) for size in sizes)
        steps = score_steps(suite, merged, tasks, split=split, first=total, limit=limit, dtype=self.dtype)
        while True:
            try:
                scores = next(steps)
            except StopIteration as end:
                return end.value
            yield Step(sum(score.n for score in scores.values()), total, "scoring")

    def _followed(
        self, steps: Generator[Step, None, Returned], words: str
    ) -> Generator[SweepStep, None, Returned]:
        """Pass steps on as moments of the sweep."""
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            share = step.done / max(1, step.total)
            self.pace.step(share)
            yield self._moment(f"{words}, {share:.0%}")

    def _moment(self, label: str) -> SweepStep:
        top = best(self.points)
        live = {"best average %": top.average} if top is not None and self.sweep.chooses else {}
        return SweepStep(
            len(self.points), self.total, label, live, points=tuple(self.points), left=self.pace.left()
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
