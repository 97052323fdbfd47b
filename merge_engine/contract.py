"""The contract of a merge method.

A method is a frozen dataclass whose fields are its hyper-parameters. Running it is a generator of `Step`s that
returns a `Merged`; closing the generator stops the work.

    MergeMethod            abstract: run(problem, ctx)
    ├── TensorMerge        one merged model, tensor by tensor: θ_m = θ_0 + offset + scaling · direction
    ├── StoreMerge         one part per expert, tensor by tensor; served for a known (or routed) task
    └── PostStep           changes the merged task vector of any TensorMerge

The three that work tensor by tensor are in `tensorwise`.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from . import hp as declarations
from .adapting.history import History
from .errors import RecipeError, no_such
from .maths.svd import Factors, SvdStore
from .merged import Merged

Kind = Literal["static", "adaptive", "routed", "post"]


@dataclass(frozen=True)
class Step:
    """One yielded moment of a run: `done` of `total` units, a label, and live numbers by name.

    An adaptive method gives a `snapshot`: the merge as it stands, for scoring it live or keeping it after a stop; and
    its `history` so far, which grows with later steps. Where a unit takes long, moments in between repeat what is done,
    so that a run can be stopped there.
    """

    done: int
    total: int
    label: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    snapshot: Callable[[], Merged] | None = None
    history: History | None = None


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

    `formula` holds a line or several; the symbol of every number that is a hyper-parameter stands in it, in `where`,
    which says the rest in words, or in the words of the choice that needs it. `presets` are named changes of the
    published defaults, such as a shorter course for a laptop; "failure" is an instructive one, and `lesson` says what
    to notice there, or without one when the method fails.
    """

    kind: ClassVar[Kind]
    title: ClassVar[str]
    family: ClassVar[str]
    idea: ClassVar[str]
    formula: ClassVar[str]
    where: ClassVar[str] = ""
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

    def serves_unseen(self) -> bool:
        """True when inputs of tasks without an expert can be scored; else the true task picks what serves them."""
        return "task id" not in self.needs

    def decomposes(self) -> str:
        """Return the word in `maths.decompositions` for the matrices whose SVD a merge asks for; empty for none."""
        return ""

    def live(self, state: Any) -> Mapping[str, float]:
        """Return numbers to show beside the progress, such as a loss; read after every tensor group."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the hyper-parameters by name."""
        return {name: getattr(self, name) for name in declarations.declared(type(self))}

    def acting(self, experts: int) -> dict[str, Any]:
        """Return the hyper-parameters by name as they act on so many experts: what stands for a number gives way to it.
        """
        return self.parameters()

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
