"""All matrices at once: which share of their components is on, or has changed, by block and kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.film import Moment, film
from viz.masks import MaskMap
from viz.pin import Pin

WORDS = {
    "kept": "The share of components that are on, mean over experts. Click a cell to see the masks of that matrix.",
    "moved": "The share of components switched on or off since the start, mean over experts. Click a cell to see them.",
}
LESS = "Drawn is the share of components that are on minus that of the run pinned as {}, in points, mean over experts."
TITLES = {"kept": "Components kept", "moved": "Components switched since the start"}


def overview(moments: Sequence[MaskMap], view: str, pinned: Pin[MaskMap] | None = None) -> go.Figure:
    """Return kind against block: the mean over experts of the share that is on, or that has changed.

    The view `less` is the share that is on minus that of a pinned run. One colour scale holds for all moments.
    """
    if view == "less" and pinned is not None:
        return _compared(moments, pinned)
    data = moments[-1]
    blocks, kinds, cells = _grid(data, view)
    level = 100 * data.top_k if view == "kept" else np.nan
    title = "components on, %" if view == "kept" else "components changed since the start, %"
    chance = ((level, ""),) if np.isfinite(level) else ()
    centre = level if 0 < data.top_k < 1 and chance else None
    every = np.stack([_grid(moment, view)[2] for moment in moments])
    scale = heat.Scale.of(every, title, chance=chance, centre=centre, word="top-k")
    sentence = f"<b>block %{{x}}, %{{y}}</b><br>{title} %{{z:.1f}}"
    result = heat.by_depth(cells, blocks, kinds, scale, sentence, np.full(cells.shape, level))
    found = [_moment(moment, view, scale) for moment in moments]
    layout = theme.drawn(result)
    layout.meta = {**layout.meta, "title": found[-1].title, "about": WORDS[view]}
    return film(result, found)


def compared_rows(data: MaskMap, pinned: Pin[MaskMap]) -> tuple[list[str], list[list]]:
    """Return the share of every matrix that is on, in both runs, and the difference in points."""
    blocks, kinds, kept = _grid(data, "kept")
    less = _less(data, pinned.data)
    columns = ["block", "kind", "on %", f"on %, {pinned.letter}", pinned.less]
    return columns, [
        [str(b), k, kept[i, j], kept[i, j] - less[i, j], less[i, j]]
        for j, b in enumerate(blocks) for i, k in enumerate(kinds)
    ]  # fmt: skip


def _compared(moments: Sequence[MaskMap], pinned: Pin[MaskMap]) -> go.Figure:
    """Return kind against block: the share that is on minus that of a pinned run."""
    blocks, kinds, _ = _grid(moments[-1], "kept")
    every = [_less(moment, pinned.data) for moment in moments]
    scale = heat.Scale.of(np.stack(every), f"components on, points {pinned.less}", centre=0.0)
    sentence = f"<b>block %{{x}}, %{{y}}</b><br>{scale.title} %{{z:+.1f}}"
    result = heat.by_depth(every[-1], blocks, kinds, scale, sentence, np.full(every[-1].shape, np.nan))
    written = scale if len(blocks) <= 12 else None
    found = [
        Moment(str(moment.step), f"{TITLES['kept']} {pinned.less}, step {moment.step:,}", heat.changes(cells, written))
        for moment, cells in zip(moments, every, strict=True)
    ]
    layout = theme.drawn(result)
    layout.meta = {**layout.meta, "title": found[-1].title, "about": LESS.format(pinned.letter)}
    return film(result, found)


def _less(data: MaskMap, other: MaskMap) -> np.ndarray:
    """Return the mean share that is on minus that of another run, (kinds, blocks) in points; NaN where it has none."""
    (blocks, kinds, cells), (theirs, named, kept) = _grid(data, "kept"), _grid(other, "kept")
    found = {(kind, block): kept[i, j] for i, kind in enumerate(named) for j, block in enumerate(theirs)}
    return cells - np.array([[found.get((kind, block), np.nan) for block in blocks] for kind in kinds])


def _moment(data: MaskMap, view: str, scale: heat.Scale) -> Moment:
    blocks, _, cells = _grid(data, view)
    written = scale if len(blocks) <= 12 else None
    return Moment(str(data.step), f"{TITLES[view]}, step {data.step:,}", heat.changes(cells, written))


def _grid(data: MaskMap, view: str) -> tuple[list[int], list[str], np.ndarray]:
    """Return blocks, kinds and the mean over experts of a share in %, (kinds, blocks)."""
    blocks = sorted({b for b, _ in data.places if b is not None})
    kinds = list(dict.fromkeys(k for _, k in data.places))
    cells = np.full((len(kinds), len(blocks)), np.nan)
    for (b, k), share in zip(data.places, data.shares(view), strict=True):
        if b is not None:
            cells[kinds.index(k), blocks.index(b)] = share.mean()
    return blocks, kinds, cells
