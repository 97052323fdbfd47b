"""How much accuracy merges keep when the pictures are spoiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme

TITLE = "Accuracy on spoiled pictures"
ABOUT = (
    "Each row is a model or a merge, each column a way to spoil the pictures; 'mean' is over those. 'Points lost' is "
    "against clean pictures. 'Who saw what': methods that adapt, once to clean pictures, once to pictures spoiled "
    "alike."
)
EMPTY = "Not measured yet. Run `python -m merge_engine table --parts robustness`."
CLEAN, MEAN = "clean", "mean"
ROW = 26  # pixels: two lines of a narrow page


@dataclass(frozen=True, eq=False)
class Robustness:
    """Mean accuracy over tasks in %, (C, 1 + K): of C cases on clean pictures and under K corruptions; NaN unknown.

    `adapted` are the methods that adapt once more, to clean pictures and alike, where that was measured.
    """

    cases: tuple[str, ...]
    corruptions: tuple[str, ...]
    accuracy: np.ndarray
    severities: tuple[int, ...] = ()
    adapted: Robustness | None = None

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def columns(self) -> tuple[str, ...]:
        return (CLEAN, *(heat.words(name) for name in self.corruptions), MEAN)

    def table(self, view: str) -> np.ndarray:
        """Return accuracy in %, or the points lost against clean pictures, (C, 1 + K + 1) with the mean last."""
        every = np.hstack([self.accuracy, self.accuracy[:, 1:].mean(1, keepdims=True)])
        return every[:, :1] - every if view == "lost" else every


def VIEWS(data: Robustness) -> dict[str, str]:
    """Return the views: that of the pictures adapted to where both kinds were measured."""
    return {"accuracy": "Accuracy", "lost": "Points lost"} | ({"adapted": "Who saw what"} if data.adapted else {})


def figure(data: Robustness, *, view: str = "accuracy") -> go.Figure:
    """Return case against corruption, with the numbers in the cells."""
    data = _seen(data, view)
    z, columns = data.table(view), data.columns
    title = "points lost" if view == "lost" else "accuracy, %"
    scale = heat.Scale.of(z, title)
    at, shown = list(range(len(columns))), theme.shorts(columns, 11)
    trace = heat.cells(columns, data.cases, z, scale, hover="<b>%{y}</b>, %{x}<br>%{z:.1f} " + title, gap=1.5)
    trace.update(text=_numbers(z, 1), texttemplate="%{text}")
    return heat.picture(
        [trace], scale, z, rows=len(data), row_height=max(ROW, min(34, 380 // len(data))), top=64,
        xaxis={"type": "category", "side": "top", "tickvals": at, "ticktext": shown, "tickangle": -35,
               "range": [-0.5, len(columns) - 0.5]},
        yaxis={"type": "category", "tickvals": list(range(len(data))), "ticktext": theme.shorts(data.cases, 34),
               "range": [len(data) - 0.5, -0.5]},
        meta={
            "title": f"{TITLE}, {_degrees(data.severities)}" if data.severities else TITLE,
            "narrow": {"layout.xaxis.ticktext": theme.shorts(columns, 6), "layout.xaxis.tickangle": -90,
                       "layout.yaxis.ticktext": _stacked(data.cases), "layout.yaxis.tickfont.size": theme.TINY,
                       "data.0.text": _numbers(z, 0), "data.0.textfont.size": theme.TINY},
        },
    )  # fmt: skip


def rows(data: Robustness, *, view: str = "accuracy") -> tuple[list[str], list[list]]:
    """Return one line per case."""
    data = _seen(data, view)
    return ["case", *data.columns], [[case, *line] for case, line in zip(data.cases, data.table(view), strict=True)]


def _seen(data: Robustness, view: str) -> Robustness:
    return data.adapted if view == "adapted" and data.adapted else data


def _stacked(cases: tuple[str, ...]) -> list[str]:
    """Return names on two lines, a case above what is special about it."""
    parts = [case.partition(", ") for case in cases]
    heads = list(dict.fromkeys(head for head, _, _ in parts))
    short = dict(zip(heads, theme.shorts(heads, 11), strict=True))
    return [f"{short[head]}<br>{theme.short(tail, 11)}" if tail else short[head] for head, _, tail in parts]


def _degrees(severities: tuple[int, ...]) -> str:
    """Return severities in words: severity 3, severities 1 to 5."""
    first, last = severities[0], severities[-1]
    if first == last:
        return f"severity {first}"
    whole = severities == tuple(range(first, last + 1))
    return f"severities {first} to {last}" if whole else f"severities {', '.join(map(str, severities))}"


def _numbers(z: np.ndarray, digits: int) -> list[list[str]]:
    return [["" if np.isnan(v) else f"{v:.{digits}f}".replace("-", "−") for v in line] for line in z]


def demo() -> Robustness:
    from viz.examples import robustness

    return robustness()


if __name__ == "__main__":
    from viz.demo import show

    show("robustness")
