"""The process that makes maps, as its caller sees it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..embedding import FEWEST, NEIGHBOURS, pca, spread_start
from . import worker

NICE = 10  # politeness towards everything else on the machine
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class MapProcess:
    """UMAP in another process, which starts with the first request or when it is warmed; one request at a time.

    `niceness` is added to that of this process: by default everything else goes before maps.
    """

    def __init__(self, niceness: int = NICE) -> None:
        self.niceness = niceness
        self._process: subprocess.Popen[bytes] | None = None
        self._fitted: OrderedDict[bytes, int] = OrderedDict()
        self._count, self._lock = 0, threading.Lock()

    def warm(self) -> None:
        """Start the process, which compiles what requests will need."""
        with self._lock:
            self._running()

    def fit(self, features: np.ndarray, seed: int = 0) -> np.ndarray:
        """Return UMAP coordinates (N, 2) of features (N, D), the same for the same seed.

        It starts from the PCA picture, which it is for fewer than four inputs. Raises RuntimeError where the process
        failed.

        References
        ----------
        McInnes, Healy, Melville, UMAP: Uniform Manifold Approximation and Projection, 2018, arXiv:1802.03426.
        """
        if len(features) < FEWEST:
            return pca(features).coordinates
        with self._lock:
            return self._fit(features, seed)

    def place(self, features: np.ndarray, others: np.ndarray, seed: int = 0) -> np.ndarray:
        """Return coordinates (M, 2) of other features (M, D) on the map of features (N, D)."""
        if len(features) < FEWEST:
            return pca(features).place(others)
        with self._lock:
            if (key := _key(features, seed)) not in self._fitted or self._ended():
                self._fit(features, seed)
            return self._asked(worker.PLACE, self._fitted[key], np.asarray(others, np.float32))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._let_go()

    def _fit(self, features: np.ndarray, seed: int) -> np.ndarray:
        self._running()
        self._count += 1
        settings = np.array([min(NEIGHBOURS, len(features) - 1), seed])
        given = np.asarray(features, np.float32), spread_start(features), settings
        found = self._asked(worker.FIT, self._count, *given)
        self._fitted[_key(features, seed)] = self._count
        while len(self._fitted) > worker.KEPT:
            self._fitted.popitem(last=False)
        return found

    def _asked(self, what: int, number: int, *given: np.ndarray) -> np.ndarray:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            worker.write(process.stdin, np.array([what, number]), *given)
            found = worker.read(process.stdout)
        except (OSError, ValueError, EOFError) as error:
            process.kill()
            raise RuntimeError("The process that makes maps has ended.") from error
        if found.dtype == np.uint8:
            raise RuntimeError(found.tobytes().decode())
        return found.astype(float)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _let_go(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):  # what it was not given any more
                self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one where there is none any more."""
        if self._process is None or self._ended():
            self._let_go()
            self._fitted.clear()
            path = Path(worker.__file__)
            self._process = subprocess.Popen(
                [sys.executable, str(path), str(self.niceness)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, cwd=path.parent, env={**os.environ, **dict.fromkeys(ONE_THREAD, "1")},
            )  # fmt: skip
        return self._process


def _key(features: np.ndarray, seed: int) -> bytes:
    return np.asarray(features, np.float32).tobytes() + bytes([seed % 256])
