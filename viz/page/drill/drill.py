"""What the section of collisions shows: the map, what can be knocked out, and what a knock-out changes.

Knows no Gradio. Everything long is a generator of parts that ends when its `going()` turns false.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from html import escape

from merge_engine.errors import MergeError
from merge_engine.knock_out import KnockOut, singular_vectors
from merge_engine.metrics.joint_overlap import JointOverlap
from merge_engine.metrics.spectrum import Spectrum
from merge_engine.precision import KNOWN, live_dtype, name_of
from merge_engine.running import drive
from merge_engine.suite import load_suite
from viz import heat, markup, places
from viz.panel import Drawing, draw, empty, write
from viz.panels import collisions, flips, vectors
from viz.panels.collisions import Pair

from .. import session as state
from ..colors import task_colors
from ..compare.against import against
from ..compare.beside import Beside, beside
from ..guarded import sentence as sentence_of
from ..inputs import sight
from ..record import Run
from ..remaining import words_left
from ..session import Session
from ..view import Parts, status
from ..weights.measure import Ask
from ..workbench import Workbench, paced
from . import asking, knock, outs
from .knocked import Knocked, flip_view
from .vectors import vectors_part

PAIRS = 4  # strongest pairs offered of each sign
HINT = (
    "The numbers are parts of the cosine of two experts. Choose a pair, a cell, a point of the spectrum or any "
    "component by its number, then knock it out of the merge and see which inputs flip."
)
ALONE = "Choose a point of the spectrum or any component by its number, then knock it out and see which inputs flip."
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

    It may be a stored one, scored in another precision than this machine's: a merge without something is then scored
    in that, since inputs would flip by rounding alone.
    """
    run = sight.run_of(bench, shown)
    try:
        own = run is not None and state.recipe(session).digest == shown
    except MergeError:
        own = False
    return run if own and run is not None and run.knows and run.precision in KNOWN else None


def drill_steps(
    bench: Workbench, runs: Knocked, session: Session, shown: str, going: Callable[[], bool], running: str = ""
) -> Generator[Parts, None, None]:
    """Yield the section as far as it is known, then the map once it is measured; `running` is what is scored now."""
    measured, pinned = measured_of(bench, session), beside(bench.record, session, shown)
    flipped = flips_html(bench, runs, session, shown, running)
    yield {**map_parts(bench, session, shown, measured), "flips": flipped, "without": unasked(bench, session, shown)}
    if len(session.experts) < 2:
        yield {"vectors": draw(vectors, None, aside=alone(session, pinned))}
        return
    try:
        if measured is None:
            yield from _decomposed(bench, session, going)
            drive(bench.measures.steps(ask(session), going=going))
            if not going() or (measured := measured_of(bench, session)) is None:
                return
            yield map_parts(bench, session, shown, measured)
        if going():
            yield {"vectors": vectors_part(bench, session, measured, alone(session, pinned))}
    except Exception as error:  # whatever it is, it stands where the map was to come
        yield {"collisions": _waiting(sentence_of(error, "Measuring"))}


def _decomposed(bench: Workbench, session: Session, going: Callable[[], bool]) -> Generator[Parts, None, None]:
    """Decompose the matrix of every expert, which is what a measurement waits for, telling how far it is."""
    problem, experts = load_suite(session.suite).problem(session.experts), session.experts
    for done, expert in enumerate(experts):
        if not going():
            return
        yield {"collisions": _waiting(f"Measuring: {done} of {len(experts)} experts …")}
        singular_vectors(problem, KnockOut(expert, session.block, session.kind, 0), bench.svd)


def map_parts(bench: Workbench, session: Session, shown: str, measured: JointOverlap | None) -> Parts:
    """Return the map of collisions and the controls below it; words where nothing is measured."""
    cost, said = cost_line(bench, session, shown), alone(session, beside(bench.record, session, shown))
    if measured is None or len(session.experts) < 2:
        blank = _waiting("Measuring …") if len(session.experts) > 1 else draw(collisions, None, aside=said)
        return {"collisions": blank, "knock": controls(bench, session, None, cost)}
    place = {"block": session.block, "kind": session.kind}
    chosen, gone = [_axis_name(one) for one in knock.chosen(session)], _gone(session, measured)
    key = json.dumps([session.suite, session.experts, *place.values(), chosen, gone, said])
    drawing = bench.drawn.text(
        "collisions", key, (measured,),
        lambda: draw(collisions, measured, **place, chosen=chosen, gone=gone, selected=place, aside=said),
    )  # fmt: skip
    return {"collisions": drawing, "knock": controls(bench, session, measured, cost)}


def alone(session: Session, pinned: Beside | None) -> str:
    """Return why the experts' components are the same for the pinned run, or not compared; empty without one."""
    return pinned.of_experts(session.experts) if pinned else ""


def cost_line(bench: Workbench, session: Session, shown: str) -> str:
    """Return what a knock-out of the run on the page will take, nothing where that run is another recipe's."""
    base = base_of(bench, session, shown)
    return "" if base is None else f'<p class="mp-cost"><span>{escape(asking.cost_words(bench, base))}</span></p>'


