"""The ensemble of all experts."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Kind, MergeMethod, Step
from ..hp import hp
from ..merged import Merged
from ..problem import Problem
from ..routing.prediction import Network, Prediction, Predictor
from ..routing.stores import FULL, EveryExpert, store_steps


@dataclass(frozen=True)
class Ensemble(MergeMethod):
    """Run every expert on every input and average what they say under the head of the known task.

        logits(x) = (1/T) Σ_t head(f(x; θ_t)),  or log (1/T) Σ_t softmax(head(f(x; θ_t)) / temperature)

    References
    ----------
    Lakshminarayanan, Pritzel, Blundell, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
    NeurIPS 2017, arXiv:1612.01474.

    Notes
    -----
    Nothing is merged: T passes for every input and T stored models. It is told the task of every input, which picks
    the head; most experts never saw that task.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "Ensemble of experts"
    family: ClassVar[str] = "Routed"
    idea: ClassVar[str] = "Ask every expert and average the answers; the cost that merging saves."
    formula: ClassVar[str] = "logits(x) = (1/T) Σₜ gₜ(x)\ngₜ(x) = head(f(x; θₜ)) / τ"
    paper: ClassVar[str] = "Lakshminarayanan et al., Deep Ensembles, NeurIPS 2017, arXiv:1612.01474"
    needs: ClassVar[frozenset[str]] = frozenset({"task id"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"average": "probabilities", "temperature": 0.01}}
    lesson: ClassVar[str] = (
        "At a hundredth of the temperature every expert gives all of its vote to one class, sure or not, and all but "
        "one of the voters never saw the task."
    )

    average: str = hp(
        "logits", "What is averaged.",
        choices={
            "logits": "logits are averaged",
            "probabilities": "probabilities are averaged: log (1/T) Σₜ softmax gₜ(x) takes the place of the sum",
        },
    )  # fmt: skip
    temperature: float = hp(
        1.0, "Divides the logits of every expert; above 1 their answers are less certain.", low=0.01, high=100,
        soft=(0.1, 10), step=0.1, symbol="τ",
    )  # fmt: skip

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return [f"{len(tasks)} passes for every input, and the task is known: a reference, not a merge."]

    def serves_unseen(self) -> bool:
        return True

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Read every expert, yielding a Step after each tensor."""
        self.check(problem.tasks)
        store = yield from store_steps(FULL, problem, ctx)
        notes = (*self.remarks(problem.tasks), *store.notes)
        return EnsembleMerged(store, self.average == "probabilities", self.temperature, notes)


@dataclass(frozen=True)
class EnsembleMerged(EveryExpert):
    """All experts of a store, averaged by logits or by probabilities."""

    probabilities: bool
    temperature: float
    notes: tuple[str, ...] = ()

    @property
    def forwards(self) -> float:
        return float(len(self.tasks))

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that runs every expert; its features are their mean, for looking at."""
        serve = self.store.predictor(network, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            assert task is not None
            features = torch.stack([serve(inputs, expert).features for expert in self.tasks])
            logits = torch.stack([network.logits(task, each) for each in features]) / self.temperature
            said = logits.softmax(-1).mean(0).log() if self.probabilities else logits.mean(0)
            return Prediction(features.mean(0), logits=said)

        return predict
