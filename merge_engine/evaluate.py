"""Scoring: the only place with labels. A score is a number with an interval that tightens while it streams."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .answers import Answers, LayerWeights, Place, Predicted, Said, route_places
from .errors import RecipeError
from .inputs import SuiteInputs
from .merged import Merged
from .metrics.accuracy import expected_calibration_error, wilson
from .routing.prediction import Prediction
from .suite import Suite
from .weights import Weights

BATCH = 64


@dataclass(frozen=True, repr=False)
class Score:
    """Accuracy of one model on `n` of `total` inputs of one task.

    `routed` counts the inputs by the expert they were routed to, where the merge routes. An input is right only if
    its class is right and, where the merge chose the head, the head is its own. A score made in this process, or stored
    with its answers, also knows what was `said` about each of its inputs, and the experts' mean weights `by_layer`
    where the merge weighs them.
    """

    task: str
    correct: int
    n: int
    total: int
    entropy: float
    ece: float
    routed: Mapping[str, int] | None = None
    by_layer: LayerWeights | None = field(default=None, compare=False)
    answers: Callable[[], Predicted] | None = field(default=None, compare=False)

    @property
    def said(self) -> Predicted | None:
        """What was said about each of the inputs scored, put together now; None where nobody kept it."""
        return None if self.answers is None else self.answers()

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


@dataclass(frozen=True)
class Fixed(Merged):
    """A model that is not merged, such as the pretrained model or an expert, for scoring beside merges."""

    model: Weights

    def weights(self, task: str | None = None) -> Weights:
        return self.model

    @property
    def stored_parameters(self) -> float:
        return float(sum(self.model[n].numel() for n in self.model))


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
    if merged.knows_task:
        names = [n for n in names if n in getattr(merged, "tasks", ())]
    tallies = {name: _Tally(suite, name, split, limit) for name in names}
    model = Model(merged, suite, dtype)
    for size in _rounds(first, max((t.total for t in tallies.values()), default=0)):
        for tally in tallies.values():
            if tally.done >= tally.total:
                continue
            tally.add(model, size)
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
    tally.add(Model(Fixed(weights), suite), tally.total)
    return torch.cat(tally.logits)


def predictions(
    suite: Suite, merged: Merged | Model, task: str, split: str = "score", limit: int | None = None
) -> Predicted:
    """Return what a merge says about the inputs of one task, and how it routed them."""
    tally = _Tally(suite, task, split, limit, whole_routes=True)
    tally.add(merged if isinstance(merged, Model) else Model(merged, suite), tally.total)
    return tally.answers.first(len(tally.logits))


class Model:
    """A merge made ready to score: what it predicts for inputs of a task, with the logits of the task's own head.

    It runs on the suite's device; what it says is back on the CPU, where scores are counted.
    """

    def __init__(self, merged: Merged, suite: Suite, dtype: torch.dtype = torch.float32) -> None:
        self.suite, self.knows_task = suite, merged.knows_task
        self.tasks: tuple[str, ...] = getattr(merged, "tasks", ())
        self.places: tuple[Place, ...] = route_places(merged, suite)
        self._predict = merged.predictor(SuiteInputs(suite), dtype)

    def predict(self, inputs: Tensor, task: str | None = None) -> Prediction:
        """Return the prediction for inputs (B, ...); `task` is for a merge that knows it."""
        with torch.inference_mode():
            return self._predict(inputs.to(self.suite.device), task).cpu()

    def __call__(self, inputs: Tensor, task: str) -> tuple[Tensor, Prediction]:
        """Return logits (B, C) and the prediction they come from."""
        said = self.predict(inputs, task if self.knows_task else None)
        with torch.inference_mode():
            return self.suite.head(task)(said.features) if said.logits is None else said.logits, said


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

    def __init__(
        self, suite: Suite, task: str, split: str, limit: int | None, *, whole_routes: bool = False
    ) -> None:
        if limit is not None and limit < 1:
            raise RecipeError(f"limit must be at least 1; got {limit}.")
        self.suite, self.task = suite, task
        self.inputs, labels = suite.prepared(task, split), suite.labels(task, split)
        self.order = scoring_order(len(labels), limit)
        self.labels = labels[self.order]
        self.total, self.done = len(self.order), 0
        self.logits: list[Tensor] = []
        self.answers = Answers(task, self.order, self.labels, whole_routes)
        self.experts: tuple[str, ...] = ()

    def add(self, model: Model, count: int) -> None:
        """Score the next `count` inputs."""
        self.experts = model.tasks
        stop = min(self.done + count, self.total)
        for chosen in self.order[self.done : stop].split(BATCH):
            logits, said = model(self.inputs[chosen], self.task)
            self.logits.append(logits.float())
            self.answers.add(self.logits[-1], said, model.places)
        self.done = stop

    def score(self) -> Score:
        """Return the score of the inputs seen so far."""
        seen = torch.cat(self.logits)
        probabilities = seen.softmax(-1)
        correct = (seen.argmax(-1) == self.labels[: self.done]) & self._own_head()
        entropy = -(probabilities * probabilities.clamp_min(1e-12).log()).sum(-1).mean()
        ece = expected_calibration_error(probabilities.max(-1).values.numpy(), correct.numpy())
        return Score(
            self.task, int(correct.sum()), self.done, self.total, float(entropy), float(ece), self._routed(),
            self.answers.weights(), Said(self.answers, len(self.logits)),
        )  # fmt: skip

    def _own_head(self) -> Tensor:
        """True where the head was given, or the merge chose the task's own; a task without expert is given its head."""
        if not self.answers.picked or self.task not in self.experts:
            return torch.ones(self.done, dtype=torch.bool)
        return torch.cat(self.answers.picked) == self.experts.index(self.task)

    def _routed(self) -> dict[str, int] | None:
        if not self.answers.picked:
            return None
        counts = torch.cat(self.answers.picked).bincount(minlength=len(self.experts))
        return dict(zip(self.experts, counts.tolist(), strict=True))
