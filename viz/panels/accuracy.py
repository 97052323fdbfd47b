"""Accuracy per task: pretrained, merged and expert on one line each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from viz import theme

TITLE = "Accuracy per task"
ABOUT = (
    "Each line runs from the pretrained model (ring) to the task's own expert (diamond); the merged model is the dot "
    "on it, with its 95 % interval. The closer to the diamond, the less the merge lost."
)
EMPTY = "No score yet. Choose experts and a method, then press Merge."


@dataclass(frozen=True)
class TaskAccuracy:
    """Accuracies of one task in %, any of them missing; `interval` belongs to `merged`, scored on `done` of `total`."""

    task: str
    merged: float | None = None
    expert: float | None = None
    pretrained: float | None = None
    interval: tuple[float, float] | None = None
    done: int = 0
    total: int = 0
    seen: bool = True
    title: str = ""

    @property
    def partial(self) -> bool:
        """True while the merged score is an estimate from some of the pictures."""
        return self.merged is not None and self.done < self.total


def figure(data: Sequence[TaskAccuracy], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Return the dot plot: the average first, then seen tasks, then unseen ones."""
    colors = colors or theme.colors(score.task for score in data)
    lines = [(average(data), 0.0)] if len(data) > 1 else []
    top = 1.35 if lines else 0.0
    seen = [score for score in data if score.seen]
    unseen = [score for score in data if not score.seen]
    lines += [(score, top + i) for i, score in enumerate(seen)]
    below = top + len(seen) + (0.55 if seen and unseen else 0.0)
    lines += [(score, below + i) for i, score in enumerate(unseen)]
    last = lines[-1][1]
    result = theme.figure(height=round(74 + 27 * (last + 1)), margin={"l": 8, "r": 58, "t": 34, "b": 40})
    result.add_traces(
        [*_tracks(lines), _rings(lines), _diamonds(lines, colors), *_dots(lines), _values(lines)]
    )
    names = [_name(score) for score, _ in lines]
    positions = [y for _, y in lines]
    result.update_layout(
        xaxis=theme.axis(
            "accuracy, % of test pictures", range=[0, 100], tickvals=[0, 25, 50, 75, 100], fixedrange=True
        ),
        yaxis=theme.axis(
            range=[last + 0.6, -0.65],
            tickvals=positions,
            ticktext=names,
            showgrid=False,
            fixedrange=True,
            automargin=True,
            tickfont={"size": theme.TEXT, "color": theme.INK},
            ticklabelstandoff=6,
        ),
        annotations=[*_key(lines), *_headings(unseen, below)],
        meta={
            "axes": {"y": [[y, _address(score)] for score, y in lines if score.task]},
            "narrow": {"layout.yaxis.ticktext": [theme.short(n, 11) for n in names]},
        },
    )
    return result


def rows(data: Sequence[TaskAccuracy]) -> tuple[list[str], list[list]]:
    """Return the figure's numbers as a table."""
    columns = ["task", "seen", "pretrained %", "merged %", "low %", "high %", "expert %", "pictures", "of"]
    table = [
        [
            s.title or s.task,
            "yes" if s.seen else "no",
            s.pretrained,
            s.merged,
            *(s.interval or (None, None)),
            s.expert,
            s.done,
            s.total,
        ]
        for s in data
    ]
    mean = average(data)
    if len(data) > 1:
        table.append(
            [
                "average of seen",
                "",
                mean.pretrained,
                mean.merged,
                None,
                None,
                mean.expert,
                mean.done,
                mean.total,
            ]
        )
    return columns, table


def average(data: Sequence[TaskAccuracy]) -> TaskAccuracy:
    """Return the mean over seen tasks; a mean is given only where every seen task has the number."""
    seen = [score for score in data if score.seen] or list(data)

    def mean(numbers: list[float | None]) -> float | None:
        known = [n for n in numbers if _known(n)]
        return sum(known) / len(known) if known and len(known) == len(numbers) else None

    return TaskAccuracy(
        task="",
        title="average",
        merged=mean([s.merged for s in seen]),
        expert=mean([s.expert for s in seen]),
        pretrained=mean([s.pretrained for s in seen]),
        done=sum(s.done for s in seen),
        total=sum(s.total for s in seen),
    )


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _name(score: TaskAccuracy) -> str:
    return f"<b>{score.title}</b>" if not score.task else score.title or score.task


def _address(score: TaskAccuracy) -> dict[str, str]:
    return {"expert": score.task} if score.seen else {"task": score.task}


def _sentence(score: TaskAccuracy) -> str:
    """Return what a reader should know of one line, as hover text."""
    parts = []
    if _known(score.merged):
        span = (
            f" ({score.interval[0]:.1f} to {score.interval[1]:.1f} with 95 % confidence)"
            if score.interval
            else ""
        )
        parts.append(f"merged {score.merged:.1f} %{span}")
    parts += [
        f"{n} {v:.1f} %" for n, v in (("expert", score.expert), ("pretrained", score.pretrained)) if _known(v)
    ]
    head = score.title or score.task
    if score.task:
        head += "" if score.seen else " (no expert of its own)"
    else:
        head = "Average of the seen tasks"
    count = ""
    if score.total:
        count = (
            f"<br>{'first estimate: ' if score.partial else ''}{score.done} of {score.total} pictures scored"
        )
    return f"<b>{head}</b><br>" + "<br>".join(parts or ["not scored yet"]) + count


