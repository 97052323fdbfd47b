"""Where the weights of two merged models differ, matrix by matrix through the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, places

TITLE = "Where their weights differ"
ABOUT = (
    "Both merged task vectors, matrix by matrix. Direction: 1 where B points as A does, whatever its length. Distance: "
    "the length of B − A over that of A. Length: B over A. Click a cell to look at that matrix in every panel."
)
EMPTY = "Pin two runs that are one model each, and merge them in this visit, to see where their weights differ."
VIEWS = {"cosine": "Direction", "distance": "Distance", "length": "Length"}
TITLES = {
    "cosine": "cosine of the merged task vectors",
    "distance": "length of B − A over that of A",
    "length": "length of B over that of A",
}


@dataclass(frozen=True, eq=False)
class Apart:
    """Two merged task vectors A and B of one suite: lengths (N, 2) and inner products (N,) of N matrices.

    `blocks` and `kinds` (N,) are where the matrices are.
    """

    blocks: tuple[int, ...]
    kinds: tuple[str, ...]
    norms: np.ndarray
    inner: np.ndarray

    def __len__(self) -> int:
        return len(self.blocks)

    def values(self, view: str) -> np.ndarray:
        """Return a view's numbers (N,); NaN where a length that divides is zero."""
        a, b = self.norms.T
        over = {"cosine": a * b}.get(view, a)
        top = {"cosine": self.inner, "length": b}.get(view, np.sqrt(np.maximum(a**2 + b**2 - 2 * self.inner, 0)))
        return np.divide(top, over, out=np.full(len(a), np.nan), where=over > 0)


def figure(data: Apart, *, view: str = "cosine") -> go.Figure:
    """Return kind against block."""
    blocks, kinds, cells = _grid(data, data.values(view))
    scale = heat.Scale.of(cells, TITLES[view])
    unknown = np.full(cells.shape, np.nan)
    return heat.by_depth(cells, blocks, kinds, scale, heat.sentence("<b>block %{x}, %{y}</b>", scale), unknown)


def rows(data: Apart) -> tuple[list[str], list[list]]:
    """Return one line per matrix."""
    every = [data.values(view) for view in VIEWS]
    lines = zip(data.blocks, data.kinds, *data.norms.T, *every, strict=True)
    return ["block", "kind", "length of A", "length of B", *VIEWS], [[str(block), *line] for block, *line in lines]


def _grid(data: Apart, values: np.ndarray) -> tuple[list[int], list[str], np.ndarray]:
    blocks = sorted(set(data.blocks))
    kinds = [kind for kind in places.KINDS if kind in data.kinds]
    cells = np.full((len(kinds), len(blocks)), np.nan)
    for block, kind, value in zip(data.blocks, data.kinds, values, strict=True):
        cells[kinds.index(kind), blocks.index(block)] = value
    return blocks, kinds, cells


def demo() -> Apart:
    """Return two merges that part in the later blocks."""
    blocks, kinds = np.repeat(range(12), len(places.KINDS)), places.KINDS * 12
    random, depth = np.random.default_rng(47), blocks / 11
    norms = np.stack([0.2 + 0.1 * depth, 0.25 + 0.3 * depth], 1) * random.uniform(0.9, 1.1, (len(blocks), 1))
    cosine = 0.95 - 0.4 * depth + random.normal(0, 0.02, len(blocks))
    return Apart(tuple(blocks.tolist()), kinds, norms, cosine * norms.prod(1))


if __name__ == "__main__":
    from viz.demo import show

    show("apart")
