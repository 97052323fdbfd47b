"""What a higher rank of the exclusive parts buys, and what it costs to store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go

from viz import theme
from viz.pin import Pin

TITLE = "Accuracy and size against rank"
ABOUT = (
    "Above, the accuracy when exclusive parts keep a share of their singular components: the thick line is the "
    "average, thin ones are tasks. Below, the bytes to store, beside one model and all experts. 0 % is the shared "
    "model alone."
)
EMPTY = "No rank was tried yet. Run `python -m merge_engine table`, or merge with Twin-Merging at several ranks."
PLOT = 360
UPPER, LOWER = (0.38, 1.0), (0.0, 0.27)


@dataclass(frozen=True, eq=False)
class RankCurve:
    """Accuracy (R, T) in % and bytes (R,) when a share (R,) of the components is kept, ascending.

    `chosen` is the share of the current merge. `references` are average accuracies in %, `sizes` bytes, by name.
    """

    tasks: tuple[str, ...]
    shares: np.ndarray
    accuracy: np.ndarray
    bytes: np.ndarray
    chosen: float | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.shares)


def figure(
    data: RankCurve, *, colors: Mapping[str, str] | None = None, pinned: Pin[float] | None = None
) -> go.Figure:
    """Return accuracy over bytes, each with an axis of its own; of a pinned run, its share is marked."""
    colors = colors or theme.colors(data.tasks)
    percent, average, megabytes = 100 * data.shares, data.accuracy.mean(1), data.bytes / 1e6
    references = {n: v for n, v in data.references.items() if np.isfinite(v)}
    sizes = {n: v / 1e6 for n, v in data.sizes.items() if np.isfinite(v)}
    upper = _range([*data.accuracy.ravel(), *references.values()])
    lower = (0.0, 1.12 * float(np.nanmax([*megabytes, *sizes.values(), 1e-9])))
    end = max(1.0, float(percent.max()))
    traces = [
        *(_line(percent, data.accuracy[:, t], f"<b>{task}</b>", colors.get(task, theme.MUTED), 1.4, task)
          for t, task in enumerate(data.tasks)),
        _line(percent, average, "<b>Average of the tasks</b>", theme.MERGED, 3.0, ""), _size(percent, megabytes),
    ]  # fmt: skip
    names = [(t, y, colors.get(t, theme.MUTED), t) for t, y in zip(data.tasks, data.accuracy[-1], strict=True)]
    names += [("", average[-1], theme.MERGED, "")]
    names += [(f"┄ {n}", value, theme.PRETRAINED, "") for n, value in references.items()]
    return theme.figure(
        height=PLOT + 66, margin={"t": 22, "r": 112}, hoverdistance=40, data=traces,
        xaxis=theme.axis("singular components that exclusive parts keep, %", range=[-0.02 * end, 1.02 * end],
                         anchor="y2", showgrid=False, showline=True, fixedrange=True),
        yaxis=theme.axis("accuracy, % of test inputs", range=upper, domain=UPPER, automargin=True, fixedrange=True),
        yaxis2=theme.axis("stored, MB", range=lower, domain=LOWER, anchor="x", automargin=True, nticks=4,
                          fixedrange=True),
        shapes=[*_levels(references, "y"), *_levels(sizes, "y2"), *_marks(data, pinned)],
        annotations=[*_labels(names, average[-1], upper), *_size_words(sizes, lower), *_mark_words(data, pinned, end)],
        meta={"narrow": {"layout.margin.r": 104, "layout.xaxis.title.text": "components kept, %"}},
    )  # fmt: skip


def rows(data: RankCurve) -> tuple[list[str], list[list]]:
    """Return one line per share."""
    lines = zip(data.shares, data.accuracy, data.bytes, strict=True)
    columns = ["kept %", "average %", "bytes", *(f"{task} %" for task in data.tasks)]
    return columns, [[100 * share, line.mean(), size, *line] for share, line, size in lines]


def _range(values: list[float]) -> tuple[float, float]:
    known = np.array([v for v in values if np.isfinite(v)])
    if not known.size:
        return 0.0, 100.0
    pad = max(0.08 * np.ptp(known), 2.0)
    return float(known.min() - pad), float(known.max() + pad)


def _line(x: np.ndarray, y: np.ndarray, name: str, color: str, width: float, task: str) -> go.Scatter:
    return theme.scatter(
        x=x, y=y.astype(np.float32), mode="lines+markers", line={"color": color, "width": width}, cliponaxis=False,
        marker={"size": 2.5 * width + 1, "color": color}, meta={"expert": task} if task else None,
        hovertemplate=f"{name}<br>%{{y:.1f}} % with %{{x:.0f}} % of the components<extra></extra>",
    )  # fmt: skip


def _size(x: np.ndarray, megabytes: np.ndarray) -> go.Scatter:
    return theme.scatter(
        x=x, y=megabytes.astype(np.float32), yaxis="y2", mode="lines+markers", cliponaxis=False,
        line={"color": theme.PRETRAINED, "width": 1.75}, marker={"size": 5},
        hovertemplate="%{x:.0f} % of the components: %{y:.1f} MB to store<extra></extra>",
    )  # fmt: skip


def _levels(values: Mapping[str, float], axis: str) -> list[dict]:
    return [
        {"type": "line", "xref": "paper", "yref": axis, "x0": 0, "x1": 1, "y0": v, "y1": v, "layer": "below",
         "line": {"color": theme.PRETRAINED, "width": 1, "dash": "5px,4px"}}
        for v in values.values()
    ]  # fmt: skip


def _labels(names: list[tuple[str, float, str, str]], average: float, span: tuple[float, float]) -> list[dict]:
    """Return the names of the lines at the right, moved apart where they collide; the average has no name yet."""
    known = [entry for entry in names if np.isfinite(entry[1])]
    gap = 14 * (span[1] - span[0]) / (PLOT * (UPPER[1] - UPPER[0]))
    spots = theme.spread([y for _, y, _, _ in known], gap, *span)
    return [
        theme.label(theme.short(text, 16) if text else f"<b>average {average:.1f}</b>", 1, spot, xref="paper",
                    color=color, xanchor="left", xshift=8, name=task)
        for (text, _, color, task), spot in zip(known, spots, strict=True)
    ]  # fmt: skip


def _size_words(sizes: Mapping[str, float], span: tuple[float, float]) -> list[dict]:
    gap = 14 * (span[1] - span[0]) / (PLOT * (LOWER[1] - LOWER[0]))
    spots = theme.spread(list(sizes.values()), gap, *span)
    return [
        theme.label(f"┄ {theme.short(name, 16)}", 1, spot, xref="paper", yref="y2", xanchor="left", xshift=8,
                    color=theme.PRETRAINED)
        for name, spot in zip(sizes, spots, strict=True)
    ]  # fmt: skip


def _marked(data: RankCurve, pinned: Pin[float] | None) -> list[tuple[float, str, str]]:
    """Return the shares in % of the current merge and of a pinned one, with their names and colours."""
    here = [(data.chosen, "this merge", theme.CHANCE)] if data.chosen is not None else []
    there = [(pinned.data, f"pinned as {pinned.letter}", "var(--ms-mark)")] if pinned else []
    return [(100 * share, name, color) for share, name, color in (*here, *there)]


def _marks(data: RankCurve, pinned: Pin[float] | None) -> list[dict]:
    return [
        {"type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1, "layer": "below",
         "line": {"color": color, "width": 1.5, "dash": "4px,3px"}}
        for at, _, color in _marked(data, pinned)
    ]  # fmt: skip


def _mark_words(data: RankCurve, pinned: Pin[float] | None, end: float) -> list[dict]:
    """Return the words of the marks, each on a line of its own."""
    words = []
    for row, (at, name, color) in enumerate(_marked(data, pinned)):
        side = "left" if at < 0.6 * end else "right"
        words.append(theme.label(f"{name}, {at:.0f} %", at, 1, yref="paper", xanchor=side, yanchor="bottom",
                                 xshift=-3 if side == "right" else 3, yshift=-14 * row, color=color,
                                 bgcolor=theme.SURFACE))  # fmt: skip
    return words


def demo() -> RankCurve:
    from viz.examples import rank_curve

    return rank_curve()


if __name__ == "__main__":
    from viz.demo import show

    show("twin_rank")
