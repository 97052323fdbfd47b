"""Whether two task vectors change each other's predictions, over their scalings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from viz import heat, levels, theme

if TYPE_CHECKING:
    from merge_engine.landscape.disentanglement import Disentanglement

TITLE = "Weight disentanglement"
ABOUT = (
    "How often adding the other task vector changes a prediction: light means the two leave each other alone, and can "
    "be added without harm. Both experts' inputs count, so 2 is the most."
)
RING = "The ring marks the published default of Task Arithmetic: {:g} of both."
EMPTY = "Nothing is measured yet. Choose two experts above, then press Start."
PLOT = 360
RADIUS = 0.1  # of the ring, in scalings


def VIEWS(data: Disentanglement) -> dict[str, str]:
    """Return the error, and its two terms."""
    return {"error": "Both", **{f"term {i}": f"On {name}" for i, name in enumerate(data.experts)}}


def figure(data: Disentanglement, *, view: str = "error", usual: float | None = None) -> go.Figure:
    """Return the first expert's scaling across and the second's upwards; `usual` is a scaling of both to be marked."""
    single = view.startswith("term ")
    z = data.changed[..., int(view[5:])] if single else data.error
    title = f"predictions changed on {data.experts[int(view[5:])]}, share" if single else "disentanglement error ξ"
    scale = heat.Scale(title, 0.0, 1.0 if single else 2.0)
    first, second = (theme.short(name, 20) for name in data.experts)
    hover = (
        f"<b>%{{z:.3~f}}</b> at %{{x:.3~f}} {first}, %{{y:.3~f}} {second}<br>changed on {first}: "
        f"%{{customdata[0]:.0%}}<br>changed on {second}: %{{customdata[1]:.0%}}"
    )
    span = levels.reach(data.scalings)
    axis = {"range": span, "constrain": "domain", "tickvals": [-2, -1, 0, 1, 2]}
    result = heat.picture(
        levels.traces(data.scalings, data.scalings, z, scale, hover, data.changed), scale, z, rows=1, row_height=PLOT,
        top=14, xaxis={**axis, "title": _title(f"scaling of {first}")},
        yaxis={**axis, "title": _title(f"scaling of {second}"), "scaleanchor": "x"},
        meta={"title": f"{TITLE}: {levels.progress(z)}", "note": note(data),
              "about": ABOUT if usual is None else f"{ABOUT} {RING.format(usual)}"},
    )  # fmt: skip
    if usual is None:
        return result
    low, high = usual - RADIUS, usual + RADIUS
    drawn = theme.drawn(result)
    ring = {"type": "circle", "x0": low, "x1": high, "y0": low, "y1": high,
            "line": {"color": theme.CHANCE, "width": 2.5}}  # fmt: skip
    words = theme.label("published default", usual, high, color=theme.CHANCE, yanchor="bottom", yshift=3,
                        bgcolor=theme.SURFACE, opacity=0.9, borderpad=1)  # fmt: skip
    return result.update_layout(shapes=[*drawn.shapes, ring], annotations=[*drawn.annotations, words])


def rows(data: Disentanglement) -> tuple[list[str], list[list]]:
    """Return one line per measured pair of scalings."""
    columns = [*(f"scaling of {name}" for name in data.experts), "error", *(f"changed on {n}" for n in data.experts)]
    places = zip(*np.nonzero(np.isfinite(data.error)), strict=True)
    return columns, [
        [data.scalings[c], data.scalings[r], data.error[r, c], *data.changed[r, c]] for r, c in places
    ]


def note(data: Disentanglement) -> str:
    """Return the error where both are scaled alike: as little as was measured, and in full."""
    alike = dict(zip(data.scalings.tolist(), np.diagonal(data.error).tolist(), strict=True))
    known = {scaling: error for scaling, error in alike.items() if scaling > 0 and np.isfinite(error)}
    if 1.0 not in known:
        return ""
    least = min(known)
    begun = f"with {least:g} of both and " if least < 1 else ""
    return (
        f"The error is {f'{known[least]:.2f} ' if begun else ''}{begun}{known[1.0]:.2f} with both in full, "
        f"from {data.pictures} inputs per task."
    )


def _title(text: str) -> dict:
    return {"text": text, "font": {"size": theme.SMALL, "color": theme.MUTED}, "standoff": 6}


def demo() -> Disentanglement:
    from viz.landscape_examples import disentanglement

    return disentanglement()


if __name__ == "__main__":
    from viz.demo import show

    show("disentanglement")
