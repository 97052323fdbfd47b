"""How much of every expert an input gets, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.depth import deep_map, layer, named
from viz.places import Place

TITLE = "Routing through the network"
ABOUT = "The weight that experts get in every layer. Click a row to choose its task."
EMPTY = "Nothing is routed by layer yet. Merge with a method that weighs experts for every input, then score it."
WORDS = {
    "own": "Each row is a task and shows the weight of its own expert in every layer. Click a row to choose it.",
    "task": "Each row is an expert and shows its weight in every layer, for inputs of one task.",
    "single": "Each row is a task; its weights are the same in every layer. Click a row to choose it.",
    "signed": "Weights may be negative and need not add up to 1.",
}
TITLES = {"mean": "mean weight", "largest": "inputs whose largest weight it is, %"}

Means = tuple[np.ndarray, np.ndarray, int]


@dataclass(frozen=True, eq=False)
class RouteDepth:
    """Mean weight (R, L, T) of every expert by task of the inputs and layer; `largest`, the same shape, is the share
    of inputs in % for which its weight is the largest.

    `places` (L,) are block and kind of the layers, (None, "") where all layers are alike. `signed` weights are shown
    around zero. `level` is what a weight would be without a decision, such as 1/T, named `word`.
    """

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    places: tuple[Place, ...]
    mean: np.ndarray
    largest: np.ndarray
    inputs: tuple[int, ...]
    signed: bool = True
    level: float | None = None
    word: str = "start"

    def __len__(self) -> int:
        return self.mean.size

    @classmethod
    def of(cls, routes: Mapping[str, np.ndarray], experts: Sequence[str], places: Sequence[Place], *,
           signed: bool = True, level: float | None = None, word: str = "start") -> RouteDepth:  # fmt: skip
        """Return the means of routes (N, L, T) by task; layers of a block that are always alike become one."""
        routes = {task: np.asarray(route, float) for task, route in routes.items() if len(route)}
        chosen, named = distinct(list(routes.values()), places)
        means = {t: (r.mean(0), np.eye(len(experts))[r.argmax(2)].mean(0), len(r)) for t, r in routes.items()}
        return cls._picked(means, experts, chosen, named, signed, level, word)

    @classmethod
    def of_means(cls, means: Mapping[str, Means], experts: Sequence[str], places: Sequence[Place], *,
                 signed: bool = True, level: float | None = None, word: str = "start") -> RouteDepth:  # fmt: skip
        """Return the same from means by task: mean weight (L, T), share in [0, 1] of largest (L, T), and inputs."""
        chosen, named = distinct([np.stack([mean, top]) for mean, top, _ in means.values()], places)
        return cls._picked(means, experts, chosen, named, signed, level, word)

    @classmethod
    def _picked(cls, means: Mapping[str, Means], experts: Sequence[str], chosen: list[int], named: tuple[Place, ...],
                *rest: Any) -> RouteDepth:  # fmt: skip
        shape = (len(means), len(chosen), len(experts))
        mean, top = (
            np.array([pair[chosen] for pair in values], float).reshape(shape)
            for values in ([m for m, _, _ in means.values()], [t for _, t, _ in means.values()])
        )
        counts = tuple(count for _, _, count in means.values())
        return cls(tuple(means), tuple(experts), named, mean, 100 * top, counts, *rest)


def distinct(routes: Sequence[np.ndarray], places: Sequence[Place]) -> tuple[list[int], tuple[Place, ...]]:
    """Return the layers worth a column and their places: one per block, or one in all, where weights are alike."""

    def alike(layers: Sequence[int]) -> bool:
        return all(np.array_equal(r[:, layers], np.broadcast_to(r[:, layers[:1]], r[:, layers].shape)) for r in routes)

    if not places or alike(range(len(places))):
        return [0][: len(places)], ((None, ""),)[: len(places)]
    blocks = sorted({b for b, _ in places if b is not None})
    members = {b: [i for i, (block, _) in enumerate(places) if block == b] for b in blocks}
    if all(alike(layers) for layers in members.values()):
        return [layers[0] for layers in members.values()], tuple((b, "") for b in blocks)
    inside = [i for layers in members.values() for i in layers]
    return inside, tuple(places[i] for i in inside)


def VIEWS(data: RouteDepth) -> dict[str, str]:
    """Return the mean, and for several inputs also how often an expert has the largest weight."""
    return {"mean": "Mean weight", "largest": "Largest weight, % of inputs"} if max(data.inputs) > 1 else {}


def figure(data: RouteDepth, *, view: str = "mean", task: str | None = None) -> go.Figure:
    """Return expert against depth for one task, or the own expert's weight of every task against depth."""
    what, names, cells = _cells(data, view, task)
    scale = _scale(data, view)
    place = {"own": "own expert of <b>%{y}</b>, %{x}", "single": "<b>%{y}</b>: expert for <b>%{x}</b>"}
    sentence = f"{place.get(what, f'{task}: expert for <b>%{{y}}</b>, %{{x}}')}<br>{scale.title} %{{z:.3g}}"
    if what == "single":
        result = _plain_map(cells, names, data.experts, scale, sentence)
        columns = [[e, {"expert": e}] for e in data.experts]
    else:
        result, columns = deep_map(cells, names, data.places, scale, sentence)
    key = "expert" if what == "task" else "task"
    about = f"{WORDS[what]} {WORDS['signed'] if data.signed else ''}".strip()
    return result.update_layout(
        meta={**theme.drawn(result).meta, "axes": {"x": columns, "y": [[n, {key: n}] for n in names]},
              "title": _title(data, what, task), "about": about},
    )  # fmt: skip


