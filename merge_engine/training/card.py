"""The numbers of a model card, on validation: `python -m merge_engine.training.card pictures`."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from ..suite import Suite, load_suite
from ..weights import TaskVectorWeights
from .experts import predict


def validation_accuracy(suite: Suite, weights: Mapping[str, Tensor], task: str) -> float:
    """Accuracy (%) on a task's validation pictures."""
    features = predict(suite.backbone, suite.module, weights, suite.prepared(task, "validation"))
    guess = suite.head(task)(features).argmax(1)
    return 100 * (guess == suite.labels(task, "validation")).double().mean().item()


def card_rows(suite: Suite) -> list[dict[str, float | str]]:
    """One row per task: pictures, accuracies (%) of the pretrained model, average and expert, norm of its task
    vector; unseen tasks have no expert."""
    base = suite.pretrained_in_memory
    experts = {name: dict(suite.expert(name)) for name in suite.experts}
    average = {n: torch.stack([w[n] for w in experts.values()]).mean(0) for n in base}
    expert_of = {suite.task_of[name]: name for name in suite.experts}
    rows: list[dict[str, float | str]] = []
    for task in suite.tasks:
        row: dict[str, float | str] = {"task": task, "classes": len(suite.task(task).classes)}
        for split in ("train", "validation", "test"):
            row[split] = len(suite.indices(task, split))
        row["pretrained"] = validation_accuracy(suite, base, task)
        row["average"] = validation_accuracy(suite, average, task)
        if task in expert_of:
            row["expert"] = validation_accuracy(suite, experts[expert_of[task]], task)
            row["norm"] = task_vector_norm(suite, expert_of[task])
        rows.append(row)
    return rows


def task_vector_norm(suite: Suite, expert: str) -> float:
    """Frobenius norm of a whole stored task vector."""
    stored = TaskVectorWeights(suite.pretrained_in_memory, suite.expert_file(expert))
    names = [n for n in suite.pretrained_in_memory if n in stored.file]
    return sum(float(stored.task_vector(n).double().square().sum()) for n in names) ** 0.5


def markdown(rows: list[dict[str, float | str]]) -> str:
    """The rows as a table, with the mean over the tasks that have an expert below."""
    columns = ("classes", "train", "validation", "test", "pretrained", "average", "expert", "norm")
    seen = [row for row in rows if "expert" in row]
    mean = {c: sum(float(row[c]) for row in seen) / max(1, len(seen)) for c in columns[4:]}
    lines = [f"| task | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in [*rows, {"task": "mean of seen", **mean}]:
        lines.append(f"| {row['task']} | {' | '.join(_cell(row.get(c), c) for c in columns)} |")
    return "\n".join(lines)


def _cell(value: float | str | None, column: str) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if column == "norm" else f"{value:.1f}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    print(markdown(card_rows(load_suite(sys.argv[1] if len(sys.argv) > 1 else "pictures"))))
