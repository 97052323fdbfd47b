"""Naive float64 versions of AdaMerging and AdaRank: sums over experts, components and inputs written out as loops.

A model is a mapping from name to float64 tensor. `forward(weights, input, task)` returns the logits of one input.
"""

from __future__ import annotations

import torch
from torch import Tensor

Model = dict[str, Tensor]


def entropy(logits: Tensor) -> Tensor:
    total = torch.zeros((), dtype=logits.dtype)
    p = torch.exp(logits) / torch.exp(logits).sum()
    for value in p:
        total = total - value * torch.log(value)
    return total


def loss(forward, weights: Model, batches: dict[str, Tensor]) -> Tensor:
    """Σ_t mean entropy, one input at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for task, inputs in batches.items():
        for x in inputs:
            total = total + entropy(forward(weights, x, task)) / len(inputs)
    return total


def ties_unsummed(taus: list[Model], density: float) -> list[Model]:
    """Trim over the whole model, elect signs by the sum, and keep what agrees, apart for every expert."""
    names = list(taus[0])
    trimmed = []
    for tau in taus:
        sizes = sorted(abs(float(x)) for n in names for x in tau[n].flatten())
        limit = sizes[max(0, len(sizes) - int(density * len(sizes)) - 1)]
        trimmed.append({n: tau[n] * (tau[n].abs() >= limit) for n in names})
    out = []
    for tau in trimmed:
        out.append({n: tau[n] * (tau[n] * sum(t[n] for t in trimmed) > 0) for n in names})
    return out


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.linalg.svd(matrix, full_matrices=False)


def polar(matrix: Tensor) -> Tensor:
    U, _, Vh = svd(matrix)
    return U @ Vh


class AdaRank:
    """Parameters as separate scalars and vectors; weights summed component by component."""

    def __init__(
        self, theta0: Model, experts: list[Model], is_matrix, base: str, prior: float, rank: float
    ) -> None:
        self.taus = [{n: e[n] - theta0[n] for n in theta0} for e in experts]
        T = len(experts)
        self.base, self.delta = {}, [{} for _ in experts]
        for n in theta0:
            mean = sum(tau[n] for tau in self.taus) / T
            self.base[n] = theta0[n] + mean if base == "cart" else theta0[n]
            for t in range(T):
                d = self.taus[t][n]
                self.delta[t][n] = d - mean if base == "cart" else d / T if base == "tsv_m" else d
        self.parts = [{} for _ in experts]
        self.names = [n for n in theta0 if any(tau[n].any() for tau in self.taus)]
        for n in filter(is_matrix, self.names):
            r = min(theta0[n].shape)
            spectra = [
                svd(tau[n] if base == "tsv_m" else d[n]) for tau, d in zip(self.taus, self.delta, strict=True)
            ]
            if base == "tsv_m":
                r = r // T
                if r == 0:
                    continue
                U = polar(torch.cat([U[:, :r] for U, _, _ in spectra], 1))
                V = polar(torch.cat([Vh[:r].T for _, _, Vh in spectra], 1))
                cut = [slice(t * r, (t + 1) * r) for t in range(T)]
                spectra = [(U[:, c], s[:r], V[:, c].T) for c, (_, s, _) in zip(cut, spectra, strict=True)]
            for t in range(T):
                self.parts[t][n] = spectra[t]
        self.coefficients = {
            (t, n): torch.tensor(prior, dtype=torch.float64, requires_grad=True)
            for t in range(T)
            for n in self.names
        }
        self.logits = {}
        for t in range(T):
            for n, (_, s, _) in self.parts[t].items():
                start = [0.1 if r < int(rank * len(s)) else -0.1 for r in range(len(s))]
                self.logits[t, n] = torch.tensor(start, dtype=torch.float64, requires_grad=True)

    def weights(self, temperature: float = 10.0, soft: bool = False) -> Model:
        out = dict(self.base)
        for (t, n), coefficient in self.coefficients.items():
            if (t, n) not in self.logits:
                out[n] = out[n] + coefficient * self.delta[t][n]
                continue
            U, s, Vh = self.parts[t][n]
            for r in range(len(s)):
                sigma = 1 / (1 + torch.exp(-self.logits[t, n][r] / temperature))
                hard = 1.0 if self.logits[t, n][r] > 0 else 0.0
                b = sigma if soft else hard + sigma - sigma.detach()
                out[n] = out[n] + coefficient * b * s[r] * torch.outer(U[:, r], Vh[r])
        return out


class Adam:
    """Written out, for one learning rate per parameter."""

    def __init__(self, parameters: list[Tensor], rates: list[float]) -> None:
        self.parameters, self.rates, self.count = parameters, rates, 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    def step(self, gradients: list[Tensor]) -> None:
        self.count += 1
        for i, (p, g, rate) in enumerate(zip(self.parameters, gradients, self.rates, strict=True)):
            self.first[i] = 0.9 * self.first[i] + 0.1 * g
            self.second[i] = 0.999 * self.second[i] + 0.001 * g**2
            mean = self.first[i] / (1 - 0.9**self.count)
            spread = self.second[i] / (1 - 0.999**self.count)
            p.data -= rate * mean / (spread.sqrt() + 1e-8)
