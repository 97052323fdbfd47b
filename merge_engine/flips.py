"""Flips: inputs of a task about which two merges do not say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .answers import Predicted


@dataclass(frozen=True, eq=False)
class Flips:
    """Two merges on the same `n` inputs of a task: how many each gets right, and where they differ.

    `right`, `wrong` and `other` are rows of the answers: now right, now wrong, and as wrong as before in another way.
    """

    task: str
    n: int
    before: int
    after: int
    right: np.ndarray
    wrong: np.ndarray
    other: np.ndarray

    def __len__(self) -> int:
        return len(self.right) + len(self.wrong) + len(self.other)


def flips(before: Predicted, after: Predicted, experts: Sequence[str]) -> Flips:
    """Return where two merges of the same experts differ, on the inputs that both were asked about.

    An input is right as scoring has it. ValueError where the answers are not about the same inputs.
    """
    n = min(len(before.index), len(after.index))
    if before.task != after.task or not np.array_equal(before.index[:n], after.index[:n]):
        raise ValueError(f"answers about {before.task} and {after.task} are not about the same inputs")
    was, now = (said.right(experts)[:n] for said in (before, after))
    differs = before.guess[:n] != after.guess[:n]
    if before.picked is not None and after.picked is not None:
        differs |= before.picked[:n] != after.picked[:n]
    kinds = (~was & now, was & ~now, ~was & ~now & differs)
    return Flips(before.task, n, int(was.sum()), int(now.sum()), *(np.flatnonzero(kind) for kind in kinds))
