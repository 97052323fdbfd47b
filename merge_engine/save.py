"""Writing a merged model, shard by shard, in the layout and the dtypes of its pretrained model.

A shard is written aside and renamed, and carries in its metadata what it was made from; on a restart a finished
shard of the same merge is skipped. A merge with one part per expert becomes one folder per task.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .contract import Step
from .errors import RecipeError, WeightsError
from .merged import Merged, PerTaskMerged, StaticMerged
from .runs.recipe import Recipe, check_name
from .weights import SafetensorsWeights, Weights

BESIDE = ("config.json", "preprocessor_config.json", "model.safetensors.index.json")


def save_steps(
    merged: Merged, base: SafetensorsWeights, folder: str | Path, recipe: Recipe, source: str
) -> Generator[Step, None, list[Path]]:
    """Write a merge in the layout of `base`; yields a Step per shard and returns the folders written.

    `source` names the content that was merged; a shard of the same recipe and source is not written again.
    """
    if not isinstance(merged, StaticMerged | PerTaskMerged):
        raise RecipeError(
            "This merge decides per input and is no single model to write; save its recipe with --json instead."
        )
    folder = Path(folder)
    targets: list[tuple[Path, str | None]] = [(folder, None)]
    if isinstance(merged, PerTaskMerged):
        for task in merged.tasks:
            check_name("expert", task)
        targets = [(folder / task, task) for task in merged.tasks]
    total, done = len(targets) * len(base.files), 0
    for target, task in targets:
        writable(target)
        weights = merged.weights(task)
        for file in base.files:
            written = _write_shard(weights, base, file, target / file.name, _stamp(recipe, source, task))
            done += 1
            yield Step(done, total, f"{target.name}/{file.name}" + ("" if written else ", already there"))
        _copy_beside(base, target)
        (target / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    return [target for target, _ in targets]


def finished(base: SafetensorsWeights, folder: str | Path, recipe: Recipe, source: str) -> bool:
    """Return True when every shard of this static merge is already in the folder."""
    stamp = _stamp(recipe, source, None)
    return all(_metadata(Path(folder) / file.name) == stamp for file in base.files)


def writable(folder: str | Path) -> Path:
    """Make a folder, or raise WeightsError saying why nothing can be written there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise WeightsError(f"Nothing can be written to {folder}: {error.strerror}; choose another folder.") from None
    return folder


def check_free(base: SafetensorsWeights, folder: str | Path) -> None:
    """Raise WeightsError when a file of another origin lies where a shard would go."""
    for file in base.files:
        _refuse_foreign(Path(folder) / file.name)


def _stamp(recipe: Recipe, source: str, task: str | None) -> dict[str, str]:
    served = {} if task is None else {"mergescope_task": task}
    return {"format": "pt", "mergescope_recipe": json.dumps(recipe.to_dict()), "mergescope_source": source, **served}


def _write_shard(
    weights: Weights, base: SafetensorsWeights, shard: Path, target: Path, stamp: Mapping[str, str]
) -> bool:
    """Write the tensors of one shard of the base; False when the same shard is already there."""
    _refuse_foreign(target)
    if _metadata(target) == dict(stamp):
        return False
    tensors = {name: _cast(name, weights[name], base[name]) for name in SafetensorsWeights(shard)}
    aside = target.with_suffix(".part")
    try:
        save_file(tensors, aside, metadata=dict(stamp))
        os.chmod(aside, 0o644)
        os.replace(aside, target)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror}; choose another folder.") from None
    finally:
        aside.unlink(missing_ok=True)
    return True


def _cast(name: str, merged: Tensor, base: Tensor) -> Tensor:
    """Return the merged tensor in the base's dtype; tensors that are not floating-point stay the base's."""
    if not base.is_floating_point():
        return base
    stored = merged.to("cpu", base.dtype).contiguous()
    if not torch.isfinite(stored).all():
        raise WeightsError(f"{name} of the merge does not fit {base.dtype}; lower the scaling coefficient.")
    return stored


def _refuse_foreign(file: Path) -> None:
    if file.exists() and "mergescope_recipe" not in _metadata(file):
        raise WeightsError(f"{file} is there and is not a merge of this program; choose another folder.")


def _metadata(file: Path) -> dict[str, str]:
    """Return the metadata of a file, empty when there is none or it cannot be read."""
    try:
        return SafetensorsWeights(file).metadata
    except WeightsError:
        return {}


def _copy_beside(base: SafetensorsWeights, target: Path) -> None:
    origin = base.files[0].parent
    for name in BESIDE:
        if (origin / name).is_file() and (name != BESIDE[-1] or len(base.files) > 1 or base.path.is_dir()):
            shutil.copyfile(origin / name, target / name)
