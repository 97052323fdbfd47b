"""What merges answer to a visitor's own picture, under the head they choose or under the heads of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from viz import markup, theme
from viz.panels.route_gallery import picture

TITLE = "What the merge answers"
ABOUT = (
    "Every task has a head of its own, and each gives its likeliest class. Uncertainty is the entropy of a head's "
    "probabilities: 0 % is sure of one class, 100 % finds all equally likely."
)
EMPTY = "No picture yet. Draw one, take an example, or upload one."
SINGLE = (
    "This merge is one model for all tasks and cannot know which task a picture belongs to: these are its answers "
    "under every task's head, the most certain first. A head can be sure of a picture that is none of its own."
)
TOLD = (
    "This merge has to be told the task, and nobody knows it here: these are its answers when told each task in turn, "
    "the most certain first. Each is an expert's, and sure of itself on pictures it never saw."
)
ROUTED = "The merge routed the picture to {expert} and answers with that head. The other heads, with the same features:"


@dataclass(frozen=True)
class HeadLine:
    """One task's head: its class, and probability and uncertainty in [0, 1]."""

    task: str
    answer: str
    probability: float
    uncertainty: float


@dataclass(frozen=True)
class MergeLine:
    """What one merge answers: its `heads`, the most certain first.

    It chose the head of the task `head` by sending the picture to the expert `sent`; both are empty where it chose
    none. `told` says that it was told every task in turn.
    """

    merge: str
    heads: tuple[HeadLine, ...]
    sent: str = ""
    head: str = ""
    told: bool = False

    @property
    def first(self) -> HeadLine:
        """The answer of the chosen head, else of the most certain one."""
        return next((line for line in self.heads if line.task == self.head), self.heads[0])


@dataclass(frozen=True, eq=False)
class YoursAnswer:
    """A picture, uint8 (h, w) or (h, w, 3), the answer of the merge on the page, and those of `others` in memory.

    `merge` is None while it is not known, `absent` says why it never will be. `far` counts the routers, out of how
    many, that find the picture farther from every task than nearly all support inputs are; None while unknown.
    """

    picture: np.ndarray
    merge: MergeLine | None
    others: tuple[MergeLine, ...] = ()
    absent: str = ""
    far: tuple[int, int] | None = None


def html(data: YoursAnswer, *, colors: Mapping[str, str] | None = None) -> str:
    """Return the picture as the model sees it with its answers; `colors` are those of tasks."""
    colors = colors or {}
    parts = [_headline(data), _heads(data.merge, colors), _others(data.others, colors)]
    inner = f'<div class="ms-yours">{"".join(parts)}</div>'
    return markup.frame("yours_answer", TITLE, ABOUT, inner, rows(data) if data.merge else None)


def rows(data: YoursAnswer) -> tuple[list[str], list[list]]:
    """Return one line per merge and head; probability and uncertainty are shares."""
    merges = [merge for merge in (data.merge, *data.others) if merge is not None]
    return ["merge", "task", "answer", "probability", "uncertainty", "chosen"], [
        [merge.merge, line.task, line.answer, line.probability, line.uncertainty, line.task == merge.head]
        for merge in merges for line in merge.heads
    ]  # fmt: skip


def strange(data: YoursAnswer) -> str:
    """Return the sentence for a picture that half of the routers find far from every task; nothing for any other."""
    if data.far is None or 2 * data.far[0] < data.far[1]:
        return ""
    found, of = data.far
    which = "the router finds" if of == 1 else f"{found} of {of} routers find"
    return (
        f"Unlike every task: {which} it farther from the nearest support set than 95 % of the support inputs are from "
        "theirs. Routes and answers mean little here."
    )


def _headline(data: YoursAnswer) -> str:
    seen = picture(data.picture, "your picture as the model sees it", 112)
    words = f'<p class="ms-why">{escape(data.absent or "asking the merge …")}</p>'
    if data.merge is not None:
        words = _verdict(data.merge)
    far = strange(data)
    note = f'<p class="ms-note">{escape(far)}</p>' if far else ""
    side = "x".join(str(n) for n in data.picture.shape[:2])
    return (
        f'<div class="ms-seen">{seen}<small>{side}, as the model sees it</small></div>'
        f'<div class="ms-said">{words}{note}</div>'
    )


