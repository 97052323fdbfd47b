"""How much of the experts the shared model holds, and how much their exclusive parts, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.pin import Pin

if TYPE_CHECKING:
    from merge_engine.routing.twin_energy import Energies

TITLE = "Shared and exclusive energy"
ABOUT = (
    "Energy is the squared size of a change of the weights. The left bar of a block is the shared model against the "
    "pretrained one; the pale bar is what an expert has beyond the shared model, the solid part what compression left."
)
EMPTY = "No exclusive parts yet. Merge with Twin-Merging to see what is shared and what is not."
BESIDE = "The strokes are the run pinned as {}: its shared model, and its exclusive part as compression left it."
LESS = "Drawn is the share of its energy that compression kept, minus that of the run pinned as {}, in points."
HEIGHT = 320


def VIEWS(data: Energies, *, pinned: Pin[Energies] | None = None) -> dict[str, str]:
    """Return both pictures, and beside a pinned run of the same experts the difference in what is kept."""
    less = {"less": f"Kept {pinned.less}"} if pinned else {}
    return {"energy": "Energy by block", "kept": "Kept by expert and block", **less}


def figure(data: Energies, *, view: str = "energy", expert: str | None = None,
           colors: Mapping[str, str] | None = None, pinned: Pin[Energies] | None = None) -> go.Figure:  # fmt: skip
    """Return bars by block for one expert or the mean of all, or a heat map of the share that compression kept."""
    if view in ("kept", "less"):
        return _kept_map(data, pinned if view == "less" else None)
    of = data.experts.index(expert) if expert in data.experts else None
    colors = colors or theme.colors(data.experts)
    color = "var(--ms-seq-5)" if of is None else colors.get(data.experts[of], theme.MUTED)
    whole, kept = (a.mean(1) if of is None else a[:, of] for a in (data.exclusive, data.kept))
    owner = "mean of the experts" if of is None else data.experts[of]
    place = np.arange(len(data.blocks))
    traces = [
        _bars(data, -0.38, data.shared, 0.36, theme.MERGED, 1, "shared model"),
        _bars(data, 0.02, whole, 0.36, color, 0.3, f"exclusive part, {owner}, before compression"),
        _bars(data, 0.09, kept, 0.22, color, 1, f"exclusive part, {owner}, after compression"),
        *_strokes(data, of, pinned),
    ]  # fmt: skip
    ticks = place[:: max(1, -(-len(place) // 16))]
    return theme.figure(
        height=HEIGHT, margin={"t": 30, "b": 44}, barmode="overlay", data=traces,
        xaxis=theme.axis("block, from input to output", range=[-0.6, len(place) - 0.4], showgrid=False, showline=True,
                         fixedrange=True, tickvals=ticks.tolist(), ticktext=[str(data.blocks[i]) for i in ticks]),
        yaxis=theme.axis("energy, squared Frobenius norm", rangemode="tozero", automargin=True, fixedrange=True),
        annotations=[_legend(color, pinned)],
        meta={
            "title": f"{TITLE}, {owner}", "uirevision": view,
            "about": f"{ABOUT} {BESIDE.format(pinned.letter)}" if pinned else ABOUT,
            "axes": {"x": [[i, {"block": b}] for i, b in enumerate(data.blocks)]},
        },
    )  # fmt: skip


def rows(
    data: Energies, *, view: str = "energy", pinned: Pin[Energies] | None = None
) -> tuple[list[str], list[list]]:
    """Return the energies of every block, or the share in % that compression kept, by expert.

    Those of a pinned run stand in columns of their own, or are subtracted.
    """
    if view == "energy" and pinned:
        (columns, lines), (theirs, other) = rows(data), rows(pinned.data)
        known = {line[0]: line[1:] for line in other}
        missing = [None] * (len(theirs) - 1)
        columns = [*columns, *(f"{pinned.letter} {word}" for word in theirs[1:])]
        return columns, [[*line, *known.get(line[0], missing)] for line in lines]
    if view in ("kept", "less"):
        lines = zip(data.blocks, _shares(data, pinned if view == "less" else None), strict=True)
        return ["block", *(f"{e} %" for e in data.experts)], [[str(b), *share] for b, share in lines]
    columns = ["block", "shared", *(f"{e} {when}" for e in data.experts for when in ("before", "after"))]
    both = np.stack([data.exclusive, data.kept], -1).reshape(len(data.blocks), -1)
    return columns, [[str(b), s, *line] for b, s, line in zip(data.blocks, data.shared, both, strict=True)]


def _bars(data: Energies, offset: float, energy: np.ndarray, width: float, color: str, opacity: float,
          name: str) -> go.Bar:  # fmt: skip
    return theme.bar(
        x=list(range(len(energy))), y=energy.astype(np.float32), width=width, offset=offset,
        customdata=[str(b) for b in data.blocks],
        marker={"color": color, "opacity": opacity, "line": {"width": 0}},
        hovertemplate=f"<b>block %{{customdata}}</b><br>{name}: %{{y:.3g}}<extra></extra>",
    )  # fmt: skip


def _strokes(data: Energies, of: int | None, pinned: Pin[Energies] | None) -> list[go.Scatter]:
    """Return strokes across the bars at the energies of a pinned run: of its shared model, and what it kept."""
    if pinned is None:
        return []
    other, at = pinned.data, {block: i for i, block in enumerate(data.blocks)}
    kept = other.kept.mean(1) if of is None else other.kept[:, of]
    found = [(at[b], s, k) for b, s, k in zip(other.blocks, other.shared, kept, strict=True) if b in at]
    return [
        theme.scatter(
            x=[place + shift for place, *_ in found], y=[energies[i] for _, *energies in found], mode="markers",
            marker={"symbol": "line-ew", "size": 13, "line": {"color": "var(--ms-mark)", "width": 2.5}},
            hovertemplate=f"pinned as {pinned.letter}, {words}: %{{y:.3g}}<extra></extra>", cliponaxis=False,
        )
        for i, (shift, words) in enumerate(((-0.2, "shared model"), (0.2, "exclusive part after compression")))
    ]  # fmt: skip


def _shares(data: Energies, less: Pin[Energies] | None) -> np.ndarray:
    """Return the share in % that compression kept (B, T), or that minus a pinned run's."""
    shares = 100 * data.share
    if less is None:
        return shares
    theirs = dict(zip(less.data.blocks, 100 * less.data.share, strict=True))
    return shares - np.array([theirs.get(b, np.full(len(data.experts), np.nan)) for b in data.blocks])


