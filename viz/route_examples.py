"""Made-up routers that learn, for the demonstration and the tests of their panel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from viz.examples import EXPERTS, routes
from viz.panels.route_steps import RouteSteps


def route_steps(experts: Sequence[str] = EXPERTS, *, blocks: int = 12, steps: int = 13, last: int = 60) -> RouteSteps:
    """Return weights that start alike and move towards those of `examples.routes`, a little noisy at every step."""
    random = np.random.default_rng(41)
    end = np.stack([found.mean(0) for found in routes(experts, blocks=blocks).values()])
    shares = 1 - np.exp(-3 * np.linspace(0, 1, steps))[:, None, None, None]
    weights = 0.3 + shares * (end - 0.3) + random.normal(0, 0.02, (steps, *end.shape))
    at = tuple(round(last * step / (steps - 1)) for step in range(steps))
    return RouteSteps(tuple(experts), tuple(experts), tuple(range(blocks)), at, weights)
