"""What every part of the page shows for a session and a run, by the name of the part. Knows no Gradio."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from html import escape
from typing import Any

from merge_engine.errors import MergeError
from merge_engine.methods import method_class
from merge_engine.problem import MATRIX_KINDS
from merge_engine.suite import Suite, load_suite, suite_folders
from viz import theme
from viz.panel import Drawing, draw
from viz.panels import accuracy

from . import cards, controls, presets, strip
from .adapting.learned import word_of
from .adapting.moving import moving_parts
from .compare.visit import reference, seen_part
from .headline import answer, duration, headline, in_bytes, size
from .measured import measured
from .record import Pairs, Run, model_size
from .remaining import words_left
from .session import Session, fault, parameters, recipe
from .share import link
from .workbench import Workbench, can_rescale

Parts = dict[str, Any]


def controls_parts(bench: Workbench, session: Session) -> Parts:
    """Return the whole left column."""
    return {
        "suites": suite_menu(session),
        "experts": expert_strip(bench, session),
        "method": cards.method_menu(session.method, session.drawn),
        "post": cards.post_menu(session.post, session.drawn),
        **form_parts(session),
        **live_parts(bench, session),
    }


def expert_strip(bench: Workbench, session: Session) -> str:
    """Return the toggles of the experts, and what to do about missing ones."""
    suite, known = load_suite(session.suite), bench.record.baselines(session.suite)
    alone = {expert: own.accuracy() for expert, task in suite.task_of.items() if (own := known[task][1])}
    return strip.missing(suite) + strip.strip(strip.expert_cards(suite, alone), session.experts, session.drawn)


def form_parts(session: Session) -> Parts:
    """Return the controls of the method and of the post-step."""
    after = post_form(session) if session.post else ""
    return {"form": method_form(session, session.method), "post_form": after}


def live_parts(bench: Workbench, session: Session) -> Parts:
    """Return what changes with every number: cards, cost and link."""
    after = session.post and cards.method_card(session.post, parameters(session, session.post), len(session.experts))
    return {
        "card": cards.method_card(session.method, parameters(session, session.method), len(session.experts)),
        "post_card": after,
        "cost": cost_line(bench, session),
        "link": link(session),
    }


def method_form(session: Session, owner: str) -> str:
    """Return the controls of a method or post-step, with buttons for its presets or back to the published defaults."""
    edited = bool(dict(session.edits).get(owner))
    body = controls.form(owner, parameters(session, owner), session.experts)
    tied = f'data-edited="{str(edited).lower()}" data-drawn="{session.drawn}"'
    return f'<div class="mp-form" {tied}>{body}<div class="mp-tools">{_presets(session, owner)}</div></div>'


def _presets(session: Session, owner: str) -> str:
    """Return the buttons of the presets, the present one pressed, and what to notice at the failure."""
    known = presets.presets(load_suite(session.suite), owner)
    if len(known) == 1:
        return f'<button type="button" data-emit="reset" data-owner="{escape(owner)}">published defaults</button>'
    now = parameters(session, owner)
    buttons = [
        f'<button type="button" data-emit="preset" data-owner="{escape(owner)}" data-name="{escape(name)}" '
        f'aria-pressed="{str(values == now).lower()}">{escape(presets.WORDS.get(name, name))}</button>'
        for name, values in known.items()
    ]
    lesson = method_class(owner).lesson if now == known.get(presets.FAILURE) else ""
    notice = f'<p class="mp-lesson" role="note">What to notice: {escape(lesson)}</p>' if lesson else ""
    return f'<span class="mp-presets" role="group" aria-label="Presets">{"".join(buttons)}</span>{notice}'


def post_form(session: Session) -> str:
    """Return the controls of the chosen post-step."""
    return method_form(session, session.post)


def suite_menu(session: Session) -> str:
    """Return the menu of suites."""
    names = {name: name for name in suite_folders()}
    return f'<span class="mp-suite">Suite {menu("suite", "Suite", names, session.suite, session.drawn)}</span>'


def menu(act: str, label: str, words: Mapping[str, str], chosen: str, drawn: Any = "") -> str:
    """Return a menu that reports an act and shows `chosen` again whenever `drawn` is another word."""
    options = "".join(
        f'<option value="{escape(key, quote=True)}"{" selected" if key == chosen else ""}>{escape(text)}</option>'
        for key, text in words.items()
    )
    words_of = f'data-drawn="{escape(str(drawn), quote=True)}" aria-label="{escape(label, quote=True)}"'
    return f'<select class="mp-select" data-emit="{act}" {words_of}>{options}</select>'


def cost_line(bench: Workbench, session: Session) -> str:
    """Return what a merge will read, take and leave, or why it cannot start."""
    try:
        wanted = recipe(session)
    except MergeError as error:
        return f'<p class="mp-cost mp-bad">{escape(str(error))}</p>'
    one = model_size(load_suite(session.suite))
    seconds = bench.estimate(wanted)
    takes = "merged already" if seconds == 0 else f"about {duration(seconds)}" if seconds else "not timed yet"
    read, (about, left) = one * (1 + len(session.experts)), stored_before(bench, wanted, one)
    return (
        f'<p class="mp-cost"><span title="Parameters of the pretrained model and of every expert, and their bytes in '
        f'float32; one matrix of all of them is in memory at a time">reads {size(read)}, {in_bytes(read)}</span>'
        f'<span title="Time to merge, without scoring">{takes}</span>'
        f'<span title="Parameters to keep afterwards, and their bytes in float32, on disk or in memory">'
        f"stores {about}{size(left)}, {in_bytes(left)}</span></p>"
    )


def stored_before(bench: Workbench, wanted: Any, one: float) -> tuple[str, float]:
    """Return the parameters that a merge will leave, before it runs: measured where it ran once, else by its kind.

    A word comes first: `up to ` where its kind gives a bound only.
    """
    known = bench.record.known(wanted)
    if known is not None:
        return "", known.stored_parameters
    several = wanted.build()[0].kind == "routed"
    return ("up to ", one * (1 + len(wanted.experts))) if several else ("", one)


def answer_parts(bench: Workbench, session: Session, run: Run | None) -> Parts:
    """Return the headline and the panels of a run's accuracy, or of the baselines alone."""
    suite = load_suite(session.suite)
    experts, own = run.recipe.experts if run else session.experts, _own_tasks(suite, run, session)
    baselines = bench.record.baselines(session.suite)
    found = answer(run, own, baselines)
    plain = bench.record.average(session.suite, experts) if experts else None
    average = answer(plain, own, {}).average if plain else None
    colors, history = task_colors(suite), bench.history(run.recipe) if run and run.curve else None
    return {
        "headline": headline(run, found, average, model_size(suite)),
        "measured": measured(run),
        "accuracy": accuracy_panel(bench, session, run),
        "learned": word_of(run) if run else "",
        **seen_part(run),
        **moving_parts(suite, run, own, baselines, average, colors, session.inputs.deep, history),
    }


