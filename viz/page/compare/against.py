"""What the pinned run said about single inputs, to stand beside what the run on the page says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from merge_engine.answers import Predicted
from merge_engine.methods import method_class
from merge_engine.suite import Suite

from ..inputs.choice import WAYS
from ..inputs.inputs import answers
from ..record import Run
from .beside import UNMEASURED, Beside

UNTOLD = "Nothing is known about single inputs of {0}. Load it and press Merge to compare input by input."


@dataclass(frozen=True, eq=False)
class Told:
    """What a run said about the inputs of a task, by their place in the split (N,): what is `known`, and what `right`.

    `guess` are classes, `picked` the numbers of the experts that inputs were sent to, −1 where they were not sent.
    """

    classes: tuple[str, ...]
    experts: tuple[str, ...]
    head: int | None
    known: np.ndarray
    right: np.ndarray
    guess: np.ndarray
    picked: np.ndarray

    def differs(self, run: Run, said: Predicted, which: str) -> np.ndarray:
        """Return which of the inputs (N,) of a run, as `said` orders them, fare otherwise here, in a way of `WAYS`."""
        at, own = said.index, said.right(run.recipe.experts)
        if which == "sent":
            here = np.array([*run.recipe.experts, ""])[-1 if said.picked is None else said.picked]
            there = np.array([*self.experts, ""])[self.picked[at]]
            return self.known[at] & (here != "") & (there != "") & (here != there)
        better, worse = (self.right[at], own) if which == "lost" else (own, self.right[at])
        return self.known[at] & better & ~worse

    def of(self, place: int) -> tuple[str, bool | None]:
        """Return the class that an input was given, or the expert it strayed to, and whether that is right.

        Nothing and None where that is not known.
        """
        if not self.known[place]:
            return "", None
        strayed = self.head is not None and self.picked[place] not in (-1, self.head)
        words = f"→ {self.experts[self.picked[place]]}" if strayed else self.classes[self.guess[place]]
        return words, bool(self.right[place])


@dataclass(frozen=True, eq=False)
class Against:
    """What the run pinned as `letter` said about inputs, by task; `title` is that of its method.

    `why` says why nothing is known; empty where something is.
    """

    letter: str
    title: str
    tasks: Mapping[str, Told]
    why: str = ""

    def ways(self, run: Run) -> dict[str, str]:
        """Return the ways in which inputs of a run may fare otherwise here, in words."""
        sent = any(score.routed for score in run.scores.values())
        sent = sent and any((one.picked >= 0).any() for one in self.tasks.values())
        found = {way: words.format(self.letter) for way, words in WAYS.items() if way != "sent" or sent}
        return found if self.tasks else {}


def against(suite: Suite, pinned: Beside | None) -> Against | None:
    """Return what the pinned run said about single inputs; None where nothing is pinned."""
    if pinned is None:
        return None
    run, title = pinned.run, method_class(pinned.recipe.method).title
    found = {task: told(suite, run, said) for task, said in answers(run).items()} if run else {}
    why = "" if found else (UNTOLD if run else UNMEASURED).format(pinned.letter)
    return Against(pinned.letter, title, found, why)


def told(suite: Suite, run: Run, said: Predicted) -> Told:
    """Return what a run said about the inputs of a task by their place in the split."""
    size, head = len(suite.indices(said.task, "score")), run.head(said.task)
    known, fine = np.zeros(size, bool), np.zeros(size, bool)
    guess, picked = np.zeros(size, int), np.full(size, -1)
    known[said.index], fine[said.index], guess[said.index] = True, said.right(run.recipe.experts), said.guess
    if said.picked is not None:
        picked[said.index] = said.picked
    return Told(suite.task(said.task).classes, run.recipe.experts, head, known, fine, guess, picked)
