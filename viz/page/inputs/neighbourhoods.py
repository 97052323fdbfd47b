"""UMAP of points, away from anybody who waits: in one thread that talks to a process of its own; merges go first.

Maps are kept on disk beside the other caches, so that a page that starts again has them before its process is ready.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from merge_engine.mapping.process import MapProcess
from merge_engine.maths.svd import default_cache

LOG = logging.getLogger("mergescope")
KEPT, WISHES, FILES = 64, 4, 64
PAUSE = 0.2  # seconds between two looks whether a merge still runs
Fit = Callable[[np.ndarray], np.ndarray]
Place = Callable[[np.ndarray, np.ndarray], np.ndarray]
Wish = tuple[np.ndarray, np.ndarray | None]


class Neighbourhoods:
    """Coordinates by a key, None where they could not be computed; the newest wish comes first."""

    def __init__(self, busy: Callable[[], bool], embed: Fit | None = None, put: Place | None = None) -> None:
        self._process = MapProcess()
        self.embed, self.put = embed or self._kept_on_disk, put or self._process.place
        self._busy = busy
        self._kept: OrderedDict[str, np.ndarray | None] = OrderedDict()
        self._wishes: OrderedDict[str, Wish] = OrderedDict()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def warm(self) -> None:
        """Have the process compile what maps need, before anybody wishes for one."""
        self._process.warm()

    def get(self, key: str) -> np.ndarray | None:
        """Return coordinates that are ready, or None."""
        return self._kept.get(key)

    def settled(self, key: str) -> bool:
        """Return whether nothing more is to be expected for some points."""
        return key in self._kept or key not in self._wishes

    def ask(self, key: str, features: np.ndarray, other: np.ndarray | None = None) -> None:
        """Wish for the coordinates of features (N, D), or of one `other` (D,) on their map.

        The oldest of too many wishes is dropped.
        """
        with self._wake:
            if key in self._kept:
                return
            self._wishes[key] = features, other
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
                key, wish = next(reversed(self._wishes.items()))
            while self._busy():
                time.sleep(PAUSE)
            found = self._fulfilled(*wish)
            with self._wake:
                self._kept[key] = found
                self._wishes.pop(key, None)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)

    def _fulfilled(self, features: np.ndarray, other: np.ndarray | None) -> np.ndarray | None:
        try:
            return self.embed(features) if other is None else self.put(features, other[None])[0]
        except Exception:
            LOG.exception("UMAP failed")
            return None

    def _kept_on_disk(self, features: np.ndarray) -> np.ndarray:
        """Return the coordinates of features (N, D), from the cache where they were computed before."""
        digest = hashlib.blake2b(np.asarray(features, np.float32).tobytes(), digest_size=16).hexdigest()
        file = default_cache() / "maps" / f"{digest}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):
            return np.load(file, allow_pickle=False)
        found = self._process.fit(features)
        with contextlib.suppress(OSError):  # a full disk costs the record, not the map
            _write(file, found)
        return found


def _write(file: Path, coordinates: np.ndarray) -> None:
    """Write a map aside and rename it; the oldest of too many leave."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{os.getpid()}.part")
    with aside.open("wb") as target:
        np.save(target, coordinates, allow_pickle=False)
    aside.replace(file)
    for old in sorted(file.parent.glob("*.npy"), key=lambda path: path.stat().st_mtime)[:-FILES]:
        old.unlink(missing_ok=True)
