"""Which expert the inputs of every task were sent to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme

TITLE = "Where inputs are sent"
ABOUT = (
    "Each row is a task and shares out its inputs over the experts that were chosen for them; it adds up to 100 %. "
    "Outlined cells are right. Click a cell to see its inputs. The orange line is what a blind choice would give."
)
EMPTY = "Nothing has been routed yet. Merge with a method that chooses an expert for every input, then score it."
CELLS, PLOT = 10, 345  # more experts than these leave no room for counts inside cells
Lines = list[int | None]
GAP = " "  # the blank row above tasks that have no expert


@dataclass(frozen=True, eq=False)
class RouteConfusion:
    """Inputs by task and chosen expert, `counts` (R, T); a task that is not among the experts has none of its own."""

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    counts: np.ndarray

    def __len__(self) -> int:
        return int(self.counts.sum())

    @classmethod
    def of(cls, routed: Mapping[str, Mapping[str, int] | None], experts: Sequence[str]) -> RouteConfusion:
        """Return the counts of `Score.routed` by task; tasks that were not routed are left out."""
        tasks = tuple(task for task, counts in routed.items() if counts is not None)
        counts = [[(routed[task] or {}).get(e, 0) for e in experts] for task in tasks]
        return cls(tasks, tuple(experts), np.array(counts, np.int64).reshape(len(tasks), len(experts)))

    @property
    def percent(self) -> np.ndarray:
        """Share of every expert in the inputs of a task (R, T), in %; NaN for a task without inputs."""
        total = self.counts.sum(1, keepdims=True)
        return 100 * np.divide(self.counts, total, out=np.full(self.counts.shape, np.nan), where=total > 0)

    @property
    def right(self) -> float:
        """Share of inputs that were sent to their own expert, in %, over tasks that have one; NaN if none has."""
        own = [(self.counts[i, self.experts.index(t)], self.counts[i].sum()) for i, t in enumerate(self.tasks)
               if t in self.experts]  # fmt: skip
        hits, total = np.sum(own, axis=0) if own else (0, 0)
        return 100 * hits / total if total else float("nan")


def figure(data: RouteConfusion) -> go.Figure:
    """Return task against chosen expert; tasks without an expert come last."""
    lines, percent, experts = _lines(data), data.percent, data.experts
    names = [GAP if i is None else data.tasks[i] for i in lines]
    z = np.array([np.full(len(experts), np.nan) if i is None else percent[i] for i in lines])
    said = [[""] * len(experts) if i is None else [_sentence(data, i, j) for j in range(len(experts))] for i in lines]
    scale = heat.Scale("inputs of the task, %", 0, 100, chance=((100 / len(experts), ""),), word="blind")
    trace = heat.cells(experts, names, z, scale, hover="%{customdata}", gap=1.5)
    wide = len(experts) <= CELLS
    size = theme.SMALL if wide else theme.TINY
    trace.update(customdata=said, text=_texts(data, lines), texttemplate="%{text}", textfont={"size": size})
    shown = theme.shorts(experts, 12)
    result = heat.picture(
        [trace], scale, z, rows=len(lines), row_height=min(36, PLOT // len(lines)), top=52,
        xaxis={"type": "category", "side": "top", "tickvals": list(range(len(experts))), "ticktext": shown,
               "autotickangles": [0, -35, -90], "range": [-0.5, len(experts) - 0.5],
               "title": heat.top_title("sent to the expert for")},
        yaxis={"type": "category", "tickvals": list(range(len(lines))), "ticktext": _ticks(data, lines, 12),
               "range": [len(lines) - 0.5, -0.5], "title": {"text": "task of the inputs", "standoff": 8,
               "font": {"size": theme.SMALL, "color": theme.MUTED}}},
        meta={
            "title": f"{TITLE}, {data.right:.1f} % right" if np.isfinite(data.right) else TITLE,
            "axes": {"x": [[e, {"expert": e}] for e in experts], "y": [[t, {"task": t}] for t in names if t != GAP]},
            "narrow": {"layout.xaxis.ticktext": theme.shorts(experts, 7), "layout.xaxis.tickangle": -90,
                       "layout.yaxis.ticktext": _ticks(data, lines, 8), "layout.yaxis.title.text": "",
                       "data.0.text": _texts(data, lines, "{:.0f}"), "data.0.textfont.size": theme.TINY},
        },
    )  # fmt: skip
    own = [(y, experts.index(name)) for y, name in enumerate(names) if name in experts]
    return result.update_layout(shapes=[*theme.drawn(result).shapes, *(_outline(x, y) for y, x in own)])


def rows(data: RouteConfusion) -> tuple[list[str], list[list]]:
    """Return counts and shares of every pair that occurs or would be right."""
    percent = data.percent
    columns = ["task", "sent to", "inputs", "of the task %", "right"]
    return columns, [
        [task, expert, data.counts[i, j], percent[i, j], "yes" if task == expert else "no"]
        for i, task in enumerate(data.tasks)
        for j, expert in enumerate(data.experts)
        if data.counts[i, j] or task == expert
    ]


def _lines(data: RouteConfusion) -> Lines:
    """Return the rows of the counts from top to bottom, None for the gap above tasks without an expert."""
    seen = [i for i, task in enumerate(data.tasks) if task in data.experts]
    unseen = [i for i, task in enumerate(data.tasks) if task not in data.experts]
    return [*seen, *([None] if seen and unseen else []), *unseen]


def _ticks(data: RouteConfusion, lines: Lines, limit: int) -> list[str]:
    short = theme.shorts(data.tasks, limit)
    return ["no expert:" if i is None else short[i] for i in lines]


def _texts(data: RouteConfusion, lines: Lines, words: str = "") -> list[list[str]]:
    """Return what stands in the cells: percent, and below it the count where there is room; zeros stay blank."""
    words = words or ("{:.0f} %<br>{:,}" if len(data.experts) <= CELLS else "{:.0f} %")
    pairs = {i: zip(data.percent[i], data.counts[i], strict=True) for i in lines if i is not None}
    texts = {i: [words.format(p, n) if n else "" for p, n in row] for i, row in pairs.items()}
    return [[""] * len(data.experts) if i is None else texts[i] for i in lines]


def _sentence(data: RouteConfusion, i: int, j: int) -> str:
    task, expert, count = data.tasks[i], data.experts[j], data.counts[i, j]
    verdict = "" if task not in data.experts else ", right" if task == expert else ", wrong"
    share = f"{data.percent[i, j]:.1f} %, {count:,} of {data.counts[i].sum():,} inputs"
    return f"<b>{task}</b> sent to <b>{expert}</b>{verdict}<br>{share}"


def _outline(x: int, y: int) -> dict:
    return {"type": "rect", "x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5,
            "line": {"color": theme.INK, "width": 2}}  # fmt: skip


def demo() -> RouteConfusion:
    from viz.examples import route_confusion

    return route_confusion()


if __name__ == "__main__":
    from viz.demo import show

    show("route_confusion")
