"""Where a measurement's rows sit in the network: one matrix, a block, a kind, or all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from merge_engine.metrics import Measured

KINDS = ("q", "k", "v", "out", "fc1", "fc2")

Place = tuple[int | None, str]  # block, None outside blocks, and kind


def row(measured: Measured, block: int | None = None, kind: str | None = None) -> int:
    """Return the position of the row of a matrix, a block, a kind or all; the nearest wider one where it is missing."""
    wanted = [("tensor", block, kind)] if block is not None and kind else []
    wanted += [("block", block, "")] if block is not None else []
    wanted += [("kind", None, kind), ("part", None, kind)] if kind else []
    for level, b, k in [*wanted, ("all", None, "")]:
        for i, r in enumerate(measured.rows):
            if (r.level, r.block, r.kind) == (level, b, k):
                return i
    return 0


def words(measured: Measured, position: int) -> str:
    """Return the name of a row as a reader says it: `block 3, fc1`."""
    r = measured.rows[position]
    if r.level == "tensor":
        return f"block {r.block}, {r.kind}" if r.block is not None else r.tensor
    return {"all": "all matrices", "block": f"block {r.block}"}.get(r.level, f"all {r.kind} matrices")


def grid(measured: Measured, values: np.ndarray) -> tuple[list[int], list[str], np.ndarray]:
    """Return blocks, kinds and the values of the matrices, (kinds, blocks, ...); NaN where a block lacks a kind."""
    found = {(r.block, r.kind): i for i, r in enumerate(measured.rows) if r.level == "tensor" and r.kind in KINDS}
    blocks = sorted({b for b, _ in found if b is not None})
    kinds = [k for k in KINDS if any(k == kind for _, kind in found)]
    result = np.full((len(kinds), len(blocks), *values.shape[1:]), np.nan)
    for (block, kind), i in found.items():
        if block is not None:
            result[kinds.index(kind), blocks.index(block)] = values[i]
    return blocks, kinds, result


def chance(measured: Measured, name: str) -> np.ndarray:
    """Return the chance level of a quantity in the quantity's own shape; NaN where none is declared."""
    declared, values = measured.quantities(), getattr(measured, name)
    if not declared[name].chance:
        return np.full(values.shape, np.nan)
    level = declared[declared[name].chance]
    index = tuple(slice(None) if axis in level.axes else None for axis in declared[name].axes)
    return np.broadcast_to(getattr(measured, level.name)[index], values.shape)


def mean_pair(values: np.ndarray) -> np.ndarray:
    """Return the mean over pairs of different experts, (...), from (..., T, T); NaN for fewer than two."""
    count = values.shape[-1]
    off = values[..., ~np.eye(count, dtype=bool)]
    known = np.isfinite(off)
    total = np.where(known, off, 0.0).sum(-1)
    return np.divide(total, known.sum(-1), out=np.full(total.shape, np.nan), where=known.sum(-1) > 0)