def controls(bench: Workbench, session: Session, measured: JointOverlap | None, cost: str = "") -> str:
    """Return the strongest pairs, what is chosen with buttons to knock it out, their cost, and what is knocked out."""
    pairs = "" if measured is None else _strongest(session, measured)
    chosen = f"{outs.chooser(session)}{_said(bench, session, measured)}{outs.outs(session)}"
    arrived = escape("|".join(one.word for one in knock.chosen(session)), quote=True)
    chosen = f'<div class="mp-chosen" data-arrive="{arrived}">{chosen}</div>'
    return f'<div class="mp-drill">{pairs}{chosen}{cost}{outs.chips(session)}</div>'


def flips_html(bench: Workbench, runs: Knocked, session: Session, shown: str, running: str = "") -> str:
    """Return what the knock-out changed as far as it is scored, what to do first, or nothing."""
    if not session.knocked:
        return ""
    base = base_of(bench, session, shown)
    if base is None:
        gone = knock.said(session.knocked)
        return markup.frame("flips", f"Without {gone}", FIRST.format(gone), "")
    run, pinned = runs.get(base, session.knocked), beside(bench.record, session, shown)
    asked = wanted(bench, session, shown) in (running, unasked(bench, session, shown))
    return result_html(bench, base, run, session.knocked, pinned, asked)


def result_html(
    bench: Workbench, base: Run, run: Run | None, words: tuple[str, ...], pinned: Beside | None = None,
    asked: bool = True,
) -> str:  # fmt: skip
    """Return what a run without something changed, that it is on its way, or how to ask for it.

    What the run `pinned` says of the inputs stands beside them.
    """
    suite = load_suite(base.recipe.suite)
    other = against(suite, pinned)
    found = flip_view(base, run, words, other) if run else None
    stopped = run is not None and run.phase == "stopped"
    if found is None and (stopped or (run is None and not asked)):
        return asking.unscored(bench, base, words)
    if found is None:
        moment = "scoring …" if run and run.phase == "scoring" else "merging …"
        return markup.frame("flips", f"Without {knock.said(words)}: {moment}", flips.ABOUT, "")
    html = write(flips, found, colors=task_colors(suite), aside=other.why if other else "")
    return html + asking.button(bench, base) if stopped else html


def score_steps(
    bench: Workbench, runs: Knocked, base: Run, words: tuple[str, ...], pinned: Beside | None, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the result without something while it is merged and scored."""
    for run in paced(runs.run(base, words, going)):
        yield {"flips": result_html(bench, base, run, words, pinned), "knocking": run_status(run, words)}


def run_status(run: Run, words: tuple[str, ...]) -> str:
    """Return the status line of a run without something."""
    gone, left, like = knock.said(words), words_left(run), ""
    if run.precision != name_of(live_dtype()):
        like = f" in {run.precision}, as the merge was"
    if run.phase == "merging":
        return status(f"Merging without {gone}{left}", done=run.step.done, total=max(run.step.total, 1), tone="busy")
    done, total = (sum(getattr(score, name) for score in run.scores.values()) for name in ("n", "total"))
    if run.phase == "scoring":
        said = f"Scoring without {gone}{like}: {done} of {total} inputs{left}"
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


def _strongest(session: Session, measured: JointOverlap) -> str:
    """Return the strongest pairs of each sign."""
    row = places.row(measured, session.block, session.kind)
    signs = {"Aligned: they add up (+)": 1, "Cancelling: they undo each other (−)": -1}
    lists = "".join(
        f"<div><h4>{escape(head)}</h4>{_pairs(session, collisions.strongest(measured, row, PAIRS, sign))}</div>"
        for head, sign in signs.items()
    )
    return f'<div class="mp-pairs">{lists}</div>'


def _said(bench: Workbench, session: Session, measured: JointOverlap | None) -> str:
    """Return what is known of the chosen pair or component, or what can be chosen."""
    now = knock.chosen(session)
    if len(now) == 2 and measured is not None:
        words = sentence(measured, places.row(measured, session.block, session.kind), *now)
    elif len(now) == 1:
        spectrum = bench.measures.widest(Ask(session.suite, session.experts, "spectrum", session.block, session.kind))
        words = outs.sentence(spectrum if isinstance(spectrum, Spectrum) else None, now[0])
    else:
        words = HINT if measured is not None else ALONE
    return f'<p class="mp-help">{escape(words)}</p>'


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


def _gone(session: Session, measured: JointOverlap) -> list[str]:
    """Return the components of the map that are knocked out."""
    outs = knock.parsed(session.knocked)
    every = (KnockOut(e, session.block, session.kind, i) for e in measured.models for i in range(collisions.EACH))
    return [_axis_name(one) for one in every if any(out.covers(one) for out in outs)]


def _waiting(words: str) -> Drawing:
    return Drawing({"": empty(words)}, {}, "")


def _axis_name(one: KnockOut) -> str:
    return collisions.name(one.expert, one.index or 0)


def _signed(value: float) -> str:
    """Return a share of a cosine with its sign."""
    text = heat.number(value, 3)
    return text if text.startswith("−") else f"+{text}"
