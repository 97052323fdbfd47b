"""One AdaRank step on the matrices of a block, without the network: weights built, gradients carried back.

Three ways, with the same gradient G of the weights and the same flips of masks: task by task through autograd, as one
concatenated product with closed-form gradients, and as `Components` does it, which adds only what flips.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from merge_engine.adapting.components import Components
from merge_engine.maths.spectral import centred
from merge_engine.maths.svd import Factors, decompose
from merge_engine.problem import Place, TensorGroup

Results = tuple[Tensor, Tensor, Tensor]
TASKS, TEMPERATURE, FLIPS = 8, 10.0, 0.01
# Coefficient, share of the components that start on, share whose masks are learned.
CASES = {
    "task_arithmetic": (0.3, 1.0, 1.0),
    "cart": (2.3, 0.16, 1.0),
    "cart, cpu preset": (2.3, 0.16, 0.25),
}


def against_naive(width: int = 384, repeats: int = 5) -> list[dict[str, object]]:
    """Time all six matrices of a block of `width`, T = 8, with 1 % of the masks flipping at every step.

    The preset learns the masks of the largest quarter; the other components stay as they start, in every way.
    """
    shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    rows = []
    for base, (prior, rank, share) in CASES.items():
        seconds = dict.fromkeys(("naive", "one product", "ours"), 0.0)
        error, coefficients = 0.0, torch.full((TASKS,), prior)
        for i, shape in enumerate(shapes):
            matrix = _Matrix(shape, base, rank, share, seed=i)
            for _ in range(repeats):
                given = (coefficients, matrix.flip(), torch.randn(shape))
                wanted = _timed(seconds, "naive", matrix.naive, given)
                for way, work in (("one product", matrix.one_product), ("ours", matrix.ours)):
                    found = _timed(seconds, way, work, given)
                    error = max(error, *(_distance(a, b) for a, b in zip(found, wanted, strict=True)))
        rows.append(
            {
                "base": base,
                **{f"{way} s": spent / repeats for way, spent in seconds.items()},
                "naive / one product": seconds["naive"] / seconds["one product"],
                "naive / ours": seconds["naive"] / seconds["ours"],
                "largest relative difference": error,
            }
        )
    return rows


class _Matrix:
    """One matrix of all experts, and the logits of its masks."""

    def __init__(self, shape: tuple[int, int], base: str, rank: float, share: float, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        vectors = 0.02 * torch.randn(TASKS, *shape, generator=self.draw)
        vectors, offset = centred(vectors) if base.startswith("cart") else (vectors, None)
        self.base = torch.zeros(shape) if offset is None else offset
        self.parts: list[Factors] = [decompose(v) for v in vectors]
        group = TensorGroup(("w",), ("t",) * TASKS, torch.zeros(shape), vectors, Place(0, "fc1"), 1)
        count = min(shape)
        given = {"on": int(rank * count), "offset": offset}
        learned = int(share * count)
        self.components = Components.of(group, self.parts, count, learned=learned, total=vectors.clone(), **given)
        self.every = Components.of(group, self.parts, count, learned=count, **given)
        self.logits = torch.where(self.components.on, 0.1, -0.1)

    def flip(self) -> Tensor:
        """Flip a few masks, as an update does now and then."""
        flipped = torch.rand(len(self.logits), generator=self.draw) < FLIPS
        self.logits = torch.where(flipped, -self.logits, self.logits)
        return self.logits

    def naive(self, coefficients: Tensor, logits: Tensor, gradient: Tensor) -> Results:
        """Return W, ∂L/∂λ and ∂L/∂m through autograd, a product per task."""
        lam, m = coefficients.clone().requires_grad_(), logits.clone().requires_grad_()
        sigma = (m / TEMPERATURE).sigmoid()
        b = (m > 0).float() + sigma - sigma.detach()
        weight = self.base
        for t, (part, learned) in enumerate(zip(self.parts, b.chunk(TASKS), strict=True)):
            mask = torch.cat([learned, self.components.start[t, len(learned) :].float()])
            weight = weight + lam[t] * (part.U * (mask * part.s)) @ part.Vh
        weight.backward(gradient)
        return weight.detach(), lam.grad, m.grad  # type: ignore[return-value]

    def one_product(self, coefficients: Tensor, logits: Tensor, gradient: Tensor) -> Results:
        """Return the same in closed form, with the components of all tasks side by side."""
        c, every, on = self.components, self.every, self.components.spread((logits > 0).float()).flatten()
        weight = self.base + (every.left.T * (coefficients[every.owner] * on * every.s)) @ every.right
        aligned = every.alignment(gradient)
        slopes = torch.zeros(TASKS).index_add(0, every.owner, on * aligned)
        learned = aligned.view(TASKS, -1)[c.owner, c.place]
        return weight, slopes, _surrogate(coefficients[c.owner] * learned, logits)

    def ours(self, coefficients: Tensor, logits: Tensor, gradient: Tensor) -> Results:
        """Return the same, with the sums of every task kept and changed where masks flip."""
        c = self.components
        c.switch(logits > 0)
        weight, aligned = c.change(coefficients), c.alignment(gradient)
        return weight, c.slopes(gradient), _surrogate(coefficients[c.owner] * aligned, logits)


def _surrogate(slope: Tensor, logits: Tensor) -> Tensor:
    sigma = (logits / TEMPERATURE).sigmoid()
    return slope * sigma * (1 - sigma) / TEMPERATURE


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def _timed(seconds: dict[str, float], way: str, work: Callable[..., Results], given: Results) -> Results:
    start = time.perf_counter()
    result = work(*given)
    seconds[way] += time.perf_counter() - start
    return result
