"""What a merge method may see of a suite: unlabelled inputs and frozen heads; labels only where it declared them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .backbones.blockwise import BlockInput, enter, through
from .errors import DataError
from .routing.prediction import Changes
from .suites.splits import named_seed
from .weights import Weights

if TYPE_CHECKING:
    from .suite import Suite


@dataclass(frozen=True)
class SuiteInputs:
    """Unlabelled inputs and frozen heads of a suite: all that a merge method may see of its data.

    `half` of the test split is what a method adapts to: "adapt" (inductive), or "score" itself (transductive).
    `needs` is what the method declares: "labels" opens those of that half, for an analysis, "validation labels" those
    of the validation split. `seed` decides the order of the stream.
    """

    suite: Suite
    half: str = "adapt"
    needs: frozenset[str] = frozenset()
    seed: int = 0

    @property
    def device(self) -> torch.device:
        """Where predictors of the suite put their weights."""
        return self.suite.device

    def support(self, task: str, count: int = 32, draw: int = 0) -> Tensor:
        """Return `count` train inputs of a task, outside validation; the first 32 are the suite's support set.

        Another `draw` than 0 takes other inputs at random, to see how much depends on the choice.
        """
        if draw:
            return self._drawn(task, count, draw)
        chosen = self.suite.prepared(task, "support")
        if count <= len(chosen):
            return chosen[:count]
        support = self.suite.indices(task, "support")
        more = np.setdiff1d(self.suite.indices(task, "train"), support)
        order = np.random.default_rng(0).permutation(more)[: count - len(chosen)]
        return torch.cat(
            [chosen, self.suite.backbone.prepare(self.suite.sheet(task, "train")[np.sort(order)])]
        )

    def _drawn(self, task: str, count: int, draw: int) -> Tensor:
        random = np.random.default_rng(named_seed(self.suite.name, task, "support", str(draw)))
        chosen = np.sort(random.permutation(self.suite.indices(task, "train"))[:count])
        return self.suite.backbone.prepare(self.suite.sheet(task, "train")[chosen])

    def train(self, task: str, count: int) -> Tensor:
        """Return up to `count` train inputs of a task, outside validation and the support set; a fixed choice."""
        left = np.setdiff1d(self.suite.indices(task, "train"), self.suite.indices(task, "support"))
        chosen = np.sort(np.random.default_rng(0).permutation(left)[:count])
        return self.suite.backbone.prepare(self.suite.sheet(task, "train")[chosen])

    def validation(self, task: str, count: int) -> Tensor:
        """Return up to `count` validation inputs of a task; a fixed choice."""
        return self.suite.prepared(task, "validation")[self._held(task, count)]

    def labelled_validation(self, task: str, count: int) -> tuple[Tensor, Tensor]:
        """Return the inputs of `validation` with their labels (N,); raises DataError unless they were asked for."""
        self._open("validation labels")
        return self.validation(task, count), self.suite.labels(task, "validation")[self._held(task, count)]

    def _held(self, task: str, count: int) -> Tensor:
        order = np.random.default_rng(0).permutation(len(self.suite.indices(task, "validation")))
        return torch.from_numpy(order[:count].copy())

    def _open(self, need: str) -> None:
        if need not in self.needs:
            raise DataError(f"Labels are closed to a method that does not declare to need them; declare `{need}`.")

    def stream(self, task: str, batch: int = 16, share: float = 1.0) -> Iterator[Tensor]:
        """Yield shuffled batches of the unlabelled half to adapt to, or of a fixed share of it, for ever."""
        inputs = self.suite.prepared(task, self.half)
        return (inputs[rows] for rows in self._rows(len(inputs), batch, share))

    def labelled_stream(self, task: str, batch: int = 16, share: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of `stream` with their labels (B,); raises DataError unless they were asked for."""
        self._open("labels")
        inputs, labels = self.suite.prepared(task, self.half), self.suite.labels(task, self.half)
        return ((inputs[rows], labels[rows]) for rows in self._rows(len(inputs), batch, share))

    def _rows(self, count: int, batch: int, share: float) -> Iterator[Tensor]:
        shuffle, kept = np.random.default_rng(self.seed), torch.arange(count)
        if share < 1:
            kept = torch.from_numpy(shuffle.permutation(count)[: math.ceil(share * count)])
        while True:
            order = kept[torch.from_numpy(shuffle.permutation(len(kept)))]
            yield from (rows for rows in order.split(batch) if len(rows) == batch or len(kept) < batch)

    def features(self, weights: Weights, inputs: Tensor, changes: Changes | None = None) -> Tensor:
        """Return features (N, D) under some weights; differentiable in them."""
        return self.suite.features(weights, inputs, changes)

    def block_features(self, weights: Weights, inputs: Tensor, mean: bool = False) -> list[Tensor]:
        """Return one vector per input (N, width) after every block, as the backbone pools it or the mean token."""
        return self.suite.backbone.block_features(self.suite.module, weights, inputs, mean)

    def pooled(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return one vector per input (N, width) from hidden states (N, tokens, width), as after a block."""
        return self.suite.backbone.pool_block(hidden, inputs)

    def layers(self) -> Mapping[str, torch.nn.Module]:
        """Return the modules that are linear in their parameters by path, in order of execution."""
        return self.suite.backbone.layers(self.suite.module)

    def real_tokens(self, inputs: Tensor) -> Tensor | None:
        """Return which tokens are not padding, boolean (N, tokens); None when all are."""
        return self.suite.backbone.real_tokens(inputs)

    def logits(self, task: str, features: Tensor) -> Tensor:
        """Return logits (N, C) of a task's frozen head."""
        return self.suite.head(task)(features)

    def linear_inputs(self, weights: Weights, inputs: Tensor) -> dict[str, Tensor]:
        """Return the inputs (N · tokens, n) of every linear layer of the blocks, by weight name."""
        return self.suite.backbone.linear_inputs(self.suite.module, weights, inputs)

    def enter(self, weights: Weights, inputs: Tensor) -> BlockInput:
        """Return what the first block receives."""
        return enter(self.suite.backbone, self.suite.module, weights, inputs)

    def through(self, weights: Weights, block: int, given: BlockInput) -> tuple[BlockInput, dict[str, Tensor]]:
        """Return what the block after this one receives, and the inputs of this one's linear layers by name."""
        return through(self.suite.backbone, self.suite.module, weights, block, given)
