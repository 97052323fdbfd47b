"""Test-time adaptation: minimising the entropy of predictions on unlabelled inputs.

    loss = Σ_t mean_b H(softmax(head_t(f(x_tb)))),   H(p) = −Σ_c p_c log p_c

Every step takes one batch of every task, each scored with its own frozen head (Yang et al., AdaMerging, ICLR 2024,
arXiv:2310.02575; Tang et al., WEMoE, ICML 2024, arXiv:2402.00433). The oracle loss is the cross-entropy with the true
labels in its place: an upper bound for analysis.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..contract import Step
from ..merged import Merged
from ..pausing import Pausing, made_steps
from ..problem import Inputs
from .history import History

JOINT = 32
"""Inputs that one pass takes: of several tasks together where their batches are smaller."""
Batches = Mapping[str, Tensor]
"""Inputs (B, ...) or features (B, D) by task."""
BETAS = (0.9, 0.999)
"""Adam's, of the mean gradient and the mean square."""


@dataclass(frozen=True)
class Settings:
    """How to adapt: Adam without weight decay, `batch` inputs of every task per step.

    `schedule` is "constant" or "cosine"; `balanced` divides a task's entropy by ln C, its largest possible value;
    `share` is the part of the unlabelled inputs that is used; `oracle` replaces the entropy by the cross-entropy.
    """

    steps: int
    batch: int
    learning_rate: float
    schedule: str = "constant"
    balanced: bool = False
    share: float = 1.0
    oracle: bool = False

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step counted from 0."""
        return 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.schedule == "cosine" else 1.0

    def reach(self, delay: int = 0) -> np.ndarray:
        """Return how far Adam can still move a parameter before each update, (steps + 1,), in learning rates.

        Its first update is the one after `delay`. Whatever the gradients, with m̂ = Σ_i a_i g_i and v̂ = Σ_i b_i g_i²
        Cauchy and Schwarz give |m̂| / √v̂ ≤ √(Σ_i a_i² / b_i).
        """
        first, second = BETAS
        count = np.arange(1, max(0, self.steps - delay) + 1)
        ratio = first**2 / second
        squares = (1 - first) ** 2 / (1 - second) * (1 - ratio**count) / (1 - ratio)
        most = np.sqrt(squares * (1 - second**count)) / (1 - first**count)
        moves = np.zeros(self.steps + 1)
        moves[delay : self.steps] = most * [self.rate(step) for step in range(delay, self.steps)]
        return moves[::-1].cumsum()[::-1]


class Adaptable(Protocol):
    """What is being adapted.

    One that learns by tensor also has `tensors`, their names in the order of its state; one with masks has `ranks`,
    the number of components by matrix.
    """

    def parameters(self) -> Sequence[Mapping[str, object]]:
        """Return Adam's parameter groups; a group may bring its own `lr`."""
        ...

    def begin(self) -> None:
        """Prepare a step, such as building the weights once for all tasks."""
        ...

    def features(self, batches: Batches) -> Batches:
        """Return features of inputs, differentiable in the parameters or in what `begin` built."""
        ...

    def finish(self) -> None:
        """Carry gradients on from what `begin` built to the parameters."""
        ...

    def state(self) -> Mapping[str, np.ndarray]:
        """Return what changed while adapting, small enough to keep for a replay."""
        ...

    def merged(self) -> Merged:
        """Return the merge as it stands, apart from what further steps change."""
        ...


def adapt_steps(
    what: Adaptable, inputs: Inputs, tasks: Sequence[str], settings: Settings
) -> Generator[Step, None, History]:
    """Adapt, yielding a Step with a snapshot at the start, and with the mean entropy too after every update.

    Returns the history. Before the first update, and around the passes of each, come Steps without either, so that one
    who wants to stop need not wait for its end.
    """
    history = History(tuple(tasks), tuple(getattr(what, "tensors", ())), dict(getattr(what, "ranks", {})))
    start = time.perf_counter()
    optimiser = torch.optim.Adam(list(what.parameters()), lr=settings.learning_rate, betas=BETAS)  # type: ignore[arg-type]
    rates = [group["lr"] for group in optimiser.param_groups]
    streams = {}
    for task in tasks:
        streams[task] = _stream(inputs, task, settings)
        yield Step(0, settings.steps, f"inputs of {task}", history=history)
    passes = tasks_by_pass(tasks, settings.batch)
    history.keep(0, settings.steps, what.state)
    yield Step(0, settings.steps, "start", snapshot=what.merged, history=history)
    for step in range(settings.steps):
        moment = Step(step, settings.steps, f"step {step}", history=history)
        what.begin()
        seen: list[float] = []
        for together in passes:
            yield moment
            given = {task: next(streams[task]) for task in together}
            seen += yield from made_steps(partial(descend, what, inputs, given, settings), moment)
        yield moment
        what.finish()
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * settings.rate(step)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        history.entropy.append(seen)
        history.seconds.append(time.perf_counter() - start)
        history.keep(step + 1, settings.steps, what.state)
        live = {"entropy": sum(seen) / len(seen)}
        yield Step(step + 1, settings.steps, f"step {step + 1}", live, what.merged, history)
    return history


def tasks_by_pass(tasks: Sequence[str], batch: int) -> list[Sequence[str]]:
    """Return the tasks whose batches go through the network together, pass by pass."""
    size = max(1, JOINT // batch)
    return [tasks[i : i + size] for i in range(0, len(tasks), size)]


def jointly(run: Callable[[Tensor], Tensor], batches: Batches) -> dict[str, Tensor]:
    """Return what one pass over all batches makes of each."""
    made = run(torch.cat([*batches.values()])).split([len(batch) for batch in batches.values()])
    return dict(zip(batches, made, strict=True))


def entropy(logits: Tensor) -> Tensor:
    """Return H of the softmax of logits (B, C) in nats, (B,)."""
    logged = logits.log_softmax(-1)
    return -(logged.exp() * logged).sum(-1)


def _stream(inputs: Inputs, task: str, settings: Settings) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield batches, with their labels for the oracle alone."""
    part = {} if settings.share == 1 else {"share": settings.share}
    if settings.oracle:
        return inputs.labelled_stream(task, settings.batch, **part)
    return ((batch, None) for batch in inputs.stream(task, settings.batch, **part))


def descend(
    what: Adaptable, inputs: Inputs, given: Mapping[str, tuple[Tensor, Tensor | None]], settings: Settings
) -> Pausing[list[float]]:
    """Add the gradient of some tasks' batches, with labels for the oracle, pausing before the way back.

    Returns the mean entropy of each.
    """
    seen, losses = [], []
    with torch.enable_grad():
        found = what.features({task: batch for task, (batch, _) in given.items()})
        for task, (_, labels) in given.items():
            logits = inputs.logits(task, found[task])
            mean = entropy(logits).mean()
            loss = mean if labels is None else cross_entropy(logits, labels.to(logits.device))
            losses.append(loss / math.log(logits.shape[-1]) if settings.balanced else loss)
            seen.append(mean.item())
        total = torch.stack(losses).sum()
    yield
    if total.requires_grad:  # not where no expert differs from the pretrained model
        total.backward()
    return seen
