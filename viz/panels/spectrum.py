"""Singular values of one task matrix for every expert, and of the merged one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from viz import places, theme

if TYPE_CHECKING:
    from merge_engine.metrics.spectrum import Spectrum

TITLE = "Spectrum"
ABOUT = (
    "How the change that fine-tuning made to one matrix splits into directions, strongest first. A steep line means "
    "that few directions hold the task; the ring marks 95 % of the energy. Click a point to choose its component, "
    "which can be knocked out below."
)
EMPTY = "No spectrum yet. Choose experts to see how their task matrices decay."
VIEWS = {"values": "Singular values", "energy": "Energy kept"}
PLOT = 270
PINNED = "pinned as "  # begins the name of another merge, drawn beside the one that is shown
THICK, DASHED = {"width": 2.75}, {"width": 2, "dash": "5px,3px"}


def figure(data: Spectrum, *, view: str = "values", block: int | None = None, kind: str | None = None,
           cut: int | None = None, colors: Mapping[str, str] | None = None) -> go.Figure:  # fmt: skip
    """Return one line per model; `cut` is the rank that the method keeps."""
    row = places.row(data, block, kind)
    merges = [m for m in data.models if _style(m)]
    experts = [m for m in data.models if m not in merges]
    colors = {**dict.fromkeys(merges, theme.MERGED), **(colors or theme.colors(experts))}
    curves = np.where(data.singular_values[row] > 0, data.singular_values[row], np.nan)
    energy = np.minimum(data.energy[row], 1)
    shown = curves if view == "values" else 100 * energy
    full = int(np.isfinite(energy).any(0).sum()) or 1
    low, high = _range(shown, view)
    log = view == "values"
    kept = [cut] if cut is not None and 0 < cut < full else []
    traces = [_line(m, shown[i], curves[i], energy[i], colors[m]) for i, m in enumerate(data.models)]
    return theme.figure(
        height=PLOT + 58, margin={"l": 8, "r": 88, "t": 14, "b": 44}, dragmode="zoom", hoverdistance=40,
        data=[*traces, _rings(data.models, shown, data.rank[row], colors)],
        xaxis=theme.axis("rank k, strongest direction first", range=[-0.015 * full, full * 1.015], showgrid=False,
                         showline=True, tickvals=_ticks(full)),
        yaxis=theme.axis(_title(data, row, log), range=[low, high], type="log" if log else "linear", automargin=True,
                         **(_decades(low, high) if log else {"tickvals": [0, 25, 50, 75, 95]})),
        shapes=[theme.rule(rank + 0.5, color=theme.CHANCE, dash="4px,3px") for rank in kept],
        annotations=[*_labels(data.models, shown, low, high, log, colors), *map(_cut, kept)],
        meta={
            "title": f"Spectrum of {places.words(data, row)}",
            "uirevision": view,
            "narrow": {"layout.margin.r": 74, "layout.xaxis.nticks": 4},
        },
    )  # fmt: skip


def rows(data: Spectrum, *, block: int | None = None, kind: str | None = None) -> tuple[list[str], list[list]]:
    """Return, per model, the rank that holds 95 % of the energy and the size and energy at a few ranks."""
    row = places.row(data, block, kind)
    full = data.singular_values.shape[-1]
    at = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if k < full} | {full})
    columns = ["model", "rank of 95 %", *(f"s {k}" for k in at), *(f"E({k}) %" for k in at)]
    table = [
        [model, data.rank[row, i], *(data.singular_values[row, i, k - 1] for k in at),
         *(100 * data.energy[row, i, k - 1] for k in at)]
        for i, model in enumerate(data.models)
    ]  # fmt: skip
    return columns, table


def _line(model: str, shown: np.ndarray, sizes: np.ndarray, energy: np.ndarray, color: str) -> go.Scatter:
    """Return the line of one model; what it says on hover is the same in both views."""
    return theme.scatter(
        x=np.arange(1, len(shown) + 1, dtype=np.int16),
        y=shown.astype(np.float32),
        mode="lines",
        meta={"expert": model},
        line={"color": color, **(_style(model) or {"width": 1.6})},
        customdata=np.stack([sizes, 100 * energy], -1).astype(np.float32),
        hovertemplate=f"<b>{model}</b><br>singular value %{{x}} is %{{customdata[0]:.3g}};<br>"
        "the first %{x} hold %{customdata[1]:.1f} % of the energy<extra></extra>",
    )


def _style(model: str) -> dict[str, Any]:
    """Return the line of a merge; nothing for an expert."""
    return THICK if model == "merged" else DASHED if model.startswith(PINNED) else {}


def _rings(models: Sequence[str], shown: np.ndarray, ranks: np.ndarray, colors: Mapping[str, str]) -> go.Scatter:
    """Return a ring on every line, at the rank that holds 95 % of the energy."""
    known = [(i, int(rank)) for i, rank in enumerate(ranks) if np.isfinite(rank)]
    ink = [colors[models[i]] for i, _ in known]
    text = "<b>{}</b><br>95 % of the energy lies in the first {} directions"
    return theme.scatter(
        x=[rank for _, rank in known],
        y=[float(shown[i, rank - 1]) for i, rank in known],
        mode="markers",
        meta={"points": [{"expert": models[i]} for i, _ in known]},
        marker={"size": 8, "color": theme.SURFACE, "line": {"color": ink, "width": 2}},
        hoverinfo="text",
        hovertext=[text.format(models[i], rank) for i, rank in known],
        cliponaxis=False,
    )


def _cut(rank: int) -> dict:
    """Return the words beside the rank that the method keeps."""
    return theme.label(f"rank kept, {rank}", rank + 0.5, 1, yref="paper", color=theme.CHANCE, xanchor="left",
                       yanchor="top", xshift=4)  # fmt: skip


def _range(shown: np.ndarray, view: str) -> tuple[float, float]:
    """Return the range of y, in powers of ten for sizes; at most five decades, or rounding would fill the figure."""
    if view == "energy":
        return 0.0, 102.0
    known = shown[np.isfinite(shown)]
    if not known.size:
        return -3.0, 0.0
    high = float(np.log10(known.max()))
    return max(float(np.log10(known.min())), high - 5) - 0.08, high + 0.12


def _ticks(full: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 16, 32, 64, 128, 256, 512, 1024, 2048, 1 << 20) if full / s <= 6)
    return [1, *range(step, full + 1, step)] if step > 1 else list(range(1, full + 1))


def _title(data: Spectrum, row: int, log: bool) -> str:
    if not log:
        return "energy of the first k, %"
    return "singular value" if data.rows[row].level == "tensor" else "singular value, root mean square"


def _decades(low: float, high: float) -> dict:
    """Return ticks at powers of ten, and between them where the range is short."""
    steps = (1,) if high - low > 2.5 else (1, 3) if high - low > 1.2 else (1, 2, 5)
    found = [s * 10.0**d for d in range(int(np.floor(low)), int(np.ceil(high)) + 1) for s in steps]
    ticks = [v for v in found if low <= np.log10(v) <= high]
    return {"tickvals": ticks, "ticktext": [f"{v:g}" for v in ticks]}


def _labels(models, shown: np.ndarray, low: float, high: float, log: bool, colors) -> list[dict]:
    """Return the models' names at the right, beside the ends of their lines and moved apart where they collide."""
    ends = []
    for line in shown:
        known = line[np.isfinite(line)]
        end = low if not known.size else np.log10(known[-1]) if log else known[: max(1, len(known) // 6)].mean()
        ends.append(float(np.clip(end, low, high)))
    spots = theme.spread(ends, 14 * (high - low) / PLOT, low, high)
    return [
        theme.label(f"<b>{m}</b>" if m == "merged" else text, 1, spot, xref="paper", color=colors[m],
                    xanchor="left", xshift=8, name=m)
        for m, text, spot in zip(models, theme.shorts(models, 12), spots, strict=True)
    ]  # fmt: skip


def demo() -> Spectrum:
    from viz.examples import spectrum

    return spectrum()


if __name__ == "__main__":
    from viz.demo import show

    show("spectrum")
