"""Accuracy by task while a method adapts, and below it the entropy that it minimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go

from viz import entropy_lesson, theme
from viz.pin import Pin

TITLE = "Accuracy while it adapts"
ABOUT = (
    "Scored now and then on a few test pictures, for watching only. The thick line is the average; its ring is the "
    "first look, at the start or after one update, its dot the last, which is the result. Below, where it is "
    "minimised: the entropy of predictions."
)
BESIDE = "The dashed line is the average of the run pinned as {}."
EMPTY = "Nothing has adapted yet. Choose a method of the family Adaptive or Routed, then press Merge."
VIEWS = {"accuracy": "Accuracy", "change": "Change since the first look"}
PLOT, SMOOTH = 380, 200  # pixels of both strips; entropies are averaged to at most so many points
UPPER, LOWER = (0.32, 1.0), (0.0, 0.21)


@dataclass(frozen=True, eq=False)
class LiveAccuracy:
    """Accuracy (S, T) in % after `steps` (S,), and entropy (E,) in nats after `entropy_steps` (E,); S may be 1.

    `references` are average accuracies in % of other models by name. `total` is the number of steps planned,
    `pictures` how many of every task were scored, `seconds` (S,) the time that adapting took; `ends` (2, T) is the
    entropy of every task in nats over the first updates and over the last ones.
    """

    tasks: tuple[str, ...]
    steps: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray | None = None
    entropy_steps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    entropy: np.ndarray = field(default_factory=lambda: np.zeros(0))
    references: Mapping[str, float] = field(default_factory=dict)
    total: int = 0
    pictures: int = 0
    ends: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def of(cls, points: Sequence[Any], tasks: Sequence[str], **more: Any) -> LiveAccuracy:
        """Return the curve of `merge_engine.adapting.live.Point`s; entropies are theirs unless others are given."""
        known = [(p.step, p.entropy) for p in points if p.entropy is not None]
        entropy = np.array(known, float).reshape(-1, 2)
        given = {"entropy_steps": entropy[:, 0], "entropy": entropy[:, 1], **more}
        accuracy = np.array([[p.accuracy.get(t, np.nan) for t in tasks] for p in points], float)
        seconds = np.array([p.seconds for p in points], float)
        steps = np.array([p.step for p in points])
        return cls(tuple(tasks), steps, accuracy.reshape(len(steps), len(tasks)), seconds, **given)

    @property
    def average(self) -> np.ndarray:
        """Mean over tasks (S,), of those that are known at all steps."""
        known = np.isfinite(self.accuracy).all(0)
        return self.accuracy[:, known].mean(1) if known.any() else np.full(len(self.steps), np.nan)


def figure(data: LiveAccuracy, *, view: str = "accuracy", colors: Mapping[str, str] | None = None,
           pinned: Pin[LiveAccuracy] | None = None) -> go.Figure:  # fmt: skip
    """Return the lines of all tasks and their average over a strip of entropy, which has an axis of its own.

    Of a pinned run of the same tasks, the average is drawn.
    """
    colors = colors or theme.colors(data.tasks)
    average, curves = data.average, data.accuracy
    change = view == "change"
    if change:
        average, curves = average - average[0], curves - curves[:1]
    references = {"the first look": 0.0} if change else _known(data.references)
    other = _other(pinned, change)
    low, high = _range([*curves.ravel(), *average, *other[1], *references.values()], 4.0 if change else 8.0)
    end = max(1.0, float(max(data.total, data.steps[-1], *data.entropy_steps[-1:], *other[0][-1:])))
    traces = [
        *(_line(data, curves[:, i], task, colors.get(task, theme.MUTED), change) for i, task in enumerate(data.tasks)),
        _line(data, average, "", theme.MERGED, change), _best(data, average, change), _entropy(data),
        *_beside(pinned, other, change),
    ]  # fmt: skip
    words = "points gained" if change else f"accuracy, % of {data.pictures or 'the'} test pictures"
    return theme.figure(
        height=PLOT + 66, margin={"t": 22, "r": 112}, dragmode="zoom", hoverdistance=40, data=traces,
        xaxis=theme.axis("step", range=[-0.012 * end, 1.012 * end], anchor="y2", showgrid=False, showline=True),
        yaxis=theme.axis(words, range=[low, high], domain=UPPER, automargin=True),
        yaxis2=theme.axis("entropy, nats", domain=LOWER, anchor="x", automargin=True, nticks=4,
                          range=_range(data.entropy, 0.02)),
        shapes=[_level(value) for value in references.values()],
        annotations=[*_names(data, curves, average, references, colors, (low, high), _named(pinned, other)),
                     *_best_words(data, average, (low, high))],
        meta={
            "title": _title(data), "about": _about(data, pinned), "uirevision": view,
            "note": lesson(data),
            "narrow": {"layout.margin.r": 104, "layout.xaxis.nticks": 5},
        },
    )  # fmt: skip


def rows(data: LiveAccuracy, *, pinned: Pin[LiveAccuracy] | None = None) -> tuple[list[str], list[list]]:
    """Return one line per scored step, those of a pinned run last.

    The entropy of a step is that of the last update before it that is known.
    """
    columns, lines = _table(data)
    if pinned is None:
        return columns, lines
    both = [["on the page", *line] for line in lines], [[pinned.letter, *line] for line in _table(pinned.data)[1]]
    return ["run", *columns], [*both[0], *both[1]]


def _table(data: LiveAccuracy) -> tuple[list[str], list[list]]:
    seconds = np.full(len(data), np.nan) if data.seconds is None else data.seconds
    at = np.searchsorted(data.entropy_steps, data.steps, side="right") - 1
    entropy = [data.entropy[i] if i >= 0 else None for i in at]
    lines = zip(data.steps, seconds, data.average, entropy, data.accuracy, strict=True)
    columns = ["step", "seconds", "average %", "entropy nats", *(f"{task} %" for task in data.tasks)]
    return columns, [[step, s, mean, e, *line] for step, s, mean, e, line in lines]


def _about(data: LiveAccuracy, pinned: Pin[LiveAccuracy] | None) -> str:
    return " ".join(filter(None, (ABOUT, BESIDE.format(pinned.letter) if pinned else "", remark(data))))


def _other(pinned: Pin[LiveAccuracy] | None, change: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and averages of a pinned run, or the change of these since its first look; empty without one."""
    if pinned is None:
        return np.zeros(0), np.zeros(0)
    average = pinned.data.average
    return pinned.data.steps, average - average[0] if change else average