def rows(data: RouteDepth, *, view: str = "mean", task: str | None = None) -> tuple[list[str], list[list]]:
    """Return one line per drawn row and layer."""
    values = getattr(data, view)
    chosen = [i for i, name in enumerate(data.tasks) if task in (None, name)] or list(range(len(data.tasks)))
    lines = [(i, j) for i in chosen for j in range(len(data.places))]
    columns = ["inputs of", "number", "layer", *data.experts]
    return columns, [[data.tasks[i], data.inputs[i], layer(data.places[j]), *values[i, j]] for i, j in lines]


def _cells(data: RouteDepth, view: str, task: str | None) -> tuple[str, tuple[str, ...], np.ndarray]:
    """Return what is drawn, the names of its rows, and its cells: (rows, L), or (tasks, T) where layers are alike."""
    values = getattr(data, view)
    if len(data.places) == 1:
        return "single", data.tasks, values[:, 0]
    seen = [t for t in data.tasks if t in data.experts]
    if task in data.tasks or not seen:
        return "task", data.experts, values[data.tasks.index(task or data.tasks[0])].T
    return "own", tuple(seen), np.stack([values[data.tasks.index(t), :, data.experts.index(t)] for t in seen])


def _scale(data: RouteDepth, view: str) -> heat.Scale:
    """Return the colours, the same for all tasks so that they can be compared."""
    if view == "largest":
        return heat.Scale(TITLES[view], 0, 100, chance=((100 / len(data.experts), ""),), word="blind")
    level = () if data.level is None else ((data.level, ""),)
    return heat.Scale.of(data.mean, TITLES[view], chance=level, centre=0.0 if data.signed else None, word=data.word)


def _title(data: RouteDepth, what: str, task: str | None) -> str:
    if what != "task":
        return {"own": "Weight of the own expert by depth", "single": "Weights of all experts"}[what]
    i = data.tasks.index(task or data.tasks[0])
    return f"Routing of {'one input' if data.inputs[i] == 1 else f'{data.inputs[i]:,} inputs'} of {data.tasks[i]}"


def _plain_map(cells: np.ndarray, names: Sequence[str], experts: Sequence[str], scale: heat.Scale,
               sentence: str) -> go.Figure:  # fmt: skip
    trace = heat.cells(experts, names, cells, scale, hover=sentence, text=len(experts) <= 12, gap=1.5)
    return heat.picture(
        [trace], scale, cells, rows=len(names), row_height=26, top=52,
        xaxis={"type": "category", "side": "top", "tickvals": list(range(len(experts))),
               "ticktext": theme.shorts(experts, 12), "autotickangles": [0, -35, -90],
               "range": [-0.5, len(experts) - 0.5], "title": heat.top_title("expert")},
        yaxis=named(names, 12),
        meta={"narrow": {"layout.xaxis.ticktext": theme.shorts(experts, 7), "layout.xaxis.tickangle": -90,
                         "layout.yaxis.ticktext": theme.shorts(names, 9), "data.0.textfont.size": theme.TINY}},
    )  # fmt: skip


def demo() -> RouteDepth:
    from viz.examples import route_depth

    return route_depth()


if __name__ == "__main__":
    from viz.demo import show

    show("route_depth")
