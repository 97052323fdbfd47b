"""What the section of collisions shows: the map, what can be knocked out, and what a knock-out changes.

Knows no Gradio. Everything long is a generator of parts that ends when its `going()` turns false.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from html import escape

from merge_engine.errors import MergeError
from merge_engine.knock_out import KnockOut
from merge_engine.metrics.joint_overlap import JointOverlap
from merge_engine.precision import live_dtype, name_of
from merge_engine.running import drive
from merge_engine.suite import load_suite
from viz import heat, markup, places, theme
from viz.panel import Drawing, draw, empty, write
from viz.panels import collisions, flips, vectors
from viz.panels.collisions import Pair

from .. import session as state
from ..guarded import sentence as sentence_of
from ..inputs import sight
from ..inputs.inputs import knows
from ..record import Run
from ..remaining import words_left
from ..session import Session
from ..view import Parts, status
from ..weights.measure import Ask
from ..workbench import Workbench, paced
from . import asking, knock
from .knocked import Knocked, flip_view
from .vectors import vectors_part

PAIRS = 4  # strongest pairs offered of each sign
HINT = (
    "The numbers are parts of the cosine of two experts. Choose a pair or a cell, then knock a component out of the "
    "merge and see which inputs flip."
)
FIRST = "Press Merge. The same merge without {} is then scored beside it, and the inputs that flip are shown here."


def ask(session: Session) -> Ask:
    """Return the measurement that the map shows: the experts alone, in the chosen matrix."""
    return Ask(session.suite, session.experts, "joint_overlap", session.block, session.kind)


def measured_of(bench: Workbench, session: Session) -> JointOverlap | None:
    """Return that measurement where it was taken before."""
    found = bench.measures.widest(ask(session)) if session.experts else None
    return found if isinstance(found, JointOverlap) else None


def mark(session: Session) -> str:
    """Return a word that differs whenever something else is knocked out."""
    return ",".join(session.knocked)


def turned(session: Session) -> str:
    """Return a word that differs with every choice, so that a drawing begun before it is drawn again."""
    return "|".join((mark(session), *session.pair))


def wanted(bench: Workbench, session: Session, shown: str) -> str:
    """Return a word for the run to be made without something, which begins with the digest of its recipe."""
    ready = session.knocked and base_of(bench, session, shown)
    return f"{shown} {mark(session)}" if ready else ""


def unasked(bench: Workbench, session: Session, shown: str) -> str:
    """Return that word where the run may begin although nobody pressed a button for it."""
    base, word = base_of(bench, session, shown), wanted(bench, session, shown)
    return word if base is not None and asking.at_once(bench, base) else ""


def base_of(bench: Workbench, session: Session, shown: str) -> Run | None:
    """Return the run on the page where it is the session's own and single inputs of it are known.

    What was scored in another precision than the page's will not do: inputs would flip by rounding alone.
    """
    run = sight.run_of(bench, shown)
    try:
        own = run is not None and state.recipe(session).digest == shown
    except MergeError:
        own = False
    known = knows(run) and run is not None and run.precision == name_of(live_dtype())
    return run if own and known else None


def drill_steps(
    bench: Workbench, runs: Knocked, session: Session, shown: str, going: Callable[[], bool], running: str = ""
) -> Generator[Parts, None, None]:
    """Yield the section as far as it is known, then the map once it is measured; `running` is what is scored now."""
    measured = measured_of(bench, session)
    flipped = flips_html(bench, runs, session, shown, running)
    yield {**map_parts(bench, session, shown, measured), "flips": flipped, "without": unasked(bench, session, shown)}
    if len(session.experts) < 2:
        yield {"vectors": draw(vectors, None)}
        return
    try:
        if measured is None:
            drive(bench.measures.steps(ask(session), going=going))
            if not going() or (measured := measured_of(bench, session)) is None:
                return
            yield map_parts(bench, session, shown, measured)
        if going():
            yield {"vectors": vectors_part(bench, session, measured)}
    except Exception as error:  # whatever it is, it stands where the map was to come
        yield {"collisions": Drawing({"": empty(sentence_of(error, "Measuring"))}, {}, "")}


def map_parts(bench: Workbench, session: Session, shown: str, measured: JointOverlap | None) -> Parts:
    """Return the map of collisions and the controls below it; words where nothing is measured."""
    if measured is None or len(session.experts) < 2:
        waiting = Drawing({"": empty("Measuring …")}, {}, "")
        return {"collisions": waiting if len(session.experts) > 1 else draw(collisions, None), "knock": chips(session)}
    place = {"block": session.block, "kind": session.kind}
    chosen, gone = [_axis_name(one) for one in knock.chosen(session)], _gone(session, measured)
    drawing = draw(collisions, measured, **place, chosen=chosen, gone=gone, selected=place)
    return {"collisions": drawing, "knock": controls(session, measured, cost_line(bench, session, shown))}


def cost_line(bench: Workbench, session: Session, shown: str) -> str:
    """Return what a knock-out of the run on the page will take, nothing where that run is another recipe's."""
    base = base_of(bench, session, shown)
    return "" if base is None else f'<p class="mp-cost"><span>{escape(asking.cost_words(bench, base))}</span></p>'


def controls(session: Session, measured: JointOverlap, cost: str = "") -> str:
    """Return the strongest pairs, the chosen one with buttons to knock it out, their cost, and what is knocked out."""
    row = places.row(measured, session.block, session.kind)
    signs = {"Aligned: they add up (+)": 1, "Cancelling: they undo each other (−)": -1}
    lists = "".join(
        f"<div><h4>{escape(head)}</h4>{_pairs(session, collisions.strongest(measured, row, PAIRS, sign))}</div>"
        for head, sign in signs.items()
    )
    below = f"{_picked(session, measured, row)}{cost}{chips(session)}"
    return f'<div class="mp-drill"><div class="mp-pairs">{lists}</div>{below}</div>'


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


