"""Checkpoints as read-only mappings from name to tensor, read one tensor at a time. Never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import WeightsError

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype (safetensors spelling, such as `F16`) of a tensor, from the header alone."""

    shape: tuple[int, ...]
    dtype: str


class SafetensorsWeights(Mapping[str, Tensor]):
    """A safetensors file, an index of shards, or a folder that holds either.

    Raises WeightsError for anything else: a missing, truncated or pickled file, or an incomplete set of shards.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = checkpoint_files(self.path)
        self._where: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}  # opening costs more than reading a tensor, so handles stay open
        for file in self.files:
            for name in self._handle(file).keys():  # noqa: SIM118  (a handle is not a mapping)
                self._where[name] = file
        self.metadata = _metadata(self.files[0])

    def __getitem__(self, name: str) -> Tensor:
        return self._handle(self._where[name]).get_tensor(name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._where))

    def __len__(self) -> int:
        return len(self._where)

    def info(self, name: str) -> TensorInfo:
        """Return shape and dtype without reading the tensor."""
        piece = self._handle(self._where[name]).get_slice(name)
        return TensorInfo(tuple(piece.get_shape()), piece.get_dtype())

    def _handle(self, file: Path) -> Any:
        if file not in self._open:
            self._open[file] = _open(file)
        return self._open[file]

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(file.stat().st_size for file in self.files)


class TaskVectorWeights(Mapping[str, Tensor]):
    """An expert stored as an 8-bit task vector: θ_t = θ_0 + scale ⊙ q, with one float32 scale per row.

    Matrices are int8 `name` with float32 `name.scale` (rows,); vectors are float32 task vectors; tensors absent
    from the file have a zero task vector. Tensors come back in float32.
    """

    def __init__(self, pretrained: Weights, path: str | Path) -> None:
        self.pretrained = pretrained
        self.file = SafetensorsWeights(path)
        stray = [n for n in self.file if n.removesuffix(".scale") not in pretrained]
        if stray:
            raise WeightsError(
                f"{path}: '{stray[0]}' is not a tensor of the pretrained model; use the suite's own file."
            )

    def __getitem__(self, name: str) -> Tensor:
        base = self.pretrained[name].float()
        return base + self.task_vector(name) if name in self.file else base

    def task_vector(self, name: str) -> Tensor:
        """Return the dequantised task vector of a stored tensor, float32."""
        stored = self.file[name]
        if stored.dtype != torch.int8:
            return stored.float()
        return stored.float() * self.file[f"{name}.scale"].float().unsqueeze(1)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pretrained)

    def __len__(self) -> int:
        return len(self.pretrained)

    @property
    def bytes(self) -> int:
        """Size on disk of the task vector alone."""
        return self.file.bytes


class AddedWeights(Mapping[str, Tensor]):
    """θ_0 + Δ, with Δ given for some or all names; float32, where Δ lies."""

    def __init__(self, pretrained: Weights, delta: Weights) -> None:
        self.pretrained, self.delta = pretrained, delta

    def __getitem__(self, name: str) -> Tensor:
        base = self.pretrained[name].float()
        if name not in self.delta:
            return base
        delta = self.delta[name]
        return base.to(delta.device) + delta

    def __iter__(self) -> Iterator[str]:
        return iter(self.pretrained)

    def __len__(self) -> int:
        return len(self.pretrained)


def load_weights(path: str | Path, pretrained: Weights | None = None) -> Weights:
    """Open a checkpoint lazily; an 8-bit task vector needs `pretrained` beside it."""
    weights = SafetensorsWeights(path)
    if "task-vector" in weights.metadata.get("format", ""):
        if pretrained is None:
            raise WeightsError(f"{path} is a task vector, not a whole model; give its pretrained model too.")
        return TaskVectorWeights(pretrained, path)
    return weights


def in_memory(
    weights: Weights, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Read every tensor onto a device, ready for many forward passes; floating-point ones in `dtype`."""
    read = ((name, weights[name]) for name in weights)
    return {name: value.to(device, dtype if value.is_floating_point() else None) for name, value in read}


