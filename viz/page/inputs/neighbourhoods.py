"""UMAP of points, away from anybody who waits: in one thread that starts with the first wish; merges go first."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from merge_engine.embedding import umap_coordinates

LOG = logging.getLogger("mergescope")
KEPT, WISHES = 16, 4
PAUSE = 0.2  # seconds between two looks whether a merge still runs


class Neighbourhoods:
    """Coordinates by the key of their points, None where they could not be computed; the newest wish comes first."""

    def __init__(
        self, busy: Callable[[], bool], embed: Callable[[np.ndarray], np.ndarray] = umap_coordinates
    ) -> None:
        self.embed, self._busy = embed, busy
        self._kept: OrderedDict[str, np.ndarray | None] = OrderedDict()
        self._wishes: OrderedDict[str, np.ndarray] = OrderedDict()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def get(self, key: str) -> np.ndarray | None:
        """Return coordinates that are ready, or None."""
        return self._kept.get(key)

    def settled(self, key: str) -> bool:
        """Return whether nothing more is to be expected for some points."""
        return key in self._kept or key not in self._wishes

    def ask(self, key: str, features: np.ndarray) -> None:
        """Wish for the coordinates of features (N, D); the oldest of too many wishes is dropped."""
        with self._wake:
            if key in self._kept:
                return
            self._wishes[key] = features
            self._wishes.move_to_end(key)
            while len(self._wishes) > WISHES:
                self._wishes.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="umap")
                self._thread.start()
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._wishes:
                    self._wake.wait()
                key, features = next(reversed(self._wishes.items()))
            while self._busy():
                time.sleep(PAUSE)
            found = self._embedded(features)
            with self._wake:
                self._kept[key] = found
                self._wishes.pop(key, None)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)

    def _embedded(self, features: np.ndarray) -> np.ndarray | None:
        try:
            return self.embed(features)
        except Exception:
            LOG.exception("UMAP failed")
            return None
