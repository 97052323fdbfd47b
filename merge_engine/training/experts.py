"""Fine-tuning through frozen heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backbones import Backbone
from ..contract import Step


@dataclass(frozen=True)
class Schedule:
    """Passes over the data, batch size, and AdamW's rate: linear warm-up, then a cosine down to zero."""

    epochs: int
    learning_rate: float
    batch: int = 32
    warmup: float = 0.1
    weight_decay: float = 0.0

    def steps(self, count: int) -> int:
        """Number of batches for this many inputs."""
        return self.epochs * -(-count // self.batch)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step counted from 0."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def trainable(backbone: Backbone, weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors fine-tuning may change: matrices and vectors of the blocks."""
    return [name for name in weights if backbone.place(name).block is not None]


def finetune(
    backbone: Backbone,
    module: torch.nn.Module,
    pretrained: Mapping[str, Tensor],
    inputs: Tensor,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    seed: int,
) -> Generator[Step, None, dict[str, Tensor]]:
    """Minimise `loss_of(features, rows)`, rows (B,) numbering the inputs (N, …) of a batch; returns the task vector.

    It runs where the pretrained weights are; the task vector comes back to the CPU.
    """
    names = trainable(backbone, pretrained)
    tuned = {name: pretrained[name].clone().requires_grad_() for name in names}
    weights = {**pretrained, **tuned}
    optimiser = torch.optim.AdamW(tuned.values(), weight_decay=schedule.weight_decay, fused=True)
    draw = torch.Generator().manual_seed(seed)
    steps, done, seen = schedule.steps(len(inputs)), 0, 0.0
    for epoch in range(schedule.epochs):
        for chosen in torch.randperm(len(inputs), generator=draw).split(schedule.batch):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(done, steps)
            loss = loss_of(backbone.features(module, weights, inputs[chosen]), chosen)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            done += 1
            seen = loss.item() if done == 1 else 0.95 * seen + 0.05 * loss.item()
            yield Step(done, steps, f"epoch {epoch + 1} of {schedule.epochs}", {"loss": seen})
    return {name: (tuned[name].detach() - pretrained[name]).cpu() for name in names}


@torch.no_grad()
def predict(
    backbone: Backbone,
    module: torch.nn.Module,
    weights: Mapping[str, Tensor],
    inputs: Tensor,
    batch: int = 64,
) -> Tensor:
    """Features (N, D) of many inputs, batch by batch, on the CPU."""
    return torch.cat([backbone.features(module, weights, part).cpu() for part in inputs.split(batch)])
