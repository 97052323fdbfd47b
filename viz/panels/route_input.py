"""One input: what every router makes of it, what every expert says, and why it went where it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np

from viz import markup, theme
from viz.panels.route_gallery import badge, picture

TITLE = "One input, every router"
ABOUT = "Every router's scores over the experts. The chosen expert is marked: ✓ it is the input's own, ✗ it is not."
YOURS = "Every router's scores over the experts. Your picture has no true task, so nothing here is right or wrong."
EMPTY = "No input is chosen. Choose one in the gallery."
HEADS = {
    "residual": "residual, the shortest wins; ┆ second",
    "distance": "distance, the shortest wins; ┆ second",
    "softmax": "probability, the longest wins",
    "score": "score, the longest wins",
    "weights": "weight by layer, input to output; mean",
}
SHORTEST = ("residual", "distance")


@dataclass(frozen=True, eq=False)
class RouterView:
    """What one router says: `values` (T,) by expert, or weights (L, T) by layer and expert.

    `picked` is the expert it chooses, None where it chooses none, and `guess` the class then predicted, empty while it
    is not known. A distance is to what is `near`; `farther` is the share in percent of support inputs that lie nearer
    to their nearest task than this one does, None where it was not measured.
    """

    router: str
    kind: Literal["residual", "distance", "softmax", "score", "weights"]
    values: np.ndarray
    picked: str | None
    guess: str
    near: str = "support set"
    farther: float | None = None


@dataclass(frozen=True)
class PinnedAnswer:
    """What the run pinned as `letter` says of an input, and whether that is right, None where nobody knows."""

    letter: str
    method: str
    says: str
    right: bool | None


@dataclass(frozen=True, eq=False)
class InputView:
    """One input, the class each of the experts predicts with its own head (`says`), and the routers' views of it.

    What an expert says is empty while it is not known; `merged` is what the merged model says, `without` what it says
    without what is `gone`, and `pinned` what another run does. A visitor's own picture has no `task` and no `label`.
    """

    task: str
    index: int
    picture: np.ndarray | str
    label: str
    experts: tuple[str, ...]
    says: tuple[str, ...]
    routers: tuple[RouterView, ...]
    merged: str = ""
    gone: str = ""
    without: str = ""
    pinned: PinnedAnswer | None = None

    @property
    def yours(self) -> bool:
        """True for a picture of the visitor's own."""
        return not self.task


def html(data: InputView, *, colors: Mapping[str, str] | None = None) -> str:
    """Return the enlarged input, the experts' answers, and one card per router."""
    colors = colors or theme.colors(data.experts)
    own = "" if data.yours or data.task in data.experts else ", which has no expert"
    said = "your picture" if data.yours else f"{data.label}, from {data.task}{own}"
    what = "<b>your picture</b>" if data.yours else f"<b>{escape(data.label)}</b><br>{escape(data.task)}{own}"
    answers = _merged(data) + "".join(
        f"<tr{_own(data, e)}>{_name(e, colors)}<td>{escape(theme.short(says, 22)) or '…'}{_tick(data, e, says)}</td>"
        "</tr>"
        for e, says in zip(data.experts, data.says, strict=True)
    )
    inner = (
        f'<div class="ms-input"><div class="ms-seen">{picture(data.picture, said, 168)}<p>{what}</p></div>'
        '<div class="ms-router"><h4>Experts<small>class predicted by each</small></h4>'
        f'<table>{answers}</table></div>{"".join(_card(data, r, colors) for r in data.routers)}</div>'
    )
    which = "your picture" if data.yours else f"{data.task} {data.index}"
    return markup.frame("route_input", f"{TITLE}: {which}", YOURS if data.yours else ABOUT, inner, rows(data))


def rows(data: InputView) -> tuple[list[str], list[list]]:
    """Return one line per router, layer and expert; the layer is None where one decision is made for all."""
    lines = []
    for view in data.routers:
        layers = view.values if view.values.ndim == 2 else view.values[None]
        several = len(layers) > 1
        lines += [
            [view.router, view.kind, layer + 1 if several else None, expert, value, says, expert == view.picked]
            for layer, values in enumerate(layers)
            for expert, value, says in zip(data.experts, values.tolist(), data.says, strict=True)
        ]
    return ["router", "measure", "layer", "expert", "value", "class by the expert", "chosen"], lines


