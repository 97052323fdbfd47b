"""The fixed splits of a task: indices into its train and test pictures."""

from __future__ import annotations

import hashlib

import numpy as np

VALIDATION_SHARE = 0.1
SUPPORT = 32


def named_seed(*names: str) -> int:
    """A seed that depends on names only, never on order or on what ran before."""
    return int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:4], "big")


def split_indices(suite: str, task: str, y_train: np.ndarray, y_test: np.ndarray) -> dict[str, np.ndarray]:
    """Sorted indices: `train`, `validation` and `support` into train; `adapt` and `score` into test.

    Validation is a stratified tenth of train and `train` is the rest; support is a plain draw of 32 from
    `train`, labels unseen; `adapt` and `score` are stratified halves of test.
    """
    validation = _stratified(y_train, VALIDATION_SHARE, named_seed(suite, task, "validation"))
    train = np.setdiff1d(np.arange(len(y_train)), validation)
    draw = np.random.default_rng(named_seed(suite, task, "support"))
    support = np.sort(draw.choice(train, min(SUPPORT, len(train)), replace=False))
    adapt = _stratified(y_test, 0.5, named_seed(suite, task, "adapt"))
    score = np.setdiff1d(np.arange(len(y_test)), adapt)
    return {"train": train, "validation": validation, "support": support, "adapt": adapt, "score": score}


def _stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Indices of about this share of every class (halves that do not divide alternate up and down)."""
    draw = np.random.default_rng(seed)
    taken, carry = [], 0.0
    for label in np.unique(labels):
        members = draw.permutation(np.flatnonzero(labels == label))
        carry += share * len(members)
        take = int(np.floor(carry + 1e-9))
        carry -= take
        taken.append(members[:take])
    return np.sort(np.concatenate(taken))
