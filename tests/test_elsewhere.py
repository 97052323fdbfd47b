"""The device that tests use where there is no other: it computes what the CPU does, and refuses what CUDA refuses.

On a machine with CUDA the same sentences are asked of CUDA.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn


def there(*shape: int, device) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).view(*shape).to(device)


@pytest.mark.parametrize("inference", [False, True])
def test_tensors_say_where_they_are_and_come_back(inference, device):
    with torch.inference_mode(inference):
        _come_back(device)


def _come_back(device):
    x = there(2, 3, device=device)
    assert x.to(device).to(torch.float64).device.type == device.type
    assert x.cpu().device.type == "cpu"
    assert torch.equal(x.cpu(), torch.arange(6.0).view(2, 3))
    assert x.double().cpu().dtype == torch.float64
    assert x.to("cpu", torch.float64).tolist() == x.tolist()
    assert torch.from_numpy(np.ones(2)).to(x).dtype == torch.float32
    assert float(x.sum()) == 15
    assert f"{x.sum():.1f}" == "15.0"


MADE = {
    "zeros": lambda d: torch.zeros(2, device=d),
    "full": lambda d: torch.full((2,), 3.0, device=d),
    "eye": lambda d: torch.eye(3, device=d),
    "arange": lambda d: torch.arange(3, device=d),
    "tensor": lambda d: torch.tensor([1.0, 2.0], device=d),
    "linspace": lambda d: torch.linspace(-1, 1, 5, device=d),
    "zeros_like": lambda d: torch.zeros_like(torch.ones(2), device=d),
    "new_zeros": lambda d: there(2, device=d).new_zeros(3),
    "views": lambda d: there(2, 3, device=d).T.reshape(-1)[1:4],
    "sorted": lambda d: there(4, device=d).flip(0).sort().indices,
    "svd": lambda d: torch.linalg.svdvals(there(3, 2, device=d).double()),
    "index on the CPU": lambda d: there(3, device=d)[torch.tensor([2, 0])],
    "mask": lambda d: (x := there(3, device=d))[x > 0],
    "one number on the CPU": lambda d: there(3, device=d) * torch.tensor(2.0),
}


@pytest.mark.parametrize("made", MADE)
def test_what_is_made_there_stays_there_and_equals_that_of_the_cpu(made, device):
    found, wanted = MADE[made](device), MADE[made]("cpu")
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), wanted)


REFUSED = {
    "sum": lambda d: there(2, device=d) + torch.ones(2),
    "sum, the other way": lambda d: torch.ones(2) + there(2, device=d),
    "product": lambda d: there(2, 2, device=d) @ torch.ones(2, 2),
    "joined": lambda d: torch.cat([there(2, device=d), torch.ones(2)]),
    "choice": lambda d: torch.where(there(2, device=d) > 0, torch.ones(2), 0.0),
    "one number in place": lambda d: torch.tensor(1.0).add_(there(1, device=d)[0]),
    "in place": lambda d: torch.ones(2).add_(there(2, device=d)),
    "CPU tensor by an index there": lambda d: torch.ones(2)[torch.tensor([1], device=d)],
    "embedding": lambda d: nn.functional.embedding(torch.tensor([0]), there(2, 2, device=d)),
    "loss": lambda d: nn.functional.cross_entropy(there(2, 3, device=d), torch.tensor([0, 1])),
    "generator of the CPU": lambda d: torch.rand(2, device=d, generator=torch.Generator()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tensors_of_two_devices_are_refused(what, device):
    with pytest.raises(RuntimeError, match=r"same device|device type for generator|on the same device|indices should"):
        REFUSED[what](device)


def test_numpy_is_refused_unless_forced(device):
    x = there(2, device=device)
    for read in (lambda: x.numpy(), lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="can't convert"):
            read()
    assert x.numpy(force=True).tolist() == [0, 1]


def test_writing_into_a_view_changes_the_whole(device):
    x = there(4, device=device)
    x[1:3].add_(10)
    x[torch.tensor([0])] = 5.0
    assert x.tolist() == [5, 11, 12, 3]
    here = torch.zeros(2)
    here[1] = x.sum()
    assert here.tolist() == [0, 31]


def test_gradients_and_optimisers_take_the_same_course(device):
    courses = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(where)
        kept = copy.deepcopy(net).requires_grad_(False)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
        for _ in range(3):
            net(there(5, 3, device=where)).square().mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        assert {p.device.type for p in net.parameters()} == {where.type}
        assert not torch.equal(kept[0].weight, net[0].weight)
        courses.append([p.detach().cpu() for p in net.parameters()])
    torch.testing.assert_close(*courses, rtol=1e-3, atol=1e-4)
