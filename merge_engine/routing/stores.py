"""Stores of experts that a router can serve: the full experts, or any method that keeps one part per expert."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..contract import Context, Step
from ..errors import RecipeError
from ..hp import HP, declared
from ..maths.parts import DensePart, LowRankPart, Part, SparsePart, dense
from ..merged import Merged, PerTaskMerged
from ..methods import build, method_class, registry
from ..problem import Problem
from ..tensorwise import StoreMerge
from ..weights import Weights
from .per_input import Share, shares_of

FULL = "experts"


def stores() -> tuple[str, ...]:
    """Return the keys of all stores: `experts`, and the methods that keep one part per expert."""
    return (FULL, *(key for key, cls in registry().items() if issubclass(cls, StoreMerge)))


def parameters_of(key: str) -> Mapping[str, HP]:
    """Return the hyper-parameters of a store by name; whole experts have none."""
    return {} if key == FULL else declared(method_class(key))


def needs_of(key: str, settings: Mapping[str, Any]) -> frozenset[str]:
    """Return what a store needs to be built; serving it is another matter."""
    return frozenset() if key == FULL else build(key, **settings).needs - {"task id"}


def store_steps(
    key: str, problem: Problem, ctx: Context, settings: Mapping[str, Any] | None = None
) -> Generator[Step, None, PerTaskMerged]:
    """Build a store, its parameters at their defaults unless they are set, yielding a Step per tensor group."""
    if key != FULL:
        return (yield from build(key, **(settings or {})).run(problem, ctx))  # type: ignore[attr-defined]
    groups, parts = problem.groups(), {}
    for done, group in enumerate(groups, 1):  # loading checks every expert
        parts[group.name] = WholePart(group.name, problem.pretrained, tuple(problem.experts.values()))
        yield Step(done, len(groups), group.name)
    return PerTaskMerged(problem.pretrained, problem.tasks, parts, notes=tuple(ctx.notes))


@dataclass(frozen=True)
class WholePart:
    """The task vectors of one tensor, read from the experts whenever one is asked for."""

    name: str
    pretrained: Weights
    experts: tuple[Weights, ...]

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.experts)

    def task_vector(self, index: int) -> Tensor:
        """Return θ_t − θ_0 of one expert, shape S."""
        return self.experts[index][self.name].float() - self.pretrained[self.name].float()

    @property
    def stored_parameters(self) -> float:
        return float(len(self.experts) * self.pretrained[self.name].numel())


@dataclass(frozen=True)
class EveryExpert(Merged):
    """A model that asks every expert of a store about every input, under the head of the input's task."""

    store: PerTaskMerged

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.store.tasks

    @property
    def knows_task(self) -> bool:
        return True

    def serves(self, task: str) -> bool:
        """True: the task only says which frozen head every expert is asked under, and unseen tasks have one too."""
        return True

    @property
    def stored_parameters(self) -> float:
        return self.store.stored_parameters


def blendable(store: PerTaskMerged, layers: Mapping[str, nn.Module]) -> dict[str, Share]:
    """Return what a store adds to every layer, for weights of their own per input.

    Raises RecipeError where a tensor that the experts change is in no layer that is linear in its parameters.
    """
    parts = {name: _in_memory(part) for name, part in store.parts.items()}
    shares, left = shares_of({name: part for name, part in parts.items() if not _idle(part)}, layers)
    if left:
        raise RecipeError(
            f"This store cannot be blended per input: {left[0]} is in no layer that is linear in its parameters; "
            "choose decision=hard."
        )
    return shares


def _in_memory(part: Part) -> Part:
    """Return a part with nothing left to read or to unpack; factors stay factors."""
    return part if isinstance(part, LowRankPart | SparsePart) else DensePart(dense(part))


def _idle(part: Part) -> bool:
    return isinstance(part, DensePart) and not bool(part.values.any())
