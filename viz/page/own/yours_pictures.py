"""Pictures that visitors drew or brought along: in memory alone, by a digest of their pixels. Knows no Gradio."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np
from torch import Tensor

from merge_engine.suite import Suite

SPLIT = "yours"  # the split of an input that is no part of a suite
KEPT = 512  # pictures, 3 kB each


class YoursPictures:
    """The pictures of all visitors, the least recently used one leaving first; nothing is written anywhere."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, picture: np.ndarray) -> int:
        """Keep a picture, uint8 (s, s) or (s, s, 3), and return its number."""
        about = f"{picture.shape}".encode() + picture.tobytes()
        number = int.from_bytes(hashlib.blake2b(about, digest_size=7).digest())
        with self._lock:
            self._kept[number] = picture
            self._kept.move_to_end(number)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return number

    def get(self, number: int) -> np.ndarray | None:
        """Return a picture by its number, None when it is not kept any more."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
            return self._kept.get(number)

    def prepared(self, suite: Suite, number: int) -> Tensor:
        """Return a kept picture as the backbone takes it, (1, ...)."""
        return suite.backbone.prepare(self._kept[number][None])
