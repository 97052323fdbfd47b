"""A suite: one pretrained backbone, its experts, and their tasks with pictures, splits and frozen heads.

A suite is a folder with a `suite.toml`; nothing in it is code. Bundled suites lie in `assets/suites/`.
"""

from __future__ import annotations

import copy
import json
import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .backbones import Backbone, get_backbone
from .corruptions import corrupt
from .devices import chosen_device
from .errors import SuiteError, no_such
from .inputs import SuiteInputs
from .problem import Problem
from .routing.prediction import Changes
from .suites.sheets import read_sheet
from .suites.splits import named_seed
from .weights import SafetensorsWeights, Weights, load_weights

BUNDLED = Path(__file__).resolve().parents[1] / "assets" / "suites"
DIFFERENTIABLE = torch.inference_mode(False)  # what is kept may be needed by an adaptation after a scoring
SPLITS = ("train", "validation", "support", "test", "adapt", "score")


@dataclass(frozen=True)
class Task:
    """A labelled problem. `seen` tasks have an expert; `folder` holds its pictures and splits."""

    name: str
    title: str
    classes: tuple[str, ...]
    seen: bool
    folder: Path
    licence: str
    source: str


@dataclass(frozen=True)
class Head:
    """A frozen classifier: logits = scale · cos(features − centre, class vector)."""

    vectors: Tensor
    centre: Tensor
    scale: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return logits (N, C) for features (N, D)."""
        direction = torch.nn.functional.normalize(features - self.centre.to(features), dim=-1)
        return self.scale * direction @ self.vectors.to(features).T


class Suite:
    """A loaded suite. Weights, pictures and heads are read on first use, and stay in the memory of the CPU.

    `device` is where its models are scored and looked at.
    """

    corruption: tuple[str, int] | None = None
    device = torch.device("cpu")

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        declared = _read_toml(self.folder / "suite.toml")
        try:
            self.name, self.title = declared["name"], declared["title"]
            self.input_size = int(declared["input_size"]) if "input_size" in declared else None
            self.logit_scale = float(declared["logit_scale"])
            self.backbone_name = declared["backbone"]
            self.tasks = {t["name"]: _task(t, self.folder) for t in declared["task"]}
            self._expert_files = {e["name"]: self.folder / e["weights"] for e in declared.get("expert", [])}
            self.task_of = {e["name"]: e["task"] for e in declared.get("expert", [])}
        except (KeyError, TypeError, ValueError) as error:
            raise SuiteError(
                f"{self.folder / 'suite.toml'} lacks or misspells {error}; see a bundled suite.toml."
            ) from None
        for expert, task in self.task_of.items():
            self.task(task)
            if expert != task:
                raise SuiteError(
                    f"Expert '{expert}' of suite {self.name} is of task '{task}'; routes and heads are found by one "
                    "name, so name the expert after its task in suite.toml."
                )

    def corrupted(self, kind: str, severity: int) -> Suite:
        """Return the suite with corrupted test pictures; weights, heads and train pictures stay."""
        _ = self.pretrained_in_memory, self.module  # read once, shared by the copy
        found = copy.copy(self)
        found.corruption = (kind, severity)
        return found

    def on(self, device: torch.device) -> Suite:
        """Return the suite with its models scored on a device."""
        if device == self.device:
            return self
        found = copy.copy(self)
        found.device = device
        return found

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts whose files are there, in the order of the suite."""
        return tuple(name for name, file in self._expert_files.items() if file.exists())

    @property
    def missing_experts(self) -> tuple[str, ...]:
        """Names of declared experts whose files are not there."""
        return tuple(name for name, file in self._expert_files.items() if not file.exists())

    @property
    def seen(self) -> tuple[str, ...]:
        return tuple(name for name, task in self.tasks.items() if task.seen)

    @property
    def unseen(self) -> tuple[str, ...]:
        return tuple(name for name, task in self.tasks.items() if not task.seen)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The backbone's configuration, as `transformers` writes it."""
        file = self.folder / "backbone" / "config.json"
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SuiteError(f"{file} cannot be read as JSON; copy it again.") from None

    @cached_property
    def backbone(self) -> Backbone:
        options = {} if self.input_size is None else {"input_size": self.input_size}
        return get_backbone(self.backbone_name, **options)

    @cached_property
    @DIFFERENTIABLE
    def module(self) -> torch.nn.Module:
        return self.backbone.build(self.config)

    @cached_property
    def pretrained(self) -> SafetensorsWeights:
        return SafetensorsWeights(self.folder / "backbone")

    @cached_property
    @DIFFERENTIABLE
    def pretrained_in_memory(self) -> dict[str, Tensor]:
        """The pretrained model in float32."""
        return {name: self.pretrained[name].float() for name in self.pretrained}

    def expert_file(self, name: str) -> Path:
        """Return the file of an expert; raises SuiteError when the suite has none, or it is not there."""
        if name not in self._expert_files:
            raise SuiteError(no_such(f"expert in suite {self.name}", name, self._expert_files))
        if not self._expert_files[name].exists():
            raise SuiteError(
                f"The weights of expert '{name}' are missing ({self._expert_files[name]}); "
                f"run `python -m merge_engine train {self.name}` to make them."
            )
        return self._expert_files[name]

    @lru_cache(maxsize=32)  # noqa: B019  (suites live as long as the program)
    def expert(self, name: str) -> Weights:
        """Open an expert lazily."""
        return load_weights(self.expert_file(name), self.pretrained_in_memory)

    def problem(
        self,
        experts: tuple[str, ...] | list[str] | None = None,
        half: str = "adapt",
        needs: Collection[str] = (),
        seed: int = 0,
    ) -> Problem:
        """Return the merging problem of some experts, all by default, in the order given.

        `half` of the test split is what an adaptive method sees: "adapt", or "score" (transductive). Its labels are
        closed unless the method's `needs` name them. `seed` decides the order in which it is seen.
        """
        chosen = self.experts if experts is None else tuple(dict.fromkeys(experts))
        if experts is None and not chosen:
            raise SuiteError(
                f"Suite {self.name} has no expert yet; run `python -m merge_engine train {self.name}`."
            )
        inputs = SuiteInputs(self, half, frozenset(needs), seed)
        return Problem(self.pretrained_in_memory, {n: self.expert(n) for n in chosen}, self.backbone, inputs)

    def task(self, name: str) -> Task:
        if name not in self.tasks:
            raise SuiteError(no_such(f"task in suite {self.name}", name, self.tasks))
        return self.tasks[name]

    @lru_cache(maxsize=64)  # noqa: B019
    def _labels(self, task: str) -> dict[str, Tensor]:
        return dict(SafetensorsWeights(self.task(task).folder / "labels.safetensors"))

    def indices(self, task: str, split: str) -> np.ndarray:
        """Return positions of a split within the train or the test pictures, int64 (N,)."""
        stored = self._labels(task)
        if split == "train":
            every = np.arange(len(stored["y_train"]))
            return np.setdiff1d(every, stored["validation"].numpy())
        if split == "test":
            return np.arange(len(stored["y_test"]))
        if split not in SPLITS:
            raise SuiteError(no_such("split", split, SPLITS))
        return stored[split].numpy().astype(np.int64)

    def labels(self, task: str, split: str) -> Tensor:
        """Return class indices of a split, int64 (N,). Only evaluation and training may ask."""
        side = "y_test" if split in ("test", "adapt", "score") else "y_train"
        return self._labels(task)[side].long()[torch.from_numpy(self.indices(task, split))]

    def pictures(self, task: str, split: str) -> np.ndarray:
        """Return the pictures of a split, uint8 (N, h, w) grey or (N, h, w, 3)."""
        side = "test" if split in ("test", "adapt", "score") else "train"
        chosen = self.sheet(task, side)[self.indices(task, split)]
        if side == "train" or self.corruption is None:
            return chosen
        return corrupt(chosen, *self.corruption, seed=named_seed(self.name, task, split))

    def sheet(self, task: str, side: str) -> np.ndarray:
        """Return all `train` or `test` pictures of a task, uint8 (N, h, w) or (N, h, w, 3)."""
        return _sheet(self.task(task).folder / f"{side}.png", len(self._labels(task)[f"y_{side}"]))

    @lru_cache(maxsize=32)  # noqa: B019
    @DIFFERENTIABLE
    def prepared(self, task: str, split: str) -> Tensor:
        """Return the inputs of a split as the backbone takes them; prepared once and kept."""
        return self.backbone.prepare(self.pictures(task, split))

    @lru_cache(maxsize=64)  # noqa: B019
    def head(self, task: str) -> Head:
        """Return the frozen head of a task."""
        stored = self._heads
        centre = stored.get(f"{task}.center", stored.get("center"))
        if task not in stored or centre is None:
            raise SuiteError(
                f"Suite {self.name} has no head for task '{task}' in heads.safetensors; train it again."
            )
        return Head(stored[task], centre, self.logit_scale)

    @cached_property
    @DIFFERENTIABLE
    def _heads(self) -> dict[str, Tensor]:
        return dict(SafetensorsWeights(self.folder / "heads.safetensors"))

    def features(self, weights: Weights, inputs: Tensor, changes: Changes | None = None) -> Tensor:
        """Return features (N, D) of prepared inputs under some weights; `changes` replace the output of layers."""
        return self.backbone.features(self.module, weights, inputs, changes)


