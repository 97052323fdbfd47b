"""The pass of a batch whose inputs all have weights of their own, against one dense model per input."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from merge_engine.contract import Context
from merge_engine.inputs import SuiteInputs
from merge_engine.methods import build
from merge_engine.methods.we_moe import WeMoe
from merge_engine.routing.per_input import Decision, LowRankLinear, Norm, Share, blended
from merge_engine.running import merge
from merge_engine.suite import load_suite
from merge_engine.weights import in_memory

BATCH = 64


def against_naive() -> list[dict[str, object]]:
    """Run 64 pictures under 8 experts at a tenth of the rank, factored and one by one; the features must agree.

    Naive is what the published codes do: parts stored dense, a model built for every input, a batch of one. WEMoE's
    naive pass is even told the weights, which the factored one has to find. Seconds of processor time, so that other
    work on the machine counts little; the factored pass is the best of three.
    """
    suite = load_suite("pictures")
    inputs = torch.cat([suite.prepared(task, "score")[: BATCH // len(suite.experts)] for task in suite.experts])
    soft = torch.randn(len(inputs), len(suite.experts), generator=torch.Generator().manual_seed(0)).softmax(1)
    hard = torch.nn.functional.one_hot(soft.argmax(1), len(suite.experts)).float()
    twin = _merged("twin_merging", examples=2, epochs=1)
    moe = _merged("we_moe", **{**WeMoe.preset("cpu"), "steps": 1})
    cases = (
        ("Twin-Merging, soft", twin, lambda _: Decision.same(soft)),
        ("Twin-Merging, one-hot", twin, lambda _: Decision.same(hard)),
        ("WEMoE, routers of every block", moe, moe.weighting.ready(network := SuiteInputs(suite))),
    )
    return [_compared(kind, network, merged, decide, inputs) for kind, merged, decide in cases]


def _merged(method: str, **given: Any) -> Any:
    return merge(load_suite("pictures").problem(), build(method, **given), ctx=Context())


def _compared(kind: str, network: SuiteInputs, merged: Any, decide: Any, inputs: Tensor) -> dict[str, object]:
    shared, experts = in_memory(merged.shared), len(merged.tasks)
    parts = [_dense(merged.shares, t) for t in range(experts)]
    with torch.inference_mode():
        runs = [_timed(lambda: blended(network, shared, merged.shares, decide(inputs), inputs)) for _ in "123"]
        factored, (got, route) = min(runs, key=lambda run: run[0])
        weights = [dict(zip(merged.shares, used, strict=True)) for used in route]
        alone = zip(weights, inputs.split(1), strict=True)
        naive, wanted = _timed(lambda: torch.cat([_alone(network, shared, parts, w, x) for w, x in alone]))
    difference = float((got - wanted).abs().max() / wanted.abs().max())
    assert difference < 1e-5, f"the two passes differ by {difference:.1e} of the largest feature"
    return {
        "weights": kind, "inputs": len(inputs), "experts": experts, "factored s": factored, "naive s": naive,
        "naive / factored": naive / factored, "largest difference": difference,
    }  # fmt: skip


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def _alone(
    network: SuiteInputs,
    shared: Mapping[str, Tensor],
    parts: list[dict[str, Tensor]],
    weights: Mapping[str, Tensor],
    x: Tensor,
) -> Tensor:
    """Return the features of one input under a model of its own; `weights` (T,) by path of the layer."""
    model = dict(shared)
    for expert, part in enumerate(parts):
        for name, value in part.items():
            model[name] = model[name] + weights[name.rpartition(".")[0]][expert] * value
    return network.features(model, x)


def _dense(shares: Mapping[str, Share], expert: int) -> dict[str, Tensor]:
    """Return the parts of one expert by tensor name, dense."""
    found: dict[str, Tensor | None] = {}
    for path, share in shares.items():
        if isinstance(share, LowRankLinear):
            own = share.owner == expert
            found[f"{path}.weight"] = share.up[:, own] @ share.down[own]
            found[f"{path}.bias"] = None if share.bias is None else share.bias[expert]
        elif isinstance(share, Norm):
            found[f"{path}.weight"] = None if share.gain is None else share.gain[expert]
            found[f"{path}.bias"] = None if share.bias is None else share.bias[expert]
        else:
            found[f"{path}.lambda1"] = share.gain[expert]  # type: ignore[attr-defined]
    return {name: value for name, value in found.items() if value is not None}
