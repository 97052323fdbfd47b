"""Content hashes: what a score depends on, by its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ..suite import Suite
from ..weights import checkpoint_files


def suite_digest(suite: Suite, experts: Iterable[str], split: str) -> str:
    """Return the hash of everything that a score of these experts' merge depends on."""
    models = [model_digest(suite, name) for name in experts]
    return _hash(*models, *(task_digest(suite, task, split) for task in suite.tasks), split)


def model_digest(suite: Suite, model: str | None) -> str:
    """Return the hash of the pretrained model (None), or of an expert on top of it."""
    parts = [checkpoint_digest([suite.folder / "backbone"])]
    parts += [suite.backbone_name, json.dumps(suite.config, sort_keys=True)]
    if model is not None:
        parts.append(checkpoint_digest([suite.expert_file(model)]))
    return _hash(*parts)


def task_digest(suite: Suite, task: str, split: str) -> str:
    """Return the hash of a task's pictures, splits and head."""
    side = "test" if split in ("test", "adapt", "score") else "train"
    files = [suite.task(task).folder / f"{side}.png", suite.task(task).folder / "labels.safetensors"]
    digests = [_file_digest(file) for file in (*files, suite.folder / "heads.safetensors")]
    made = () if suite.corruption is None else (f"{suite.corruption}",)
    return _hash(*digests, task, str(suite.logit_scale), str(suite.input_size), *made)


def checkpoint_digest(paths: Iterable[str | Path]) -> str:
    """Return the hash of some checkpoints, each a safetensors file or a folder of shards, in order."""
    return _hash(*(_file_digest(file) for path in paths for file in checkpoint_files(Path(path))))


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest()


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _content(path.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _content(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
