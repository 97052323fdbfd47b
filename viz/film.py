"""Moments of one figure: what changes from one to the next, so that a slider in the browser needs no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from viz import theme


@dataclass(frozen=True)
class Moment:
    """A position of the slider: its name, the heading, and new values by path in the figure, such as `data.0.z`.

    `narrow` are values by path for a narrow page.
    """

    name: str
    title: str
    changes: Mapping[str, Any]
    narrow: Mapping[str, Any] = field(default_factory=dict)


def film(figure: go.Figure, moments: Sequence[Moment], word: str = "step") -> go.Figure:
    """Return a figure, drawn as it is at the last moment, with a slider over all of them; one needs no slider."""
    if len(moments) < 2:
        return figure
    found = {
        "word": word,
        "names": [moment.name for moment in moments],
        "titles": [moment.title for moment in moments],
        "changes": [dict(moment.changes) for moment in moments],
        "narrow": [dict(moment.narrow) for moment in moments],
    }
    layout = theme.drawn(figure)
    layout.meta = {**(layout.meta or {}), "film": found}
    return figure


def moments_of(data: Any) -> tuple[Any, ...]:
    """Return what is shown over time as a sequence, its last entry being what is shown at first."""
    return tuple(data) if isinstance(data, Sequence) else (data,)

