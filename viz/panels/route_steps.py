"""How the weights that routers give to experts move while the routers learn, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.depth import deep_map, layer
from viz.film import Moment, film
from viz.pin import Pin

TITLE = "Routing as it is learned"
ABOUT = (
    "Routers start with about one weight for all experts. Drag the slider and notice which blocks learn to tell tasks "
    "apart, and which settle on one blend for all inputs."
)
EMPTY = "No router has learned yet. Merge with WEMoE, E-WEMoE or rank-one MoE to see their weights move."
WORDS = {
    "all": "Here: every expert's mean weight over inputs of all tasks",
    "own": "Here: the weight of its own expert on inputs of every task",
    "lead": "Here: how much more an expert weighs on inputs of its own task than on others (0: one blend for all)",
}
LESS = "Drawn is every expert's mean weight, over inputs of all tasks, minus that of the run pinned as {} at its end,"
MEASURED = "on a few inputs per step, so it flickers."
TITLES = {"all": "Weight of every expert", "own": "Weight of the own expert", "lead": "Lead of the own expert",
          "less": "Weight of every expert"}  # fmt: skip
BY_EXPERT = ("all", "less")
UNITS = {"all": "mean weight", "own": "mean weight", "lead": "weight on own inputs − on others"}


@dataclass(frozen=True, eq=False)
class RouteSteps:
    """Mean weight (M, T, L, T) after each of M steps: task of the inputs, block, expert.

    `tasks` are those of the `experts`, in the same order; `blocks` (L,) are the blocks that have a router.
    """

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    blocks: tuple[int, ...]
    steps: tuple[int, ...]
    weights: np.ndarray

    def __len__(self) -> int:
        return self.weights.size

    @property
    def level(self) -> float:
        """The weight that routers started from, on average."""
        return float(self.weights[0].mean())

    def all(self) -> np.ndarray:
        """Return the mean weight of every expert over inputs of all tasks, (M, T, L)."""
        return self.weights.mean(1).swapaxes(1, 2)

    def own(self) -> np.ndarray:
        """Return the weight of their own expert on the inputs of every task, (M, T, L)."""
        return np.moveaxis(self.weights.diagonal(axis1=1, axis2=3), 2, 1)

    def lead(self) -> np.ndarray:
        """Return how much more weight an expert has on inputs of its task than on those of the others, (M, T, L)."""
        count = len(self.tasks)
        return (self.own() - self.all()) * count / (count - 1)


def VIEWS(data: RouteSteps, *, pinned: Pin[RouteSteps] | None = None) -> dict[str, str]:
    """Return the views; one expert alone leads no other. A pinned run of the same experts adds the difference."""
    several = {"lead": "Lead on own inputs"} if len(data.tasks) > 1 else {}
    return {"all": "Every expert", "own": "Own expert", **several, **({"less": pinned.less} if pinned else {})}


def figure(data: RouteSteps, *, view: str = "all", pinned: Pin[RouteSteps] | None = None) -> go.Figure:
    """Return expert, or task, against depth after the last step, with a slider over all steps and one colour scale."""
    values = _values(data, view, pinned)
    names, key = (data.experts, "expert") if view in BY_EXPERT else (data.tasks, "task")
    scale = _scale(data, view, values, pinned)
    row = {"own": "own expert of <b>%{y}</b>", "lead": "expert of <b>%{y}</b>"}.get(view, "expert <b>%{y}</b>")
    places = [(block, "") for block in data.blocks]
    result, columns = deep_map(values[-1], names, places, scale, f"{row}, %{{x}}<br>{scale.title} %{{z:.3f}}")
    heading = f"{TITLES[view]} {pinned.less}" if view == "less" and pinned else TITLES[view]
    said = LESS.format(pinned.letter) if view == "less" and pinned else f"{WORDS[view]},"
    written = scale if len(data.blocks) <= 12 else None
    moments = [
        Moment(str(step), f"{heading}, step {step:,}", heat.changes(cells, written))
        for step, cells in zip(data.steps, values, strict=True)
    ]
    layout = theme.drawn(result)
    layout.meta = {
        **layout.meta, "axes": {"x": columns, "y": [[name, {key: name}] for name in names]},
        "title": moments[-1].title, "about": f"{ABOUT} {said} {MEASURED}",
    }  # fmt: skip
    return film(result, moments)


def rows(
    data: RouteSteps, *, view: str = "all", pinned: Pin[RouteSteps] | None = None
) -> tuple[list[str], list[list]]:
    """Return one line per step and drawn row, a column per block."""
    names, first = (data.experts, "expert") if view in BY_EXPERT else (data.tasks, "inputs of")
    lines = [
        [step, name, *weights]
        for step, cells in zip(data.steps, _values(data, view, pinned), strict=True)
        for name, weights in zip(names, cells, strict=True)
    ]
    return ["step", first, *(layer((block, "")) for block in data.blocks)], lines


def _values(data: RouteSteps, view: str, pinned: Pin[RouteSteps] | None) -> np.ndarray:
    """Return what a view draws after every step, (M, rows, L); NaN in blocks where a pinned run has no router."""
    if view != "less" or pinned is None:
        return getattr(data, view)()
    theirs = dict(zip(pinned.data.blocks, pinned.data.all()[-1].T, strict=True))
    blank = np.full(len(data.experts), np.nan)
    return data.all() - np.stack([theirs.get(block, blank) for block in data.blocks], 1)


def _scale(data: RouteSteps, view: str, values: np.ndarray, pinned: Pin[RouteSteps] | None) -> heat.Scale:
    """Return the colours of all steps: weights diverge from where routers started, a lead or a difference from 0."""
    if view == "less" and pinned:
        return heat.Scale.of(values, f"mean weight {pinned.less}", centre=0.0)
    if view == "lead":
        return heat.Scale.of(values, UNITS[view], centre=0.0)
    return heat.Scale.of(values, UNITS[view], chance=((data.level, ""),), centre=data.level, word="start")


def demo() -> RouteSteps:
    from viz.route_examples import route_steps

    return route_steps()


if __name__ == "__main__":
    from viz.demo import show

    show("route_steps")
