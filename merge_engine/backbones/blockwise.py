"""Running a backbone block by block, every block under weights of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..problem import MATRIX_KINDS
from .base import ONE_AT_A_TIME, Backbone


@dataclass(frozen=True)
class BlockInput:
    """What a block receives: the hidden state (N, tokens, width) and what else goes through all blocks.

    `real` (N, tokens) is true for tokens that are not padding; None when all are real.
    """

    hidden: Tensor
    rest: tuple[Any, ...]
    options: Mapping[str, Any]
    real: Tensor | None


class _Reached(Exception):
    """Ends a forward pass at the first block."""


def enter(backbone: Backbone, module: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> BlockInput:
    """Return what the first block receives; nothing after it is run."""
    taken: list[tuple[tuple[Any, ...], Mapping[str, Any]]] = []

    def stop(_: nn.Module, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        taken.append((args, options))
        raise _Reached

    with ONE_AT_A_TIME, torch.no_grad():
        hook = module.get_submodule(f"{backbone.blocks}.0").register_forward_pre_hook(stop, with_kwargs=True)
        try:
            backbone.forward(module, weights, inputs)
        except _Reached:
            pass
        finally:
            hook.remove()
    (hidden, *rest), options = taken[0]
    return BlockInput(hidden, tuple(rest), options, backbone.real_tokens(inputs))


def through(
    backbone: Backbone, module: nn.Module, weights: Mapping[str, Tensor], block: int, given: BlockInput
) -> tuple[BlockInput, dict[str, Tensor]]:
    """Return what the next block receives, and what every linear layer of this one did: name to (tokens, n)."""
    prefix = f"{backbone.blocks}.{block}."
    body = module.get_submodule(prefix[:-1])
    own = {name: weights[prefix + name] for name, _ in body.named_parameters()}
    taken: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        taken[name] = args[0].flatten(0, -2) if given.real is None else args[0][given.real]

    with ONE_AT_A_TIME, torch.no_grad():
        hooks = [
            body.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(
                partial(keep, prefix + name)
            )
            for name in own
            if backbone.place(prefix + name).kind in MATRIX_KINDS
        ]
        try:
            made = torch.func.functional_call(body, own, (given.hidden, *given.rest), dict(given.options))
        finally:
            for hook in hooks:
                hook.remove()
    return dataclasses.replace(given, hidden=made[0] if isinstance(made, tuple) else made), taken
