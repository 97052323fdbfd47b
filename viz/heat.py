"""Heat maps in the house style: quiet cells, values inside, and a colour strip on which chance is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from . import theme

STRIP = 66  # pixels below a heat map that its colour strip needs


Levels = tuple[tuple[float, str], ...]  # chance levels and what each belongs to


@dataclass(frozen=True)
class Scale:
    """The colour axis: a title with its unit, a range, the middle of a diverging one, and where chance lies on it."""

    title: str
    low: float
    high: float
    centre: float | None = None
    chance: Levels = ()
    word: str = "chance"

    @classmethod
    def of(cls, values: np.ndarray, title: str, *, chance: Levels = (), centre: float | None = None,
           word: str = "chance") -> Scale:  # fmt: skip
        """Return the scale that spans finite values and chance; negative values make it diverge from zero."""
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        if centre is None and low < 0:
            centre = 0.0
        low, high = min(low, *(v for v, _ in chance), low), max(high, *(v for v, _ in chance), high)
        if centre is not None:
            reach = max(abs(high - centre), abs(centre - low)) or 1.0
            return cls(title, centre - reach, centre + reach, centre, chance, word)
        low = 0.0 if 0 <= low <= 0.35 * high else low
        return cls(title, low, high if high > low else low + 1.0, None, chance, word)

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
    """Return the hover text of a cell: where it is and its value."""
    return f"{place}<br>{scale.title} %{{z:.3f}}"


def level(expected: np.ndarray) -> Levels:
    """Return the one chance level of drawn cells: the mean of those that are known."""
    known = expected[np.isfinite(expected)]
    return ((float(known.mean()), ""),) if known.size else ()


def levels(expected: np.ndarray, kinds: Sequence[str]) -> Levels:
    """Return the chance levels of (kinds, blocks, ...): up to three where kinds differ, otherwise their mean.

    Matrices of other shapes have other chance levels, and one line for all would make some look below chance.
    """
    groups: dict[str, list[str]] = {}
    known = {kind: value for kind, values in zip(kinds, expected, strict=True) for value, _ in level(values)}
    for kind, value in known.items():
        groups.setdefault(f"{value:.2g}", []).append(kind)
    if not 1 < len(groups) <= 3:
        return level(expected)
    largest = max(groups.values(), key=len)
    return tuple(
        (known[named[0]], "others" if named is largest else " ".join(named))
        for named in sorted(groups.values(), key=lambda named: known[named[0]])
    )


def cells(x: Sequence[Any], y: Sequence[Any], z: np.ndarray, scale: Scale, *, hover: str, text: bool = False,
          gap: float = 1, expected: np.ndarray | None = None) -> go.Heatmap:  # fmt: skip
    """Return a heat map of float32 cells, (len(y), len(x)); `hover` is its sentence, `expected` its chance levels."""
    known = expected is not None and np.isfinite(expected).any()
    beside = {"customdata": np.asarray(expected, np.float32)} if known else {}
    words = hover + (f"<br>{scale.word} %{{customdata:.3f}}" if known else "")
    inside = {"text": text_of(z, scale), "texttemplate": "%{text}"} if text else {}
    return theme.heatmap(
        x=list(x), y=list(y), z=np.asarray(z, np.float32), zmin=scale.low, zmax=scale.high, colorscale=scale.colors,
        showscale=False, xgap=gap, ygap=gap, hoverongaps=False, hovertemplate=words + "<extra></extra>",
        **beside, **inside,
    )  # fmt: skip


def text_of(z: np.ndarray, scale: Scale) -> list[list[str]]:
    """Return the numbers to write into cells."""
    return [[number(v, _digits(scale, 3)) for v in line] for line in z]


def strip(scale: Scale, values: np.ndarray, plot_height: float) -> tuple[list[Any], dict[str, Any]]:
    """Return traces and layout of the colour strip: the scale, a tick for every value, and a line at chance."""
    ramp = np.linspace(scale.low, scale.high, 97, dtype=np.float32)
    ticks = rug_of(values)
    bar = theme.heatmap(
        x=ramp, y=[0], z=ramp[None], zmin=scale.low, zmax=scale.high, colorscale=scale.colors, showscale=False,
        hoverinfo="skip", xaxis="x2", yaxis="y2", meta={"scale": True},
    )  # fmt: skip
    rug = theme.scatter(
        **ticks, xaxis="x2", yaxis="y2", mode="markers",
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


def rug_of(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return where the colour strip has ticks: at every value, at most 400 of them."""
    known = np.unique(np.round(values[np.isfinite(values)], 4))
    known = known[:: -(-len(known) // 400) or 1].astype(np.float32)
    return {"x": known, "y": np.full(len(known), 0.85, np.float32)}


def changes(values: np.ndarray, scale: Scale | None = None) -> dict[str, Any]:
    """Return what differs in a heat map of other values, by path: cells, ticks, and with a scale the numbers in it."""
    text = {} if scale is None else {"data.0.text": text_of(values, scale)}
    ticks = {f"data.2.{axis}": places for axis, places in rug_of(values).items()}
    return {"data.0.z": values.astype(np.float32), **ticks, **text}


def chance_lines(scale: Scale) -> tuple[list[dict], list[dict]]:
    """Return the shapes and the words that mark chance on the colour strip; words that would collide are stacked."""
    shapes, labels, last = [], [], -1.0
    for value, owner in scale.chance:
        share = (value - scale.low) / ((scale.high - scale.low) or 1)
        shapes.append({"type": "line", "xref": "x2", "yref": "y2", "x0": value, "x1": value, "y0": -0.5, "y1": 1.1,
                       "line": {"color": theme.CHANCE, "width": 2}})  # fmt: skip
        decimals = _digits(scale) if abs(value) >= 1 else 3 if abs(value) >= 0.01 or not value else 4
        text = f"{scale.word} {number(value, decimals)} {owner}".rstrip()
        side = "left" if share < 0.25 else "right" if share > 0.75 else "center"
        labels.append(theme.label(text, value, 1.1, xref="x2", yref="y2", color=theme.CHANCE, yanchor="bottom",
                                  yshift=11 if share - last < 0.3 else -2, xanchor=side))  # fmt: skip
        last = share if share - last >= 0.3 else -1.0
    return shapes, labels


def picture(traces: Sequence[Any], scale: Scale, values: np.ndarray, *, xaxis: Mapping[str, Any],
            yaxis: Mapping[str, Any], rows: int, row_height: int, meta: Mapping[str, Any], top: int = 30) -> go.Figure:
    """Return the figure of a heat map with its colour strip below."""
    plot = rows * row_height + STRIP
    extra, axes = strip(scale, values, plot)
    shapes, words = chance_lines(scale)
    return theme.figure(
        height=plot + top + 40, margin={"r": 20, "t": top}, data=[*traces, *extra],
        xaxis={**theme.axis(showgrid=False, fixedrange=True, automargin=True, anchor="y"), **xaxis},
        yaxis={**theme.axis(showgrid=False, fixedrange=True, automargin=True, anchor="x"), **yaxis,
               "domain": [STRIP / plot, 1]},
        shapes=shapes, annotations=words, meta=dict(meta), **axes,
    )  # fmt: skip


def pairs(values: np.ndarray, names: Sequence[str], scale: Scale, hover: str, expected: np.ndarray) -> go.Figure:
    """Return expert against expert, (T, T), first expert on top; missing values stay blank."""
    trace = cells(names, names, values, scale, hover=hover, text=len(names) <= 12, gap=1.5, expected=expected)
    at, shown, narrow = list(range(len(names))), theme.shorts(names, 12), theme.shorts(names, 11)
    ticks = {"type": "category", "tickvals": at, "ticktext": shown}
    return picture(
        [trace], scale, values, rows=len(names), row_height=max(24, min(40, 320 // len(names))), top=34,
        xaxis={**ticks, "side": "top", "autotickangles": [0, -35, -90], "range": [-0.5, len(names) - 0.5]},
        yaxis={**ticks, "range": [len(names) - 0.5, -0.5]},
        meta={
            "axes": {"x": [[n, {"other": n}] for n in names], "y": [[n, {"expert": n}] for n in names]},
            "narrow": {"layout.xaxis.ticktext": narrow, "layout.yaxis.ticktext": narrow, "layout.xaxis.tickangle": -90,
                       "data.0.textfont.size": theme.TINY},
        },
    )  # fmt: skip


def by_depth(values: np.ndarray, blocks: Sequence[int], kinds: Sequence[str], scale: Scale, hover: str,
             expected: np.ndarray) -> go.Figure:  # fmt: skip
    """Return kind against block, (kinds, blocks): the network read from left (input) to right (output)."""
    columns = [str(b) for b in blocks]
    trace = cells(columns, kinds, values, scale, hover=hover, text=len(blocks) <= 12, gap=1.5, expected=expected)
    ticks = block_ticks(range(len(blocks)), blocks)
    return picture(
        [trace], scale, values, rows=len(kinds), row_height=26, top=44,
        xaxis={**ticks, "title": top_title("block, from input to output"), "range": [-0.5, len(blocks) - 0.5]},
        yaxis={"type": "category", "range": [len(kinds) - 0.5, -0.5]},
        meta={
            "axes": {"x": [[str(b), {"block": b}] for b in blocks], "y": [[k, {"kind": k}] for k in kinds]},
            "narrow": {"data.0.texttemplate": ""},
        },
    )  # fmt: skip


def experts_by_depth(values: np.ndarray, blocks: Sequence[int], kinds: Sequence[str], names: Sequence[str],
                     scale: Scale, hover: str, expected: np.ndarray) -> go.Figure:  # fmt: skip
    """Return expert against matrix, from (kinds, blocks, T): blocks side by side, their kinds inside, gaps between."""
    width = len(kinds) + 1
    z, chance = (np.full((len(names), len(blocks) * width), np.nan) for _ in range(2))
    columns, places = [], []
    for b, block in enumerate(blocks):
        inside = slice(b * width, b * width + len(kinds))
        z[:, inside], chance[:, inside] = values[:, b].T, expected[:, b].T
        places += [[f"block {block}, {kind}", {"block": block, "kind": kind}] for kind in kinds]
        columns += [f"block {block}, {kind}" for kind in kinds] + [f"after {block}"]
    trace = cells(columns[:-1], names, z[:, :-1], scale, hover=hover, gap=0, expected=chance[:, :-1]).update(ygap=2)
    ticks = block_ticks([b * width + (len(kinds) - 1) / 2 for b in range(len(blocks))], blocks)
    title = "block, from input to output"
    return picture(
        [trace], scale, z, rows=len(names), row_height=26, top=44,
        xaxis={**ticks, "title": top_title(f"{title} ({', '.join(kinds)} in each)"),
               "range": [-0.5, len(columns) - 1.5]},
        yaxis={"type": "category", "tickvals": list(range(len(names))), "ticktext": theme.shorts(names, 12),
               "range": [len(names) - 0.5, -0.5]},
        meta={
            "axes": {"x": places, "y": [[n, {"expert": n}] for n in names]},
            "narrow": {"layout.xaxis.title.text": title, "layout.yaxis.ticktext": theme.shorts(names, 9)},
        },
    )  # fmt: skip


def block_ticks(positions: Sequence[float], blocks: Sequence[int]) -> dict[str, Any]:
    """Return an axis on top that names the blocks, at most sixteen of them."""
    step = max(1, -(-len(blocks) // 16))
    return {"type": "category", "side": "top", "tickvals": list(positions)[::step],
            "ticktext": [str(b) for b in blocks[::step]]}  # fmt: skip


def top_title(text: str) -> dict[str, Any]:
    """Return the title of an axis on top."""
    return {"text": text, "font": {"size": theme.SMALL, "color": theme.MUTED}, "standoff": 6}


def _digits(scale: Scale, most: int = 4) -> int:
    """Return the decimals that tell values on a scale apart."""
    span = scale.high - scale.low
    return min(most, 0 if span >= 50 else 1 if span >= 5 else 2 if span >= 0.15 else 3 if span >= 0.015 else 4)
