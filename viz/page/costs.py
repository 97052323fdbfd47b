"""What pressing a button takes, before it is pressed: seconds to merge and to score, on this machine. Knows no Gradio.

One calibration of the machine turns what runs took elsewhere into seconds here; what was run here counts for itself.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from merge_engine.maths.decompositions import EACH, KINDS, UNTOLD
from merge_engine.maths.svd import SvdStore
from merge_engine.precision import live_dtype
from merge_engine.problem import MATRIX_KINDS
from merge_engine.runs.calibration import Calibration, calibrate, svd_work
from merge_engine.runs.costs import Timed, expected, timed_rows
from merge_engine.runs.footprint import Size, memory
from merge_engine.runs.publish import README_SUITE, stored_lines
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import own_tasks
from merge_engine.suite import Suite, load_suite, suite_folders

from .headline import duration
from .record import model_size

KEPT = 256
NEVER = "not timed yet"


@dataclass(frozen=True)
class Seconds:
    """Seconds to merge and to score; None where something was never timed, 0 where nothing is to be done."""

    merge: float | None
    score: float | None

    @property
    def total(self) -> float | None:
        """Both together."""
        return None if self.merge is None or self.score is None else self.merge + self.score

    @property
    def words(self) -> str:
        """Both in words: `about 2.0 s to merge + 35 s to score`, only the scoring where a merge is at hand."""
        if self.score is None:
            return NEVER
        if self.merge is None:
            return f"about {duration(self.score)} to score, merging was never timed"
        merging = f"{duration(self.merge)} to merge + " if self.merge else ""
        return f"about {merging}{duration(self.score)} to score"


class Costs:
    """The speed of this machine and what ran on it, shared by all visitors."""

    def __init__(self, svd: SvdStore, calibrated: Callable[..., Calibration] = calibrate) -> None:
        self.svd, self._calibrate = svd, calibrated
        self._machine: dict[str, Calibration] = {}
        self._here: OrderedDict[Recipe, Timed] = OrderedDict()
        self._tables: dict[str, list[Timed]] = {}
        self._missing: dict[tuple, float] = {}
        self._counted = -1  # decompositions that were computed when `_missing` was true
        self._lock = threading.Lock()

    def calibrate(self, suite: Suite) -> bool:
        """Measure how fast this machine runs a suite's backbone, once; returns whether that was news."""
        with self._lock:
            if suite.name in self._machine:
                return False
            self._machine[suite.name] = self._calibrate(suite, live_dtype())
            return True

    def calibrate_again(self, suite: Suite) -> None:
        """Measure once more, and believe what was faster: at first a visitor's browser may have been starting.

        What ran here meanwhile still takes the seconds that it took, now in passes of the new pace.
        """
        found = self._calibrate(suite, live_dtype())
        with self._lock:
            before = self._machine.get(suite.name, found)
            now = self._machine[suite.name] = before.faster(found)
            plain, live = before.plain / now.plain, before.live / now.live
            for recipe, one in [*self._here.items()]:
                if recipe.suite == suite.name:
                    self._here[recipe] = Timed(recipe, one.merge * plain, one.score * live)

    def look_up(self, suite: Suite) -> None:
        """Look up which decompositions of a suite are kept, which takes longer than anything else about a cost."""
        for word in filter(None, EACH):
            self._work(suite.name, suite.experts, word)

    def note(self, recipe: Recipe, merge: float | None, score: float, pictures: int) -> None:
        """Remember the seconds that a run took here: its merge, None where that was kept, and scoring its pictures."""
        machine = self._machine.get(recipe.suite)
        if machine is None or not pictures:
            return
        known = self._here.pop(recipe, None) or self._expected(recipe)
        passes = score / pictures / machine.live
        if merge is not None:
            self._here[recipe] = Timed(recipe, merge / machine.plain, passes)
        elif known is not None:
            self._here[recipe] = dataclasses.replace(known, recipe=recipe, score=passes)
        while len(self._here) > KEPT:
            self._here.popitem(last=False)

    def seconds(
        self, recipe: Recipe, kept: bool = False, pictures: int | None = None, dtype: torch.dtype | None = None
    ) -> Seconds:
        """Return what a recipe takes; `kept` says that it is merged already.

        `pictures` are how many are scored, or all, and `dtype` is what in, the page's own precision where not given.
        """
        machine, known = self._machine.get(recipe.suite), self._expected(recipe)
        if machine is None:
            return Seconds(0.0 if kept else None, None)
        merge = None if known is None else known.merge * machine.plain + self._decompositions(recipe, machine)
        count = scored(recipe) if pictures is None else pictures
        passes = 1.0 if known is None else known.score
        pace = machine.plain if dtype == torch.float32 else machine.live
        return Seconds(0.0 if kept else merge, count * passes * pace)

    def passes(self, suite: str, count: float) -> float | None:
        """Return the seconds of so many passes of one input through a suite's backbone; None before the calibration."""
        machine = self._machine.get(suite)
        return None if machine is None else count * machine.live

    def _expected(self, recipe: Recipe) -> Timed | None:
        """Return what a recipe should take in passes, by what ran here, else by a stored table."""
        here = [one for one in self._here.values() if one.recipe.suite == recipe.suite]
        if recipe.suite not in self._tables:
            self._tables[recipe.suite] = _table(load_suite(recipe.suite))
        return expected(recipe, here) or expected(recipe, self._tables[recipe.suite])

    def _decompositions(self, recipe: Recipe, machine: Calibration) -> float:
        """Return the seconds of the decompositions that are not kept yet; a run of the method here has left them."""
        ran = {(one.recipe.suite, one.recipe.method, one.recipe.experts) for one in self._here.values()}
        if (recipe.suite, recipe.method, recipe.experts) in ran:
            return 0.0
        method, post = recipe.build()
        words = [method.decomposes(), *(step.decomposes() for step in post)]
        return machine.svd * sum(self._work(recipe.suite, recipe.experts, word) for word in words if word)

    def _work(self, suite: str, experts: tuple[str, ...], word: str) -> float:
        """Return the work of decomposing all of a kind of matrices, 0 where those of the last tensor are kept."""
        if self._counted != self.svd.computed or len(self._missing) > KEPT:
            self._missing, self._counted = {}, self.svd.computed
        key = (suite, experts, word)
        if (work := self._missing.get(key)) is None:
            work = self._missing[key] = missing_work(load_suite(suite), experts, word, self.svd.holds)
        return work


