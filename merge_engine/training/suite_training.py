"""Retraining a suite's heads and experts from its shipped arrays."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..contract import Step
from ..errors import SuiteError, no_such
from ..suite import Head, Suite
from ..suites.splits import named_seed
from ..weights import AddedWeights, in_memory
from .experts import Schedule, finetune, predict
from .heads import center_of, ridge
from .quantise import relative_error, rounded, save_task_vector

QUICK_PICTURES, QUICK_EPOCHS = 1500, 2


@dataclass(frozen=True)
class Plan:
    """How a suite is trained: the `[training]` table of its suite.toml."""

    head_pictures: int  # labelled train pictures per class
    head_ridge: float
    epochs: int
    learning_rate: float
    batch: int = 32
    warmup: float = 0.1
    pictures: int | None = None  # train pictures per expert; None takes all

    def schedule(self) -> Schedule:
        return Schedule(self.epochs, self.learning_rate, self.batch, self.warmup)

    def quick(self) -> Plan:
        """A shorter plan of the same kind."""
        return Plan(
            self.head_pictures,
            self.head_ridge,
            min(self.epochs, QUICK_EPOCHS),
            self.learning_rate,
            self.batch,
            self.warmup,
            QUICK_PICTURES,
        )


def read_plan(suite_dir: Path) -> Plan:
    """The training plan declared in suite.toml."""
    declared = tomllib.loads((suite_dir / "suite.toml").read_text(encoding="utf-8"))
    try:
        return Plan(**declared["training"])
    except (KeyError, TypeError) as error:
        raise SuiteError(
            f"{suite_dir / 'suite.toml'} lacks a [training] table or misspells it: {error}."
        ) from None


def train_suite(
    suite_dir: Path,
    out: Path,
    *,
    quick: bool = False,
    experts: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> Generator[Step, None, dict[str, float]]:
    """Train heads and experts and write a complete suite into `out`; returns validation accuracy (%) by expert.

    All experts unless some are named. Seeds come from the names of suite, task and expert. Yields a Step per
    batch; closing the generator stops the work, and experts already written stay.
    """
    suite_dir, out = Path(suite_dir), Path(out)
    plan = read_plan(suite_dir)
    plan = plan.quick() if quick else plan
    if out.resolve() != suite_dir.resolve():
        left = shutil.ignore_patterns("experts", "heads.*")
        shutil.copytree(suite_dir, out, dirs_exist_ok=True, ignore=left)
    suite = Suite(suite_dir).on(torch.device(device))
    chosen = {name: _task_of(suite, name) for name in (suite.task_of if experts is None else experts)}
    yield Step(0, _steps(suite, plan, chosen), "heads")
    heads = train_heads(suite, plan)
    save_file(heads, out / "heads.safetensors")
    return (yield from _train_experts(suite, plan, heads, chosen, out))


def train_heads(suite: Suite, plan: Plan) -> dict[str, Tensor]:
    """Class vectors of every task, seen and unseen, and the center, from the seen tasks' head pictures."""
    features = {task: head_features(suite, task, plan.head_pictures) for task in suite.tasks}
    center = center_of({task: features[task] for task in suite.seen})
    vectors = {task: ridge(value, center, plan.head_ridge).contiguous() for task, value in features.items()}
    return {**vectors, "center": center.contiguous()}


def head_features(suite: Suite, task: str, each: int) -> Tensor:
    """Pretrained features (C, each, D) of the train pictures a task's head is built from."""
    labels = suite.labels(task, "train").numpy()
    draw = np.random.default_rng(named_seed(suite.name, task, "head"))
    rows = [
        draw.permutation(np.flatnonzero(labels == c))[:each] for c in range(len(suite.task(task).classes))
    ]
    inputs = suite.backbone.prepare(suite.pictures(task, "train")[np.concatenate(rows)])
    found = predict(suite.backbone, suite.module, in_memory(suite.pretrained_in_memory, suite.device), inputs)
    return found.unflatten(0, (len(rows), -1))


def _train_experts(
    suite: Suite, plan: Plan, heads: dict[str, Tensor], chosen: dict[str, str], out: Path
) -> Generator[Step, None, dict[str, float]]:
    total, before, accuracy = _steps(suite, plan, chosen), 0, {}
    base = in_memory(suite.pretrained_in_memory, suite.device)
    for expert, task in chosen.items():
        head = Head(heads[task], heads["center"], suite.logit_scale)
        inputs, labels = training_data(suite, task, plan)
        seed = named_seed(suite.name, expert, "expert")
        loss = partial(_cross_entropy, head, labels)
        run = finetune(suite.backbone, suite.module, base, inputs, loss, plan.schedule(), seed)
        vectors = yield from _renumbered(run, expert, before, total)
        before += plan.schedule().steps(len(inputs))
        save_task_vector(out / "experts" / f"{expert}.safetensors", vectors, suite=suite.name, task=task)
        accuracy[expert] = _validated(suite, task, head, vectors)
        found = {"validation_percent": accuracy[expert], "rounding_error": relative_error(vectors)}
        yield Step(before, total, f"{expert}: written", found)
    return accuracy


def _renumbered(
    run: Generator[Step, None, dict[str, Tensor]], expert: str, before: int, total: int
) -> Generator[Step, None, dict[str, Tensor]]:
    """Pass the steps of one expert on, counted within the whole training."""
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            return end.value
        yield Step(before + step.done, total, f"{expert}, {step.label}", step.metrics)


def _cross_entropy(head: Head, labels: Tensor, features: Tensor, rows: Tensor) -> Tensor:
    return cross_entropy(head(features), labels[rows].to(features.device))


def training_data(suite: Suite, task: str, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return prepared train pictures (N, …) and their labels (N,), those of the plan in a fixed shuffle."""
    labels = suite.labels(task, "train")
    draw = np.random.default_rng(named_seed(suite.name, task, "pictures"))
    chosen = draw.permutation(len(labels))[: plan.pictures]
    return suite.backbone.prepare(suite.pictures(task, "train")[chosen]), labels[torch.from_numpy(chosen)]


def _validated(suite: Suite, task: str, head: Head, vectors: dict[str, Tensor]) -> float:
    """Validation accuracy (%) of the expert as it is stored."""
    weights = in_memory(AddedWeights(suite.pretrained_in_memory, rounded(vectors)), suite.device)
    guess = head(predict(suite.backbone, suite.module, weights, suite.prepared(task, "validation"))).argmax(1)
    return 100 * (guess == suite.labels(task, "validation")).double().mean().item()


def _task_of(suite: Suite, expert: str) -> str:
    if expert not in suite.task_of:
        raise SuiteError(no_such(f"expert in suite {suite.name}", expert, suite.task_of))
    return suite.task_of[expert]


def _steps(suite: Suite, plan: Plan, chosen: dict[str, str]) -> int:
    counts = [len(suite.indices(task, "train")[: plan.pictures]) for task in chosen.values()]
    return sum(plan.schedule().steps(count) for count in counts)
