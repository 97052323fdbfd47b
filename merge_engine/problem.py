"""What is merged: a pretrained model and its experts, read one tensor group at a time, and inputs for those who ask."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .errors import DataError, RecipeError, WeightsError
from .routing.prediction import Network
from .weights import Weights

MATRIX_KINDS = ("q", "k", "v", "out", "fc1", "fc2")


@dataclass(frozen=True)
class Place:
    """Where a tensor sits: its block (None outside blocks) and its kind, such as `q`, `fc1`, `bias` or `norm`."""

    block: int | None
    kind: str


class Architecture(Protocol):
    """What a backbone tells about tensor names; `backbones` implements it."""

    def place(self, name: str) -> Place: ...
    def fused(self, names: Any) -> list[tuple[str, ...]]: ...


class Inputs(Network, Protocol):
    """Unlabelled inputs beside the network they are for; a method that needs neither can run without.

    `support`, `train` and `validation` are inputs of the train split, known to be of that task; `stream` yields the
    inputs a method may adapt to. Labels come with `labelled_stream` and `labelled_validation`, to methods that need
    "labels" or "validation labels" alone.
    """

    def support(self, task: str, count: int, draw: int = 0) -> Tensor: ...
    def train(self, task: str, count: int) -> Tensor: ...
    def validation(self, task: str, count: int) -> Tensor: ...
    def stream(self, task: str, batch: int, share: float = 1.0) -> Iterator[Tensor]: ...
    def labelled_stream(self, task: str, batch: int, share: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]: ...
    def labelled_validation(self, task: str, count: int) -> tuple[Tensor, Tensor]: ...
    def linear_inputs(self, weights: Weights, inputs: Tensor) -> dict[str, Tensor]: ...
    def enter(self, weights: Weights, inputs: Tensor) -> Any: ...
    def through(self, weights: Weights, block: int, given: Any) -> tuple[Any, dict[str, Tensor]]: ...


@dataclass(frozen=True)
class TensorGroup:
    """One tensor (or fused q, k, v) of the pretrained model and of every expert, in float32.

    `pretrained` has shape S and `experts` (T, *S), in the order of `tasks`. `block` is None outside blocks,
    `depth` the number of blocks. `names` has several entries only when q, k and v are fused along rows.
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    pretrained: Tensor
    experts: Tensor
    place: Place
    depth: int

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def task_vectors(self) -> Tensor:
        """θ_t − θ_0, (T, *S)."""
        return self.experts - self.pretrained

    @property
    def block(self) -> int | None:
        return self.place.block

    @property
    def is_matrix(self) -> bool:
        """True for the matrices of the blocks: q, k, v, out, fc1, fc2."""
        return self.place.kind in MATRIX_KINDS and self.pretrained.ndim == 2


@dataclass(frozen=True)
class Problem:
    """What is merged: a pretrained model and its experts by task, and inputs for the methods that need them."""

    pretrained: Weights
    experts: Mapping[str, Weights]
    architecture: Architecture
    inputs: Inputs | None = None

    def __post_init__(self) -> None:
        if not self.experts:
            raise RecipeError("No expert was given; name at least one.")

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.experts)

    def groups(
        self, *, fuse: bool = False, device: torch.device | str = "cpu", names: Collection[str] | None = None
    ) -> Groups:
        """Return a re-iterable stream of tensor groups; `fuse` joins q, k, v of a block along rows.

        `names` leaves out every other tensor without reading it.
        """
        return Groups(self, fuse, torch.device(device), names)

    def need_inputs(self, method: str) -> Inputs:
        """Return the inputs, or raise DataError naming the method that needs them."""
        if self.inputs is None:
            raise DataError(
                f"{method} needs unlabelled inputs of every task; run it on a suite that has data."
            )
        return self.inputs


class Groups:
    """Re-iterable stream of the floating-point tensor groups of a problem; one group is in memory at a time."""

    def __init__(
        self, problem: Problem, fuse: bool, device: torch.device, only: Collection[str] | None = None
    ) -> None:
        self.problem, self.device = problem, device
        wanted = [n for n in problem.pretrained if only is None or n in only]
        names = [n for n in wanted if problem.pretrained[n].is_floating_point()]
        joined = problem.architecture.fused(names) if fuse else []
        inside = {name: group for group in joined for name in group}
        self.plan = [inside.get(n, (n,)) for n in names if inside.get(n, (n,))[0] == n]
        blocks = [problem.architecture.place(n).block for n in problem.pretrained]
        self.depth = 1 + max((b for b in blocks if b is not None), default=-1)

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[TensorGroup]:
        for names in self.plan:
            yield self.load(names)

    def load(self, names: tuple[str, ...]) -> TensorGroup:
        """Read one group; raises WeightsError when an expert lacks it or has another shape."""
        pretrained = self._joined(self.problem.pretrained, names)
        experts = []
        for task, weights in self.problem.experts.items():
            lost = [n for n in names if n not in weights]
            if lost:
                raise WeightsError(
                    f"Expert '{task}' lacks the tensor {lost[0]}; use a model fine-tuned from this one."
                )
            expert = self._joined(weights, names)
            if expert.shape != pretrained.shape:
                raise WeightsError(
                    f"Expert '{task}' has shape {tuple(expert.shape)} in {names[0]}, the pretrained model "
                    f"{tuple(pretrained.shape)}; use a model fine-tuned from this one."
                )
            if not torch.isfinite(expert).all():
                raise WeightsError(
                    f"Expert '{task}' has NaN or infinite values in {names[0]}; use another checkpoint."
                )
            experts.append(expert)
        place = self.problem.architecture.place(names[0])
        place = Place(place.block, "q") if len(names) > 1 else place
        return TensorGroup(names, self.problem.tasks, pretrained, torch.stack(experts), place, self.depth)

    def _joined(self, weights: Weights, names: tuple[str, ...]) -> Tensor:
        parts = [weights[n].to(self.device, torch.float32) for n in names]
        return torch.cat(parts) if len(parts) > 1 else parts[0]
