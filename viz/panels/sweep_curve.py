"""Accuracy along one hyper-parameter: every task, and their average with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from viz import swept, theme
from viz.swept import MARKS, Swept

TITLE = "Accuracy along one number"
READ = (
    "Thin lines are tasks, the thick one their average with its 95 % interval. All points are scored on the same "
    "pictures, so their order is surer than the band."
)
CLICK = "Click a point to take its value into the recipe."
ABOUT = f"{READ} {CLICK}"
EMPTY = "Nothing is swept yet. Choose a number of the recipe, then press Start."
VIEWS = {"accuracy": "Accuracy", "normalised": "Of the experts", "lost": "Interference"}
UNITS = {"normalised": "accuracy, % of each task's expert", "lost": "wrong of what the expert alone gets right, %"}
PLOT, TOP, BOTTOM = 380, 64, 44  # pixels


def figure(data: Swept, *, view: str = "accuracy", colors: Mapping[str, str] | None = None) -> go.Figure:
    """Return the lines over the swept values, with vertical marks at the values worth seeing."""
    colors = colors or theme.colors(data.tasks)
    x, (curves, average) = data.values[0], _heights(data, view)
    low, high = _range([*curves.ravel(), *(data.low if view == "accuracy" else average), *average])
    wide = bool(data.wide and data.wide[0])
    marks = _grouped(data)
    axis = _span(x, wide, [value for value, _ in marks])
    traces = [
        *([_band(data)] if view == "accuracy" else []),
        *(_line(data, x, curves[:, i], task, colors.get(task, theme.MUTED)) for i, task in enumerate(data.tasks)),
        _line(data, x, average, "", theme.MERGED), _best(data, average),
    ]  # fmt: skip
    unit = UNITS.get(view, f"accuracy, % of {data.where}")
    return theme.figure(
        height=PLOT + TOP + BOTTOM, margin={"t": TOP, "r": 104, "b": BOTTOM}, hoverdistance=40, data=traces,
        xaxis=theme.axis(swept.words(data.names[0]), showgrid=False, showline=True, fixedrange=True, **axis),
        yaxis=theme.axis(unit, range=[low, high], automargin=True, fixedrange=True),
        shapes=[_rule(value, names[0]) for value, names in marks],
        annotations=[*_names(data, curves, average, colors, (low, high)), *_mark_words(marks, axis),
                     *_best_words(data, average, axis, view), *data.waiting],
        meta={"title": f"{'Interference' if view == 'lost' else 'Accuracy'} along {data.title}",
              "about": data.about(READ, CLICK), "uirevision": view},
    )  # fmt: skip


def rows(data: Swept) -> tuple[list[str], list[list]]:
    """Return one line per value, with what it is where it is worth seeing."""
    marked = {value: ", ".join(MARKS[name][1] for name in names) for value, names in _grouped(data, best=True)}
    columns = [swept.words(data.names[0]), "average %", "low %", "high %", "normalised %", "interference %",
               *(f"{task} %" for task in data.tasks), "is"]  # fmt: skip
    means = data.average, data.low, data.high, data.normalised, data.interference
    lines = zip(data.values[0], *means, data.accuracy, strict=True)
    return columns, [
        [value, mean, low, high, share, lost, *tasks, marked.get(float(value), "")]
        for value, mean, low, high, share, lost, tasks in lines
    ]


def _heights(data: Swept, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what is drawn of every task (A, T) and of all of them (A,)."""
    found = {"normalised": (data.share, data.normalised), "lost": (data.lost, data.interference)}
    return found.get(view, (data.accuracy, data.average))


def _range(values: list[float]) -> tuple[float, float]:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 100.0
    pad = max(2.0, 0.06 * float(np.ptp(known)))
    return float(known.min()) - pad, float(known.max()) + pad


def _span(x: np.ndarray, wide: bool, marked: list[float]) -> dict[str, Any]:
    """Return the axis that holds all values and marks, logarithmic where they are far apart."""
    every = np.array([*x, *(value for value in marked if value > 0 or not wide)], float)
    every = np.log10(every) if wide else every
    room = 0.02 * float(np.ptp(every))
    return {"type": "log" if wide else "linear", "range": [float(every.min()) - room, float(every.max()) + room],
            "nticks": 8, **({"dtick": 1} if wide else {})}  # fmt: skip


def _line(data: Swept, x: np.ndarray, y: np.ndarray, task: str, color: str) -> go.Scatter:
    """Return the line of a task, or of the average, through the points scored so far."""
    known = np.flatnonzero(np.isfinite(y))
    return theme.scatter(
        x=x[known], y=y[known].astype(np.float32), mode="lines+markers", customdata=known,
        line={"color": color, "width": 1.2 if task else 3}, cliponaxis=False, meta={"expert": task} if task else None,
        marker={"size": 5 if task else 9, "color": color, "line": {"color": theme.SURFACE, "width": not task and 1.5}},
        hoverinfo="text", hovertext=[_sentence(data, int(place), task) for place in known],
    )  # fmt: skip