def _verdict(merge: MergeLine) -> str:
    """Return the answer of a merge that chose a head; of any other that it has none, and its most certain head."""
    line, share = merge.first, _percent(merge.first.probability)
    if merge.sent:
        return f"<p><b>{escape(line.answer)}</b> {share}<br><span>sent to {escape(line.task)}</span></p>"
    return (
        "<p><span>No one answer: nothing here chooses a task.</span><br>"
        f"Most certain is {escape(line.task)} with <strong>{escape(line.answer)}</strong>, {share}.</p>"
    )


def _heads(merge: MergeLine | None, colors: Mapping[str, str]) -> str:
    """Return the answers under every head, the chosen one marked."""
    if merge is None:
        return ""
    words = ROUTED.format(expert=merge.sent) if merge.sent else TOLD if merge.told else SINGLE
    rows = "".join(
        f'<tr{" data-picked" if line.task == merge.head else ""}>{_name(line.task, colors)}'
        f"<td>{escape(theme.short(line.answer, 22))}</td>{_bar(line, colors)}<td>{_percent(line.probability)}</td>"
        f"<td>{_percent(line.uncertainty)}</td></tr>"
        for line in sorted(merge.heads, key=lambda line: line.task != merge.head)
    )
    head = _header(("task", "answer", "", "probability", "uncertainty"))
    return (
        f'<div class="ms-router"><h4>{escape(merge.merge)}</h4><p class="ms-why">{escape(words)}</p>'
        f"{_scrolling(head, rows, merge.merge)}</div>"
    )


def _others(others: Sequence[MergeLine], colors: Mapping[str, str]) -> str:
    """Return one line for every other merge in memory."""
    if not others:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(line.merge)}</th>{_name(line.first.task, colors)}'
        f"<td>{'sent there' if line.sent else 'told' if line.told else 'most certain head'}</td>"
        f"<td>{escape(theme.short(line.first.answer, 22))}</td><td>{_percent(line.first.probability)}</td></tr>"
        for line in others
    )
    head = _header(("merge", "task", "why this task", "answer", "probability"))
    return (
        '<div class="ms-router ms-others"><h4>Other merges still in memory</h4>'
        f"{_scrolling(head, rows, 'Other merges')}</div>"
    )


def _scrolling(head: str, rows: str, about: str) -> str:
    """Return a table that may be wider than the screen and can be scrolled by keyboard."""
    named = escape(about, quote=True)
    inner = f"<table>{head}<tbody>{rows}</tbody></table>"
    return f'<div class="ms-wide" tabindex="0" role="region" aria-label="{named}">{inner}</div>'


def _header(words: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{word}</th>' if word else "<td></td>" for word in words)
    return f"<thead><tr>{cells}</tr></thead>"


def _bar(line: HeadLine, colors: Mapping[str, str]) -> str:
    color = colors.get(line.task, theme.MUTED)
    width = f"{100 * line.probability:.1f}%"
    return f'<td class="ms-bar"><span><i style="width:{width};background:{color}"></i></span></td>'


def _name(task: str, colors: Mapping[str, str]) -> str:
    dot = f'<i style="background:{colors.get(task, theme.MUTED)}"></i>'
    return f'<th scope="row">{dot}{escape(theme.short(task, 12))}</th>'


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "–"


def demo() -> YoursAnswer:
    from viz.examples import EXPERTS, input_view

    heads = tuple(HeadLine(e, f"class {i}", 0.9 - 0.08 * i, 0.1 + 0.09 * i) for i, e in enumerate(EXPERTS))
    routed = MergeLine("SiM", heads, EXPERTS[2], EXPERTS[2])
    picture_of = input_view().picture
    assert isinstance(picture_of, np.ndarray)
    return YoursAnswer(picture_of, MergeLine("Task Arithmetic", heads), (routed,), far=(3, 4))


if __name__ == "__main__":
    from viz.demo import show

    show("yours_answer")
