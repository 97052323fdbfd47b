"""What routers look at: features of every input under one model that is the same for all inputs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import RecipeError
from ..hp import hp
from ..maths.ops import widest
from ..methods import build
from ..pausing import Pausing
from ..problem import Problem
from ..weights import Weights, in_memory

MODELS = {
    "pretrained": "the pretrained model",
    "average": "the weight average",
    "tsv_m": "the TSV-M merge",
}
TOKENS = ("pooled", "mean")
BATCH = 64


class Reads(Protocol):
    """What runs a backbone; both the data of a problem and the network of a predictor do."""

    def features(self, weights: Weights, inputs: Tensor) -> Tensor: ...
    def block_features(self, weights: Weights, inputs: Tensor, mean: bool = False) -> list[Tensor]: ...


def model(default: str = "pretrained") -> Any:
    """Declare the model whose features a router looks at."""
    return hp(
        default,
        "Model whose features decide: pretrained, or the experts merged by the weight average or TSV-M, "
        "which is then one more model to store.",
        choices={key: f"the features that decide are those of {model}" for key, model in MODELS.items()},
    )


@dataclass(frozen=True, eq=False)
class Features:
    """z(x), (B, d): the feature the heads receive (layer 0), or one vector after the block number `layer`, from 1.

    With `tokens` "mean" the mean over all tokens after that block, the last one for layer 0. In float64 where the
    device has it; of unit length if `normalise`. `reads` names the model that the weights are.
    """

    weights: Weights
    layer: int = 0
    normalise: bool = True
    reads: str = "pretrained"
    tokens: str = TOKENS[0]

    def __call__(self, network: Reads, inputs: Tensor) -> Tensor:
        mean = self.tokens == "mean"
        if self.layer or mean:
            found = network.block_features(self.weights, inputs, mean)[self.layer - 1]
        else:
            found = network.features(self.weights, inputs)
        found = found.to(widest(found))
        return torch.nn.functional.normalize(found, dim=-1) if self.normalise else found

    def of_many(self, network: Reads, inputs: Tensor) -> Pausing[Tensor]:
        """Return features of any number of inputs."""
        found = []
        for part in inputs.split(BATCH):
            found.append(self(network, part))
            yield
        return torch.cat(found)


def model_steps(key: str, problem: Problem, ctx: Context) -> Generator[Step, None, dict[str, Tensor]]:
    """Return the weights to look with, on the device."""
    if key == "pretrained":
        return in_memory(problem.pretrained, ctx.device)
    merged = yield from build(key).run(problem, ctx)  # type: ignore[attr-defined]
    return in_memory(merged.weights(), ctx.device)


def check_layer(layer: int, problem: Problem) -> None:
    """Raise RecipeError for a block that the backbone does not have."""
    depth = problem.groups().depth
    if layer > depth:
        raise RecipeError(
            f"layer must be 0, the final feature, or a block from 1 to {depth}; got {layer}, choose one of those."
        )