def flips_html(bench: Workbench, runs: Knocked, session: Session, shown: str, running: str = "") -> str:
    """Return what the knock-out changed as far as it is scored, what to do first, or nothing."""
    if not session.knocked:
        return ""
    base = base_of(bench, session, shown)
    if base is None:
        gone = knock.said(session.knocked)
        return markup.frame("flips", f"Without {gone}", FIRST.format(gone), "")
    run = runs.get(base, session.knocked)
    asked = wanted(bench, session, shown) in (running, unasked(bench, session, shown))
    return result_html(bench, base, run, session.knocked, asked)


def result_html(bench: Workbench, base: Run, run: Run | None, words: tuple[str, ...], asked: bool = True) -> str:
    """Return what a run without something changed, that it is on its way, or how to ask for it."""
    found = flip_view(base, run, words) if run else None
    stopped = run is not None and run.phase == "stopped"
    if found is None and (stopped or (run is None and not asked)):
        return asking.unscored(bench, base, words)
    if found is None:
        moment = "scoring …" if run and run.phase == "scoring" else "merging …"
        return markup.frame("flips", f"Without {knock.said(words)}: {moment}", flips.ABOUT, "")
    suite = load_suite(base.recipe.suite)
    colors = theme.colors(suite.task_of)
    html = write(flips, found, colors={suite.task_of[expert]: color for expert, color in colors.items()})
    return html + asking.button(bench, base) if stopped else html


def score_steps(
    bench: Workbench, runs: Knocked, base: Run, words: tuple[str, ...], going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the result without something while it is merged and scored."""
    for run in paced(runs.run(base, words, going)):
        yield {"flips": result_html(bench, base, run, words), "knocking": run_status(run, words)}


def run_status(run: Run, words: tuple[str, ...]) -> str:
    """Return the status line of a run without something."""
    gone, left = knock.said(words), words_left(run)
    if run.phase == "merging":
        return status(f"Merging without {gone}{left}", done=run.step.done, total=max(run.step.total, 1), tone="busy")
    done, total = (sum(getattr(score, name) for score in run.scores.values()) for name in ("n", "total"))
    if run.phase == "scoring":
        said = f"Scoring without {gone}: {done} of {total} inputs{left}"
        return status(said, done=done, total=max(total, 1), tone="busy")
    if run.phase == "stopped":
        return status(f"Stopped after {done} inputs." if done else "Stopped.", tone="stale")
    return status("")


def _pairs(session: Session, found: list[Pair]) -> str:
    """Return pairs as a list of buttons that choose them."""
    if not found:
        return "<p>none</p>"
    now = tuple(f"{one.expert}:{one.index}" for one in knock.chosen(session))
    return f"<ol>{''.join(f'<li>{_pair_button(one, now)}</li>' for one in found)}</ol>"


def _pair_button(one: Pair, now: tuple[str, ...]) -> str:
    words = (f"{one.expert}:{one.index}", f"{one.other}:{one.across}")
    names = " · ".join(escape(collisions.name(*at)) for at in ((one.expert, one.index), (one.other, one.across)))
    return (
        f'<button type="button" data-emit="pick" value="{escape("|".join(words), quote=True)}" '
        f'aria-pressed="{str(words == now).lower()}"><span>{names}</span><b>{_signed(one.part)}</b></button>'
    )


def _picked(session: Session, measured: JointOverlap, row: int) -> str:
    """Return what is known of the chosen pair, and the buttons that knock out its components and what they are in."""
    pair = knock.chosen(session)
    if len(pair) != 2:
        return f'<p class="mp-help">{HINT}</p>'
    buttons = "".join(_out_buttons(session, one) for one in pair)
    return f'<p class="mp-help">{escape(sentence(measured, row, *pair))}</p><div class="mp-outs">{buttons}</div>'


def sentence(measured: JointOverlap, row: int, first: KnockOut, second: KnockOut) -> str:
    """Return what two components add to the cosine of their experts, beside all of it."""
    names, kept = f"{_axis_name(first)} and {_axis_name(second)}", measured.terms.shape[-1]
    one, other = (measured.models.index(each.expert) for each in (first, second))
    whole, leading = (_signed(values[row, one, other]) for values in (measured.cosine, measured.cosine_total))
    if (first.index or 0) >= kept or (second.index or 0) >= kept:
        return f"{names} are not among the leading {kept} components; the cosine of these two experts is {whole}."
    found = collisions.pair(measured, row, one, first.index or 0, other, second.index or 0)
    word = "add up" if found.term > 0 else "cancel"
    return (
        f"{names} {word}: they make {_signed(found.part)} of the cosine of these two experts here, which is {whole}; "
        f"all pairs of their {kept} leading components make {leading}."
    )


def _out_buttons(session: Session, one: KnockOut) -> str:
    """Return the buttons that knock out a component, its matrix or its expert, those that are out already disabled."""
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


def _gone(session: Session, measured: JointOverlap) -> list[str]:
    """Return the components of the map that are knocked out."""
    outs = knock.parsed(session.knocked)
    every = (KnockOut(e, session.block, session.kind, i) for e in measured.models for i in range(collisions.EACH))
    return [_axis_name(one) for one in every if any(out.covers(one) for out in outs)]


def _axis_name(one: KnockOut) -> str:
    return collisions.name(one.expert, one.index or 0)


def _signed(value: float) -> str:
    """Return a share of a cosine with its sign."""
    text = heat.number(value, 3)
    return text if text.startswith("−") else f"+{text}"
