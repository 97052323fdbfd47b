"""Predicting with a merge: features of every input, and who chose them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..weights import Weights

Change = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""What replaces a layer's output, from the layer, its input and its output."""
Changes = Mapping[str, Change]
"""Changes by path of the layer inside the module, such as `encoder.layer.0.mlp.fc1`."""


class Network(Protocol):
    """A backbone run with weights from outside, and the frozen heads of its tasks; knows no label.

    `device` is where a predictor puts its weights. It takes inputs that are there, too.
    """

    @property
    def device(self) -> torch.device: ...
    def features(self, weights: Weights, inputs: Tensor, changes: Changes | None = None) -> Tensor: ...
    def block_features(self, weights: Weights, inputs: Tensor, mean: bool = False) -> list[Tensor]: ...
    def pooled(self, hidden: Tensor, inputs: Tensor) -> Tensor: ...
    def logits(self, task: str, features: Tensor) -> Tensor: ...
    def layers(self) -> Mapping[str, nn.Module]: ...
    def real_tokens(self, inputs: Tensor) -> Tensor | None: ...


@dataclass(frozen=True)
class Prediction:
    """What a merge says about a batch of B inputs.

    `features` (B, D) go to a frozen head: to that of the expert number `picked` (B,) where the merge chose it, else to
    that of the asked task. `logits` (B, C) stand instead where a merge that was told the task made them itself.
    `route` (B, L, T) is the weight of every expert by input and layer, None for one static model.
    """

    features: Tensor
    picked: Tensor | None = None
    route: Tensor | None = None
    logits: Tensor | None = None

    def cpu(self) -> Prediction:
        """Return it where numpy can read it."""
        found = (self.features, self.picked, self.route, self.logits)
        return Prediction(*(None if value is None else value.cpu() for value in found))  # type: ignore[arg-type]


class Predictor(Protocol):
    """A merge made ready for many forward passes. `task` is given only to merges that declare to know it."""

    def __call__(self, inputs: Tensor, task: str | None = None) -> Prediction: ...


def one_hot(picked: Tensor, count: int) -> Tensor:
    """Return a hard choice (B,) as a route (B, 1, T)."""
    return torch.nn.functional.one_hot(picked, count).float().unsqueeze(1)