def _tracks(lines: list[tuple[TaskAccuracy, float]]) -> list[go.Scatter]:
    """The thin track from pretrained to expert, and the part of it that the merge has covered."""
    track, gain = ([], []), ([], [])
    for score, y in lines:
        ends = [v for v in (score.pretrained, score.merged, score.expert) if _known(v)]
        if ends:
            _segment(track, min(ends), max(ends), y)
        if _known(score.merged) and _known(score.pretrained):
            _segment(gain, score.pretrained, score.merged, y)
    return [_line(track, theme.RULE, 1.5), _line(gain, theme.MERGED, 2.5)]


def _segment(into: tuple[list, list], start: float, end: float, y: float) -> None:
    into[0].extend((start, end, None))
    into[1].extend((y, y, None))


def _line(points: tuple[list, list], color: str, width: float) -> go.Scatter:
    return go.Scatter(
        x=points[0], y=points[1], mode="lines", hoverinfo="skip", line={"color": color, "width": width}
    )


def _rings(lines: list[tuple[TaskAccuracy, float]]) -> go.Scatter:
    return _marks(
        [(s, y) for s, y in lines if _known(s.pretrained)],
        "pretrained",
        {
            "symbol": "circle",
            "size": 9,
            "color": theme.SURFACE,
            "line": {"color": theme.PRETRAINED, "width": 1.75},
        },
    )


def _diamonds(lines: list[tuple[TaskAccuracy, float]], colors: Mapping[str, str]) -> go.Scatter:
    known = [(s, y) for s, y in lines if _known(s.expert)]
    fill = [colors.get(s.task, theme.MUTED) for s, _ in known]
    return _marks(known, "expert", {"symbol": "diamond", "size": 10, "color": fill})


def _dots(lines: list[tuple[TaskAccuracy, float]]) -> list[go.Scatter]:
    """Merged scores with whiskers: filled when final, hollow while they are estimates."""
    traces = []
    for partial in (False, True):
        known = [(s, y) for s, y in lines if _known(s.merged) and s.partial == partial]
        fill = theme.SURFACE if partial else theme.MERGED
        trace = _marks(
            known,
            "merged",
            {"symbol": "circle", "size": 11, "color": fill, "line": {"color": theme.MERGED, "width": 2}},
        )
        low = [s.merged - s.interval[0] if s.interval else 0 for s, _ in known]
        high = [s.interval[1] - s.merged if s.interval else 0 for s, _ in known]
        trace.error_x = {
            "type": "data",
            "symmetric": False,
            "array": high,
            "arrayminus": low,
            "width": 0,
            "thickness": 5,
            "color": "var(--ms-whisker)",
        }
        traces.append(trace)
    return traces


def _marks(known: list[tuple[TaskAccuracy, float]], field: str, marker: dict) -> go.Scatter:
    return go.Scatter(
        x=[getattr(score, field) for score, _ in known],
        y=[y for _, y in known],
        mode="markers",
        marker=marker,
        hoverinfo="text",
        hovertext=[_sentence(score) for score, _ in known],
        name=field,
        cliponaxis=False,
    )


def _values(lines: list[tuple[TaskAccuracy, float]]) -> go.Scatter:
    """The column of merged scores at the right edge; '≈' marks an estimate."""
    text = [("" if not _known(s.merged) else f"{'≈ ' if s.partial else ''}{s.merged:.1f}") for s, _ in lines]
    text = [f"<b>{t}</b>" if t and not s.task else t for t, (s, _) in zip(text, lines, strict=True)]
    return go.Scatter(
        x=[100] * len(lines),
        y=[y for _, y in lines],
        mode="text",
        text=text,
        cliponaxis=False,
        textposition="middle right",
        hoverinfo="skip",
        textfont={"size": theme.TEXT, "color": theme.INK},
    )


def _key(lines: list[tuple[TaskAccuracy, float]]) -> list[dict]:
    """Words for the three marks, above the first line that has them all, moved apart where they would collide."""
    words = {
        "pretrained": ("○ pretrained", theme.PRETRAINED),
        "merged": ("● merged", theme.MERGED),
        "expert": ("◆ expert", theme.MUTED),
    }
    score, y = lines[0]
    known = [f for f in words if _known(getattr(score, f))]
    places = theme.spread([getattr(score, f) for f in known], 24, 6, 94)
    return [
        theme.label(words[f][0], x, y, color=words[f][1], yshift=20, xanchor="center")
        for f, x in zip(known, places, strict=True)
    ]


def _headings(unseen: list[TaskAccuracy], y: float) -> list[dict]:
    if not unseen:
        return []
    return [theme.label("no expert for these tasks", 0, y, color=theme.MUTED, yshift=18, xanchor="left")]


def demo() -> list[TaskAccuracy]:
    """Return an example with a partial score and an unseen task."""
    numbers = {
        "digits": (38, 78.2, 96.1),
        "fashion": (52, 71.4, 84.9),
        "animals": (41, 69.8, 88.3),
        "letters": (47, 80.2, 94.0),
        "icons": (58, 77.5, 91.2),
        "emoji": (33, 47.3, 61.5),
        "landcover": (40, 55.1, 70.2),
        "instruments": (49, 74.6, 92.4),
    }
    scores = [
        TaskAccuracy(t, m, e, p, (m - 3.1, m + 2.9), 500 if i < 5 else 64, 500)
        for i, (t, (p, m, e)) in enumerate(numbers.items())
    ]
    return [*scores, TaskAccuracy("scripts", 44.0, None, 48.5, (40, 48), 500, 500, seen=False)]


if __name__ == "__main__":
    from viz.demo import show

    show("accuracy")
