"""The colour of every task: that of its expert."""

from __future__ import annotations

from merge_engine.suite import Suite
from viz import theme


def task_colors(suite: Suite) -> dict[str, str]:
    """Return the colour of every expert's task."""
    colors = theme.colors(suite.task_of)
    return {task: colors[expert] for expert, task in suite.task_of.items()}