def _merged(data: InputView) -> str:
    """Return the lines of the merged model, of the rest where something is knocked out of it, and of the pinned run.

    There is none for what is not known.
    """
    said = {"merged model": data.merged, f"without {data.gone}": data.without}
    lines: list[tuple[str, str, bool | None]] = [(who, says, says == data.label) for who, says in said.items() if says]
    if data.pinned:
        lines.append((f"{data.pinned.letter}, {data.pinned.method}", data.pinned.says, data.pinned.right))
    marks = {True: badge("right"), False: badge("route"), None: ""}
    return "".join(
        f'<tr class="ms-merged"><th scope="row" title="{escape(who, quote=True)}">{escape(theme.short(who, 32))}</th>'
        f"<td>{escape(theme.short(says, 22))}{marks[right]}</td></tr>"
        for who, says, right in lines
    )


def why(view: RouterView, experts: Sequence[str], task: str) -> str:
    """Return one sentence on why a router chose what it chose."""
    values = view.values.mean(0) if view.values.ndim == 2 else view.values
    order = np.argsort(values if view.kind in SHORTEST else -values)
    if not np.isfinite(values).all() or len(order) == 0:
        return "Its scores are not known."
    first, second = int(order[0]), int(order[1]) if len(order) > 1 else None
    sentence = _reason(view, experts, values, first, second)
    if view.picked is None:
        return sentence + " It does not choose a head; the head of the asked task is used."
    if task not in experts or view.picked == task:
        return sentence
    place = int(np.flatnonzero(order == experts.index(task))[0]) + 1
    return f"{sentence} Its own expert, {task}, comes {_ordinal(place)} with {values[experts.index(task)]:.2f}."


def _reason(view: RouterView, experts: Sequence[str], values: np.ndarray, first: int, second: int | None) -> str:
    name, digits = experts[first], _digits(values, first, second)
    value = f"{values[first]:.{digits}f}"
    if view.kind == "weights" and view.values.ndim == 2 and len(view.values) > 1:
        led = int((view.values.argmax(1) == first).sum())
        return f"{name} has the largest mean weight, {value}, and leads in {led} of {len(view.values)} layers."
    next_value = "" if second is None else f"{values[second]:.{digits}f}"
    if view.kind in SHORTEST:
        gap = "" if second is None else f": {value} against {next_value} for {experts[second]}"
        return f"Its features lie closest to the {view.near} of {name}{gap}."
    follows = "" if second is None else f", {experts[second]} follows with {next_value}"
    unsure = "No expert gets half: " if view.kind == "softmax" and values[first] < 0.5 else ""
    return f"{unsure}{name} has {value}{follows}."


def _far(view: RouterView) -> str:
    """Return how unusual a distance is, nothing where that was not measured."""
    if view.farther is None:
        return ""
    much = "None" if view.farther <= 0 else "All" if view.farther >= 100 else f"{view.farther:.0f} %"
    return f" {much} of the support inputs lie closer to their nearest task."


def _margin(data: InputView, view: RouterView) -> str:
    """Return the gap between the best and the second score, where no true task says how good the route is."""
    values = view.values.mean(0) if view.values.ndim == 2 else view.values
    if not data.yours or len(values) < 2 or not np.isfinite(values).all():
        return ""
    best, second = np.sort(values if view.kind in SHORTEST else -values)[:2]
    return f" The margin is {second - best:.2g}."


def _digits(values: np.ndarray, first: int, second: int | None) -> int:
    """Return how many decimals tell the best value from the second, 2 to 4."""
    told = (d for d in (2, 3) if second is None or f"{values[first]:.{d}f}" != f"{values[second]:.{d}f}")
    return next(told, 4)


