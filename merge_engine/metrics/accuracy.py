"""Accuracy of merged models, with intervals and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, ClassVar, Protocol

import numpy as np

from ._measured import Measured, Row, quantity
from ._metric import Metric
from ._swept import ratio

Array = Any  # a numpy array, or a tensor on the CPU


def wilson(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the Wilson interval of a share, 95 % by default; (0, 1) when nothing was seen.

        (p̂ + z²/2n ± z √(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n)
    """
    if n == 0:
        return 0.0, 1.0
    p, spread = correct / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = z * sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_calibration_error(confidence: Array, correct: Array, bins: int = 15) -> float:
    """Return Σ_b (n_b / N) |accuracy_b − confidence_b| over equal bins (low, high] of the confidence; NaN if empty."""
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if confidence.size == 0:
        return float("nan")
    where = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(where, weights=correct, minlength=bins) - np.bincount(where, weights=confidence, minlength=bins)
    return float(np.abs(gaps).sum() / confidence.size)


def normalised(merged: Array, expert: Array) -> np.ndarray:
    """Return the accuracy as a share of the expert's; missing where the expert's is zero."""
    return ratio(merged, expert)


def accuracy_improvement(merged: Array, expert: Array, pretrained: Array) -> np.ndarray:
    """Return NAI, (merged − pretrained) / (expert − pretrained), unclipped; missing where the expert gained nothing."""
    merged, expert, pretrained = (np.asarray(a, float) for a in (merged, expert, pretrained))
    return ratio(merged - pretrained, expert - pretrained)


def backward_transfer(final: Array, just_learnt: Array) -> float:
    """Return the mean over tasks of the accuracy after all steps minus the one right after learning the task."""
    return float(np.mean(np.asarray(final, float) - np.asarray(just_learnt, float)))


def bootstrap_difference(
    first: Sequence[Array], second: Sequence[Array], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the difference of the mean accuracies of two models, second − first, and its paired bootstrap interval.

    `first` and `second` hold one array of right/wrong per task, over the same inputs. Inputs are resampled within
    each task; a resample only needs how often the pair differs by −1, 0 and +1, so those three counts are drawn.
    """
    random, shares, drawn = np.random.default_rng(seed), [], np.zeros(resamples)
    for a, b in zip(first, second, strict=True):
        gaps = np.asarray(b, int) - np.asarray(a, int)
        odds = np.array([(gaps == gap).mean() for gap in (-1, 0, 1)])
        counts = random.multinomial(len(gaps), odds, size=resamples)
        drawn += (counts[:, 2] - counts[:, 0]) / len(gaps)
        shares.append(gaps.mean())
    low, high = np.quantile(drawn / len(shares), [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean(shares)), float(low), float(high)


class Scored(Protocol):
    """What scoring counted of one task: right inputs of `n`, expected calibration error, mean entropy in nats."""

    @property
    def correct(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def ece(self) -> float: ...
    @property
    def entropy(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Accuracy(Measured):
    """Accuracy of one merge on every task, shares in [0, 1]."""

    merged: np.ndarray = field(metadata=quantity("expert", "Top-1 accuracy of the merged model."))
    expert: np.ndarray = field(metadata=quantity("expert", "Top-1 accuracy of the task's own expert."))
    pretrained: np.ndarray = field(metadata=quantity("expert", "Top-1 accuracy of the pretrained model."))
    normalised: np.ndarray = field(metadata=quantity("expert", "Merged over expert; missing if the expert has none."))
    improvement: np.ndarray = field(metadata=quantity("expert", "NAI; missing where the expert gained nothing."))
    low: np.ndarray = field(metadata=quantity("expert", "Lower end of its 95 % Wilson interval."))
    high: np.ndarray = field(metadata=quantity("expert", "Upper end of its 95 % Wilson interval."))
    inputs: np.ndarray = field(metadata=quantity("expert", "Inputs scored."))
    calibration: np.ndarray = field(metadata=quantity("expert", "Expected calibration error, 15 bins."))
    entropy: np.ndarray = field(metadata=quantity("expert", "Mean entropy of the predictions, nats."))
    average: np.ndarray = field(metadata=quantity("row", "Mean of the merged accuracies over tasks."))
    normalised_average: np.ndarray = field(metadata=quantity("row", "Mean over tasks of merged over expert."))


@dataclass(frozen=True)
class MeasureAccuracy(Metric):
    """Compare a merged model with every task's expert and with the pretrained model.

        normalised = acc(M) / acc(expert),  NAI = (acc(M) − acc(θ_0)) / (acc(expert) − acc(θ_0))

    References
    ----------
    Marczak et al., ICML 2025, arXiv:2502.04959 (NAI); Wilson, JASA 1927; Guo, Pleiss, Sun, Weinberger, On
    Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599.

    Notes
    -----
    As published, the normalised accuracy of a merge is the mean of ratios over tasks; missing if one of them is.
    """

    title: ClassVar[str] = "Accuracy"
    about: ClassVar[str] = "How often the merged model is right, beside each task's expert and the pretrained model."
    formula: ClassVar[str] = "acc(M),  acc(M) / acc(expert),  (acc(M) − acc(θ₀)) / (acc(expert) − acc(θ₀))"
    reference: ClassVar[str] = "Marczak et al., ICML 2025, arXiv:2502.04959; Wilson 1927; Guo et al., arXiv:1706.04599"
    unit: ClassVar[str] = "share"
    source: ClassVar = "predictions"
    levels: ClassVar[tuple[str, ...]] = ("all",)
    produces: ClassVar = Accuracy
    headline: ClassVar[str] = "merged"

    def measure(
        self,
        scores: Mapping[str, Scored],
        experts: Mapping[str, float],
        pretrained: Mapping[str, float],
    ) -> Accuracy:
        """Put the scores of a merge by task beside the accuracies of the baselines; one without a number is NaN."""
        tasks, found = tuple(scores), list(scores.values())
        merged = np.array([s.correct / s.n if s.n else np.nan for s in found])
        expert = np.array([experts.get(t, np.nan) for t in tasks])
        base = np.array([pretrained.get(t, np.nan) for t in tasks])
        bounds = np.array([wilson(s.correct, s.n) for s in found])
        relative = normalised(merged, expert)
        return Accuracy(
            tasks, (Row("all"),), merged, expert, base, relative,
            accuracy_improvement(merged, expert, base), bounds[:, 0], bounds[:, 1],
            np.array([s.n for s in found]), np.array([s.ece for s in found]), np.array([s.entropy for s in found]),
            np.array([merged.mean()]), np.array([relative.mean()]),
        )  # fmt: skip
