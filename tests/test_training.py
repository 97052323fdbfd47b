"""Training: 8-bit storage keeps its bound, heads have unit rows, and the toy suite really learns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from merge_engine.running import drive
from merge_engine.runs.baselines import Baselines
from merge_engine.suite import Suite
from merge_engine.suites.toy import TRAINING, build_toy
from merge_engine.training.experts import Schedule, finetune, predict
from merge_engine.training.heads import center_of, prototypes, ridge
from merge_engine.training.multitask import multitask_steps
from merge_engine.training.quantise import dequantise, quantise, relative_error, rounded
from merge_engine.weights import SafetensorsWeights


@given(st.integers(1, 6), st.integers(1, 9), st.floats(1e-8, 1e4), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_rounding_error_is_at_most_half_a_row_scale(rows, columns, size, seed):
    matrix = size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    codes, scale = quantise(matrix)
    assert codes.dtype == torch.int8
    assert scale.shape == (rows,)
    error = (dequantise(codes, scale) - matrix).abs().amax(1)
    assert (error <= 0.5 * scale * (1 + 1e-4)).all()
    torch.testing.assert_close(scale * 127, matrix.abs().amax(1))


def test_rows_have_their_own_scale_and_zero_rows_stay_zero():
    matrix = torch.tensor([[1.0, -1.0], [0.0, 0.0], [1e-6, 5e-7]])
    codes, scale = quantise(matrix)
    assert scale[1] == 0
    assert (codes[1] == 0).all()
    torch.testing.assert_close(dequantise(codes, scale), matrix, rtol=0.01, atol=0)


def test_vectors_are_stored_exactly():
    vectors = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    assert torch.equal(rounded(vectors)["b"], vectors["b"])
    assert 0 < relative_error(vectors) < 0.01


@pytest.mark.parametrize("make", [prototypes, ridge])
def test_heads_have_unit_rows_and_tell_separated_classes_apart(make):
    draw = torch.Generator().manual_seed(0)
    features = 3 * torch.randn(4, 1, 8, generator=draw) + 0.1 * torch.randn(4, 5, 8, generator=draw)
    center = center_of({"task": features})
    head = make(features, center)
    torch.testing.assert_close(head.norm(dim=1), torch.ones(4))
    guess = ((features - center) @ head.T).argmax(-1)
    assert torch.equal(guess, torch.arange(4)[:, None].expand(4, 5))


def test_rates_rise_then_fall_to_zero():
    schedule = Schedule(epochs=1, learning_rate=1.0, warmup=0.2)
    rates = [schedule.rate(step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert max(rates) == 1.0
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.02


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Suite:
    return Suite(build_toy(tmp_path_factory.mktemp("toy") / "toy"))


def _accuracy(suite, weights, task):
    guess = suite.head(task)(predict(suite.backbone, suite.module, weights, suite.prepared(task, "test")))
    return (guess.argmax(1) == suite.labels(task, "test")).double().mean().item()


def test_toy_experts_beat_their_average_which_beats_the_pretrained_model(toy):
    base = toy.pretrained_in_memory
    experts = {name: {n: toy.expert(name)[n] for n in base} for name in toy.experts}
    average = {n: sum(expert[n] for expert in experts.values()) / len(experts) for n in base}
    means = [
        sum(_accuracy(toy, weights or experts[task], task) for task in toy.seen) / len(toy.seen)
        for weights in (base, average, None)
    ]
    assert means[0] + 0.01 < means[1], means
    assert means[1] + 0.1 < means[2], means


def test_toy_is_the_same_when_built_again(toy, tmp_path):
    again = Suite(build_toy(tmp_path / "again"))
    files = sorted(f.relative_to(toy.folder) for f in toy.folder.rglob("*") if f.is_file())
    assert files == sorted(f.relative_to(again.folder) for f in again.folder.rglob("*") if f.is_file())
    exact = [f for f in files if f.suffix != ".safetensors" or f.parts[0] == "data"]
    assert [f for f in exact if (toy.folder / f).read_bytes() != (again.folder / f).read_bytes()] == []
    for name in toy.experts:
        one, two = (SafetensorsWeights(suite.expert_file(name)) for suite in (toy, again))
        steps = [(one[n].float() - two[n].float()).abs().max() for n in one if one[n].dtype == torch.int8]
        assert max(steps) <= 1, "sums of products may round differently, by one 8-bit step"


def test_only_tensors_of_the_blocks_are_trained_and_the_loss_falls(toy):
    base, task = toy.pretrained_in_memory, toy.seen[0]
    inputs, labels = toy.prepared(task, "validation"), toy.labels(task, "validation")
    schedule = Schedule(epochs=8, learning_rate=TRAINING["learning_rate"], batch=32)
    run = finetune(
        toy.backbone, toy.module, base, inputs,
        lambda features, rows: cross_entropy(toy.head(task)(features), labels[rows]), schedule, seed=0,
    )  # fmt: skip
    losses = []
    while True:
        try:
            losses.append(next(run).metrics["loss"])
        except StopIteration as end:
            vectors = end.value
            break
    assert losses[-1] < 0.8 * losses[0]
    assert set(vectors) == {n for n in base if n.startswith("encoder.layer.")}
    stored = SafetensorsWeights(toy.expert_file(task))
    assert {n.removesuffix(".scale") for n in stored} == set(vectors)
    assert all(stored[n].dtype == torch.int8 for n in vectors if vectors[n].ndim == 2)


def test_one_model_of_all_tasks_learns_them_all(toy):
    vectors, record = drive(multitask_steps(toy, quick=True))
    assert set(record["accuracy"]) == set(toy.tasks)
    assert record["average"] == pytest.approx(sum(record["accuracy"][t] for t in toy.seen) / len(toy.seen), abs=0.01)
    before = drive(Baselines(toy).steps([(None, task) for task in toy.seen]))
    assert record["average"] > 5 + sum(b.accuracy() for b in before.values()) / len(before)
    assert set(vectors) == {n for n in toy.pretrained_in_memory if n.startswith("encoder.layer.")}
    assert {"content", "validation", "seconds", "epochs"} <= set(record)
