"""The inputs that the page shows of a run, and what is said about them: the gallery and the bar that narrows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np

from merge_engine.answers import Predicted
from merge_engine.methods import method_class
from merge_engine.suite import Suite
from viz.panels.route_gallery import Gallery, RoutedInput

from ..record import Run
from ..view import menu
from . import choice as choices
from .choice import Choice

EACH = 12  # inputs of every task, unless they are narrowed
MOST = 240  # inputs at once


@dataclass(frozen=True, eq=False)
class Shown:
    """What was said about the scored inputs by task, and which `rows` of it are shown, out of `of`."""

    said: Mapping[str, Predicted]
    rows: Mapping[str, np.ndarray]
    of: int

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def keys(self) -> tuple[str, ...]:
        """Return the words of the shown inputs."""
        return tuple(
            choices.key_of(task, int(self.said[task].index[row])) for task, rows in self.rows.items() for row in rows
        )


def answers(run: Run | None) -> dict[str, Predicted]:
    """Return what is known about single inputs by task; empty for a stored run, or one too long ago."""
    scores = run.scores if run else {}
    return {task: said for task, score in scores.items() if (said := score.said) is not None}


def knows(run: Run | None) -> bool:
    """Return whether anything is known about single inputs."""
    return run is not None and any(score.answers for score in run.scores.values())


def effective(run: Run | None, choice: Choice) -> Choice:
    """Return the choice without tasks that were not scored and experts that nothing was sent to."""
    routed = run is not None and any(score.routed for score in run.scores.values())
    task = choice.task if run is not None and choice.task in run.scores else ""
    sent = choice.sent if run is not None and routed and choice.sent in run.recipe.experts else ""
    return dataclasses.replace(choice, task=task, sent=sent)


def shown(run: Run | None, choice: Choice) -> Shown | None:
    """Return the inputs to show; None where nothing is known about single ones."""
    said, choice = answers(run), effective(run, choice)
    if run is None or not said:
        return None
    if choice.circled:
        rows = {task: np.flatnonzero(np.isin(s.index, _of_task(choice.circled, task))) for task, s in said.items()}
    else:
        tasks = [choice.task] if choice.task in said else list(said)
        rows = {task: _sent(said[task], run.recipe.experts, choice.sent) for task in tasks}
    kept = evenly(rows, MOST if choice.narrow else EACH * len(rows))
    return Shown(said, kept, sum(map(len, rows.values())))


def gallery(suite: Suite, run: Run, found: Shown) -> Gallery:
    """Return the shown inputs with their pictures, classes and routes."""
    experts, inputs = run.recipe.experts, []
    for task, rows in found.rows.items():
        said, classes = found.said[task], suite.task(task).classes
        pictures = suite.pictures(task, "score")
        for row in rows.tolist():
            picked = "" if said.picked is None else experts[said.picked[row]]
            label, guess = classes[said.label[row]], classes[said.guess[row]]
            inputs.append(RoutedInput(task, int(said.index[row]), pictures[said.index[row]], label, picked, guess))
    return Gallery(experts, tuple(inputs), method_class(run.recipe.method).title, found.of)


def bar(run: Run | None, choice: Choice) -> str:
    """Return the menus that narrow the inputs, and the chip that says to what and undoes it."""
    if run is None or not knows(run):
        return ""
    tasks = menu("of", "Task", {"": "all tasks", **{t: t for t in run.scores}}, choice.task, choice.task or "all")
    sent = ""
    if any(score.routed for score in run.scores.values()):
        experts = {"": "any expert", **{e: e for e in run.recipe.experts}}
        sent = f"<span>sent to</span>{menu('sent', 'Sent to', experts, choice.sent, choice.sent or 'any')}"
    return f'<div class="mp-narrow"><span>Inputs of</span>{tasks}{sent}{_chip(choice)}</div>'


def _chip(choice: Choice) -> str:
    if not choice.narrow:
        return ""
    return (
        '<button type="button" class="mp-chip" data-emit="widen" title="Show all inputs again">'
        f'{escape(choices.words(choice))} <span aria-hidden="true">×</span></button>'
    )


def _sent(said: Predicted, experts: tuple[str, ...], sent: str) -> np.ndarray:
    if said.picked is None or sent not in experts:
        return np.arange(len(said.index))
    return np.flatnonzero(said.picked == experts.index(sent))


def evenly(rows: Mapping[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """Return at most so many rows, as evenly over the tasks as they have some; tasks that keep none are left out."""
    left, kept = most, {}
    for place, (task, own) in enumerate(sorted(rows.items(), key=lambda item: len(item[1]))):
        kept[task] = own[: -(-left // (len(rows) - place))]
        left -= len(kept[task])
    return {task: kept[task] for task in rows if len(kept[task])}


def _of_task(keys: tuple[str, ...], task: str) -> list[int]:
    found = (choices.parsed(key) for key in keys)
    return [index for name, index in filter(None, found) if name == task]
