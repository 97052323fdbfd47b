"""Statistics of the whole model, streamed tensor group by tensor group: nothing is concatenated or sorted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..contract import Step
from ..hp import hp
from ..problem import Groups, TensorGroup
from .ops import disjoint_merge, elect_sign, exact_sum, flat, per_expert, trim

Values = Callable[[TensorGroup], Tensor]
BINS = 1 << 16


def order_statistics(
    groups: Groups, values: Values, ranks: Callable[[int], Sequence[int]], label: str
) -> Generator[Step, None, Tensor]:
    """Return the values (T, *S) of given ranks, from 0 for the smallest, over all tensors of each expert: (T, R).

    `ranks` gets the number of entries of the model. Exact: one pass counts the upper 16 bits of the float32
    pattern, a second one the lower 16 bits within the bins that hold the wanted ranks.
    """
    steps, experts = 2 * len(groups), len(groups.problem.tasks)
    coarse = torch.zeros(experts, BINS, dtype=torch.int64, device=groups.device)
    for done, group in enumerate(groups, 1):
        for row, histogram in zip(flat(values(group)), coarse, strict=True):
            _count(histogram, (_keys(row) >> 16) + BINS // 2)
        yield Step(done, steps, label)
    wanted = torch.tensor(list(ranks(int(coarse[0].sum()))), device=coarse.device)
    bins, rest = _locate(coarse.unsqueeze(1), wanted.expand(experts, -1))
    fine = coarse.new_zeros(*bins.shape, BINS)
    for done, group in enumerate(groups, len(groups) + 1):
        for row, places, histograms in zip(flat(values(group)), bins.tolist(), fine, strict=True):
            keys = _keys(row)
            upper, lower = (keys >> 16) + BINS // 2, keys & (BINS - 1)
            for place, histogram in zip(places, histograms, strict=True):
                _count(histogram, lower[upper == place])
        yield Step(done, steps, label)
    low, _ = _locate(fine, rest)
    return _from_keys(((bins - BINS // 2) << 16) + low)


def _keys(values: Tensor) -> Tensor:
    """Return int32 keys in the order of the float32 values: the patterns of negative numbers are flipped."""
    bits = values.float().contiguous().view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _from_keys(keys: Tensor) -> Tensor:
    keys = keys.to(torch.int32)
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _count(histogram: Tensor, bins: Tensor) -> None:
    histogram.index_add_(0, bins, histogram.new_ones(()).expand(len(bins)))


def _locate(counts: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bin of each rank, and its rank within the bin; counts (T, R or 1, bins), ranks (T, R)."""
    below = counts.cumsum(-1)
    bins = (below <= ranks.unsqueeze(-1)).sum(-1)
    before = (below - counts).expand(*ranks.shape, -1).gather(-1, bins.unsqueeze(-1)).squeeze(-1)
    return bins, ranks - before


@dataclass
class Trimmed:
    """Task vectors trimmed by one magnitude per expert (T,) over the whole model; `weights` are of their votes."""

    groups: Groups
    vectors: Values
    thresholds: Tensor
    weights: tuple[float, ...] = ()

    def of(self, group: TensorGroup) -> Tensor:
        """Return the trimmed task vectors of one group, (T, *S)."""
        return trim(self.vectors(group), self.thresholds)

    def elect_sign(self, kept: Tensor) -> Tensor:
        """Return the elected sign of one group's trimmed task vectors, (T, *S) to S."""
        return elect_sign(self._votes(kept), lambda: self._majority)

    def _votes(self, kept: Tensor) -> Tensor:
        return kept * per_expert(self.weights, kept) if self.weights else kept

    @cached_property
    def _majority(self) -> float:
        """The sign that most entries of the model elect; read again only if some sum is exactly zero."""
        balance = sum(float(exact_sum(self._votes(self.of(group))).sign().sum()) for group in self.groups)
        return float((balance > 0) - (balance < 0))


def trim_globally(
    groups: Groups, density: float, vectors: Values, weights: tuple[float, ...] = ()
) -> Generator[Step, None, Trimmed]:
    """Find every expert's magnitude threshold over the whole model, as the reference code of Ties does.

    The threshold is the (P − int(density·P))-th smallest of P magnitudes and stays itself, so int(density·P) + 1
    entries are kept, and entries equal to the threshold besides.
    """
    thresholds = yield from order_statistics(
        groups,
        lambda group: vectors(group).abs(),
        lambda count: [max(0, count - int(density * count) - 1)],
        "Finding the magnitude thresholds",
    )
    return Trimmed(groups, vectors, thresholds.squeeze(1), weights)


def merged_task_vector(help: str) -> Any:
    """Declare which merged task vector `summed` returns; the field `density` is the share that Ties keeps."""
    return hp(
        "sum", help, always=True,
        choices={
            "sum": "τ_M is the sum of all task vectors",
            "ties": "τ_M is the Ties sum: the largest share d of every τₜ stays, and signs are elected",
        },
    )  # fmt: skip


def summed(group: TensorGroup, trimmed: Trimmed | None) -> Tensor:
    """Return the merged task vector Σ_t τ_t, or the disjoint Ties sum where task vectors were trimmed; S."""
    if trimmed is None:
        return group.task_vectors.sum(0)
    kept = trimmed.of(group)
    return disjoint_merge(kept, trimmed.elect_sign(kept), "sum")
