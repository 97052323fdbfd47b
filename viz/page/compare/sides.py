"""Both pinned runs beside each other, task by task, with what the paired test says."""

from __future__ import annotations

from merge_engine.evaluate import Score
from merge_engine.runs.run import own_tasks
from merge_engine.suite import Suite
from viz.panels.differences import TaskDifference
from viz.panels.sides import Scored, TaskSides

from ..headline import answer
from ..record import Run
from .pairing import Pairing, differences


def sides(suite: Suite, a: Run, b: Run, found: Pairing | None) -> list[TaskSides]:
    """Return the lines of the panel that shows both runs: the average over their common tasks, then every task.

    `found` is their comparison input by input; without one, nothing is tested.
    """
    own = [task for task in own_tasks(suite, a.recipe) if task in own_tasks(suite, b.recipe)]
    tests = {line.task: line for line in differences(found)} if found else {}
    order = [task for task in suite.tasks if task in a.scores or task in b.scores]
    lines = []
    for task in sorted(order, key=lambda task: task not in own):
        both = _scored(a.scores.get(task)), _scored(b.scores.get(task))
        lines.append(TaskSides(task, *both, *_tested(tests.get(task)), task in own))
    means = _mean(a, own), _mean(b, own)
    first = [TaskSides("", *means, *_tested(tests.get("")))] if len(own) > 1 and all(means) else []
    return [*first, *lines]


def _mean(run: Run, own: list[str]) -> Scored | None:
    """Return the mean accuracy of a run over some tasks, None where it has not begun all of them."""
    found = answer(run, own, {})
    if found.average is None or found.half_width is None:
        return None
    half = found.half_width
    return Scored(found.average, found.average - half, found.average + half, found.pictures)


def _scored(score: Score | None) -> Scored | None:
    return Scored(score.accuracy, *score.interval, score.n) if score else None


def _tested(line: TaskDifference | None) -> tuple[str, float | None]:
    """Return the run that is better by more than chance, and the corrected p value; nothing for what was not tested."""
    if line is None:
        return "", None
    return ("B" if line.points > 0 else "A") if line.sure else "", line.corrected
