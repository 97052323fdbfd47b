"""The singular vectors of the two components that the page opens with, stored so that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..knock_out import KnockOut, singular_vectors
from ..maths.svd import Factors
from ..metrics.joint_overlap import JointOverlap
from ..suite import Suite
from . import arrays

FORMAT = "mergescope-components-1"
FILE = "pair.npz"


def met_most(measured: JointOverlap, block: int, kind: str) -> list[KnockOut]:
    """Return the two components of one matrix that meet most; none where no components meet."""
    places = [tuple(map(int, at)) for at in measured.strongest(0, 1)]
    return [
        KnockOut(measured.models[model], block, kind, index)
        for i, a, j, b in places
        for model, index in ((i, a), (j, b))
    ]


def packed(suite: Suite, key: str, pair: Sequence[KnockOut], svd: Callable[[Tensor], Factors]) -> bytes:
    """Return a file with the singular vectors of components of one matrix, `left` (K, m) and `right` (K, n)."""
    found = [singular_vectors(suite.problem(), one, svd) for one in pair]
    left, right = (np.stack([each[side] for each in found]) for side in (0, 1))
    return arrays.packed(FORMAT, key, {"components": [one.word for one in pair]}, {"left": left, "right": right})


def read(path: Path, key: str, one: KnockOut) -> tuple[np.ndarray, np.ndarray] | None:
    """Return u (m,) and v (n,) of a component, or None where they are not in the file."""
    found = arrays.read(path, FORMAT, key)
    if found is None or one.word not in found[0].get("components", ()):
        return None
    at, (_, stored) = found[0]["components"].index(one.word), found
    return stored["left"][at].astype(float), stored["right"][at].astype(float)
