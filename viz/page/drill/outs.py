"""What can be knocked out: any component of any expert in the matrix looked at, as HTML below the map of collisions."""

from __future__ import annotations

from html import escape

from merge_engine.knock_out import KnockOut
from merge_engine.metrics.spectrum import Spectrum
from viz import heat, places

from ..session import Session
from ..view import menu
from . import knock


def chooser(session: Session) -> str:
    """Return a menu of experts and a box for the number of a component, which show the chosen one."""
    if not session.experts:
        return ""
    now = knock.chosen(session)
    expert, index = (now[0].expert, now[0].index or 0) if now else (session.experts[0], "")
    drawn, name = "|".join(one.word for one in now) or expert, escape(expert, quote=True)
    experts = menu("component", "Expert of a component", {e: e for e in session.experts}, expert, drawn)
    return (
        f'<div class="mp-choose">Any component: {experts}'
        f'<label># <input type="number" min="0" max="{knock.rank(session) - 1}" step="1" value="{index}" '
        f'placeholder="0" data-emit="component" data-expert="{name}" '
        f'aria-label="Number of a component of {name}, 0 is the strongest"></label></div>'
    )


def outs(session: Session) -> str:
    """Return the buttons that knock out the chosen components and what they are in; nothing where none is chosen."""
    each = "".join(_of(session, one) for one in knock.chosen(session))
    return f'<div class="mp-outs">{each}</div>' if each else ""


def chips(session: Session) -> str:
    """Return what is knocked out, each with a button that puts it back."""
    if not session.knocked:
        return ""
    each = "".join(
        f'<button type="button" class="mp-chip" data-emit="restore" value="{escape(one.word, quote=True)}" '
        f'aria-label="Put {escape(one.said, quote=True)} back">{escape(one.said)} '
        '<span aria-hidden="true">×</span></button>'
        for one in knock.parsed(session.knocked)
    )
    every = '<button type="button" class="mp-put" data-emit="restore" value="">put all back</button>'
    every = every if len(session.knocked) > 1 else ""
    return f'<div class="mp-gone" role="group" aria-label="Knocked out"><span>Knocked out</span>{each}{every}</div>'


def sentence(measured: Spectrum | None, one: KnockOut) -> str:
    """Return how much of its expert's change in the matrix a component is, as far as that is measured."""
    name, index = f"{one.expert} #{one.index}", one.index or 0
    if measured is None or one.expert not in measured.models:
        return f"{name} is chosen."
    row, model = places.row(measured, one.block, one.kind), measured.models.index(one.expert)
    energy, sizes = measured.energy[row, model], measured.singular_values[row, model]
    share = 100 * float(energy[index] - (energy[index - 1] if index else 0))
    return (
        f"{name} has the singular value {heat.number(float(sizes[index]), 4)}: {share:.2g} % of the energy of what "
        f"{one.expert} changed in this matrix."
    )


def _of(session: Session, one: KnockOut) -> str:
    """Return the buttons for a component, its matrix and its expert, those that are out already disabled."""
    gone = knock.parsed(session.knocked)
    wider = (one, KnockOut(one.expert, one.block, one.kind), KnockOut(one.expert))
    names = (f"#{one.index}", f"all of {one.block}.{one.kind}", "whole expert")
    buttons = "".join(
        f'<button type="button" data-emit="knock" value="{escape(out.word, quote=True)}" '
        f'aria-label="Knock out {escape(out.said, quote=True)}"'
        f"{' disabled' if any(other.covers(out) for other in gone) else ''}>{escape(name)}</button>"
        for out, name in zip(wider, names, strict=True)
    )
    label = f"Knock out of {escape(one.expert)}"
    return f'<div role="group" aria-label="{escape(label, quote=True)}"><span>{label}</span>{buttons}</div>'
