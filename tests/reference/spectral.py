"""Naive float64 versions of the spectral methods, of WUDI, RegMean and Fisher, and of the post-steps.

Written from the formulas with `torch.linalg.svd`, explicit inverses, loops and autograd; they share nothing with the
engine. Most take the task matrices `D` as a list of float64 tensors of one shape and return one tensor of that shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

Matrices = list[Tensor]


def svd(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    U, s, Vh = torch.linalg.svd(A.double(), full_matrices=False)
    return U, s, Vh


def rank_of(s: Tensor, floor: float = 1e-6) -> int:
    return int((s > floor * s.max()).sum()) if len(s) and s.max() > 0 else 0


def polar(A: Tensor) -> Tensor:
    """Partial isometry: unit singular values, those below 1e-6 of the largest dropped."""
    U, s, Vh = svd(A)
    k = rank_of(s)
    return U[:, :k] @ Vh[:k]


def best_rank(A: Tensor, k: int) -> Tensor:
    U, s, Vh = svd(A)
    out = torch.zeros_like(A)
    for i in range(k):
        out = out + s[i] * torch.outer(U[:, i], Vh[i])
    return out


def tsv_m(D: Matrices, weights: list[float] | None = None) -> Tensor:
    weights = weights or [1.0] * len(D)
    r = min(D[0].shape)
    k = r // len(D)
    if k == 0:
        return sum(w * d for w, d in zip(weights, D, strict=True)) / len(D)
    left, values, right = [], [], []
    for w, d in zip(weights, D, strict=True):
        U, s, Vh = svd(w * d)
        for i in range(min(k, rank_of(s))):
            left.append(U[:, i])
            values.append(s[i])
            right.append(Vh[i])
    if not values:
        return torch.zeros_like(D[0])
    return polar(torch.stack(left, 1)) @ torch.diag(torch.stack(values)) @ polar(torch.stack(right, 1)).T


def tsv_c(D: Matrices) -> Matrices:
    k = min(D[0].shape) // len(D)
    return [best_rank(d, k) if k else d for d in D]


def iso_c(D: Matrices) -> Tensor:
    U, s, Vh = svd(sum(D))
    k = rank_of(s)
    return s.mean() * U[:, :k] @ Vh[:k]


def iso_cts(D: Matrices, fraction: float = 0.8) -> Tensor:
    T, r = len(D), min(D[0].shape)
    own = round((r - int(fraction * r)) / T)
    while T * own > r:
        own -= 1
    if own == 0:
        return iso_c(D)
    U, s, Vh = svd(sum(D))
    c = r - T * own
    sure = min(c, rank_of(s))
    left, values, right = [], [], []
    for d in D:
        rest = d - U[:, :sure] @ U[:, :sure].T @ d
        u, v, w = svd(rest)
        values += list(v[:own])
        for i in range(own):
            if v[i] > 1e-6 * d.norm():
                left.append(u[:, i])
                right.append(w[i])
    values += list(s[:c])
    for i in range(sure):
        left.append(U[:, i])
        right.append(Vh[i])
    mean = sum(values) / len(values)
    return mean * polar(torch.stack(left, 1)) @ polar(torch.stack(right, 1)).T


def cart(W: Matrices, W0: Tensor, scaling=2.0, rank=0.12, rank_rule="fraction", centre="average") -> Tensor:
    """From the experts' weights to the merged weights."""
    base = sum(W) / len(W) if centre == "average" else W0
    out = base.clone()
    for w in W:
        U, s, Vh = svd(w - base)
        if rank == 0:
            k = 0
        elif rank_rule == "fraction":
            k = max(1, int(rank * len(s)))
        else:
            k = 1
            while (s[:k] ** 2).sum() < rank * (s**2).sum():
                k += 1
        for i in range(k):
            out = out + scaling * s[i] * torch.outer(U[:, i], Vh[i])
    return out


def aligned(D: Matrices, floor: float = 1e-5) -> tuple[Tensor, Matrices]:
    """KnOTS: the shared basis and every task's coordinates in it."""
    U, s, Vh = svd(torch.cat(D, 1))
    keep = [i for i in range(len(s)) if s[i] > floor]
    n = D[0].shape[1]
    Z = [torch.stack([s[i] * Vh[i, t * n : (t + 1) * n] for i in keep]) for t in range(len(D))]
    return U[:, keep], Z


