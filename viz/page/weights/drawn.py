"""Figures of the weights as the page reads them: a place that was looked at before is shown again at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from merge_engine.metrics import Measured
from viz.panel import Drawing

MOST = 120  # figures kept, about 40 kB each


class Drawn:
    """The figures drawn last in one process, shared by all visitors."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[tuple[Measured, ...], str]] = OrderedDict()

    def text(self, panel: str, place: str, measured: Sequence[Measured], draw: Callable[[], Drawing]) -> str:
        """Return a panel's figures of measurements at a place as JSON, drawn unless they are kept."""
        kept = self._kept.pop((panel, place), None)
        if kept is None or list(map(id, kept[0])) != list(map(id, measured)):
            kept = tuple(measured), draw().to_json()
        self._kept[panel, place] = kept
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return kept[1]
