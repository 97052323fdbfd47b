"""Models between and around given ones, θ = θ_1 + Σ_k c_k (θ_{k+1} − θ_1), and where other models lie beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import RecipeError
from ..weights import Weights, in_memory

FLAT = 1e-3  # sine of an angle that the rounding of float32 weights can make


class Span:
    """The models θ_1 + Σ_k c_k d_k with d_k = θ_{k+1} − θ_1, built in place; the directions stay on a device.

    They are in float32. Only floating-point tensors of the first model differ; dot products are accumulated in float64.
    """

    def __init__(
        self,
        first: Weights,
        others: Sequence[Weights],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.base = in_memory(first, device)
        self.directions = [{name: self._beside(other, name) for name in self._names()} for other in others]
        self.built = {n: v.to(dtype, copy=True) if v.is_floating_point() else v for n, v in self.base.items()}

    @torch.inference_mode()
    def at(self, *coefficients: float) -> dict[str, Tensor]:
        """Return the model at some coefficients (K,); the next call overwrites it."""
        steps = [(float(c), d) for c, d in zip(coefficients, self.directions, strict=True) if c]
        for name in self._names():
            point = self.base[name]
            for coefficient, direction in steps:
                point = torch.add(point, direction[name], alpha=coefficient)
            self.built[name].copy_(point)
        return self.built

    def gram(self) -> np.ndarray:
        """Return the dot products of the directions with each other, float64 (K, K)."""
        return np.array([[_dot(one, other) for other in self.directions] for one in self.directions])

    def dots(self, weights: Weights) -> np.ndarray:
        """Return the dot products of the directions with θ − θ_1 of another model, float64 (K,)."""
        found = np.zeros(len(self.directions))
        for name in self._names():
            beside = self._beside(weights, name, torch.float64)
            found += [_product(beside, d[name]) for d in self.directions]
        return found

    def residual(self, weights: Weights, coefficients: Sequence[float]) -> float:
        """Return the distance of another model to the one at some coefficients (K,), float64."""
        total = 0.0
        for name in self._names():
            left = self._beside(weights, name, torch.float64)
            for coefficient, direction in zip(coefficients, self.directions, strict=True):
                left -= coefficient * direction[name].double()
            total += _product(left, left)
        return float(np.sqrt(total))

    def _beside(self, weights: Weights, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return θ − θ_1 of one tensor of another model."""
        base = self.base[name].to(dtype)
        return weights[name].to(base) - base

    def _names(self) -> list[str]:
        return [name for name, value in self.base.items() if value.is_floating_point()]


@dataclass(frozen=True)
class Plane:
    """The plane through three models in an orthonormal basis: `corners` (3, 2), the first model at the origin.

        e_1 = (θ_2 − θ_1) / ‖·‖,   e_2 = (w − ⟨w, e_1⟩ e_1) / ‖·‖ with w = θ_3 − θ_1

    Distances are Euclidean over all parameters. A model θ_1 + Σ_k c_k d_k lies at `corners[1:].T @ c`.
    """

    corners: np.ndarray

    @classmethod
    def of(cls, gram: np.ndarray) -> Plane:
        """Return the plane of two directions from their dot products (2, 2), by Gram–Schmidt in float64.

        Raises RecipeError when the models lie on one line.
        """
        length = float(np.sqrt(gram[0, 0]))
        along = float(gram[0, 1] / length) if length else 0.0
        across = float(np.sqrt(max(gram[1, 1] - along**2, 0.0)))
        if not length or across <= FLAT * np.sqrt(gram[1, 1]):
            raise RecipeError("The three models lie on one line and make no plane; choose another third model.")
        return cls(np.array([[0.0, 0.0], [length, 0.0], [along, across]]))

    def coefficients(self, place: Sequence[float]) -> np.ndarray:
        """Return the coefficients (2,) of the model at a place (2,) of the plane."""
        return np.linalg.solve(self.corners[1:].T, np.asarray(place, float))

    def place(self, dots: np.ndarray) -> np.ndarray:
        """Return the place (2,) that a model is projected to, from its dot products with the directions (2,)."""
        return np.linalg.solve(self.corners[1:], np.asarray(dots, float))


def _dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return sum(_product(one[name], other[name]) for name in one)


def _product(one: Tensor, other: Tensor) -> float:
    return float(one.double().flatten() @ other.double().flatten())
