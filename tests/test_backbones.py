"""Backbones: features are transformers' own, every tensor has a place, captured inputs fit the layers."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fresh

from merge_engine.backbones import MATRIX_KINDS, get_backbone
from merge_engine.backbones.blockwise import enter, through
from merge_engine.backbones.dinov2 import resample_positions
from merge_engine.errors import DataError, SuiteError, WeightsError
from merge_engine.maths.compress import compressed
from merge_engine.maths.parts import DensePart, LowRankPart
from merge_engine.maths.svd import decompose
from merge_engine.routing.per_input import Decision, blended, shares_of
from merge_engine.running import drive

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TINY, "image_size": 16, "patch_size": 8}
CONFIGS = {
    "dinov2": {**VISION, "mlp_ratio": 2, "model_type": "dinov2", "architectures": ["Dinov2Model"]},
    "clip_vision": {**VISION, "intermediate_size": 24},
    "bert": {**TINY, "intermediate_size": 24, "vocab_size": 30, "max_position_embeddings": 12},
    "roberta": {**TINY, "intermediate_size": 24, "vocab_size": 30, "max_position_embeddings": 12},
}


def _case(name):
    backbone = get_backbone(name)
    module = backbone.build(CONFIGS[name])
    draw = torch.Generator().manual_seed(0)
    weights = {n: 0.2 * torch.randn(p.shape, generator=draw) for n, p in module.named_parameters()}
    if name in ("dinov2", "clip_vision"):
        inputs = torch.randn(3, 3, 16, 16, generator=draw)
    else:
        ids = torch.randint(3, 30, (3, 6), generator=draw)
        mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] + [0] * 5])
        inputs = torch.stack((ids * mask + (1 - mask), mask), dim=1)
    return backbone, module, weights, inputs


def _own_output(name, weights, inputs):
    """The output of an ordinary transformers model that loaded the weights."""
    import transformers as hf

    classes = {
        "dinov2": (hf.Dinov2Model, hf.Dinov2Config),
        "clip_vision": (hf.CLIPVisionModel, hf.CLIPVisionConfig),
        "bert": (hf.BertModel, hf.BertConfig),
        "roberta": (hf.RobertaModel, hf.RobertaConfig),
    }
    model, config = classes[name]
    known = {k: v for k, v in CONFIGS[name].items() if k not in ("model_type", "architectures")}
    own = model(config(**known)).eval()
    own.load_state_dict(weights, strict=True)
    with torch.no_grad():
        if inputs.ndim == 4:
            return own(inputs)
        return own(input_ids=inputs[:, 0], attention_mask=inputs[:, 1])


@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_those_of_transformers(name):
    backbone, module, weights, inputs = _case(name)
    output = _own_output(name, weights, inputs)
    hidden = output.last_hidden_state
    if name == "dinov2":
        expected = torch.cat((hidden[:, 0], hidden[:, 1:].mean(1)), 1)
    elif name == "clip_vision":
        expected = output.pooler_output
    else:
        mask = inputs[:, 1, :, None].float()
        expected = (hidden * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(backbone.features(module, weights, inputs), expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_has_a_place(name):
    backbone, _, weights, _ = _case(name)
    places = {n: backbone.place(n) for n in weights}
    assert {p.kind for p in places.values()} <= {
        *MATRIX_KINDS, "bias", "norm", "scale", "embedding", "conv", "projection"
    }  # fmt: skip
    blocks = [p.block for p in places.values() if p.kind in MATRIX_KINDS]
    assert sorted(set(blocks)) == list(range(backbone.depth(CONFIGS[name])))
    assert len(blocks) == 6 * backbone.depth(CONFIGS[name])
    linears = backbone.linears(weights)
    assert all(weights[n].ndim == 2 for n in linears)
    assert len(linears) == len(blocks)
    fused = backbone.fused(weights)
    assert [[backbone.place(n).kind for n in names] for names in fused] == [["q", "k", "v"]] * 2
    assert [backbone.place(names[0]).block for names in fused] == [0, 1]


@pytest.mark.parametrize("name", CONFIGS)
def test_captured_inputs_reproduce_the_linear_layers(name):
    backbone, module, weights, inputs = _case(name)
    captured = backbone.linear_inputs(module, weights, inputs)
    assert set(captured) == set(backbone.linears(weights))
    tokens = int(inputs[:, 1].sum()) if inputs.ndim == 3 else 3 * (1 + 4)
    assert all(x.shape == (tokens, weights[n].shape[1]) for n, x in captured.items())
    first, second = (next(n for n in captured if backbone.place(n).kind == k) for k in ("fc1", "fc2"))
    hidden = captured[first] @ weights[first].T + weights[first.removesuffix("weight") + "bias"]
    activation = {"clip_vision": lambda x: x * torch.sigmoid(1.702 * x)}.get(name, torch.nn.functional.gelu)
    torch.testing.assert_close(captured[second], activation(hidden))


@pytest.mark.parametrize("name", CONFIGS)
def test_block_by_block_is_the_whole_pass(name):
    backbone, module, weights, inputs = _case(name)
    whole = backbone.linear_inputs(module, weights, inputs)
    given, seen = enter(backbone, module, weights, inputs), {}
    for block in range(2):
        given, taken = through(backbone, module, weights, block, given)
        seen |= taken
    assert seen.keys() == whole.keys()
    for n in whole:
        torch.testing.assert_close(seen[n], whole[n])
    pooled = backbone.pool_block(given.hidden, inputs)
    torch.testing.assert_close(pooled, backbone.block_features(module, weights, inputs)[-1])


@dataclasses.dataclass(frozen=True)
class _Network:
    """A backbone as a blend runs it."""

    backbone: Any
    module: torch.nn.Module

    def features(self, weights, inputs, changes=None):
        return self.backbone.features(self.module, weights, inputs, changes)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_blend_of_every_tensor_is_one_dense_model_per_input(name, rank):
    """Embeddings, class tokens, patch weights and norms outside the blocks are blended like the blocks."""
    backbone, module, weights, inputs = _case(name)
    draw = torch.Generator().manual_seed(1)
    vectors = {n: 0.1 * torch.randn(2, *w.shape, generator=draw) for n, w in weights.items()}
    parts = {
        n: DensePart(v) if rank is None or v.ndim != 3 else LowRankPart(tuple(decompose(m).top(rank) for m in v))
        for n, v in vectors.items()
    }
    shares, left = shares_of(parts, backbone.layers(module))
    assert left == []
    w = torch.tensor([[1.0, 0.0], [0.3, -0.4], [0.5, 0.5]])
    got, route = blended(_Network(backbone, module), weights, shares, Decision.same(w), inputs)
    assert all(torch.equal(route[:, layer], w) for layer in range(route.shape[1]))
    for i in range(3):
        dense = {n: weights[n] + sum(w[i, t] * part.task_vector(t) for t in range(2)) for n, part in parts.items()}
        wanted = backbone.features(module, dense, inputs[i : i + 1])[0]
        torch.testing.assert_close(got[i], wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weights, _case(name)[2])


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_of_rank_zero_are_blended_like_the_others(name):
    """Twin-Merging's parts at a tenth of the rank: of a token-type embedding of one or two rows nothing is left."""
    backbone, module, weights, inputs = _case(name)
    draw, ctx = torch.Generator().manual_seed(1), fresh()
    vectors = {n: 0.1 * torch.randn(2, *w.shape, generator=draw) for n, w in weights.items()}
    parts = {n: drive(compressed(v, "svd", 0.1, ctx, (n, ("a", "b")))) for n, v in vectors.items()}
    empty = [n for n, part in parts.items() if isinstance(part, LowRankPart) and not part.stored_parameters]
    assert ("embeddings.token_type_embeddings.weight" in empty) == (name in ("bert", "roberta"))
    shares, left = shares_of(parts, backbone.layers(module))
    assert left == []
    w = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.5, 0.5]])
    got, _ = blended(_Network(backbone, module), weights, shares, Decision.same(w), inputs)
    for i in range(3):
        dense = {
            n: weights[n] + sum(w[i, t] * part.task_vector(t) for t in range(2)).reshape(weights[n].shape)
            for n, part in parts.items()
        }
        wanted = backbone.features(module, dense, inputs[i : i + 1])[0]
        torch.testing.assert_close(got[i], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_differentiable_and_block_features_have_one_entry_per_block(name):
    backbone, module, weights, inputs = _case(name)
    linear = backbone.linears(weights)[0]
    weights[linear].requires_grad_()
    backbone.features(module, weights, inputs).square().sum().backward()
    assert weights[linear].grad.abs().sum() > 0
    found = backbone.block_features(module, weights, inputs)
    assert [f.shape for f in found] == [(3, 16)] * 2


@pytest.mark.parametrize("name", CONFIGS)
def test_inputs_and_buffers_follow_the_weights_to_their_device(name, device):
    backbone, module, weights, inputs = _case(name)
    there = {n: w.to(device) for n, w in weights.items()}
    given, taken = through(backbone, module, there, 0, enter(backbone, module, there, inputs))
    features = backbone.features(module, there, inputs)
    blocks, linear = backbone.block_features(module, there, inputs), backbone.linear_inputs(module, there, inputs)
    for found in (features, given.hidden, *blocks, *taken.values(), *linear.values()):
        assert found.device.type == device.type
    torch.testing.assert_close(features.cpu(), backbone.features(module, weights, inputs))
    wanted = backbone.linear_inputs(module, weights, inputs)
    torch.testing.assert_close({n: x.cpu() for n, x in linear.items()}, wanted)


@pytest.mark.parametrize("name", CONFIGS)
def test_inputs_take_the_type_of_the_weights(name):
    backbone, module, weights, inputs = _case(name)
    found = backbone.features(module, {n: w.double() for n, w in weights.items()}, inputs)
    torch.testing.assert_close(found, backbone.features(module, weights, inputs), rtol=1e-4, atol=1e-5)


def test_eager_and_fused_attention_agree():
    backbone, module, weights, inputs = _case("dinov2")
    eager = get_backbone("dinov2", attention="eager")
    other = eager.features(eager.build(CONFIGS["dinov2"]), weights, inputs)
    torch.testing.assert_close(other, backbone.features(module, weights, inputs))


def test_missing_weights_are_named():
    backbone, module, weights, inputs = _case("dinov2")
    del weights["layernorm.weight"]
    with pytest.raises(WeightsError, match=r"lack 1 of .*layernorm\.weight"):
        backbone.features(module, weights, inputs)


def test_unknown_names_and_options_suggest():
    with pytest.raises(SuiteError, match="did you mean 'dinov2'"):
        get_backbone("dino2")
    with pytest.raises(SuiteError, match="no option 'size'"):
        get_backbone("dinov2", size=3)


def test_pictures_are_normalised_and_text_needs_a_tokenizer():
    backbone = get_backbone("dinov2", input_size=56)
    grey = np.full((2, 32, 32), 255, np.uint8)
    pixels = backbone.prepare(grey)
    assert pixels.shape == (2, 3, 56, 56)
    assert pixels.dtype == torch.float32
    white = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(pixels[0, :, 0, 0], white)
    torch.testing.assert_close(backbone.prepare(np.repeat(grey[..., None], 3, 3)), pixels)
    with pytest.raises(DataError, match="uint8"):
        backbone.prepare(np.zeros((2, 32, 32)))
    with pytest.raises(DataError, match="tokenizer"):
        get_backbone("bert").prepare(["a"])


def test_resampled_positions_match_what_transformers_interpolates():
    from transformers import Dinov2Config, Dinov2Model

    own = Dinov2Model(Dinov2Config(**TINY, mlp_ratio=2, image_size=40, patch_size=8)).eval()
    expected = own.embeddings.interpolate_pos_encoding(torch.zeros(1, 5, 16), 16, 16)
    torch.testing.assert_close(resample_positions(own.embeddings.position_embeddings, 2), expected)
