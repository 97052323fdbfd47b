"""A tiny network with the tensor names of the small transformer, and inputs and heads for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from merge_engine.contract import Context

CLASSES = 3
SHAPES = {
    "embed.weight": (5, 4),
    "blocks.0.q.weight": (4, 4),
    "blocks.0.k.weight": (4, 4),
    "blocks.0.v.weight": (4, 4),
    "blocks.0.out.weight": (4, 4),
    "blocks.0.out.bias": (4,),
    "blocks.1.fc1.weight": (6, 4),
    "blocks.1.fc1.bias": (6,),
    "blocks.1.fc2.weight": (4, 6),
    "blocks.1.norm.weight": (4,),
    "unused.weight": (2, 3),
}


def forward(weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return features (N, 4) of inputs (N, tokens, 5), and what every linear layer received."""
    seen = {}

    def linear(kind: str, x: Tensor) -> Tensor:
        name = f"blocks.{0 if kind in ('q', 'k', 'v', 'out') else 1}.{kind}.weight"
        seen[name] = x.flatten(0, -2)
        return x @ weights[name].T

    x = inputs @ weights["embed.weight"]
    mixed = torch.tanh(linear("q", x) * linear("k", x)) + linear("v", x)
    x = x + linear("out", mixed) + weights["blocks.0.out.bias"]
    x = x * weights["blocks.1.norm.weight"]
    hidden = torch.tanh(linear("fc1", x) + weights["blocks.1.fc1.bias"])
    return (x + linear("fc2", hidden)).mean(1), seen


@dataclass(frozen=True)
class SmallInputs:
    """Random inputs and heads by task name; `tokens` rows per input."""

    tokens: int = 2
    same: bool = False

    def support(self, task: str, count: int, draw: int = 0) -> Tensor:
        key = ("any" if self.same else task, *([str(draw)] if draw else []))
        return torch.randn(count, self.tokens, 5, generator=Context().generator("inputs", *key))

    def stream(self, task: str, batch: int):
        raise AssertionError("these methods must not touch the stream")

    def features(self, weights, inputs: Tensor) -> Tensor:
        return forward(weights, inputs)[0]

    def logits(self, task: str, features: Tensor) -> Tensor:
        key = "any" if self.same else task
        head = torch.randn(CLASSES, 4, generator=Context().generator("head", key))
        return features @ head.to(features).T

    def linear_inputs(self, weights, inputs: Tensor) -> dict[str, Tensor]:
        return forward(weights, inputs)[1]
