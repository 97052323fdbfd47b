"""Merging, adapting and scoring on a CUDA device beside the CPU of the same machine, at the size of CLIP ViT-B/32.

Nothing is downloaded: weights are random, eight experts are the pretrained model plus a low-rank and a small dense
change, pictures are noise around a pattern per class, heads are random directions. Both devices merge a network of a
few blocks, which says how far apart they are; the whole network then runs on the device alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from merge_engine.contract import Context
from merge_engine.devices import chosen_device, fastest
from merge_engine.evaluate import Model, score
from merge_engine.maths.svd import SvdStore, decompose
from merge_engine.merged import Merged, StaticMerged
from merge_engine.methods import build
from merge_engine.running import merge
from merge_engine.suite import DIFFERENTIABLE, Suite, Task
from merge_engine.weights import in_memory

SHAPE = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 224, "patch_size": 32}
SMALL = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4, "image_size": 64, "patch_size": 32}
TASKS, CLASSES, PICTURES, BATCH, RANK = 8, 10, 64, 16, 16
LOW_RANK, DENSE = 0.05, 0.01  # sizes of an expert's changes beside a weight
WITHIN = 1e-3  # relative errors of float32 in another order of summation
CPU = torch.device("cpu")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Task Arithmetic": ("task_arithmetic", {}),
    "TSV-M": ("tsv_m", {}),
    "CART": ("cart", {}),
    "AdaRank": ("adarank", {"batch": BATCH}),
    "WEMoE": ("we_moe", {"batch": BATCH}),
    "E-WEMoE": ("e_we_moe", {"batch": BATCH}),
    "Twin-Merging": ("twin_merging", {"examples": PICTURES, "epochs": 5}),
    "SiM": ("sim", {}),
}


def against_the_cpu(*, small: bool = False) -> Iterator[dict[str, object]]:
    """Run every case on both devices with a few blocks, then on the device alone with all of them.

    `small` takes a narrow network of two and four blocks, to see that everything runs.
    """
    place, shape = chosen_device(fastest()), SMALL if small else SHAPE
    few, every, steps = (2, 4, 2) if small else (2, 12, 4)
    note = "" if place.type == "cuda" else "; there is no CUDA device here, so both are the CPU"
    print(f"Width {shape['hidden_size']}, {TASKS} tasks, batch {BATCH} per task, on {_name(place)}{note}.\n")
    drawn = Drawn({**shape, "num_hidden_layers": few})
    suites = [_warm(drawn, where) for where in (CPU, place)]
    for name, (key, given) in CASES.items():
        cpu, there = (_measured(suite, key, given, steps) for suite in suites)
        yield _row(name, few, place, there, cpu)
    suite = _warm(Drawn({**shape, "num_hidden_layers": every}), place)
    for name, (key, given) in CASES.items():
        yield _row(name, every, place, _measured(suite, key, given, steps))


@dataclass(frozen=True)
class Measured:
    """What one device made: the merge, its logits by task, and what it cost; seconds of a step only where it adapts."""

    merged: Merged
    logits: Tensor
    merge: float
    step: float | None
    pictures: float
    peak: float | None


def _warm(suite: Suite, place: torch.device) -> Suite:
    """Return the suite on a device, with everything drawn, after the first, slow calls of every kind."""
    problem, suite = suite.problem(), suite.on(place)
    inputs = [suite.prepared(task, split) for task in suite.tasks for split in ("support", "adapt", "score")]
    suite.features(in_memory(problem.pretrained, place), inputs[0][:2])
    decompose(torch.randn(8, 4).to(place))
    _wait(place)
    return suite


def _measured(suite: Suite, key: str, given: Mapping[str, Any], steps: int) -> Measured:
    place, adapts = suite.device, "stream" in build(key).needs
    method = build(key, **given, **({"steps": steps} if adapts else {}))
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    start = time.perf_counter()
    merged = merge(suite.problem(), method, ctx=Context(place, svd=SvdStore(folder=None)))
    _wait(place)
    seconds = time.perf_counter() - start
    model = Model(merged, suite)
    logits = torch.cat([model(suite.prepared(task, "score")[:BATCH], task)[0] for task in suite.tasks])
    _wait(place)
    start = time.perf_counter()
    scores = score(suite, merged)
    pictures = sum(s.n for s in scores.values()) / (time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(place) / 2**30 if place.type == "cuda" else None
    return Measured(merged, logits, seconds, _step(merged), pictures, peak)


def _row(
    name: str, blocks: int, place: torch.device, there: Measured, cpu: Measured | None = None
) -> dict[str, object]:
    weights = None if cpu is None else _weights_apart(there.merged, cpu.merged)
    logits = None if cpu is None else _apart([there.logits], [cpu.logits])
    errors = [error for error in (weights, logits) if error is not None]
    return {
        "method": name,
        "blocks": blocks,
        "device": place.type,
        "merge s": there.merge,
        "CPU / device, merge": _ratio(cpu and cpu.merge, there.merge),
        "step s": _shown(there.step),
        "CPU / device, step": _ratio(cpu and cpu.step, there.step),
        "pictures a second": there.pictures,
        "device / CPU, pictures": _ratio(there.pictures, cpu and cpu.pictures),
        "peak GiB": _shown(there.peak),
        "error of weights": _shown(weights),
        "error of logits": _shown(logits),
        f"within {WITHIN:g}": "–" if not errors else "yes" if max(errors) <= WITHIN else "NO",
    }


def _step(merged: Merged) -> float | None:
    """Return the median seconds of an update after the first."""
    history = getattr(merged, "history", None)
    return None if history is None else float(np.median(np.diff(history.seconds)))


def _weights_apart(one: Merged, other: Merged) -> float | None:
    if not (isinstance(one, StaticMerged) and isinstance(other, StaticMerged)):
        return None
    names = list(other.direction)
    return _apart([one.task_vector(n).cpu() for n in names], [other.task_vector(n) for n in names])


def _apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return ‖a − b‖ / ‖b‖ over all tensors together."""
    gap = sum(float((a - b).double().square().sum()) for a, b in zip(found, wanted, strict=True))
    return (gap / sum(float(b.double().square().sum()) for b in wanted)) ** 0.5


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _name(place: torch.device) -> str:
    return torch.cuda.get_device_name(place) if place.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"


