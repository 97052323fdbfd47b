"""What a stored result said about every input, beside it as one safetensors file of a few bytes per input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..answers import LayerWeights, Predicted
from ..evaluate import Score, scoring_order
from ..suite import Suite
from .trajectories import READ_LIMIT, header

FORMAT = "mergescope-answers-1"
FOLDER = "answers"
SUFFIX = ".answers.safetensors"
SPLIT = "score"
TYPES = {"guess": np.uint16, "confidence": np.float16, "picked": np.uint16, "route": np.float16}
LAYERS = {"mean": np.float32, "largest": np.float32}


@dataclass(frozen=True, eq=False)
class KeptTask:
    """What a result said about the inputs of one task of the score half; called, it puts that together.

    `arrays` holds what `Predicted` does but index and label, which the suite knows: `guess`, `confidence` (N,) and,
    where the merge routes, `picked` (N,) and `route` (N, L, T). `by_layer` are the experts' mean weights.
    """

    suite: Suite
    task: str
    arrays: Mapping[str, np.ndarray]
    by_layer: LayerWeights | None

    def __call__(self) -> Predicted:
        labels, given = self.suite.labels(self.task, SPLIT), self.arrays
        index = scoring_order(len(labels), None)
        picked, route = given.get("picked"), given.get("route")
        return Predicted(
            self.task, index.numpy(), labels[index].numpy(), given["guess"].astype(np.int64),
            given["confidence"].astype(np.float32), None if picked is None else picked.astype(np.int64),
            None if route is None else route.astype(np.float32),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class KeptAnswers:
    """What a result said by task, how many it had right, and the precision of its scoring, such as `bfloat16`."""

    precision: str
    correct: Mapping[str, int]
    tasks: Mapping[str, KeptTask]


def packed(scores: Mapping[str, Score], key: str, precision: str) -> bytes | None:
    """Return what finished scores say as safetensors, None where they do not know; `key` is that of their result."""
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, Any] = {}
    for task, score in scores.items():
        said = score.said if score.done else None
        if said is None:
            return None
        found = {name: getattr(said, name) for name in TYPES}
        arrays |= {f"{task}/{name}": array.astype(TYPES[name]) for name, array in found.items() if array is not None}
        if score.by_layer is not None:
            places[task] = score.by_layer.places
            arrays |= {f"{task}/{name}": getattr(score.by_layer, name).astype(LAYERS[name]) for name in LAYERS}
    correct = {task: score.correct for task, score in scores.items()}
    about = {"correct": correct, "places": places, "precision": precision}
    return save(arrays, {"format": FORMAT, "key": key, "answers": json.dumps(about)})


def read(path: Path, key: str, suite: Suite) -> KeptAnswers | None:
    """Return what a file holds, or None where there is none of this key that can be read and fits the suite."""
    try:
        if path.stat().st_size > READ_LIMIT:
            return None
        data = path.read_bytes()
        said = header(data).get("__metadata__", {})
        if (said.get("format"), said.get("key")) != (FORMAT, key):
            return None
        about, arrays = json.loads(said["answers"]), load(data)
        tasks = {task: _task(suite, task, about["places"].get(task), arrays) for task in about["correct"]}
        return KeptAnswers(str(about["precision"]), about["correct"], tasks)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _task(suite: Suite, task: str, places: Any, arrays: Mapping[str, np.ndarray]) -> KeptTask:
    """Return what a file says about a task; raises KeyError or ValueError where it does not fit the suite."""
    if task not in suite.tasks:
        raise KeyError(task)
    own = {name: arrays[f"{task}/{name}"] for name in (*TYPES, *LAYERS) if f"{task}/{name}" in arrays}
    n = len(suite.indices(task, SPLIT))
    for name in TYPES.keys() & own.keys():
        if len(own[name]) != n or own[name].dtype != TYPES[name] or own[name].ndim != (3 if name == "route" else 1):
            raise ValueError(f"{task}/{name}")
    if own["guess"].max(initial=0) >= len(suite.task(task).classes) or own["confidence"].ndim != 1:
        raise ValueError(f"{task}/guess")
    if own.get("picked", np.zeros(0)).max(initial=0) >= len(suite.experts):
        raise ValueError(f"{task}/picked")
    layers = None
    if places is not None:
        where = tuple((None if block is None else int(block), str(kind)) for block, kind in places)
        if own["mean"].shape != own["largest"].shape or own["mean"].shape[:1] != (len(where),):
            raise ValueError(f"{task}/mean")
        layers = LayerWeights(where, own["mean"], own["largest"], n)
    return KeptTask(suite, task, {name: own[name] for name in TYPES if name in own}, layers)
