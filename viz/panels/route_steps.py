"""How the weights that routers give to experts move while the routers learn, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.depth import deep_map, layer
from viz.film import Moment, film

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
MEASURED = "on a few inputs per step, so it flickers."
TITLES = {"all": "Weight of every expert", "own": "Weight of the own expert", "lead": "Lead of the own expert"}
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


def VIEWS(data: RouteSteps) -> dict[str, str]:
    """Return the views; one expert alone leads no other."""
    several = {"lead": "Lead on own inputs"} if len(data.tasks) > 1 else {}
    return {"all": "Every expert", "own": "Own expert", **several}


def figure(data: RouteSteps, *, view: str = "all") -> go.Figure:
    """Return expert, or task, against depth after the last step, with a slider over all steps and one colour scale."""
    values = getattr(data, view)()
    names, key = (data.experts, "expert") if view == "all" else (data.tasks, "task")
    scale = _scale(data, view, values)
    row = {"all": "expert <b>%{y}</b>", "own": "own expert of <b>%{y}</b>", "lead": "expert of <b>%{y}</b>"}[view]
    places = [(block, "") for block in data.blocks]
    result, columns = deep_map(values[-1], names, places, scale, f"{row}, %{{x}}<br>{scale.title} %{{z:.3f}}")
    written = scale if len(data.blocks) <= 12 else None
    moments = [
        Moment(str(step), f"{TITLES[view]}, step {step:,}", heat.changes(cells, written))
        for step, cells in zip(data.steps, values, strict=True)
    ]
    layout = theme.drawn(result)
    layout.meta = {
        **layout.meta, "axes": {"x": columns, "y": [[name, {key: name}] for name in names]},
        "title": moments[-1].title, "about": f"{ABOUT} {WORDS[view]}, {MEASURED}",
    }  # fmt: skip
    return film(result, moments)


def rows(data: RouteSteps, *, view: str = "all") -> tuple[list[str], list[list]]:
    """Return one line per step and drawn row, a column per block."""
    names = data.experts if view == "all" else data.tasks
    first = "expert" if view == "all" else "inputs of"
    lines = [
        [step, name, *weights]
        for step, cells in zip(data.steps, getattr(data, view)(), strict=True)
        for name, weights in zip(names, cells, strict=True)
    ]
    return ["step", first, *(layer((block, "")) for block in data.blocks)], lines


def _scale(data: RouteSteps, view: str, values: np.ndarray) -> heat.Scale:
    """Return the colours of all steps: weights diverge from where routers started, a lead from 0."""
    if view == "lead":
        return heat.Scale.of(values, UNITS[view], centre=0.0)
    return heat.Scale.of(values, UNITS[view], chance=((data.level, ""),), centre=data.level, word="start")


def demo() -> RouteSteps:
    from viz.route_examples import route_steps

    return route_steps()


if __name__ == "__main__":
    from viz.demo import show

    show("route_steps")
