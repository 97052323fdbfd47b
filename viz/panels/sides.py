"""Two runs task by task: the accuracy of both with their intervals, and whether the difference is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from viz import theme
from viz.panels.differences import chance

TITLE = "A and B by task"
ABOUT = (
    "Bars are accuracies with their 95 % intervals: A pale, B full. At the right, what McNemar's exact test says of "
    "the same inputs, after Holm's correction over tasks. Click a task to see the inputs that differ."
)
EMPTY = "Pin two runs of the table as A and B to see them beside each other."
ROW, MOST = 36, 520  # pixels of a task, and of the whole figure at most
WIDTH, PALE = 0.38, 0.42  # of a bar in rows; opacity of A
EDGE = 119  # where the column of verdicts starts, on the axis of percent
ROOM, NARROW_ROOM = 132, 62  # pixels for the verdicts


@dataclass(frozen=True)
class Scored:
    """The accuracy of one run on a task in % with its interval, on `n` inputs."""

    accuracy: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class TaskSides:
    """A task in both runs, each None where it is not known; the average has no task.

    `better` names the run that is better by more than chance, empty for neither, and `p` is corrected for several
    tests; None where nothing was tested.
    """

    task: str
    a: Scored | None
    b: Scored | None
    better: str = ""
    p: float | None = None
    seen: bool = True

    @property
    def verdict(self) -> str:
        """What the test says in words."""
        if self.p is None:
            return "not tested"
        return f"{self.better} better" if self.better else "may be chance"


def figure(data: Sequence[TaskSides], *, colors: Mapping[str, str] | None = None) -> go.Figure:
    """Return two bars per task with whiskers; the average comes first, tasks without an expert last."""
    colors = colors or theme.colors(one.task for one in data if one.task)
    places = _places(data)
    return theme.figure(
        height=min(MOST, round(92 + ROW * (places[-1] + 1))),
        margin={"r": ROOM, "t": 16, "b": 44},
        barmode="overlay",
        data=[
            *(_bars(data, places, which, colors) for which in "ab"),
            *(_numbers(data, places, which) for which in "ab"), _verdicts(data, places),
        ],
        xaxis=theme.axis("accuracy, % of test pictures", range=[0, EDGE], tickvals=[0, 25, 50, 75, 100],
                         fixedrange=True),
        yaxis=theme.axis(
            range=[places[-1] + 0.6, -0.6], tickvals=places, ticktext=[_name(one) for one in data], showgrid=False,
            fixedrange=True, automargin=True, tickfont={"size": theme.TEXT, "color": theme.INK},
        ),
        meta={
            "axes": {"y": [[y, _address(one)] for one, y in zip(data, places, strict=True) if one.task]},
            "narrow": {
                "layout.margin.r": NARROW_ROOM,
                "data.4.text": [one.better or "–" for one in data],
                "layout.yaxis.ticktext": [_name(one, 9) for one in data],
            },
        },
    )  # fmt: skip


def rows(data: Sequence[TaskSides]) -> tuple[list[str], list[list]]:
    """Return the figure's numbers."""
    columns = ["task", *(f"{which} {what}" for which in "AB" for what in ("%", "low %", "high %", "inputs")),
               "verdict", "p after Holm"]  # fmt: skip
    return columns, [[one.task or "average", *_cells(one.a), *_cells(one.b), one.verdict, one.p] for one in data]


def _cells(side: Scored | None) -> list[float | None]:
    return [None] * 4 if side is None else [side.accuracy, side.low, side.high, side.n]


def _places(data: Sequence[TaskSides]) -> list[float]:
    """Return the height of every line, with a gap below the average and above the tasks without an expert."""
    places, y = [], 0.0
    for before, one in zip([None, *data], data, strict=False):
        if before is not None:
            y += 1.2 if not before.task or before.seen != one.seen else 1.0
        places.append(y)
    return places


