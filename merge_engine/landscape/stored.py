"""Readings measured so far, under a digest of everything that they depend on: in the user's cache, else as shipped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ..runs.results import cached_folder, read_json, shipped_folder, write_json
from ..suite import Suite
from .corners import Corner
from .probe import Probe

FOLDER = "landscape"
EVERY = 16  # readings between two times that they are written


class Stored:
    """Readings by word of one view of some models; interrupted work goes on where it stopped."""

    def __init__(self, view: str, suite: Suite, models: Sequence[Corner], probe: Probe, form: str = "") -> None:
        """`form` is a word for what the words of the readings mean, where that could change."""
        content = (view + form, *(one.content for one in models), *probe.digest)
        digest = hashlib.blake2b("\x00".join(content).encode(), digest_size=16).hexdigest()
        self.file = cached_folder(suite.name) / FOLDER / f"{view}-{digest}.json"
        known = read_json(self.file) or read_json(shipped_folder(suite.name) / FOLDER / self.file.name)
        self.found: dict[str, Any] = known if isinstance(known, dict) else {}
        self._unwritten = 0

    def __contains__(self, word: str) -> bool:
        return word in self.found

    def __getitem__(self, word: str) -> Any:
        return self.found[word]

    def get(self, word: str) -> Any:
        """Return a reading, None where there is none."""
        return self.found.get(word)

    def keep(self, word: str, reading: Any) -> None:
        """Keep a reading, writing now and then."""
        self.found[word] = reading
        self._unwritten += 1
        if self._unwritten >= EVERY:
            self.write()

    def write(self) -> None:
        """Write what was not written yet; a full disk costs the record, not the view."""
        if self._unwritten:
            write_json(self.file, self.found, quiet=True)
            self._unwritten = 0
