"""Which singular components of every expert a method has switched on, against keeping the strongest ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from viz import theme
from viz.film import Moment, film, moments_of
from viz.mask_overview import compared_rows, overview
from viz.masks import MaskMap
from viz.pin import Pin

TITLE = "Masks over components"
ABOUT = (
    "Each row is an expert, each column one of its singular components, strongest first. The dashed line is where a "
    "fixed rank would cut; below, the share of experts that keep a component. Drag the slider through the steps."
)
EMPTY = "No masks yet. Merge with AdaRank to see which components of every expert it keeps."
COLUMNS = (
    "step", "expert", "components", "on", "on %", "switched on", "switched off", "beyond the cut", "weakest on"
)  # fmt: skip
STATES = ("off", "on", "switched off", "switched on")
COLORS = (theme.GRID, "var(--ms-seq-5)", theme.INK, "var(--ms-mark)")
ROW, STRIP, GAP = 22, 84, 34  # pixels
WINDOWS = 96
LEGEND, KEPT = 1, 2  # annotations before those of the rows; place of the trace of the kept share


def VIEWS(data: MaskMap | Sequence[MaskMap], *, pinned: Pin[Sequence[MaskMap]] | None = None) -> dict[str, str]:
    """Return one matrix and all of them, and beside a pinned run the difference in what is kept."""
    change = {"less": f"Kept {pinned.less}"} if pinned else {}
    return {"mask": "One matrix", "kept": "Kept, all matrices", "moved": "Changed, all matrices", **change}


def figure(data: MaskMap | Sequence[MaskMap], *, view: str = "mask", block: int | None = None,
           kind: str | None = None, colors: Mapping[str, str] | None = None,
           pinned: Pin[Sequence[MaskMap]] | None = None) -> go.Figure:  # fmt: skip
    """Return the masks of one matrix over a strip of how many experts keep what, or a heat map of all matrices.

    Several maps, one per step, get a slider. A pinned run is compared as it was after its last step.
    """
    moments = moments_of(data)
    if view != "mask":
        return overview(moments, view, Pin(pinned.letter, moments_of(pinned.data)[-1]) if pinned else None)
    i = moments[-1].index(block, kind)
    shown = _matrix(moments[-1], i, colors or theme.colors(moments[-1].experts))
    return film(shown, [_matrix_moment(moment, i) for moment in moments])


def rows(data: MaskMap | Sequence[MaskMap], *, view: str = "mask", block: int | None = None, kind: str | None = None,
         pinned: Pin[Sequence[MaskMap]] | None = None):  # fmt: skip
    """Return what every expert keeps of one matrix after every step, or the last shares of all matrices by expert."""
    moments = moments_of(data)
    last = moments[-1]
    if view == "less" and pinned:
        return compared_rows(last, Pin(pinned.letter, moments_of(pinned.data)[-1]))
    if view != "mask":
        shares = zip(last.places, last.shares(view), strict=True)
        lines = [[last.step, str(b), k, *share] for (b, k), share in shares]
        return ["step", "block", "kind", *(f"{e} %" for e in last.experts)], lines
    i = last.index(block, kind)
    return COLUMNS, [line for moment in moments for line in _lines(moment, i)]


def _lines(data: MaskMap, i: int) -> list[list]:
    """Return what every expert keeps of a matrix."""
    cut = round(data.top_k * data.masks[i].shape[1])
    return [
        [data.step, expert, len(on), on.sum(), 100 * on.mean(), (on & ~was).sum(), (was & ~on).sum(), on[cut:].sum(),
         int(on.nonzero()[0][-1]) + 1 if on.any() else None]
        for expert, on, was in zip(data.experts, data.masks[i], data.start[i], strict=True)
    ]  # fmt: skip


def _matrix(data: MaskMap, i: int, colors: Mapping[str, str]) -> go.Figure:
    """Return the masks of the matrix number `i`."""
    now, moment = data.masks[i], _matrix_moment(data, i)
    rank = now.shape[1]
    names = [str(c) for c in range(1, rank + 1)]
    height = ROW * len(now) + GAP + STRIP
    cut = round(data.top_k * rank)
    ticks = _ticks(cut, rank)
    result = theme.figure(
        height=height + 92, margin={"t": 44, "r": 74, "b": 48},
        data=[_cells(data.experts, names, moment.changes["data.0.z"]), *_kept(now, names, cut)],
        xaxis=theme.axis("singular component, strongest first", type="category", anchor="y2", showgrid=False,
                         range=[-0.5, rank - 0.5], fixedrange=True, tickangle=0, tickvals=ticks,
                         ticktext=[names[at] for at in ticks]),
        yaxis=theme.axis(type="category", domain=[(STRIP + GAP) / height, 1], range=[len(now) - 0.5, -0.5],
                         showgrid=False, fixedrange=True, automargin=True, tickvals=list(range(len(now))),
                         ticktext=theme.shorts(data.experts, 12)),
        yaxis2=theme.axis("experts, %", domain=[0, STRIP / height], anchor="x", range=[-4, 108], fixedrange=True,
                          tickvals=[0, 50, 100], automargin=True),
        shapes=[_cut_line(cut)] if cut < rank else [],
        annotations=[*_legend(), *_shares(data, now, colors), *_cut_words(cut, rank)],
        meta={
            "title": moment.title,
            "axes": {"y": [[e, {"expert": e}] for e in data.experts]},
            "narrow": {"layout.yaxis.ticktext": theme.shorts(data.experts, 9), "layout.margin.r": 44,
                       **moment.narrow},
        },
    )  # fmt: skip
    return result


def _matrix_moment(data: MaskMap, i: int) -> Moment:
    """Return what differs from step to step: cells, the share of experts that keep a component, words at the right."""
    now = data.masks[i]
    states = (2 * (now != data.start[i]) + now).astype(np.uint8)
    words = {f"layout.annotations.{LEGEND + t}.text": _share(on) for t, on in enumerate(now)}
    narrow = {f"layout.annotations.{LEGEND + t}.text": f"{100 * on.mean():.0f} %" for t, on in enumerate(now)}
    changes = {"data.0.z": states, f"data.{KEPT}.y": _kept_share(now), **words}
    return Moment(str(data.step), f"{TITLE}, {_words(data, i)}, step {data.step:,}", changes, narrow)


def _cells(experts: Sequence[str], names: Sequence[str], states: np.ndarray) -> go.Heatmap:
    """Return the cells; the browser puts the word of its number into every cell's customdata."""
    steps = [[(i + end) / len(COLORS), color] for i, color in enumerate(COLORS) for end in (0, 1)]
    return theme.heatmap(
        x=names, y=list(experts), z=states, zmin=-0.5, zmax=3.5, colorscale=steps, showscale=False,
        xgap=0, ygap=3, meta={"words": STATES},
        hovertemplate="<b>%{y}</b>, component %{x}<br>%{customdata}<extra></extra>",
    )  # fmt: skip


