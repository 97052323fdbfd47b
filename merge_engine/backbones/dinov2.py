"""DINOv2 vision transformers (`transformers.Dinov2Model`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .base import Backbone
from .pixels import IMAGENET, normalised_pixels


@dataclass(frozen=True)
class Dinov2(Backbone):
    """Features: CLS token and mean patch token after the last LayerNorm, concatenated (2 x hidden)."""

    name: ClassVar[str] = "dinov2"
    blocks: ClassVar[str] = "encoder.layer"
    suffixes: ClassVar[Mapping[str, str]] = {
        "attention.q_proj": "q",
        "attention.k_proj": "k",
        "attention.v_proj": "v",
        "attention.o_proj": "out",
        "mlp.fc1": "fc1",
        "mlp.fc2": "fc2",
        "mlp.gate_proj": "fc1",
        "mlp.up_proj": "fc1",
        "mlp.down_proj": "fc2",
    }
    outside: ClassVar[Mapping[str, str]] = {"projection.weight": "conv", "embeddings.": "embedding"}

    input_size: int = 56

    def model(self, config: Mapping[str, Any]) -> nn.Module:
        from transformers import Dinov2Config, Dinov2Model

        off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "drop_path_rate": 0.0}
        return Dinov2Model(Dinov2Config(**self.settings(config, **off)))

    def call(self, inputs: Tensor) -> tuple[tuple, dict[str, Any]]:
        return (inputs,), {}

    def pool(self, output: Any, inputs: Tensor) -> Tensor:
        hidden = output.last_hidden_state
        return torch.cat((hidden[:, 0], hidden[:, 1:].mean(1)), dim=1)

    def pool_block(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        return hidden[:, 0]

    def prepare(self, raw: Any) -> Tensor:
        return normalised_pixels(raw, self.input_size, *IMAGENET)


def resample_positions(positions: Tensor, side: int) -> Tensor:
    """Resample position embeddings (1, 1 + s*s, width) to a side x side grid, as DINOv2 does (bicubic)."""
    old = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat((positions[:, :1].float(), grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)