def _beside(pinned: Pin[LiveAccuracy] | None, other: tuple[np.ndarray, np.ndarray], change: bool) -> list[go.Scatter]:
    """Return the average of a pinned run as a thin line."""
    if pinned is None:
        return []
    value = "%{y:+.1f} points since its first look" if change else "%{y:.1f} %"
    return [theme.scatter(
        x=other[0], y=other[1].astype(np.float32), mode="lines", cliponaxis=False,
        line={"color": theme.MERGED, "width": 1.75, "dash": "5px,3px"},
        hovertemplate=f"<b>Average of the run pinned as {pinned.letter}</b><br>step %{{x}}: {value}<extra></extra>",
    )]  # fmt: skip


def _named(pinned: Pin[LiveAccuracy] | None, other: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, float]]:
    return [(f"┄ {pinned.letter} {other[1][-1]:.1f}", float(other[1][-1]))] if pinned else []


def best(data: LiveAccuracy) -> int | None:
    """Return the position of the best average where it is above that of the last step."""
    average = data.average
    if not np.isfinite(average).any():
        return None
    top = int(np.nanargmax(average))
    return top if average[top] > average[-1] + 1e-9 else None


def remark(data: LiveAccuracy) -> str:
    """Return why the best step is not the result, where it was better than the last one."""
    top = best(data)
    if top is None:
        return ""
    high, last = data.average[top], data.average[-1]
    return (
        f"Step {data.steps[top]:.0f} reached {high:.1f} %, {high - last:.1f} points above the last step; only labels "
        "can find it, so it is not the headline."
    )


def lesson(data: LiveAccuracy) -> str:
    """Return what this run tells about minimising entropy, as far as it is known."""
    if data.ends is None or len(data) < 2 or not np.isfinite(data.accuracy[[0, -1]]).all():
        return ""
    return entropy_lesson.lesson(data.tasks, data.accuracy[0], data.accuracy[-1], data.ends, data.pictures)


def _title(data: LiveAccuracy) -> str:
    last = int(data.steps[-1])
    return f"{TITLE}, step {last:,} of {data.total:,}" if data.total > last else TITLE


def _known(references: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in references.items() if value is not None and np.isfinite(value)}