def _ordinal(place: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(place, f"{place}th")


def _card(data: InputView, view: RouterView, colors: Mapping[str, str]) -> str:
    lines = _strips(data, view, colors) if view.values.ndim == 2 else _bars(data, view, colors)
    which = "none" if view.picked is None or data.task not in data.experts else (
        "route" if view.picked != data.task else "right" if view.guess == data.label else "class")  # fmt: skip
    if which == "class" and not view.guess:
        which = "right"
    right = "right class" if which in ("right", "class", "none") and view.guess == data.label else "wrong class"
    sent = f"sent to {escape(view.picked)}" if view.picked else "blended"
    judged = "" if which == "route" or data.yours else f", {right}"
    says = f", predicts <b>{escape(view.guess)}</b>{judged}" if view.guess else ""
    mark = "" if data.yours else badge(which)
    return (
        f'<div class="ms-router"><h4>{escape(view.router)}<small>{HEADS[view.kind]}</small></h4><table>{lines}</table>'
        f'<p class="ms-verdict">{mark}<span>{sent}{says}</span></p>'
        f'<p class="ms-why">{escape(why(view, data.experts, data.task))}{_margin(data, view)}{_far(view)}</p></div>'
    )


def _bars(data: InputView, view: RouterView, colors: Mapping[str, str]) -> str:
    """Return one bar per expert; for residuals with a line at the runner-up, the value to stay below."""
    reach = float(np.nanmax(np.abs(view.values), initial=0)) or 1.0
    shares, limit = 100 * np.nan_to_num(np.abs(view.values)) / reach, ""
    if view.kind in SHORTEST and np.isfinite(view.values).sum() > 1:
        runner_up = 100 * float(np.sort(view.values)[1]) / reach
        limit = f'<u style="left:{runner_up:.1f}%" title="runner-up"></u>'
    return "".join(
        f"<tr{_own(data, e)}{_picked(view, e)}>{_name(e, colors)}"
        f'<td class="ms-bar"><span><i style="width:{share:.1f}%;background:{colors.get(e, theme.MUTED)}"></i>{limit}'
        f"</span></td><td>{_number(v)}{_mark(data, view, e)}</td></tr>"
        for e, v, share in zip(data.experts, view.values.tolist(), shares.tolist(), strict=True)
    )


def _strips(data: InputView, view: RouterView, colors: Mapping[str, str]) -> str:
    """Return one strip of cells per expert, coloured around zero; the largest weight of a layer has a dot."""
    reach = float(np.nanmax(np.abs(view.values), initial=0)) or 1.0
    shade = np.nan_to_num(np.clip(4 + np.round(4 * view.values / reach), 0, 8), nan=4).astype(int)
    top = np.where(np.isfinite(view.values), view.values, -np.inf).argmax(1)
    mean = view.values.mean(0)
    lines = []
    for t, expert in enumerate(data.experts):
        cells = "".join(
            f'<i style="background:var(--ms-div-{s})"{" data-top" if top[layer] == t else ""} '
            f'title="layer {layer + 1}: {_number(v)}"></i>'
            for layer, (s, v) in enumerate(zip(shade[:, t], view.values[:, t].tolist(), strict=True))
        )
        lines.append(f"<tr{_own(data, expert)}{_picked(view, expert)}>{_name(expert, colors)}"
                     f'<td class="ms-strip"><span>{cells}</span></td>'
                     f"<td>{_number(mean[t])}{_mark(data, view, expert)}</td></tr>")  # fmt: skip
    return "".join(lines)


def _name(expert: str, colors: Mapping[str, str]) -> str:
    dot = f'<i style="background:{colors.get(expert, theme.MUTED)}"></i>'
    return f'<th scope="row" title="{escape(expert, quote=True)}">{dot}{escape(theme.short(expert, 12))}</th>'


def _own(data: InputView, expert: str) -> str:
    return ' class="ms-own"' if expert == data.task else ""


def _picked(view: RouterView, expert: str) -> str:
    return " data-picked" if expert == view.picked else ""


def _mark(data: InputView, view: RouterView, expert: str) -> str:
    if expert != view.picked or data.yours:
        return ""
    return badge("none" if data.task not in data.experts else "right" if expert == data.task else "route")


def _tick(data: InputView, expert: str, says: str) -> str:
    return badge("right" if says == data.label else "route") if expert == data.task and says else ""


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "–"


def demo() -> InputView:
    from viz.examples import input_view

    return input_view()


if __name__ == "__main__":
    from viz.demo import show

    show("route_input")
