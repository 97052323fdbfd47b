"""One measurement of interference as a heat map: by depth, by expert and depth, or by pair of experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import heat, places, theme
from viz.pin import Pin

if TYPE_CHECKING:
    from merge_engine.metrics import Measured, Metric

TITLE = "Interference"
ABOUT = "Click a cell to look at that place, or that pair, in every panel."
LESS = "Drawn is the merge minus the run pinned as {}."
CHANCE = "The orange line is what unrelated experts would show."
EMPTY = "Nothing measured yet. Choose two or more experts and a measurement."
# Read against chance: above it one colour, below it the other.
AROUND_CHANCE = frozenset({"SignConflict.agreement", "Cancellation.ratio", "Cancellation.pair"})
SIGNED = frozenset({"Cosine.cosine"})  # of either sign, whatever is drawn: one kind of scale at every place
DIAGONAL = frozenset({"Interference.routes"})
CHANGE = "_less"  # ends the views that draw the difference from a pinned merge
CHANCE_WORDS = {"Cosine.cosine": "random ±"}


@dataclass(frozen=True, eq=False)
class Interference:
    """A measurement and the metric that made it, which has `title`, `unit` and `headline`.

    `pinned` is the same measurement of another merge, of the same experts and places.
    """

    measured: Measured
    metric: Metric | type[Metric]
    pinned: Pin[Measured] | None = None

    def values(self, view: str) -> tuple[str, np.ndarray, np.ndarray]:
        """Return what a view draws: its quantity, the values, and what chance would give."""
        name, changed = view.removesuffix(CHANGE), view.endswith(CHANGE)
        values, chance = getattr(self.measured, name), places.chance(self.measured, name)
        if not changed or self.pinned is None:
            return name, values, chance
        return name, values - getattr(self.pinned.data, name), np.full_like(chance, np.nan)


def VIEWS(data: Interference) -> dict[str, str]:
    """Return the quantities that can be drawn, in words, the headline first; chance levels and curves are left out."""
    declared = data.measured.quantities()
    chance = {q.chance for q in declared.values()}
    axes = {n: q.axes for n, q in declared.items() if n not in chance and q.axes in SHAPES}
    names = sorted(axes, key=lambda n: n != data.metric.headline)
    alike = len({axes[n] for n in names}) == 1
    words = {n: heat.words(n).capitalize() for n in names}
    found = {n: words[n] if alike else f"{words[n]}, by {SHAPES[axes[n]]}" for n in names}
    less = data.pinned.less if data.pinned else ""
    return found | {n + CHANGE: f"{words} {less}" for n, words in found.items() if moved(data, n)}


def figure(data: Interference, *, view: str, block: int | None = None, kind: str | None = None) -> go.Figure:
    """Return the heat map that fits the axes of quantity `view`; a map of pairs is about one place."""
    measured, (name, values, chance) = data.measured, data.values(view)
    quantity = measured.quantities()[name]
    row, models = places.row(measured, block, kind), measured.models
    title = f"{data.metric.title} by depth"
    if "other" in quantity.axes:
        keep = _key(measured, name) in DIAGONAL
        cells, expected = (a[row] if keep else heat.off_diagonal(a[row]) for a in (values, chance))
        scale = _scale(data, view, cells, heat.level(expected))
        sentence = heat.sentence("<b>%{y}</b> and <b>%{x}</b>", scale)
        result = heat.pairs(cells, models, scale, sentence, expected)
        title = f"{data.metric.title} in {places.words(measured, row)}"
    else:
        (blocks, kinds, cells), expected = places.grid(measured, values), places.grid(measured, chance)[2]
        scale = _scale(data, view, cells, heat.levels(expected, kinds))
        if "expert" in quantity.axes:
            sentence = heat.sentence("<b>%{y}</b>, %{x}", scale)
            result = heat.experts_by_depth(cells, blocks, kinds, models, scale, sentence, expected)
        else:
            sentence = heat.sentence("<b>block %{x}, %{y}</b>", scale)
            result = heat.by_depth(cells, blocks, kinds, scale, sentence, expected)
    about = f"{heat.words(name).capitalize()}: {quantity.help} {ABOUT}"
    changed = name != view and data.pinned
    about += f" {CHANCE}" if scale.chance else f" {LESS.format(data.pinned.letter)}" if changed and data.pinned else ""
    return result.update_layout(meta={**theme.drawn(result).meta, "title": title, "about": about})


def rows(data: Interference, *, view: str, block: int | None = None, kind: str | None = None):
    """Return the drawn numbers: one line per pair, or one per matrix with a column per expert."""
    measured, (name, values, chance) = data.measured, data.values(view)
    quantity, models, word = measured.quantities()[name], measured.models, _word(data, view)
    if "other" in quantity.axes:
        row = places.row(measured, block, kind)
        pairs = [(i, j) for i in range(len(models)) for j in range(len(models)) if i != j]
        shown = [(i, j) for i, j in pairs if i < j or not quantity.symmetric]
        lines = [[models[i], models[j], values[row, i, j], chance[row, i, j]] for i, j in shown]
        return ["expert", "other", word, "chance"], lines
    tensors = [(i, r) for i, r in enumerate(measured.rows) if r.level == "tensor"]
    if "expert" in quantity.axes:
        return ["block", "kind", *models], [[str(r.block), r.kind, *values[i]] for i, r in tensors]
    return ["block", "kind", word, "chance"], [[str(r.block), r.kind, values[i], chance[i]] for i, r in tensors]


SHAPES = {("row",): "depth", ("row", "expert"): "expert", ("row", "expert", "other"): "pair"}


def _key(measured: Measured, view: str) -> str:
    return f"{type(measured).__name__}.{view}"


def moved(data: Interference, name: str) -> bool:
    """True where a quantity of the merge differs from that of the pinned one; pairs of experts know no merge."""
    if data.pinned is None:
        return False
    return not np.array_equal(getattr(data.measured, name), getattr(data.pinned.data, name), equal_nan=True)


def _word(data: Interference, view: str) -> str:
    """Return the name of what a view draws in words."""
    name = heat.words(view.removesuffix(CHANGE))
    return f"{name} {data.pinned.less}" if view.endswith(CHANGE) and data.pinned else name


def _scale(data: Interference, view: str, values: np.ndarray, chance: heat.Levels) -> heat.Scale:
    """Return the colour axis of the drawn values."""
    key = _key(data.measured, view)
    own = view == data.metric.headline and data.metric.unit not in ("", heat.words(view))
    title = f"{heat.words(view)} ({data.metric.unit})" if own else _word(data, view)
    signed = key in SIGNED or view.endswith(CHANGE)
    centre = chance[0][0] if key in AROUND_CHANCE and len(chance) == 1 else 0.0 if signed else None
    return heat.Scale.of(values, title, chance=chance, centre=centre, word=CHANCE_WORDS.get(key, "chance"))


def demo() -> Interference:
    from merge_engine.metrics.sign_conflict import MeasureSignConflict
    from viz.examples import sign_conflict

    return Interference(sign_conflict(), MeasureSignConflict)


if __name__ == "__main__":
    from viz.demo import show

    show("interference")
