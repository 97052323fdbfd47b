"""Heat maps in the house style: quiet cells, values inside, and a colour strip on which chance is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from . import theme

STRIP = 66  # pixels below a heat map that its colour strip needs


@dataclass(frozen=True)
class Scale:
    """The colour axis: a title with its unit, a range, the value at the middle of a diverging one, and chance."""

    title: str
    low: float
    high: float
    centre: float | None = None
    chance: float | None = None
    chance_words: str = "chance"

    @classmethod
    def of(cls, values: np.ndarray, title: str, *, chance: float | None = None, centre: float | None = None,
           chance_words: str = "chance") -> Scale:
        """Return the scale that spans finite values and chance; negative values make it diverge from zero."""
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        if centre is None and low < 0:
            centre = 0.0
        if chance is not None:
            low, high = min(low, chance), max(high, chance)
        if centre is not None:
            reach = max(abs(high - centre), abs(centre - low)) or 1.0
            return cls(title, centre - reach, centre + reach, centre, chance, chance_words)
        low = 0.0 if 0 <= low <= 0.35 * high else low
        return cls(title, low, high if high > low else low + 1.0, None, chance, chance_words)

    @property
    def colors(self) -> list:
        return theme.SEQUENTIAL if self.centre is None else theme.DIVERGING


def number(value: float, digits: int = 2) -> str:
    """Return a number for a cell: no leading zero, a true minus, nothing where it is missing."""
    if not np.isfinite(value):
        return ""
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") else text
    return ("−" if value < 0 and float(text or 0) else "") + text


def words(name: str) -> str:
    """Return the name of a quantity in words."""
    return name.replace("_", " ")


def off_diagonal(values: np.ndarray) -> np.ndarray:
    """Return pairs (..., T, T) without the values of an expert with itself."""
    return np.where(np.eye(values.shape[-1], dtype=bool), np.nan, values)


def sentence(place: str, scale: Scale) -> str:
    """Return the hover text of a cell: where it is, its value, and chance."""
    beside = f"<br>{scale.chance_words} {scale.chance:.3f}" if scale.chance is not None else ""
    return f"{place}<br>{scale.title} %{{z:.3f}}{beside}"


def cells(x: Sequence[Any], y: Sequence[Any], z: np.ndarray, scale: Scale, *, hover: str, text: bool = False,
          gap: float = 1, **changes: Any) -> go.Heatmap:
    """Return a heat map of float32 cells, (len(y), len(x)); `hover` is its sentence."""
    trace = go.Heatmap(
        x=list(x), y=list(y), z=np.asarray(z, np.float32), zmin=scale.low, zmax=scale.high, colorscale=scale.colors,
        showscale=False, xgap=gap, ygap=gap, hoverongaps=False, hovertemplate=hover + "<extra></extra>", **changes,
    )  # fmt: skip
    if text:
        trace.update(text=[[number(v, _digits(scale, 3)) for v in line] for line in z], texttemplate="%{text}")
    return trace


def strip(scale: Scale, values: np.ndarray, plot_height: float) -> tuple[list[Any], dict[str, Any]]:
    """Return traces and layout of the colour strip: the scale, a tick for every value, and a line at chance."""
    ramp = np.linspace(scale.low, scale.high, 97, dtype=np.float32)
    known = np.unique(np.round(values[np.isfinite(values)], 4))[:400]
    bar = go.Heatmap(
        x=ramp, y=[0], z=ramp[None], zmin=scale.low, zmax=scale.high, colorscale=scale.colors, showscale=False,
        hoverinfo="skip", xaxis="x2", yaxis="y2", meta={"scale": True},
    )  # fmt: skip
    rug = go.Scatter(
        x=known.astype(np.float32), y=np.full(len(known), 0.85, np.float32), xaxis="x2", yaxis="y2", mode="markers",
        hoverinfo="skip", cliponaxis=False, meta={"scale": True},
        marker={"symbol": "line-ns-open", "size": 5, "color": theme.MUTED, "line": {"width": 1}, "opacity": 0.55},
    )  # fmt: skip
    span = scale.high - scale.low
    ends = [scale.low, *([scale.centre] if scale.centre is not None else []), scale.high]
    layout = {
        "xaxis2": theme.axis(scale.title, range=[scale.low - span / 1e3, scale.high + span / 1e3], anchor="y2",
                             showgrid=False, fixedrange=True, ticklabeloverflow="allow",
                             tickvals=ends, ticktext=[number(v, _digits(scale)) or "0" for v in ends]),
        "yaxis2": theme.axis(domain=[0, 27 / plot_height], range=[-0.5, 2.2], anchor="x2", visible=False,
                             fixedrange=True),
    }  # fmt: skip
    return [bar, rug], layout


def chance_line(scale: Scale) -> tuple[list[dict], list[dict]]:
    """Return the shape and the words that mark chance on the colour strip."""
    if scale.chance is None or not np.isfinite(scale.chance):
        return [], []
    share = (scale.chance - scale.low) / ((scale.high - scale.low) or 1)
    line = {"type": "line", "xref": "x2", "yref": "y2", "x0": scale.chance, "x1": scale.chance, "y0": -0.5, "y1": 1.1,
            "line": {"color": theme.CHANCE, "width": 2}}
    words = theme.label(f"{scale.chance_words} {number(scale.chance, _digits(scale))}", scale.chance, 1.1, xref="x2",
                        yref="y2", color=theme.CHANCE, yanchor="bottom", yshift=-2,
                        xanchor="left" if share < 0.25 else "right" if share > 0.75 else "center")
    return [line], [words]


def picture(traces: Sequence[Any], scale: Scale, values: np.ndarray, *, xaxis: Mapping[str, Any],
            yaxis: Mapping[str, Any], rows: int, row_height: int, meta: Mapping[str, Any], top: int = 30) -> go.Figure:
    """Return the figure of a heat map with its colour strip below."""
    plot = rows * row_height + STRIP
    result = theme.figure(height=plot + top + 40, margin={"r": 20, "t": top})
    extra, axes = strip(scale, values, plot)
    shapes, words = chance_line(scale)
    result.add_traces([*traces, *extra])
    result.update_layout(
        xaxis={**theme.axis(showgrid=False, fixedrange=True, automargin=True, anchor="y"), **xaxis},
        yaxis={**theme.axis(showgrid=False, fixedrange=True, automargin=True, anchor="x"), **yaxis,
               "domain": [STRIP / plot, 1]},
        shapes=shapes, annotations=words, meta=dict(meta), **axes,
    )  # fmt: skip
    return result


def pairs(values: np.ndarray, names: Sequence[str], scale: Scale, hover: str) -> go.Figure:
    """Return expert against expert, (T, T), first expert on top; missing values stay blank."""
    trace = cells(names, names, values, scale, hover=hover, text=len(names) <= 12, gap=1.5)
    at, shown, narrow = list(range(len(names))), theme.shorts(names, 12), theme.shorts(names, 7)
    ticks = {"type": "category", "tickvals": at, "ticktext": shown}
    return picture(
        [trace], scale, values, rows=len(names), row_height=max(24, min(40, 320 // len(names))), top=34,
        xaxis={**ticks, "side": "top", "autotickangles": [0, -35, -90], "range": [-0.5, len(names) - 0.5]},
        yaxis={**ticks, "range": [len(names) - 0.5, -0.5]},
        meta={
            "axes": {"x": [[n, {"other": n}] for n in names], "y": [[n, {"expert": n}] for n in names]},
            "narrow": {"layout.xaxis.ticktext": narrow, "layout.yaxis.ticktext": narrow, "layout.xaxis.tickangle": -90,
                       "data.0.textfont.size": 9 if len(names) <= 9 else 7},
        },
    )  # fmt: skip


def by_depth(values: np.ndarray, blocks: Sequence[int], kinds: Sequence[str], scale: Scale, hover: str) -> go.Figure:
    """Return kind against block, (kinds, blocks): the network read from left (input) to right (output)."""
    columns = [str(b) for b in blocks]
    trace = cells(columns, kinds, values, scale, hover=hover, text=len(blocks) <= 12, gap=1.5)
    ticks = _ticks(range(len(blocks)), blocks)
    return picture(
        [trace], scale, values, rows=len(kinds), row_height=26, top=44,
        xaxis={**ticks, "title": _top_title("block, from input to output"), "range": [-0.5, len(blocks) - 0.5]},
        yaxis={"type": "category", "range": [len(kinds) - 0.5, -0.5]},
        meta={
            "axes": {"x": [[str(b), {"block": b}] for b in blocks], "y": [[k, {"kind": k}] for k in kinds]},
            "narrow": {"data.0.texttemplate": ""},
        },
    )  # fmt: skip


def experts_by_depth(values: np.ndarray, blocks: Sequence[int], kinds: Sequence[str], names: Sequence[str],
                     scale: Scale, hover: str) -> go.Figure:
    """Return expert against matrix, from (kinds, blocks, T): blocks side by side, their kinds inside, gaps between."""
    width = len(kinds) + 1
    z = np.full((len(names), len(blocks) * width), np.nan)
    columns, places = [], []
    for b, block in enumerate(blocks):
        z[:, b * width : b * width + len(kinds)] = values[:, b].T
        places += [[f"block {block}, {kind}", {"block": block, "kind": kind}] for kind in kinds]
        columns += [f"block {block}, {kind}" for kind in kinds] + [f"after {block}"]
    trace = cells(columns[:-1], names, z[:, :-1], scale, hover=hover, gap=0).update(ygap=2)
    ticks = _ticks([b * width + (len(kinds) - 1) / 2 for b in range(len(blocks))], blocks)
    title = "block, from input to output"
    return picture(
        [trace], scale, z, rows=len(names), row_height=26, top=44,
        xaxis={**ticks, "title": _top_title(f"{title} ({', '.join(kinds)} in each)"),
               "range": [-0.5, len(columns) - 1.5]},
        yaxis={"type": "category", "tickvals": list(range(len(names))), "ticktext": theme.shorts(names, 12),
               "range": [len(names) - 0.5, -0.5]},
        meta={
            "axes": {"x": places, "y": [[n, {"expert": n}] for n in names]},
            "narrow": {"layout.xaxis.title.text": title, "layout.yaxis.ticktext": theme.shorts(names, 9)},
        },
    )  # fmt: skip


def _ticks(positions: Sequence[float], blocks: Sequence[int]) -> dict[str, Any]:
    """Return an axis on top that names the blocks, at most sixteen of them."""
    step = max(1, -(-len(blocks) // 16))
    return {"type": "category", "side": "top", "tickvals": list(positions)[::step],
            "ticktext": [str(b) for b in blocks[::step]]}  # fmt: skip


def _top_title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": theme.SMALL, "color": theme.MUTED}, "standoff": 6}


def _digits(scale: Scale, most: int = 4) -> int:
    """Return the decimals that tell values on a scale apart."""
    span = scale.high - scale.low
    return min(most, 0 if span >= 50 else 1 if span >= 5 else 2 if span >= 0.15 else 3 if span >= 0.015 else 4)
