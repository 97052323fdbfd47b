"""Naive float64 versions of what is trained beside merges: surgery's adapters and Twin-Merging's router.

Gradients of the adapters are written out; Adam, batch normalisation, clipping and the course are loops over formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


class Adam:
    """m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,  x ← x − η m̂ / (√v̂ + ε)."""

    def __init__(self) -> None:
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.step = 0

    def update(self, parameters: Parameters, gradients: Parameters, rate: float) -> None:
        self.step += 1
        for name, g in gradients.items():
            m, v = self.moments.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            self.moments[name] = m, v
            upright = m / (1 - 0.9**self.step), v / (1 - 0.999**self.step)
            parameters[name] = parameters[name] - rate * upright[0] / (torch.sqrt(upright[1]) + 1e-8)


def surgery(down: Tensor, up: Tensor, batches: list[tuple[Tensor, Tensor]], rate: float) -> tuple[Tensor, Tensor]:
    """Return one task's adapter D (r, d), U (d, r) after batches of features (merged, expert), (B, d) each.

    With s = sign(z − U h − e) / (B d) and h = ReLU(D z):  ∂/∂U = −Σ_b s hᵀ,  ∂/∂D = −Σ_b (Uᵀ s ⊙ 1[h > 0]) zᵀ.
    """
    own, adam = {"down": down.double(), "up": up.double()}, Adam()
    for merged, expert in batches:
        gradients = {name: torch.zeros_like(value) for name, value in own.items()}
        for z, e in zip(merged.double(), expert.double(), strict=True):
            h = torch.relu(own["down"] @ z)
            s = torch.sign(z - own["up"] @ h - e) / merged.numel()
            gradients["up"] -= torch.outer(s, h)
            gradients["down"] -= torch.outer((own["up"].T @ s) * (h > 0), z)
        adam.update(own, gradients, rate)
    return own["down"], own["up"]


class Router:
    """R(z) = W₃ h(BN(W₂ h(BN(W₁ z)))) with LeakyReLU and dropout of a half, trained by cross-entropy."""

    def __init__(self, parameters: Parameters) -> None:
        self.own = {name: value.double() for name, value in parameters.items()}
        width = len(self.own["first.bias"])
        self.seen = {name: [torch.zeros(width).double(), torch.ones(width).double()] for name in ("first", "second")}

    def scores(self, z: Tensor, dropped: list[Tensor] | None, own: Parameters) -> Tensor:
        """Return (B, T); with masks of zeros and ones for both dropouts, as in training."""
        for layer in ("first", "second"):
            z = z @ own[f"{layer}.weight"].T + own[f"{layer}.bias"]
            if dropped is None:
                mean, spread = self.seen[layer]
            else:
                mean, spread = z.mean(0), ((z - z.mean(0)) ** 2).mean(0)
                kept, count = self.seen[layer], len(z)
                kept[0] = 0.9 * kept[0] + 0.1 * mean.detach()
                kept[1] = 0.9 * kept[1] + 0.1 * spread.detach() * count / (count - 1)
            z = (z - mean) / torch.sqrt(spread + 1e-5) * own[f"{layer}_norm.weight"] + own[f"{layer}_norm.bias"]
            z = torch.where(z > 0, z, 0.01 * z)
            if dropped is not None:
                z = z * 2 * dropped.pop(0)
        return z @ own["last.weight"].T + own["last.bias"]

    def gradients(self, z: Tensor, labels: Tensor, dropped: list[Tensor]) -> Parameters:
        """Return those of the mean cross-entropy, scaled to a norm of at most 1 over all parameters."""
        own = {name: value.clone().requires_grad_() for name, value in self.own.items()}
        scores = self.scores(z, dropped, own)
        loss = torch.zeros(()).double()
        for row, label in zip(scores, labels, strict=True):
            loss = loss - torch.log(torch.exp(row)[label] / torch.exp(row).sum()) / len(scores)
        found = dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True))
        norm = math.sqrt(sum(float((g**2).sum()) for g in found.values()))
        return {name: g * min(1.0, 1.0 / (norm + 1e-6)) for name, g in found.items()}


def trained_router(router: Router, train, held, course, generator: torch.Generator) -> tuple[Parameters, list[float]]:
    """Return the parameters and running statistics of the best epoch, and the accuracy on `held` after every epoch.

    `train` and `held` are (features, labels). The generator draws an order per epoch and two dropouts per batch.
    """
    (z, labels), adam, accuracy, best = train, Adam(), [], {}
    updates = course.epochs * math.ceil(len(labels) / course.batch)
    for _ in range(course.epochs):
        order = torch.randperm(len(labels), generator=generator)
        for rows in order.split(course.batch):
            shape = (len(rows), len(router.own["first.bias"]))
            dropped = [torch.randint(2, shape, generator=generator, dtype=torch.uint8).double() for _ in "12"]
            rate = course.learning_rate * (1 - adam.step / updates)
            adam.update(router.own, router.gradients(z[rows].double(), labels[rows], dropped), rate)
        said = [int(router.scores(x[None].double(), None, router.own).argmax()) for x in held[0]]
        right = [guess == int(label) for guess, label in zip(said, held[1], strict=True)]
        accuracy.append(100 * sum(right) / len(right))
        if accuracy[-1] > max(accuracy[:-1], default=-1.0):
            best = {name: value.clone() for name, value in router.own.items()}
            for layer, (mean, spread) in router.seen.items():
                best |= {f"{layer}_norm.running_mean": mean.clone(), f"{layer}_norm.running_var": spread.clone()}
    return best, accuracy
