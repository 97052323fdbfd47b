"""The stored study of minimising entropy, for its panel."""

from __future__ import annotations

import numpy as np

from merge_engine.runs.publish import stored_study
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import entropy_study
from viz.panels.entropy_study import Case, EntropyStudy


def surer(suite: Suite) -> Drawing | None:
    """Return the panel of a suite's study, None where none is stored for what the suite holds now."""
    rows = stored_study(suite, "entropy")
    if not rows:
        return None
    tasks = tuple(rows[0]["accuracy"])
    cases = tuple(Case(row["title"], row["variation"], row["changed"], row["labels"]) for row in rows)
    accuracy, gain, entropy = (
        np.array([[row[key][task] for task in tasks] for row in rows]) for key in ("accuracy", "gain", "entropy")
    )
    return draw(entropy_study, EntropyStudy(tasks, cases, accuracy, gain, entropy))
