"""Two pinned runs, input by input: counts and tests per task, the inputs that differ, and all of it in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from merge_engine.answers import Predicted
from merge_engine.paired import Paired, holm, in_common, mean_difference, paired
from merge_engine.runs.run import own_tasks
from merge_engine.suite import Suite
from viz.panels.differences import SURE, TaskDifference, chance, signed
from viz.panels.differing import Differing, DifferingInput

from ..inputs.inputs import answers, evenly, knows
from ..record import Run

EACH = 48  # inputs shown of each kind


@dataclass(frozen=True, eq=False)
class Side:
    """What one run said about the inputs of a task that both have seen, and which of them count as right (N,)."""

    run: Run
    said: Predicted
    rows: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, eq=False)
class TaskPair:
    """One task of two runs, on their common inputs; `seen` says that both merged its expert."""

    task: str
    a: Side
    b: Side
    counts: Paired
    seen: bool

    def only(self, which: str) -> np.ndarray:
        """Return the places, within the common inputs, of those that one run alone has right."""
        one, other = (self.a, self.b) if which == "a" else (self.b, self.a)
        return np.flatnonzero(one.right & ~other.right)


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two runs by task, the merged experts' tasks first, and what has to be said about the comparison."""

    tasks: tuple[TaskPair, ...]
    notes: tuple[str, ...]

    @property
    def own(self) -> list[TaskPair]:
        """The tasks that the average is over."""
        return [pair for pair in self.tasks if pair.seen]

    @property
    def counts(self) -> Paired:
        """The tasks of the average together."""
        return sum((pair.counts for pair in self.own), Paired())


def pairing(suite: Suite, a: Run, b: Run) -> Pairing:
    """Return two runs on the tasks and inputs that both know about; empty where one knows no single inputs."""
    known, other = answers(a), answers(b)
    own_a, own_b = (set(own_tasks(suite, run.recipe)) for run in (a, b))
    order = [task for task in suite.tasks if task in known and task in other]
    found = [_pair(task, (a, known[task]), (b, other[task]), task in own_a & own_b) for task in order]
    found = [pair for pair in found if pair.counts.n]
    return Pairing(tuple(sorted(found, key=lambda pair: not pair.seen)), tuple(_notes(suite, a, b, found)))


def differences(found: Pairing) -> list[TaskDifference]:
    """Return the lines of the panel: the average over the experts' tasks, then every task."""
    corrected = holm([pair.counts.p for pair in found.tasks])
    lines = [_line(pair, p) for pair, p in zip(found.tasks, corrected, strict=True)]
    if len(found.own) < 2:
        return lines
    counts = found.counts
    middle, low, high = (100 * value for value in mean_difference([pair.counts for pair in found.own]))
    first = TaskDifference("", middle, low, high, counts.first, counts.second, counts.n, counts.p, counts.p)
    return [first, *lines]


def differing(suite: Suite, found: Pairing, task: str) -> Differing:
    """Return the inputs that one run alone has right, of one task or of all."""
    pairs = [pair for pair in found.tasks if task in ("", pair.task)]
    only_a, only_b = ({pair.task: (pair, pair.only(which)) for pair in pairs} for which in "ab")
    of_a, of_b = (sum(len(places) for _, places in only.values()) for only in (only_a, only_b))
    return Differing(tuple(_inputs(suite, only_a, "b")), tuple(_inputs(suite, only_b, "a")), of_a, of_b)


def untested(a: Run | None, b: Run | None) -> str:
    """Return why two pinned runs cannot be tested and what to do; empty when they can."""
    why = []
    for name, run in (("A", a), ("B", b)):
        if run is None:
            why.append(f"{name} is not measured yet")
        elif not knows(run):
            kept = "a stored result" if run.stored else "measured many runs ago"
            why.append(f"{name} is {kept}, of which nothing is known about single inputs")
    which = "each of them" if len(why) > 1 else "it"
    return f"{'; '.join(why)}. To test input by input, load {which} and press Merge." if why else ""


