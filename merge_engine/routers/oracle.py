"""The true task."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import RecipeError
from ..problem import Problem
from ..routing.prediction import Network
from ..routing.routed import ReadyRouter
from ._router import Router


@dataclass(frozen=True)
class Oracle(Router):
    """Choose the expert of the true task, which the router is told.

        score_t = 1[t is the task of the input]

    References
    ----------
    Convention of this program.

    Notes
    -----
    A ceiling: what a perfect router would reach.
    """

    title: ClassVar[str] = "True task"
    idea: ClassVar[str] = "Choose the expert of the true task: what a perfect router would reach."
    formula: ClassVar[str] = "score = 1[t = task(x)]"
    paper: ClassVar[str] = "Convention of this program"
    needs: ClassVar[frozenset[str]] = frozenset({"task id"})

    def fit_steps(self, problem: Problem, ctx: Context) -> Generator[Step, None, Told]:
        """Return the router at once."""
        yield from ()
        return Told(problem.tasks)


@dataclass(frozen=True)
class Told:
    """A router that is told the task."""

    tasks: tuple[str, ...]
    reads: str = ""
    stored_parameters: float = 0.0
    forwards: float = 0.0

    def ready(self, network: Network) -> ReadyRouter:
        """Return the router; it needs no network."""
        return self._scores

    def _scores(self, inputs: Tensor, task: str | None = None) -> Tensor:
        if task not in self.tasks:
            raise RecipeError(f"The true-task router knows {', '.join(self.tasks)}; got {task!r}, give one of those.")
        scores = torch.zeros(len(inputs), len(self.tasks), device=inputs.device)
        scores[:, self.tasks.index(task)] = 1
        return scores
