"""Masks over the singular components of every expert, matrix by matrix, as a method left them after some step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from viz.places import KINDS, Place

if TYPE_CHECKING:
    from merge_engine.adapting.history import History


@dataclass(frozen=True, eq=False)
class MaskMap:
    """Masks by matrix, each boolean (T, r), after `step` updates and at the start; `places` are block and kind.

    `top_k` is the share of components that a fixed rank would keep.
    """

    experts: tuple[str, ...]
    places: tuple[Place, ...]
    masks: tuple[np.ndarray, ...]
    start: tuple[np.ndarray, ...]
    top_k: float
    step: int = 0

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def of(cls, history: History, moment: int, places: Mapping[str, Place], *, top_k: float) -> MaskMap:
        """Return the masks of a kept state of an adaptation; `places` are those of its matrices by name."""
        names = sorted(history.ranks, key=lambda n: _order(places[n]))
        masks, start = (tuple(history.masks(n, at) for n in names) for at in (moment, 0))
        return cls(history.tasks, tuple(places[n] for n in names), masks, start, top_k, history.steps[moment])

    def cut_at(self, share: float) -> MaskMap:
        """Return the same masks beside another fixed rank."""
        return replace(self, top_k=share)

    def index(self, block: int | None = None, kind: str | None = None) -> int:
        """Return the position of a matrix; the first one of the block, or of the kind, where there is none."""
        ranked = [(place == (block, kind), place[0] == block, place[1] == kind) for place in self.places]
        return max(range(len(ranked)), key=lambda i: ranked[i])

    def shares(self, view: str) -> list[np.ndarray]:
        """Return by matrix, for every expert (T,), the share of components that are "kept", or "moved", in %."""
        pairs = zip(self.masks, self.start, strict=True)
        return [100 * (now if view == "kept" else now != before).mean(1) for now, before in pairs]


def _order(place: Place) -> tuple[int, int]:
    block, kind = place
    return -1 if block is None else block, KINDS.index(kind) if kind in KINDS else len(KINDS)