def _bars(data: Sequence[TaskSides], places: Sequence[float], which: str, colors: Mapping[str, str]) -> go.Bar:
    """Return the bars of one run with their whiskers, those of A above those of B."""
    known = [(one, y, side) for one, y in zip(data, places, strict=True) if (side := getattr(one, which))]
    whiskers = {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 3, "color": theme.INK,
        "array": [side.high - side.accuracy for *_, side in known],
        "arrayminus": [side.accuracy - side.low for *_, side in known],
    }  # fmt: skip
    return theme.bar(
        orientation="h", x=[side.accuracy for *_, side in known], y=[y for _, y, _ in known], width=WIDTH,
        offset=-WIDTH if which == "a" else 0.02, error_x=whiskers, hoverinfo="text", name=which.upper(),
        hovertext=[_sentence(one, which.upper(), side) for one, _, side in known],
        marker={"color": [colors.get(one.task, theme.MUTED) if one.task else theme.INK for one, *_ in known],
                "opacity": PALE if which == "a" else 1, "line": {"width": 0}},
    )  # fmt: skip


def _numbers(data: Sequence[TaskSides], places: Sequence[float], which: str) -> go.Scatter:
    """Return the accuracy of one run behind the whiskers of every task."""
    known = [(one, y, side) for one, y in zip(data, places, strict=True) if (side := getattr(one, which))]
    shift = -WIDTH / 2 if which == "a" else WIDTH / 2 + 0.02
    return theme.scatter(
        x=[side.high + 0.8 for *_, side in known], y=[y + shift for _, y, _ in known], mode="text", hoverinfo="skip",
        text=[f" {which.upper()} {side.accuracy:.1f}" for *_, side in known], textposition="middle right",
        cliponaxis=False, textfont={"size": theme.SMALL, "color": theme.MUTED if which == "a" else theme.INK},
    )  # fmt: skip


def _verdicts(data: Sequence[TaskSides], places: Sequence[float]) -> go.Scatter:
    """The column at the right; what is more than chance in bold."""
    words = [f"<b>{one.verdict}</b>, {chance(one.p)}" if one.better and one.p is not None else one.verdict
             for one in data]  # fmt: skip
    return theme.scatter(
        x=[EDGE] * len(data), y=list(places), mode="text", textposition="middle right", hoverinfo="skip", text=words,
        cliponaxis=False,
        textfont={"size": theme.SMALL, "color": [theme.INK if one.better else theme.MUTED for one in data]},
    )  # fmt: skip


def _sentence(one: TaskSides, letter: str, side: Scored) -> str:
    tested = "" if one.p is None else f"<br>{one.verdict}, {chance(one.p)}"
    return (
        f"<b>{one.task or 'Average over tasks'}</b><br>{letter} {side.accuracy:.1f} % ({side.low:.1f} to "
        f"{side.high:.1f} with 95 % confidence), {side.n:,} inputs{tested}"
    )


def _name(one: TaskSides, limit: int = 22) -> str:
    return theme.short(one.task, limit) if one.task else "<b>average</b>"


def _address(one: TaskSides) -> dict[str, str]:
    return {"expert" if one.seen else "task": one.task}


def demo() -> list[TaskSides]:
    """Return an example with clear and unclear differences and a task without an expert."""
    numbers = {
        "": (64.1, 81.3, "B", 1e-6), "digits": (78.2, 96.1, "B", 5e-4), "fashion": (71.4, 72.0, "", 0.75),
        "animals": (69.8, 88.3, "B", 3e-6), "letters": (80.2, 77.0, "", 0.06), "emoji": (47.3, 48.9, "", 0.75),
        "scripts": (44.0, 35.5, "A", 0.01),
    }  # fmt: skip
    found = []
    for task, (*pair, better, p) in numbers.items():
        a, b = (Scored(float(value), float(value) - 3.6, float(value) + 3.4, 500) for value in pair)
        found.append(TaskSides(task, a, b, better, p, task != "scripts"))
    return found


if __name__ == "__main__":
    from viz.demo import show

    show("sides")
