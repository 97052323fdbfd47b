"""The stored studies of repeated runs, for their panel."""

from __future__ import annotations

from merge_engine.runs.publish import stored_study
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import repeats

STORE = "tsv_c"


def luck(suite: Suite) -> Drawing | None:
    """Return the panel of a suite's repeated runs, None where none are stored for what the suite holds now."""
    found = [
        repeats.Repeats("seeds", row["title"], tuple(row["average"])) for row in stored_study(suite, "seeds")
    ] + [
        repeats.Repeats("draws", row["title"], tuple(row["stores"][STORE]["end_to_end"]), tuple(row["routed"]))
        for row in stored_study(suite, "draws")
    ]
    return draw(repeats, found) if found else None
