"""Frozen heads: unit-norm class vectors from a few labelled pictures, in the pretrained feature space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize


def center_of(features: Mapping[str, Tensor]) -> Tensor:
    """The global mean (D,): the mean over tasks of the mean of each task's features (C, n, D)."""
    return torch.stack([value.flatten(0, 1).mean(0) for value in features.values()]).mean(0)


def unit_features(features: Tensor, center: Tensor) -> Tensor:
    """Centred features of unit norm, (N, D)."""
    return normalize(features - center, dim=-1)


def prototypes(features: Tensor, center: Tensor) -> Tensor:
    """Class vectors (C, D): the mean unit feature of each class's n pictures (C, n, D), renormalised."""
    return normalize(unit_features(features, center).mean(1), dim=1)


def ridge(features: Tensor, center: Tensor, strength: float = 1.0) -> Tensor:
    """Class vectors (C, D): ridge regression of centred one-hot labels on unit features, rows renormalised.

    H = Yᵀ (X Xᵀ + strength · I)⁻¹ X, with X (C·n, D) the unit features and Y (C·n, C) the labels.
    """
    classes, each, _ = features.shape
    x = unit_features(features, center).flatten(0, 1).double()  # (C·n, D)
    y = torch.eye(classes, dtype=x.dtype).repeat_interleave(each, 0) - 1 / classes  # (C·n, C)
    kernel = x @ x.T + strength * torch.eye(len(x), dtype=x.dtype)
    return normalize(y.T @ torch.linalg.solve(kernel, x), dim=1).float()


def logits(features: Tensor, head: Tensor, center: Tensor, scale: float) -> Tensor:
    """Logits (N, C): scale · cos(feature minus center, class vector)."""
    return scale * unit_features(features, center) @ head.T