def _ratio(one: float | None, other: float | None) -> object:
    return "–" if one is None or other is None else one / other


def _shown(value: float | None) -> object:
    return "–" if value is None else value


class Drawn(Suite):
    """A suite of CLIP vision towers that is drawn from seeds instead of read from a folder."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.name = self.title = "drawn"
        self.folder, self.backbone_name, self.logit_scale = Path(), "clip_vision", 100.0
        self.config = config
        self.input_size = config["image_size"]
        names = [f"task{t}" for t in range(TASKS)]
        classes = tuple(map(str, range(CLASSES)))
        self.tasks = {n: Task(n, n, classes, True, Path(), "", "drawn here") for n in names}
        self.task_of, self._expert_files = {n: n for n in names}, {n: Path() for n in names}

    @cached_property
    @DIFFERENTIABLE
    def pretrained_in_memory(self) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(0)
        return {name: _initial(name, p.shape, draw) for name, p in self.module.named_parameters()}

    def expert(self, name: str) -> dict[str, Tensor]:
        return self._experts[name]

    @cached_property
    @DIFFERENTIABLE
    def _experts(self) -> dict[str, dict[str, Tensor]]:
        draw, base = torch.Generator().manual_seed(1), self.pretrained_in_memory
        return {name: {n: w + _change(w, draw) for n, w in base.items()} for name in self.task_of}

    @lru_cache(maxsize=64)  # noqa: B019
    def _labels(self, task: str) -> dict[str, Tensor]:
        order, half = torch.arange(2 * PICTURES), PICTURES
        return {
            "y_train": order % CLASSES, "y_test": order % CLASSES, "validation": order[:8], "support": order[8:40],
            "adapt": order[:half], "score": order[half:],
        }  # fmt: skip

    @lru_cache(maxsize=32)  # noqa: B019
    def sheet(self, task: str, side: str) -> np.ndarray:
        draw = np.random.default_rng([list(self.tasks).index(task), side == "test"])
        pattern = np.random.default_rng(list(self.tasks).index(task)).integers(0, 128, (CLASSES, 32, 32, 3))
        labels = self._labels(task)[f"y_{side}"].numpy()
        return (pattern[labels] + draw.integers(0, 128, (len(labels), 32, 32, 3))).astype(np.uint8)

    @cached_property
    @DIFFERENTIABLE
    def _heads(self) -> dict[str, Tensor]:
        draw, width = torch.Generator().manual_seed(9), self.config["hidden_size"]
        heads = {task: torch.randn(CLASSES, width, generator=draw) for task in self.tasks}
        unit = {task: torch.nn.functional.normalize(rows, dim=1) for task, rows in heads.items()}
        return {**unit, "center": torch.zeros(width)}


def _initial(name: str, shape: torch.Size, draw: torch.Generator) -> Tensor:
    if len(shape) == 1 and "embedding" not in name:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    return torch.randn(shape, generator=draw) * shape[1:].numel() ** -0.5


def _change(weight: Tensor, draw: torch.Generator) -> Tensor:
    """Return a low-rank change of a matrix and a small dense one, as shares of its size."""
    dense = DENSE * _like(torch.randn(weight.shape, generator=draw), weight)
    if weight.ndim != 2:
        return dense
    left, right = (torch.randn(side, RANK, generator=draw) for side in weight.shape)
    return dense + LOW_RANK * _like(left @ right.T, weight)


def _like(change: Tensor, weight: Tensor) -> Tensor:
    return change * (weight.norm().clamp_min(1) / change.norm())
