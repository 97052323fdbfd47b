"""A visitor's own picture: an input without a true task or class, asked like any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from merge_engine.blind import HeadAnswer, Reply, head_answer
from merge_engine.merged import Merged
from merge_engine.suite import Suite
from viz import theme
from viz.panels.route_input import RouterView

from ..inputs.case import class_of, way
from ..inputs.insight import Input
from .yours_pictures import SPLIT


@dataclass(frozen=True, eq=False)
class YoursCase:
    """A picture, the experts that are asked about it, and what the merge `method` replied, if it was asked."""

    suite: Suite
    experts: tuple[str, ...]
    number: int
    picture: np.ndarray
    inputs: Tensor
    method: str = ""
    reply: Reply | None = None

    task = label = guess = ""

    @property
    def index(self) -> int:
        return self.number

    @property
    def one(self) -> Input:
        return "", SPLIT, self.number

    @property
    def picked(self) -> str | None:
        """The expert whose head the merge chose, None where it chose none."""
        return None if self.reply is None or self.reply.picked is None else self.experts[self.reply.picked]

    def named(self, expert: str, features: Tensor) -> str:
        """Return the class that features (D,) get under the head of an expert's task."""
        return class_of(self.suite, self.suite.task_of[expert], features)

    def says(self, expert: str, features: Tensor) -> str:
        """Return the class that an expert predicts with its own head, and how probable it finds it."""
        said = head_answer(self.suite, self.suite.task_of[expert], features)
        return f"{theme.short(self._class(said))}, {100 * said.probability:.0f} %"

    def _class(self, said: HeadAnswer) -> str:
        return self.suite.task(said.task).classes[said.guess]

    def routed(self, merged: Merged | None, whose: str = "") -> RouterView | None:
        """Return how the merge itself routes the picture, or one named `whose`; None for one model without routes."""
        if self.reply is None or self.reply.told:
            return None
        said = None if self.picked is None else self.reply.under(self.suite.task_of[self.picked])
        return way(self, merged, self.reply.route, self._class(said) if said else "", whose)
