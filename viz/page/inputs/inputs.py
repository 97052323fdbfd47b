"""The inputs that the page shows of a run, and what is said about them: the gallery and the bar that narrows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from merge_engine.answers import Predicted
from merge_engine.methods import method_class
from merge_engine.suite import Suite
from viz.panels.route_gallery import Gallery, RoutedInput

from ..record import Run
from ..view import menu
from . import choice as choices
from .choice import Choice

if TYPE_CHECKING:
    from ..compare.against import Against

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


def effective(run: Run | None, choice: Choice, other: Against | None = None) -> Choice:
    """Return the choice without tasks that were not scored, experts that nothing was sent to, or a pinned run's view.

    `other` is what the pinned run said.
    """
    routed = run is not None and any(score.routed for score in run.scores.values())
    task = choice.task if run is not None and choice.task in run.scores else ""
    sent = choice.sent if run is not None and routed and choice.sent in run.recipe.experts else ""
    versus = choice.versus if run is not None and other and choice.versus in other.ways(run) else ""
    return dataclasses.replace(choice, task=task, sent=sent, versus=versus)


def shown(run: Run | None, choice: Choice, other: Against | None = None) -> Shown | None:
    """Return the inputs to show; None where nothing is known about single ones. `other` is what the pinned run said."""
    said, choice = answers(run), effective(run, choice, other)
    if run is None or not said:
        return None
    if choice.circled:
        rows = {task: np.flatnonzero(np.isin(s.index, _of_task(choice.circled, task))) for task, s in said.items()}
    else:
        tasks = [choice.task] if choice.task in said else list(said)
        rows = {task: _sent(said[task], run.recipe.experts, choice.sent) for task in tasks}
        if other and choice.versus:
            rows = {task: _otherwise(run, said[task], own, choice.versus, other) for task, own in rows.items()}
    kept = evenly(rows, MOST if choice.narrow else EACH * len(rows))
    return Shown(said, kept, sum(map(len, rows.values())))


def gallery(suite: Suite, run: Run, found: Shown, other: Against | None = None) -> Gallery:
    """Return the shown inputs with their pictures, classes and routes, and what the pinned run said of them."""
    experts, inputs = run.recipe.experts, []
    for task, rows in found.rows.items():
        said, classes = found.said[task], suite.task(task).classes
        pictures, told = suite.pictures(task, "score"), other.tasks.get(task) if other else None
        for row in rows.tolist():
            place = int(said.index[row])
            pinned, fine = told.of(place) if told is not None else ("", None)
            picked = "" if said.picked is None else experts[said.picked[row]]
            label, guess = classes[said.label[row]], classes[said.guess[row]]
            inputs.append(RoutedInput(task, place, pictures[place], label, picked, guess, pinned, fine))
    title, letter = method_class(run.recipe.method).title, other.letter if other else ""
    return Gallery(experts, tuple(inputs), title, found.of, letter)


def bar(run: Run | None, choice: Choice, other: Against | None = None) -> str:
    """Return the menus that narrow the inputs, and the chip that says to what and undoes it."""
    if run is None or not run.knows:
        return ""
    tasks = menu("of", "Task", {"": "all tasks", **{t: t for t in run.scores}}, choice.task, choice.task or "all")
    sent = ""
    if any(score.routed for score in run.scores.values()):
        experts = {"": "any expert", **{e: e for e in run.recipe.experts}}
        sent = f"<span>sent to</span>{menu('sent', 'Sent to', experts, choice.sent, choice.sent or 'any')}"
    ways, versus = other.ways(run) if other else {}, ""
    if ways:
        words, letter = {"": "all", **ways}, other.letter if other else ""
        drawn = f"{letter} {choice.versus}"
        versus = f"<span>beside {letter}</span>{menu('versus', f'Beside {letter}', words, choice.versus, drawn)}"
    return f'<div class="mp-narrow"><span>Inputs of</span>{tasks}{sent}{versus}{_chip(choice)}</div>'


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


def _otherwise(run: Run, said: Predicted, rows: np.ndarray, way: str, other: Against) -> np.ndarray:
    """Return the rows of those inputs that the pinned run sees otherwise."""
    told = other.tasks.get(said.task)
    return rows[:0] if told is None else rows[told.differs(run, said, way)[rows]]


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
