"""Scoring: the only place with labels. A score is a number with an interval that tightens while it streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .answers import Answers, LayerWeights, Place, Predicted, Said, route_places
from .errors import RecipeError
from .inputs import SuiteInputs
from .merged import BATCH, Merged
from .metrics.accuracy import expected_calibration_error, wilson
from .pausing import Pausing
from .routing.prediction import Prediction
from .running import drive
from .suite import Suite
from .weights import Weights

PASSES = 128  # of one model, in a round of scoring
UNWATCHED = 8 * PASSES  # in a round where nobody waits to stop it


@dataclass(frozen=True, repr=False)
class Score:
    """Accuracy of one model on `n` of `total` inputs of one task.

    `routed` counts the inputs by the expert they were routed to, where the merge routes. An input is right only if
    its class is right and, where the merge chose the head, the head is its own. `entropy` (nats) and `ece` are those
    of the head that answered: the chosen one, right or wrong, else the given one. A score made in this process, or
    stored with its answers, also knows what was `said` about each of its inputs, and the experts' mean weights
    `by_layer` where the merge weighs them.
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
    passes: int = PASSES,
) -> Generator[dict[str, Score], None, dict[str, Score]]:
    """Score a model on a split, yielding the scores so far after every batch.

    The first round takes `first` inputs of every task, so that an estimate with its interval stands early; the
    following rounds refine it. A round takes at most `passes` of one model, so that a scoring can be stopped soon.
    `limit` scores at most so many inputs of each task (a fixed, seeded choice).
    """
    names = list(suite.tasks if tasks is None else tasks)
    tallies = {name: _Tally(suite, name, split, limit) for name in names if merged.serves(name)}
    model = Model(merged, suite, dtype)
    for size in _rounds(first, max((t.total for t in tallies.values()), default=0), merged.work, passes):
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
    steps = score_steps(suite, merged, tasks, split=split, first=UNWATCHED, limit=limit, passes=UNWATCHED)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def logits(
    suite: Suite, weights: Mapping[str, Tensor], task: str, split: str, limit: int | None = None
) -> Tensor:
    """Return the logits (N, C) of a model on a split, in its seeded scoring order."""
    return drive(logits_made(suite, weights, task, split, limit))


def logits_made(
    suite: Suite, weights: Mapping[str, Tensor], task: str, split: str, limit: int | None = None
) -> Pausing[Tensor]:
    """Return what `logits` does, with a pause after every so many passes."""
    tally, model = _Tally(suite, task, split, limit), Model(Fixed(weights), suite)
    while tally.done < tally.total:
        tally.add(model, PASSES)
        yield
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
        self.suite, self.knows_task, self.serves = suite, merged.knows_task, merged.serves
        self.tasks: tuple[str, ...] = getattr(merged, "tasks", ())
        self.window = merged.window
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

    def certainty(self, logits: Tensor, said: Prediction, task: str) -> tuple[Tensor, Tensor]:
        """Return probability of the likeliest class and entropy in nats, (B,) each, under the head that answered.

        That is the head which the merge chose; `logits` (B, C) of the task's own where it was given, as it is to a
        task without an expert.
        """
        confidence, entropy = _certainty(logits)
        if said.picked is not None and task in self.tasks:
            for t in said.picked.unique().tolist():
                rows = said.picked == t
                confidence[rows], entropy[rows] = _certainty(self.suite.head(self.tasks[t])(said.features[rows]))
        return confidence, entropy


def _certainty(logits: Tensor) -> tuple[Tensor, Tensor]:
    p = logits.float().softmax(-1)
    return p.amax(-1), -(p * p.clamp_min(1e-12).log()).sum(-1)


def _rounds(first: int, total: int, work: float, passes: int) -> list[int]:
    """Return how many inputs of a task every round takes, each as much work as at most so many passes."""
    most = max(1, int(passes / work))
    sizes = [min(first, most)]
    return sizes + [most] * max(0, math.ceil((total - sizes[0]) / most))


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
        self.certainty: list[tuple[Tensor, Tensor]] = []
        self.answers = Answers(task, self.order, self.labels, whole_routes)
        self.experts: tuple[str, ...] = ()

    def add(self, model: Model, count: int) -> None:
        """Score the next `count` inputs."""
        self.experts = model.tasks
        stop = min(self.done + count, self.total)
        for chosen in self.order[self.done : stop].split(BATCH * model.window):
            logits, said = model(self.inputs[chosen], self.task)
            self.logits.append(logits.float())
            self.certainty.append(model.certainty(logits, said, self.task))
            self.answers.add(self.logits[-1], said, model.places)
        self.done = stop

    def score(self) -> Score:
        """Return the score of the inputs seen so far."""
        batches = len(self.logits)
        correct = self.answers.first(batches, routes=False).right(self.experts)
        confidence, entropy = (torch.cat(parts) for parts in zip(*self.certainty, strict=True))
        ece = expected_calibration_error(confidence.numpy(), correct)
        return Score(
            self.task, int(correct.sum()), self.done, self.total, float(entropy.mean()), float(ece), self._routed(),
            self.answers.weights(), Said(self.answers, batches),
        )  # fmt: skip

    def _routed(self) -> dict[str, int] | None:
        if not self.answers.picked:
            return None
        counts = torch.cat(self.answers.picked).bincount(minlength=len(self.experts))
        return dict(zip(self.experts, counts.tolist(), strict=True))
