"""Two models on the same inputs: where they differ, by how much, and whether that is more than chance.

References
----------
McNemar, Psychometrika 12, 1947 (the test); Newcombe, Statistics in Medicine 17, 1998, method 10 (the interval of a
difference of paired shares); Zou and Donner, Statistics in Medicine 27, 2008 (the interval of a mean of differences);
Holm, Scandinavian Journal of Statistics 6, 1979 (several tests at once).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from .answers import Predicted
from .metrics.accuracy import wilson


@dataclass(frozen=True)
class Paired:
    """How often both, only the first, only the second and neither of two models were right on the same inputs."""

    both: int = 0
    first: int = 0
    second: int = 0
    neither: int = 0

    @property
    def n(self) -> int:
        return self.both + self.first + self.second + self.neither

    @property
    def shares(self) -> tuple[float, float]:
        """Accuracies of the first and of the second model, in [0, 1]; NaN without inputs."""
        return ((self.both + self.first) / self.n, (self.both + self.second) / self.n) if self.n else (nan, nan)

    @property
    def difference(self) -> float:
        """Second minus first accuracy, in [-1, 1]; NaN without inputs."""
        return (self.second - self.first) / self.n if self.n else nan

    @property
    def interval(self) -> tuple[float, float]:
        """Newcombe's 95 % interval of the difference."""
        return newcombe(self)

    @property
    def p(self) -> float:
        """Two-sided p value of McNemar's exact test."""
        return mcnemar(self.first, self.second)

    def __add__(self, other: Paired) -> Paired:
        return Paired(
            self.both + other.both, self.first + other.first, self.second + other.second, self.neither + other.neither
        )


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Count how two models were right, (N,) each, on the same inputs in the same order."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    counts = ((first & second), (first & ~second), (~first & second), (~first & ~second))
    return Paired(*(int(count.sum()) for count in counts))


def in_common(first: Predicted, second: Predicted) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the inputs that two models have both seen, (N,) each, in the order of the first."""
    place = {index: row for row, index in enumerate(second.index.tolist())}
    pairs = [(row, place[index]) for row, index in enumerate(first.index.tolist()) if index in place]
    rows = np.array(pairs, int).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def mcnemar(first: int, second: int) -> float:
    """Return the two-sided p value of the exact test on inputs that only one of two models has right.

        p = min(1, 2 Σ_{k ≤ min(b, c)} C(b + c, k) / 2^(b + c))

    The sum is of whole numbers and rounded once; 1 without such inputs.
    """
    n, term, total = first + second, 1, 1
    for k in range(min(first, second)):
        term = term * (n - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))


def newcombe(counts: Paired) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two paired shares, second minus first; NaN without inputs.

        lower = D − √(δ₂² − 2 φ δ₂ ε₁ + ε₁²),  upper = D + √(ε₂² − 2 φ ε₂ δ₁ + δ₁²)

    where δ and ε are the distances from each share to the ends of its Wilson interval, and φ is the correlation of the
    two models, a positive one corrected for continuity.
    """
    if not counts.n:
        return nan, nan
    (p, q), n, phi = counts.shares, counts.n, _correlation(counts)
    low_p, high_p = wilson(counts.both + counts.first, n)
    low_q, high_q = wilson(counts.both + counts.second, n)
    below, above = _apart(q - low_q, high_p - p, phi), _apart(high_q - q, p - low_p, phi)
    return max(-1.0, counts.difference - below), min(1.0, counts.difference + above)


def mean_difference(tasks: Sequence[Paired]) -> tuple[float, float, float]:
    """Return the mean over tasks of the differences and its 95 % interval; NaN where there is no task.

    The distances to the ends of the tasks' intervals add in squares, since inputs of different tasks are independent.
    """
    if not tasks:
        return nan, nan, nan
    middle = sum(t.difference for t in tasks) / len(tasks)
    below = sqrt(sum((t.difference - t.interval[0]) ** 2 for t in tasks)) / len(tasks)
    above = sqrt(sum((t.interval[1] - t.difference) ** 2 for t in tasks)) / len(tasks)
    return middle, middle - below, middle + above


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in their order.

        p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j))
    """
    found, reached, m = [1.0] * len(p_values), 0.0, len(p_values)
    for place, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (m - place) * p_values[i]))
        found[i] = reached
    return found


def _correlation(counts: Paired) -> float:
    """Return φ of the fourfold table; 0 where a model is always or never right."""
    a, b, c, d = counts.both, counts.first, counts.second, counts.neither
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    gap = a * d - b * c
    gap = max(gap - counts.n / 2, 0.0) if gap > 0 else gap
    return gap / sqrt(margins) if margins else 0.0


def _apart(one: float, other: float, phi: float) -> float:
    return sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))
