"""Routers in front of the MLPs of a transformer: from what an MLP reads to the weights of the experts in it.

    w(x) = (1/N) Σ_n r(h_n(x))   for the hidden state h_n of token n; no softmax, no clipping

The mean is over the router's outputs (Tang et al., WEMoE, ICML 2024, arXiv:2402.00433).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .per_input import Decision
from .prediction import Network

SPREAD = 0.01  # standard deviation of a router's first weights


class Router(nn.Module):
    """A network of 0, 1 or 2 linear layers with ReLU between, averaged over tokens; no softmax, no clipping.

    Without a layer it is its last bias, the same for all inputs.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """Return w (B, K) for tokens (B, N, d), or (1, K) where it is the same for all; `real` (B, N) are no padding.

        The last layer is linear, so it acts on the mean token.
        """
        weights, biases = [w.to(tokens) for w in self.weights], [b.to(tokens) for b in self.biases]
        if not weights:
            return biases[-1].unsqueeze(0)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            tokens = linear(tokens, weight, bias).relu()
        return linear(_mean(tokens, real), weights[-1], biases[-1])

    @classmethod
    def start(
        cls,
        width: int,
        tasks: Sequence[str],
        prior: float,
        depth: int,
        draw: Callable[..., torch.Generator],
        *,
        each: int = 1,
        hidden: int | None = None,
    ) -> Router:
        """Return a router with `each` outputs per task, all close to `prior`; rows are drawn by the task's name."""
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        if depth == 2:
            hidden = width if hidden is None else hidden
            weights.append(SPREAD * torch.randn(hidden, width, generator=draw("hidden")))
            biases.append(torch.zeros(hidden))
            width = hidden
        if depth > 0:
            rows = [SPREAD * torch.randn(each, width, generator=draw("task", task)) for task in tasks]
            weights.append(torch.cat(rows))
        biases.append(torch.full((each * len(tasks),), prior))
        return cls(weights, biases)


def _mean(tokens: Tensor, real: Tensor | None) -> Tensor:
    """Return the mean token (B, d), over the real tokens only."""
    if real is None:
        return tokens.mean(1)
    share = real.to(tokens)
    return (tokens * (share / share.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)


@dataclass(frozen=True)
class MlpWeighting:
    """Coefficients of every block's MLP: its first layer asks the block's router, its other layers take the same.

    `blocks` are blocks by path of a layer, `routers` by block, one object for all of them where they share it.
    `routing` is "input", or "batch" for the mean over a batch.
    """

    blocks: Mapping[str, int]
    routers: Mapping[int, Router]
    routing: str = "input"
    forwards: float = 0.0
    reads: str = ""

    def ready(self, network: Network) -> Callable[[Tensor], Decision]:
        """Return what weighs a batch inside the pass: w (B, K) of a layer, or (1, K) where all inputs have the same."""
        return lambda inputs: Decision(self._weigh(network.real_tokens(inputs)))

    def _weigh(self, real: Tensor | None) -> Callable[[str, nn.Module, Tensor], Tensor]:
        made: dict[int, Tensor] = {}

        def weigh(path: str, layer: nn.Module, tokens: Tensor) -> Tensor:
            block = self.blocks[path]
            if block not in made:
                w = self.routers[block](tokens, real)
                made[block] = self.choose(w.mean(0, keepdim=True) if self.routing == "batch" else w)
            return made[block]

        return weigh

    def choose(self, w: Tensor) -> Tensor:
        """Return w (B, K) with what is not chosen left out; here all of it."""
        return w

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of all routers, each once."""
        distinct = {id(router): router for router in self.routers.values()}
        return [p for router in distinct.values() for p in router.parameters()]

    @property
    def stored_parameters(self) -> float:
        return float(sum(p.numel() for p in self.parameters()))

    def frozen(self) -> MlpWeighting:
        """Return a copy that learns no more; blocks that shared a router still do."""
        routers = copy.deepcopy(dict(self.routers))
        for router in routers.values():
            router.requires_grad_(False)
        return dataclasses.replace(self, routers=routers)
