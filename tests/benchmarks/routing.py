"""Twin-Merging's pass of a batch whose inputs all have weights of their own, against one dense model per input."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from merge_engine.contract import Context
from merge_engine.inputs import SuiteInputs
from merge_engine.methods import build
from merge_engine.routing.per_input import Decided, LowRankLinear, Norm, Share, blended
from merge_engine.routing.twin import TwinMerged
from merge_engine.running import merge
from merge_engine.suite import load_suite
from merge_engine.weights import in_memory

BATCH = 64


def against_naive() -> list[dict[str, object]]:
    """Run 64 pictures under 8 experts at a tenth of the rank, factored and one by one; the features must agree.

    Naive is what the published code does: parts stored dense, a model built for every input, a batch of one. Seconds
    of processor time, so that other work on the machine counts little; the factored pass is the best of three.
    """
    suite = load_suite("pictures")
    merged = merge(suite.problem(), build("twin_merging", examples=2, epochs=1), ctx=Context())
    assert isinstance(merged, TwinMerged)
    network, shared, experts = SuiteInputs(suite), in_memory(merged.shared), len(merged.tasks)
    inputs = torch.cat([suite.prepared(task, "score")[: BATCH // experts] for task in suite.experts])
    parts = [_dense(merged.shares, t) for t in range(experts)]
    soft = torch.randn(len(inputs), experts, generator=torch.Generator().manual_seed(0)).softmax(1)
    hard = torch.nn.functional.one_hot(soft.argmax(1), experts).float()
    rows: list[dict[str, object]] = []
    for kind, w in (("soft", soft), ("one-hot", hard)):
        with torch.inference_mode():
            runs = [_timed(lambda w=w: blended(network, shared, merged.shares, Decided(w), inputs)[0]) for _ in "123"]
            naive, wanted = _timed(
                lambda w=w: torch.cat(
                    [_alone(network, shared, parts, w[i], inputs[i : i + 1]) for i in range(len(inputs))]
                )
            )
        factored, got = min(runs, key=lambda run: run[0])
        difference = float((got - wanted).abs().max() / wanted.abs().max())
        assert difference < 1e-5, f"the two passes differ by {difference:.1e} of the largest feature"
        rows.append(
            {
                "weights": kind,
                "inputs": len(inputs),
                "experts": experts,
                "factored s": factored,
                "naive s": naive,
                "naive / factored": naive / factored,
                "largest difference": difference,
            }
        )
    return rows


def _timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def _alone(
    network: SuiteInputs, shared: Mapping[str, Tensor], parts: list[dict[str, Tensor]], w: Tensor, x: Tensor
) -> Tensor:
    """Return the features of one input under a model of its own."""
    model = dict(shared)
    for weight, part in zip(w, parts, strict=True):
        for name, value in part.items():
            model[name] = model[name] + weight * value
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
