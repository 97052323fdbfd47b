"""Products with matrices blended for every input, against explicit loops in float64."""

from __future__ import annotations

import pytest
import torch

from merge_engine.maths import blend as blending
from merge_engine.maths.blend import blend

SIZES = [(1, 3, 4, 5, 2), (3, 1, 7, 2, 4), (5, 4, 6, 3, 3)]  # inputs, tokens, n, m, experts


def drawn(inputs, tokens, n, m, experts, dtype=torch.float64):
    g = torch.Generator().manual_seed(inputs * n)
    shapes = ((inputs, tokens, n), (inputs, experts), (n, experts, m))
    return [torch.randn(*shape, generator=g, dtype=dtype) for shape in shapes]


def naive(x, w, matrices):
    """Σ_t w_bt M_t for every input b by itself, then its product."""
    own = [sum(w_bt * matrix for w_bt, matrix in zip(row, matrices.unbind(1), strict=True)) for row in w]
    return torch.stack([x_b @ matrix for x_b, matrix in zip(x, own, strict=True)])


@pytest.fixture(params=[(1, 1), (2, 5), (2, 1000), (32, 17), (32, 2_400_000)], ids=str)
def tiled(request, monkeypatch):
    """Tiles of some inputs and numbers, the last of them smaller."""
    for name, value in zip(("INPUTS", "TILE"), request.param, strict=True):
        monkeypatch.setattr(blending, name, value)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_tiles_make_what_every_input_makes_alone(tiled, sizes):
    x, w, matrices = drawn(*sizes)
    torch.testing.assert_close(blend(x, w, matrices), naive(x, w, matrices), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gradients_of_inputs_and_weights_are_those_of_the_product(sizes):
    x, w, matrices = drawn(*sizes)
    x.requires_grad_()
    w.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: blend(x, w, matrices), (x, w))
    g = torch.randn(naive(x, w, matrices).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.autograd.grad(naive(x, w, matrices), (x, w), g)
    torch.testing.assert_close(torch.autograd.grad(blend(x, w, matrices), (x, w), g), wanted, rtol=1e-12, atol=1e-12)
