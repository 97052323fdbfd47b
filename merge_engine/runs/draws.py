"""How much a router depends on which support pictures it was given: its routes over several draws of them.

Routes and predictions are measured apart. An input counts as right when it goes to its own expert and that expert's
class is right, so one pass of the pretrained model and one of every store give all routers and all draws.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from .. import routers
from ..contract import Context, Step
from ..evaluate import predictions, scoring_order
from ..inputs import SuiteInputs
from ..pausing import made_steps
from ..routing.stores import store_steps
from ..suite import Suite

DRAWS = 5
STORES = ("experts", "tsv_c")
Row = dict[str, Any]
Arrays = dict[str, np.ndarray]


def draw_steps(
    suite: Suite, draws: int = DRAWS, limit: int | None = None, stores: Sequence[str] = STORES
) -> Generator[Step, None, list[Row]]:
    """Fit every support router to `draws` support sets, yielding Steps; draw 0 is the suite's own set.

    Returns a row per router: `routed` is the mean over tasks of the share sent right (%), by draw; under `stores`, by
    store, `known` is the accuracy (%) when told the task and `end_to_end` the accuracy through the router, by draw.
    """
    problem, ctx = suite.problem(), Context(suite.device)
    tasks = [suite.task_of[expert] for expert in suite.experts]
    known: dict[str, Arrays] = {}
    for store in stores:
        known[store] = yield from _known(suite, tasks, store, limit)
    keys = [key for key, cls in routers.registry().items() if issubclass(cls, routers.SupportRouter)]
    features: dict[Any, list[torch.Tensor]] = {}
    rows = []
    for key in keys:
        hits: list[Arrays] = []
        for draw in range(draws):
            router = routers.build(key, draw=draw)
            assert isinstance(router, routers.SupportRouter)
            fitted = yield from router.fit_steps(problem, ctx)
            seen_by = (router.backbone, router.layer, router.tokens, router.normalise)
            if seen_by not in features:
                features[seen_by] = yield from _features(suite, tasks, fitted, limit)
            picked = [fitted.scorer(z).argmax(1).numpy(force=True) for z in features[seen_by]]
            hits.append({task: choice == i for i, (task, choice) in enumerate(zip(tasks, picked, strict=True))})
            yield Step(len(hits), draws, f"draws of {key}")
        rows.append(_row(key, hits, known))
    return rows


def _known(suite: Suite, tasks: Sequence[str], store: str, limit: int | None) -> Generator[Step, None, Arrays]:
    """Return by task which inputs the stored expert of that task classes right, in scoring order."""
    merged = yield from store_steps(store, suite.problem(), Context(suite.device))
    right = {}
    for done, task in enumerate(tasks, 1):
        said = predictions(suite, merged, task, limit=limit)
        right[task] = said.right(suite.experts)
        yield Step(done, len(tasks), f"{store} told the task, {task}")
    return right


def _features(
    suite: Suite, tasks: Sequence[str], fitted: routers.Fitted, limit: int | None
) -> Generator[Step, None, list[torch.Tensor]]:
    """Return what the router sees of the score half of every task, in scoring order."""
    network, found = SuiteInputs(suite), []
    for done, task in enumerate(tasks, 1):
        order = scoring_order(len(suite.labels(task, "score")), limit)
        moment, inputs = Step(done - 1, len(tasks), f"features of {task}"), suite.prepared(task, "score")[order]
        found.append((yield from made_steps(partial(fitted.look.of_many, network, inputs), moment)))
        yield Step(done, len(tasks), moment.label)
    return found


def _row(key: str, hits: Sequence[Arrays], known: dict[str, Arrays]) -> Row:
    return {
        "router": key,
        "title": routers.router_class(key).title,
        "routed": [_percent(hit) for hit in hits],
        "stores": {
            store: {
                "known": _percent(right),
                "end_to_end": [_percent({task: hit[task] & right[task] for task in hit}) for hit in hits],
            }
            for store, right in known.items()
        },
    }


def _percent(right: Arrays) -> float:
    """Return the mean over tasks of the share of True, in percent."""
    return round(100 * float(np.mean([part.mean() for part in right.values()])), 2)
