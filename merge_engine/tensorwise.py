"""Methods that work tensor by tensor: one merged model, one part per expert, or a change of a merged model."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from .contract import Context, Kind, MergeMethod, Step
from .errors import RecipeError
from .maths.parts import Part
from .merged import Merged, PerTaskMerged, StaticMerged
from .problem import Groups, Problem, TensorGroup
from .weights import Weights


@dataclass(frozen=True)
class Slice:
    """One tensor's share of a merge: θ_m = θ_0 + offset + scaling · direction; both of shape S, float32."""

    direction: Tensor
    offset: Tensor | None = None


@dataclass(frozen=True)
class TensorMerge(MergeMethod):
    """A method that yields one model, one tensor group at a time.

    Write `merge`, returning what the scaling coefficient multiplies (and, rarely, an offset that it does not).
    A field called `scaling` is applied by the engine, so a slider moves without merging again.
    """

    kind: ClassVar[Kind] = "static"

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Any:
        """Return whole-model statistics for `merge`; may be a generator of Steps that returns them."""
        return None

    @abc.abstractmethod
    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor | Slice:
        """Return the direction of one group, shape S, or a `Slice`."""

    def run(
        self, problem: Problem, ctx: Context, names: Collection[str] | None = None
    ) -> Generator[Step, None, StaticMerged]:
        """Merge every tensor group, or those of the tensors in `names` alone, yielding a Step after each."""
        self.check(problem.tasks)
        fuse = getattr(self, "attention", "split") == "fused"
        groups = problem.groups(fuse=fuse, device=ctx.device, names=names)
        state = yield from _prepared(self, groups, problem, ctx)
        direction: dict[str, Tensor] = {}
        offset: dict[str, Tensor] = {}
        for done, group in enumerate(groups, 1):
            with torch.no_grad():
                result = self.merge(group, ctx, state)
            part = result if isinstance(result, Slice) else Slice(result)
            _place(direction, group, part.direction, problem.pretrained)
            if part.offset is not None:
                _place(offset, group, part.offset, problem.pretrained)
            yield Step(done, len(groups), group.name, self.live(state))
        return StaticMerged(
            problem.pretrained,
            direction,
            offset,
            getattr(self, "scaling", 1.0),
            notes=_notes(self, problem, ctx),
        )


@dataclass(frozen=True)
class StoreMerge(MergeMethod):
    """A method that keeps one part per expert and serves the one of a known (or routed) task.

    `keeps` names the one model that is stored beside the parts.
    """

    kind: ClassVar[Kind] = "routed"
    needs: ClassVar[frozenset[str]] = frozenset({"task id"})
    keeps: ClassVar[str] = "pretrained"

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Any:
        """Return whole-model statistics for `part`; may be a generator of Steps that returns them."""
        return None

    @abc.abstractmethod
    def part(self, group: TensorGroup, ctx: Context, state: Any) -> Part:
        """Return the stored task vectors of all experts for one group; a fused one has `rows`."""

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Build the part of every tensor group, yielding a Step after each."""
        self.check(problem.tasks)
        groups = problem.groups(fuse=getattr(self, "attention", "split") == "fused", device=ctx.device)
        state = yield from _prepared(self, groups, problem, ctx)
        parts: dict[str, Part] = {}
        for done, group in enumerate(groups, 1):
            with torch.no_grad():
                parts |= _apart(group, self.part(group, ctx, state))
            yield Step(done, len(groups), group.name, self.live(state))
        return PerTaskMerged(problem.pretrained, problem.tasks, parts, _notes(self, problem, ctx), self.keeps)


@dataclass(frozen=True)
class PostStep(MergeMethod):
    """A step that changes the merged task vector of any static merge, tensor by tensor."""

    kind: ClassVar[Kind] = "post"

    def prepare(self, groups: Groups, merged: StaticMerged, ctx: Context) -> Any:
        """Return whole-model statistics for `change`."""
        return None

    @abc.abstractmethod
    def change(self, delta: Tensor, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        """Return the new merged task vector of one group, from the old one; both of shape S."""

    def run_on(self, merged: Merged, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Apply the step to every group of a static merge; refuses any other."""
        if not isinstance(merged, StaticMerged):
            raise RecipeError(
                f"{self.title} changes one merged model; it cannot follow a method that keeps one part per expert."
            )
        groups = problem.groups(device=ctx.device)
        state = self.prepare(groups, merged, ctx)
        direction: dict[str, Tensor] = {}
        for done, group in enumerate(groups, 1):
            with torch.no_grad():
                delta = merged.task_vector(group.name).to(ctx.device)
                direction[group.name] = self.change(delta, group, ctx, state)
            yield Step(done, len(groups), group.name, self.live(state))
        notes = (*merged.notes, *(n for n in _notes(self, problem, ctx) if n not in merged.notes))
        return StaticMerged(problem.pretrained, direction, {}, 1.0, notes=notes)


def _prepared(method: Any, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
    state: Any = method.prepare(groups, problem, ctx)
    if not inspect.isgenerator(state):
        return state
    return (yield from cast("Generator[Step, None, Any]", state))


def _place(into: dict[str, Tensor], group: TensorGroup, value: Tensor, pretrained: Weights) -> None:
    """Store a group's result under its tensor names, splitting fused rows."""
    if len(group.names) == 1:
        into[group.name] = value.float()
        return
    rows = [pretrained[n].shape[0] for n in group.names]
    for name, piece in zip(group.names, value.split(rows), strict=True):
        into[name] = piece.float().contiguous()


def _apart(group: TensorGroup, part: Part) -> dict[str, Part]:
    """Return a group's part by tensor name, splitting fused rows, which are as many for every name."""
    if len(group.names) == 1:
        return {group.name: part}
    height = len(group.pretrained) // len(group.names)
    cut = cast("Any", part).rows
    return {name: cut(i * height, (i + 1) * height) for i, name in enumerate(group.names)}


def _notes(method: MergeMethod, problem: Problem, ctx: Context) -> tuple[str, ...]:
    return (*method.remarks(problem.tasks), *ctx.notes)
