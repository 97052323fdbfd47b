"""Which expert the inputs of every task were sent to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.pin import Pin

TITLE = "Where inputs are sent"
ABOUT = (
    "Each row is a task and shares out its inputs over the experts that were chosen for them; it adds up to 100 %. "
    "Outlined cells are right. Click a cell to see its inputs. The orange line is what a blind choice would give."
)
EMPTY = "Nothing has been routed yet. Merge with a method that chooses an expert for every input, then score it."
BESIDE = "Below each share stands that of the run pinned as {}, unless it is zero."
LESS = "Drawn is the share of the run on the page minus that of the run pinned as {}, in points."
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


def VIEWS(data: RouteConfusion, *, pinned: Pin[RouteConfusion] | None = None) -> dict[str, str]:
    """Return the shares, and beside a pinned run of the same experts the difference."""
    return {"shares": "Shares", "less": f"Shares {pinned.less}"} if pinned else {}


def figure(
    data: RouteConfusion, *, view: str = "shares", pinned: Pin[RouteConfusion] | None = None
) -> go.Figure:
    """Return task against chosen expert; tasks without an expert come last."""
    lines, experts = _lines(data), data.experts
    other = _aligned(data, pinned)
    percent = data.percent - other.data if view == "less" and other else data.percent
    names = [GAP if i is None else data.tasks[i] for i in lines]
    z = np.array([np.full(len(experts), np.nan) if i is None else percent[i] for i in lines])
    said = [
        [""] * len(experts) if i is None else [_sentence(data, i, j, other) for j in range(len(experts))]
        for i in lines
    ]
    scale = _scale(data, z, pinned if view == "less" else None)
    trace = heat.cells(experts, names, z, scale, hover="%{customdata}", gap=1.5)
    wide = len(experts) <= CELLS
    size = {"size": theme.SMALL if wide else theme.TINY}
    texts, narrow = _signed(lines, percent), _signed(lines, percent)
    if view != "less":
        texts, narrow = _texts(data, lines, other), _texts(data, lines, words="{:.0f}")
    trace.update(customdata=said, text=texts, texttemplate="%{text}", textfont=size)
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
            "title": _title(data, pinned), "about": _about(view, pinned),
            "axes": {"x": [[e, {"expert": e}] for e in experts], "y": [[t, {"task": t}] for t in names if t != GAP]},
            "narrow": {"layout.xaxis.ticktext": theme.shorts(experts, 7), "layout.xaxis.tickangle": -90,
                       "layout.yaxis.ticktext": _ticks(data, lines, 8), "layout.yaxis.title.text": "",
                       "data.0.text": narrow, "data.0.textfont.size": theme.TINY},
        },
    )  # fmt: skip
    own = [(y, experts.index(name)) for y, name in enumerate(names) if name in experts]
    return result.update_layout(shapes=[*theme.drawn(result).shapes, *(_outline(x, y) for y, x in own)])


def rows(
    data: RouteConfusion, *, pinned: Pin[RouteConfusion] | None = None
) -> tuple[list[str], list[list]]:
    """Return counts and shares of every pair that occurs, in a pinned run too, or would be right."""
    percent, other = data.percent, _aligned(data, pinned)
    columns = ["task", "sent to", "inputs", "of the task %", "right", *([f"{pinned.letter} %"] if pinned else [])]
    return columns, [
        [task, expert, data.counts[i, j], percent[i, j], "yes" if task == expert else "no",
         *([other.data[i, j]] if other else [])]
        for i, task in enumerate(data.tasks)
        for j, expert in enumerate(data.experts)
        if data.counts[i, j] or task == expert or (other and other.data[i, j] > 0)
    ]  # fmt: skip


def _aligned(data: RouteConfusion, pinned: Pin[RouteConfusion] | None) -> Pin[np.ndarray] | None:
    """Return the shares of a pinned run in the rows of this one, (R, T); NaN for a task that it does not know."""
    if pinned is None:
        return None
    blank, shares = np.full(len(data.experts), np.nan), dict(zip(pinned.data.tasks, pinned.data.percent, strict=True))
    return Pin(pinned.letter, np.array([shares.get(task, blank) for task in data.tasks]))


def _title(data: RouteConfusion, pinned: Pin[RouteConfusion] | None) -> str:
    if not np.isfinite(data.right):
        return TITLE
    beside = f", {pinned.letter} {pinned.data.right:.1f} %" if pinned and np.isfinite(pinned.data.right) else ""
    return f"{TITLE}, {data.right:.1f} % right{beside}"


def _about(view: str, pinned: Pin[RouteConfusion] | None) -> str:
    return f"{ABOUT} {(LESS if view == 'less' else BESIDE).format(pinned.letter)}" if pinned else ABOUT


def _scale(data: RouteConfusion, z: np.ndarray, less: Pin[RouteConfusion] | None) -> heat.Scale:
    if less is not None:
        return heat.Scale.of(z, f"inputs of the task, points {less.less}", centre=0.0)
    return heat.Scale("inputs of the task, %", 0, 100, chance=((100 / len(data.experts), ""),), word="blind")


def _lines(data: RouteConfusion) -> Lines:
    """Return the rows of the counts from top to bottom, None for the gap above tasks without an expert."""
    seen = [i for i, task in enumerate(data.tasks) if task in data.experts]
    unseen = [i for i, task in enumerate(data.tasks) if task not in data.experts]
    return [*seen, *([None] if seen and unseen else []), *unseen]


def _ticks(data: RouteConfusion, lines: Lines, limit: int) -> list[str]:
    short = theme.shorts(data.tasks, limit)
    return ["no expert:" if i is None else short[i] for i in lines]


def _texts(
    data: RouteConfusion, lines: Lines, other: Pin[np.ndarray] | None = None, words: str = ""
) -> list[list[str]]:
    """Return what stands in the cells: percent, and below it the count, or the percent of a pinned run.

    There has to be room for two lines; zeros stay blank.
    """
    room, percent = not words and len(data.experts) <= CELLS, data.percent
    words, texts = words or "{:.0f} %", []
    for i in lines:
        row = [""] * len(data.experts)
        for j in range(len(row)) if i is not None else ():
            count, theirs = data.counts[i, j], np.nan_to_num(other.data[i, j]) if other else 0
            if count or (theirs >= 0.5 and room):
                below = f"{count:,}" if other is None else f"{other.letter} {theirs:.0f} %" if theirs >= 0.5 else ""
                row[j] = words.format(percent[i, j]) + (f"<br>{below}" if room else "")
        texts.append(row)
    return texts


def _signed(lines: Lines, points: np.ndarray) -> list[list[str]]:
    """Return differences for the cells; those that round to zero stay blank."""
    blank = [""] * points.shape[1]
    return [blank if i is None else [f"{p:+.0f}".replace("-", "−") if abs(p) >= 0.5 else "" for p in points[i]]
            for i in lines]  # fmt: skip


def _sentence(data: RouteConfusion, i: int, j: int, other: Pin[np.ndarray] | None) -> str:
    task, expert, count = data.tasks[i], data.experts[j], data.counts[i, j]
    verdict = "" if task not in data.experts else ", right" if task == expert else ", wrong"
    share = f"{data.percent[i, j]:.1f} %, {count:,} of {data.counts[i].sum():,} inputs"
    beside = ""
    if other and np.isfinite(other.data[i, j]):
        beside = f"<br>pinned as {other.letter} {other.data[i, j]:.1f} %"
    return f"<b>{task}</b> sent to <b>{expert}</b>{verdict}<br>{share}{beside}"


def _outline(x: int, y: int) -> dict:
    return {"type": "rect", "x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5,
            "line": {"color": theme.INK, "width": 2}}  # fmt: skip


def demo() -> RouteConfusion:
    from viz.examples import route_confusion

    return route_confusion()


if __name__ == "__main__":
    from viz.demo import show

    show("route_confusion")
