"""Mathematics in plain letters as HTML, its indices and powers set low and high."""

from __future__ import annotations

import re
from html import escape

LOW, HIGH = "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜ", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁽⁾ᵀᵗ"
LOWER, RAISE = str.maketrans(LOW, "0123456789aehijklmnoprst"), str.maketrans(HIGH, "0123456789−()Tt")
LOWERED = re.compile(rf"[{LOW}]+|_\{{([^}}]*)\}}|(?<=\b\w)_(\w+)")
RAISED = re.compile(f"[{HIGH}]+")
POWER = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def typeset(text: str) -> str:
    """Return escaped HTML of a text such as `θ₀ + Σₜ τₜ`, `θ_avg` or `Vᵀ`; an index after `_` follows one letter."""
    low = LOWERED.sub(lambda m: f"<sub>{(m[1] or m[2] or m[0]).translate(LOWER)}</sub>", escape(text))
    return RAISED.sub(lambda m: f"<sup>{m[0].translate(RAISE)}</sup>", low)


def powers(number: str) -> str:
    """Return a number such as `2e-05` as `2 · 10⁻⁵`; others as they are."""
    digits, power, exponent = number.partition("e")
    if not power:
        return number
    return ("" if digits == "1" else f"{digits} · ") + "10" + str(int(exponent)).translate(POWER)
