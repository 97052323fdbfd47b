"""How much of a score is luck: the same recipe run again with other seeds, or with other support pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import theme

TITLE = "How much of it is luck?"
ABOUT = (
    "Each small dot is one run of the same recipe, with another seed or other support pictures; the large one is their "
    "mean, the bar one standard deviation to both sides. Where bars overlap, one run does not tell methods apart."
)
EMPTY = "Not measured yet. Run `python -m merge_engine table --parts seeds,draws`."
VIEWS = {"seeds": "Seeds", "draws": "Support pictures"}
ROOM, NARROW_ROOM = 92, 82  # pixels for the numbers at the right


@dataclass(frozen=True)
class Repeats:
    """Accuracy in % of every run of one recipe; `of` is a view of the panel, `routed` the share sent right, in %."""

    of: str
    name: str
    accuracy: tuple[float, ...]
    routed: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracy))

    @property
    def deviation(self) -> float:
        """Standard deviation over runs, of the sample; 0 for one run."""
        return float(np.std(self.accuracy, ddof=1)) if len(self.accuracy) > 1 else 0.0


def figure(data: Sequence[Repeats], *, view: str = "seeds") -> go.Figure:
    """Return a line per recipe, the best first: its runs, their mean and one standard deviation."""
    found = _ordered(data, view)
    low = min(min(*one.accuracy, one.mean - one.deviation) for one in found)
    high = max(max(*one.accuracy, one.mean + one.deviation) for one in found)
    room = 0.05 * (high - low) + 0.5
    places = list(range(len(found)))
    return theme.figure(
        height=90 + 30 * len(found),
        margin={"r": ROOM, "t": 12, "b": 44},
        data=[_bars(found), _runs(found), _means(found), _numbers(found, high + room)],
        xaxis=theme.axis("accuracy, %", range=[low - room, high + room], fixedrange=True, nticks=8),
        yaxis=theme.axis(
            range=[len(found) - 0.4, -0.6], tickvals=places, ticktext=[one.name for one in found], showgrid=False,
            fixedrange=True, automargin=True, tickfont={"size": theme.TEXT, "color": theme.INK},
        ),
        meta={"narrow": {"layout.margin.r": NARROW_ROOM, "layout.xaxis.nticks": 4,
                         "layout.yaxis.ticktext": theme.shorts([one.name for one in found], 15)}},
    )  # fmt: skip


def rows(data: Sequence[Repeats], *, view: str = "seeds") -> tuple[list[str], list[list]]:
    """Return one line per recipe; accuracies in %."""
    found = _ordered(data, view)
    most = max(len(one.accuracy) for one in found)
    runs = [f"run {i}" for i in range(1, most + 1)]
    right = view == "draws"
    columns = ["recipe", "mean", "deviation", *(["routed right, mean"] if right else []), *runs]
    return columns, [
        [one.name, one.mean, one.deviation, *([float(np.mean(one.routed))] if right else []),
         *one.accuracy, *[None] * (most - len(one.accuracy))]
        for one in found
    ]  # fmt: skip


def _ordered(data: Sequence[Repeats], view: str) -> list[Repeats]:
    chosen = [one for one in data if one.of == view] or list(data)
    return sorted(chosen, key=lambda one: -one.mean)


def _bars(found: Sequence[Repeats]) -> go.Scatter:
    x = [value for one in found for value in (one.mean - one.deviation, one.mean + one.deviation, None)]
    y = [value for place in range(len(found)) for value in (place, place, None)]
    return theme.scatter(x=x, y=y, mode="lines", hoverinfo="skip", line={"color": "var(--ms-whisker)", "width": 9})


def _runs(found: Sequence[Repeats]) -> go.Scatter:
    each = [(place, i, one) for place, one in enumerate(found) for i in range(len(one.accuracy))]
    return theme.scatter(
        x=[one.accuracy[i] for _, i, one in each], y=[place for place, _, _ in each], mode="markers",
        hoverinfo="text", hovertext=[_sentence(one, i) for _, i, one in each], cliponaxis=False,
        marker={"size": 7, "color": theme.SURFACE, "line": {"color": theme.MERGED, "width": 1.5}},
    )  # fmt: skip


def _means(found: Sequence[Repeats]) -> go.Scatter:
    return theme.scatter(
        x=[one.mean for one in found], y=list(range(len(found))), mode="markers", hoverinfo="skip", cliponaxis=False,
        marker={"size": 11, "color": theme.MERGED},
    )  # fmt: skip


def _numbers(found: Sequence[Repeats], edge: float) -> go.Scatter:
    return theme.scatter(
        x=[edge] * len(found), y=list(range(len(found))), mode="text", textposition="middle right", hoverinfo="skip",
        text=[f"<b>{one.mean:.1f}</b> ± {one.deviation:.1f}" for one in found], cliponaxis=False,
        textfont={"size": theme.SMALL, "color": theme.INK},
    )  # fmt: skip


def _sentence(one: Repeats, i: int) -> str:
    right = f"<br>{one.routed[i]:.1f} % sent to their own expert" if one.routed else ""
    return f"<b>{one.name}</b>, run {i + 1} of {len(one.accuracy)}<br>{one.accuracy[i]:.1f} %{right}"


def demo() -> list[Repeats]:
    """Return an example of recipes that depend on luck to different degrees."""
    return [
        Repeats("seeds", "AdaRank", (81.9, 81.5, 81.8)),
        Repeats("seeds", "Representation surgery", (83.4, 84.1, 84.2)),
        Repeats("seeds", "WEMoE", (72.8, 67.4, 71.0)),
        Repeats("draws", "Mahalanobis distance", (82.0, 84.1, 81.3, 82.8, 83.0), (91.0, 93.4, 90.8, 92.5, 92.3)),
        Repeats("draws", "Nearest mean", (55.0, 57.9, 54.6, 57.1, 55.7), (61.2, 64.6, 60.4, 63.6, 62.0)),
    ]


if __name__ == "__main__":
    from viz.demo import show

    show("repeats")
