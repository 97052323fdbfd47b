"""Naive float64 versions of the measurements: numpy's own decompositions, explicit loops, nothing of the engine.

`Tensors` is one model's task vector: a list of arrays, one per tensor. Measurements over several tensors are taken on
what they stand for (one long vector, or a direct sum of subspaces), not on sums of statistics.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray
Tensors = list[np.ndarray]
NAN = float("nan")


def long(model: Tensors) -> Array:
    return np.concatenate([t.ravel() for t in model])


def svd(D: Array) -> tuple[Array, Array, Array]:
    """U, s, V with columns, without what is only rounding."""
    U, s, Vh = np.linalg.svd(D, full_matrices=False)
    k = int((s > 1e-7 * s.max()).sum()) if s.max() > 0 else 0
    return U[:, :k], s[:k], Vh[:k].T


def values(D: Array) -> Array:
    s = np.linalg.svd(D, compute_uv=False)
    return np.where(s > 1e-7 * s.max(), s, 0.0)


def mean(numbers: list[float]) -> float:
    there = [x for x in numbers if not math.isnan(x)]
    return sum(there) / len(there) if there else NAN


# norms and spectra


def length(model: Tensors) -> float:
    return math.sqrt(sum(float(x) ** 2 for t in model for x in t.ravel()))


def stable_rank(D: Array) -> float:
    s = values(D)
    return float((D**2).sum() / s[0] ** 2) if s[0] > 0 else NAN


def effective_rank(D: Array, power: int = 1) -> float:
    weights = values(D) ** power
    if weights.sum() == 0:
        return NAN
    entropy = 0.0
    for w in weights / weights.sum():
        if w > 0:
            entropy -= w * math.log(w)
    return math.exp(entropy)


def flatness(D: Array) -> float:
    s = values(D)
    return s.sum() ** 2 / (len(s) * (s**2).sum()) if s.any() else NAN


def curve(model: Tensors, power: int) -> list[float]:
    """Share of Σ s^power in the i-th largest values of all matrices, i up to k."""
    spectra = [values(D) ** power for D in model]
    total, run, found = sum(w.sum() for w in spectra), 0.0, []
    for i in range(max(len(w) for w in spectra)):
        run += sum(w[i] for w in spectra if i < len(w))
        found.append(run / total if total > 0 else NAN)
    return found


def smallest_rank(energy: list[float], share: float) -> float:
    for k, e in enumerate(energy, 1):
        if e >= share - 1e-9:
            return float(k)
    return NAN


# entries


def trimmed(x: Array, density: float) -> Array:
    """The largest share of one tensor's entries; equals of the smallest kept entry stay."""
    keep = max(1, int(density * x.size))
    bound = sorted(np.abs(x).ravel(), reverse=True)[keep - 1]
    return np.where(np.abs(x) >= bound, x, 0.0)


def agreement(a: Array, b: Array) -> float:
    both = [(x, y) for x, y in zip(a, b, strict=True) if x != 0 and y != 0]
    return sum(x * y > 0 for x, y in both) / len(both) if both else NAN


def conflict(vectors: list[Array]) -> tuple[float, float]:
    """The rate, and what random signs would show on the same entries."""
    hits, chances = [], []
    for entry in zip(*vectors, strict=True):
        moved = [x for x in entry if x != 0]
        if len(moved) >= 2:
            hits.append(min(moved) < 0 < max(moved))
            chances.append(1 - 2.0 ** (1 - len(moved)))
    return (sum(hits) / len(hits), sum(chances) / len(hits)) if hits else (NAN, NAN)


def strengths(vectors: list[Array]) -> tuple[float, list[float]]:
    """The weighted mean, and the share of entries in each of 20 bins."""
    net = gross = 0.0
    bins = [0] * 20
    for entry in zip(*vectors, strict=True):
        up, total = abs(math.fsum(entry)), math.fsum(abs(x) for x in entry)
        if total > 0:
            net, gross = net + up, gross + total
            bins[min(19, int(up / total * 20))] += 1
    return (net / gross, [b / sum(bins) for b in bins]) if gross > 0 else (NAN, [NAN] * 20)


