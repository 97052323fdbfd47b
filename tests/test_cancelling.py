"""How much is computed between two moments at which a run can be stopped, counted, not timed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from conftest import fresh
from torch.utils.flop_counter import FlopCounterMode

from merge_engine.contract import Step
from merge_engine.evaluate import PASSES, score_steps
from merge_engine.methods import build, registry
from merge_engine.pausing import made_steps
from merge_engine.running import drive, merge_steps
from merge_engine.tensorwise import PostStep

SOON = 1.1 * PASSES  # passes of one model between two moments; on two cores about half a second
NEARLY = 1.35  # routing an input and reading it in several places are not counted as work
FEW = {"sim": 4}  # eigendecompositions in a moment; these are of a few support features
SMALL = {"examples": 64, "epochs": 2, "steps": 3, "batch": 16}
OWN = {"wudi": {"steps": 150}, "fisher": {"examples": 8}}
METHODS = [key for key, cls in registry().items() if cls.kind != "post"]
POSTS = [key for key, cls in registry().items() if cls.kind == "post"]
ROUTED = [key for key in METHODS if registry()[key].kind == "routed"]


def small(key: str):
    """Return a method at its defaults, its courses shorter but as wide as they are; WUDI's stays long."""
    fields = registry()[key].__dataclass_fields__
    return build(key, **{name: value for name, value in SMALL.items() if name in fields} | OWN.get(key, {}))


class Counted:
    """Multiply-adds and eigendecompositions of every moment of a generator, and its value."""

    def __init__(self, steps: Iterator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flops, self.eigen, self.labels, self._solved = [], [], [], 0
        solve = torch.linalg.eigh
        monkeypatch.setattr(torch.linalg, "eigh", lambda *given: self._count() or solve(*given))
        while True:
            self._solved = 0
            with FlopCounterMode(display=False) as counter:
                try:
                    step = next(steps)
                    self.labels.append(getattr(step, "label", ""))
                except StopIteration as end:
                    self.value = end.value
                    break
                finally:
                    self.flops.append(counter.get_total_flops())
                    self.eigen.append(self._solved)

    def _count(self) -> None:
        self._solved += 1

    @property
    def most(self) -> tuple[float, str]:
        """The most multiply-adds of a moment, and what it was about."""
        return max(zip(self.flops, [*self.labels, "end"], strict=True))


@pytest.fixture(scope="module")
def one_pass(toy) -> float:
    """Multiply-adds of one pass of one input."""
    weights, inputs = toy.pretrained_in_memory, toy.prepared("blob", "score")[:1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        toy.features(weights, inputs)
    return counter.get_total_flops()


def run(toy, key: str, post: tuple[PostStep, ...] = ()):
    experts = toy.experts[: registry()[key].experts_allowed[1]]
    return merge_steps(toy.problem(experts), small(key), post, fresh())


@pytest.mark.parametrize("key", METHODS)
def test_a_merge_can_be_stopped_often(toy, key, one_pass, monkeypatch):
    counted = Counted(run(toy, key), monkeypatch)
    assert counted.most[0] <= SOON * one_pass, counted.most[1]
    assert max(counted.eigen) <= FEW.get(key, 2)


@pytest.mark.parametrize(("key", "option"), [("smile", {"gate": "weight"}), ("tall_mask", {"rule": "validation"})])
def test_options_that_compute_more_can_be_stopped_as_often(toy, key, option, one_pass, monkeypatch):
    method = build(key, **option)
    counted = Counted(merge_steps(toy.problem(toy.experts, needs=method.needs), method, (), fresh()), monkeypatch)
    assert counted.most[0] <= SOON * one_pass, counted.most[1]
    assert max(counted.eigen) <= 2
    if key == "tall_mask":
        moments = counted.labels.count("λ = 0.4 on validation")
        assert moments == len(toy.problem(toy.experts).groups()), "one for every tensor"


@pytest.mark.parametrize("key", POSTS)
def test_a_post_step_can_be_stopped_often(toy, key, one_pass, monkeypatch):
    counted = Counted(run(toy, "average", (build(key),)), monkeypatch)
    assert counted.most[0] <= SOON * one_pass, counted.most[1]
    assert max(counted.eigen) <= 1


@pytest.mark.parametrize("key", ROUTED)
def test_scoring_can_be_stopped_often_however_many_passes_an_input_makes(toy, key, one_pass, monkeypatch):
    merged = drive(run(toy, key))
    counted = Counted(score_steps(toy, merged, first=1000), monkeypatch)
    assert counted.most[0] <= NEARLY * PASSES * one_pass
    inputs = sum(score.total for score in counted.value.values())
    assert sum(counted.flops) <= NEARLY * merged.work * inputs * one_pass, "`work` is what an input costs"
    assert merged.work >= merged.forwards


@pytest.mark.parametrize("key", ROUTED)
def test_a_method_says_before_it_runs_whether_it_serves_tasks_without_an_expert(toy, key):
    merged = drive(run(toy, key))
    assert small(key).serves_unseen() == merged.serves("a task without an expert")


def test_a_merge_made_with_pauses_is_the_one_made_at_once():
    def make(count: int):
        total = torch.zeros((), requires_grad=True)
        for _ in range(count):
            total = total + 1
            yield
        return total

    moment = Step(3, 5, "a matrix")
    steps, found = made_steps(partial(make, 4), moment), []
    made = drive(steps, found.append)
    assert found == [moment] * 4
    assert (made, made.requires_grad) == (4, False), "no gradients in the making"
    assert drive(made_steps(lambda: 7, moment), found.append) == 7
    assert len(found) == 4


def test_gradients_are_as_the_caller_has_them_at_a_pause():
    def make():
        assert not torch.is_grad_enabled()
        yield
        assert not torch.is_grad_enabled()

    for _ in made_steps(make, Step(0, 1)):
        assert torch.is_grad_enabled()
