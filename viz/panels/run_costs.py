"""The accuracy of every run of a visit against what it costs to store or to compute."""

from __future__ import annotations

import dataclasses

from viz.panels import method_table
from viz.panels.method_table import VIEWS, MethodPoint, figure, rows

TITLE = "What the runs of this visit cost"
ABOUT = (
    "Each dot is a run; those on the stepped line are the best for their price, and the pinned ones A and B stand out. "
    "A hollow dot needs to know the task of its input. Click a dot to load its recipe."
)
EMPTY = "No finished run yet. Press Merge, and what you merge in this visit is collected here."
__all__ = ["ABOUT", "EMPTY", "TITLE", "VIEWS", "MethodPoint", "demo", "figure", "rows"]


def demo() -> list[MethodPoint]:
    """Return an example with two pinned runs."""
    pins = {"ties": "A", "cart": "B"}
    return [
        dataclasses.replace(point, chosen=bool(pin), title=f"{pin}: {point.title}" if pin else point.title)
        for point in method_table.demo()
        if (pin := pins.get(point.method)) or not point.chosen
    ]


if __name__ == "__main__":
    from viz.demo import show

    show("run_costs")
