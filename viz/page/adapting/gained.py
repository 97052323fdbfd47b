"""What a merge learned while it adapted, in a sentence or two: coefficients, masks, routes. Knows no Gradio."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from merge_engine.adapting.history import History, unpacked

State = Mapping[str, np.ndarray]


def gained(history: History | None) -> str:
    """Return what changed from the first to the last kept state; empty where nothing is known."""
    if history is None or len(history.states) < 2:
        return ""
    start, end = history.states[0], history.states[-1]
    found = [tell(history, start, end) for tell in (_coefficients, _masks, _routes, _distance)]
    return " ".join(sentence for sentence in (*found, f"{history.steps[-1]} updates.") if sentence)


def _coefficients(history: History, start: State, end: State) -> str:
    if "coefficients" not in end:
        return ""
    now, each = end["coefficients"], end["coefficients"].mean(1)
    most, least = history.tasks[int(each.argmax())], history.tasks[int(each.argmin())]
    ends = f", most for {most} ({each.max():.2f}), least for {least} ({each.min():.2f})" if len(each) > 1 else ""
    return (
        f"λ is {now.mean():.2f} on average, from {start['coefficients'].mean():.2f}, and lies between "
        f"{now.min():.2f} and {now.max():.2f}{ends}."
    )


def _masks(history: History, start: State, end: State) -> str:
    """Tell the share of components that are on; soft masks also say how strongly."""
    if not history.ranks:
        return ""
    before, now = (np.concatenate([_on(history, state, name) for name in history.ranks]) for state in (start, end))
    flipped = f"{100 * (now & ~before).mean():.1f} % were switched on, {100 * (before & ~now).mean():.1f} % off"
    return f"{100 * now.mean():.0f} % of the components are on, {100 * before.mean():.0f} % at the start: {flipped}."


def _on(history: History, state: State, name: str) -> np.ndarray:
    """Return which components of one matrix are on, of all experts."""
    return unpacked(state[f"masks/{name}"], history.ranks[name]).ravel()


def _routes(history: History, start: State, end: State) -> str:
    """Tell how much an input's own expert weighs, and any other; routes are (tasks, blocks, experts)."""
    if "routes" not in end:
        return ""
    (own, others), (begun, _) = _own(end["routes"]), _own(start["routes"])
    beside = "" if np.isnan(others) else f", any other {others:.2f}"
    return f"In the MLPs the expert of an input's task weighs {own:.2f} on average{beside}; both began at {begun:.2f}."


def _own(routes: np.ndarray) -> tuple[float, float]:
    """Return the mean weight of the own expert, and of the others."""
    weights, own = routes.mean(1), np.eye(len(routes), dtype=bool)
    others = weights[~own]
    return float(weights[own].mean()), float(others.mean()) if others.size else float("nan")


def _distance(history: History, start: State, end: State) -> str:
    if "distance" not in end:
        return ""
    before, now = (float(state["distance"].mean()) for state in (start, end))
    return f"The mean distance to the experts' features went from {before:.3f} to {now:.3f}."
