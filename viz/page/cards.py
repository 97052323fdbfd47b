"""Words about methods: the menu by family, what a method does, its formula with the current numbers, what it needs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from typing import Any

from merge_engine.contract import MergeMethod
from merge_engine.derive import FAMILIES
from merge_engine.errors import MergeError
from merge_engine.hp import declared
from merge_engine.methods import build, method_class, registry
from merge_engine.tensorwise import PostStep

from .formula import formula, running
from .typeset import typeset

NEEDS = {
    "support": ("uses inputs", "It looks at a few unlabelled pictures of every task before it merges."),
    "stream": ("uses inputs", "It looks at unlabelled pictures of every task before it merges."),
    "train": ("uses train inputs", "It looks at train pictures and is told which task each is from."),
    "labels": ("uses labels", "It sees the labels of the pictures it adapts to: an upper bound."),
    "validation labels": ("uses validation labels", "It chooses settings by its accuracy on validation pictures."),
    "task id": ("ceiling: task known", "It keeps something per expert and is told which task a picture is from."),
}
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@cache
def families(post: bool = False) -> dict[str, list[tuple[str, type[MergeMethod]]]]:
    """Return the merge methods (or the post-steps) by family, in the order in which they are taught."""
    found: dict[str, list[tuple[str, type[MergeMethod]]]] = {}
    wanted = [(key, cls) for key, cls in registry().items() if issubclass(cls, PostStep) == post]
    for family in dict.fromkeys((*FAMILIES, *(cls.family for _, cls in wanted))):
        members = sorted(((key, cls) for key, cls in wanted if cls.family == family), key=lambda m: m[1].title.lower())
        if members:
            found[family] = members
    return found


def method_menu(chosen: str, drawn: int = 0) -> str:
    """Return the menu of methods, grouped by family."""
    options = {f: "".join(_option(key, cls.title, chosen) for key, cls in m) for f, m in families().items()}
    groups = "".join(f'<optgroup label="{escape(family)}">{inside}</optgroup>' for family, inside in options.items())
    return (
        '<div class="mp-pick"><label class="mp-heading" for="mp-method">Method</label>'
        '<span class="mp-steps"><button type="button" data-step="-1" aria-label="Previous method">‹</button>'
        '<button type="button" data-step="1" aria-label="Next method">›</button></span></div>'
        f'<select id="mp-method" class="mp-select" data-emit="method" data-drawn="{drawn}">{groups}</select>'
    )


def post_menu(chosen: str, drawn: int = 0) -> str:
    """Return the menu of post-steps; empty when there are none."""
    members = [member for group in families(post=True).values() for member in group]
    if not members:
        return ""
    options = _option("", "none", chosen) + "".join(_option(key, cls.title, chosen) for key, cls in members)
    return (
        '<div class="mp-pick"><label class="mp-heading" for="mp-post">Afterwards</label>'
        f'<select id="mp-post" class="mp-select" data-emit="post" data-drawn="{drawn}">{options}</select></div>'
    )


def method_card(key: str, values: Mapping[str, Any], experts: int) -> str:
    """Return what stands above the controls of a method or post-step: its idea, and its formula with numbers."""
    idea = escape(method_class(key).idea)
    return f'<div class="mp-card"><p class="mp-idea">{idea}</p>{formula(at(key, values), experts)}</div>'


def method_notes(key: str, values: Mapping[str, Any], experts: int, learned: str = "") -> str:
    """Return what stands below its controls: what runs, what was learned, what it needs, its paper, its variants.

    `learned` says in a sentence what the run of these values learned.
    """
    cls, method = method_class(key), at(key, values)
    gained = f'<p class="mp-gained"><b>Learned in this run</b>: {escape(learned)}</p>' if learned else ""
    return (
        f'<div class="mp-card">{running(method, experts)}{gained}'
        f"{_badges(cls, method.needs)}<p class=\"mp-paper\">{_paper(cls.paper)}</p>{_variant(cls)}</div>"
    )


def notes(cls: type[MergeMethod]) -> str:
    """Return what the reference says about a method's assumptions, and where papers and libraries differ."""
    return " ".join((inspect.getdoc(cls) or "").partition("\nNotes\n-----\n")[2].split())


def _variant(cls: type[MergeMethod]) -> str:
    told = re.sub(r"`([^`]+)`", r"<code>\1</code>", typeset(notes(cls)))
    summary = "<summary>What it assumes, and where papers and libraries differ</summary>"
    return f'<details class="mp-variant">{summary}<p>{told}</p></details>' if told else ""


def at(key: str, values: Mapping[str, Any]) -> MergeMethod:
    """Return a method at some parameters; settings of its parts that do not fit are left out."""
    try:
        return build(key, **values)
    except MergeError:
        return build(key, **{name: values[name] for name, hp in declared(method_class(key)).items() if not hp.pairs})


def badges(cls: type[MergeMethod], given: Iterable[str]) -> list[tuple[str, str]]:
    """Return what a method asks for, as (badge, sentence)."""
    found = [NEEDS.get(need, (need, f"It needs: {need}.")) for need in sorted(given)]
    low, high = cls.experts_allowed
    if high == low:
        found.append((f"exactly {_count(low)} experts", f"It merges {_count(low)} experts, no more and no fewer."))
    elif low > 1:
        found.append((f"at least {_count(low)} experts", f"It is defined for {_count(low)} experts or more."))
    return list(dict.fromkeys(found))


def _badges(cls: type[MergeMethod], given: Iterable[str]) -> str:
    found = badges(cls, given)
    spans = "".join(f'<span title="{escape(why, quote=True)}">{escape(what)}</span>' for what, why in found)
    return f'<p class="mp-badges">{spans}</p>' if spans else ""


def _count(number: int) -> str:
    return {1: "one", 2: "two", 3: "three", 4: "four"}.get(number, str(number))


def _option(key: str, title: str, chosen: str) -> str:
    return f'<option value="{escape(key, quote=True)}"{" selected" if key == chosen else ""}>{escape(title)}</option>'


def _paper(paper: str) -> str:
    """Return the reference with its arXiv number as a link."""
    link = r'<a href="https://arxiv.org/abs/\1" target="_blank" rel="noopener noreferrer">arXiv:\1</a>'
    return ARXIV.sub(link, escape(paper))
