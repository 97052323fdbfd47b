"""A second device on a machine without one: real numbers, and the refusals of CUDA.

Importing it makes the device `elsewhere:0` known to torch. Its tensors hold a CPU tensor, on which everything is
computed, but they report the other device, and every operation insists that its tensors lie together, as CUDA does.
Allocation is registered with torch itself, so that `.to`, `torch.zeros(device=...)` and autograd take it for real.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
_setup_privateuseone_for_python_backend(NAME)
DEVICE, CPU = torch.device(NAME, 0), torch.device("cpu")
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class Elsewhere(Tensor):
    """A tensor of the other device, around the CPU tensor with its numbers."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        looks = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        with torch.inference_mode(False):  # a view of what was made before scoring may be made while scoring
            made = Tensor._make_wrapper_subclass(cls, held.shape, device=DEVICE, **looks)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch.is_inference_mode_enabled() and op._can_decompose():  # then it comes before its parts
            return op.decompose(*args, **kwargs)
        wanted = kwargs.get("device")
        there = wanted is None or torch.device(wanted).type == NAME
        if wanted is not None:
            kwargs["device"] = CPU if there else wanted
        held, written = _Held(op, args), _written(op, args, kwargs)
        if written is not None and not isinstance(written, Elsewhere) and not held.copies:
            raise RuntimeError(f"Expected all tensors to be on the same device; {op} writes from {DEVICE} to the CPU")
        found = op(*held.of(args), **held.of(kwargs))
        if torch.Tag.inplace_view in op.tags:
            with torch._C._DisableTorchDispatch():
                op(*args, **kwargs)  # such as squeeze_: the looks change too
        if written is not None and written.shape == _held(written).shape:
            return written
        assert written is None or "out" in kwargs, f"{op} changes the shape of a tensor in place"
        return _wrapped(found) if there else found

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if not force:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first.")
        return self.held.numpy().copy()

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __deepcopy__(self, memo: dict) -> Elsewhere:
        made = memo[id(self)] = Elsewhere(self.held.clone()).requires_grad_(self.requires_grad)
        made._is_param = getattr(self, "_is_param", False)
        return made

    def __format__(self, spec: str) -> str:
        return format(self.held, spec)

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held!r})"


class _Held:
    """Takes arguments to the CPU, and raises RuntimeError for those that CUDA refuses.

    Single numbers, the other end of a copy, and indices of a tensor that is there may be on the CPU.
    """

    def __init__(self, op: Any, args: tuple) -> None:
        self.op, self.copies = op, op in COPIES
        self.indices = args[1] if op in INDEXING and isinstance(args[0], Elsewhere) else None

    def of(self, value: Any) -> Any:
        if isinstance(value, Elsewhere):
            return value.held
        if isinstance(value, Tensor) and value.ndim and not self.copies:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE} and {value.device}! ({self.op})"
            )
        if isinstance(value, torch.Generator):
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{value.device}'")
        if value is self.indices and value is not None:
            return [_held(index) for index in value]
        if isinstance(value, list | tuple):
            return type(value)(map(self.of, value))
        return {name: self.of(v) for name, v in value.items()} if isinstance(value, dict) else value


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Elsewhere(value)
    return type(value)(map(_wrapped, value)) if isinstance(value, list | tuple) else value


def _written(op: Any, args: tuple, kwargs: dict) -> Any:
    """Return the argument that an operation in place, or with `out`, returns."""
    if not any(found.alias_info is not None and found.alias_info.is_write for found in op._schema.returns):
        return None
    given = {a.name: value for a, value in zip(op._schema.arguments, args, strict=False)} | kwargs
    return next(given[a.name] for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write)


def _made(op: Any, *args: Any, **kwargs: Any) -> Any:
    """What torch asks of the device itself: a new tensor."""
    return _wrapped(op(*args, **{**kwargs, "device": CPU}))


def _copy_from(source: Tensor, target: Elsewhere, non_blocking: bool = False) -> Tensor:
    """What `torch.tensor(..., device=...)` asks for."""
    target.held.copy_(source)
    return target


ANY, BACKEND = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
ANY.fallback(_made, "PrivateUse1")
BACKEND.impl("_copy_from", _copy_from, "PrivateUse1")
