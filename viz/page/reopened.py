"""What an address that is opened again changes beyond the answer: the pair, the inputs and the runs looked at."""

from __future__ import annotations

from .compare import compare
from .drill import drill
from .inputs import sight
from .session import Session
from .view import Parts
from .workbench import Workbench


def reopened(bench: Workbench, before: Session, after: Session, shown: str) -> Parts:
    """Return the words that make sections draw again, of those alone whose choices differ between two sessions."""
    parts: Parts = {}
    if drill.turned(before) != drill.turned(after):
        parts["drill"] = drill.turned(after)
    if before.inputs != after.inputs:
        parts |= sight.marks(bench, after, shown)
    if _order(before) != _order(after):
        parts["compared"] = compare.mark(bench, after)
    return parts


def _order(session: Session) -> tuple[str, ...]:
    kept = session.comparison
    return (*kept.pins, kept.sort, str(kept.rising), kept.task)
