"""The mean overlap of all pairs of experts, matrix by matrix through the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import heat, places

if TYPE_CHECKING:
    from merge_engine.metrics.subspace import Subspaces

TITLE = "Overlap through the network"
ABOUT = (
    "The mean overlap of all pairs in every matrix; beyond chance, 0 is what random directions share and 1 is all. "
    "Click a cell to look at that matrix in every panel."
)
EMPTY = "No overlap yet. Choose two or more experts."
SIDES = ("left", "right")
VIEWS = {
    "left": "Left (written to)",
    "right": "Right (read from)",
    "left_beyond": "Left, beyond chance",
    "right_beyond": "Right, beyond chance",
}


def figure(data: Subspaces, *, view: str = "left") -> go.Figure:
    """Return kind against block."""
    side, _, beyond = view.partition("_")
    overlap, chance = _means(data, side)
    blocks, kinds, cells = places.grid(data, overlap)
    expected = places.grid(data, chance)[2]
    title, level = f"mean overlap of {side} directions (share)", heat.levels(expected, kinds)
    if beyond:
        cells, title = (cells - expected) / (1 - expected), f"overlap of {side} directions beyond chance (share)"
        level = ((0.0, ""),) if level else ()
    scale = heat.Scale.of(cells, title, chance=level)
    return heat.by_depth(cells, blocks, kinds, scale, heat.sentence("<b>block %{x}, %{y}</b>", scale), expected)


def rows(data: Subspaces) -> tuple[list[str], list[list]]:
    """Return both sides of every matrix, with chance levels."""
    sides = [array for side in SIDES for array in _means(data, side)]
    columns = ["block", "kind", "left", "chance left", "right", "chance right"]
    tensors = [(i, r) for i, r in enumerate(data.rows) if r.level == "tensor"]
    return columns, [[str(r.block), r.kind, *(values[i] for values in sides)] for i, r in tensors]


def _means(data: Subspaces, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean overlap and chance level of the pairs of experts in every row; a merge is not one of them."""
    experts = np.array([m != "merged" for m in data.models])
    found = [getattr(data, f"{name}_{side}")[:, experts][:, :, experts] for name in ("overlap", "chance")]
    return places.mean_pair(found[0]), places.mean_pair(found[1])


def demo() -> Subspaces:
    from viz.examples import subspaces

    return subspaces()


if __name__ == "__main__":
    from viz.demo import show

    show("overlap_depth")