def _kept_map(data: Energies, less: Pin[Energies] | None) -> go.Figure:
    """Return expert against block."""
    cells, names = _shares(data, less).T, [f"block {b}" for b in data.blocks]
    if less is None:
        scale = heat.Scale.of(np.append(cells.ravel(), 100.0), "energy left after compression, %")
        hover = "<b>%{y}</b>, %{x}<br>%{z:.1f} % of its energy is left after compression"
    else:
        scale = heat.Scale.of(cells, f"energy left after compression, points {less.less}", centre=0.0)
        hover = f"<b>%{{y}}</b>, %{{x}}<br>{scale.title} %{{z:+.1f}}"
    trace = heat.cells(names, data.experts, cells, scale, hover=hover, text=len(names) <= 12, gap=1.5)
    return heat.picture(
        [trace], scale, cells, rows=len(data.experts), row_height=26, top=44,
        xaxis={**heat.block_ticks(range(len(names)), data.blocks), "range": [-0.5, len(names) - 0.5],
               "title": heat.top_title("block, from input to output")},
        yaxis={"type": "category", "range": [len(data.experts) - 0.5, -0.5],
               "tickvals": list(range(len(data.experts))), "ticktext": theme.shorts(data.experts, 12)},
        meta={
            "title": f"Exclusive energy that compression keeps{f' {less.less}' if less else ''}",
            **({"about": LESS.format(less.letter)} if less else {}),
            "axes": {"x": [[n, {"block": b}] for n, b in zip(names, data.blocks, strict=True)],
                     "y": [[e, {"expert": e}] for e in data.experts]},
            "narrow": {"data.0.texttemplate": "", "layout.yaxis.ticktext": theme.shorts(data.experts, 9)},
        },
    )  # fmt: skip


def _legend(color: str, pinned: Pin[Energies] | None) -> dict:
    square = '<span style="color:{}">{}</span>'
    words = (
        f"{square.format(theme.MERGED, '■')} shared   {square.format(color, '▨')} exclusive   "
        f"{square.format(color, '■')} exclusive, compressed"
    )
    words += f"   {square.format('var(--ms-mark)', '─')} {pinned.letter}" if pinned else ""
    return theme.label(words, 0, 1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=8,
                       color=theme.MUTED)  # fmt: skip


def demo() -> Energies:
    from viz.examples import twin_energy

    return twin_energy()


if __name__ == "__main__":
    from viz.demo import show

    show("twin_energy")
