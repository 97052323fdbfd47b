"""When minimising entropy helps: points gained by task, with one thing changed at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from viz import heat, theme

TITLE = "When does minimising entropy help?"
ABOUT = (
    "Rows change one thing around the outlined anchor, or take the published course; cells are points gained over the "
    "static start. Tasks that lose while their entropy falls are surer, not better. The oracle, which saw labels, "
    "shows what else was there to gain."
)
EMPTY = "Not measured yet. Run `python -m merge_engine table --parts entropy`."
VIEWS = {"gain": "Points gained", "entropy": "Entropy over ln C"}
START, ANCHOR = "start", "anchor"
MEAN = "mean"


@dataclass(frozen=True)
class Case:
    """A row of the study: its method, a short name and what was changed in words; whether it was given labels."""

    method: str
    name: str
    words: str
    labels: bool = False


@dataclass(frozen=True, eq=False)
class EntropyStudy:
    """Accuracy (V, T) in %, points gained over the static start (V, T), and entropy over ln C, before and after
    adapting (V, T, 2), of V cases on T tasks; NaN unknown. The start is a case too, named START, and gains nothing.
    """

    tasks: tuple[str, ...]
    cases: tuple[Case, ...]
    accuracy: np.ndarray
    gain: np.ndarray
    entropy: np.ndarray

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.tasks, MEAN)

    def table(self, view: str) -> np.ndarray:
        """Return the points gained, or the entropy after adapting over ln C, (V, T + 1) with the mean last."""
        every = self.entropy[..., 1] if view == "entropy" else self.gain
        return np.hstack([every, every.mean(1, keepdims=True)])


def figure(data: EntropyStudy, *, view: str = "gain") -> go.Figure:
    """Return case against task, with the numbers in the cells and the anchors outlined."""
    z, names = data.table(view), [f"{case.method}, {case.words}" for case in data.cases]
    scale = _scale(z, view)
    trace = heat.cells(data.columns, names, z, scale, hover="%{hovertext}", gap=1.5)
    trace.update(text=_numbers(z, view), texttemplate="%{text}", hovertext=_sentences(data))
    result = heat.picture(
        [trace], scale, z, rows=len(data), row_height=max(18, min(34, 330 // len(data))), top=64,
        xaxis={"type": "category", "side": "top", "tickvals": list(range(len(data.columns))), "tickangle": -35,
               "ticktext": theme.shorts(data.columns, 11), "range": [-0.5, len(data.columns) - 0.5]},
        yaxis={"type": "category", "tickvals": list(range(len(data))), "ticktext": _labels(data, narrow=False),
               "range": [len(data) - 0.5, -0.5]},
        meta={
            "narrow": {"layout.xaxis.ticktext": theme.shorts(data.columns, 6), "layout.xaxis.tickangle": -90,
                       "layout.yaxis.ticktext": _labels(data, narrow=True),
                       "data.0.text": _numbers(z, view, brief=True), "data.0.textfont.size": theme.TINY},
        },
    )  # fmt: skip
    drawn, width = theme.drawn(result), len(data.columns)
    outlines = [_outline(i, width) for i, case in enumerate(data.cases) if case.name == ANCHOR]
    return result.update_layout(shapes=[*drawn.shapes, *outlines])


def rows(data: EntropyStudy) -> tuple[list[str], list[list]]:
    """Return one line per case and task, the mean over tasks after them."""
    columns = ["method", "changed", "task", "gained", "accuracy %", "entropy / ln C before", "after"]
    found = []
    for case, gain, accuracy, entropy in zip(data.cases, data.gain, data.accuracy, data.entropy, strict=True):
        named = case.method, case.words
        lines = zip(data.tasks, gain, accuracy, *entropy.T, strict=True)
        found += [[*named, *line] for line in lines]
        found.append([*named, MEAN, gain.mean(), accuracy.mean(), *entropy.mean(0)])
    return columns, found


def _scale(z: np.ndarray, view: str) -> heat.Scale:
    if view == "entropy":
        return heat.Scale("entropy over ln C: 0 is sure, 1 knows nothing", 0.0, 1.0)
    return heat.Scale.of(z, "points gained over the static start", centre=0.0)


def _labels(data: EntropyStudy, *, narrow: bool) -> list[str]:
    """Return the names of the rows: a method's first row, its start, names the method."""
    if narrow:
        return [theme.short(case.method, 11) if case.name == START else case.name for case in data.cases]
    return [
        f"<b>{theme.short(case.method)}</b>, static start" if case.name == START else theme.short(case.words, 30)
        for case in data.cases
    ]


