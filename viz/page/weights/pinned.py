"""A pinned merge beside the one that is shown, in one measurement."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np

from merge_engine.metrics import MERGED, Measured
from viz.panels.spectrum import PINNED

M = TypeVar("M", bound=Measured)


def with_pinned(measured: M, other: M) -> M:
    """Return a measurement with the merge of `other`, of the same experts and places, as its last model `PINNED`.

    Only for measurements that know no pairs of models.
    """
    place = other.models.index(MERGED)
    grown = {
        name: np.concatenate((getattr(measured, name), np.take(getattr(other, name), [place], axis)), axis)
        for name, declared in measured.quantities().items()
        for axis in (declared.axes.index("expert"),)
    }
    return dataclasses.replace(measured, models=(*measured.models, PINNED), **grown)