def _kept(now: np.ndarray, names: Sequence[str], cut: int) -> list[go.Scatter]:
    """Return the share of experts that keep a component, averaged over windows, and the step of a fixed rank."""
    rank = now.shape[1]
    window = max(1, -(-rank // WINDOWS))
    starts = np.arange(0, rank, window)
    middle = np.minimum(starts + (window - 1) // 2, rank - 1)
    fixed = theme.scatter(
        x=[names[0], names[max(0, cut - 1)], names[min(cut, rank - 1)], names[-1]],
        y=[100, 100, 0 if cut < rank else 100, 0 if cut < rank else 100], yaxis="y2", mode="lines", hoverinfo="skip",
        line={"color": theme.CHANCE, "width": 1.25, "dash": "4px,3px"},
    )  # fmt: skip
    text = "component %{x}" + (f" and {window - 1} beside it" if window > 1 else "")
    line = theme.scatter(
        x=[names[m] for m in middle], y=_kept_share(now), yaxis="y2", mode="lines",
        line={"color": theme.INK, "width": 1.75},
        hovertemplate=f"{text}: kept by %{{y:.0f}} % of the experts<extra></extra>",
    )  # fmt: skip
    return [fixed, line]


def _kept_share(now: np.ndarray) -> np.ndarray:
    """Return the share of experts that keep a component in %, averaged over windows."""
    rank = now.shape[1]
    starts = np.arange(0, rank, max(1, -(-rank // WINDOWS)))
    return (100 * np.add.reduceat(now.mean(0), starts) / np.diff([*starts, rank])).astype(np.float32)


def _ticks(cut: int, rank: int) -> list[int]:
    """Return the first, the last and the kept component, and even steps that stand clear of these."""
    fixed = {0, rank - 1, max(0, min(cut, rank) - 1)}
    steps = range(max(1, rank // 6) - 1, rank, max(1, rank // 6))
    return sorted(fixed | {s for s in steps if all(abs(s - f) > rank / 12 for f in fixed)})


def _cut_line(cut: int) -> dict:
    return {"type": "line", "xref": "x", "yref": "paper", "x0": cut - 0.5, "x1": cut - 0.5, "y0": 0, "y1": 1,
            "line": {"color": theme.CHANCE, "width": 1.5, "dash": "4px,3px"}}  # fmt: skip


def _cut_words(cut: int, rank: int) -> list[dict]:
    if not cut < rank:
        return []
    side = "left" if cut < 0.7 * rank else "right"
    return [theme.label(f"top-k keeps {cut}", cut - 0.5, 1, yref="paper", xanchor=side, yanchor="bottom", yshift=2,
                        xshift=3 if side == "left" else -3, color=theme.CHANCE)]  # fmt: skip


def _legend() -> list[dict]:
    """Return the words for the four states, above the map."""
    text = "   ".join(
        f'<span style="color:{color if color != theme.GRID else theme.RULE}">■</span> {name}'
        for color, name in zip(COLORS, STATES, strict=True)
    )
    return [theme.label(text, 0, 1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=20,
                        color=theme.MUTED)]  # fmt: skip


def _shares(data: MaskMap, now: np.ndarray, colors: Mapping[str, str]) -> list[dict]:
    """Return at the right of every row how many components are on."""
    return [
        theme.label(_share(on), 1, t, xref="paper", xanchor="left", xshift=6,
                    color=colors.get(expert, theme.MUTED), name=expert)
        for t, (expert, on) in enumerate(zip(data.experts, now, strict=True))
    ]  # fmt: skip


def _share(on: np.ndarray) -> str:
    return f"{on.sum()} · {100 * on.mean():.0f} %"


def _words(data: MaskMap, i: int) -> str:
    """Return the name of a matrix; a q without k and v beside it stands for all three."""
    block, kind = data.places[i]
    fused = kind == "q" and (block, "k") not in data.places
    name = "q, k and v" if fused else kind
    return name if block is None else f"block {block}, {name}"


def demo() -> list[MaskMap]:
    from viz.examples import masks_over_time

    return masks_over_time()


if __name__ == "__main__":
    from viz.demo import show

    show("mask_map")
