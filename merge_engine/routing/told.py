"""The same merge, told the true task of every input: what it would reach if it always routed right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RecipeError
from ..merged import Merged, PerTaskMerged
from .by_router import ByRouter
from .per_input import Decision
from .prediction import Network, Prediction, Predictor
from .routed import BlendedMerged, RoutedMerged


def told(merged: Merged) -> Merged | None:
    """Return a merge that serves every input the expert of its true task, or None where there is no such thing.

    A router over stored experts serves the stored expert; a blend of whole experts by a router puts all weight on one.
    """
    if isinstance(merged, RoutedMerged):
        return merged.store
    if isinstance(merged, PerTaskMerged):
        return merged
    if isinstance(merged, BlendedMerged) and isinstance(merged.weighting, ByRouter):
        return ToldBlend(merged)
    return None


@dataclass(frozen=True)
class ToldBlend(Merged):
    """A blend with all of its weight on the expert of the true task."""

    blend: BlendedMerged

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.blend.tasks

    @property
    def knows_task(self) -> bool:
        return True

    @property
    def stored_parameters(self) -> float:
        return self.blend.stored_parameters

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that runs θ_shared + v_t for the given task t, with what that task brings of its own."""
        blend = self.blend.blend(network, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            if task not in self.tasks:
                raise RecipeError(f"This merge knows {', '.join(self.tasks)}; got {task!r}, give one of those.")
            w = torch.zeros(len(inputs), len(self.tasks), device=inputs.device)
            w[:, self.tasks.index(task)] = 1
            return Prediction(blend(inputs, Decision.same(w), task)[0])

        return predict
