"""Which singular components of different experts agree or cancel in one matrix."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from viz import heat, places, theme

if TYPE_CHECKING:
    from merge_engine.metrics.joint_overlap import JointOverlap

TITLE = "What collides here"
ABOUT = (
    "Each cell is a pair of singular components (#0 is the strongest). Above zero both push a weight the same way and "
    "add up; below zero they cancel. All pairs of two experts add up to their inner product. Click a cell to choose it."
)
EMPTY = "No collisions yet. Choose two or more experts."
VIEWS = {"terms": "Strength", "directions": "Directions alone"}
WORDS = {"terms": "s s′ (u·u′)(v·v′)", "directions": "(u·u′)(v·v′)"}
EACH, ROWS = 6, 48  # components of every expert at most, and of all
LISTED = 40  # pairs in the data table


@dataclass(frozen=True)
class Pair:
    """Two components of different experts: what they add to the inner product, to the cosine, and without strengths."""

    expert: str
    index: int
    other: str
    across: int
    term: float
    part: float
    directions: float


def figure(
    data: JointOverlap,
    *,
    view: str = "terms",
    block: int | None = None,
    kind: str | None = None,
    chosen: Collection[str] = (),
    gone: Collection[str] = (),
) -> go.Figure:
    """Return component against component; those in `chosen` are framed and those in `gone` faded."""
    row, models = places.row(data, block, kind), data.models
    each = components(data)
    values = (data.terms if view == "terms" else directions(data))[row][:, :, :each, :each]
    values = np.where(np.eye(len(models), dtype=bool)[:, :, None, None], np.nan, values)
    values = values.transpose(0, 2, 1, 3).reshape(len(models) * each, -1)
    names = [name(model, i) for model in models for i in range(each)]
    scale = heat.Scale.of(values, WORDS[view], centre=0.0)
    hover = heat.sentence("<b>%{y}</b> and <b>%{x}</b>", scale)
    ticks = {"type": "category", "tickvals": [each * t + (each - 1) / 2 for t in range(len(models))]}
    result = heat.picture(
        [heat.cells(names, names, values, scale, hover=hover, gap=0.5)], scale, values,
        rows=len(names), row_height=max(5, min(24, 376 // len(names))), top=34,
        xaxis={**ticks, "ticktext": theme.shorts(models, 10), "side": "top", "autotickangles": [0, -35, -90],
               "range": [-0.5, len(names) - 0.5]},
        yaxis={**ticks, "ticktext": theme.shorts(models, 12), "range": [len(names) - 0.5, -0.5]},
        meta={
            "axes": {"x": [[n, {"across": n}] for n in names], "y": [[n, {"component": n}] for n in names]},
            "narrow": {"layout.xaxis.ticktext": theme.shorts(models, 11), "layout.xaxis.tickangle": -90,
                       "layout.yaxis.ticktext": theme.shorts(models, 11)},
        },
    )  # fmt: skip
    shapes = _borders(len(models), each)
    shapes += _bands(names, gone, fillcolor=theme.SURFACE, opacity=0.75, line={"width": 0})
    shapes += _bands(names, chosen, line={"color": theme.INK, "width": 1})
    title = f"{TITLE}: {places.words(data, row)}"
    drawn = theme.drawn(result)
    return result.update_layout(shapes=[*drawn.shapes, *shapes], meta={**drawn.meta, "title": title})


def rows(data: JointOverlap, *, block: int | None = None, kind: str | None = None) -> tuple[list[str], list[list]]:
    """Return the strongest pairs: what they add to the inner product and to the cosine of the two experts."""
    columns = ["expert", "component", "other", "component of other", "strength", "part of cosine", "directions alone"]
    found = strongest(data, places.row(data, block, kind), LISTED)
    return columns, [
        [p.expert, f"#{p.index}", p.other, f"#{p.across}", p.term, p.part, p.directions] for p in found
    ]


def strongest(data: JointOverlap, row: int, count: int, sign: int = 0) -> list[Pair]:
    """Return the pairs of different experts with the largest terms, by `sign` only aligned (1) or cancelling (-1)."""
    return [pair(data, row, *map(int, at)) for at in data.strongest(row, count, sign)]


def pair(data: JointOverlap, row: int, expert: int, index: int, other: int, across: int) -> Pair:
    """Return component `index` of one expert and `across` of another, all by number."""
    term = float(data.terms[row, expert, other, index, across])
    own = data.terms[row, expert, expert, index, index] * data.terms[row, other, other, across, across]
    norms = data.inner[row, expert, expert] * data.inner[row, other, other]
    part, alone = (term / float(np.sqrt(square)) if square > 0 else float("nan") for square in (norms, own))
    return Pair(data.models[expert], index, data.models[other], across, term, part, alone)


def directions(data: JointOverlap) -> np.ndarray:
    """Return (u·u′)(v·v′) of all pairs, the shape of the terms; NaN where a singular value is zero."""
    s = np.sqrt(np.einsum("rttaa->rta", data.terms).clip(0))
    size = s[:, :, None, :, None] * s[:, None, :, None, :]
    return np.divide(data.terms, size, out=np.full(size.shape, np.nan), where=size > 0)


def components(data: JointOverlap) -> int:
    """Return how many components of every expert are drawn."""
    return int(min(EACH, max(2, ROWS // len(data.models)), data.terms.shape[-1]))


def name(expert: str, index: int) -> str:
    """Return the name of a component on the axes: `letters #0`."""
    return f"{expert} #{index}"


def named(text: Any) -> tuple[str, int] | None:
    """Return the expert and the component of a name on the axes; None for anything else."""
    expert, _, index = text.rpartition(" #") if isinstance(text, str) else ("", "", "")
    return (expert, int(index)) if expert and index.isdecimal() else None


def _borders(experts: int, each: int) -> list[dict[str, Any]]:
    """Return lines between the experts."""
    between, end = [each * t - 0.5 for t in range(1, experts)], experts * each - 0.5
    line = {"type": "line", "xref": "x", "yref": "y", "line": {"color": theme.SURFACE, "width": 3}}
    down = [{**line, "x0": at, "x1": at, "y0": -0.5, "y1": end} for at in between]
    return down + [{**line, "y0": at, "y1": at, "x0": -0.5, "x1": end} for at in between]


def _bands(names: list[str], marked: Collection[str], **style: Any) -> list[dict[str, Any]]:
    """Return rectangles over the rows and columns of some components."""
    places, end = [i for i, n in enumerate(names) if n in marked], len(names) - 0.5
    band = {"type": "rect", "xref": "x", "yref": "y", **style}
    across = [{**band, "x0": -0.5, "x1": end, "y0": i - 0.5, "y1": i + 0.5} for i in places]
    return across + [{**band, "y0": -0.5, "y1": end, "x0": i - 0.5, "x1": i + 0.5} for i in places]


def demo() -> JointOverlap:
    from viz.drill_examples import joint_overlap

    return joint_overlap()


if __name__ == "__main__":
    from viz.demo import show

    show("collisions")
