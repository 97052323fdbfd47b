"""A method's formula with the current numbers in it, and which of its variants runs, as HTML.

The symbol of a hyper-parameter is found where it stands alone, not inside a longer name. In a formula its value takes
its place; in words it follows the symbol. Either is tied to its control by `data-of`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from merge_engine.contract import MergeMethod
from merge_engine.hp import HP, declared
from merge_engine.methods import key_of

from .controls import id_of, shown, words
from .typeset import powers, typeset

NAME = r"[\w'’′*\u0300-\u036f]"  # what makes a symbol beside it part of a longer name


@dataclass(frozen=True)
class Term:
    """A number of a formula; `value` is empty where none is given or where it has no effect."""

    symbol: str
    value: str
    control: str = ""
    hint: str = ""


Put = Callable[[Term], str]


def terms(method: MergeMethod, experts: int) -> list[Term]:
    """Return the numbers of a method as they act, and the number of experts, T."""
    owner, values = key_of(method), method.acting(experts)
    found = []
    for name, hp in declared(type(method)).items():
        if hp.is_number:
            value = _written(hp, values[name]) if hp.in_use(values) and values[name] != hp.word else ""
            found.append(Term(hp.symbol, value, id_of(owner, hp), f"{words(name)}: {hp.help}"))
    return [*found, Term("T", str(experts), hint="Number of experts.")]


def formula(method: MergeMethod, experts: int) -> str:
    """Return the formula with its symbols, below it the same with the current numbers, and the rest in words."""
    known, given = terms(method, experts), type(method).formula.split("\n")
    symbols = "<br>".join(_filled(line, known, _symbol) for line in given)
    put = [_filled(line, known, _number) for line in given if any(t.value for t in mentioned(line, known))]
    numbers = "&ensp; ".join([*filter(None, ["<br>".join(put)]), f"<small>T = {experts}</small>"])
    where = type(method).where
    said = f'<p class="mp-given">where {_filled(where, known, _told)}</p>' if where else ""
    return f'<div class="mp-formula"><p>{symbols}</p><p class="mp-numbers">{numbers}</p>{said}</div>'


def running(method: MergeMethod, experts: int) -> str:
    """Return which variants run: those that differ from the published default, which stand out, and defaults that
    papers or libraries disagree about or that the formula needs; empty where there are none.
    """
    owner, values, known = key_of(method), method.acting(experts), terms(method, experts)
    items = ""
    for name, hp in declared(type(method)).items():
        said, own = hp.words(values[name]), values[name] != hp.default
        numbers = any(term.control and term.value for term in mentioned(said, known))
        if said and hp.in_use(values) and (own or hp.always or numbers):
            control = _tied(words(name), id_of(owner, hp), hp.help)
            changed = ' class="mp-changed"' if own else ""
            items += f'<li{changed}>{control}: {_filled(said, known, _told)}</li>'
    return f'<div class="mp-running"><h4>Running now</h4><ul>{items}</ul></div>' if items else ""


def mentioned(text: str, known: Sequence[Term]) -> list[Term]:
    """Return the terms whose symbols stand in a text."""
    by_symbol = {term.symbol: term for term in known}
    return [by_symbol[found] for found in dict.fromkeys(_pattern(known).findall(text))]


def _pattern(known: Sequence[Term]) -> re.Pattern[str]:
    symbols = "|".join(re.escape(s) for s in sorted({t.symbol for t in known}, key=len, reverse=True))
    return re.compile(f"(?<!{NAME})({symbols})(?!{NAME})")


def _filled(text: str, known: Sequence[Term], put: Put) -> str:
    """Return a text as HTML with every term put in its place."""
    by_symbol = {term.symbol: term for term in known}
    pieces = _pattern(known).split(text)
    return "".join(put(by_symbol[piece]) if at % 2 else typeset(piece) for at, piece in enumerate(pieces))


def _symbol(term: Term) -> str:
    said = typeset(term.symbol)
    return f'<i data-of="{term.control}">{said}</i>' if term.control else said


def _number(term: Term) -> str:
    return _tied(term.value, term.control, term.hint) if term.value else _symbol(term)


def _told(term: Term) -> str:
    number = term.value if term.control else ""
    return f"{_symbol(term)}&nbsp;=&nbsp;{_tied(number, term.control, term.hint)}" if number else _symbol(term)


def _tied(said: str, control: str, hint: str) -> str:
    """Return a value or a name that takes to its control when pressed; the keyboard has the control itself."""
    hint = escape(hint, quote=True)
    if not control:
        return f'<b title="{hint}">{typeset(said)}</b>'
    return f'<button type="button" tabindex="-1" data-of="{control}" title="{hint}">{typeset(said)}</button>'


def _written(hp: HP, value: Any) -> str:
    """Return a value as it stands in a formula; nothing where all experts are equal."""
    if hp.per_expert:
        return f"({shown(value)})" if value else ""
    text = powers(shown(value))
    return f"({text})" if value < 0 else text
