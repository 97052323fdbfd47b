"""Loss and accuracy over the plane through three models, with merges projected onto it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import heat, levels, theme

if TYPE_CHECKING:
    from merge_engine.landscape.surface import Marker, Surface

TITLE = "The plane through three models"
ABOUT = (
    "Every point is a mixture of the three models (circles), scored on a few validation pictures. Diamonds are the "
    "merges of your visit: they lie off the plane, drawn where they project to, and their fill is their own value."
)
EMPTY = "Nothing is measured yet. Choose three models above, then press Start."
PLOT, LABELS = 360, 9  # pixels; models and merges with their names beside them


def VIEWS(data: Surface) -> dict[str, str]:
    """Return loss and accuracy on average, and the loss of every task."""
    single = {f"loss {task}": f"Loss, {task}" for task in data.tasks} if len(data.tasks) > 1 else {}
    return {"loss": "Loss", "accuracy": "Accuracy", **single}


def figure(data: Surface, *, view: str = "loss", shown: str = "", left: str = "",
           colors: Mapping[str, str] | None = None) -> go.Figure:  # fmt: skip
    """Return the plane in its own distances.

    `shown` is the key of the merge that is on the page, `left` says which merges are not drawn and why.
    """
    colors = colors or theme.colors(name for name in data.models if name != "pretrained")
    own = [_value(m.loss, m.accuracy, data, view) for m in data.markers]
    z = _value(data.loss, data.accuracy, data, view)
    word, unit = ("accuracy", "%") if view == "accuracy" else ("loss", "nats")
    about = f" on {view[5:]}" if view.startswith("loss ") else ", mean of the tasks" if len(data.tasks) > 1 else ""
    scale = heat.Scale.of(np.append(z.ravel(), own), f"{word}{about} ({unit})")
    mix = "<br>".join(f"%{{customdata[{i}]:.2f}} {theme.short(name, 24)}" for i, name in enumerate(data.models))
    x = levels.reach(data.x, *(m.x for m in data.markers))
    y = levels.reach(data.y, *(m.y for m in data.markers))
    result = heat.picture(
        [*levels.traces(data.x, data.y, z, scale, f"{word} <b>%{{z:.3~g}}</b> {unit}<br>{mix}", data.mixture),
         *_markers(data, own, scale, f"{word} %{{marker.color:.3~g}} {unit}", shown, colors)],
        scale, z, rows=1, row_height=PLOT, top=14,
        xaxis={"title": _title(f"distance from {theme.short(data.models[0])} towards {theme.short(data.models[1])}"),
               "range": x, "constrain": "domain", "nticks": 6},
        yaxis={"title": _title(f"distance towards {theme.short(data.models[2])}"), "range": y, "scaleanchor": "x",
               "constrain": "domain", "nticks": 6},
        meta={"title": f"{TITLE}: {levels.progress(z)}", "note": f"{note(data)} {left}".strip(),
              "narrow": {"layout.xaxis.title.text": f"towards {theme.short(data.models[1])}"}},
    )  # fmt: skip
    words = [*theme.drawn(result).annotations, *_names(data, shown, colors, y)]
    return result.update_layout(annotations=words)


def rows(data: Surface) -> tuple[list[str], list[list]]:
    """Return the models, the merges, then every measured point."""
    columns = ["what", "name", "along", "across", "off the plane", "loss", "accuracy %"]
    columns += [f"{word}, {task}" for word in ("loss", "accuracy %") for task in data.tasks]
    found = [
        ["merge, projected" if m.merge else "model", m.name, m.x, m.y, m.off, m.loss.mean(), m.accuracy.mean(),
         *m.loss, *m.accuracy]
        for m in data.markers
    ]  # fmt: skip
    for r, c in zip(*np.nonzero(np.isfinite(data.loss[..., 0])), strict=True):
        loss, accuracy = data.loss[r, c], data.accuracy[r, c]
        numbers = [data.x[c], data.y[r], 0.0, loss.mean(), accuracy.mean(), *loss, *accuracy]
        found.append(["point", "", *(float(f"{value:.4g}") for value in numbers)])
    return columns, found


def note(data: Surface) -> str:
    """Return in plain words how far the merges lie off the plane."""
    merges = [m for m in data.markers if m.merge]
    if not merges:
        return ""
    far, side = max(merges, key=lambda m: m.off), np.hypot(*(_corner(data, 1) - _corner(data, 0)))
    beside = f", where the first two models are {side:.2g} apart" if np.isfinite(side) else ""
    count = "The merge is" if len(merges) == 1 else f"The {len(merges)} merges are"
    return (
        f"{count} not on this plane: {far.name} lies {far.off:.2g} away from it{beside}. A diamond's fill is the "
        "merge's own value, so it may differ from the colour around it."
    )


def _corner(data: Surface, place: int) -> np.ndarray:
    found = [(m.x, m.y) for m in data.markers if m.name == data.models[place] and not m.merge]
    return np.array(found[0] if found else (np.nan, np.nan))


def _value(loss: np.ndarray, accuracy: np.ndarray, data: Surface, view: str) -> np.ndarray:
    """Return what a view shows, from values by task (..., T)."""
    if view.startswith("loss "):
        return loss[..., data.tasks.index(view[5:])]
    return (accuracy if view == "accuracy" else loss).mean(-1)


def _markers(data: Surface, own: list, scale: heat.Scale, word: str, shown: str, colors: Mapping[str, str]) -> list:
    """Return the three models, and the merges, each filled by its own value."""
    return [
        _trace([(m, v) for m, v in zip(data.markers, own, strict=True) if m.merge == merge], scale, word, shown, colors)
        for merge in (False, True)
    ]


def _trace(given: list, scale: heat.Scale, word: str, shown: str, colors: Mapping[str, str]) -> go.Scatter:
    found: list[Marker] = [marker for marker, _ in given]
    merges = bool(found) and found[0].merge
    large = [not m.merge or m.key == shown for m in found]
    words = [
        f"<b>{m.name}</b>" + (f"<br>off the plane by {m.off:.3g}" if m.merge else "<br>on the plane") for m in found
    ]
    return theme.scatter(
        x=[m.x for m in found], y=[m.y for m in found], mode="markers", hovertext=words, cliponaxis=False,
        hovertemplate=f"%{{hovertext}}<br>its own {word}<extra></extra>",
        meta={"points": [{} if m.merge or m.name not in colors else {"expert": m.name} for m in found]},
        marker={
            "symbol": "diamond" if merges else "circle", "size": [14 if each else 11 for each in large],
            "color": [float(v) for _, v in given], "cmin": scale.low, "cmax": scale.high, "colorscale": scale.colors,
            "line": {"width": [3 if each else 1.5 for each in large], "color": [_ink(m, colors) for m in found]},
        },
    )  # fmt: skip


def _names(data: Surface, shown: str, colors: Mapping[str, str], span: list[float]) -> list[dict]:
    """Return the names of the models and of the latest merges, moved apart where they collide."""
    merges = sorted((m for m in data.markers if m.merge), key=lambda m: m.key != shown)
    named = [*(m for m in data.markers if not m.merge), *merges][:LABELS]
    half, found = (data.x[0] + data.x[-1]) / 2, []
    for side, shift in (("left", 11), ("right", -11)):
        beside = [m for m in named if (m.x <= half) == (side == "left")]
        spots = theme.spread([m.y for m in beside], 18 * (span[1] - span[0]) / PLOT, *span)
        for m, spot in zip(beside, spots, strict=True):
            text = f"<b>{theme.short(m.name, 30)}</b>" if not m.merge or m.key == shown else theme.short(m.name, 30)
            found.append(theme.label(text, m.x, spot, color=_ink(m, colors), xanchor=side, xshift=shift,
                                     bgcolor=theme.SURFACE, opacity=0.88, borderpad=1))  # fmt: skip
    return found


def _ink(marker: Marker, colors: Mapping[str, str]) -> str:
    if marker.name == "pretrained" and not marker.merge:
        return theme.PRETRAINED
    return theme.MERGED if marker.merge else colors.get(marker.name, theme.MERGED)


def _title(text: str) -> dict:
    return {"text": text, "font": {"size": theme.SMALL, "color": theme.MUTED}, "standoff": 6}


def demo() -> Surface:
    from viz.landscape_examples import surface

    return surface()


if __name__ == "__main__":
    from viz.demo import show

    show("loss_plane")
