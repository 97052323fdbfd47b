"""The contract of a router: fitted once, it scores every expert for every input."""

from __future__ import annotations

import abc
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from .. import hp as declarations
from ..contract import Context, Step
from ..problem import Problem
from ..routing.routed import FittedRouter
from ..running import drive


@dataclass(frozen=True)
class Router(abc.ABC):
    """Abstract base. A subclass declares the class variables below and its parameters with `hp`.

    Fitted and made ready with a network, it returns scores (B, T); the expert with the highest is chosen. `needs`
    says what it is given: "support", "task id", or nothing beside the weights.
    """

    title: ClassVar[str]
    idea: ClassVar[str]
    formula: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name, declared in declarations.declared(type(self)).items():
            object.__setattr__(self, name, declared.check(getattr(self, name), type(self).__name__))

    @abc.abstractmethod
    def fit_steps(self, problem: Problem, ctx: Context) -> Generator[Step, None, FittedRouter]:
        """Fit to the experts of a problem, in their order, yielding Steps; returns the fitted router."""

    def fit(self, problem: Problem, ctx: Context | None = None) -> FittedRouter:
        """Fit to the experts of a problem."""
        return drive(self.fit_steps(problem, ctx or Context()))
