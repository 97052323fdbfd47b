"""How far a merged model's features are from the experts'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..hp import hp
from ._measured import Measured, quantity
from ._metric import Metric
from ._swept import ratio
from .cka import depth_rows, linear_cka

Array = Any  # a numpy array, or a tensor on the CPU


@dataclass(frozen=True, eq=False)
class Representation(Measured):
    """Merged model against each task's expert, on the task's inputs; blocks and the output (the row `all`)."""

    bias: np.ndarray = field(metadata=quantity("row expert", "Mean |z_M − z_t| over inputs and features."))
    cosine: np.ndarray = field(metadata=quantity("row expert", "Mean cosine of the two features of an input."))
    cosine_low: np.ndarray = field(metadata=quantity("row expert", "5th percentile of the cosine."))
    cka: np.ndarray = field(metadata=quantity("row expert", "Linear CKA, debiased; missing below 4 inputs."))


@dataclass(frozen=True)
class MeasureRepresentation(Metric):
    """Measure how far the merged model's features are from the expert's, on each task's inputs.

        bias_t = (1/N) Σ_x mean_d |z_M(x) − z_t(x)|

    References
    ----------
    Yang, Shen, Wang, Guo, Chen, Wang, Tao, Representation Surgery for Multi-Task Model Merging, ICML 2024,
    arXiv:2402.02705.

    Notes
    -----
    Features are the encoder's output as the head receives it; `normalise` divides them by their length first. A cosine
    with a zero feature is missing.
    """

    title: ClassVar[str] = "Representation bias"
    about: ClassVar[str] = "How far the merged model's features have drifted from each expert's, block by block."
    formula: ClassVar[str] = "biasₜ = (1/N) Σₓ mean |z_M(x) − zₜ(x)|"
    reference: ClassVar[str] = "Yang et al., Representation Surgery, ICML 2024, arXiv:2402.02705"
    unit: ClassVar[str] = "feature units"
    source: ClassVar = "features"
    levels: ClassVar[tuple[str, ...]] = ("all", "block")
    produces: ClassVar = Representation
    headline: ClassVar[str] = "bias"

    normalise: bool = hp(False, "Divide features by their length first.")

    def measure(
        self, merged: Mapping[str, Sequence[Array]], experts: Mapping[str, Sequence[Array]]
    ) -> Representation:
        """Measure features by task, each on the task's own inputs: (N, d) after every block, the output last."""
        tasks = tuple(merged)
        found = np.array([[self._gap(m, e) for m, e in zip(merged[t], experts[t], strict=True)] for t in tasks])
        bias, cosine, low, cka = found.transpose(2, 1, 0)
        return Representation(tasks, depth_rows(found.shape[1]), bias, cosine, low, cka)

    def _gap(self, merged: Array, expert: Array) -> tuple[float, float, float, float]:
        z, reference = np.asarray(merged, float), np.asarray(expert, float)
        cosines = sample_cosines(z, reference)
        cosines = cosines[np.isfinite(cosines)]
        mean, low = (cosines.mean(), np.quantile(cosines, 0.05)) if len(cosines) else (np.nan, np.nan)
        if self.normalise:
            z, reference = unit_rows(z), unit_rows(reference)
        cka = linear_cka(z, reference) if len(z) > 3 else np.nan
        return np.abs(z - reference).mean(), mean, low, cka


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Return features (N, d) divided by their lengths; zero rows stay zero."""
    return np.nan_to_num(ratio(features, np.linalg.norm(features, axis=1, keepdims=True)), nan=0.0)


def sample_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of two features of every input (N,); missing beside a zero feature."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return ratio((first * second).sum(1), lengths)


def margins(logits: Array, labels: Array) -> np.ndarray:
    """Return the logit of the true class minus the best other one, (N, C) to (N,)."""
    logits, labels = np.asarray(logits, float).copy(), np.asarray(labels, int)
    rows = np.arange(len(labels))
    true = logits[rows, labels]
    logits[rows, labels] = -np.inf
    return true - logits.max(1)
