"""Test-time adaptation: minimising the entropy of predictions on unlabelled inputs.

    loss = Σ_t mean_b H(softmax(head_t(f(x_tb)))),   H(p) = −Σ_c p_c log p_c

Every step takes one batch of every task, each scored with its own frozen head (Yang et al., AdaMerging, ICLR 2024,
arXiv:2310.02575; Tang et al., WEMoE, ICML 2024, arXiv:2402.00433). The oracle loss is the cross-entropy with the true
labels in its place: an upper bound for analysis.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..contract import Step
from ..merged import Merged
from ..problem import Inputs
from .history import History


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

    def features(self, task: str, inputs: Tensor) -> Tensor:
        """Return features (B, D), differentiable in the parameters or in what `begin` built."""
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
    """Adapt, yielding a Step with the mean entropy and a snapshot after every update; returns the history.

    Between the tasks of an update come Steps without either, so that one who wants to stop need not wait for its end.
    """
    history = History(tuple(tasks), tuple(getattr(what, "tensors", ())), dict(getattr(what, "ranks", {})))
    start = time.perf_counter()
    optimiser = torch.optim.Adam(list(what.parameters()), lr=settings.learning_rate)  # type: ignore[arg-type]
    rates = [group["lr"] for group in optimiser.param_groups]
    streams = {task: _stream(inputs, task, settings) for task in tasks}
    history.keep(0, settings.steps, what.state)
    for step in range(settings.steps):
        what.begin()
        seen: list[float] = []
        for task in tasks:
            if seen:
                yield Step(step, settings.steps, f"step {step}", history=history)
            seen.append(_descend(what, inputs, task, *next(streams[task]), settings))
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


def _descend(
    what: Adaptable, inputs: Inputs, task: str, batch: Tensor, labels: Tensor | None, settings: Settings
) -> float:
    """Add one task's gradient; returns its mean entropy."""
    with torch.enable_grad():
        logits = inputs.logits(task, what.features(task, batch))
        mean = entropy(logits).mean()
        loss = mean if labels is None else cross_entropy(logits, labels.to(logits.device))
        if loss.requires_grad:  # not where no expert differs from the pretrained model
            (loss / math.log(logits.shape[-1]) if settings.balanced else loss).backward()
    return mean.item()