def accuracy_panel(bench: Workbench, session: Session, run: Run | None) -> Drawing:
    """Return accuracy per task of a run, or of the baselines alone, beside the run that is pinned as A."""
    suite = load_suite(session.suite)
    own, pinned = _own_tasks(suite, run, session), reference(bench.record, session.comparison, run)
    data = accuracy_data(suite, run, own, bench.record.baselines(session.suite), pinned)
    return draw(accuracy, data, colors=task_colors(suite))


def _own_tasks(suite: Suite, run: Run | None, session: Session) -> list[str]:
    """Return the tasks of a run's experts, or of those that are chosen."""
    experts = run.recipe.experts if run else session.experts
    return list(dict.fromkeys(suite.task_of[e] for e in experts if e in suite.task_of))


def accuracy_data(
    suite: Suite, run: Run | None, own: list[str], baselines: Pairs, pinned: Run | None = None
) -> list[accuracy.TaskAccuracy]:
    """Return the lines of the accuracy panel: the merged experts' tasks, then those that no expert has seen."""
    lines, other = [], pinned.scores if pinned else {}
    for task in (*own, *suite.unseen):
        score = run.scores.get(task) if run else None
        before, alone = baselines.get(task, (None, None))
        count = score.n if score else None
        lines.append(
            accuracy.TaskAccuracy(
                task=task,
                merged=score.accuracy if score else None,
                expert=alone.accuracy(count) if alone else None,
                pretrained=before.accuracy(count) if before else None,
                interval=score.interval if score else None,
                done=score.n if score else 0,
                total=score.total if score else 0,
                seen=task in own,
                title=task,
                pinned=other[task].accuracy if task in other else None,
            )
        )
    return lines if any(v.merged is not None or v.pretrained is not None for v in lines) else []


