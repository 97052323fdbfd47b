"""Measurements of the experts' weights that the page opens with, stored so that nobody waits for them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..contract import Context, Step
from ..metrics import Measured, Row, WeightMetric, build, metric_class
from ..places import depth, matrices
from ..suite import Suite
from .content import suite_digest
from .results import shipped_folder, write_bytes

FORMAT = "mergescope-measurement-1"
FOLDER, SUFFIX = "weights", ".npz"
KIND = "fc1"
READ_LIMIT = 64 << 20
Place = tuple[int | None, str | None]


def first_place(suite: Suite) -> tuple[int, str]:
    """Return the matrix that the page looks at first: in the middle of the network."""
    return depth(suite) // 2, KIND


def looks(suite: Suite) -> tuple[tuple[str, Place], ...]:
    """Return what is stored: metrics, of one matrix or (None, None) of all block matrices."""
    here = first_place(suite)
    return ("cosine", (None, None)), ("subspace", (None, None)), ("spectrum", here), ("sign_conflict", here)


def look_steps(suite: Suite, folder: Path) -> Generator[Step, None, list[Path]]:
    """Measure all experts' task vectors and write one file each, yielding Steps; returns the files."""
    files = []
    for metric, (block, kind) in looks(suite):
        measure = build(metric)
        assert isinstance(measure, WeightMetric)
        measured = yield from measure.steps(suite.problem(), Context(suite.device), names=matrices(suite, block, kind))
        files.append(folder / FOLDER / _file(metric, block, kind))
        write_bytes(files[-1], packed(measured, metric, _key(suite)))
    return files


def stored(suite: Suite, metric: str, block: int | None, kind: str | None) -> Measured | None:
    """Return a shipped measurement of all experts of a suite as it is now, or None."""
    file = shipped_folder(suite.name) / FOLDER / _file(metric, block, kind)
    return read(file, _key(suite)) if file.exists() else None


def packed(measured: Measured, metric: str, key: str) -> bytes:
    """Return a measurement as a compressed npz file, arrays in float32."""
    about = {"format": FORMAT, "key": key, "metric": metric, "models": measured.models}
    about["rows"] = [asdict(row) for row in measured.rows]
    arrays = {name: getattr(measured, name).astype(np.float32) for name in measured.quantities()}
    file = io.BytesIO()
    np.savez_compressed(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return file.getvalue()


def read(path: Path, key: str) -> Measured | None:
    """Return the measurement in a file, or None where there is none of this key that can be read."""
    try:
        if path.stat().st_size > READ_LIMIT:
            return None
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if (about["format"], about["key"]) != (FORMAT, key):
                return None
            produced = metric_class(about["metric"]).produces
            arrays = {name: file[name] for name in produced.quantities()}
        return produced(tuple(about["models"]), tuple(Row(**row) for row in about["rows"]), **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _file(metric: str, block: int | None, kind: str | None) -> str:
    return f"{metric}-{'all' if block is None else block}-{kind or 'all'}{SUFFIX}"


def _key(suite: Suite) -> str:
    return suite_digest(suite, suite.experts, "score")
