"""Heat maps of square lattices measured coarse to fine: what is known finely lies on what is known coarsely."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go

from viz import heat
from viz.heat import Scale

STRIDES = (4, 2, 1)  # between the points of the coarse, the middle and the fine lattice

def traces(x: np.ndarray, y: np.ndarray, z: np.ndarray, scale: Scale, hover: str, more: np.ndarray) -> list[go.Heatmap]:
    """Return heat maps of values (N, N), the finest whole lattice below and the one under way above.

    `x` and `y` (N,) are places, `more` (N, N, K) what `hover` shows beside the value. Colours of a whole lattice run
    smoothly between its points.
    """
    found = []
    for step, whole in list(_steps(z)) or [(STRIDES[0], False)]:
        part = slice(None, None, step)
        values, beside = z[part, part], np.round(more[part, part], 4).astype(np.float32)
        across, up = (np.round(axis[part], 6).tolist() for axis in (x, y))
        trace = heat.cells(across, up, values, scale, hover=hover, gap=0)
        found.append(trace.update(customdata=beside, zsmooth="best" if whole else False))
    return found


def reach(places: np.ndarray, *others: float) -> list[float]:
    """Return the range of an axis: half a fine cell beyond the lattice, and as far as other things lie."""
    half = (places[1] - places[0]) / 2
    known = [value for value in others if np.isfinite(value)]
    return [min(places[0], *(v - half for v in known), places[0]) - half,
            max(places[-1], *(v + half for v in known), places[-1]) + half]  # fmt: skip


def progress(z: np.ndarray) -> str:
    """Return in words how fine a lattice (N, N) is measured."""
    steps = list(_steps(z))
    if not steps:
        return "nothing measured yet"
    step, whole = steps[-1]
    side = len(z[::step])
    count = int(np.isfinite(z[::step, ::step]).sum())
    return f"{side} × {side} points" if whole else f"{count} of {side} × {side} points"


def _steps(z: np.ndarray) -> Iterator[tuple[int, bool]]:
    """Yield the steps of the finest whole lattice and of the one under way, and whether each is whole."""
    known = np.isfinite(z)
    whole = [step for step in STRIDES if known[::step, ::step].all()]
    if whole:
        yield whole[-1], True
    left = STRIDES[STRIDES.index(whole[-1]) + 1 :] if whole else STRIDES
    if left and known[:: left[0], :: left[0]].sum() > (known[:: whole[-1], :: whole[-1]].sum() if whole else 0):
        yield left[0], False
