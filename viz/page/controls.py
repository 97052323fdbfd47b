"""From the declaration of a hyper-parameter to its control, as HTML that reports every change by `data-emit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from merge_engine.hp import HP, Number, declared
from merge_engine.methods import method_class


def form(owner: str, values: Mapping[str, Any], experts: Sequence[str]) -> str:
    """Return the controls of every hyper-parameter of a method or post-step, in order of declaration."""
    hps = declared(method_class(owner))
    if not hps:
        return '<p class="mp-none">This method has no parameters to set.</p>'
    return "".join(control(owner, hp, values.get(name, hp.default), experts) for name, hp in hps.items())


def control(owner: str, hp: HP, value: Any, experts: Sequence[str]) -> str:
    """Return one labelled control: per-expert boxes, a menu, a check box, a line of text, or a box, with a slider."""
    if hp.per_expert:
        return _per_expert(owner, hp, value, experts)
    if hp.choices:
        body = _menu(owner, hp, value)
    elif hp.type is bool:
        return _check_box(owner, hp, value)
    elif hp.pairs:
        body = _line(owner, hp, value)
    else:
        body = _number(owner, hp, value)
    return (
        f'<div class="mp-hp">{body}<p class="mp-help" id="{_id(owner, hp)}-help">{escape(hp.help)}</p></div>'
    )


def shown(value: Any) -> str:
    """Return a value as the page writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == "":
        return "none"
    if isinstance(value, tuple):
        return ", ".join(shown(v) for v in value) if value else "equal"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def words(name: str) -> str:
    """Return the name of a field in words: `rank_share` reads 'rank share'."""
    return name.replace("_", " ")


def _id(owner: str, hp: HP) -> str:
    return escape(f"hp-{owner}-{hp.name}", quote=True)


def _tied(owner: str, hp: HP) -> str:
    """Attributes that tell the server which parameter this is."""
    live = " data-live" if hp.name == "scaling" else ""
    return f'data-emit="set" data-owner="{escape(owner)}" data-name="{escape(hp.name)}"{live}'


def _label(owner: str, hp: HP) -> str:
    symbol = f' <i class="mp-symbol">{escape(hp.symbol)}</i>' if hp.symbol not in ("", hp.name) else ""
    return f'<label for="{_id(owner, hp)}">{escape(words(hp.name))}{symbol}</label>'


def _menu(owner: str, hp: HP, value: Any) -> str:
    options = "".join(
        f'<option value="{escape(c)}"{" selected" if c == value else ""}>{escape(words(c))}'
        f"{' (published)' if c == hp.default else ''}</option>"
        for c in hp.choices
    )
    return (
        f'<div class="mp-hp-head">{_label(owner, hp)}<select id="{_id(owner, hp)}" '
        f'aria-describedby="{_id(owner, hp)}-help" {_tied(owner, hp)}>{options}</select></div>'
    )


def _line(owner: str, hp: HP, value: Any) -> str:
    """A line that takes NAME=VALUE, separated by commas."""
    return (
        f'<div class="mp-hp-head">{_label(owner, hp)}<input type="text" id="{_id(owner, hp)}" class="mp-box mp-line" '
        f'value="{escape(str(value), quote=True)}" placeholder="name=value" spellcheck="false" autocomplete="off" '
        f'aria-describedby="{_id(owner, hp)}-help" {_tied(owner, hp)}></div>'
    )


def _check_box(owner: str, hp: HP, value: Any) -> str:
    checked = " checked" if value else ""
    return (
        f'<div class="mp-hp"><div class="mp-hp-head mp-check"><input type="checkbox" id="{_id(owner, hp)}" '
        f'aria-describedby="{_id(owner, hp)}-help" {_tied(owner, hp)}{checked}>{_label(owner, hp)}</div>'
        f'<p class="mp-help" id="{_id(owner, hp)}-help">{escape(hp.help)}</p></div>'
    )


def _number(owner: str, hp: HP, value: Any) -> str:
    """A box takes the whole legal range; a slider beside it spans the useful one, with a tick at the default.

    Where a word stands for the number, the box is empty and the slider rests on the tick, in the middle.
    """
    bounds = "".join(f' {k}="{v:g}"' for k, v in (("min", hp.low), ("max", hp.high)) if v is not None)
    box = (
        f'<input type="number" id="{_id(owner, hp)}" class="mp-box" value="{_number_of(value)}" step="any"{bounds} '
        f'placeholder="{hp.word}" aria-describedby="{_id(owner, hp)}-help" {_tied(owner, hp)}>'
    )
    head = f'<div class="mp-hp-head">{_label(owner, hp)}{box}</div>'
    return head if hp.span is None else head + _slider(owner, hp, value, *hp.span)


def _slider(owner: str, hp: HP, value: Any, low: Number, high: Number) -> str:
    if value != hp.word:
        low, high = min(low, value), max(high, value)
    step = f"{hp.step:g}" if hp.step else ("1" if hp.type is int else "any")
    tick, at = (0.5 if v == hp.word else (v - low) / ((high - low) or 1) for v in (hp.default, value))
    default = hp.default if hp.default == hp.word else f"published default {_written(hp.default)}"
    return (
        f'<input type="range" min="{low:g}" max="{high:g}" step="{step}" value="{_number_of(value)}" '
        f'style="--at:{100 * at:.2f}%;--published:{tick:.4f}" aria-label="{escape(words(hp.name))}" '
        f'aria-describedby="{_id(owner, hp)}-help" title="{default}" {_tied(owner, hp)}>'
    )


def _per_expert(owner: str, hp: HP, value: Any, experts: Sequence[str]) -> str:
    values = list(value) if len(value) == len(experts) else [""] * len(experts)
    rows = "".join(
        f'<label class="mp-row"><span>{escape(name)}</span><input type="number" class="mp-box" step="any" '
        f'placeholder="equal" value="{_written(v)}" {_tied(owner, hp)}></label>'
        for name, v in zip(experts, values, strict=True)
    )
    opened = " open" if value else ""
    return (
        f'<details class="mp-hp mp-rows" data-group{opened}><summary>{escape(words(hp.name))}, one per expert: '
        f"{'set' if value else 'equal'}</summary>{rows}"
        f'<p class="mp-help">{escape(hp.help)} Leave all blank for equal.</p></details>'
    )


def _number_of(value: Any) -> str:
    """Return what a box or slider holds: nothing where a word stands in place of a number."""
    return "" if isinstance(value, str) else _written(value)


def _written(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, int | float) and not isinstance(value, bool) else escape(str(value))
