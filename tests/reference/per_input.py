"""Twin-Merging, SMILE, DaWin and the ensemble, slowly: one dense model per input, explicit loops, float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Weights = dict[str, Tensor]


def double(weights) -> Weights:
    """Return all tensors in float64."""
    return {name: weights[name].double() for name in weights}


def leading(matrix: Tensor, k: int) -> Tensor:
    """Return the best approximation of rank k."""
    U, s, Vh = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    out = np.zeros(matrix.shape)
    for i in range(k):
        out += s[i] * np.outer(U[:, i], Vh[i])
    return torch.from_numpy(out)


def task_arithmetic(base: Weights, experts: list[Weights], scaling: float) -> Weights:
    """Return θ_0 + λ Σ τ."""
    return {n: base[n] + scaling * sum(e[n] - base[n] for e in experts) for n in base}


def exclusive(shared: Weights, experts: list[Weights], names: list[str], k) -> list[Weights]:
    """Return v_t of every expert for the named tensors; `k` says how many components a matrix keeps.

    A class token (1, 1, d) is a vector, a position embedding (1, N, d) and patch weights (d, c, p, p) are matrices.
    """
    found = []
    for expert in experts:
        own = {}
        for n in names:
            v = expert[n] - shared[n]
            matrix = v if v.ndim < 3 else v.squeeze()
            if matrix.ndim > 1:
                matrix = matrix.flatten(1)
                v = leading(matrix, k(min(matrix.shape))).reshape(v.shape)
            own[n] = v
        found.append(own)
    return found


def mixed(network, base: Weights, parts: list[Weights], w, x: Tensor) -> Tensor:
    """Return the features of one input under the dense model base + Σ w_t v_t."""
    model = {n: value.clone() for n, value in base.items()}
    for weight, part in zip(w, parts, strict=True):
        for n, value in part.items():
            model[n] = model[n] + float(weight) * value
    return network.features(model, x[None].double())[0]


def tsv_c(base: Weights, experts: list[Weights], names: list[str]) -> list[Weights]:
    """Return every expert with its matrices cut to ⌊r/T⌋ components of their change, all other tensors its own."""
    found = []
    for expert in experts:
        own = dict(expert)
        for n in names:
            own[n] = base[n] + leading(expert[n] - base[n], min(base[n].shape) // len(experts))
        found.append(own)
    return found


def tsv_m(base: Weights, experts: list[Weights], names: list[str], k) -> Weights:
    """Return TSV-M of some experts: `k` components of every matrix made orthogonal, all other tensors averaged."""
    merged = {n: base[n] + sum(e[n] - base[n] for e in experts) / len(experts) for n in base}
    for n in names:
        parts = [np.linalg.svd((e[n] - base[n]).numpy(), full_matrices=False) for e in experts]
        rank = k(min(base[n].shape))
        U = polar(np.concatenate([u[:, :rank] for u, _, _ in parts], 1))
        V = polar(np.concatenate([v[:rank].T for _, _, v in parts], 1))
        s = np.concatenate([s[:rank] for _, s, _ in parts])
        merged[n] = base[n] + torch.from_numpy(U * s @ V.T)
    return merged


def polar(matrix: np.ndarray) -> np.ndarray:
    """Return the nearest matrix with orthonormal columns."""
    U, _, Vh = np.linalg.svd(matrix, full_matrices=False)
    return U @ Vh


def softmax(scores) -> np.ndarray:
    """Return the softmax of one row."""
    scores = np.asarray(scores, dtype=np.float64)
    lifted = np.exp(scores - scores.max())
    return lifted / lifted.sum()


def entropy(logits) -> float:
    """Return the entropy of the softmax of one row, in nats."""
    return -sum(p * np.log(p) for p in softmax(logits) if p > 0)


def router_scores(parameters, z: Tensor) -> np.ndarray:
    """Return what a trained router says of one feature vector, neuron by neuron."""
    own = {n: v.double().numpy() for n, v in parameters.items()}
    hidden = z.double().numpy()
    for layer in ("first", "second"):
        out = []
        for j in range(len(own[f"{layer}.bias"])):
            value = own[f"{layer}.weight"][j] @ hidden + own[f"{layer}.bias"][j]
            value = (value - own[f"{layer}_norm.running_mean"][j]) / np.sqrt(own[f"{layer}_norm.running_var"][j] + 1e-5)
            value = value * own[f"{layer}_norm.weight"][j] + own[f"{layer}_norm.bias"][j]
            out.append(value if value > 0 else 0.01 * value)
        hidden = np.array(out)
    return own["last.weight"] @ hidden + own["last.bias"]


def smile_layer(
    base: Tensor, bias: Tensor, experts: list[tuple[Tensor, Tensor]], tokens: Tensor, sizes, whole: bool = False
) -> Tensor:
    """Return a layer's output for tokens (N, n): every token takes its own experts.

    `experts` are the task vectors of weight and bias; `sizes` are rank, gate rank and top k. The gates read the task
    vectors, or the `whole` weights of the experts.
    """
    rank, gate_rank, top_k = sizes
    rows = []
    for x in tokens:
        norms = []
        for weight, _ in experts:
            Vh = np.linalg.svd((weight + base if whole else weight).numpy(), full_matrices=False)[2][:gate_rank]
            norms.append(np.linalg.norm(Vh @ x.numpy()))
        gates = softmax(norms)
        chosen = np.argsort(-gates)[:top_k]
        y = base @ x + bias
        for t in chosen:
            weight, shift = experts[t]
            y = y + gates[t] / gates[chosen].sum() * (leading(weight, min(rank, *weight.shape)) @ x + shift)
        rows.append(y)
    return torch.stack(rows)