def status(text: str, *, done: int = 0, total: int = 0, tone: str = "") -> str:
    """Return the value of the status line: words, a bar while `total` is not zero, and a tone (busy, bad, stale)."""
    return json.dumps({"text": text, "done": done, "total": total, "tone": tone})


def spoken(steps: Iterable[Parts], name: str) -> Generator[Parts, None, None]:
    """Yield the parts, and let go at the end of the words they left in a status line, whoever was meant to clear it."""
    words = status("")
    for parts in steps:
        words = parts.get(name, words)
        yield parts
    if words != status(""):
        yield {name: status("")}


def complaint(sentence: str) -> str:
    """Return the value of a status line that says what is wrong, or that nothing is."""
    return status(sentence, tone="bad" if sentence else "")


def answered(session: Session, parts: Parts) -> Parts:
    """Return what an act changed, with the session after it and what was wrong with the input."""
    return {"session": session, "fault": complaint(fault(session)), **parts}


def run_status(run: Run, found_average: float | None) -> str:
    """Return the status line of a run."""
    if run.phase == "merging":
        words = f"Merging: {run.step.label}" if run.step.label else "Merging"
        return status(words + words_left(run), done=run.step.done, total=max(run.step.total, 1), tone="busy")
    pictures, total = (sum(getattr(s, k) for s in run.scores.values()) for k in ("n", "total"))
    if run.phase == "scoring":
        words = f"Scoring: {pictures} of {total} pictures{words_left(run)}" if total else "Scoring"
        return status(words, done=pictures, total=max(total, 1), tone="busy")
    if run.phase == "stopped":
        kept = f"partial result from {pictures} of {total} pictures is kept" if total else "nothing was changed"
        return status(f"Cancelled; {kept}.", tone="stale")
    task_of = load_suite(run.recipe.suite).task_of
    own = sum(score.n for task, score in run.scores.items() if task in {task_of[e] for e in run.recipe.experts})
    score = "" if found_average is None else f": {found_average:.1f} % on average, from {own} test pictures"
    return status(" ".join((f"{'Stored result' if run.stored else 'Done'}{score}.", *run.notes)))


def comparing(run: Run) -> str:
    """Return the status line while the plain average is measured in the background."""
    pictures, total = (sum(getattr(s, k) for s in run.scores.values()) for k in ("n", "total"))
    return status("Scoring the plain average, for comparison", done=pictures, total=max(total, 1), tone="busy")


def stale_status(bench: Workbench, session: Session, follows: bool = False) -> str:
    """Return the status line when the recipe has no result yet; `follows` says that a moved slider has it scored."""
    try:
        wanted = recipe(session)
    except MergeError:
        return status("", tone="stale")
    if bench.merged(wanted) is not None and can_rescale(wanted):
        if follows:
            return status("Merged at another scaling; scoring this one.", tone="busy")
        return status("Merged at another scaling: press Merge to score this one.", tone="stale")
    return status("The recipe changed: press Merge.", tone="stale")


def where(session: Session, depth: int, remark: str = "") -> str:
    """Return the line that says which matrix the panels look at, and why, and lets it be chosen without a mouse."""
    place = f"{session.block}.{session.kind}"
    blocks = menu("block", "Block", {str(b): f"block {b}" for b in range(depth)}, str(session.block), place)
    kinds = menu("kind", "Matrix", {k: k for k in MATRIX_KINDS}, session.kind, place)
    return (
        f'<div class="mp-where"><span>Looking at</span>{blocks}<span>›</span>{kinds}'
        f"<span>{escape(remark or 'Click a cell or a pair to look elsewhere; every panel follows.')}</span></div>"
    )


def task_colors(suite: Suite) -> dict[str, str]:
    """Return the colour of every expert's task."""
    colors = theme.colors(suite.task_of)
    return {task: colors[expert] for expert, task in suite.task_of.items()}
