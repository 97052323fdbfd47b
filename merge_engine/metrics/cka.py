"""Centred kernel alignment between representations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import DataError
from ..hp import hp
from ._measured import Measured, Row, quantity
from ._metric import Metric

Array = Any  # a numpy array, or a tensor on the CPU


@dataclass(frozen=True, eq=False)
class Alikeness(Measured):
    """Linear CKA of all pairs of models, after every block and at the output (the row `all`)."""

    cka: np.ndarray = field(metadata=quantity("row expert other", "Linear CKA.", symmetric=True))


@dataclass(frozen=True)
class MeasureCka(Metric):
    """Compare the representations of models on the same inputs, up to rotation and scale.

        CKA = |XᵀY|²_F / (|XᵀX|_F |YᵀY|_F), columns centred

    References
    ----------
    Kornblith, Norouzi, Lee, Hinton, Similarity of Neural Network Representations Revisited, ICML 2019,
    arXiv:1905.00414; Song, Smola, Gretton, Bedo, Borgwardt, JMLR 2012 (the unbiased estimator).

    Notes
    -----
    The unbiased estimator of HSIC is the default: the plain one is far above zero for unrelated features when there
    are few inputs. It can be slightly negative. Use at least 256 inputs. Missing for constant features.
    """

    title: ClassVar[str] = "CKA"
    about: ClassVar[str] = "How alike two models represent the same inputs, whatever the rotation or scale."
    formula: ClassVar[str] = "CKA = |XᵀY|² / (|XᵀX| |YᵀY|)"
    reference: ClassVar[str] = "Kornblith et al., ICML 2019, arXiv:1905.00414; Song et al., JMLR 2012"
    unit: ClassVar[str] = "CKA"
    source: ClassVar = "features"
    levels: ClassVar[tuple[str, ...]] = ("all", "block")
    produces: ClassVar = Alikeness
    headline: ClassVar[str] = "cka"

    debiased: bool = hp(True, "Use the unbiased estimator of HSIC.")

    def measure(self, features: Mapping[str, Sequence[Array]]) -> Alikeness:
        """Measure features by model, all on the same inputs: (N, d) after every block, the output last."""
        models = tuple(features)
        found = np.array(
            [
                [[linear_cka(a, b, debiased=self.debiased) for b in layer] for a in layer]
                for layer in zip(*features.values(), strict=True)
            ]
        )
        return Alikeness(models, depth_rows(len(found)), found)


def depth_rows(count: int) -> tuple[Row, ...]:
    """Return the rows of features taken after every block and, last, at the output."""
    return (*(Row("block", block=block) for block in range(count - 1)), Row("all"))


def linear_cka(first: Array, second: Array, *, debiased: bool = True) -> float:
    """Return the linear CKA of features (N, d) and (N, e) of the same inputs; NaN for constant features."""
    X, Y = (np.asarray(a, float) - np.asarray(a, float).mean(0) for a in (first, second))
    if len(X) != len(Y):
        raise DataError(f"CKA compares the same inputs; got {len(X)} and {len(Y)}. Use the same inputs for both.")
    if debiased and len(X) < 4:
        raise DataError(f"Debiased CKA needs at least 4 inputs; got {len(X)}. Use more, or debiased = false.")
    between, own, other = (_hsic(a, b, debiased) for a, b in ((X, Y), (X, X), (Y, Y)))
    scale = np.sqrt(max(own, 0.0)) * np.sqrt(max(other, 0.0))
    return float(between / scale) if scale > 0 else float("nan")


def _hsic(X: np.ndarray, Y: np.ndarray, debiased: bool) -> float:
    """Return tr(KL), K = XXᵀ, L = YYᵀ, through the smaller of d × e and N × N; or N(N−3) times HSIC_1.

        HSIC_1 = [tr(K̃L̃) + 1ᵀK̃1 1ᵀL̃1 / ((N−1)(N−2)) − 2/(N−2) 1ᵀK̃L̃1] / (N(N−3)), K̃ = K without its diagonal
    """
    n = len(X)
    product = np.sum((X @ X.T) * (Y @ Y.T)) if n < min(X.shape[1], Y.shape[1]) else np.sum((X.T @ Y) ** 2)
    if not debiased:
        return float(product)
    k, ell = (X**2).sum(1), (Y**2).sum(1)
    k_sums, l_sums = X @ X.sum(0) - k, Y @ Y.sum(0) - ell
    trace = product - k @ ell
    return float(trace + k_sums.sum() * l_sums.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k_sums @ l_sums))
