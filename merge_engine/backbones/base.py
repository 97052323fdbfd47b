"""The one seam between the engine and an architecture."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..problem import MATRIX_KINDS, Place
from ..routing.prediction import Change, Changes

ONE_AT_A_TIME = threading.RLock()  # functional_call swaps the parameters of a module that threads share


def _changed(change: Change, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return change(layer, args[0], output)


@dataclass(frozen=True)
class Backbone(ABC):
    """An architecture: how to build it, feed it, read features from it and name its tensors."""

    name: ClassVar[str]
    blocks: ClassVar[str]  # dotted path of the list of blocks inside the module
    suffixes: ClassVar[Mapping[str, str]]  # layer path inside a block -> matrix kind
    outside: ClassVar[Mapping[str, str]]  # part of a name outside the blocks -> kind

    attention: str = "sdpa"

    # what a family writes -------------------------------------------------------------

    @abstractmethod
    def model(self, config: Mapping[str, Any]) -> nn.Module:
        """The untrained transformers module of this configuration, without dropout."""

    @abstractmethod
    def call(self, inputs: Tensor) -> tuple[tuple, dict[str, Any]]:
        """Positional and keyword arguments of the module's forward for a batch of inputs."""

    @abstractmethod
    def pool(self, output: Any, inputs: Tensor) -> Tensor:
        """Features (N, D) from what the module returns."""

    @abstractmethod
    def pool_block(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """One vector per input (N, width) from the hidden state after a block."""

    def mean_token(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the tokens that are no padding (N, width) of the hidden state after a block."""
        real = self.real_tokens(inputs)
        if real is None:
            return hidden.mean(1)
        mask = real.unsqueeze(-1).to(hidden)
        return (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)

    @abstractmethod
    def prepare(self, raw: Any) -> Tensor:
        """Inputs of the module, as one tensor with the batch first."""

    def buffers(self, module: nn.Module) -> dict[str, Tensor]:
        """Values of the buffers no checkpoint carries."""
        return {}

    def real_tokens(self, inputs: Tensor) -> Tensor | None:
        """Boolean (N, tokens) of the tokens that are not padding; None when all are."""
        return None

    def settings(self, config: Mapping[str, Any], **fixed: Any) -> dict[str, Any]:
        """The configuration as transformers takes it, with fixed values on top."""
        kept = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
        return {**kept, **fixed, "attn_implementation": self.attention}

    # what every architecture shares ---------------------------------------------------

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """An evaluation-mode module without weights: its parameters stay on the meta device."""
        with torch.device("meta"):
            module = self.model(config)
        for path, value in self.buffers(module).items():
            owner, _, leaf = path.rpartition(".")
            module.get_submodule(owner).register_buffer(leaf, value, persistent=False)
        return module.float().eval().requires_grad_(False)

    def names(self, module: nn.Module) -> tuple[str, ...]:
        """Names of the weights the module needs."""
        return tuple(name for name, _ in module.named_parameters())

    def forward(self, module: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> Any:
        """What the module returns for these inputs under the given weights.

        Weights decide where it runs: inputs and buffers are taken to their device, and inputs to their type.
        """
        names = self.names(module)
        missing = [name for name in names if name not in weights]
        if missing:
            shown = ", ".join(missing[:3])
            raise WeightsError(
                f"These weights lack {len(missing)} of {len(names)} tensors of {self.name}: {shown}, …; "
                "pass every tensor of the backbone."
            )
        chosen = {name: weights[name] for name in names}
        like = chosen[names[0]]
        args, kwargs = self.call(inputs.to(like.device, like.dtype if inputs.is_floating_point() else None))
        chosen |= {name: buffer.to(like.device) for name, buffer in self.buffers(module).items()}
        with ONE_AT_A_TIME:
            return torch.func.functional_call(module, chosen, args, kwargs)

    def features(
        self,
        module: nn.Module,
        weights: Mapping[str, Tensor],
        inputs: Tensor,
        changes: Changes | None = None,
    ) -> Tensor:
        """Features (N, D) in float32, differentiable in the weights; `changes` replace the output of layers."""
        if not changes:
            return self.pool(self.forward(module, weights, inputs), inputs).float()
        with ONE_AT_A_TIME:
            hooks = [
                module.get_submodule(path).register_forward_hook(partial(_changed, change))
                for path, change in changes.items()
            ]
            try:
                return self.pool(self.forward(module, weights, inputs), inputs).float()
            finally:
                for hook in hooks:
                    hook.remove()

    def place(self, name: str) -> Place:
        """Block and kind of a tensor."""
        found = re.search(rf"(?:^|\.){re.escape(self.blocks)}\.(\d+)\.(.+)$", name)
        if found is None:
            return Place(None, self._kind_outside(name))
        return Place(int(found[1]), self._kind_inside(found[2]))

    def depth(self, config: Mapping[str, Any]) -> int:
        """Number of blocks."""
        return int(config["num_hidden_layers"])

    def fused(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """The (q, k, v) weight names of each block, in order of depth."""
        found: dict[int, dict[str, str]] = {}
        for name in names:
            place = self.place(name)
            if place.block is not None and place.kind in "qkv":
                found.setdefault(place.block, {})[place.kind] = name
        return [tuple(found[b][k] for k in "qkv" if k in found[b]) for b in sorted(found)]

    def layers(self, module: nn.Module) -> dict[str, nn.Module]:
        """The modules that are linear in their parameters, by path, in order of execution.

        They are leaves, but for embeddings with parameters of their own, which stand for all inside them.
        """
        found: dict[str, nn.Module] = {}
        for path, layer in module.named_modules():
            inside = any(path.startswith(f"{above}.") for above in found)
            if path and not inside and [*layer.parameters(recurse=False)]:
                found[path] = layer
        return found

    def linears(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names of the linear layers' weights inside the blocks."""
        return tuple(name for name in names if self.place(name).kind in MATRIX_KINDS)

    def linear_inputs(
        self, module: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor
    ) -> dict[str, Tensor]:
        """What each linear layer inside the blocks receives: weight name -> (tokens of all inputs, n)."""
        names = self.linears(self.names(module))
        taken: dict[str, Tensor] = {}
        real = self.real_tokens(inputs)

        def keep(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
            taken[name] = args[0].detach().flatten(0, -2) if real is None else args[0].detach()[real]

        hooks = [
            module.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(partial(keep, name))
            for name in names
        ]
        self._run_hooked(hooks, module, weights, inputs)
        return taken

    def block_features(
        self, module: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor, mean: bool = False
    ) -> list[Tensor]:
        """One feature vector per input (N, width) after each block, in order of depth: pooled, or the `mean` token."""
        pool, taken = self.mean_token if mean else self.pool_block, []

        def keep(_: nn.Module, __: tuple, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            taken.append(pool(hidden.detach(), inputs))

        blocks: Sequence[nn.Module] = list(module.get_submodule(self.blocks).children())
        self._run_hooked([block.register_forward_hook(keep) for block in blocks], module, weights, inputs)
        return taken

    def _run_hooked(
        self, hooks: list, module: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor
    ) -> None:
        try:
            with torch.no_grad():
                self.forward(module, weights, inputs)
        finally:
            for hook in hooks:
                hook.remove()

    def _kind_inside(self, leaf: str) -> str:
        layer, _, leaf_kind = leaf.rpartition(".")
        if "norm" in layer.lower():
            return "norm"
        if leaf_kind == "bias":
            return "bias"
        return self.suffixes.get(layer, "scale" if "scale" in leaf else "other")

    def _kind_outside(self, name: str) -> str:
        if "norm" in name.lower():
            return "norm"
        if name.endswith(".bias"):
            return "bias"
        return next((kind for part, kind in self.outside.items() if part in name), "other")
