"""Every method's accuracy against what it costs to store or to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from viz import theme

TITLE = "What accuracy costs"
ABOUT = (
    "Each dot is a method at the setting chosen on validation, or at its cpu preset where it adapts or trains. Methods "
    "on the stepped line are the best for their price; a hollow dot needs to know the task of its input."
)
EMPTY = "No table of results is shipped with this suite yet. Run `python -m merge_engine table` to make one."
VIEWS = {"parameters": "Stored parameters", "seconds": "Seconds to merge"}
PLOT, LINE = 380, 15  # pixels: of the plot at least, and of a name
NARROW_NAME = 22  # characters of a name on a narrow page
FEW = 6  # dots that are all named on a narrow page


@dataclass(frozen=True)
class MethodPoint:
    """One row of the results table; accuracies in %, parameters as numbers stored."""

    method: str
    title: str
    family: str
    accuracy: float
    parameters: float
    seconds: float
    setting: str = ""
    task_known: bool = False
    chosen: bool = False


def figure(data: Sequence[MethodPoint], *, view: str = "parameters") -> go.Figure:
    """Return the scatter with a logarithmic cost axis; every method is named, those at the front in bold.

    A narrow page has room for the names of the front alone.
    """
    cost = np.maximum([getattr(point, view) for point in data], 1e-3)
    accuracy = np.array([point.accuracy for point in data])
    front = frontier(cost, accuracy)
    low, high = float(np.log10(cost.min())), float(np.log10(cost.max()))
    pad = max(0.12, 0.08 * (high - low))
    bottom, top = float(np.nanmin(accuracy)), float(np.nanmax(accuracy))
    room = max(2.0, 0.08 * (top - bottom))
    plot = max(PLOT, LINE * max(map(len, _columns(cost))))
    return theme.figure(
        height=plot + 60,
        margin={"r": 16, "t": 16, "b": 44},
        data=[_steps(cost[front], accuracy[front], 10 ** (high + pad)), _dots(data, cost, front)],
        xaxis=theme.axis(
            {"parameters": "stored parameters, millions", "seconds": "seconds to merge"}[view],
            type="log",
            range=[low - pad, high + pad + 0.28 * (high - low + pad)],
            showgrid=False,
            showline=True,
            fixedrange=True,
            **_ticks(low - pad, high + pad, 1e6 if view == "parameters" else 1),
        ),
        yaxis=theme.axis("average accuracy, %", range=[bottom - room, top + room], automargin=True, fixedrange=True),
        annotations=_names(data, cost, accuracy, front, (bottom - room, top + room), plot),
        meta={"uirevision": view, "narrow": _narrow(data, cost, accuracy, front, (bottom - room, top + room), plot)},
    )


def rows(data: Sequence[MethodPoint]) -> tuple[list[str], list[list]]:
    """Return the table, the best method first."""
    columns = ["method", "family", "accuracy %", "stored parameters", "seconds", "setting", "needs the task"]
    best = sorted(data, key=lambda point: -point.accuracy)
    yes = {True: "yes", False: "no"}
    return columns, [
        [p.title, p.family, p.accuracy, p.parameters, p.seconds, p.setting, yes[p.task_known]] for p in best
    ]


def frontier(cost: np.ndarray, accuracy: np.ndarray) -> list[int]:
    """Return the positions of the methods that nothing cheaper beats, cheapest first."""
    found, best = [], -np.inf
    for i in sorted(range(len(cost)), key=lambda i: (cost[i], -accuracy[i])):
        if accuracy[i] > best:
            found.append(i)
            best = accuracy[i]
    return found


def _steps(cost: np.ndarray, accuracy: np.ndarray, end: float) -> go.Scatter:
    return theme.scatter(
        x=[*cost, end], y=[*accuracy, accuracy[-1]], mode="lines", hoverinfo="skip",
        line={"shape": "hv", "color": theme.RULE, "width": 1.5},
    )  # fmt: skip


def _dots(data: Sequence[MethodPoint], cost: np.ndarray, front: list[int]) -> go.Scatter:
    """Return a dot per method, hollow when it is told the task; the one on the page stands out."""
    color = [
        theme.EXPERTS[1] if p.chosen else theme.INK if i in front else theme.PRETRAINED for i, p in enumerate(data)
    ]
    return theme.scatter(
        x=cost,
        y=[point.accuracy for point in data],
        mode="markers",
        meta={"points": [{"method": point.method} for point in data]},
        hoverinfo="text",
        hovertext=[_sentence(point) for point in data],
        cliponaxis=False,
        marker={
            "size": [13 if point.chosen else 9 for point in data],
            "color": [theme.SURFACE if p.task_known else c for p, c in zip(data, color, strict=True)],
            "line": {"color": color, "width": 1.75},
        },
    )


def _sentence(point: MethodPoint) -> str:
    setting = f"<br>{point.setting}" if point.setting else ""
    known = "<br>needs to know the task" if point.task_known else ""
    return (
        f"<b>{point.title}</b>, {point.family.lower()}<br>{point.accuracy:.1f} % on average, "
        f"{point.parameters / 1e6:.1f} million parameters, {point.seconds:.2g} s{setting}{known}"
    )


def _names(data, cost, accuracy, front, span, plot) -> list[dict]:
    """Return the names of all methods beside their dots, moved apart where dots of one cost pile up."""
    low, high = span
    labels = []
    for column in _columns(cost):
        spots = theme.spread([accuracy[i] for i in column], LINE * (high - low) / plot, low, high)
        for i, y in zip(column, spots, strict=True):
            strong = i in front or data[i].chosen
            color = theme.EXPERTS[1] if data[i].chosen else theme.INK if strong else theme.MUTED
            labels.append(theme.label(_name(data[i], i in front), float(np.log10(cost[i])), y, xanchor="left",
                                      xshift=10, color=color, bgcolor=theme.SURFACE, borderpad=1))  # fmt: skip
    return labels


def _name(point: MethodPoint, best: bool, limit: int = 80) -> str:
    """Return the name beside a dot; that of one that is best for its price, or chosen, is bold."""
    text = theme.short(point.title, limit)
    return f"<b>{text}</b>" if best or point.chosen else text


def _narrow(data, cost, accuracy, front, span, plot) -> dict[str, Any]:
    """Return the changes for a narrow page: fewer names, towards the middle, none on another."""
    order = [i for column in _columns(cost) for i in column]
    named = [i for i in order if i in front or data[i].chosen or len(data) <= FEW]
    spots = theme.spread([accuracy[i] for i in named], LINE * (span[1] - span[0]) / plot, *span)
    middle, places, changes = np.sqrt(cost.min() * cost.max()), dict(zip(named, spots, strict=True)), {}
    for number, i in enumerate(order):
        own = {"y": places[i]} if i in places else {"visible": False}
        own |= {"text": _name(data[i], i in front, NARROW_NAME)} if i in places else {}
        own |= {"xanchor": "right", "xshift": -10} if cost[i] > middle else {}
        changes |= {f"layout.annotations.{number}.{key}": value for key, value in own.items()}
    return changes


def _columns(cost: np.ndarray) -> list[list[int]]:
    """Return groups of dots that are about as expensive, whose names would collide."""
    groups: list[list[int]] = []
    for i in np.argsort(cost):
        if groups and np.log10(cost[i] / cost[groups[-1][0]]) < 0.12:
            groups[-1].append(int(i))
        else:
            groups.append([int(i)])
    return groups


def _ticks(low: float, high: float, unit: float) -> dict:
    steps = (1, 2, 5) if high - low > 0.9 else (1, 2, 3, 4, 5, 7)
    values = [s * 10.0**d for d in range(int(low) - 2, int(high) + 2) for s in steps]
    shown = [v for v in values if low <= np.log10(v) <= high]
    return {"tickvals": shown, "ticktext": [f"{v / unit:g}" for v in shown]}


def demo() -> list[MethodPoint]:
    """Return an example of a results table."""
    lines = (
        ("average", "Weight average", "Averaging", 52.0, 22.1, 1.2, False),
        ("task_arithmetic", "Task Arithmetic", "Task vectors", 55.3, 22.1, 1.4, False),
        ("ties", "Ties", "Sign and sparsity", 56.0, 22.1, 9.0, False),
        ("cart", "CART", "Spectral", 66.1, 22.1, 31, False),
        ("tsv_m", "TSV-M", "Spectral", 68.4, 22.1, 44, False),
        ("iso_c", "Iso-C", "Spectral", 68.0, 22.1, 38, False),
        ("regmean", "RegMean", "Uses inputs", 65.0, 22.1, 24, False),
        ("tall_mask", "TALL-masks", "Masks (task known)", 80.0, 49.0, 12, True),
        ("tsv_c", "TSV-C", "Masks (task known)", 83.1, 44.0, 41, True),
        ("emr", "EMR-Merging", "Masks (task known)", 82.0, 50.5, 8, True),
    )
    return [
        MethodPoint(key, title, family, accuracy, 1e6 * millions, seconds, "scaling 1.2", known, key == "tsv_m")
        for key, title, family, accuracy, millions, seconds, known in lines
    ]


if __name__ == "__main__":
    from viz.demo import show

    show("method_table")