def cosine(a: Array, b: Array) -> float:
    norms = math.sqrt(math.fsum(a * a)) * math.sqrt(math.fsum(b * b))
    return math.fsum(a * b) / norms if norms > 0 else NAN


def cancellation(vectors: list[Array]) -> float:
    below = sum((v**2).sum() for v in vectors)
    return float((sum(vectors) ** 2).sum() / below) if below > 0 else NAN


def masks(vectors: list[Array], threshold: float, unified: Array) -> list[list[bool]]:
    return [[abs(x) > threshold * abs(u - x) for x, u in zip(v, unified, strict=True)] for v in vectors]


def mask_overlap(a: list[bool], b: list[bool]) -> float:
    either = sum(x or y for x, y in zip(a, b, strict=True))
    return sum(x and y for x, y in zip(a, b, strict=True)) / either if either else NAN


# subspaces


def direct_sum(bases: Tensors) -> Array:
    """Block-diagonal matrix of bases (m_l, k_l)."""
    out = np.zeros((sum(b.shape[0] for b in bases), sum(b.shape[1] for b in bases)))
    row = column = 0
    for b in bases:
        out[row : row + b.shape[0], column : column + b.shape[1]] = b
        row, column = row + b.shape[0], column + b.shape[1]
    return out


def subspaces(first: Tensors, second: Tensors) -> dict[str, float]:
    """Orthonormal bases of two models, one per matrix; projectors of the direct sums."""
    smaller = sum(min(a.shape[1], b.shape[1]) for a, b in zip(first, second, strict=True))
    if smaller == 0:
        return dict.fromkeys(("overlap", "grassmann", "projection"), NAN)
    angles = []
    for a, b in zip(first, second, strict=True):
        cosines = np.linalg.svd(a.T @ b, compute_uv=False)[: min(a.shape[1], b.shape[1])]
        angles += [math.acos(min(1.0, c)) for c in cosines]
    U, W = direct_sum(first), direct_sum(second)
    return {
        "overlap": float(((U.T @ W) ** 2).sum() / smaller),
        "grassmann": math.sqrt(sum(a * a for a in angles)),
        "projection": float(np.linalg.norm(U @ U.T - W @ W.T) / math.sqrt(2)),
    }


def top(D: Array, k: int, side: int) -> Array:
    """Leading singular vectors as columns; side 0 is left, 1 right."""
    return svd(D)[2 * side][:, :k] if D.any() else np.zeros((D.shape[side], 0))


def joint_terms(A: Array, B: Array, k: int) -> Array:
    (U, s, V), (W, q, Z) = svd(A), svd(B)
    out = np.zeros((k, k))
    for a in range(min(k, len(s))):
        for b in range(min(k, len(q))):
            out[a, b] = s[a] * q[b] * (U[:, a] @ W[:, b]) * (V[:, a] @ Z[:, b])
    return out


def sti_product(matrices: list[Array], k: int) -> tuple[Array, list[int], float]:
    """(UᵀU − I) S (VᵀV − I), which expert each column belongs to, and Σ s."""
    parts = [tuple(p[..., :k] for p in svd(D)) for D in matrices]
    U, s, V = (np.concatenate([p[i] for p in parts], -1) for i in range(3))
    owner = [t for t, p in enumerate(parts) for _ in p[1]]
    unit = np.eye(len(s))
    return (U.T @ U - unit) @ np.diag(s) @ (V.T @ V - unit), owner, float(s.sum())


def sti_routes(matrices: list[Array], k: int) -> Array:
    """Block (i, j) through third experts: Σ_{l ∉ {i, j}} U_iᵀ U_l S_l V_lᵀ V_j, absolute entries summed."""
    parts = [tuple(p[..., :k] for p in svd(D)) for D in matrices]
    out = np.zeros((len(parts), len(parts)))
    for i, (Ui, _, _) in enumerate(parts):
        for j, (_, _, Vj) in enumerate(parts):
            block = np.zeros((Ui.shape[1], Vj.shape[1]))
            for third, (U, s, V) in enumerate(parts):
                if third not in (i, j):
                    block += Ui.T @ U @ np.diag(s) @ V.T @ Vj
            out[i, j] = np.abs(block).sum()
    return out


