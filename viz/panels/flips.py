"""What changes when something is knocked out of a merge: accuracy by task, and inputs that are told otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from viz import markup, theme
from viz.panels.route_gallery import picture

TITLE = "Without what is knocked out"
EMPTY = "Nothing is knocked out. Choose a component above and knock it out."
ABOUT = "The merge is made again without it; nothing else changes. The answer at the top stays that of the whole merge."
CHANGES = {"wrong": ("✗", "Now wrong"), "right": ("✓", "Now right"), "other": ("–", "Wrong in another way")}
BADGES = {"wrong": "route", "right": "right", "other": "none"}  # shape and colour as in the gallery


@dataclass(frozen=True)
class TaskChange:
    """One task: inputs compared (one or more), how many were right before and are now, how many flipped each way."""

    task: str
    n: int
    before: int
    after: int
    right: int
    wrong: int
    other: int
    seen: bool = True

    @property
    def gain(self) -> float:
        """Change of the accuracy in points."""
        return 100 * (self.after - self.before) / self.n


@dataclass(frozen=True, eq=False)
class Flip:
    """One input: `index` is its place in its task's split, `label` its class, `before` and `after` what is said of it.

    `picture` is uint8 (h, w) or (h, w, 3), or a text; `change` is one of `right`, `wrong` and `other`.
    """

    task: str
    index: int
    picture: np.ndarray | str
    label: str
    before: str
    after: str
    change: str

    @property
    def key(self) -> str:
        """What the page reports when the input is chosen: `digits:12`."""
        return f"{self.task}:{self.index}"


@dataclass(frozen=True, eq=False)
class FlipView:
    """What is `gone` in words, the change of every task, and inputs that flipped.

    `scoring` says that more inputs are on their way; there are `total` of them in all, where that is known.
    """

    gone: str
    tasks: tuple[TaskChange, ...]
    examples: tuple[Flip, ...] = ()
    scoring: bool = False
    total: int = 0

    @property
    def compared(self) -> int:
        """Inputs that the merge and the one without were both asked about."""
        return sum(change.n for change in self.tasks)

    @property
    def partial(self) -> bool:
        """True while only a part of the inputs is compared."""
        return self.scoring or self.compared < self.total

    def __len__(self) -> int:
        return len(self.tasks)


def html(data: FlipView, *, colors: Mapping[str, str] | None = None) -> str:
    """Return the result without what is knocked out, its table by task and the flipped inputs; colours are by task."""
    colors = colors or theme.colors(change.task for change in data.tasks)
    groups = "".join(_group(data, which, colors) for which in CHANGES)
    table = f'<div class="ms-table" tabindex="0" role="region" aria-label="By task">{_table(data, colors)}</div>'
    flipped = sum(t.right + t.wrong + t.other for t in data.tasks)
    nothing = "" if flipped else '<p class="ms-about">No prediction changes.</p>'
    return markup.frame("flips", title(data), ABOUT, f"{part(data)}{table}{nothing}{groups}", rows(data))


def rows(data: FlipView) -> tuple[list[str], list[list]]:
    """Return one line per task: inputs compared, accuracies in %, and how many flipped each way."""
    heads = ["task", "has an expert", "inputs", "whole %", "without %"]
    return [*heads, *(words.lower() for _, words in CHANGES.values())], [
        [t.task, t.seen, t.n, 100 * t.before / t.n, 100 * t.after / t.n, *(getattr(t, which) for which in CHANGES)]
        for t in data.tasks
    ]


def part(data: FlipView) -> str:
    """Return how many of the inputs the result is from, where it is not from all of them."""
    if not data.partial or not data.total:
        return ""
    count = f"{data.compared:,} of {data.total:,} inputs"
    words = f"So far from {count}." if data.scoring else f"From {count} only; the others were not scored."
    return f'<p class="ms-note">{words}</p>'


def title(data: FlipView) -> str:
    """Return the result in a line: `Without letters 5.fc1 #0: 71.2 % (−0.8)`."""
    before, after = (mean(data.tasks, name) for name in ("before", "after"))
    about = "≈ " if data.partial else ""
    return f"Without {data.gone}: {about}{after:.1f} % ({signed(after - before)} points)"


def mean(tasks: Sequence[TaskChange], name: str) -> float:
    """Return the mean accuracy, in percent, over the tasks of the merged experts, all where there are none."""
    own = [t for t in tasks if t.seen] or list(tasks)
    return sum(100 * getattr(t, name) / t.n for t in own) / len(own)


def signed(points: float) -> str:
    """Return points with their sign and a true minus."""
    return f"{points:+.1f}".replace("-", "−")


def _table(data: FlipView, colors: Mapping[str, str]) -> str:
    heads = "".join(f'<th scope="col">{word}</th>' for word in ("task", "whole → without", "points"))
    heads += "".join(f'<th scope="col" title="{words}">{_badge(which)}</th>' for which, (_, words) in CHANGES.items())
    lines = "".join(_line(change, colors) for change in sorted(data.tasks, key=lambda t: (not t.seen, t.gain)))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _line(change: TaskChange, colors: Mapping[str, str]) -> str:
    before, after = (f"{100 * count / change.n:.1f}" for count in (change.before, change.after))
    cells = [f"{before} → {after} %", signed(change.gain), *(str(getattr(change, which)) for which in CHANGES)]
    unseen = "" if change.seen else " (no expert)"
    dot = f'<i class="ms-dot" style="background:{colors.get(change.task, theme.MUTED)}"></i>'
    head = f'<th scope="row" title="{change.n:,} inputs">{dot}{escape(change.task)}{unseen}</th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _group(data: FlipView, which: str, colors: Mapping[str, str]) -> str:
    """Return the thumbnails of one kind of change under its count."""
    shown = [one for one in data.examples if one.change == which]
    count = sum(getattr(change, which) for change in data.tasks)
    if not shown:
        return ""
    few = f", {len(shown)} shown" if count > len(shown) else ""
    thumbs = "".join(_thumb(one, colors) for one in shown)
    head = f"<h4>{_badge(which, hidden=True)}{CHANGES[which][1]}: {count:,}{few}</h4>"
    return f'<div class="ms-group">{head}<div class="ms-flips">{thumbs}</div></div>'


def _badge(which: str, *, hidden: bool = False) -> str:
    """Return the mark of a change, `hidden` from screen readers where words stand beside it."""
    sign, words = CHANGES[which]
    told = 'aria-hidden="true"' if hidden else f'role="img" aria-label="{words}"'
    return f'<span class="ms-badge" data-state="{BADGES[which]}" {told}>{sign}</span>'


def _thumb(one: Flip, colors: Mapping[str, str]) -> str:
    said = f"{one.task}, {one.label}: said {one.before} before, {one.after} without"
    dot = f'<i class="ms-dot" style="background:{colors.get(one.task, theme.MUTED)}"></i>'
    return (
        f'<button type="button" class="ms-flip" data-emit="input" value="{escape(one.key, quote=True)}" '
        f'title="{escape(said, quote=True)}; open it in Inputs">{picture(one.picture, said, 56)}'
        f'<span aria-hidden="true"><small>{dot}{escape(theme.short(one.label, 16))}</small>'
        f"<s>{escape(theme.short(one.before, 16))}</s><b>→ {escape(theme.short(one.after, 16))}</b></span></button>"
    )


def demo() -> FlipView:
    from viz.drill_examples import flips

    return flips()


if __name__ == "__main__":
    from viz.demo import show

    show("flips")
