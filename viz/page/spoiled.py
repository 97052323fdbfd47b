"""The stored study of corrupted pictures, for its panel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from merge_engine.runs.publish import stored_study
from merge_engine.runs.robustness import CLEAN, SEEN, Row, comparable, summary
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import robustness

SAW = {SEEN["clean"]: "saw clean", SEEN["alike"]: "saw alike"}

def spoiled(suite: Suite) -> Drawing | None:
    """Return the panel of a suite's study, None where none is stored for what the suite holds now."""
    rows = stored_study(suite, "robustness")
    if not rows:
        return None
    whole, *fewer = [_robustness(degrees, some) for degrees, some in comparable(rows)]
    return draw(robustness, dataclasses.replace(whole, adapted=fewer[0] if fewer else None))


def _robustness(severities: tuple[int, ...], rows: Sequence[Row]) -> robustness.Robustness:
    """Return rows of cases that were measured at the same severities as the data of the panel."""
    means = summary(rows)
    kinds = tuple(dict.fromkeys(row["kind"] for row in rows if row["kind"] != CLEAN))
    accuracy = np.array([[case.get(kind, np.nan) for kind in (CLEAN, *kinds)] for case in means.values()])
    cases = tuple(f"{title}, {SAW[seen]}" if seen else title for title, seen in means)
    return robustness.Robustness(cases, kinds, accuracy, severities)
