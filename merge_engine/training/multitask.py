"""One model trained on all tasks at once: what merging is measured against when training data are at hand."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..contract import Step
from ..evaluate import Fixed
from ..runs.content import suite_digest
from ..runs.protocol import Protocol
from ..runs.run import scoring
from ..suite import Suite
from ..suites.splits import named_seed
from ..weights import AddedWeights, in_memory
from .experts import finetune
from .quantise import rounded
from .suite_training import Plan, read_plan, training_data


def multitask_steps(suite: Suite, *, quick: bool = False) -> Generator[Step, None, tuple[dict[str, Tensor], Any]]:
    """Train on the pictures of all seen tasks by the experts' own plan, then score; yields Steps.

    Returns the task vector of the model, and its record: accuracy in percent by task on the score half, unseen tasks
    too, the mean over the seen ones on that half and on validation, the plan and the seconds it took. As for the
    experts, every number is measured on what 8-bit storage leaves of the task vector.
    """
    plan = read_plan(suite.folder)
    plan = plan.quick() if quick else plan
    start = time.perf_counter()
    vectors = yield from _trained(suite, plan)
    seconds = time.perf_counter() - start
    model = Fixed(AddedWeights(suite.pretrained_in_memory, rounded(vectors)))
    scores = yield from scoring(suite, model, tuple(suite.tasks), Protocol())
    checked = yield from scoring(suite, model, suite.seen, Protocol("validation"))
    accuracy = {task: round(score.accuracy, 2) for task, score in scores.items()}
    record = {
        "content": suite_digest(suite, suite.experts, "score"), "accuracy": accuracy,
        "average": _mean(accuracy, suite.seen), "unseen_average": _mean(accuracy, suite.unseen),
        "validation": _mean({task: score.accuracy for task, score in checked.items()}, suite.seen),
        "epochs": plan.epochs, "learning_rate": plan.learning_rate, "pictures": plan.pictures,
        "seconds": round(seconds, 1),
    }  # fmt: skip
    return vectors, record


def _trained(suite: Suite, plan: Plan) -> Generator[Step, None, dict[str, Tensor]]:
    """Minimise the mean cross-entropy of batches mixed from all tasks, each input through its own frozen head."""
    data = [training_data(suite, task, plan) for task in suite.seen]
    heads = [suite.head(task) for task in suite.seen]
    inputs, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    owner = torch.cat([torch.full((len(y),), t) for t, (_, y) in enumerate(data)])

    def loss_of(features: Tensor, rows: Tensor) -> Tensor:
        terms = []
        for t, head in enumerate(heads):
            mine = owner[rows] == t
            if mine.any():
                given = labels[rows][mine].to(features.device)
                terms.append(cross_entropy(head(features[mine]), given, reduction="sum"))
        return torch.stack(terms).sum() / len(rows)

    seed = named_seed(suite.name, "multitask", "expert")
    base = in_memory(suite.pretrained_in_memory, suite.device)
    return (yield from finetune(suite.backbone, suite.module, base, inputs, loss_of, plan.schedule(), seed))


def _mean(accuracy: Mapping[str, float], tasks: tuple[str, ...]) -> float | None:
    found = [accuracy[task] for task in tasks]
    return round(sum(found) / len(found), 2) if found else None
