"""The merging coefficient of every expert, by block or matrix by matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme
from viz.film import Moment, film, moments_of
from viz.pin import Pin
from viz.places import Place

TITLE = "Merging coefficients"
ABOUT = (
    "How much of every expert is added, by depth of the network; the orange line is where adaptation started. Below "
    "zero, an expert is subtracted. Click a cell to look at that block in every panel."
)
EMPTY = "No coefficients yet. Merge with AdaMerging or AdaRank to see what is learned."
LESS = "Drawn is the mean of a block minus that of the run pinned as {} after its last step."
OUTSIDE, ALL = "outside blocks", "all tensors"
AROUND_ZERO = ("change", "less")


@dataclass(frozen=True, eq=False)
class CoefficientMap:
    """Coefficients λ (T, N) by expert and tensor after `step` updates, and at the start; N is 1 where all share one.

    `places` (N,) are block and kind of the tensors.
    """

    experts: tuple[str, ...]
    places: tuple[Place, ...]
    values: np.ndarray
    start: np.ndarray
    step: int = 0

    def __len__(self) -> int:
        return self.values.size

    @property
    def prior(self) -> float:
        """The coefficient that adaptation started from, on average."""
        return float(np.nanmean(self.start)) if np.isfinite(self.start).any() else float("nan")


def VIEWS(
    data: CoefficientMap | Sequence[CoefficientMap], *, pinned: Pin[Sequence[CoefficientMap]] | None = None
) -> dict[str, str]:
    """Return the coefficients and their change, and beside a pinned run of the same experts the difference."""
    less = {"less": f"Block {pinned.less}"} if pinned else {}
    return {"block": "Mean of a block", "matrix": "Every matrix", "change": "Change of a block since the start", **less}


def figure(
    data: CoefficientMap | Sequence[CoefficientMap], *, view: str = "block",
    pinned: Pin[Sequence[CoefficientMap]] | None = None,
) -> go.Figure:  # fmt: skip
    """Return expert against depth; several maps, one per step, get a slider and one colour scale."""
    return _film(moments_of(data), view, pinned)


def _film(
    moments: Sequence[CoefficientMap], view: str, pinned: Pin[Sequence[CoefficientMap]] | None
) -> go.Figure:
    data, other = moments[-1], moments_of(pinned.data)[-1] if pinned else None
    names, addresses, cells = _columns(data, view, other)
    every = np.stack([_columns(moment, view, other)[2] for moment in moments])
    prior = 0.0 if view in AROUND_ZERO else data.prior
    words = {"change": "change of the coefficient λ", "less": f"coefficient λ {pinned.less}" if pinned else ""}
    title = words.get(view, "coefficient λ")
    level = () if view in AROUND_ZERO or not np.isfinite(prior) else ((prior, ""),)
    scale = heat.Scale.of(every, title, chance=level, centre=prior if np.isfinite(prior) else None, word="start")
    wide = view == "matrix" and data.values.shape[1] > 1
    hover = f"<b>%{{y}}</b>, %{{x}}<br>{title} %{{z:.3f}}"
    written = not wide and len(names) <= 14
    trace = heat.cells(names, data.experts, cells, scale, hover=hover, text=written, gap=1.5)
    shown = _ticks(names, addresses, wide)
    result = heat.picture(
        [trace], scale, cells, rows=len(data.experts), row_height=26, top=44,
        xaxis={"type": "category", "side": "top", "tickvals": [at for at, _ in shown], "tickangle": 0,
               "ticktext": [text for _, text in shown], "range": [-0.5, len(names) - 0.5],
               "title": heat.top_title("block, from input to output" if len(names) > 1 else "")},
        yaxis={"type": "category", "range": [len(data.experts) - 0.5, -0.5],
               "tickvals": list(range(len(data.experts))), "ticktext": theme.shorts(data.experts, 12)},
        meta={
            "title": f"{TITLE}{f' {pinned.less}' if view == 'less' and pinned else ''}, step {data.step:,}",
            **({"about": LESS.format(pinned.letter)} if view == "less" and pinned else {}),
            "axes": {"x": [[n, a] for n, a in zip(names, addresses, strict=True) if a],
                     "y": [[e, {"expert": e}] for e in data.experts]},
            "narrow": {"data.0.texttemplate": "" if len(names) > 4 else "%{text}",
                       "layout.yaxis.ticktext": theme.shorts(data.experts, 9)},
        },
    )  # fmt: skip
    if wide:
        result.data[0].update(xgap=0, ygap=2)
        moments = moments[::-2][::-1] if len(moments) > 7 else moments  # many cells: every other step
    heading = str(theme.drawn(result).meta["title"]).rpartition(", ")[0]
    return film(result, [
        Moment(str(moment.step), f"{heading}, step {moment.step:,}",
               heat.changes(_columns(moment, view, other)[2], scale if written else None))
        for moment in moments
    ])  # fmt: skip


def rows(
    data: CoefficientMap | Sequence[CoefficientMap], *, view: str = "block",
    pinned: Pin[Sequence[CoefficientMap]] | None = None,
) -> tuple[list[str], list[list]]:  # fmt: skip
    """Return one line per column of the figure, as it is at the last step."""
    last: CoefficientMap = moments_of(data)[-1]
    names, _, cells = _columns(last, view, moments_of(pinned.data)[-1] if pinned else None)
    lines = zip(names, cells.T, strict=True)
    return ["where", *last.experts], [[name, *line] for name, line in lines if not name.startswith("after ")]


def _columns(
    data: CoefficientMap, view: str, other: CoefficientMap | None = None
) -> tuple[list[str], list[dict], np.ndarray]:
    """Return names, addresses and cells (T, columns): blocks, or their matrices with a gap after every block.

    In the view `less` they are those of blocks minus those of `other`.
    """
    if view == "less" and other is not None:
        names, addresses, cells = _columns(data, "block")
        return names, addresses, cells - _aligned(names, other)
    values = data.values - data.start if view == "change" else data.values
    if data.values.shape[1] == 1:
        return [ALL], [{}], values
    blocks = sorted({b for b, _ in data.places if b is not None})
    inside = {b: [i for i, (block, _) in enumerate(data.places) if block == b] for b in blocks}
    columns: list[tuple[str, dict, Sequence[int]]] = []
    for b, tensors in inside.items():
        if view != "matrix":
            columns.append((str(b), {"block": b}, tensors))
            continue
        kinds = {data.places[i][1]: [j for j in tensors if data.places[j][1] == data.places[i][1]] for i in tensors}
        columns += [(f"block {b}, {k}", {"block": b, "kind": k}, at) for k, at in kinds.items()]
        columns.append((f"after {b}", {}, ()))
    outside = [i for i, (block, _) in enumerate(data.places) if block is None]
    if outside:
        columns.append((OUTSIDE, {}, outside))
    blank = np.full(len(values), np.nan)
    cells = np.stack([values[:, list(at)].mean(1) if len(at) else blank for _, _, at in columns], 1)
    return [name for name, _, _ in columns], [address for _, address, _ in columns], cells


def _aligned(names: Sequence[str], other: CoefficientMap) -> np.ndarray:
    """Return the cells of another map of the same experts in some columns, (T, columns); NaN where it has none.

    One coefficient for all tensors stands for each of them, and the mean of many for that one.
    """
    theirs, _, cells = _columns(other, "block")
    if theirs == [ALL]:
        return np.repeat(cells, len(names), 1)
    known = {**dict(zip(theirs, cells.T, strict=True)), ALL: other.values.mean(1)}
    return np.stack([known.get(name, np.full(len(cells), np.nan)) for name in names], 1)


def _ticks(names: Sequence[str], addresses: Sequence[dict], wide: bool) -> list[tuple[float, str]]:
    """Return positions and words of the ticks: block numbers, at most sixteen, and what is outside blocks."""
    blocks = list(dict.fromkeys(a["block"] for a in addresses if a))
    step = max(1, -(-len(blocks) // 16))
    at = {b: float(np.mean([i for i, a in enumerate(addresses) if a.get("block") == b])) for b in blocks[::step]}
    last = [(float(len(names) - 1), "rest")] if names[-1] == OUTSIDE and not wide else []
    return [(0.0, ALL)] if names == [ALL] else [*((place, str(b)) for b, place in at.items()), *last]


def demo() -> list[CoefficientMap]:
    from viz.examples import coefficients_over_time

    return coefficients_over_time()


if __name__ == "__main__":
    from viz.demo import show

    show("coefficient_map")
