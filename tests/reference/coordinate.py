"""Naive float64 versions of the coordinate-wise methods, written from their formulas with plain loops.

Every function takes the pretrained model `theta0` and the `experts` as dictionaries of arrays, in the order of the
tasks, and returns the merged model as such a dictionary, or one per task. They share nothing with the engine.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

Model = dict[str, np.ndarray]


def average(theta0: Model, experts: list[Model]) -> Model:
    return {n: sum(e[n] for e in experts) / len(experts) for n in theta0}


def linear(theta0: Model, experts: list[Model], weights=(), normalise=True) -> Model:
    weights = list(weights) or [1 / len(experts)] * len(experts)
    divisor = sum(weights) if normalise else 1.0
    return {n: sum(w * e[n] for w, e in zip(weights, experts, strict=True)) / divisor for n in theta0}


def ties(
    theta0: Model, experts: list[Model], density=0.2, scope="global", merge_by="mean", weights=(),
    weighting="after", scaling=1.0,
) -> Model:  # fmt: skip
    taus = _task_vectors(theta0, experts)
    trimmed = _trim_globally(taus, density) if scope == "global" else _trim_each(taus, density)
    ones = [1.0] * len(taus)
    given = list(weights) or ones
    votes = given if weighting == "before" else ones
    signs = _elect(trimmed, votes, per_tensor=scope == "tensor")
    values = ones if weighting == "none" else given
    merged = _disjoint(trimmed, signs, merge_by, values, given if weighting == "before" else ones)
    return {n: theta0[n] + scaling * merged[n] for n in theta0}


def dare(
    theta0: Model, experts: list[Model], uniforms, matrices=(), density=0.5, rescale="inverse", combine="linear",
    trim=0.2, merge_by="sum", tensors="all", scaling=0.3,
) -> Model:  # fmt: skip
    """`uniforms[t][n]` are the draws in [0, 1); `matrices` names the tensors that `tensors="matrices"` drops."""
    taus = _task_vectors(theta0, experts)
    dropped = []
    for tau, draw in zip(taus, uniforms, strict=True):
        probability = {n: np.full(v.shape, density) for n, v in tau.items()}
        hit = tau if tensors == "all" else {n: tau[n] for n in matrices}
        dropped.append(tau | {n: _drop(tau[n], probability[n], draw[n], rescale) for n in hit})
    if combine == "linear":
        return {n: theta0[n] + scaling * sum(d[n] for d in dropped) for n in theta0}
    trimmed = _trim_globally(dropped, trim)
    merged = _disjoint(trimmed, _elect(trimmed), merge_by)
    return {n: theta0[n] + scaling * merged[n] for n in theta0}


def della(
    theta0: Model, experts: list[Model], uniforms, density=0.5, epsilon=0.15, rescale="l1", combine="ties",
    merge_by="mean", scaling=1.0,
) -> Model:  # fmt: skip
    epsilon = min(epsilon, density, 1 - density)
    kept = []
    for tau, draw in zip(_task_vectors(theta0, experts), uniforms, strict=True):
        dropped = {}
        for n, value in tau.items():
            probability = np.empty(value.shape)
            for row, into in zip(_rows(value), _rows(probability), strict=True):
                for i, entry in enumerate(row):
                    smaller = sum(abs(other) < abs(entry) for other in row)
                    equal_before = sum(abs(other) == abs(entry) for other in row[:i])
                    rank = 1 + smaller + equal_before
                    share = (rank - 1) / (len(row) - 1) if len(row) > 1 else 0.5
                    into[i] = (density - epsilon) + 2 * epsilon * share
            dropped[n] = _drop(value, probability, draw[n], rescale)
        kept.append(dropped)
    if combine == "linear":
        return {n: theta0[n] + scaling * sum(k[n] for k in kept) for n in theta0}
    merged = _disjoint(kept, _elect(kept, per_tensor=True), merge_by)
    return {n: theta0[n] + scaling * merged[n] for n in theta0}


def breadcrumbs(
    theta0: Model, experts: list[Model], density=0.15, gamma=0.01, combine="sum", scaling=0.3
) -> Model:
    kept = []
    for tau in _task_vectors(theta0, experts):
        out = {}
        for n, value in tau.items():
            ascending = sorted(abs(value).ravel())
            count = len(ascending)
            stay, outliers = int(density * count), int(gamma * count)
            lost = max(0, count - stay - outliers)
            band = ascending[lost : lost + stay]
            inside = (abs(value) >= band[0]) & (abs(value) <= band[-1]) if band else np.zeros(value.shape, bool)
            out[n] = np.where(inside, value, 0.0)
        kept.append(out)
    if combine == "sum":
        return {n: theta0[n] + scaling * sum(k[n] for k in kept) for n in theta0}
    merged = _disjoint(kept, _elect(kept, per_tensor=True), "sum")
    return {n: theta0[n] + scaling * merged[n] for n in theta0}


def slerp(theta0: Model, experts: list[Model], t=0.5) -> Model:
    first, second = experts
    return {n: _arc(first[n], second[n], t, lambda c: abs(c) > 0.9995) for n in theta0}


def nuslerp(theta0: Model, experts: list[Model], weights=(), per="tensor", between="task-vectors") -> Model:
    weights = list(weights) or [1.0, 1.0]
    total = sum(weights)
    t = 0.5 if abs(total) < 1e-6 else weights[1] / total
    start = {n: np.zeros_like(v) for n, v in theta0.items()} if between == "weights" else theta0
    merged = {}
    for n in theta0:
        a, b = (e[n] - start[n] for e in experts)
        out = np.empty(a.shape)
        for x, y, into in zip(*(_pieces(v, per) for v in (a, b, out)), strict=True):
            into[...] = _arc(x, y, t, lambda c: 1 - c**2 <= 1e-16)
        merged[n] = start[n] + out
    return merged


def model_stock(theta0: Model, experts: list[Model], mean="cosine", per="tensor") -> Model:
    count = len(experts)
    merged = {}
    for n in theta0:
        mine = [e[n] - theta0[n] for e in experts]
        out = np.empty(theta0[n].shape)
        pieces = [_pieces(v, "rows" if per == "rows" else "tensor") for v in (*mine, out)]
        for *vectors, into in zip(*pieces, strict=True):
            cosines = [_cosine(a, b) for a, b in itertools.combinations(vectors, 2)]
            if mean == "cosine":
                c = sum(cosines) / len(cosines)
            else:
                c = math.cos(sum(math.acos(x) for x in cosines) / len(cosines))
            c = min(1.0, max(0.0, c))
            t = count * c / (1 + (count - 1) * c)
            into[...] = t * sum(vectors) / count
        merged[n] = theta0[n] + out
    return merged


def pcb(theta0: Model, experts: list[Model], variant="vision", ratio=0.05, weights=(), scaling=1.2) -> Model:
    tau = np.stack([_joined(v) for v in _task_vectors(theta0, experts)])
    T, d = tau.shape
    edge = {"vision": 0.01, "top-level": 0.0001}[variant]
    a = np.empty_like(tau)
    for t in range(T):
        ascending = sorted(abs(tau[t]))
        low, high = ascending[int(d * edge)], ascending[max(0, int(d * (1 - edge) - 1))]
        a[t] = [min(high, max(low, abs(x))) for x in tau[t]]
    size = np.stack([_min_max(row) for row in a])
    total = (np.sign(tau) * size).sum(0) if variant == "vision" else tau.sum(0)
    score = np.exp(T * size**2) * np.tanh(tau * total)
    scale = np.empty_like(score)
    for t in range(T):
        cut = sorted(score[t])[min(int(d * (1 - ratio)), d - 1)]
        scale[t] = _min_max(np.array([max(x, cut) for x in score[t]]))
    merged = np.zeros(d)
    given = list(weights) or [1.0] * T
    for i in range(d):
        over = sum(given[t] * np.sign(tau[t, i]) * a[t, i] * scale[t, i] for t in range(T))
        merged[i] = over / max(sum(scale[t, i] for t in range(T)), 1e-12)
    return {n: theta0[n] + scaling * v for n, v in _split(merged, theta0).items()}


def consensus(
    theta0: Model, experts: list[Model], k=2, threshold=0.4, thresholds=(), base="sum", density=0.2, scaling=0.3
) -> Model:
    taus = _task_vectors(theta0, experts)
    merged = _multi_task(taus, base, density)
    masks = _tall(taus, merged, list(thresholds) or [threshold] * len(taus))
    votes = {n: sum(m[n].astype(int) for m in masks) for n in theta0}
    return {n: theta0[n] + scaling * np.where(votes[n] >= k, merged[n], 0.0) for n in theta0}


def tall_mask(
    theta0: Model, experts: list[Model], threshold=0.4, thresholds=(), base="sum", density=0.2
) -> list[Model]:
    taus = _task_vectors(theta0, experts)
    merged = _multi_task(taus, base, density)
    masks = _tall(taus, merged, list(thresholds) or [threshold] * len(taus))
    return [{n: theta0[n] + m[n] * merged[n] for n in theta0} for m in masks]


def emr(theta0: Model, experts: list[Model], rescale="means") -> list[Model]:
    taus = _task_vectors(theta0, experts)
    unified = {n: np.zeros(v.shape) for n, v in theta0.items()}
    for n in theta0:
        for place in np.ndindex(theta0[n].shape):
            column = [tau[n][place] for tau in taus]
            sign = 1.0 if sum(column) > 0 else -1.0
            unified[n][place] = sign * max([abs(x) for x in column if x * sign > 0], default=0.0)
    served = []
    for tau in taus:
        masked = {n: np.where(tau[n] * unified[n] > 0, unified[n], 0.0) for n in theta0}
        size = np.mean if rescale == "means" else np.sum
        over, under = (sum(float(size(abs(v[n]))) for n in theta0) for v in (tau, masked))
        number = over / under if under > 0 else 1.0
        served.append({n: theta0[n] + number * masked[n] for n in theta0})
    return served


def magmax(theta0: Model, experts: list[Model], scaling=0.5) -> Model:
    taus = _task_vectors(theta0, experts)
    merged = {n: np.zeros(v.shape) for n, v in theta0.items()}
    for n in theta0:
        for place in np.ndindex(theta0[n].shape):
            for tau in taus:
                if abs(tau[n][place]) >= abs(merged[n][place]):
                    merged[n][place] = tau[n][place]
    return {n: theta0[n] + scaling * merged[n] for n in theta0}


def _task_vectors(theta0: Model, experts: list[Model]) -> list[Model]:
    return [{n: e[n] - theta0[n] for n in theta0} for e in experts]


def _joined(model: Model) -> np.ndarray:
    return np.concatenate([model[n].ravel() for n in model])


def _split(vector: np.ndarray, like: Model) -> Model:
    out, at = {}, 0
    for n, v in like.items():
        out[n] = vector[at : at + v.size].reshape(v.shape)
        at += v.size
    return out


def _trim_globally(taus: list[Model], density: float) -> list[Model]:
    trimmed = []
    for tau in taus:
        ascending = sorted(abs(_joined(tau)))
        count = len(ascending)
        bound = ascending[max(0, count - int(density * count) - 1)]
        trimmed.append({n: np.where(abs(v) >= bound, v, 0.0) for n, v in tau.items()})
    return trimmed


def _trim_each(taus: list[Model], density: float) -> list[Model]:
    trimmed = []
    for tau in taus:
        out = {}
        for n, v in tau.items():
            bound = sorted(abs(v).ravel(), reverse=True)[max(1, int(density * v.size)) - 1]
            out[n] = np.where(abs(v) >= bound, v, 0.0)
        trimmed.append(out)
    return trimmed


def _elect(taus: list[Model], votes=None, per_tensor=False) -> Model:
    votes = votes or [1.0] * len(taus)
    signs = {n: np.empty(v.shape) for n, v in taus[0].items()}
    for n, sign in signs.items():
        for place in np.ndindex(sign.shape):
            sign[place] = np.sign(math.fsum(w * tau[n][place] for w, tau in zip(votes, taus, strict=True)))
    whole = np.sign(sum(float(s.sum()) for s in signs.values()))
    return {n: np.where(s == 0, np.sign(s.sum()) if per_tensor else whole, s) for n, s in signs.items()}


def _disjoint(taus: list[Model], signs: Model, how: str, weights=None, divisors=None) -> Model:
    ones = [1.0] * len(taus)
    weights, divisors = weights or ones, divisors or ones
    merged = {n: np.zeros(v.shape) for n, v in signs.items()}
    for n, out in merged.items():
        for place in np.ndindex(out.shape):
            mine = [(w * tau[n][place], d) for tau, w, d in zip(taus, weights, divisors, strict=True)
                    if tau[n][place] * signs[n][place] > 0]  # fmt: skip
            if not mine:
                continue
            total = sum(value for value, _ in mine)
            count = sum(divisor for _, divisor in mine)
            largest = max(abs(value) for value, _ in mine) * signs[n][place]
            out[place] = {"sum": total, "max": largest, "mean": total / count if count else 0.0}[how]
    return merged


def _drop(value: np.ndarray, probability: np.ndarray, draw: np.ndarray, rescale: str) -> np.ndarray:
    kept = np.zeros(value.shape)
    for place in np.ndindex(value.shape):
        if draw[place] < probability[place]:
            kept[place] = value[place] / (probability[place] if rescale == "inverse" else 1.0)
    if rescale == "l1" and abs(kept).sum() > 0:
        kept = kept * abs(value).sum() / abs(kept).sum()
    return kept


def _rows(value: np.ndarray) -> np.ndarray:
    """A view of one row per output; a tensor below two dimensions is one row."""
    return value.reshape(value.shape[0] if value.ndim > 1 else 1, -1)


def _pieces(value: np.ndarray, per: str) -> np.ndarray:
    """A view of the vectors that are interpolated one by one."""
    if per == "tensor" or value.ndim < 2:
        return value.reshape(1, -1)
    return _rows(value) if per == "rows" else _rows(value).T


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
    return min(1.0, max(-1.0, float((a * b).sum()) / norms)) if norms > 0 else 0.0


def _arc(a: np.ndarray, b: np.ndarray, t: float, collinear) -> np.ndarray:
    c = _cosine(a, b)
    if collinear(c):
        return (1 - t) * a + t * b
    angle = math.acos(c)
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def _min_max(values: np.ndarray) -> np.ndarray:
    low, high = min(values), max(values)
    return np.array([(v - low) / (high - low) if high > low else 0.0 for v in values])


def _multi_task(taus: list[Model], base: str, density: float) -> Model:
    if base == "sum":
        return {n: sum(tau[n] for tau in taus) for n in taus[0]}
    trimmed = _trim_globally(taus, density)
    return _disjoint(trimmed, _elect(trimmed), "sum")


def _tall(taus: list[Model], merged: Model, thresholds: list[float]) -> list[Model]:
    return [
        {n: abs(tau[n]) > bound * abs(merged[n] - tau[n]) for n in merged}
        for tau, bound in zip(taus, thresholds, strict=True)
    ]
