"""How the entries of the task vectors are shared out: by agreement of signs, or by how many masks keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import places, theme
from viz.pin import Pin

if TYPE_CHECKING:
    from merge_engine.metrics.mask_counts import MaskCounts
    from merge_engine.metrics.sign_conflict import SignConflict

TITLE = "How experts share the entries"
ABOUT = "Every entry of the weights falls into one bar; the bars add up to 100 %."
EMPTY = "Nothing counted yet. Choose two or more experts."
WORDS = {
    "signs": "Left, experts cancel each other; right, they pull the same way.",
    "masks": "Left, entries that no expert needs; then those of one expert; then those that several share.",
}

BESIDE = "The strokes are the run pinned as {}."
LINES = {"strength": ("weighted mean", theme.INK, 4), "strength_chance": ("random", theme.CHANCE, 20)}


def figure(data: SignConflict | MaskCounts, *, block: int | None = None, kind: str | None = None,
           pinned: Pin[SignConflict | MaskCounts] | None = None) -> go.Figure:  # fmt: skip
    """Return bars of shares in one place; for signs with the mean and what random signs would give."""
    row, signs = places.row(data, block, kind), hasattr(data, "strength")
    shares, x, width = 100 * data.histogram[row], *_bins(data, signs)
    what = "agreement of the experts, |Σ τ| / Σ |τ|" if signs else "number of experts whose mask keeps the entry"
    title, about = f"{TITLE}, {places.words(data, row)}", f"{WORDS['signs' if signs else 'masks']} {ABOUT}"
    about += f" {BESIDE.format(pinned.letter)}" if pinned else ""
    lines = [(float(getattr(data, name)[row]), *words) for name, words in (LINES if signs else {}).items()]
    marks = [line for line in lines if np.isfinite(line[0])]
    bars = {
        "type": "bar",
        "x": x,
        "y": shares.astype(np.float32),
        "width": width,
        "marker": {"color": "var(--ms-seq-5)", "line": {"width": 0}},
        "hovertemplate": "%{y:.1f} % of the entries, "
        + ("agreement around %{x:.3f}" if signs else "kept by %{x} masks")
        + "<extra></extra>",
    }
    return theme.figure(
        height=280,
        margin={"t": 40, "r": 16, "b": 44},
        data=[bars, *_strokes(x, block, kind, pinned)],
        xaxis=theme.axis(what, showgrid=False, showline=True, fixedrange=True, **({} if signs else {"dtick": 1})),
        yaxis=theme.axis("entries, %", rangemode="tozero", automargin=True, fixedrange=True),
        shapes=[theme.rule(at, color=color) for at, _, color, _ in marks],
        annotations=[_words(*mark) for mark in marks],
        meta={"title": title, "about": about},
    )


def rows(data: SignConflict | MaskCounts, *, block: int | None = None, kind: str | None = None,
         pinned: Pin[SignConflict | MaskCounts] | None = None):  # fmt: skip
    """Return the share of every bar, that of a pinned run in the last column."""
    signs = hasattr(data, "strength")
    (x, width), runs = _bins(data, signs), [data, *([pinned.data] if pinned else [])]
    shares = 100 * np.stack([one.histogram[places.row(one, block, kind)] for one in runs], 1)
    columns = ["entries %", *([f"{pinned.letter} %"] if pinned else [])]
    if signs:
        return ["from", "to", *columns], [[a - width / 2, a + width / 2, *s] for a, s in zip(x, shares, strict=True)]
    return ["masks", *columns], [[str(n), *s] for n, s in zip(x, shares, strict=True)]


def _strokes(x: np.ndarray, block: int | None, kind: str | None, pinned: Pin | None) -> list[go.Scatter]:
    """Return a stroke across every bar at the share of a pinned run."""
    if pinned is None:
        return []
    shares = 100 * pinned.data.histogram[places.row(pinned.data, block, kind)]
    return [theme.scatter(
        x=x, y=shares.astype(np.float32), mode="markers", cliponaxis=False,
        marker={"symbol": "line-ew", "size": 14, "line": {"color": "var(--ms-mark)", "width": 2.5}},
        hovertemplate=f"pinned as {pinned.letter}: %{{y:.1f}} % of the entries<extra></extra>",
    )]  # fmt: skip


def _bins(data: SignConflict | MaskCounts, signs: bool) -> tuple[np.ndarray, float]:
    """Return the centres of the bars and their width."""
    count = data.histogram.shape[-1]
    return ((np.arange(count) + 0.5) / count, 0.94 / count) if signs else (np.arange(count), 0.8)


def _words(x: float, text: str, color: str, above: int) -> dict:
    """Return the words over a line at x."""
    side = "left" if x < 0.7 else "right"
    return theme.label(f"{text} {x:.2f}", x, 1, yref="paper", yanchor="bottom", yshift=above - 4, color=color,
                       xanchor=side)  # fmt: skip


def demo() -> SignConflict:
    from viz.examples import sign_conflict

    return sign_conflict()


if __name__ == "__main__":
    from viz.demo import show

    show("histogram")
