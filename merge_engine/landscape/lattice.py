"""Lattices that are measured coarse to fine."""

from __future__ import annotations

from collections.abc import Iterator

FINE = 16
SIDES = (5, 9, 17)
"""Points along a side of the coarse, the middle and the fine lattice; each holds the one before."""

Point = tuple[int, int]


def sides_to(detail: int) -> tuple[int, ...]:
    """Return the sides of the lattices up to a wanted one."""
    return tuple(side for side in SIDES if side <= detail)


def points(side: int) -> Iterator[Point]:
    """Yield the places of a lattice on the finest one, row by row."""
    step = FINE // (side - 1)
    for row in range(0, FINE + 1, step):
        for column in range(0, FINE + 1, step):
            yield column, row


def word(point: Point) -> str:
    """Return the word of a place in a store."""
    return f"{point[0]}:{point[1]}"
