"""The singular vectors of two components, coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from viz import theme

TITLE = "Singular vectors of a pair"
ABOUT = (
    "Each dot is a coordinate of the layer: its entries in the singular vectors of both components. Dots in the shaded "
    "corners pull both the same way. The cosine of input sides times that of output sides decides: above zero they "
    "add up."
)
EMPTY = "No pair yet. Choose two or more experts, then a pair on the map above."
VIEWS = {"right": "Input side", "left": "Output side"}
SIDES = {"right": "input", "left": "output"}
NAMED, LISTED = 6, 40  # coordinates named in the figure, and listed in the data table
PLOT, ROOM, APART = 320, 1.2, 0.08  # pixels; range over the largest entry; distance of names over the range


@dataclass(frozen=True, eq=False)
class Vectors:
    """Unit singular vectors of two components of one matrix: `left` u (2, m) and `right` v (2, n).

    `names` are those of the components and `place` that of their matrix. Both vectors of the second component are
    turned together, which leaves the component as it is, so that the input sides meet at an angle of at most 90°.
    """

    names: tuple[str, str]
    place: str
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, names: tuple[str, str], place: str, left: np.ndarray, right: np.ndarray) -> Vectors:
        """Return the vectors, those of the second component turned where their input sides point apart."""
        turn = np.array([[1.0], [-1.0 if float(right[0] @ right[1]) < 0 else 1.0]])
        return cls(names, place, left * turn, right * turn)

    def side(self, view: str) -> np.ndarray:
        """Return both vectors of one side (2, n)."""
        return self.left if view == "left" else self.right


def figure(data: Vectors, *, view: str = "right") -> go.Figure:
    """Return a dot per coordinate; entries are given as multiples of 1/√n, the size of those of an even vector."""
    both = data.side(view)
    x, y = both * np.sqrt(both.shape[1])
    parts, reach = x * y / len(x), ROOM * float(np.abs(both).max() * np.sqrt(both.shape[1])) or 1.0
    ink = np.where(parts >= 0, theme.DIVERGING[7][1], theme.DIVERGING[1][1])
    axis = {"range": [-reach, reach], "zeroline": True, "zerolinecolor": theme.RULE, "nticks": 7, "fixedrange": True,
            "showgrid": False}  # fmt: skip
    first, second = data.names
    return theme.figure(
        height=PLOT + 70,
        margin={"t": 26, "b": 44, "r": 16},
        data=[_dots(data, view, x, y, parts, ink)],
        xaxis=theme.axis(f"{first}, entry × √n", **axis),
        yaxis=theme.axis(f"{second}, entry × √n", automargin=True, **axis),
        shapes=[_corner(0, reach), _corner(-reach, 0)],
        annotations=[
            *_corner_words(reach),
            *(theme.label(str(i), x[i], y[i], yshift=9, color=theme.MUTED) for i in _named(x, y, parts, reach)),
            theme.label(_words(parts), 0.5, 1, xref="paper", yref="paper", yanchor="bottom", yshift=4),
        ],
        meta={"title": f"{SIDES[view].capitalize()} vectors: {first} and {second}, {data.place}",
              "uirevision": f"{view} {first} {second} {data.place}"},
    )


def rows(data: Vectors, *, view: str = "right") -> tuple[list[str], list[list]]:
    """Return the coordinates that add most to the cosine of one side, by size."""
    a, b = data.side(view)
    order = np.argsort(-np.abs(a * b), kind="stable")[:LISTED]
    columns = [f"{SIDES[view]} coordinate", *data.names, "product"]
    return columns, [[int(i), a[i], b[i], a[i] * b[i]] for i in order]


def half(parts: np.ndarray) -> int:
    """Return how few coordinates hold half of what all of them pull, whichever way."""
    sizes = np.sort(np.abs(parts))[::-1]
    return int(np.searchsorted(sizes.cumsum(), 0.5 * sizes.sum())) + 1 if sizes.any() else 0


def _words(parts: np.ndarray) -> str:
    cosine = f"{parts.sum():+.2f}".replace("-", "−")
    return f"<b>cosine {cosine}</b>, half of the pull from {half(parts)} of {len(parts)} coordinates"


def _named(x: np.ndarray, y: np.ndarray, parts: np.ndarray, reach: float) -> list[int]:
    """Return the coordinates that pull most and whose names do not collide."""
    found: list[int] = []
    for i in np.argsort(-np.abs(parts), kind="stable")[: 4 * NAMED].tolist():
        clear = all(max(abs(x[i] - x[j]), abs(y[i] - y[j])) > 2 * APART * reach for j in found)
        if clear and parts[i] and len(found) < NAMED:
            found.append(i)
    return found


def _dots(data: Vectors, view: str, x: np.ndarray, y: np.ndarray, parts: np.ndarray, ink: Any) -> go.Scatter:
    words = [
        f"<b>{SIDES[view]} {i}</b><br>{data.names[0]} {a:+.2f}, {data.names[1]} {b:+.2f}<br>adds {p:+.4f} to the cosine"
        for i, (a, b, p) in enumerate(zip(x, y, parts, strict=True))
    ]
    return theme.scatter(
        x=x.astype(np.float32), y=y.astype(np.float32), mode="markers", hoverinfo="text",
        hovertext=[text.replace("-", "−") for text in words], cliponaxis=False,
        marker={"size": 6, "color": list(ink), "opacity": 0.7, "line": {"color": theme.SURFACE, "width": 0.5}},
    )  # fmt: skip


def _corner(low: float, high: float) -> dict[str, Any]:
    return {"type": "rect", "x0": low, "x1": high, "y0": low, "y1": high, "layer": "below", "fillcolor": theme.GRID,
            "opacity": 0.5, "line": {"width": 0}}  # fmt: skip


def _corner_words(reach: float) -> list[dict[str, Any]]:
    """Return what the corners mean."""
    return [
        theme.label(text, across * reach, up * reach, xanchor="left" if across < 0 else "right", color=theme.MUTED,
                    yanchor="top" if up > 0 else "bottom")
        for text, across, up in (("same way", 1, 1), ("same way", -1, -1), ("apart", -1, 1), ("apart", 1, -1))
    ]  # fmt: skip


def demo() -> Vectors:
    """Return two components that share a few input coordinates and push a few outputs apart."""
    random = np.random.default_rng(43)
    vectors = []
    for width, sign in ((96, -1), (384, 1)):
        both = random.normal(0, 1, (2, width))
        loud = random.choice(width, 9, replace=False)
        both[0, loud] += 4 * random.choice([-1, 1], 9)
        both[1, loud] += sign * 0.8 * both[0, loud]
        vectors.append(both / np.linalg.norm(both, axis=1, keepdims=True))
    return Vectors.of(("letters #0", "digits #1"), "block 5, fc1", *vectors)


if __name__ == "__main__":
    from viz.demo import show

    show("vectors")
