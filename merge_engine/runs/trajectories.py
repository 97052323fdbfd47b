"""Trajectories on disk: the history of an adaptation as one safetensors file of at most about a megabyte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..adapting.history import History

FORMAT = "mergescope-trajectory-1"
FOLDER = "trajectories"
SUFFIX = ".safetensors"
STATES = 13  # a step every twelfth of the way
STATE_BYTES = 900_000
READ_LIMIT = 64 << 20
STATE = "state/"


def packed(history: History, key: str) -> bytes:
    """Return a history as safetensors, thinned to what a replay shows; `key` is that of its result."""
    kept = history.thinned(max(2, min(STATES, STATE_BYTES // max(1, _size(history)))))
    arrays = {
        "entropy": np.array(kept.entropy, np.float32).reshape(-1, len(kept.tasks)),
        "seconds": np.array(kept.seconds, np.float32),
        "steps": np.array(kept.steps, np.int32),
    }
    names = kept.states[0] if kept.states else ()
    arrays |= {f"{STATE}{name}": np.ascontiguousarray(kept.over_time(name)) for name in names}
    about = {"tasks": kept.tasks, "tensors": kept.tensors, "ranks": dict(kept.ranks)}
    return save(arrays, {"format": FORMAT, "key": key, "history": json.dumps(about)})


def read(path: Path, key: str) -> History | None:
    """Return the history in a file, or None where there is none of this key that can be read."""
    try:
        if path.stat().st_size > READ_LIMIT:
            return None
        data = path.read_bytes()
        about = header(data).get("__metadata__", {})
        if (about.get("format"), about.get("key")) != (FORMAT, key):
            return None
        return _history(json.loads(about["history"]), load(data))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def header(data: bytes) -> dict[str, Any]:
    """Return the header of a safetensors file: its length in 8 bytes, then JSON."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _history(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> History:
    """Return the history of a file's content; raises ValueError where its parts do not belong together."""
    tasks, tensors, ranks = tuple(about["tasks"]), tuple(about["tensors"]), dict(about["ranks"])
    entropy, seconds, steps = (arrays[name] for name in ("entropy", "seconds", "steps"))
    states = {name.removeprefix(STATE): array for name, array in arrays.items() if name.startswith(STATE)}
    for name, array in states.items():
        if array.shape[:1] != steps.shape or not _fits(name, array, len(tasks), tensors, ranks):
            raise ValueError(name)
    if entropy.shape != (len(seconds), len(tasks)) or (np.diff(steps) <= 0).any():
        raise ValueError("steps")
    moments: list[Mapping[str, np.ndarray]] = [
        {name: array[i] for name, array in states.items()} for i in range(len(steps))
    ]
    return History(tasks, tensors, ranks, entropy.tolist(), seconds.tolist(), steps.tolist(), moments)


def _fits(name: str, array: np.ndarray, tasks: int, tensors: tuple[str, ...], ranks: Mapping[str, int]) -> bool:
    """Return whether masks, coefficients and routes have the shape that their names and ranks say."""
    if name.startswith("masks/"):
        rank = int(ranks[name.removeprefix("masks/")])
        return array.shape[1:] == (tasks, -(-rank // 8)) and array.dtype == np.uint8
    if name == "coefficients":
        return array.ndim == 3 and array.shape[1] == tasks and array.shape[2] in (1, len(tensors))
    if name == "routes":
        return array.ndim == 4 and array.shape[1] == array.shape[3] == tasks
    return bool(name)


def _size(history: History) -> int:
    """Return the bytes of one state."""
    return sum(array.nbytes for array in history.states[0].values()) if history.states else 0
