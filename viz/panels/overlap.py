"""How much the leading subspaces of every pair of experts coincide in one matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from viz import heat, places, theme

if TYPE_CHECKING:
    from merge_engine.metrics.subspace import Subspaces

TITLE = "Subspace overlap"
ABOUT = (
    "The share of two experts' strongest directions that point the same way: 0 is none, 1 all. Where they overlap, a "
    "merge has to choose. The orange line is what random directions would share."
)
EMPTY = "No overlap yet. Choose two or more experts."
VIEWS = {"left": "Left (written to)", "right": "Right (read from)"}


def figure(data: Subspaces, *, view: str = "left", block: int | None = None, kind: str | None = None) -> go.Figure:
    """Return expert against expert; colours span all matrices, so that places can be compared."""
    row = places.row(data, block, kind)
    every, chance = (heat.off_diagonal(getattr(data, f"{name}_{view}")) for name in ("overlap", "chance"))
    scale = heat.Scale.of(every, f"overlap of {view} directions (share)", chance=heat.level(chance[row]))
    sentence = heat.sentence("<b>%{y}</b> and <b>%{x}</b>", scale)
    result = heat.pairs(every[row], data.models, scale, sentence, chance[row])
    counted = data.rows[row].level == "tensor" and data.components[row].min() == data.components[row].max()
    size = f"{data.components[row, 0]:.0f} strongest " if counted else "strongest "
    title = f"Overlap of the {size}directions, {places.words(data, row)}"
    return result.update_layout(meta={**theme.drawn(result).meta, "title": title})


def rows(data: Subspaces, *, block: int | None = None, kind: str | None = None) -> tuple[list[str], list[list]]:
    """Return both sides of every pair, with chance levels."""
    row, models = places.row(data, block, kind), data.models
    quantities = [getattr(data, name)[row] for name in ("overlap_left", "chance_left", "overlap_right", "chance_right")]
    pairs = [(i, j) for i in range(len(models)) for j in range(i + 1, len(models))]
    columns = ["expert", "other", "left", "chance left", "right", "chance right"]
    return columns, [[models[i], models[j], *(q[i, j] for q in quantities)] for i, j in pairs]


def demo() -> Subspaces:
    from viz.examples import subspaces

    return subspaces()


if __name__ == "__main__":
    from viz.demo import show

    show("overlap")