def verdict(found: Pairing) -> str:
    """Return the comparison in plain sentences."""
    lines = differences(found)
    first = lines[0]
    over = f" on average over {len(found.own)} tasks" if not first.task else f" on {first.task}"
    size = signed(abs(first.points)).lstrip("+")
    which = "as good as A" if size == "0.0" else f"{size} points {'better' if first.points > 0 else 'worse'} than A"
    tested = "more than chance would give" if first.p < SURE else "no more than chance can do"
    return (
        f"B is {which}{over} (95 % interval {signed(first.low)} to {signed(first.high)}). There, A is right where B is "
        f"wrong on {first.only_a:,} inputs, the other way round on {first.only_b:,}; {chance(first.p)} by McNemar's "
        f"exact test, {tested}. {_by_task(lines)}"
    ).strip()


def _by_task(lines: Sequence[TaskDifference]) -> str:
    tasks = [line for line in lines if line.task]
    if len(tasks) < 2:
        return ""
    sure = [line for line in tasks if line.sure]
    better, worse = ([line.task for line in sure if sign * line.points > 0] for sign in (1, -1))
    parts = [f"{word} on {', '.join(names)}" for word, names in (("better", better), ("worse", worse)) if names]
    said = f"B is {' and '.join(parts)}" if parts else "no single task differs by more than chance"
    return f"After Holm's correction for {len(tasks)} tests, {said}."


def _pair(task: str, a: tuple[Run, Predicted], b: tuple[Run, Predicted], seen: bool) -> TaskPair:
    rows = in_common(a[1], b[1])
    first, second = (
        Side(run, said, chosen, said.right(run.recipe.experts)[chosen])
        for (run, said), chosen in zip((a, b), rows, strict=True)
    )
    return TaskPair(task, first, second, paired(first.right, second.right), seen)


def _notes(suite: Suite, a: Run, b: Run, found: Sequence[TaskPair]) -> list[str]:
    own, notes = [set(own_tasks(suite, run.recipe)) for run in (a, b)], []
    if a.recipe == b.recipe:
        notes.append("A and B are the same run, so nothing can differ.")
    if own[0] != own[1]:
        both = len(own[0] & own[1])
        tasks = f"the {both} that they have in common count" if both != 1 else "the one that they have in common counts"
        notes.append(f"A merges experts of {len(own[0])} tasks and B of {len(own[1])}: only {tasks}.")
    partial = [name for name, run in (("A", a), ("B", b)) if run.partial]
    if partial:
        seen, total = sum(pair.counts.n for pair in found), sum(a.scores[pair.task].total for pair in found)
        who = " and ".join(partial)
        notes.append(f"{who} scored a part of the inputs: {seen:,} of {total:,}, which both know, count.")
    if found and a.precision != b.precision:
        notes.append(f"A was scored in {a.precision} and B in {b.precision}: a few inputs differ by rounding alone.")
    if len({pair.counts.n for pair in found if pair.seen}) > 1:
        notes.append("The average weighs every task alike, the test every input.")
    return notes


def _line(pair: TaskPair, corrected: float) -> TaskDifference:
    counts, (low, high) = pair.counts, pair.counts.interval
    return TaskDifference(
        pair.task, 100 * counts.difference, 100 * low, 100 * high, counts.first, counts.second, counts.n, counts.p,
        corrected, pair.seen,
    )  # fmt: skip


def _inputs(suite: Suite, only: Mapping[str, tuple[TaskPair, np.ndarray]], wrong: str) -> list[DifferingInput]:
    """Return some of the inputs of every task, with what the wrong run said."""
    kept = evenly({task: places for task, (_, places) in only.items()}, EACH)
    return [_input(suite, only[task][0], int(place), wrong) for task, places in kept.items() for place in places]


def _input(suite: Suite, pair: TaskPair, place: int, wrong: str) -> DifferingInput:
    side, classes = getattr(pair, wrong), suite.task(pair.task).classes
    said, row = side.said, side.rows[place]
    index, guess = int(said.index[row]), classes[said.guess[row]]
    experts = side.run.recipe.experts
    if said.picked is not None and pair.task in experts and experts[said.picked[row]] != pair.task:
        guess = f"→ {experts[said.picked[row]]}"
    picture = suite.pictures(pair.task, "score")[index]
    return DifferingInput(pair.task, index, picture, classes[said.label[row]], guess)