def suite_folders() -> dict[str, Path]:
    """Return the folders of all suites by name: bundled ones and those under MERGESCOPE_SUITES."""
    roots = [BUNDLED, *(Path(p) for p in os.environ.get("MERGESCOPE_SUITES", "").split(os.pathsep) if p)]
    found = [file.parent for root in roots if root.is_dir() for file in sorted(root.glob("*/suite.toml"))]
    return {folder.name: folder for folder in found}


@lru_cache(maxsize=8)
def load_suite(name: str) -> Suite:
    """Load a suite by name or by the path of its folder; its models run on the device of MERGESCOPE_DEVICE."""
    folders = suite_folders()
    if name in folders or _holds_suite(name):
        return Suite(folders.get(name, name)).on(chosen_device())
    raise SuiteError(no_such("suite", name[:80], folders))


def _holds_suite(folder: str) -> bool:
    try:
        return (Path(folder) / "suite.toml").is_file()
    except (OSError, ValueError):  # a name that cannot be a path
        return False


def _task(declared: dict[str, Any], folder: Path) -> Task:
    return Task(
        name=declared["name"],
        title=declared["title"],
        classes=tuple(declared["classes"]),
        seen=bool(declared["seen"]),
        folder=folder / declared["data"],
        licence=declared.get("licence", ""),
        source=declared.get("source", ""),
    )


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SuiteError(f"There is no {file}; a suite is a folder with a suite.toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f"{file} is not valid TOML: {error}.") from None


@lru_cache(maxsize=32)
def _sheet(file: Path, count: int) -> np.ndarray:
    try:
        return read_sheet(file, count)
    except OSError:
        raise SuiteError(f"{file} cannot be read as a PNG sheet; copy it again.") from None