def missing_work(suite: Suite, experts: tuple[str, ...], word: str, holds: Callable[..., bool]) -> float:
    """Return the work of decomposing the matrices of a word in every block; 0 where the last ones are held."""
    place, problem = suite.backbone.place, suite.problem(experts)
    names = [n for n in problem.pretrained if place(n).kind in KINDS.get(word, MATRIX_KINDS)]
    groups = problem.groups(names={names[-1]}) if names else ()
    shapes = [suite.pretrained_in_memory[name].shape for name in names]
    last = [matrix for group in groups if group.is_matrix for matrix in EACH[word](group.task_vectors)]
    if word not in UNTOLD and all(map(holds, last)):
        return 0.0
    wide = len(experts) if word == "joint" else 1
    return float(len(last) * sum(svd_work(shape[0], wide * shape[1]) for shape in shapes if len(shape) == 2))


def memory_of(recipe: Recipe, stored: float) -> float:
    """Return the bytes of memory that a merge and its scoring need at most; `stored` are the parameters it leaves."""
    suite = load_suite(recipe.suite)
    size = Size(model_size(suite), _largest(suite), len(recipe.experts), live_dtype().itemsize)
    return memory(recipe.build()[0], size, stored)


def scored(recipe: Recipe) -> int:
    """Return the pictures that a merge is scored on: of the unseen tasks too, where it serves those."""
    suite = load_suite(recipe.suite)
    tasks = {*own_tasks(suite, recipe), *(suite.unseen if recipe.build()[0].serves_unseen() else ())}
    return sum(len(suite.indices(task, "score")) for task in tasks)


@lru_cache(maxsize=8)
def _largest(suite: Suite) -> int:
    """Return the parameters of a model's largest tensor, from the headers of its files."""
    return max(math.prod(suite.pretrained.info(name).shape) for name in suite.pretrained)


def _table(suite: Suite) -> list[Timed]:
    """Return the stored table of a suite, else that of the bundled one: passes are passes."""
    lines = stored_lines(suite)
    if not lines and README_SUITE in suite_folders():
        lines = stored_lines(load_suite(README_SUITE))
    return timed_rows(row for line in lines.values() for row in line.values())
