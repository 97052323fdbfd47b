"""How long a merge or its scoring still takes, from the pace so far."""

from __future__ import annotations

from .headline import duration
from .record import Run

SOON = 2.0  # seconds of a pace before it is trusted


def seconds_left(run: Run) -> float | None:
    """Return the seconds until the phase of a run ends; None while its pace is not known."""
    if run.phase == "scoring":
        done, total = (sum(getattr(s, k) for s in run.scores.values()) for k in ("n", "total"))
        return _at_pace(run.score_seconds, done, total)
    if run.phase != "merging":
        return None
    method = run.recipe.build()[0]
    if method.kind == "static" and not method.needs:
        return _at_pace(run.merge_seconds, run.step.done, run.step.total)
    steps = dict(run.recipe.parameters).get("steps")
    if len(run.curve) < 2 or not steps:
        return None
    first, last = run.curve[0], run.curve[-1]
    return (last.seconds - first.seconds) / (last.step - first.step) * (steps - last.step)


def words_left(run: Run) -> str:
    """Return the rest of a status line: `, about 12 s left`, or nothing."""
    left = seconds_left(run)
    return f", about {duration(left)} left" if left is not None and left >= 0.5 else ""


def _at_pace(seconds: float, done: int, total: int) -> float | None:
    return seconds * (total - done) / done if seconds >= SOON and 0 < done <= total else None