def _numbers(z: np.ndarray, view: str, *, brief: bool = False) -> list[list[str]]:
    """Return the numbers to write into cells: points with their sign, entropies in hundredths."""
    if view == "entropy":
        return [[heat.number(v, 1 if brief else 2) for v in line] for line in z]
    digits = 0 if brief else 1
    return [["" if np.isnan(v) else _signed(v, digits) for v in line] for line in z]


def _signed(value: float, digits: int) -> str:
    return f"{round(float(value), digits) + 0.0:+.{digits}f}".replace("-", "−") if round(value, digits) else "0"


def _sentences(data: EntropyStudy) -> list[list[str]]:
    """Return what is said about every cell, (V, T + 1)."""
    found = []
    for case, gain, accuracy, entropy in zip(data.cases, data.gain, data.accuracy, data.entropy, strict=True):
        head = f"<b>{case.method}</b>, {case.words}" + ("<br>given true labels: analysis only" if case.labels else "")
        every = [*zip(data.tasks, gain, accuracy, entropy, strict=True)]
        every.append((MEAN, gain.mean(), accuracy.mean(), entropy.mean(0)))
        found.append([f"{head}<br>{_values(case, *values)}" for values in every])
    return found


def _values(case: Case, task: str, gain: float, accuracy: float, entropy: Any) -> str:
    scored = f"<b>{task}</b> {accuracy:.1f} %"
    if case.name == START:
        return f"{scored}<br>entropy over ln C {entropy[0]:.2f}"
    return f"{scored}, {_signed(gain, 1)} points<br>entropy over ln C {entropy[0]:.2f} → {entropy[1]:.2f}"


def _outline(row: int, width: int) -> dict[str, Any]:
    return {"type": "rect", "xref": "x", "yref": "y", "x0": -0.5, "x1": width - 0.5, "y0": row - 0.5, "y1": row + 0.5,
            "line": {"color": theme.INK, "width": 1.5}}  # fmt: skip


def demo() -> EntropyStudy:
    """Return gains that are large where a task starts sure, and losses where it starts unsure."""
    tasks = ("digits", "fashion", "animals", "letters", "icons", "emoji", "landcover", "instruments")
    changes = (("start", "static start, nothing adapted"), ("anchor", "anchor, the cpu preset"),
               ("share", "a tenth of the pictures"), ("oracle", "true labels (oracle)"),
               ("rate × 3", "learning rate three times"))  # fmt: skip
    cases = tuple(Case(m, *change, change[0] == "oracle") for m in ("AdaMerging", "AdaRank") for change in changes)
    random = np.random.default_rng(19)
    start = np.array([92, 74, 71, 63, 84, 38, 72, 41.0])
    size = np.tile([0, 1, 0.6, 1.6, 2.2], 2)[:, None]
    gain = size * (start - 60) / 8 + size * random.normal(0, 1, (len(cases), len(tasks)))
    unsure = np.broadcast_to(1.1 - start / 100, gain.shape)
    entropy = np.stack([unsure, unsure * (1 - 0.2 * np.minimum(size, 2))], -1)
    return EntropyStudy(tasks, cases, start + gain, gain, entropy)


if __name__ == "__main__":
    from viz.demo import show

    show("entropy_study")