def _sentence(data: Swept, place: int, task: str) -> str:
    at = f"{swept.words(data.names[0])} {swept.label(data.values[0][place])}"
    if task:
        own = data.tasks.index(task)
        accuracy, share = data.accuracy[place, own], data.share[place, own]
        lost = f"{data.lost[place, own]:.1f} % of what its expert gets right is wrong here"
        return f"<b>{task}</b><br>{at}: {accuracy:.1f} %<br>{share:.1f} % of its expert<br>{lost}"
    between = f"{data.low[place]:.1f} to {data.high[place]:.1f}"
    return (
        f"<b>Average of the tasks</b><br>{at}: {data.average[place]:.1f} % ({between} with 95 % confidence)<br>"
        f"{data.normalised[place]:.1f} % of the experts<br>"
        f"{data.interference[place]:.1f} % of what the experts get right is wrong here"
    )


def _band(data: Swept) -> go.Scatter:
    known = np.flatnonzero(np.isfinite(data.low))
    x = data.values[0][known]
    return theme.scatter(
        x=[*x, *x[::-1]], y=[*data.high[known], *data.low[known][::-1]], mode="lines", fill="toself",
        fillcolor="var(--ms-whisker)", line={"width": 0}, hoverinfo="skip",
    )  # fmt: skip


def _best(data: Swept, average: np.ndarray) -> go.Scatter:
    places = [] if data.best is None else [int(np.flatnonzero(data.values[0] == data.best[0])[0])]
    return theme.scatter(
        x=data.values[0][places], y=average[places], mode="markers", hoverinfo="skip", cliponaxis=False,
        marker={"symbol": "diamond", "size": 14, "color": MARKS["best"][2],
                "line": {"color": theme.SURFACE, "width": 1.5}},
    )  # fmt: skip


def _best_words(data: Swept, average: np.ndarray, axis: Mapping[str, Any], view: str) -> list[dict]:
    if data.best is None:
        return []
    value = data.best[0]
    words = f"best so far {float(np.nanmax(data.average)):.1f}" if view == "accuracy" else "best accuracy so far"
    height = float(average[np.flatnonzero(data.values[0] == value)[0]])
    x, side = _beside(value, axis, edge=0.12)
    return [theme.label(f"<b>{words}</b>", x, height, yshift=19, color=MARKS["best"][2], xanchor=side,
                        bgcolor=theme.SURFACE, borderpad=1)]  # fmt: skip


def _beside(value: float, axis: Mapping[str, Any], edge: float) -> tuple[float, str]:
    """Return where words about a value stand and how they are anchored: inwards within `edge` of either end."""
    x = float(np.log10(value)) if axis["type"] == "log" else value
    low, high = axis["range"]
    share = (x - low) / ((high - low) or 1)
    return x, "left" if share < edge else "right" if share > 1 - edge else "center"


def _grouped(data: Swept, *, best: bool = False) -> list[tuple[float, list[str]]]:
    """Return the marked values, ascending, each with the names of its marks; the best one where it is asked for."""
    found: dict[float, list[str]] = {}
    for name, (value, *_) in data.marked.items():
        if best or name != "best":
            found.setdefault(float(value), []).append(name)
    return sorted(found.items())


def _rule(value: float, name: str) -> dict[str, Any]:
    return {"type": "line", "yref": "paper", "x0": value, "x1": value, "y0": 0, "y1": 1, "layer": "below",
            "line": {"color": MARKS[name][2], "width": 1.25, "dash": "4px,3px"}}  # fmt: skip


def _mark_words(marks: list[tuple[float, list[str]]], axis: Mapping[str, Any]) -> list[dict]:
    """Return the words above the marks, each on a line of its own so that none collides and none leaves a phone."""
    found, below = [], 0
    for value, names in reversed(marks):
        if value > 0 or axis["type"] != "log":
            x, side = _beside(value, axis, edge=0.4)
            found.append(theme.label(" =<br>".join(MARKS[name][1] for name in names), x, 1, yref="paper",
                                     yanchor="bottom", yshift=2 + 15 * below, color=MARKS[names[0]][2], xanchor=side,
                                     align=side, bgcolor=theme.SURFACE, borderpad=1))  # fmt: skip
            below += len(names)
    return found


def _names(data: Swept, curves: np.ndarray, average: np.ndarray, colors: Mapping[str, str],
           span: tuple[float, float]) -> list[dict]:  # fmt: skip
    """Return the names at the right ends of the lines, moved apart where they collide."""
    known = np.flatnonzero(np.isfinite(average))
    if not known.size:
        return []
    last = known[-1]
    ends = [(average[last], f"<b>average {average[last]:.1f}</b>", theme.MERGED, "")]
    ends += [
        (y, text, colors.get(task, theme.MUTED), task)
        for y, text, task in zip(curves[last], theme.shorts(data.tasks, 12), data.tasks, strict=True)
        if np.isfinite(y)
    ]
    spots = theme.spread([float(end[0]) for end in ends], 14 * (span[1] - span[0]) / PLOT, *span)
    return [
        theme.label(text, 1, spot, xref="paper", color=ink, xanchor="left", xshift=8, name=task)
        for (_, text, ink, task), spot in zip(ends, spots, strict=True)
    ]


def demo() -> Swept:
    """Return an example: scaling, not finished."""
    return swept.demo()


if __name__ == "__main__":
    from viz.demo import show

    show("sweep_curve")