def elect_and_average(Z: Matrices) -> Tensor:
    out = torch.zeros_like(Z[0])
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = sum(float(z[i, j]) for z in Z)
            agree = [float(z[i, j]) for z in Z if float(z[i, j]) * total > 0]
            out[i, j] = sum(agree) / len(agree) if agree else 0.0
    return out


def knots(
    D_by_name: dict[str, Matrices], rule="ties", density=0.2, scope="global", floor=1e-5, masks=None, drop=0.1
):
    """All matrices at once, since Ties trims over the model; `masks[t][name]` are what DARE keeps."""
    bases, coordinates = {}, {}
    for name, D in D_by_name.items():
        bases[name], coordinates[name] = aligned(D, floor)
    T = len(next(iter(D_by_name.values())))
    out = {}
    limits = []
    for t in range(T):
        sizes = sorted(abs(float(x)) for Z in coordinates.values() for x in Z[t].flatten())
        limits.append(sizes[max(0, len(sizes) - int(density * len(sizes)) - 1)])
    for name, Z in coordinates.items():
        if rule == "sum":
            out[name] = bases[name] @ sum(Z)
            continue
        chosen = []
        for t in range(T):
            if rule == "dare":
                chosen.append(masks[t][name] * Z[t] / (1 - drop))
                continue
            limit = limits[t]
            if scope == "tensor":
                sizes = sorted((abs(float(x)) for x in Z[t].flatten()), reverse=True)
                limit = sizes[max(1, int(density * len(sizes))) - 1]
            chosen.append(Z[t] * (Z[t].abs() >= limit))
        out[name] = bases[name] @ elect_and_average(chosen)
    return out


def wudi_loss(M: Tensor, D: Matrices) -> Tensor:
    return sum((((M - d) @ d.T) ** 2).sum() / (d**2).sum() for d in D if (d**2).sum() > 0)


def wudi(D: Matrices, steps: int, learning_rate: float) -> tuple[Tensor, list[float]]:
    """Adam written out, on the gradient that autograd gives; and the loss before every step and at the end."""
    M = sum(D).clone()
    first = torch.zeros_like(M)
    second = torch.zeros_like(M)
    losses = []
    for step in range(1, steps + 1):
        variable = M.clone().requires_grad_()
        loss = wudi_loss(variable, D)
        (gradient,) = torch.autograd.grad(loss, variable)
        losses.append(float(loss.detach()))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**step), second / (1 - 0.999**step)
        M = M - learning_rate * corrected[0] / (corrected[1].sqrt() + 1e-8)
    return M, [*losses, float(wudi_loss(M, D))]


def wudi_end(D: Matrices, ridge: float) -> Tensor:
    A = sum(d.T @ d / (d**2).sum() for d in D)
    B = sum(d @ (d.T @ d) / (d**2).sum() for d in D)
    eps = ridge * A.trace() / len(A)
    return (B + eps * sum(D)) @ torch.linalg.inv(A + eps * torch.eye(len(A), dtype=A.dtype))


def shrunk(G: Tensor, a: float) -> Tensor:
    out = G.clone()
    for i in range(len(G)):
        for j in range(len(G)):
            if i != j:
                out[i, j] = a * G[i, j]
    return out


def regmean(W: Matrices, W0: Tensor, X: Matrices, a: float = 0.95, ridge: float = 0.0) -> Tensor:
    """With ridge 0 this is (Σ W_t G_t)(Σ G_t)⁻¹; the ridge pulls the task vector to zero."""
    G = [shrunk(x.T @ x / len(x), a) for x in X]
    total = sum(G)
    eps = ridge * total.trace() / len(total)
    right = sum((w - W0) @ g for w, g in zip(W, G, strict=True))
    return W0 + right @ torch.linalg.inv(total + eps * torch.eye(len(total), dtype=total.dtype))


