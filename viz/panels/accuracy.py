"""Accuracy per task: pretrained, merged and expert on one line each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from viz import theme

TITLE = "Accuracy per task"
ABOUT = (
    "Each line runs from the pretrained model (ring) to the task's own expert (diamond). The dot on it is the merged "
    "model with its 95 % interval, hollow while pictures are still being scored. The closer to the diamond, the less "
    "the merge lost."
)
EMPTY = "No score yet. Choose experts and a method, then press Merge."
PINNED = "The bar below it is the run pinned as {}, with its interval."
WORDS = {"pretrained": "○ pretrained", "merged": "● merged", "expert": "◆ expert"}
EDGE = 103  # where the column of numbers starts, on the axis of percent
BELOW = 0.3  # lines between a score and that of the pinned run


@dataclass(frozen=True)
class TaskAccuracy:
    """Accuracies of one task in %, any missing; `interval` is of `merged`, scored on `done` of `total` pictures.

    `pinned` is what another run scored, which is compared with, `pinned_interval` its interval.
    """

    task: str
    merged: float | None = None
    expert: float | None = None
    pretrained: float | None = None
    interval: tuple[float, float] | None = None
    done: int = 0
    total: int = 0
    seen: bool = True
    title: str = ""
    pinned: float | None = None
    pinned_interval: tuple[float, float] | None = None

    @property
    def partial(self) -> bool:
        """True while the merged score is an estimate from some of the pictures."""
        return self.merged is not None and self.done < self.total

    def known(self, field: str) -> bool:
        """True when the accuracy `field` is there and finite."""
        return (value := getattr(self, field)) is not None and math.isfinite(value)


def figure(data: Sequence[TaskAccuracy], *, colors: Mapping[str, str] | None = None, letter: str = "A") -> go.Figure:
    """Return the dot plot: the average first, then seen tasks, then unseen ones; `letter` is that of the pinned run."""
    colors = colors or theme.colors(score.task for score in data)
    lines, heading = _lines(data)
    last = lines[-1][1]
    return theme.figure(
        height=round(92 + 27 * (last + 1)),
        margin={"r": 62, "t": 34, "b": 44},
        data=[*_tracks(lines), *_marks(lines, colors, letter), *_pinned(lines, letter), _numbers(lines)],
        xaxis=theme.axis(
            "accuracy, % of test pictures", range=[0, EDGE], tickvals=[0, 25, 50, 75, 100], fixedrange=True
        ),
        yaxis=theme.axis(
            range=[last + 0.6, -0.65],
            tickvals=[y for _, y in lines],
            ticktext=[_name(score) for score, _ in lines],
            showgrid=False,
            fixedrange=True,
            automargin=True,
            tickfont={"size": theme.TEXT, "color": theme.INK},
        ),
        annotations=[*_key(lines[0]), *heading],
        meta={
            "about": f"{ABOUT} {PINNED.format(letter)}" if any(score.known("pinned") for score in data) else ABOUT,
            "axes": {"y": [[y, _address(score)] for score, y in lines if score.task]},
            "narrow": {"layout.yaxis.ticktext": [_name(score, 11) for score, _ in lines], **_narrow_key(lines[0])},
        },
    )


def rows(data: Sequence[TaskAccuracy], *, letter: str = "A") -> tuple[list[str], list[list]]:
    """Return the figure's numbers, tasks first and the average of the seen ones last."""
    columns = ["task", "expert merged", "pretrained %", "merged %", "low %", "high %", "expert %", "pictures", "of"]
    pinned = any(s.known("pinned") for s in data)
    columns += [f"pinned as {letter} %", f"{letter} low %", f"{letter} high %"] if pinned else []
    scores = [*data, average(data)] if len(data) > 1 else data
    return columns, [
        [
            s.title or s.task,
            "" if not s.task else "yes" if s.seen else "no",
            s.pretrained,
            s.merged,
            *(s.interval or (None, None)),
            s.expert,
            s.done,
            s.total,
            *((s.pinned, *(s.pinned_interval or (None, None))) if pinned else ()),
        ]
        for s in scores
    ]


