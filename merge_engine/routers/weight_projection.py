"""MASS's router: the distance to the input space of every expert's weight change, without data."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import RecipeError
from ..hp import hp
from ..maths.ops import widest
from ..maths.spectral import definite
from ..pausing import decomposed, made_steps
from ..problem import Place, Problem
from ..routing.prediction import Network
from ..routing.routed import ReadyRouter
from ..weights import in_memory
from ._features import model, model_steps
from ._router import Router


@dataclass(frozen=True)
class WeightProjection(Router):
    """Score a task by how much of an MLP's input lies in the leading input directions of its weight change.

        D_t = U_t diag(s_t) V_tᵀ of fc1 in one block,  k = ⌊r/T⌋,  score_t = −‖x − V_tk V_tkᵀ x‖

    References
    ----------
    Crisostomi et al., MASS: MoErging through Adaptive Subspace Selection, arXiv:2504.05342.

    Notes
    -----
    Needs no data. x is what the MLP of the block receives at the CLS token (for text, the mean over tokens) in a first
    pass with the TSV-M model. Published: block 9 of 12, and 20 of 24 (depth 0.84), counted from 0; uncentred. The code
    also offers a Mahalanobis distance with the covariance of the directions plus εI; what is left of x is orthogonal to
    all directions, so that distance is the length divided by √ε, and ranks and standardised scores are the same.
    """

    title: ClassVar[str] = "Weight projection"
    idea: ClassVar[str] = "Choose the expert whose weight change reads the directions the input has, without any data."
    formula: ClassVar[str] = "score = −‖x − Vₜₖ Vₜₖᵀ x‖, k = ⌊r/T⌋"
    paper: ClassVar[str] = "Crisostomi et al., MASS, arXiv:2504.05342"

    depth: float = hp(
        0.75, "Block to look at, as a share of all blocks.", low=0, high=1, step=0.05, symbol="d",
        sweep=(0.25, 0.5, 0.75, 1.0),
    )  # fmt: skip
    first: str = model("tsv_m")
    norm: str = hp(
        "l2", "How what is left of an input is measured: its length, or the sum of its sizes.",
        choices={
            "l2": "what is left of an input counts by its length",
            "l1": "what is left of an input counts by the sum of its sizes, not by its length",
        },
    )  # fmt: skip

    def fit_steps(self, problem: Problem, ctx: Context) -> Generator[Step, None, Projection]:
        """Merge the model of the first pass and read the directions, yielding Steps."""
        weights = yield from model_steps(self.first, problem, ctx)
        group = next(iter(problem.groups(device=ctx.device, names=[self.tensor(problem)])))
        k = max(1, min(group.pretrained.shape) // len(problem.tasks))
        make = partial(decomposed, ctx.svd, group.task_vectors)
        factors = yield from made_steps(make, Step(0, 1, group.name))
        bases = [definite(own.top(k)).Vh for own in factors]
        yield Step(1, 1, group.name)
        return Projection(weights, self.first, group.name.removesuffix(".weight"), tuple(bases), self.norm)

    def tensor(self, problem: Problem) -> str:
        """Return the name of the first MLP matrix of the block; raises RecipeError where there is none."""
        depth = problem.groups().depth
        block = min(int(self.depth * depth), depth - 1)
        place = problem.architecture.place
        found = [name for name in problem.pretrained if place(name) == Place(block, "fc1")]
        if not found:
            raise RecipeError(f"{self.title} found no MLP matrix fc1 in block {block}; choose another depth.")
        return found[0]


@dataclass(frozen=True, eq=False)
class Projection:
    """Directions (k, n) per task beside the model and the layer to look at."""

    weights: Mapping[str, Tensor]
    reads: str
    path: str
    bases: tuple[Tensor, ...]
    norm: str = "l2"
    forwards: float = 1.0

    def ready(self, network: Network) -> ReadyRouter:
        """Return the router with its network, and the model of the first pass on the network's device."""
        weights = in_memory(self.weights, network.device)
        return lambda inputs, task=None: -self.residuals(self.seen(network, weights, inputs))

    def seen(self, network: Network, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return one vector per input (B, n) of what the layer receives."""
        found: list[Tensor] = []

        def keep(layer: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
            found.append(network.pooled(x, inputs))
            return y

        network.features(weights, inputs, {self.path: keep})
        return found[0].to(widest(found[0]))

    def residuals(self, x: Tensor) -> Tensor:
        """Return ‖x − V Vᵀ x‖ for every task, (B, n) to (B, T)."""
        if self.norm == "l1":
            left = [x - (x @ basis.to(x).T) @ basis.to(x) for basis in self.bases]
            return torch.stack([own.abs().sum(1) for own in left], dim=1)
        length = x.square().sum(1)
        inside = [(x @ basis.to(x).T).square().sum(1) for basis in self.bases]
        return torch.stack([(length - own).clamp_min(0).sqrt() for own in inside], dim=1)

    @property
    def stored_parameters(self) -> float:
        return float(sum(basis.numel() for basis in self.bases))
