"""Features of support and test inputs on a map, coloured by their task or by the expert they were sent to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import theme
from viz.pin import Pin

TITLE = "Map of the features"
ABOUT = (
    "Every point is an input, placed by its features: near points look alike to the model. Crosses are the support "
    "set, dots are test inputs, ringed where they were sent to another expert. "
    "Draw around points to choose them, or choose one and then its 20 nearest."
)
EMPTY = "No features yet. Press Merge to see how the tasks of its inputs lie apart."
LINEAR = "PCA keeps large distances; what lies beside what may be lost."
NEIGHBOURS = "UMAP keeps neighbours together; distances between groups mean little."
UNPLACED = "Your picture has no place on this map yet; it is marked on the PCA views."
AGAINST = "Coloured is which of the two runs has a test input right: this one, or the one pinned as {}."
PLOT = 380
LEGEND, SENT = "✕ support   ● test", "   ◉ sent to another expert"

SUPPORT = {"symbol": "x-thin", "size": 6, "opacity": 0.9}
DOT = {"symbol": "circle", "size": 6, "opacity": 0.75}
WRONG = {"symbol": "circle", "size": 8.5, "opacity": 1}
FAINT = {"symbol": "x-thin", "size": 5, "opacity": 0.4}
SIGNS = {"circle": "●", "x-thin": "✕", "diamond": "◆"}
FARES: dict[str, tuple[str, dict]] = {  # how an input fares in both runs: its colour and mark
    "both right": (theme.PRETRAINED, {"symbol": "circle", "size": 5, "opacity": 0.55}),
    "both wrong": (theme.INK, {"symbol": "x-thin", "size": 6, "opacity": 0.7}),
    "this run alone": ("var(--ms-good)", {"symbol": "circle", "size": 8, "opacity": 1}),
    "{} alone": ("var(--ms-mark)", {"symbol": "diamond", "size": 9, "opacity": 1}),
}


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """N inputs: `task` and `routed` (N,) are positions in `tasks`, `routed` −1 where an input was not sent anywhere.

    `support` (N,) marks support inputs, `index` (N,) is the place of an input in its split. `pca` (N, 2) has
    coordinates, `explained` (2,) their shares of the variance; `umap` (N, 2) is None until it is ready. `yours` (2,) is
    where a visitor's own picture lies on the PCA map, None without one, and `yours_near` (2,) where on the other, None
    until that is known. `fares` (N,) numbers how test inputs fare in this run and in the pinned one, a place in
    `FARES`, −1 where that is not known.
    """

    tasks: tuple[str, ...]
    task: np.ndarray
    routed: np.ndarray
    support: np.ndarray
    index: np.ndarray
    pca: np.ndarray
    explained: np.ndarray
    umap: np.ndarray | None = None
    yours: np.ndarray | None = None
    yours_near: np.ndarray | None = None
    fares: Pin[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.task)

    @property
    def wrong(self) -> np.ndarray:
        """True (N,) for test inputs of tasks with a support set that were sent to another expert."""
        known = np.isin(self.task, self.task[self.support])
        return ~self.support & (self.routed >= 0) & (self.routed != self.task) & known


def VIEWS(data: FeatureMap) -> dict[str, str]:
    """Return the maps that are ready, each coloured by task and, where inputs were routed, by route.

    Beside a pinned run, each is coloured by how inputs fare in both runs, too.
    """
    maps = {"pca": "PCA", **({} if data.umap is None else {"umap": "UMAP"})}
    routed = bool((data.routed >= 0).any())
    pairs = [({"": "task", "_routed": "route"}, m, word) for m, word in maps.items()]
    found = {
        f"{m}{key}": f"{word} by {by}" for by_key, m, word in pairs for key, by in by_key.items() if routed or not key
    }
    beside = {f"{m}_against": f"{word} beside {data.fares.letter}" for m, word in maps.items()} if data.fares else {}
    return {**found, **beside}


def figure(data: FeatureMap, *, view: str = "pca", chosen: int | None = None,
           colors: Mapping[str, str] | None = None) -> go.Figure:  # fmt: skip
    """Return the scatter; `chosen` is the position of an input to ring. Every point carries its own position."""
    where, _, by = view.partition("_")
    points = data.umap if where == "umap" and data.umap is not None else data.pca
    colors, fares = colors or theme.colors(data.tasks), data.fares if by == "against" else None
    shown = np.where(data.support | (data.routed < 0), data.task, data.routed) if by == "routed" else data.task
    groups = _fared(data, fares) if fares else _tasked(data, shown, by == "routed", colors)
    ringed = chosen is not None and 0 <= chosen < len(data)
    star, star_words, note = _yours(data, where)
    traces = [
        *(_points(data, points, which, mark, about) for which, mark, about in groups),
        *([_ring(points[chosen])] if ringed else []), *star,
    ]  # fmt: skip
    words, reads = _axes(data, where), LINEAR if where == "pca" else NEIGHBOURS
    kind = f"beside {fares.letter}" if fares else "by expert sent to" if by else "by task"
    about = AGAINST.format(fares.letter) if fares else ABOUT
    narrow = {"layout.margin.r": 108} if fares else _narrow_names(data, shown, colors)
    names = _fare_names(data, fares) if fares else [*_names(data, shown, colors), _legend(data)]
    return theme.figure(
        height=PLOT + 70, margin={"t": 28, "r": 124 if fares else 100}, dragmode="lasso", data=traces,
        xaxis=theme.axis(words[0], nticks=6, zeroline=False), newselection={"line": {"color": theme.INK, "width": 1}},
        yaxis=theme.axis(words[1], nticks=6, automargin=True, scaleanchor="x"),
        annotations=[*names, *star_words],
        meta={
            "about": f"{about} {reads}", "title": f"{TITLE}, {kind}", "uirevision": where,
            "narrow": {"layout.xaxis.nticks": 4, **narrow}, **note,
        },
    )  # fmt: skip


Groups = list[tuple[np.ndarray, dict, dict]]  # which points, their marker, and what they are about


def _tasked(data: FeatureMap, shown: np.ndarray, by_route: bool, colors: Mapping[str, str]) -> Groups:
    """Return the points of every task, or of every expert that inputs were sent to."""
    found = []
    for t, name in enumerate(data.tasks):
        mine, color = shown == t, colors.get(name, theme.MUTED)
        about = {"expert" if by_route else "task": name}
        marks = (
            (SUPPORT, mine & data.support, {"width": 1.5, "color": color}, {**about, "aside": True}),
            (DOT, mine & ~data.support & ~data.wrong, {"width": 0}, about),
            (WRONG, mine & data.wrong, {"width": 1.75, "color": theme.INK}, about),
        )
        found += [(which, {**mark, "color": color, "line": line}, what) for mark, which, line, what in marks
                  if which.any()]  # fmt: skip
    return found


def _fared(data: FeatureMap, fares: Pin[np.ndarray]) -> Groups:
    """Return the test inputs by how they fare in both runs, before the support inputs."""
    groups = [(data.support, theme.RULE, FAINT, {"aside": True})]
    groups += [(fares.data == i, *style, {}) for i, style in enumerate(FARES.values())]
    return [(which, {**mark, "color": ink, "line": {"width": 1.25, "color": ink}}, about)
            for which, ink, mark, about in groups if which.any()]  # fmt: skip


def _fare_names(data: FeatureMap, fares: Pin[np.ndarray]) -> list[dict]:
    """Return how inputs fare, with their number, as a column at the right."""
    counts = {name: int((fares.data == i).sum()) for i, name in enumerate(FARES)}
    names = [("✕ support", theme.MUTED)]
    names += [(f"{SIGNS[mark['symbol']]} {name.format(fares.letter)} {counts[name]:,}", ink)
              for name, (ink, mark) in FARES.items() if counts[name]]  # fmt: skip
    return [
        theme.label(text, 1, 1 - (row + 0.5) * 18 / PLOT, xref="paper", yref="paper", xanchor="left",
                    yanchor="middle", xshift=8, size=12, color=ink)
        for row, (text, ink) in enumerate(names)
    ]  # fmt: skip


def rows(data: FeatureMap, *, view: str = "pca") -> tuple[list[str], list[list]]:
    """Return one line per input with its coordinates on the map that is shown, and how it fares in both runs."""
    where = view.partition("_")[0]
    points = data.umap if where == "umap" and data.umap is not None else data.pca
    columns = ["task", "input", "sent to", f"{where} 1", f"{where} 2", *(["right"] if data.fares else [])]
    yours = data.yours_near if where == "umap" else data.yours
    own = [] if yours is None else [["", "yours", "", *(float(f"{v:.4g}") for v in yours)]]
    own = [[*line, *([""] if data.fares else [])] for line in own]
    return columns, [
        *([data.tasks[data.task[i]], _input(data, i), _sent(data, i), *(float(f"{v:.4g}") for v in point),
           *([_fare(data.fares, i)] if data.fares else [])] for i, point in enumerate(points)),
        *own,
    ]  # fmt: skip


def _fare(fares: Pin[np.ndarray], i: int) -> str:
    return "" if fares.data[i] < 0 else tuple(FARES)[fares.data[i]].format(fares.letter)


def _points(data: FeatureMap, points: np.ndarray, which: np.ndarray, marker: dict, about: dict) -> go.Scatter:
    """Return some of the points; what they say on hover names task, set and route."""
    at = np.flatnonzero(which)
    own, sent = data.tasks[data.task[at[0]]], _sent(data, int(at[0]))
    alone, together = (len(np.unique(values[at])) == 1 for values in (data.task, data.routed))
    text = [
        f"{'' if alone else data.tasks[data.task[i]] + ', '}{_input(data, i)}{'' if together else _to(_sent(data, i))}"
        for i in at.tolist()
    ]
    return theme.scatter(
        x=points[at, 0].astype(np.float32), y=points[at, 1].astype(np.float32), mode="markers", marker=marker,
        customdata=at.tolist(), text=text, meta=about, cliponaxis=False, unselected={"marker": {"opacity": 0.12}},
        hovertemplate=f"{f'<b>{own}</b>, ' if alone else ''}%{{text}}{_to(sent) if together else ''}<extra></extra>",
    )  # fmt: skip


def _input(data: FeatureMap, i: int) -> str:
    return f"{'support' if data.support[i] else 'test'} {data.index[i]}"


def _sent(data: FeatureMap, i: int) -> str:
    return data.tasks[data.routed[i]] if data.routed[i] >= 0 else ""


def _to(expert: str) -> str:
    return f"<br>sent to {expert}" if expert else ""


def _ring(point: np.ndarray) -> go.Scatter:
    return theme.scatter(
        x=point[:1], y=point[1:], mode="markers", hoverinfo="skip", cliponaxis=False,
        marker={"symbol": "circle-open", "size": 17, "color": "var(--ms-mark)", "line": {"width": 2.5}},
    )  # fmt: skip


def _yours(data: FeatureMap, where: str) -> tuple[list[go.Scatter], list[dict], dict[str, str]]:
    """Return the mark of the visitor's own picture and its words, or a note that it has no place on this map yet."""
    point = data.yours_near if where == "umap" else data.yours
    if data.yours is None or point is None:
        return [], [], {} if data.yours is None else {"note": UNPLACED}
    x, y = point.tolist()
    star = theme.scatter(
        x=point[:1], y=point[1:], mode="markers", cliponaxis=False, hovertemplate="<b>your picture</b><extra></extra>",
        marker={"symbol": "star", "size": 18, "color": "var(--ms-mark)", "line": {"width": 1, "color": theme.SURFACE}},
    )  # fmt: skip
    return [star], [theme.label("yours", x, y, size=theme.TEXT, yshift=20, bgcolor=theme.SURFACE, borderpad=1)], {}