def average(data: Sequence[TaskAccuracy]) -> TaskAccuracy:
    """Return the mean over seen tasks of every number that all of them have."""
    seen = [score for score in data if score.seen] or list(data)
    means: dict[str, Any] = {
        field: sum(getattr(s, field) for s in seen) / len(seen)
        for field in (*WORDS, "pinned")
        if seen and all(s.known(field) for s in seen)
    }
    done, total = sum(s.done for s in seen), sum(s.total for s in seen)
    return TaskAccuracy("", done=done, total=total, title="average", **means)


Lines = list[tuple[TaskAccuracy, float]]


def _lines(data: Sequence[TaskAccuracy]) -> tuple[Lines, list[dict]]:
    """Return every score with its y, and the words above the unseen tasks."""
    lines = [(average(data), 0.0)] if len(data) > 1 else []
    y, heading = 1.35 if lines else 0.0, []
    for score in sorted(data, key=lambda s: not s.seen):
        if not score.seen and not heading:
            y += 0.55 if lines else 0.0
            text = "tasks without an expert"
            heading = [theme.label(text, 0, y, color=theme.MUTED, yshift=18, xanchor="left")]
        lines.append((score, y))
        y += 1
    return lines, heading


def _name(score: TaskAccuracy, limit: int = 22) -> str:
    text = theme.short(score.title or score.task, limit)
    return text if score.task else f"<b>{text}</b>"


def _address(score: TaskAccuracy) -> dict[str, str]:
    return {"expert" if score.seen else "task": score.task}


def _sentence(score: TaskAccuracy, letter: str) -> str:
    """Return what a reader should know of one line, as hover text."""
    head = score.title or score.task if score.task else "Average of the seen tasks"
    known = [field for field in ("merged", "expert", "pretrained") if score.known(field)]
    parts = [f"{field} {getattr(score, field):.1f} %" for field in known]
    if score.interval and score.known("merged"):
        parts[0] += f" ({score.interval[0]:.1f} to {score.interval[1]:.1f} with 95 % confidence)"
    if score.known("pinned"):
        parts.append(f"pinned as {letter} {score.pinned:.1f} %")
    if score.total:
        parts.append(f"{'estimate so far: ' if score.partial else ''}{score.done:,} of {score.total:,} pictures scored")
    return f"<b>{head}</b><br>" + "<br>".join(parts or ["not scored yet"])


def _tracks(lines: Lines) -> list[go.Scatter]:
    """The thin track between the ends of a line, the part that the merge covers, and its interval."""
    track, gain, interval = ([], []), ([], []), ([], [])
    for score, y in lines:
        ends = [getattr(score, field) for field in WORDS if score.known(field)]
        if ends:
            _segment(track, min(ends), max(ends), y)
        if score.merged is not None and score.pretrained is not None:
            _segment(gain, score.pretrained, score.merged, y)
        if score.known("merged") and score.interval:
            _segment(interval, *score.interval, y)
    styles = ((track, theme.RULE, 1.5), (gain, theme.PRETRAINED, 2.5), (interval, "var(--ms-whisker)", 7))
    return [
        theme.scatter(x=x, y=y, mode="lines", hoverinfo="skip", line={"color": color, "width": width})
        for (x, y), color, width in styles
    ]


def _segment(into: tuple[list, list], start: float, end: float, y: float) -> None:
    into[0].extend((start, end, None))
    into[1].extend((y, y, None))


def _marks(lines: Lines, colors: Mapping[str, str], letter: str) -> list[go.Scatter]:
    """Ring, diamond and dot; the dot is filled once its score is final."""
    ring = {"symbol": "circle", "size": 9, "color": theme.SURFACE, "line": {"color": theme.PRETRAINED, "width": 1.75}}
    fill = [theme.SURFACE if s.partial else theme.MERGED for s, _ in lines if s.known("merged")]
    dot = {"symbol": "circle", "size": 11, "color": fill, "line": {"color": theme.MERGED, "width": 2}}
    own = [colors.get(s.task, theme.MUTED) for s, _ in lines if s.known("expert")]
    styles = {"pretrained": ring, "expert": {"symbol": "diamond", "size": 10, "color": own}, "merged": dot}
    return [
        theme.scatter(
            x=[getattr(score, field) for score, _ in lines if score.known(field)],
            y=[y for score, y in lines if score.known(field)],
            hovertext=[_sentence(score, letter) for score, _ in lines if score.known(field)],
            mode="markers",
            hoverinfo="text",
            name=field,
            marker=marker,
            cliponaxis=False,
        )
        for field, marker in styles.items()
    ]


