"""UMAP as a process: it compiles when it starts, then answers what comes in on its standard input, at low priority.

Run by its path, so that it loads numpy and UMAP alone. A request is [FIT or PLACE, the number of a map], then features
(N, D), their first places (N, 2) and [neighbours, seed] to fit a map, or features (M, D) to place others on it. The
answer is coordinates (N, 2) or (M, 2), or the words of an error as bytes. Arrays are in numpy's own format, each after
its size.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections import OrderedDict
from typing import IO, Any

import numpy as np

FIT, PLACE = 0, 1
NEAR = 0.1  # least distance of two points of a map
KEPT = 4  # maps that others can be placed on
SIZE = struct.Struct("<Q")  # of an array in bytes


def fitted(features: np.ndarray, start: np.ndarray, neighbours: int, seed: int) -> Any:
    """Return a `umap.UMAP` fitted to features (N, D), in one thread, from first places (N, 2)."""
    import numba
    import umap

    numba.set_num_threads(1)
    made = umap.UMAP(n_neighbors=neighbours, min_dist=NEAR, init=start, random_state=seed, n_jobs=1)  # type: ignore[arg-type]
    return made.fit(np.asarray(features, np.float32))


def warm() -> None:
    """Have everything compiled that a request will need."""
    random = np.random.default_rng(0)
    features = random.normal(size=(48, 8)).astype(np.float32)
    fitted(features, features[:, :2].copy(), 5, 0).transform(features[:1])


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Answer requests until there are none."""
    maps: OrderedDict[int, Any] = OrderedDict()
    while True:
        try:
            what, number = read(source)
        except EOFError:
            return
        given = [read(source) for _ in range(3 if what == FIT else 1)]
        try:
            answer = _fit(maps, number, given) if what == FIT else maps[number].transform(given[0])
        except Exception as error:
            answer = np.frombuffer(f"{type(error).__name__}: {error}".encode(), np.uint8)
        write(target, answer)


def read(source: IO[bytes]) -> np.ndarray:
    """Read one array; raises EOFError at the end."""
    size = source.read(SIZE.size)
    if len(size) < SIZE.size:
        raise EOFError
    return np.load(io.BytesIO(source.read(*SIZE.unpack(size))), allow_pickle=False)


def write(target: IO[bytes], *given: np.ndarray) -> None:
    """Write arrays and send them off."""
    for array in given:
        text = io.BytesIO()
        np.save(text, array, allow_pickle=False)
        target.write(SIZE.pack(text.tell()) + text.getvalue())
    target.flush()


def _fit(maps: OrderedDict[int, Any], number: int, given: list[np.ndarray]) -> np.ndarray:
    features, start, (neighbours, seed) = given
    maps[number] = fitted(features, start, int(neighbours), int(seed))
    while len(maps) > KEPT:
        maps.popitem(last=False)
    return np.asarray(maps[number].embedding_, np.float64)


def main() -> None:
    """Serve on standard input and output, with a niceness; what libraries print goes to standard error."""
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if hasattr(os, "nice"):
        os.nice(int(sys.argv[1]))
    warm()
    serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
