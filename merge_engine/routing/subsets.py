"""Merges of the few experts that an input selects, made when a set is first met and kept within a bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from ..maths import spectral
from ..maths.parts import LowRankPart, Part
from ..merged import PerTaskMerged
from ..weights import in_memory
from .per_input import Decision, LowRankLinear, blended
from .prediction import Network, Prediction, Predictor
from .routed import RoutedMerged

SETS_IN_MEMORY = 32


@dataclass(frozen=True)
class Selection:
    """Scores to coefficients: p = softmax(standardised scores / temperature), kept where above a threshold.

    At most `most` experts and at least the best one are kept; their coefficients are divided by their sum.
    """

    threshold: float = 0.2
    most: int = 3
    temperature: float = 1.0

    def __call__(self, scores: Tensor) -> Tensor:
        """Return coefficients (B, T) of scores (B, T), zero where an expert is not selected."""
        p = (_standardised(scores) / self.temperature).softmax(1)
        best = p.topk(min(self.most, p.shape[1]), dim=1).indices
        kept = torch.zeros_like(p, dtype=torch.bool).scatter(1, best, p.gather(1, best) > self.threshold)
        kept.scatter_(1, best[:, :1], True)
        chosen = p * kept
        return chosen / chosen.sum(1, keepdim=True)


@dataclass(frozen=True)
class SubsetMerged(RoutedMerged):
    """A store of low-rank experts and a router; every input runs TSV-M of the experts it selects.

    Merges are kept by the set of experts alone: coefficients select, and never enter what is kept. `head` says what
    picks among the heads of the selected experts: the largest logit, probability or coefficient.
    """

    select: Selection = field(default_factory=Selection)
    head: str = "logit"

    @property
    def work(self) -> float:
        """Passes of one model, and the factors of as many experts as an input may select."""
        sizes = [p.stored_parameters for p in self.store.parts.values() if isinstance(p, LowRankPart)]
        model = sum(self.store.pretrained[n].numel() for n in self.store.pretrained)
        return self.forwards + min(1.0, self.select.most / len(self.tasks)) * sum(sizes) / model

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that groups a batch by the set of selected experts."""
        route = self.router.ready(network)
        merged = lru_cache(maxsize=SETS_IN_MEMORY)(lambda chosen: Subset.of(self.store, chosen, dtype, network.device))

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            coefficients = self.select(route(inputs, task))
            found = [(rows, merged(chosen)(network, inputs[rows])) for chosen, rows in _sets(coefficients > 0)]
            order = torch.cat([rows for rows, _ in found]).argsort()
            features = torch.cat([part for _, part in found])[order]
            return Prediction(features, self._picked(network, features, coefficients), coefficients.unsqueeze(1))

        return predict

    def _picked(self, network: Network, features: Tensor, coefficients: Tensor) -> Tensor:
        """Return the number of the head to use, (B,); a head that was not selected is never asked."""
        scores = coefficients.masked_fill(coefficients == 0, -torch.inf)
        if self.head != "route":
            say = _confidence if self.head == "confidence" else _largest
            for t, task in enumerate(self.tasks):
                rows = (coefficients[:, t] > 0).nonzero().squeeze(1)
                scores[rows, t] = say(network.logits(task, features[rows])).to(scores)
        return scores.argmax(1)


@dataclass(frozen=True, eq=False)
class Subset:
    """TSV-M of some experts: `shared` holds all tensors, the matrices' merged components stand apart as factors."""

    shared: Mapping[str, Tensor]
    shares: Mapping[str, LowRankLinear]

    @classmethod
    def of(
        cls,
        store: PerTaskMerged,
        chosen: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Subset:
        """Merge the stored parts of the chosen experts: components made orthogonal across them, the rest averaged."""
        shared, shares = in_memory(store.pretrained, device, dtype), {}
        for name, part in store.parts.items():
            if isinstance(part, LowRankPart):
                shares[name.removesuffix(".weight")] = _orthogonal(part, chosen).to(dtype, shared[name].device)
            else:
                shared[name] = shared[name] + _mean(part, chosen).to(shared[name])
        return cls(shared, shares)

    def __call__(self, network: Network, inputs: Tensor) -> Tensor:
        """Return features (B, D)."""
        all_of_it = Decision.same(torch.ones(len(inputs), 1, device=inputs.device))
        return blended(network, self.shared, self.shares, all_of_it, inputs)[0]


def _orthogonal(part: LowRankPart, chosen: tuple[int, ...]) -> LowRankLinear:
    kept = [spectral.definite(part.factors[t]) for t in chosen]
    merged = kept[0] if len(kept) == 1 else spectral.orthogonalised(kept)[0]
    return LowRankLinear.of(LowRankPart((merged,)))


def _mean(part: Part, chosen: tuple[int, ...]) -> Tensor:
    return torch.stack([part.task_vector(t) for t in chosen]).mean(0)


def _sets(selected: Tensor) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield every set of experts that occurs in a selection (B, T), and the rows that have it."""
    kinds, which = selected.unique(dim=0, return_inverse=True)
    for i, kind in enumerate(kinds):
        yield tuple(kind.nonzero().flatten().tolist()), (which == i).nonzero().flatten()


def _standardised(scores: Tensor) -> Tensor:
    """Subtract the mean over experts and divide by the sample deviation, 1e-6 added."""
    if scores.shape[1] == 1:
        return torch.zeros_like(scores)
    return (scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True) + 1e-6)


def _largest(logits: Tensor) -> Tensor:
    return logits.amax(1)


def _confidence(logits: Tensor) -> Tensor:
    return logits.softmax(1).amax(1)
