"""Scoring: the only place with labels. A score is a number with an interval that tightens while it streams."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .errors import RecipeError
from .merged import Merged, PerTaskMerged
from .metrics.accuracy import expected_calibration_error, wilson
from .suite import Suite
from .weights import Weights

BATCH = 64


@dataclass(frozen=True, repr=False)
class Score:
    """Accuracy of one model on `n` of `total` inputs of one task."""

    task: str
    correct: int
    n: int
    total: int
    entropy: float
    ece: float

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy in percent."""
        return 100 * self.correct / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval in percent."""
        low, high = wilson(self.correct, self.n)
        return 100 * low, 100 * high

    @property
    def done(self) -> bool:
        return self.n == self.total

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.1f} % ({low:.1f} to {high:.1f}, {self.n} of {self.total})"


class Fixed(Merged):
    """A model that is not merged, such as the pretrained model or an expert, for scoring beside merges."""

    def __init__(self, weights: Weights) -> None:
        object.__setattr__(self, "pretrained", weights)

    def weights(self, task: str | None = None) -> Weights:
        return self.pretrained

    @property
    def stored_parameters(self) -> float:
        return float(sum(self.pretrained[n].numel() for n in self.pretrained))


def in_memory(
    weights: Weights, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """Return all tensors of a model in memory, ready for many forward passes."""
    return {n: weights[n].to(device, dtype) for n in weights}


def score_steps(
    suite: Suite,
    merged: Merged,
    tasks: Iterable[str] | None = None,
    *,
    split: str = "score",
    first: int = 32,
    limit: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Generator[dict[str, Score], None, dict[str, Score]]:
    """Score a model on a split, yielding the scores so far after every batch.

    The first round takes `first` inputs of every task, so that an estimate with its interval stands early; the
    following rounds refine it. `limit` scores at most so many inputs of each task (a fixed, seeded choice).
    """
    names = list(suite.tasks if tasks is None else tasks)
    if isinstance(merged, PerTaskMerged):
        names = [n for n in names if n in merged.tasks]
    tallies = {name: _Tally(suite, name, split, limit) for name in names}
    cached: dict[str | None, dict[str, Tensor]] = {}
    for size in _rounds(first, max((t.total for t in tallies.values()), default=0)):
        for name, tally in tallies.items():
            if tally.done >= tally.total:
                continue
            key = name if isinstance(merged, PerTaskMerged) else None
            if key not in cached:
                if key is not None and len(cached) >= 2:
                    cached.clear()
                cached[key] = in_memory(merged.weights(key), dtype)
            tally.add(cached[key], size)
            yield {n: t.score() for n, t in tallies.items() if t.done}
    return {n: t.score() for n, t in tallies.items()}


def score(
    suite: Suite,
    merged: Merged,
    tasks: Iterable[str] | None = None,
    *,
    split: str = "score",
    limit: int | None = None,
) -> dict[str, Score]:
    """Score a model on a split to the end."""
    steps = score_steps(suite, merged, tasks, split=split, first=1 << 30, limit=limit)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def logits(
    suite: Suite, weights: Mapping[str, Tensor], task: str, split: str, limit: int | None = None
) -> Tensor:
    """Return the logits (N, C) of a model on a split, in its seeded scoring order."""
    tally = _Tally(suite, task, split, limit)
    tally.add(dict(weights), tally.total)
    return torch.cat(tally.logits)


def _rounds(first: int, total: int) -> list[int]:
    sizes, covered, size = [], 0, first
    while covered < total:
        sizes.append(size)
        covered += size
        size = max(size, 128)
    return sizes


@lru_cache(maxsize=64)
def scoring_order(count: int, limit: int | None) -> Tensor:
    """A fixed shuffle, so that a partial score is a fair sample."""
    return torch.from_numpy(np.random.default_rng(1234).permutation(count)[:limit])


class _Tally:
    """Scores of one task so far."""

    def __init__(self, suite: Suite, task: str, split: str, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise RecipeError(f"limit must be at least 1; got {limit}.")
        self.suite, self.task = suite, task
        self.inputs, labels = suite.prepared(task, split), suite.labels(task, split)
        self.order = scoring_order(len(labels), limit)
        self.labels = labels[self.order]
        self.total, self.done = len(self.order), 0
        self.logits: list[Tensor] = []

    def add(self, weights: dict[str, Tensor], count: int) -> None:
        """Score the next `count` inputs."""
        head = self.suite.head(self.task)
        stop = min(self.done + count, self.total)
        dtype = next(w.dtype for w in weights.values() if w.is_floating_point())
        with torch.inference_mode():
            for chosen in self.order[self.done : stop].split(BATCH):
                features = self.suite.features(weights, self.inputs[chosen].to(dtype))
                self.logits.append(head(features.float()))
        self.done = stop

    def score(self) -> Score:
        """Return the score of the inputs seen so far."""
        seen = torch.cat(self.logits)
        probabilities = seen.softmax(-1)
        correct = seen.argmax(-1) == self.labels[: self.done]
        entropy = -(probabilities * probabilities.clamp_min(1e-12).log()).sum(-1).mean()
        ece = expected_calibration_error(probabilities.max(-1).values.numpy(), correct.numpy())
        return Score(self.task, int(correct.sum()), self.done, self.total, float(entropy), float(ece))