def sar(D: Array, M: Array, tolerance: float) -> float:
    U, s, _ = svd(M)
    if not len(s) or not D.any():
        return NAN
    k = next(k for k in range(len(s) + 1) if (s[k:] ** 2).sum() <= tolerance**2 * (s**2).sum())
    return float(np.linalg.norm(U[:, :k] @ U[:, :k].T @ D) / np.linalg.norm(D))


def svc(matrices: list[Array], M: Array, floor: float) -> tuple[Array, list[float]]:
    """p (T, r) and γ (r)."""
    U, s, _ = svd(M)
    p = np.full((len(matrices), len(s)), NAN)
    gains = []
    for r in range(len(s)):
        below = 0.0
        for t, D in enumerate(matrices):
            merged, own = U[:, r] @ M, U[:, r] @ D
            if own @ own > 1e-12 * (D**2).sum():
                p[t, r] = (merged @ own) / (own @ own)
            below += floor if math.isnan(p[t, r]) else max(floor, p[t, r])
        gains.append(len(matrices) / below)
    return p, gains


def zones(D: Array, W: Array, share: float) -> tuple[float, float, float, int]:
    """Energies of D in the leading, the other and the unused right singular directions of W; and k."""
    _, s, V = svd(W)
    k = next(k for k in range(1, len(s) + 1) if s[:k].sum() >= share * s.sum())
    top = sum(float(((D @ V[:, i]) ** 2).sum()) for i in range(k))
    rest = sum(float(((D @ V[:, i]) ** 2).sum()) for i in range(k, len(s)))
    null = D - D @ V @ V.T
    return top, rest, float((null**2).sum()), k


def coupling(model: Tensors) -> float:
    off = whole = 0.0
    for D in model:
        for a in range(D.shape[1]):
            for b in range(D.shape[1]):
                product = float(D[:, a] @ D[:, b]) ** 2
                whole += product
                off += product if a != b else 0.0
    return math.sqrt(off / whole) if whole > 0 else NAN


# features and predictions


def cka(X: Array, Y: Array) -> float:
    n = len(X)
    H = np.eye(n) - np.ones((n, n)) / n
    K, L = H @ X @ X.T @ H, H @ Y @ Y.T @ H
    return float(np.trace(K @ L) / math.sqrt(np.trace(K @ K) * np.trace(L @ L)))


def cka_debiased(X: Array, Y: Array) -> float:
    def hsic(A: Array, B: Array) -> float:
        n, one = len(A), np.ones(len(A))
        K, L = A @ A.T, B @ B.T
        np.fill_diagonal(K, 0)
        np.fill_diagonal(L, 0)
        middle = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
        return (np.trace(K @ L) + middle - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))

    return hsic(X, Y) / math.sqrt(hsic(X, X) * hsic(Y, Y))


def wilson(correct: int, n: int, z: float) -> tuple[float, float]:
    """The ends solve |p̂ − p| = z √(p(1−p)/n); found by bisection."""

    def end(inside: float, outside: float) -> float:
        for _ in range(200):
            middle = (inside + outside) / 2
            fits = abs(correct / n - middle) <= z * math.sqrt(middle * (1 - middle) / n)
            inside, outside = (middle, outside) if fits else (inside, middle)
        return inside

    return end(correct / n, 0.0), end(correct / n, 1.0)


def calibration_error(confidence: Array, correct: Array, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins]
        if inside:
            gap = sum(float(correct[i]) for i in inside) - sum(float(confidence[i]) for i in inside)
            total += abs(gap) / len(confidence)
    return total


def softmax(logits: Array) -> Array:
    return np.array([[math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in logits])


def entropy(p: Array) -> float:
    return -sum(float(x) * math.log(x) for row in p for x in row if x > 0) / len(p)
