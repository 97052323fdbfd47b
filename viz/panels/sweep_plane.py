"""Accuracy over two hyper-parameters at once: a heat map of the average, or of one task."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from viz import heat, swept, theme
from viz.swept import MARKS, Swept

TITLE = "Accuracy over two numbers"
READ = (
    "Each cell is a merge at its column's and its row's value. ● this recipe, ▲ chosen for the table, "
    "◇ published default."
)
CLICK = "◆ best so far. Click a cell to take its values into the recipe."
ABOUT = f"{READ} {CLICK}"
EMPTY = "Nothing is swept yet. Choose two numbers of the recipe, then press Start."
MANY = 12  # values of an axis beyond which no number is written into the cells


def VIEWS(data: Swept) -> dict[str, str]:
    """Return the views: the average, normalised, interference, and every task."""
    fixed = {"average": "Average", "normalised": "Of the experts", "lost": "Interference"}
    return {**fixed, **{f"task {task}": task for task in data.tasks}}


def figure(data: Swept, *, view: str = "average") -> go.Figure:
    """Return the plane (B, A): the first axis from left to right, the second upwards."""
    z, unit = _cells(data, view)
    scale = heat.Scale.of(z, unit) if np.isfinite(z).any() else heat.Scale(unit, 0, 100)
    columns, lines = ([swept.label(value) for value in values] for values in data.values)
    across, up = (swept.words(name) for name in data.names)
    text = max(z.shape) <= MANY
    row = max(15, min(50, 330 // len(lines)))
    hover = heat.sentence(f"{across} %{{x}}, {up} %{{y}}", scale).replace(".3f", ".1f")
    trace = heat.cells(columns, lines, z, scale, hover=hover, text=text, gap=1.5)
    result = heat.picture(
        [trace], scale, z, rows=len(lines), row_height=row, top=44,
        xaxis={"type": "category", "side": "top", "title": heat.top_title(across), "range": [-0.5, len(columns) - 0.5],
               "categoryarray": columns},
        yaxis={"type": "category", "title": heat.top_title(up), "range": [-0.5, len(lines) - 0.5],
               "categoryarray": lines},
        meta={
            "title": f"{_name(view)} over {data.title}", "about": f"{data.about(READ, CLICK)} Scored on {data.where}.",
            "narrow": {"data.0.textfont.size": theme.TINY},
        },
    )  # fmt: skip
    for label in (*_marks(data, row if text else 0), *data.waiting):
        result.add_annotation(label)
    return result


def rows(data: Swept) -> tuple[list[str], list[list]]:
    """Return one line per cell that is scored."""
    columns = [*map(swept.words, data.names), "average %", "low %", "high %", "normalised %", "interference %",
               *(f"{task} %" for task in data.tasks)]  # fmt: skip
    every = list(np.ndindex(data.average.shape))
    known = [place for place in every if np.isfinite(data.average[place])] or every[:1]
    return columns, [
        [*(values[i] for values, i in zip(data.values, place, strict=True)), data.average[place], data.low[place],
         data.high[place], data.normalised[place], data.interference[place], *data.accuracy[place]]
        for place in known
    ]  # fmt: skip


def _cells(data: Swept, view: str) -> tuple[np.ndarray, str]:
    """Return the heights of a view (B, A) and what they are."""
    if view == "normalised":
        return data.normalised.T, "average accuracy, % of the experts'"
    if view == "lost":
        return data.interference.T, "wrong of what the experts alone get right, %"
    if view.startswith("task "):
        task = view.removeprefix("task ")
        return data.accuracy[..., data.tasks.index(task)].T, f"accuracy on {task}, %"
    return data.average.T, "average accuracy, %"


def _name(view: str) -> str:
    if view == "lost":
        return "Interference"
    return view.removeprefix("task ").capitalize() if view.startswith("task ") else "Accuracy"


def _marks(data: Swept, row: int) -> list[dict]:
    """Return a glyph for every marked point, below the number of its cell; those of one place stand side by side."""
    placed: dict[tuple[float, ...], list[str]] = {}
    for name, point in data.marked.items():
        spot = tuple(_place(values, value) for values, value in zip(data.values, point, strict=True))
        placed.setdefault(spot, []).append(name)
    return [
        theme.label("".join(f'<span style="color:{MARKS[name][2]}">{MARKS[name][0]}</span>' for name in names), x, y,
                    yshift=-round(0.34 * row), bgcolor=theme.SURFACE, borderpad=0)
        for (x, y), names in placed.items()
    ]  # fmt: skip


def _place(values: np.ndarray, value: float) -> float:
    """Return where a value lies among the cells, counted from 0; between two of them where it is none of theirs."""
    return float(np.interp(value, values, np.arange(len(values))))


def demo() -> Swept:
    """Return an example: scaling and rank, not finished."""
    return swept.demo(("scaling", "rank"))


if __name__ == "__main__":
    from viz.demo import show

    show("sweep_plane")
