"""Loss and accuracy along the straight line between two models, with the barrier above the chord."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import theme

if TYPE_CHECKING:
    from merge_engine.landscape.path import Barrier, Path

TITLE = "The line between two models"
ABOUT = (
    "Mixing two models in every proportion, and beyond both (grey). The thick line is the average of their tasks, "
    "dashes join its ends. The barrier is how far the line rises above the dashes; without one, mixing costs nothing."
)
EMPTY = "Nothing is measured yet. Choose two models above, then press Start."
VIEWS = {"loss": "Loss", "accuracy": "Accuracy"}
PLOT = 330


def figure(data: Path, *, view: str = "loss", colors: Mapping[str, str] | None = None) -> go.Figure:
    """Return a line per task and their average; `colors` are by task."""
    colors = colors or theme.colors(data.tasks)
    values = data.accuracy if view == "accuracy" else data.loss
    average, found = values.mean(1), data.barrier(accuracy=view == "accuracy")
    low, high = _range(values)
    unit = "%" if view == "accuracy" else "nats"
    single = zip(data.tasks, values.T, strict=True) if len(data.tasks) > 1 else ()
    traces = [
        *(_line(data.shares, y, f"<b>{t}</b>", unit, colors.get(t, theme.MUTED), 1.4, t) for t, y in single),
        _line(data.shares, average, "<b>Average of the tasks</b>", unit, theme.MERGED, 3.0, ""),
        *_chord(data.shares, average),
    ]  # fmt: skip
    return theme.figure(
        height=PLOT + 72, margin={"t": 26, "r": 104}, hoverdistance=40, data=traces,
        xaxis=theme.axis(_way(data), range=[data.shares[0], data.shares[-1]],
                         showgrid=False, showline=True, fixedrange=True, tickvals=[-0.5, 0, 0.5, 1, 1.5]),
        yaxis=theme.axis("accuracy, % of validation pictures" if view == "accuracy" else "loss, nats per picture",
                         range=[low, high], automargin=True, fixedrange=True),
        shapes=[*_beyond(data.shares), *_ends(), *_rise(data.shares, average, found)],
        annotations=[*_models(data), *_barrier_words(data.shares, average, found, unit),
                     *_line_names(data, values, average, colors, (low, high))],
        meta={"note": verdict(data), "narrow": {"layout.margin.r": 84}},
    )  # fmt: skip


def rows(data: Path) -> tuple[list[str], list[list]]:
    """Return one line per point of the way."""
    columns = [f"share of {data.models[1]}", "loss", "accuracy %"]
    columns += [f"{word}, {task}" for word in ("loss", "accuracy %") for task in data.tasks]
    lines = zip(data.shares, data.loss, data.accuracy, strict=True)
    return columns, [[share, loss.mean(), accuracy.mean(), *loss, *accuracy] for share, loss, accuracy in lines]


def verdict(data: Path) -> str:
    """Return what the line says about mixing the two models, as far as it is known."""
    loss, accuracy = data.barrier(), data.barrier(accuracy=True)
    if loss is None or accuracy is None:
        return ""
    rise = "never rises above the dashes" if loss.height == 0 else f"rises {loss.height:.2f} nats above the dashes"
    fall = "never falls below" if accuracy.height == 0 else f"falls at most {accuracy.height:.1f} points below"
    word = "connected by a straight line" if data.connected else "not connected by a straight line"
    return f"The average loss {rise}; accuracy {fall} its own chord: the models are {word}."


def _way(data: Path) -> str:
    """Return what the axis is: from the pretrained model, a share of the way scales a task vector."""
    first, second = (theme.short(name, 18) for name in data.models)
    if data.models[0] == "pretrained":
        return f"scaling of the task vector of {second}"
    return f"share of the way from {first} to {second}"


def _line(x: np.ndarray, y: np.ndarray, name: str, unit: str, color: str, width: float, task: str) -> go.Scatter:
    return theme.scatter(
        x=x, y=y.astype(np.float32), mode="lines+markers", line={"color": color, "width": width}, cliponaxis=False,
        marker={"size": width + 2, "color": color}, meta={"expert": task} if task else None,
        hovertemplate=f"{name}<br>%{{y:.3~g}} {unit} at %{{x:.2f}} of the way<extra></extra>",
    )  # fmt: skip


def _at(shares: np.ndarray, curve: np.ndarray, share: float) -> float:
    """Return the value at a measured share; not a number where there is none."""
    place = np.flatnonzero(shares == share)
    return float(curve[place[0]]) if len(place) else float("nan")


def _chord(shares: np.ndarray, average: np.ndarray) -> list[go.Scatter]:
    ends = [_at(shares, average, 0), _at(shares, average, 1)]
    if not np.isfinite(ends).all():
        return []
    return [theme.scatter(x=[0, 1], y=ends, mode="lines", hoverinfo="skip",
                          line={"color": theme.MERGED, "width": 1.5, "dash": "5px,4px"})]  # fmt: skip


def _rise(shares: np.ndarray, average: np.ndarray, found: Barrier | None) -> list[dict]:
    """Return the barrier, drawn from the chord to the curve."""
    if found is None or found.height == 0:
        return []
    top, chord = _at(shares, average, found.at), _on_chord(shares, average, found.at)
    return [{"type": "line", "x0": found.at, "x1": found.at, "y0": chord, "y1": top,
             "line": {"color": theme.CHANCE, "width": 3}}]  # fmt: skip


def _barrier_words(shares: np.ndarray, average: np.ndarray, found: Barrier | None, unit: str) -> list[dict]:
    if found is None:
        return []
    if found.height == 0:  # the curve is on the better side of the chord, the words on the other one
        return [theme.label("no barrier", 0.5, _on_chord(shares, average, 0.5), color=theme.CHANCE,
                            bgcolor=theme.SURFACE, yshift=-14 if unit == "%" else 14, opacity=0.9, borderpad=1)]
    size = f"{found.height:.1f} points" if unit == "%" else f"{found.height:.2f} {unit}"
    middle = (_at(shares, average, found.at) + _on_chord(shares, average, found.at)) / 2
    side = "left" if found.at < 0.6 else "right"
    return [theme.label(f"barrier {size}", found.at, middle, color=theme.CHANCE, xanchor=side, bgcolor=theme.SURFACE,
                        xshift=7 if side == "left" else -7, opacity=0.9, borderpad=1)]  # fmt: skip


def _on_chord(shares: np.ndarray, average: np.ndarray, share: float) -> float:
    return (1 - share) * _at(shares, average, 0) + share * _at(shares, average, 1)


def _beyond(shares: np.ndarray) -> list[dict]:
    """Return the parts of the line beyond the models, shaded."""
    return [
        {"type": "rect", "x0": a, "x1": b, "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0},
         "fillcolor": theme.GRID, "opacity": 0.6}
        for a, b in ((float(shares[0]), 0), (1, float(shares[-1])))
        if a < b
    ]  # fmt: skip


def _ends() -> list[dict]:
    return [
        {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
         "line": {"color": theme.RULE, "width": 1}}
        for x in (0, 1)
    ]  # fmt: skip


def _models(data: Path) -> list[dict]:
    return [
        theme.label(f"<b>{theme.short(name, 14)}</b>", x, 1, yref="paper", yanchor="bottom")
        for x, name in enumerate(data.models)
    ]


def _line_names(data: Path, values: np.ndarray, average: np.ndarray, colors: Mapping[str, str],
                span: tuple[float, float]) -> list[dict]:  # fmt: skip
    """Return the names of the lines at their right ends, moved apart where they collide."""
    names = [("<b>average</b>", average[-1], theme.MERGED)]
    if len(data.tasks) > 1:
        shorts = theme.shorts(data.tasks, 12)
        names += [(s, y, colors.get(t, theme.MUTED)) for s, t, y in zip(shorts, data.tasks, values[-1], strict=True)]
    known = [entry for entry in names if np.isfinite(entry[1])]
    spots = theme.spread([float(y) for _, y, _ in known], 15 * (span[1] - span[0]) / PLOT, *span)
    return [
        theme.label(text, 1, spot, xref="paper", color=ink, xanchor="left", xshift=8)
        for (text, _, ink), spot in zip(known, spots, strict=True)
    ]


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    pad = max(0.07 * float(np.ptp(known)), 0.02)
    return float(known.min()) - pad, float(known.max()) + pad


def demo() -> Path:
    from viz.landscape_examples import path

    return path()


if __name__ == "__main__":
    from viz.demo import show

    show("loss_path")
