"""What a model makes of a few validation pictures: loss, accuracy and predictions, task by task."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import RecipeError
from ..evaluate import BATCH, Fixed, Model, scoring_order
from ..merged import Merged
from ..runs.content import task_digest
from ..suite import Suite
from ..weights import Weights

SPLIT = "validation"


class Probe:
    """The first `pictures` validation pictures of every task, in the seeded scoring order."""

    def __init__(
        self, suite: Suite, tasks: tuple[str, ...], pictures: int, dtype: torch.dtype = torch.float32
    ) -> None:
        if pictures < 1:
            raise RecipeError(f"pictures must be at least 1 per task; got {pictures}.")
        self.suite, self.tasks, self.dtype, self.pictures = suite, tasks, dtype, pictures
        self.counts = {task: min(pictures, len(suite.indices(task, SPLIT))) for task in tasks}

    @property
    def size(self) -> int:
        """Pictures that one model is shown."""
        return sum(self.counts.values())

    @property
    def digest(self) -> tuple[str, ...]:
        """Words for everything that a reading depends on beside the model."""
        content = (task_digest(self.suite, task, SPLIT) for task in self.tasks)
        return (*content, str(self.pictures), str(self.dtype), self.suite.name)

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Prepared pictures by task."""
        return {
            task: self.suite.backbone.prepare(self.suite.pictures(task, SPLIT)[self._order(task).numpy()])
            for task in self.tasks
        }

    def read(self, model: Weights | Merged) -> np.ndarray:
        """Return mean cross-entropy in nats and accuracy in percent under each task's own head, float64 (T, 2)."""
        found = []
        for task, logits in zip(self.tasks, self._logits(model), strict=True):
            labels = self.suite.labels(task, SPLIT)[self._order(task)]
            right = (logits.argmax(-1) == labels).double().mean()
            found.append((float(cross_entropy(logits.double(), labels)), 100 * float(right)))
        return np.array(found)

    def guesses(self, model: Weights | Merged) -> list[list[int]]:
        """Return the predicted class of every picture, by task."""
        return [logits.argmax(-1).tolist() for logits in self._logits(model)]

    def _logits(self, model: Weights | Merged) -> list[Tensor]:
        made = Model(model if isinstance(model, Merged) else Fixed(model), self.suite, self.dtype)
        return [
            torch.cat([made(chunk, task)[0].float() for chunk in self.inputs[task].split(BATCH)])
            for task in self.tasks
        ]

    def _order(self, task: str) -> Tensor:
        return scoring_order(len(self.suite.indices(task, SPLIT)), self.pictures)
