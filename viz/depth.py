"""Rows against the depth of a network: its layers from left (input) to right (output)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.places import Place


def layer(place: Place) -> str:
    """Return the name of a layer: `block 3, fc1`."""
    block, kind = place
    return "all layers" if block is None else f"block {block}, {kind}" if kind else f"block {block}"


def deep_map(cells: np.ndarray, names: Sequence[str], places: Sequence[Place], scale: heat.Scale,
             sentence: str) -> tuple[go.Figure, list]:  # fmt: skip
    """Return rows against depth, cells (rows, L), and the address of every column.

    Where blocks have several layers, these stand side by side with a gap after them.
    """
    several = any(kind for _, kind in places)
    columns: list[str] = []
    at: list[int] = []
    for i, (block, _) in enumerate(places):
        if several and i and block != places[i - 1][0]:
            columns.append(f"after {places[i - 1][0]}")
        at.append(len(columns))
        columns.append(layer(places[i]))
    z = np.full((len(names), len(columns)), np.nan)
    z[:, at] = cells
    few = not several and len(columns) <= 12
    trace = heat.cells(columns, names, z, scale, hover=sentence, text=few, gap=0 if several else 1.5).update(ygap=2)
    blocks = sorted({b for b, _ in places if b is not None})
    middles = [float(np.mean([at[i] for i, (block, _) in enumerate(places) if block == b])) for b in blocks]
    kinds = list(dict.fromkeys(kind for _, kind in places if kind))
    title = "block, from input to output" + (f" ({', '.join(kinds)} in each)" if several else "")
    result = heat.picture(
        [trace], scale, cells, rows=len(names), row_height=26, top=44,
        xaxis={**heat.block_ticks(middles, blocks), "title": heat.top_title(title),
               "range": [-0.5, len(columns) - 0.5]},
        yaxis=named(names, 12),
        meta={"narrow": {"layout.xaxis.title.text": "block, from input to output", "data.0.texttemplate": "",
                         "layout.yaxis.ticktext": theme.shorts(names, 9)}},
    )  # fmt: skip
    addresses = [{"block": block, **({"kind": kind} if kind else {})} for block, kind in places]
    return result, [[columns[i], address] for i, address in zip(at, addresses, strict=True)]


def named(names: Sequence[str], limit: int) -> dict:
    """Return an axis whose rows are named, the first on top."""
    return {"type": "category", "tickvals": list(range(len(names))), "ticktext": theme.shorts(names, limit),
            "range": [len(names) - 0.5, -0.5]}  # fmt: skip
