"""8-bit task vectors: one scale per row, nearest rounding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "mergescope-task-vector-int8"


def quantise(task_matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Codes q int8 (m, n) and scales s float32 (m,), q = round(τ / s), s = max|row| / 127.

    The error of an entry is at most half its row's scale; a zero row has scale 0.
    """
    scale = task_matrix.float().abs().amax(1) / 127  # (m,)
    codes = torch.where(scale[:, None] > 0, task_matrix.float() / scale[:, None], 0.0)
    return codes.round().clamp(-127, 127).to(torch.int8), scale


def dequantise(codes: Tensor, scale: Tensor) -> Tensor:
    """The task matrix q ⊙ s that is, by definition, the expert's."""
    return codes.float() * scale[:, None]


def save_task_vector(path: Path, task_vectors: Mapping[str, Tensor], **metadata: str) -> None:
    """Write an expert's 8-bit task vector: int8 matrices with `<name>.scale`, float32 vectors."""
    stored: dict[str, Tensor] = {}
    for name, value in task_vectors.items():
        if value.ndim == 2:
            stored[name], stored[f"{name}.scale"] = quantise(value)
        else:
            stored[name] = value.float().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, path, metadata={"format": FORMAT, **metadata})


def rounded(task_vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The task vectors as they come back from an 8-bit file."""
    return {n: dequantise(*quantise(v)) if v.ndim == 2 else v.float() for n, v in task_vectors.items()}


def relative_error(task_vectors: Mapping[str, Tensor]) -> float:
    """Norm of the rounding error over the norm of the whole task vector."""
    stored = rounded(task_vectors)
    error = sum(float((v.double() - stored[n].double()).square().sum()) for n, v in task_vectors.items())
    total = sum(float(v.double().square().sum()) for v in task_vectors.values())
    return (error / total) ** 0.5 if total else 0.0