def fingerprint(tensor: Tensor) -> str:
    """Return a content hash over shape, dtype and bytes."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.blake2b(f"{tuple(tensor.shape)}{tensor.dtype}".encode(), digest_size=16)
    digest.update(
        tensor.view(torch.uint8).numpy().data
        if tensor.ndim
        else bytes(tensor.reshape(1).view(torch.uint8).tolist())
    )
    return digest.hexdigest()


@dataclass(frozen=True)
class Compatibility:
    """What keeps an expert from being merged into a pretrained model."""

    expert: str
    total: int
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()
    nonfinite: tuple[str, ...] = ()
    other_dtype: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        lines = []
        if self.missing:
            lines.append(f"lacks {_some(self.missing)} of {self.total} tensors of the pretrained model")
        if self.misshaped:
            lines.append(f"has other shapes in {_some(self.misshaped)}")
        if self.nonfinite:
            lines.append(f"has NaN or infinite values in {_some(self.nonfinite)}")
        object.__setattr__(self, "problems", tuple(lines))

    @property
    def ok(self) -> bool:
        """True when the expert can be merged; extra tensors and other dtypes are only mentioned."""
        return not self.problems

    def sentence(self) -> str:
        """Return the report in plain words."""
        if self.ok:
            also = f"; {len(self.extra)} extra tensors are ignored" if self.extra else ""
            kinds = (
                f"; {len(self.other_dtype)} tensors are stored in another dtype" if self.other_dtype else ""
            )
            return f"Expert '{self.expert}' fits the pretrained model ({self.total} tensors{also}{kinds})."
        reason = "; ".join(self.problems)
        return f"Expert '{self.expert}' {reason}; use a model fine-tuned from this pretrained model."


def compare(pretrained: Weights, expert: Weights, name: str, *, values: bool = True) -> Compatibility:
    """Report whether `expert` can be merged into `pretrained`; `values` also looks for NaN and infinity."""
    missing = tuple(n for n in pretrained if n not in expert)
    extra = tuple(n for n in expert if n not in pretrained)
    misshaped, nonfinite, dtypes = [], [], []
    for tensor in (n for n in pretrained if n in expert):
        base, other = pretrained[tensor], expert[tensor]
        if base.shape != other.shape:
            misshaped.append(f"{tensor} {tuple(other.shape)} instead of {tuple(base.shape)}")
        elif values and other.is_floating_point() and not torch.isfinite(other).all():
            nonfinite.append(tensor)
        if base.dtype != other.dtype and not isinstance(expert, TaskVectorWeights):
            dtypes.append(tensor)
    return Compatibility(
        name, len(pretrained), missing, extra, tuple(misshaped), tuple(nonfinite), tuple(dtypes)
    )


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} ({shown}{', …' if len(names) > 3 else ''})"


def checkpoint_files(path: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint: a file, an index of shards, or a folder that holds either.

    Raises WeightsError for anything else.
    """
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        return checkpoint_files(index if index.is_file() else _single(path))
    if not path.is_file():
        raise WeightsError(f"There is no file {path}; give a .safetensors file or a folder that holds one.")
    if path.name.endswith(".index.json"):
        return _shards(path)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path.name} is not a safetensors file; pickled checkpoints are never opened, convert it first."
        )
    return [path]


def _single(folder: Path) -> Path:
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise WeightsError(
            f"{folder} holds {len(found)} .safetensors files and no index; name the file to use."
        )
    return found[0]


def _shards(index: Path) -> list[Path]:
    try:
        named = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WeightsError(f"{index} is not an index of shards; it needs a 'weight_map'.") from None
    files = [index.parent / Path(name).name for name in named]
    lost = [file.name for file in files if not file.is_file()]
    if lost:
        raise WeightsError(
            f"{index.parent} lacks {len(lost)} of {len(files)} shards: {', '.join(lost)}; copy them too."
        )
    return files


def _open(file: Path):
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file.name} cannot be read as safetensors ({error}); copy it again.") from None


def _metadata(file: Path) -> dict[str, str]:
    with _open(file) as handle:
        return handle.metadata() or {}