def _pinned(lines: Lines, letter: str) -> list[go.Scatter]:
    """A bar below every line where the pinned run scored, on its interval, named at the first one."""
    known = [(score, y + BELOW) for score, y in lines if score.known("pinned")]
    if not known:
        return []
    interval: tuple[list, list] = ([], [])
    for score, y in known:
        if score.pinned_interval:
            _segment(interval, *score.pinned_interval, y)
    return [
        theme.scatter(x=interval[0], y=interval[1], mode="lines", hoverinfo="skip", name="pinned interval",
                      cliponaxis=False, line={"color": "var(--ms-mark)", "width": 1.5}),
        theme.scatter(
            x=[score.pinned for score, _ in known], y=[y for _, y in known], mode="markers+text", hoverinfo="text",
            hovertext=[_sentence(score, letter) for score, _ in known], name="pinned", cliponaxis=False,
            marker={"symbol": "line-ns", "size": 9, "line": {"color": "var(--ms-mark)", "width": 2.5}},
            text=[letter, *[""] * (len(known) - 1)], textposition="bottom center",
            textfont={"size": theme.SMALL, "color": "var(--ms-mark)"},
        ),
    ]  # fmt: skip


def _numbers(lines: Lines) -> go.Scatter:
    """The column of merged scores at the right edge; '≈' marks an estimate."""
    text = [f"\u00a0{'≈ ' if s.partial else ''}{s.merged:.1f}" if s.known("merged") else "" for s, _ in lines]
    return theme.scatter(
        x=[EDGE] * len(lines),
        y=[y for _, y in lines],
        text=[t if s.task or not t else f"<b>{t}</b>" for t, (s, _) in zip(text, lines, strict=True)],
        mode="text",
        textposition="middle right",
        hoverinfo="skip",
        cliponaxis=False,
        textfont={"size": theme.TEXT, "color": theme.INK},
    )


def _key(first: tuple[TaskAccuracy, float]) -> list[dict]:
    """Words for the three marks, above those of the first line and moved apart where they would collide."""
    score, y = first
    tones = {"pretrained": theme.PRETRAINED, "merged": theme.MERGED, "expert": theme.MUTED}
    return [
        theme.label(WORDS[field], x, y, color=tones[field], yshift=20, xanchor="center")
        for field, x in _key_places(score, 22, 6, 96)
    ]


def _narrow_key(first: tuple[TaskAccuracy, float]) -> dict[str, float]:
    places = _key_places(first[0], 46, -4, 94)
    return {"layout.margin.r": 54} | {f"layout.annotations.{i}.x": x for i, (_, x) in enumerate(places)}


def _key_places(score: TaskAccuracy, gap: float, low: float, high: float) -> list[tuple[str, float]]:
    known = [field for field in WORDS if score.known(field)]
    return list(zip(known, theme.spread([getattr(score, f) for f in known], gap, low, high), strict=True))


def demo() -> list[TaskAccuracy]:
    """Return an example with scores still coming in and an unseen task."""
    numbers = {
        "digits": (38.0, 78.2, 96.1),
        "fashion": (52.0, 71.4, 84.9),
        "animals": (41.0, 69.8, 88.3),
        "letters": (47.0, 80.2, 94.0),
        "icons": (58.0, 77.5, 91.2),
        "emoji": (33.0, 47.3, 61.5),
        "landcover": (40.0, 55.1, 70.2),
        "instruments": (49.0, 74.6, 92.4),
    }
    scores = []
    for i, (task, (pretrained, merged, expert)) in enumerate(numbers.items()):
        done, half = (500, 3.0) if i < 5 else (64, 9.5)
        scores.append(TaskAccuracy(task, merged, expert, pretrained, (merged - half, merged + half), done, 500))
    return [*scores, TaskAccuracy("scripts", 44.0, None, 48.5, (40.0, 48.0), 500, 500, seen=False)]


if __name__ == "__main__":
    from viz.demo import show

    show("accuracy")