def fisher(logits_of, weights: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    """Mean over examples of Σ_c p_c (∂ log p_c/∂θ)², one example and one class at a time."""
    out = {n: torch.zeros_like(w) for n, w in weights.items()}
    for x in inputs:
        free = {n: w.clone().requires_grad_() for n, w in weights.items()}
        log_p = logits_of(free, x[None])[0].log_softmax(0)
        for c in range(len(log_p)):
            grads = torch.autograd.grad(log_p[c], list(free.values()), retain_graph=True, allow_unused=True)
            for name, g in zip(free, grads, strict=True):
                if g is not None:
                    out[name] += log_p[c].detach().exp() * g**2 / len(inputs)
    return out


def fisher_of_batches(
    logits_of, weights: dict[str, Tensor], inputs: Tensor, batch: int = 32
) -> dict[str, Tensor]:
    """Square of the gradient of Σ_x Σ_c √p_c log p_c, batch by batch, over the number of examples."""
    out = {n: torch.zeros_like(w) for n, w in weights.items()}
    for start in range(0, len(inputs), batch):
        free = {n: w.clone().requires_grad_() for n, w in weights.items()}
        log_p = logits_of(free, inputs[start : start + batch]).log_softmax(-1)
        value = (log_p.detach().exp().sqrt() * log_p).sum()
        grads = torch.autograd.grad(value, list(free.values()), allow_unused=True)
        for name, g in zip(free, grads, strict=True):
            if g is not None:
                out[name] += g**2 / len(inputs)
    return out


def fisher_average(taus: Matrices, F: Matrices) -> Tensor:
    out = torch.zeros_like(taus[0]).flatten()
    rows = [t.flatten() for t in taus], [f.flatten() for f in F]
    for e in range(out.numel()):
        weights = [float(f[e]) for f in rows[1]]
        values = [float(t[e]) for t in rows[0]]
        if sum(weights) > 0:
            out[e] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        else:
            out[e] = sum(values) / len(values)
    return out.reshape(taus[0].shape)


def library_fisher_average(models: list[dict[str, Tensor]], F: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """FusionBench: weights (F_t + 1e-6) / (|F_t| + 1e-6), the norm over the whole model."""
    norms = [torch.cat([v.flatten() for v in f.values()]).norm() for f in F]
    out = {}
    for name in models[0]:
        weights = [(f[name] + 1e-6) / (norm + 1e-6) for f, norm in zip(F, norms, strict=True)]
        out[name] = sum(w * m[name] for w, m in zip(weights, models, strict=True)) / sum(weights)
    return out


def svc(merged: Tensor, D: Matrices, floor: float = 0.1) -> tuple[Tensor, list[float]]:
    U, s, Vh = svd(merged)
    out = torch.zeros_like(merged)
    gammas = []
    for r in range(len(s)):
        mine = U[:, r] @ merged
        total = 0.0
        for d in D:
            own = U[:, r] @ d
            p = float(mine @ own / (own @ own)) if own.norm() > 1e-6 * d.norm() else float("nan")
            total += max(floor, p)  # NaN is not larger, so it counts as the floor
        gammas.append(len(D) / total)
        out = out + gammas[-1] * s[r] * torch.outer(U[:, r], Vh[r])
    return out, gammas


def subspace_boosting(merged: Tensor, beta: float = 0.01) -> Tensor:
    U, s, Vh = svd(merged)
    k, running = 0, s[0]
    while running < beta * s.sum():
        k += 1
        running = running + s[k]
    out = torch.zeros_like(merged)
    for i in range(rank_of(s)):
        out = out + max(s[i], s[k]) * torch.outer(U[:, i], Vh[i])
    return out


def lines(
    merged: dict[str, Tensor], taus: list[dict[str, Tensor]], block_of, depth: int, beta: float, alpha=None
):
    if alpha is None:
        summed = sum(sum(tau[n] for tau in taus).abs().sum() for n in merged)
        alpha = summed / sum(v.abs().sum() for v in merged.values()) / len(taus)
    out = {}
    for name, value in merged.items():
        block = block_of(name)
        out[name] = (alpha if block is None else alpha + beta * block / (depth - 1)) * value
    return out
