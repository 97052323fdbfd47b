"""What the options of a method are worth: points won or lost by task, one change at a time."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme

TITLE = "What do the options change?"
ABOUT = (
    "Each row changes one option of the setting in the table, which is the outlined row; the number beside its name is "
    "its average accuracy. Cells are points won or lost against that setting. A row that is told the task is a ceiling."
)
EMPTY = "Not measured yet. Run `python -m merge_engine table --parts variants`."
MEAN = "mean"
WON, SHORT = "points won over the setting in the table", "points won"  # what colours say, and on a narrow page
REACH = 20  # points at which colours end


@dataclass(frozen=True)
class Case:
    """One variant of a method: what was changed, parameters kept, passes of one model an input costs, seconds.

    `right` is the share of inputs in % that went to their own expert, None where none is chosen; `told` marks a
    variant that is given the task of its input.
    """

    words: str
    parameters: float
    passes: float
    seconds: float
    right: float | None = None
    told: bool = False


@dataclass(frozen=True, eq=False)
class Variants:
    """Accuracy (V, T) in % of V variants of one method on T tasks, NaN unknown; all are compared with the first."""

    method: str
    title: str
    tasks: tuple[str, ...]
    cases: tuple[Case, ...]
    accuracy: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.tasks, MEAN)

    def table(self) -> np.ndarray:
        """Return accuracy in %, (V, T + 1) with the mean last."""
        return np.hstack([self.accuracy, self.accuracy.mean(1, keepdims=True)])

    def apart(self) -> np.ndarray:
        """Return points won over the first variant, (V, T + 1) with the mean last."""
        return self.table() - self.table()[:1]


def VIEWS(data: Sequence[Variants]) -> dict[str, str]:
    """Return a view per method."""
    return {each.method: each.title for each in data}


def figure(data: Sequence[Variants], *, view: str = "") -> go.Figure:
    """Return variant against task for one method, with the points in the cells and the first row outlined."""
    chosen = next((each for each in data if each.method == view), data[0])
    z, columns, count = chosen.apart(), chosen.columns, len(chosen.cases)
    scale = _scale(z)
    trace = heat.cells(columns, [case.words for case in chosen.cases], z, scale, hover="%{hovertext}", gap=1.5)
    trace.update(text=_numbers(z), texttemplate="%{text}", hovertext=_sentences(chosen))
    result = heat.picture(
        [trace], scale, np.clip(z, scale.low, scale.high), rows=count, row_height=max(24, min(34, 360 // count)),
        top=64,
        xaxis={"type": "category", "side": "top", "tickvals": list(range(len(columns))), "tickangle": -35,
               "ticktext": theme.shorts(columns, 11), "range": [-0.5, len(columns) - 0.5]},
        yaxis={"type": "category", "tickvals": list(range(count)), "ticktext": _labels(chosen),
               "range": [count - 0.5, -0.5]},
        meta={
            "title": f"{TITLE} {chosen.title}",
            "narrow": {"layout.xaxis.ticktext": theme.shorts(columns, 6), "layout.xaxis.tickangle": -90,
                       "layout.yaxis.ticktext": _stacked(chosen), "layout.yaxis.tickfont.size": theme.TINY,
                       "data.0.text": _numbers(z, brief=True), "data.0.textfont.size": theme.TINY,
                       "layout.xaxis2.title.text": scale.title.replace(WON, SHORT)},
        },
    )  # fmt: skip
    outline = {"type": "rect", "xref": "x", "yref": "y", "x0": -0.5, "x1": len(columns) - 0.5, "y0": -0.5, "y1": 0.5,
               "line": {"color": theme.INK, "width": 1.5}}  # fmt: skip
    return result.update_layout(shapes=[*theme.drawn(result).shapes, outline])


def rows(data: Sequence[Variants], *, view: str = "") -> tuple[list[str], list[list]]:
    """Return one line per variant of one method: what it costs, then accuracy by task."""
    chosen = next((each for each in data if each.method == view), data[0])
    head = ["variant", "average %", "points", "routed right %", "stored parameters", "passes", "merge s"]
    found = []
    for case, line, apart in zip(chosen.cases, chosen.table(), chosen.apart(), strict=True):
        costs = [case.right, case.parameters, case.passes, case.seconds]
        found.append([case.words, line[-1], apart[-1], *costs, *line[:-1]])
    return [*head, *(f"{task} %" for task in chosen.tasks)], found


def _scale(z: np.ndarray) -> heat.Scale:
    """Return the colour axis; a variant that fails does not make all others look alike."""
    whole = heat.Scale.of(z, "", centre=0.0).high
    if whole <= REACH:
        return heat.Scale(WON, -whole, whole, 0.0)
    return heat.Scale(f"{WON}; beyond ±{REACH} one colour", -REACH, REACH, 0.0)


def _labels(data: Variants) -> list[str]:
    return [f"{theme.short(c.words, 30)}  <b>{a:.1f}</b>" for c, a in zip(data.cases, data.table()[:, -1], strict=True)]


def _stacked(data: Variants) -> list[str]:
    """Return names on two short lines for a narrow page."""
    found = []
    for case, average in zip(data.cases, data.table()[:, -1], strict=True):
        lines = textwrap.wrap(f"{case.words} {average:.1f}", 15, max_lines=2, placeholder="…")
        found.append("<br>".join(lines))
    return found


def _numbers(z: np.ndarray, *, brief: bool = False) -> list[list[str]]:
    digits = 0 if brief else 1
    return [["" if np.isnan(v) else _signed(v, digits) for v in line] for line in z]


def _signed(value: float, digits: int) -> str:
    return f"{round(float(value), digits) + 0.0:+.{digits}f}".replace("-", "−") if round(value, digits) else "0"


def _sentences(data: Variants) -> list[list[str]]:
    """Return what is said about every cell, (V, T + 1)."""
    found = []
    for case, line, apart in zip(data.cases, data.table(), data.apart(), strict=True):
        costs = f"{case.parameters / 1e6:.1f} M numbers stored, {case.passes:.3g} passes per input"
        right = "" if case.right is None else f", {case.right:.1f} % routed right"
        told = "<br>told the task: a ceiling" if case.told else ""
        about = f"{data.title}, {case.words}<br>{costs}{right}{told}"
        cells = zip(data.columns, line, apart, strict=True)
        found.append([f"<b>{t}</b> {value:.1f} %, {_signed(won, 1)} points<br>{about}" for t, value, won in cells])
    return found


def demo() -> list[Variants]:
    """Return a routed method that needs its router, and an adaptive one whose base decides."""
    tasks = ("digits", "fashion", "animals", "letters", "icons", "emoji", "landcover", "instruments")
    random = np.random.default_rng(31)
    changes = {
        ("twin_merging", "Twin-Merging"): (("as in the table", 0), ("one-hot weights", -0.5), ("uniform weights", -17),
                                           ("share of the rank 0.02", -6), ("as published: task known", 1.5)),
        ("adarank", "AdaRank"): (("as in the table", 0), ("on Task Arithmetic", -9), ("soft masks", -1)),
    }  # fmt: skip
    start, found = np.array([97, 92, 91, 90, 92, 70, 93, 86.0]), []
    for (method, title), cases in changes.items():
        won = np.array([shift * (0.5 + random.random(len(tasks))) for _, shift in cases])
        every = [Case(w, 5e7, 2.0, 67.0, 90.0 + shift / 20, "known" in w) for w, shift in cases]
        found.append(Variants(method, title, tasks, tuple(every), np.clip(start + won, 0, 100)))
    return found


if __name__ == "__main__":
    from viz.demo import show

    show("variants")
