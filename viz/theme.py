"""How every figure looks. Colours are CSS variables that the browser resolves: light and dark are one figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

INK = "var(--ms-ink)"
MUTED = "var(--ms-muted)"
RULE = "var(--ms-rule)"
GRID = "var(--ms-grid)"
SURFACE = "var(--ms-surface)"
PRETRAINED = "var(--ms-pretrained)"
MERGED = "var(--ms-merged)"
CHANCE = "var(--ms-chance)"
EXPERTS = tuple(f"var(--ms-expert-{i})" for i in range(1, 13))
SEQUENTIAL = [[i / 8, f"var(--ms-seq-{i})"] for i in range(9)]
DIVERGING = [[i / 8, f"var(--ms-div-{i})"] for i in range(9)]
PLAIN = {"data": {"scatter": [{"type": "scatter"}]}}  # plotly's template "none"
CHECKED = False  # whether plotly checks all it is given, which takes most of the time of a redraw; tests set it

# Pixels: the three smaller steps of the scale in assets/css/tokens.css.
TINY, SMALL, TEXT = 10, 12, 14
NARROW = 480  # pixels; below this width the browser applies meta.narrow


def colors(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for every expert by its place in `names`; give the whole suite to keep colours stable."""
    return {name: EXPERTS[i % len(EXPERTS)] for i, name in enumerate(names)}


def short(name: str, limit: int = 14) -> str:
    """Return a name that fits, cut with an ellipsis."""
    return name if len(name) <= limit else name[: limit - 1].rstrip(" _-") + "…"


def shorts(names: Sequence[str], limit: int = 14) -> list[str]:
    """Return names that fit and differ: those that would be cut to the same word end in their number."""
    cut = [short(name, limit) for name in names]
    return [c if cut.count(c) == 1 else f"{c[: limit - 3].rstrip()}…{i}" for i, c in enumerate(cut, 1)]


def axis(title: str = "", **changes: Any) -> dict[str, Any]:
    """Return a quiet axis: no frame, a hair grid, outside labels."""
    named = {"title": {"text": title, "font": {"size": SMALL, "color": MUTED}, "standoff": 8}} if title else {}
    return {
        **named,  # an empty title would still be given room
        "ticklabelstandoff": 4,
        "tickfont": {"size": SMALL, "color": MUTED},
        "gridcolor": GRID,
        "linecolor": RULE,
        "tickcolor": RULE,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        **changes,
    }


def figure(
    *, height: int, margin: Mapping[str, int] | None = None, data: Sequence[Any] = (), **layout: Any
) -> go.Figure:
    """Return a figure of the traces `data` in the house style; `layout` is added to it.

    Traces and layout given here are several times cheaper than what is added to a figure later.
    """
    return go.Figure(
        list(data),
        _validate=CHECKED,
        layout={
            "template": PLAIN,
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 12, "b": 40, **(margin or {})},
            "font": {"family": "var(--ms-font)", "size": SMALL, "color": INK},
            "paper_bgcolor": SURFACE,
            "plot_bgcolor": SURFACE,
            "showlegend": False,
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": "var(--ms-tip)",
                "bordercolor": RULE,
                "font": {"family": "var(--ms-font)", "size": SMALL, "color": INK},
                "align": "left",
                "namelength": 0,
            },
            "dragmode": False,
            **layout,
        }
    )


def scatter(**properties: Any) -> go.Scatter:
    """Return a trace of points or lines."""
    return go.Scatter(_validate=CHECKED, **properties)


def bar(**properties: Any) -> go.Bar:
    """Return a trace of bars."""
    return go.Bar(_validate=CHECKED, **properties)


def heatmap(**properties: Any) -> go.Heatmap:
    """Return a trace of coloured cells."""
    return go.Heatmap(_validate=CHECKED, **properties)


def drawn(figure: go.Figure) -> Any:
    """Return the layout of a figure, whose attributes plotly makes while it runs."""
    return figure.layout


def label(
    text: str, x: Any, y: Any, *, color: str = INK, size: int = SMALL, **changes: Any
) -> dict[str, Any]:
    """Return an annotation without an arrow: words beside the thing they name."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "showarrow": False,
        "font": {"size": size, "color": color},
        **changes,
    }


def rule(x: float, *, color: str = INK, **line: Any) -> dict[str, Any]:
    """Return a line from the bottom of a figure to its top."""
    place = {"x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    return {"type": "line", **place, "line": {"color": color, "width": 1.5, **line}}


def spread(values: Iterable[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near `values`, at least `gap` apart and inside [low, high], in the same order.

    Labels are pushed up from below and then back down from the top; used where lines end close together.
    """
    values = list(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    placed: list[float] = []
    for i in order:
        placed.append(max(values[i], low if not placed else placed[-1] + gap))
    ceiling = high
    for j in reversed(range(len(placed))):
        placed[j] = max(low, min(placed[j], ceiling))
        ceiling = placed[j] - gap
    result = [0.0] * len(values)
    for i, position in zip(order, placed, strict=True):
        result[i] = position
    return result
