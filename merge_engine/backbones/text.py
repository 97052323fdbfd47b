"""BERT-like text encoders: `transformers.BertModel` (MiniLM among them) and `RobertaModel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import DataError
from .base import Backbone

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Bert(Backbone):
    """Features: mean of the last hidden state over the real tokens (hidden), as sentence encoders take it.

    Inputs are one integer tensor (N, 2, length): token ids, then the mask of real tokens.
    """

    name: ClassVar[str] = "bert"
    blocks: ClassVar[str] = "encoder.layer"
    suffixes: ClassVar[Mapping[str, str]] = {
        "attention.self.query": "q",
        "attention.self.key": "k",
        "attention.self.value": "v",
        "attention.output.dense": "out",
        "intermediate.dense": "fc1",
        "output.dense": "fc2",
    }
    outside: ClassVar[Mapping[str, str]] = {"embeddings.": "embedding", "pooler.": "projection"}

    tokenizer: str | None = None
    length: int = 64

    def model(self, config: Mapping[str, Any]) -> nn.Module:
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(**self.settings(config, **NO_DROPOUT)))

    def buffers(self, module: nn.Module) -> dict[str, Tensor]:
        return {name: _counted(name, buffer) for name, buffer in module.named_buffers()}

    def call(self, inputs: Tensor) -> tuple[tuple, dict[str, Any]]:
        return (), {"input_ids": inputs[:, 0], "attention_mask": inputs[:, 1]}

    def pool(self, output: Any, inputs: Tensor) -> Tensor:
        return self.pool_block(output.last_hidden_state, inputs)

    def pool_block(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        return self.mean_token(hidden, inputs)

    def real_tokens(self, inputs: Tensor) -> Tensor | None:
        return inputs[:, 1].bool()

    def prepare(self, raw: Any) -> Tensor:
        if self.tokenizer is None:
            raise DataError(
                f"Backbone '{self.name}' needs a tokenizer to read text; got none; "
                "pass tokenizer= with the folder that holds tokenizer.json."
            )
        from transformers import AutoTokenizer

        tokens = AutoTokenizer.from_pretrained(self.tokenizer)(
            list(raw), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        return torch.stack((tokens["input_ids"], tokens["attention_mask"]), dim=1)


@dataclass(frozen=True)
class Roberta(Bert):
    """The same reading of a RoBERTa encoder."""

    name: ClassVar[str] = "roberta"

    def model(self, config: Mapping[str, Any]) -> nn.Module:
        from transformers import RobertaConfig, RobertaModel

        return RobertaModel(RobertaConfig(**self.settings(config, **NO_DROPOUT)))


def _counted(name: str, buffer: Tensor) -> Tensor:
    if name.endswith("position_ids"):
        return torch.arange(buffer.shape[-1])[None]
    return torch.zeros(buffer.shape, dtype=torch.long)
