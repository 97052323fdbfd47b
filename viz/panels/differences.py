"""Two runs on the same inputs: how much better the second is on every task, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from viz import theme

TITLE = "B minus A on the same inputs"
ABOUT = (
    "Points of accuracy that B has more than A, with Newcombe's 95 % interval for paired shares. A filled dot is more "
    "than chance at 5 % by McNemar's exact test, after Holm's correction over tasks. Click a task to see its inputs."
)
EMPTY = "Pin two runs of the table as A and B to compare them input by input."
SURE = 0.05  # p values below it are more than chance
ROOM, NARROW_ROOM = 118, 46  # pixels for the numbers at the right


@dataclass(frozen=True)
class TaskDifference:
    """B minus A in points with its 95 % interval, over `n` inputs that both have seen; the average has no task.

    `only_a` and `only_b` count the inputs that one alone has right; `p` is of the exact test, `corrected` after Holm.
    """

    task: str
    points: float
    low: float
    high: float
    only_a: int
    only_b: int
    n: int
    p: float
    corrected: float
    seen: bool = True

    @property
    def sure(self) -> bool:
        """True where the difference is more than chance."""
        return self.corrected < SURE


def figure(data: Sequence[TaskDifference], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Return a dot with its interval per task around a line at zero; the average comes first."""
    colors = colors or theme.colors(one.task for one in data if one.task)
    places = _places(data)
    low, high = min(-1.0, *(one.low for one in data)), max(1.0, *(one.high for one in data))
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    traces = [_whiskers(data, places), _dots(data, places, colors), _numbers(data, places, high)]
    return theme.figure(
        height=round(96 + 27 * (places[-1] + 1)), margin={"r": ROOM, "t": 34, "b": 44}, data=traces,
        xaxis=theme.axis(
            "points of accuracy, B − A", range=[low, high], fixedrange=True, nticks=7,
            zeroline=True, zerolinecolor=theme.INK, zerolinewidth=1.5,
        ),
        yaxis=theme.axis(
            range=[places[-1] + 0.6, -0.65], tickvals=places, ticktext=[_name(one) for one in data], showgrid=False,
            fixedrange=True, automargin=True, tickfont={"size": theme.TEXT, "color": theme.INK},
        ),
        annotations=[
            theme.label(word, 0, -0.65, color=theme.MUTED, yshift=12, xanchor=side, xshift=shift)
            for word, side, shift in (("← A better", "right", -6), ("B better →", "left", 6))
        ],
        meta={
            "axes": {"y": [[y, _address(one)] for one, y in zip(data, places, strict=True) if one.task]},
            "narrow": {
                "layout.margin.r": NARROW_ROOM,
                "data.2.text": [signed(one.points) for one in data],
                "layout.yaxis.ticktext": [_name(one, 11) for one in data],
            },
        },
    )  # fmt: skip


def rows(data: Sequence[TaskDifference]) -> tuple[list[str], list[list]]:
    """Return the figure's numbers; differences in points."""
    columns = ["task", "B − A", "low", "high", "only A right", "only B right", "inputs", "p", "p after Holm"]
    return columns, [
        [one.task or "average", one.points, one.low, one.high, one.only_a, one.only_b, one.n, one.p,
         one.corrected if one.task else None]
        for one in data
    ]  # fmt: skip


def signed(points: float) -> str:
    """Return points with their sign: +2.1, −0.3, 0.0."""
    return f"{points:+.1f}".replace("-", "−") if round(points, 1) else "0.0"


def chance(p: float) -> str:
    """Return a p value as papers write it."""
    if p < 1e-4:
        return "p < 0.0001"
    return f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.2g}"


def _places(data: Sequence[TaskDifference]) -> list[float]:
    """Return the height of every line, with a gap below the average and above the tasks without an expert."""
    places, y = [], 0.0
    for before, one in zip([None, *data], data, strict=False):
        if before is not None:
            y += 1.35 if not before.task or before.seen != one.seen else 1.0
        places.append(y)
    return places


def _name(one: TaskDifference, limit: int = 22) -> str:
    return theme.short(one.task, limit) if one.task else "<b>average</b>"


def _address(one: TaskDifference) -> dict[str, str]:
    return {"expert" if one.seen else "task": one.task}


def _whiskers(data: Sequence[TaskDifference], places: Sequence[float]) -> go.Scatter:
    x = [value for one in data for value in (one.low, one.high, None)]
    y = [value for place in places for value in (place, place, None)]
    return theme.scatter(x=x, y=y, mode="lines", hoverinfo="skip", line={"color": "var(--ms-whisker)", "width": 7})


def _dots(data: Sequence[TaskDifference], places: Sequence[float], colors: Mapping[str, str]) -> go.Scatter:
    own = [colors.get(one.task, theme.MUTED) if one.task else theme.INK for one in data]
    return theme.scatter(
        x=[one.points for one in data], y=list(places), mode="markers", hoverinfo="text", cliponaxis=False,
        hovertext=[_sentence(one) for one in data],
        marker={
            "size": 11,
            "color": [color if one.sure else theme.SURFACE for one, color in zip(data, own, strict=True)],
            "line": {"color": own, "width": 2},
        },
    )  # fmt: skip


def _numbers(data: Sequence[TaskDifference], places: Sequence[float], edge: float) -> go.Scatter:
    """The column at the right: the difference and its p value, corrected for tasks."""
    words = [f"{signed(one.points)}, {chance(one.corrected)}" for one in data]
    return theme.scatter(
        x=[edge] * len(data), y=list(places), mode="text", textposition="middle right", hoverinfo="skip",
        text=[text if one.task else f"<b>{text}</b>" for one, text in zip(data, words, strict=True)],
        cliponaxis=False, textfont={"size": theme.SMALL, "color": theme.INK},
    )  # fmt: skip


def _sentence(one: TaskDifference) -> str:
    corrected = f", {one.corrected:.2g} after Holm" if one.task else ""
    return (
        f"<b>{one.task or 'Average over tasks'}</b><br>B − A {signed(one.points)} points "
        f"({signed(one.low)} to {signed(one.high)} with 95 % confidence)<br>only A right on {one.only_a:,}, "
        f"only B right on {one.only_b:,} of {one.n:,} inputs<br>{chance(one.p)}{corrected}"
    )


def demo() -> list[TaskDifference]:
    """Return an example with clear and unclear differences and a task without an expert."""
    return [
        TaskDifference("", 2.2, 1.4, 3.0, 118, 199, 2500, 6e-6, 6e-6),
        TaskDifference("digits", 4.6, 2.6, 6.7, 6, 29, 500, 1e-4, 5e-4),
        TaskDifference("fashion", 0.6, -1.9, 3.1, 18, 21, 500, 0.75, 0.75),
        TaskDifference("animals", 7.4, 4.7, 10.2, 9, 46, 500, 5e-7, 3e-6),
        TaskDifference("letters", -3.2, -5.8, -0.7, 29, 13, 500, 0.02, 0.06),
        TaskDifference("emoji", 1.6, -1.6, 4.8, 29, 37, 500, 0.39, 0.75),
        TaskDifference("scripts", -1.0, -4.1, 2.1, 34, 29, 500, 0.61, 0.75, False),
    ]


if __name__ == "__main__":
    from viz.demo import show

    show("differences")