def _axes(data: FeatureMap, where: str) -> tuple[str, str]:
    if where == "umap":
        return "UMAP coordinate 1, no unit", "UMAP coordinate 2, no unit"
    first, second = (f"direction {i}, {100 * share:.0f} % of the variance" for i, share in enumerate(data.explained, 1))
    return first, second


def _names(data: FeatureMap, shown: np.ndarray, colors: Mapping[str, str]) -> list[dict]:
    """Return the names of the tasks that are drawn, as a column at the right."""
    used, short = _used(data, shown), theme.shorts(data.tasks, 12)
    return [
        theme.label(f"● {short[t]}", 1, 1 - (row + 0.5) * 18 / PLOT, xref="paper", yref="paper", xanchor="left",
                    yanchor="middle", xshift=8, color=colors.get(data.tasks[t], theme.MUTED),
                    name=data.tasks[t])
        for row, t in enumerate(used)
    ]  # fmt: skip


def _narrow_names(data: FeatureMap, shown: np.ndarray, colors: Mapping[str, str]) -> dict:
    """Return changes that move the names above the plot, three in a line."""
    used, short = _used(data, shown), theme.shorts(data.tasks, 12)
    names = [f'<span style="color:{colors.get(data.tasks[t], theme.MUTED)}">● {short[t]}</span>' for t in used]
    lines = ["   ".join(names[i : i + 3]) for i in range(0, len(names), 3)]
    hidden = {f"layout.annotations.{row}.visible": False for row in range(len(used))}
    return {**hidden, f"layout.annotations.{len(used)}.text": "<br>".join([*lines, _key(data)]), "layout.margin.r": 12,
            f"layout.annotations.{len(used)}.align": "left", "layout.margin.t": 30 + 15 * len(lines),
            "layout.height": PLOT + 50}  # fmt: skip


def _used(data: FeatureMap, shown: np.ndarray) -> list[int]:
    return [t for t in range(len(data.tasks)) if (shown == t).any()]


def _key(data: FeatureMap) -> str:
    return LEGEND + (SENT if data.wrong.any() else "")


def _legend(data: FeatureMap) -> dict:
    return theme.label(_key(data), 0, 1, xref="paper", yref="paper",
                       xanchor="left", yanchor="bottom", yshift=4, color=theme.MUTED)  # fmt: skip


def demo() -> FeatureMap:
    from viz.examples import features

    return features()


if __name__ == "__main__":
    from viz.demo import show

    show("manifold")
