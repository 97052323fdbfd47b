"""The contract of a merge method.

A method is a frozen dataclass whose fields are its hyper-parameters. Running it is a generator of `Step`s that
returns a `Merged`; closing the generator stops the work.

    MergeMethod            abstract: run(problem, ctx)
    ├── TensorMerge        one merged model, tensor by tensor: θ_m = θ_0 + offset + scaling · direction
    ├── StoreMerge         one part per expert, tensor by tensor; served for a known (or routed) task
    └── PostStep           changes the merged task vector of any TensorMerge
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor

from . import hp as declarations
from .adapting.history import History
from .errors import DataError, RecipeError, WeightsError, no_such
from .maths.parts import Part
from .maths.svd import Factors, SvdStore
from .merged import Merged, PerTaskMerged, StaticMerged
from .routing.prediction import Changes
from .weights import Weights

Kind = Literal["static", "adaptive", "routed", "post"]
MATRIX_KINDS = ("q", "k", "v", "out", "fc1", "fc2")


@dataclass(frozen=True)
class Step:
    """One yielded moment of a run: `done` of `total` units, a label, and live numbers by name.

    An adaptive method gives a `snapshot`: the merge as it stands, for scoring it live or keeping it after a stop; and
    its `history` so far, which grows with later steps.
    """

    done: int
    total: int
    label: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    snapshot: Callable[[], Merged] | None = None
    history: History | None = None


@dataclass(frozen=True)
class Place:
    """Where a tensor sits: its block (None outside blocks) and its kind, such as `q`, `fc1`, `bias` or `norm`."""

    block: int | None
    kind: str


class Architecture(Protocol):
    """What a backbone tells about tensor names; `backbones` implements it."""

    def place(self, name: str) -> Place: ...
    def fused(self, names: Any) -> list[tuple[str, ...]]: ...


class Inputs(Protocol):
    """Unlabelled inputs and frozen heads; a method that needs neither can run without. `suite` implements it.

    `support`, `train` and `validation` are inputs of the train split, known to be of that task; `stream` yields the
    inputs a method may adapt to, `labelled_stream` their labels too, to methods that need "labels" alone.
    """

    def support(self, task: str, count: int, draw: int = 0) -> Tensor: ...
    def train(self, task: str, count: int) -> Tensor: ...
    def validation(self, task: str, count: int) -> Tensor: ...
    def stream(self, task: str, batch: int, share: float = 1.0) -> Iterator[Tensor]: ...
    def labelled_stream(self, task: str, batch: int, share: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]: ...
    def features(self, weights: Weights, inputs: Tensor, changes: Changes | None = None) -> Tensor: ...
    def block_features(self, weights: Weights, inputs: Tensor) -> list[Tensor]: ...
    def pooled(self, hidden: Tensor, inputs: Tensor) -> Tensor: ...
    def layers(self) -> Mapping[str, torch.nn.Module]: ...
    def real_tokens(self, inputs: Tensor) -> Tensor | None: ...
    def logits(self, task: str, features: Tensor) -> Tensor: ...
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


@dataclass
class Context:
    """What a run may use beside its problem: a device, a seed and the store of decompositions."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    svd: Callable[[Tensor], Factors] = field(default_factory=SvdStore)
    notes: list[str] = field(default_factory=list)

    def generator(self, *key: str) -> torch.Generator:
        """Return a CPU generator seeded by (seed, key), so that order and sharding change nothing."""
        digest = hashlib.blake2b("\x00".join((str(self.seed), *key)).encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))

    def note(self, sentence: str) -> None:
        """Record a sentence for the user; the same sentence is kept once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


@dataclass(frozen=True)
class MergeMethod(abc.ABC):
    """Abstract base. A subclass declares the class variables below and its hyper-parameters with `hp`.

    `presets` are named changes of the published defaults, such as a shorter course for a laptop; "failure" is an
    instructive one, and `lesson` says what to notice there.
    """

    kind: ClassVar[Kind]
    title: ClassVar[str]
    family: ClassVar[str]
    idea: ClassVar[str]
    formula: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    experts_allowed: ClassVar[tuple[int, int | None]] = (1, None)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    lesson: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, declared in declarations.declared(type(self)).items():
            object.__setattr__(self, name, declared.check(getattr(self, name), type(self).__name__))

    def check(self, tasks: tuple[str, ...]) -> None:
        """Raise RecipeError when the method cannot take this many experts or per-expert numbers."""
        low, high = self.experts_allowed
        count = len(tasks)
        if count < low or (high is not None and count > high):
            allowed = f"exactly {low}" if low == high else f"at least {low}"
            raise RecipeError(f"{self.title} takes {allowed} experts; got {count}. Change the selection.")
        for name, declared in declarations.declared(type(self)).items():
            value = getattr(self, name)
            if declared.per_expert and value and len(value) != count:
                raise RecipeError(
                    f"{type(self).__name__}.{name} has {len(value)} numbers for {count} experts; give one each."
                )

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        """Return sentences worth showing before a run with these experts, such as a degenerate case."""
        return []

    def live(self, state: Any) -> Mapping[str, float]:
        """Return numbers to show beside the progress, such as a loss; read after every tensor group."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the hyper-parameters by name."""
        return {name: getattr(self, name) for name in declarations.declared(type(self))}

    @classmethod
    def preset(cls, name: str) -> dict[str, Any]:
        """Return the hyper-parameters that a preset changes; "published" changes none."""
        known = {"published": {}, **cls.presets}
        if name not in known:
            raise RecipeError(no_such(f"preset of {cls.title}", name, known))
        return dict(known[name])

    def replace(self, **changes: Any) -> MergeMethod:
        """Return the method with some hyper-parameters changed; refuses unknown names."""
        declarations.check_names(changes, type(self))
        return dataclasses.replace(self, **changes)


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
    """A method that keeps one part per expert and serves the one of a known (or routed) task."""

    kind: ClassVar[Kind] = "routed"
    needs: ClassVar[frozenset[str]] = frozenset({"task id"})

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Any:
        """Return whole-model statistics for `part`; may be a generator of Steps that returns them."""
        return None

    @abc.abstractmethod
    def part(self, group: TensorGroup, ctx: Context, state: Any) -> Part:
        """Return the stored task vectors of all experts for one group."""

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Build the part of every tensor group, yielding a Step after each."""
        self.check(problem.tasks)
        groups = problem.groups(device=ctx.device)
        state = yield from _prepared(self, groups, problem, ctx)
        parts: dict[str, Part] = {}
        for done, group in enumerate(groups, 1):
            with torch.no_grad():
                parts[group.name] = self.part(group, ctx, state)
            yield Step(done, len(groups), group.name, self.live(state))
        return PerTaskMerged(problem.pretrained, problem.tasks, parts, notes=_notes(self, problem, ctx))


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


def merge_steps(
    problem: Problem, method: MergeMethod, post: tuple[PostStep, ...] = (), ctx: Context | None = None
) -> Generator[Step, None, Merged]:
    """Run a method and its post-steps, yielding Steps; the generator's return value is the `Merged`."""
    ctx = ctx or Context()
    if isinstance(method, PostStep):
        raise RecipeError(f"{method.title} is a post-step; choose a merge method and add it after.")
    merged = yield from method.run(problem, ctx)  # type: ignore[attr-defined]
    for step in post:
        merged = yield from step.run_on(merged, problem, ctx)
    return merged


def drive(steps: Generator[Step, None, Any], on_step: Callable[[Step], None] | None = None) -> Any:
    """Run a generator to its end, calling `on_step` for each Step, and return its value."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if on_step is not None:
            on_step(step)


def merge(
    problem: Problem, method: MergeMethod, post: tuple[PostStep, ...] = (), ctx: Context | None = None
) -> Merged:
    """Merge the experts of a problem and return the result."""
    return drive(merge_steps(problem, method, post, ctx))


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


def _notes(method: MergeMethod, problem: Problem, ctx: Context) -> tuple[str, ...]:
    return (*method.remarks(problem.tasks), *ctx.notes)
