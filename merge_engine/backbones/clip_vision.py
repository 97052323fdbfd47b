"""CLIP vision towers (`transformers.CLIPVisionModel`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .base import Backbone
from .pixels import CLIP, normalised_pixels


@dataclass(frozen=True)
class ClipVision(Backbone):
    """Features: the CLS token after the last LayerNorm (hidden), before any projection."""

    name: ClassVar[str] = "clip_vision"
    blocks: ClassVar[str] = "encoder.layers"
    suffixes: ClassVar[Mapping[str, str]] = {
        "self_attn.q_proj": "q",
        "self_attn.k_proj": "k",
        "self_attn.v_proj": "v",
        "self_attn.out_proj": "out",
        "mlp.fc1": "fc1",
        "mlp.fc2": "fc2",
    }
    outside: ClassVar[Mapping[str, str]] = {
        "patch_embedding.weight": "conv",
        "embeddings.": "embedding",
        "projection": "projection",
    }

    input_size: int = 224

    def model(self, config: Mapping[str, Any]) -> nn.Module:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        return CLIPVisionModel(CLIPVisionConfig(**self.settings(config, attention_dropout=0.0)))

    def buffers(self, module: nn.Module) -> dict[str, Tensor]:
        path, buffer = next((n, b) for n, b in module.named_buffers() if n.endswith("position_ids"))
        return {path: torch.arange(buffer.shape[-1])[None]}

    def call(self, inputs: Tensor) -> tuple[tuple, dict[str, Any]]:
        return (inputs,), {}

    def pool(self, output: Any, inputs: Tensor) -> Tensor:
        return output.pooler_output

    def pool_block(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        return hidden[:, 0]

    def prepare(self, raw: Any) -> Tensor:
        return normalised_pixels(raw, self.input_size, *CLIP)
