"""Merges of text encoders, whose inputs are ids of tokens and not pictures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from conftest import fresh, said
from torch import Tensor

from merge_engine.backbones import get_backbone
from merge_engine.methods import build
from merge_engine.problem import Problem
from merge_engine.running import merge

BACKBONE = get_backbone("bert")
CONFIG = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 30,
    "max_position_embeddings": 12,
}  # fmt: skip
MODULE = BACKBONE.build(CONFIG)
TASKS = ("a", "b", "c")
LENGTH, PADDED = 6, 4
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
COURSE = {"steps": 2, "batch": 2, "learning_rate": 0.01}


def drawn(key: str) -> torch.Generator:
    return fresh().generator("text", key)


@dataclass(frozen=True)
class TextInputs:
    """Random sentences and heads by task name; the last two tokens of every other sentence are padding."""

    device = torch.device("cpu")

    def support(self, task: str, count: int, draw: int = 0) -> Tensor:
        ids = torch.randint(3, 30, (count, LENGTH), generator=drawn(task))
        real = torch.ones_like(ids)
        real[1::2, PADDED:] = 0
        return torch.stack((ids, real), 1)

    train = validation = support

    def stream(self, task: str, batch: int, share: float = 1.0):
        while True:
            yield self.support(task, batch)

    def features(self, weights, inputs: Tensor, changes=None) -> Tensor:
        return BACKBONE.features(MODULE, weights, inputs, changes)

    def block_features(self, weights, inputs: Tensor) -> list[Tensor]:
        return BACKBONE.block_features(MODULE, weights, inputs)

    def layers(self):
        return BACKBONE.layers(MODULE)

    def real_tokens(self, inputs: Tensor) -> Tensor:
        return BACKBONE.real_tokens(inputs)

    def logits(self, task: str, features: Tensor) -> Tensor:
        return 3 * features @ torch.randn(3, 16, generator=drawn(f"head {task}")).to(features).T


@pytest.fixture(scope="module")
def problem() -> Problem:
    def weights(key: str, size: float) -> dict[str, Tensor]:
        random = drawn(key)
        return {n: size * torch.randn(p.shape, generator=random) for n, p in MODULE.named_parameters()}

    base = weights("pretrained", 0.2)
    experts = {t: {n: base[n] + v for n, v in weights(t, 0.05).items()} for t in TASKS}
    return Problem(base, experts, BACKBONE, TextInputs())


def merged_of(problem: Problem, key: str, **parameters):
    return merge(problem, build(key, **parameters), ctx=fresh())


def sentences() -> Tensor:
    return torch.cat([TextInputs().support(task, 2) for task in TASKS])


def close(got: Tensor, wanted: Tensor) -> None:
    assert got.isfinite().all()
    torch.testing.assert_close(got, wanted, **TOLERANCE)


@pytest.mark.parametrize("key", ["task_arithmetic", "adamerging", "adarank"])
def test_one_merged_model(problem, key):
    course = {} if key == "task_arithmetic" else COURSE
    merged, inputs = merged_of(problem, key, **course), sentences()
    wanted = TextInputs().features(merged.weights(), inputs)
    close(said(merged, problem.inputs, inputs).features, wanted)
    with torch.inference_mode():
        exact = merged.predictor(problem.inputs, torch.float64)(inputs).features
    close(exact, wanted)


@pytest.mark.parametrize("key", ["tsv_c", "emr", "cart_indexed"])
def test_a_store_of_experts(problem, key):
    merged, inputs = merged_of(problem, key), sentences()
    for task in TASKS:
        close(said(merged, problem.inputs, inputs, task).features, TextInputs().features(merged.weights(task), inputs))


def test_the_ensemble_and_dawin_ask_every_expert(problem):
    inputs, network = sentences(), problem.inputs
    with torch.no_grad():
        every = [network.logits("b", network.features(problem.experts[t], inputs)) for t in TASKS]
    close(said(merged_of(problem, "ensemble"), network, inputs, "b").logits, torch.stack(every).mean(0))
    found = said(merged_of(problem, "dawin"), network, inputs, "b")
    for i, w in enumerate(found.route[:, 0]):
        rows = list(zip(w, problem.experts.values(), strict=True))
        dense = {n: v + sum(share * (e[n] - v) for share, e in rows) for n, v in problem.pretrained.items()}
        close(found.features[i], network.features(dense, inputs[i : i + 1])[0])


def test_surgery_starts_from_the_merge_and_moves_its_features(problem):
    merged, inputs = merged_of(problem, "surgery", **COURSE, examples=4), sentences()
    plain = said(merged.base, problem.inputs, inputs).features
    found = said(merged, problem.inputs, inputs, "a").features
    close(found, merged.adapters.of(0)(plain[None])[0])
    assert not torch.equal(found, plain)


def test_sim_runs_the_expert_of_the_chosen_task(problem):
    merged, inputs = merged_of(problem, "sim", examples=6, rank=3), sentences()
    found = said(merged, problem.inputs, inputs)
    for i, t in enumerate(found.picked.tolist()):
        weights = merged.store.weights(TASKS[t])
        close(found.features[i], TextInputs().features(weights, inputs[i : i + 1])[0])


@pytest.mark.parametrize("key", ["we_moe", "e_we_moe", "rankone_moe"])
def test_padding_neither_routes_nor_counts(problem, key):
    merged, inputs = merged_of(problem, key, **COURSE), sentences()
    found = said(merged, problem.inputs, inputs)
    assert found.features.isfinite().all()
    assert found.route.shape[0] == len(inputs)
    short = said(merged, problem.inputs, inputs[1::2, :, :PADDED])
    close(found.features[1::2], short.features)
    close(found.route[1::2], short.route)
