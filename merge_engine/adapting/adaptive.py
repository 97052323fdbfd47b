"""The base of methods that adapt to unlabelled inputs before they serve, and the hyper-parameters they share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..contract import Context, Kind, MergeMethod, Step
from ..hp import hp
from ..merged import Merged
from ..problem import Problem
from .adapt import Adaptable, Settings, adapt_steps

ORACLE = "oracle"
"""The loss that needs labels."""
AS_PUBLISHED = "published"
"""What stands for the number that was published for a base and a number of experts."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class AdaptiveMerge(MergeMethod):
    """A method that minimises the entropy of its predictions on unlabelled inputs of every task.

    Write `adaptable`, which returns what is adapted; it may be a generator of Steps that returns it. One that descends
    the oracle's loss needs labels, and says so.
    """

    kind: ClassVar[Kind] = "adaptive"
    needs: ClassVar[frozenset[str]] = frozenset({"stream"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings().oracle:
            object.__setattr__(self, "needs", type(self).needs | {"labels"})

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        oracle = "It was given the true labels of the pictures it adapted to: an upper bound."
        return [oracle] if self.settings().oracle else []

    @abc.abstractmethod
    def adaptable(self, problem: Problem, ctx: Context) -> Any:
        """Return the `Adaptable`, or a generator of Steps that returns it."""

    @abc.abstractmethod
    def settings(self) -> Settings:
        """Return how to adapt."""

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Build what is adapted, then adapt it, yielding a Step after every tensor group and every update."""
        self.check(problem.tasks)
        inputs = problem.need_inputs(self.title)
        built = self.adaptable(problem, ctx)
        what: Adaptable = (yield from built) if isinstance(built, Generator) else built
        history = yield from adapt_steps(what, inputs, problem.tasks, self.settings())
        notes = (*self.remarks(problem.tasks), *ctx.notes)
        return dataclasses.replace(what.merged(), history=history, notes=notes)  # type: ignore[call-arg]


def published(by_experts: Mapping[int, Value], experts: int) -> Value:
    """Return what was published for the nearest number of experts, the smaller one between two."""
    return by_experts[min(by_experts, key=lambda count: abs(count - experts))]


def chosen(given: float | str, published: float) -> float:
    """Return a number where one was given, else the published one."""
    return published if isinstance(given, str) else given


def of_few_on_cart(title: str, base: str, tasks: tuple[str, ...]) -> list[str]:
    """Return the remark on a method that starts from CART of one expert or two, whose distances cancel."""
    if base != "cart" or len(tasks) > 2:
        return []
    what = "is that expert" if len(tasks) == 1 else "starts at the weight average"
    return [f"{title} on CART of {len(tasks)} {'expert' if len(tasks) == 1 else 'experts'} {what}."]


def steps(default: int, *, sweep: tuple[int, ...] = ()) -> Any:
    """Declare the number of updates."""
    return hp(
        default, "Updates; each takes one batch of every task.", low=1, high=100_000, soft=(10, 1000), step=10,
        sweep=sweep,
    )  # fmt: skip


def batch(default: int = 16) -> Any:
    """Declare the batch size."""
    return hp(default, "Unlabelled inputs of every task per update.", low=1, high=1024, soft=(4, 64), step=4)


def learning_rate(default: float) -> Any:
    """Declare Adam's learning rate."""
    return hp(default, "Learning rate of Adam.", low=0, high=1, soft=(default / 10, default * 10), symbol="η")


def schedule(default: str = "constant") -> Any:
    """Declare the course of the learning rate."""
    return hp(default, "Course of the learning rate.", choices=("constant", "cosine"))


def balanced() -> Any:
    """Declare the division by the largest possible entropy."""
    return hp(
        False,
        "Divide the entropy of a task by ln C, its largest value, so that tasks with many classes do not dominate.",
    )


def share() -> Any:
    """Declare the share of the stream."""
    return hp(
        1.0, "Share of the unlabelled inputs that is used.", low=0.001, high=1, soft=(0.01, 1), step=0.01
    )


def loss() -> Any:
    """Declare what is minimised."""
    return hp(
        "entropy", "What is minimised; the oracle sees the true labels of what it adapts to: an upper bound.",
        choices=("entropy", ORACLE),
    )  # fmt: skip
