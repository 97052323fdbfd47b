"""What merges answer to visitors' pictures, each asked once. Knows no Gradio."""

from __future__ import annotations

import threading
from collections import OrderedDict

from torch import Tensor

from merge_engine.blind import Reply, reply
from merge_engine.evaluate import Model
from merge_engine.merged import Merged
from merge_engine.suite import Suite

KEPT = 1024


class Replies:
    """Replies by recipe and picture, shared by all visitors."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Reply] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, recipe: str, number: int) -> Reply | None:
        """Return a reply that was given before, by the digest of the recipe and the number of the picture."""
        return self._known.get((recipe, number))

    def ask(self, suite: Suite, recipe: str, merged: Merged, number: int, inputs: Tensor) -> Reply:
        """Return what a merge replies to a picture (1, ...). Putting its weights together costs more than the pass."""
        with self._lock:
            if (found := self._known.get((recipe, number))) is None:
                found = self._known[recipe, number] = reply(Model(merged, suite), inputs)
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return found
