"""Singular components, and where they are kept by content: the latest in memory, all within a bound on disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

POLICY = "gram64-v2"


class Factors(NamedTuple):
    """Singular components: U (m, r), s (r,) descending, Vh (r, n), all float32."""

    U: Tensor
    s: Tensor
    Vh: Tensor

    def top(self, k: int) -> Factors:
        """Return the k leading components."""
        return Factors(self.U[:, :k], self.s[:k], self.Vh[:k])

    def matrix(self) -> Tensor:
        """Return U diag(s) Vh, (m, n)."""
        return (self.U * self.s) @ self.Vh

    @property
    def bytes(self) -> int:
        """Size in memory, and nearly that on disk."""
        return sum(part.numel() * part.element_size() for part in self)


class Memory:
    """Factors by key within a number of bytes, the least recently used leaving first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._kept: OrderedDict[str, Factors] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> Factors | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, factors: Factors) -> None:
        with self._lock:
            if key in self._kept or factors.bytes > self.limit:
                return
            self._kept[key] = factors
            self.bytes += factors.bytes
            while self.bytes > self.limit:
                self.bytes -= self._kept.popitem(last=False)[1].bytes


class Disk:
    """Files of factors by key in a folder within a number of bytes, the least recently used leaving first.

    A read marks its file with the time. The folder is walked at the first write and then once for every sixteenth
    of the limit written, which is by how much another process can pass it; past the limit, files leave down to
    nine tenths of it.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        self._unchecked = 0.0  # bytes that may be written before the next walk
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return self._file(key).exists()

    def read(self, key: str) -> Factors | None:
        file = self._file(key)
        try:
            stored = load_file(file)
            found = Factors(stored["U"], stored["s"], stored["Vh"])
        except Exception:  # a missing or damaged file is only a miss: it is computed and written again
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return found

    def write(self, key: str, factors: Factors) -> None:
        """Write unless the disk is full or read-only, which costs speed, not the merge."""
        if factors.bytes > self.limit:
            return
        target, aside = self._file(key), None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=target.parent, suffix=".part")
            os.close(handle)
            save_file(factors._asdict(), aside)
            os.replace(aside, target)
        except (OSError, SafetensorError):
            if aside is not None:
                _remove(Path(aside))
            return
        self._account(factors.bytes)

    def _file(self, key: str) -> Path:
        return self.folder / POLICY / key[:2] / f"{key}.safetensors"

    def _account(self, written: int) -> None:
        with self._lock:
            self._unchecked -= written
            if self._unchecked < 0:
                left = self.limit - self._shrink()
                self._unchecked = min(left, self.limit / 16)

    def _shrink(self) -> float:
        """Return the bytes in the folder, after removing files where they pass the limit."""
        files = sorted(_files(self.folder))
        total = sum(size for _, size, _ in files)
        wanted = total if total <= self.limit else 0.9 * self.limit
        for _, size, file in files:
            if total <= wanted:
                break
            total -= size if _remove(file) else 0
        return total


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield when every file below a folder was last used, in ns, its size and its path."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # another process may have removed it
                file = Path(parent, name)
                found = file.stat()
                yield found.st_mtime_ns, found.st_size, file


def _remove(file: Path) -> bool:
    """Remove a file; False where the system keeps it, such as one that is open under Windows."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return True