def _range(values: Any, room: float) -> tuple[float, float]:
    """Return the range of finite values with some room, never narrower than `room`."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, room
    low, high = float(known.min()), float(known.max())
    pad = max(0.08 * (high - low), (room - (high - low)) / 2)
    return low - pad, high + pad


def _line(data: LiveAccuracy, y: np.ndarray, task: str, color: str, change: bool) -> go.Scatter:
    """Return the line of a task, or of the average; a ring at its first point, a dot at its last."""
    count, thick, name = len(y), 1.4 if task else 3.0, task or "Average of the tasks"
    ends = np.zeros(count)
    ends[0], ends[-1] = (9, 10) if not task else (5, 6)
    fill = [theme.SURFACE] * (count - 1) + [color]
    seconds = [""] * count if data.seconds is None else [f", {s:.0f} s" for s in data.seconds]
    value = "%{y:+.1f} points since the first look" if change else "%{y:.1f} %"
    seen = f" of {data.pictures} pictures{'' if task else ' per task'}" if data.pictures and not change else ""
    return theme.scatter(
        x=data.steps, y=y.astype(np.float32), mode="lines+markers", customdata=seconds, cliponaxis=False,
        meta={"expert": task} if task else None, line={"color": color, "width": thick},
        marker={"size": ends, "color": fill, "opacity": 1, "line": {"color": color, "width": np.where(ends, 2, 0)}},
        hovertemplate=f"<b>{name}</b><br>step %{{x}}%{{customdata}}: {value}{seen}<extra></extra>",
    )  # fmt: skip


def _best(data: LiveAccuracy, average: np.ndarray, change: bool) -> go.Scatter:
    top = best(data)
    return theme.scatter(
        x=[] if top is None else [data.steps[top]], y=[] if top is None else [average[top]], mode="markers",
        hoverinfo="skip", cliponaxis=False,
        marker={"symbol": "diamond-open", "size": 12, "color": theme.CHANCE, "line": {"width": 1.75}},
    )  # fmt: skip


def _best_words(data: LiveAccuracy, average: np.ndarray, span: tuple[float, float]) -> list[dict]:
    top = best(data)
    if top is None:
        return []
    above = average[top] < span[0] + 0.9 * (span[1] - span[0])
    side = "right" if data.steps[top] > 0.7 * data.steps[-1] else "left" if top == 0 else "center"
    return [theme.label("best, not the result", float(data.steps[top]), float(average[top]), color=theme.CHANCE,
                        xanchor=side, yanchor="bottom" if above else "top", yshift=9 if above else -9,
                        bgcolor=theme.SURFACE, borderpad=1)]  # fmt: skip


def _entropy(data: LiveAccuracy) -> go.Scatter:
    """Return the strip of entropy; many updates are averaged, window by window."""
    window = max(1, -(-len(data.entropy) // SMOOTH))
    cuts = np.arange(0, len(data.entropy), window)
    sizes = np.diff(np.append(cuts, len(data.entropy)))
    mean = np.add.reduceat(data.entropy, cuts) / sizes if len(cuts) else data.entropy
    steps = data.entropy_steps[np.minimum(cuts + window, len(data.entropy)) - 1] if len(cuts) else cuts
    text = "entropy %{y:.3f} nats" + (f", mean of {window} updates" if window > 1 else "")
    return theme.scatter(
        x=steps, y=mean.astype(np.float32), yaxis="y2", mode="lines+markers" if len(steps) < 2 else "lines",
        line={"color": theme.PRETRAINED, "width": 1.75}, marker={"size": 6}, cliponaxis=False,
        hovertemplate=f"step %{{x}}: {text}<extra></extra>",
    )  # fmt: skip


def _level(value: float) -> dict[str, Any]:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "layer": "below",
            "line": {"color": theme.PRETRAINED, "width": 1, "dash": "5px,4px"}}  # fmt: skip


def _names(data: LiveAccuracy, curves: np.ndarray, average: np.ndarray, references: Mapping[str, float],
           colors: Mapping[str, str], span: tuple[float, float], more: Sequence[tuple[str, float]] = (),
           ) -> list[dict]:  # fmt: skip
    """Return the names of all lines at the right, at the height of their ends and moved apart where they collide.

    `more` are names and heights of other lines.
    """
    short, bold = theme.shorts(data.tasks, 12), f"<b>average {average[-1]:.1f}</b>"
    names = [
        *((text, y, colors.get(t, theme.MUTED), t)
          for text, y, t in zip(short, curves[-1], data.tasks, strict=True)),
        (bold, average[-1], theme.MERGED, ""),
        *((text, y, theme.MERGED, "") for text, y in more),
        *((f"┄ {theme.short(name, 16)}", y, theme.PRETRAINED, "") for name, y in references.items()),
    ]  # fmt: skip
    known = [entry for entry in names if np.isfinite(entry[1])]
    gap = 14 * (span[1] - span[0]) / (PLOT * (UPPER[1] - UPPER[0]))
    spots = theme.spread([float(y) for _, y, _, _ in known], gap, *span)
    return [
        theme.label(text, 1, spot, xref="paper", color=ink, xanchor="left", xshift=8, name=task)
        for (text, _, ink, task), spot in zip(known, spots, strict=True)
    ]  # fmt: skip


def demo() -> LiveAccuracy:
    from viz.examples import live_accuracy

    return live_accuracy()


if __name__ == "__main__":
    from viz.demo import show

    show("live_accuracy")
