"""Twin-Merging's router: an MLP trained to tell tasks apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from ..contract import Context, Step
from ..hp import hp
from ..methods import method_class, static_keys
from ..problem import Problem
from ..routing.trained_router import Course, TrainedRouter, Training
from ._features import model_steps
from ._router import Router


@dataclass(frozen=True)
class Trained(Router):
    """Train a small network on features of a merged model to say which task an input is from.

        score = W_3 h(BN(W_2 h(BN(W_1 z)))),  d → 2d → 2d → T,  cross-entropy on the task

    References
    ----------
    Lu, Fan, Wei, Qu, Chen, Cheng, Twin-Merging: Dynamic Integration of Modular Expertise in Model Merging,
    NeurIPS 2024, arXiv:2406.15479.

    Notes
    -----
    The published network and course. The epoch with the highest accuracy on validation inputs is kept, where the
    published code takes test inputs. The merged model is one more to store.
    """

    title: ClassVar[str] = "Trained network"
    idea: ClassVar[str] = "Train a small network on many inputs of every task to say which task an input is from."
    formula: ClassVar[str] = "score = MLP(z), d → 2d → 2d → T"
    paper: ClassVar[str] = "Lu et al., Twin-Merging, NeurIPS 2024, arXiv:2406.15479"
    needs: ClassVar[frozenset[str]] = frozenset({"train"})

    shared: str = hp("task_arithmetic", "Static merge whose features decide.", choices=static_keys)
    train_inputs: int = hp(5500, "Train inputs of every task.", low=2, high=100_000, soft=(100, 5500))
    epochs: int = hp(50, "Epochs of the network.", low=1, high=1000, soft=(5, 50))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "needs", type(self).needs | method_class(self.shared).needs)

    def fit_steps(self, problem: Problem, ctx: Context) -> Generator[Step, None, TrainedRouter]:
        """Merge, read features of train and validation inputs, and train, yielding Steps."""
        inputs = problem.need_inputs(self.title)
        ordered = dataclasses.replace(problem, experts=dict(sorted(problem.experts.items())))
        weights = yield from model_steps(self.shared, ordered, ctx)
        course = Course(self.train_inputs, min(Course.pick_examples, self.train_inputs), self.epochs)
        training = Training(weights, self.shared, problem.tasks, course, ctx.generator("routers", "trained"))
        yield from training.steps(inputs, inputs.validation)
        return training.router()
