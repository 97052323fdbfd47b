"""The merge of the pinned run beside the one that is shown: in one measurement, or in words where that cannot be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from merge_engine.merged import Merged, StaticMerged
from merge_engine.metrics import MERGED, Measured
from merge_engine.runs.recipe import Recipe
from viz.panels.spectrum import PINNED

from ..compare.beside import Beside
from ..session import Session
from ..workbench import Workbench

M = TypeVar("M", bound=Measured)
OTHERS = "{} merges other experts, so its weights cannot stand beside these. Load it to look into them."
NOT_HERE = "The weights of {0} are not in memory. Load {0}, press Merge, and come back."
NO_MODEL = "{} is not one model: its weights differ from input to input or from task to task."
NOTHING = "{} cannot be subtracted: the weights of the run on the page are not in memory, press Merge."
UNLIKE = "{} cannot be subtracted: the run on the page is not one model."
SAME = "{} does not differ from the run on the page here."


@dataclass(frozen=True)
class PinnedMerge:
    """The merge of the run that is pinned as `letter`, and `why` its weights cannot be drawn, empty where they can.

    `alone` is what panels that are about the experts alone say of it.
    """

    letter: str
    recipe: Recipe
    why: str
    alone: str

    @property
    def key(self) -> str:
        """A word that differs whenever something else would be drawn or said."""
        return f"{self.letter} {self.recipe.digest} {self.why}"


def pinned_merge(bench: Workbench, session: Session, pinned: Beside | None) -> PinnedMerge | None:
    """Return the merge of the pinned run, for the experts of a session; None where nothing is pinned."""
    if pinned is None:
        return None
    others = OTHERS.format(pinned.letter) if pinned.recipe.experts != session.experts else ""
    why = others or not_a_model(bench.merged(pinned.recipe), pinned.letter)
    return PinnedMerge(pinned.letter, pinned.recipe, why, pinned.of_experts(session.experts))


def not_a_model(merged: Merged | None, letter: str) -> str:
    """Return why the weights of a pinned merge cannot be compared; empty where they can."""
    if isinstance(merged, StaticMerged):
        return ""
    return (NOT_HERE if merged is None else NO_MODEL).format(letter)


def with_pinned(measured: M, other: M, letter: str = "A") -> M:
    """Return a measurement with the merge of `other`, of the same experts and places, as its last model.

    Only for measurements that know no pairs of models.
    """
    place = other.models.index(MERGED)
    grown = {
        name: np.concatenate((getattr(measured, name), np.take(getattr(other, name), [place], axis)), axis)
        for name, declared in measured.quantities().items()
        for axis in (declared.axes.index("expert"),)
    }
    return dataclasses.replace(measured, models=(*measured.models, PINNED + letter), **grown)
