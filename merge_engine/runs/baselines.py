"""Scores of the pretrained model and of the experts: computed once per content, then read.

An entry is keyed by what was scored (the bytes of the weights, of the pictures, of the heads) and by the split. It
keeps one bit per picture in the fixed scoring order, so a score on fewer pictures is a prefix of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..contract import Step
from ..evaluate import logits_made, scoring_order
from ..pausing import Pausing, made_steps
from ..suite import Suite
from ..weights import in_memory
from .content import model_digest, task_digest
from .results import cached_folder, read_json, shipped_folder, write_json

Pair = tuple[str | None, str]
"""A model, None for the pretrained one, and a task."""


@dataclass(frozen=True)
class Baseline:
    """Which of the first `n` of `total` pictures of a task a fixed model got right."""

    bits: str
    n: int
    total: int

    @property
    def right(self) -> np.ndarray:
        """Correct or not, bool (n,), in scoring order."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.bits), np.uint8), count=self.n).astype(bool)

    def accuracy(self, limit: int | None = None) -> float:
        """Top-1 accuracy in percent on the first `limit` pictures."""
        return 100 * float(self.right[:limit].mean())

    def covers(self, limit: int | None) -> bool:
        """True when a score on `limit` pictures (None: all) can be read from this one."""
        return self.n >= min(self.total if limit is None else limit, self.total)


class Baselines:
    """Baselines of a suite on one split, read from what is shipped and from the user's cache, else computed."""

    def __init__(self, suite: Suite, split: str = "score") -> None:
        self.suite, self.split = suite, split
        self.shipped = read_json(shipped_folder(suite.name) / "baselines.json") or {}
        self.folder = cached_folder(suite.name) / "baselines"
        self._kept: dict[Pair, Baseline] = {}

    def steps(self, pairs: Iterable[Pair], limit: int | None = None) -> Generator[Step, None, dict[Pair, Baseline]]:
        """Return the baselines of some pairs, computing what is missing; yields Steps."""
        pairs = list(dict.fromkeys(pairs))
        missing = [pair for pair in pairs if (found := self.find(pair)) is None or not found.covers(limit)]
        missing.sort(key=lambda pair: pair[0] or "")
        weights: tuple[str | None, Mapping[str, Any]] | None = None
        for done, (model, task) in enumerate(missing, 1):
            if weights is None or weights[0] != model:
                source = self.suite.pretrained_in_memory if model is None else self.suite.expert(model)
                weights = (model, in_memory(source, self.suite.device))
            label = f"{model or 'pretrained model'} on {task}"
            make = partial(self._compute, (model, task), weights[1], limit)
            yield from made_steps(make, Step(done - 1, len(missing), label))
            yield Step(done, len(missing), label)
        return {pair: self._kept[pair] for pair in pairs}

    def find(self, pair: Pair) -> Baseline | None:
        """Return a stored baseline, or None."""
        if pair not in self._kept:
            key = self.key(pair)
            stored = [read_json(self.folder / f"{key}.json"), self.shipped.get(key)]
            usable = [Baseline(e["bits"], e["n"], e["total"]) for e in stored if _valid(e)]
            if not usable:
                return None
            self._kept[pair] = max(usable, key=lambda b: b.n)
        return self._kept[pair]

    def key(self, pair: Pair) -> str:
        """Return the key of a pair: a hash of everything its score depends on."""
        model, task = pair
        return f"{model_digest(self.suite, model)[:16]}-{task_digest(self.suite, task, self.split)[:16]}-{self.split}"

    def entries(self) -> dict[str, Any]:
        """Return the baselines known so far by key, as they are stored and shipped."""
        return {self.key(pair): self._entry(pair) for pair in sorted(self._kept, key=str)}

    def _compute(self, pair: Pair, weights: Mapping[str, Any], limit: int | None) -> Pausing[None]:
        labels = self.suite.labels(pair[1], self.split)
        said = yield from logits_made(self.suite, weights, pair[1], self.split, limit)
        guesses = said.argmax(-1)
        right = (guesses == labels[scoring_order(len(labels), limit)]).numpy()
        self._kept[pair] = Baseline(np.packbits(right).tobytes().hex(), len(right), len(labels))
        write_json(self.folder / f"{self.key(pair)}.json", self._entry(pair), quiet=True)

    def _entry(self, pair: Pair) -> dict[str, Any]:
        kept = self._kept[pair]
        described = {"model": pair[0] or "pretrained", "task": pair[1], "split": self.split}
        return {**described, "accuracy": kept.accuracy(), "n": kept.n, "total": kept.total, "bits": kept.bits}


def _valid(entry: Any) -> bool:
    return isinstance(entry, dict) and {"bits", "n", "total"} <= set(entry)
