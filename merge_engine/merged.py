"""Results of a merge: one model, or one part per expert."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .adapting.history import History
from .errors import RecipeError
from .maths.parts import Part
from .maths.svd import Factors
from .routing.prediction import Network, Prediction, Predictor
from .weights import AddedWeights, Weights, in_memory

EXPERTS_IN_MEMORY = 8
BATCH = 64  # inputs of one pass of a model


@dataclass(frozen=True)
class Merged(abc.ABC):
    """What a merge returns: weights to predict with, what was noticed on the way, and what it costs to keep."""

    @property
    def knows_task(self) -> bool:
        """True when serving needs the true task of every input."""
        return False

    def serves(self, task: str) -> bool:
        """True when inputs of a task can be scored; where the merge knows the task, those of its own tasks."""
        return not self.knows_task or task in getattr(self, "tasks", ())

    def weights(self, task: str | None = None) -> Weights:
        """Return the weights that serve an input of `task`; a static merge ignores the task.

        Raises RecipeError where no single model serves all inputs of a task.
        """
        raise RecipeError(
            "This merge decides per input and is no single model; score it, or save its recipe with --json."
        )

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor with all weights in memory, ready for many forward passes."""
        weights = in_memory(self.weights(), network.device, dtype)
        return lambda inputs, task=None: Prediction(network.features(weights, inputs))

    @property
    @abc.abstractmethod
    def stored_parameters(self) -> float:
        """Numbers to store, in units of one float parameter (a mask bit counts 1/32)."""

    @property
    def forwards(self) -> float:
        """Passes of one model that an input costs."""
        return 1.0

    @property
    def work(self) -> float:
        """What an input costs in time, in passes of one model: `forwards`, and what is multiplied beside the models."""
        return self.forwards

    @property
    def window(self) -> int:
        """Batches that a predictor is best given at once."""
        return 1


@dataclass(frozen=True)
class StaticMerged(Merged):
    """One model, θ_m = θ_0 + offset + scaling · direction; tensors absent from both are pretrained.

    Nothing is merged again when `scaling` changes.
    """

    pretrained: Weights
    direction: Mapping[str, Tensor]
    offset: Mapping[str, Tensor]
    scaling: float = 1.0
    notes: tuple[str, ...] = ()
    history: History | None = None

    def task_vector(self, name: str) -> Tensor:
        """Return the merged task vector of one tensor, float32."""
        scaled = self.scaling * self.direction[name]
        return scaled + self.offset[name] if name in self.offset else scaled

    def factors(self, name: str, svd: Callable[[Tensor], Factors]) -> Factors:
        """Return the SVD of one merged matrix; without an offset a change of scaling decomposes nothing."""
        if name in self.offset:
            return svd(self.task_vector(name))
        U, s, Vh = svd(self.direction[name])
        return Factors(U if self.scaling >= 0 else -U, abs(self.scaling) * s, Vh)

    def rescaled(self, scaling: float) -> StaticMerged:
        """Return the same merge with another scaling coefficient."""
        return dataclasses.replace(self, scaling=float(scaling))

    def weights(self, task: str | None = None) -> Weights:
        """Return the merged weights, lazily added, float32."""
        return AddedWeights(self.pretrained, _TaskVectors(self))

    @property
    def stored_parameters(self) -> float:
        return float(sum(self.pretrained[n].numel() for n in self.pretrained))


class _TaskVectors(Mapping[str, Tensor]):
    def __init__(self, merged: StaticMerged) -> None:
        self.merged = merged

    def __getitem__(self, name: str) -> Tensor:
        return self.merged.task_vector(name)

    def __iter__(self):
        return iter(self.merged.direction)

    def __len__(self) -> int:
        return len(self.merged.direction)


@dataclass(frozen=True)
class PerTaskMerged(Merged):
    """The pretrained model and one stored part per expert; serves the expert of a known or routed task.

    `keeps` names the model that is stored beside the parts: `pretrained`, or one that takes its place.
    """

    pretrained: Weights
    tasks: tuple[str, ...]
    parts: Mapping[str, Part]
    notes: tuple[str, ...] = ()
    keeps: str = "pretrained"

    @property
    def knows_task(self) -> bool:
        return True

    def weights(self, task: str | None = None) -> Weights:
        """Return θ_0 plus the part of `task`; raises RecipeError for a task that has no expert."""
        if task not in self.tasks:
            raise RecipeError(
                f"This merge keeps one part per expert and has none for '{task}'; known: {', '.join(self.tasks)}."
            )
        return AddedWeights(self.pretrained, _OneTask(self, self.tasks.index(task)))

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that runs the expert of the asked task; the experts used last stay in memory."""

        @lru_cache(maxsize=EXPERTS_IN_MEMORY)
        def expert(task: str | None) -> dict[str, Tensor]:
            return in_memory(self.weights(task), network.device, dtype)

        return lambda inputs, task=None: Prediction(network.features(expert(task), inputs))

    @property
    def stored_parameters(self) -> float:
        base = float(sum(self.pretrained[n].numel() for n in self.pretrained))
        return base + sum(part.stored_parameters for part in self.parts.values())


class _OneTask(Mapping[str, Tensor]):
    def __init__(self, merged: PerTaskMerged, index: int) -> None:
        self.merged, self.index = merged, index

    def __getitem__(self, name: str) -> Tensor:
        return self.merged.parts[name].task_vector(self.index)

    def __iter__(self):
        return iter(self.merged.parts)

    def __len__(self) -> int:
        return len(self.merged.parts)
