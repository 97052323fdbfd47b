"""The stored study of the options of methods, for its panel."""

from __future__ import annotations

import numpy as np

from merge_engine.runs.publish import stored_study
from merge_engine.runs.results import routed_right
from merge_engine.runs.variants import ANCHOR
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import variants
from viz.panels.variants import Case, Variants


def options(suite: Suite) -> Drawing | None:
    """Return the panel of a suite's study, None where none is stored for what the suite holds now."""
    by_method: dict[str, list] = {}
    for row in stored_study(suite, "variants"):
        by_method.setdefault(row["method"], []).append(row)
    whole = [rows for rows in by_method.values() if rows[0]["variant"] == ANCHOR and len(rows) > 1]
    return draw(variants, [_of(rows) for rows in whole]) if whole else None


def _of(rows: list[dict]) -> Variants:
    """Return the variants of one method on the tasks that all of them were scored on."""
    tasks = tuple(task for task in rows[0]["accuracy"] if all(task in row["accuracy"] for row in rows))
    cases = tuple(
        Case(
            row["variant"], row["stored_parameters"], row["forwards"], row["seconds"]["merge"],
            routed_right(row), row["told"],
        )
        for row in rows
    )  # fmt: skip
    accuracy = np.array([[row["accuracy"][task]["merged"] for task in tasks] for row in rows])
    return Variants(rows[0]["method"], rows[0]["title"], tasks, cases, accuracy)
