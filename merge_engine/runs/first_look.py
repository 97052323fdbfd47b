"""Measurements of the experts' weights that the page opens with, stored so that nobody waits for them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..contract import Context, Step
from ..errors import MergeError
from ..knock_out import KnockOut
from ..metrics import Measured, Row, WeightMetric, build, metric_class
from ..metrics.joint_overlap import JointOverlap
from ..places import depth, matrices
from ..suite import Suite
from . import arrays, first_pair
from .content import suite_digest
from .results import shipped_folder, write_bytes

FORMAT = "mergescope-measurement-1"
FOLDER, SUFFIX = "weights", ".npz"
KIND = "fc1"
Place = tuple[int | None, str | None]


def first_place(suite: Suite) -> tuple[int, str]:
    """Return the matrix that the page looks at first: in the middle of the network."""
    return depth(suite) // 2, KIND


def looks(suite: Suite) -> tuple[tuple[str, Place], ...]:
    """Return what is stored: metrics, of one matrix or (None, None) of all block matrices."""
    everywhere = [(metric, (None, None)) for metric in ("cosine", "subspace")]
    return (*everywhere, *((metric, first_place(suite)) for metric in ("spectrum", "sign_conflict", "joint_overlap")))


def look_steps(suite: Suite, folder: Path) -> Generator[Step, None, list[Path]]:
    """Measure all experts' task vectors and write one file each, yielding Steps; returns the files.

    The singular vectors of the two components that meet most at the first place are written too.
    """
    contents, ctx = {}, Context(suite.device)
    for metric, (block, kind) in looks(suite):
        measure = build(metric)
        assert isinstance(measure, WeightMetric)
        measured = yield from measure.steps(suite.problem(), ctx, names=matrices(suite, block, kind))
        contents[_file(metric, block, kind)] = packed(measured, metric, _key(suite))
        if isinstance(measured, JointOverlap) and (pair := first_pair.met_most(measured, *first_place(suite))):
            contents[first_pair.FILE] = first_pair.packed(suite, _key(suite), pair, ctx.svd)
    files = [folder / FOLDER / name for name in contents]
    for file in files:
        write_bytes(file, contents[file.name])
    return files


def stored(suite: Suite, metric: str, block: int | None, kind: str | None) -> Measured | None:
    """Return a shipped measurement of all experts of a suite as it is now, or None."""
    file = shipped_folder(suite.name) / FOLDER / _file(metric, block, kind)
    return read(file, _key(suite)) if file.exists() else None


def stored_vectors(suite: Suite, one: KnockOut) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the shipped singular vectors u (m,) and v (n,) of a component of a suite as it is now, or None."""
    file = shipped_folder(suite.name) / FOLDER / first_pair.FILE
    return first_pair.read(file, _key(suite), one) if file.exists() else None


def packed(measured: Measured, metric: str, key: str) -> bytes:
    """Return a measurement as a compressed npz file, arrays in float32."""
    about = {"metric": metric, "models": measured.models, "rows": [asdict(row) for row in measured.rows]}
    return arrays.packed(FORMAT, key, about, {name: getattr(measured, name) for name in measured.quantities()})


def read(path: Path, key: str) -> Measured | None:
    """Return the measurement in a file, or None where there is none of this key that can be read."""
    if (found := arrays.read(path, FORMAT, key)) is None:
        return None
    about, known = found
    try:
        produced = metric_class(about["metric"]).produces
        rows = tuple(Row(**row) for row in about["rows"])
        return produced(tuple(about["models"]), rows, **{name: known[name] for name in produced.quantities()})
    except (KeyError, TypeError, MergeError):
        return None


def _file(metric: str, block: int | None, kind: str | None) -> str:
    return f"{metric}-{'all' if block is None else block}-{kind or 'all'}{SUFFIX}"


def _key(suite: Suite) -> str:
    return suite_digest(suite, suite.experts, "score")
