"""Lattices that are measured coarse to fine."""

from __future__ import annotations

from collections.abc import Iterator

FINE = 20
SIDES = (6, 11, 21)
"""Points along a side of the coarse, the middle and the fine lattice; each holds the one before."""

Point = tuple[int, int]


def sides_to(detail: int) -> tuple[int, ...]:
    """Return the sides of the lattices up to a wanted one."""
    return tuple(side for side in SIDES if side <= detail)


def along(side: int) -> range:
    """Return the places along a side of a lattice, on the finest one."""
    return range(0, FINE + 1, FINE // (side - 1))


def points(side: int) -> Iterator[Point]:
    """Yield the places of a lattice on the finest one, row by row."""
    for row in along(side):
        for column in along(side):
            yield column, row


def word(point: Point) -> str:
    """Return the word of a place in a store."""
    return f"{point[0]}:{point[1]}"
