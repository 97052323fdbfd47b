"""Writing a suite's folder: data, sharded backbone, heads and suite.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor

from .sheets import write_sheet
from .splits import split_indices

SHARD_BYTES = 24_000_000


@dataclass(frozen=True)
class TaskEntry:
    """What suite.toml says about a task; `data` is its folder, relative to the suite."""

    name: str
    title: str
    seen: bool
    classes: Sequence[str]
    data: str
    licence: str
    source: str


def write_task(
    folder: Path,
    suite: str,
    task: str,
    pictures: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write a task's train and test pictures, labels and split indices."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train", "test"), pictures, strict=True):
        write_sheet(folder / f"{name}.png", part)
    y_train, y_test = labels
    indices = split_indices(suite, task, y_train, y_test)
    kept = {name: indices[name] for name in ("validation", "support", "adapt", "score")}
    arrays = {"y_train": y_train, "y_test": y_test, **kept}
    arrays = {name: value.astype(np.int64) for name, value in arrays.items()}
    save_arrays(arrays, folder / "labels.safetensors")


def write_backbone(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write config.json and fp16 shards with their index, each shard under 25 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config), indent=1) + "\n")
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, value in weights.items():
        half = value.to(torch.float16).contiguous()
        if filled + half.nbytes > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = half
        filled += half.nbytes
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(v.nbytes for shard in shards for v in shard.values())},
        "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_toml(
    path: Path,
    top: Mapping[str, Any],
    tasks: Sequence[TaskEntry],
    experts: Mapping[str, str],
    training: Mapping[str, Any],
) -> None:
    """Write suite.toml; `experts` maps each expert to its task, `training` is the plan to retrain it."""
    sections = [_lines(top), ["[training]", *_lines(training)]]
    sections += [["[[task]]", *_lines(vars(task))] for task in tasks]
    for name, task in experts.items():
        entry = {"name": name, "task": task, "weights": f"experts/{name}.safetensors"}
        sections.append(["[[expert]]", *_lines(entry)])
    path.write_text("\n\n".join("\n".join(lines) for lines in sections) + "\n", encoding="utf-8")


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
