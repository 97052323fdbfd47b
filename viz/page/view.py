"""What every part of the page shows for a session and a run, by the name of the part. Knows no Gradio."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterable, Mapping
from html import escape
from typing import Any

from merge_engine.errors import MergeError
from merge_engine.evaluate import Score
from merge_engine.methods import method_class
from merge_engine.problem import MATRIX_KINDS
from merge_engine.suite import Suite, load_suite, suite_folders
from viz.panel import Drawing, draw
from viz.panels import accuracy

from . import cards, controls, presets, strip
from .adapting.gained import gained
from .adapting.learned import word_of
from .adapting.moving import moving_parts
from .colors import task_colors
from .compare.beside import UNMEASURED, Beside, beside
from .compare.tray import tray_parts
from .compare.visit import seen_part
from .cost_line import cost_line
from .headline import answer, headline
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
    given, experts = parameters(session, session.method), len(session.experts)
    after = (session.post, parameters(session, session.post), experts) if session.post else None
    return {
        "card": cards.method_card(session.method, given, experts),
        "running": method_notes(bench, session),
        "post_card": cards.method_card(*after) if after else "",
        "post_running": cards.method_notes(*after) if after else "",
        "cost": cost_line(bench, session),
        "link": link(session),
    }


def method_notes(bench: Workbench, session: Session) -> str:
    """Return what stands below the method's controls, with what it learned where a run of this recipe is known."""
    learned = ""
    with contextlib.suppress(MergeError):
        adapts = "stream" in method_class(session.method).needs
        learned = gained(bench.history(recipe(session))) if adapts else ""
    return cards.method_notes(session.method, parameters(session, session.method), len(session.experts), learned)


def method_form(session: Session, owner: str) -> str:
    """Return the controls of a method or post-step between the buttons of its settings and what is said of those."""
    body = controls.form(owner, parameters(session, owner), session.experts)
    buttons, said = _roads(session, owner)
    return f'<div class="mp-form" data-drawn="{session.drawn}">{buttons}{body}{said}</div>'


def _roads(session: Session, owner: str) -> tuple[str, str]:
    """Return the buttons of the settings; and what is to be said of the present one, and why a road is missing."""
    known = presets.roads(session, owner)
    now = next((each for each in known.settings if presets.taken(session, each)), None)
    buttons = "".join(
        f'<button type="button" data-emit="preset" data-owner="{escape(owner)}" data-name="{escape(each.name)}" '
        f'aria-pressed="{str(each is now).lower()}">{escape(each.words)}</button>'
        for each in known.settings
    )
    group = f'<div class="mp-presets" role="group" aria-label="Settings">{buttons}</div>' if buttons else ""
    remark = f'<p class="mp-remark" role="note">{escape(now.remark)}</p>' if now and now.remark else ""
    reasons = "".join(f"<p>{escape(road.capitalize())}: {escape(why)}</p>" for road, why in known.missing.items())
    why = f"<summary>Why there is no {escape(' and no '.join(known.missing))}</summary>{reasons}" if reasons else ""
    folded = f"<details{'' if buttons else ' open'}>{why}</details>" if why else ""
    return group, f'<div class="mp-roads">{remark}{folded}</div>' if remark or folded else ""


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


def answer_parts(bench: Workbench, session: Session, run: Run | None) -> Parts:
    """Return the headline and the panels of a run's accuracy, or of the baselines alone."""
    pinned = beside(bench.record, session, run.recipe.digest if run else "")
    words, average = headline_part(bench, session, run, pinned)
    return {
        "headline": words,
        "measured": measured(run),
        "accuracy": accuracy_panel(bench, session, run, pinned),
        "learned": word_of(run) if run else "",
        **tray_parts(session, run, pinned),
        **seen_part(run),
        **moving_parts(bench, session, run, pinned, average),
    }


def headline_part(
    bench: Workbench, session: Session, run: Run | None, pinned: Beside | None = None
) -> tuple[str, float | None]:
    """Return the headline of a run, or of the baselines alone, and the accuracy of the plain average in it."""
    suite = load_suite(session.suite)
    experts, own = run.recipe.experts if run else session.experts, _own_tasks(suite, run, session)
    found = answer(run, own, bench.record.baselines(session.suite))
    plain = bench.record.average(session.suite, experts) if experts else None
    average = answer(plain, own, {}).average if plain else None
    return headline(run, found, average, model_size(suite), _tile(pinned, own)), average


def _tile(pinned: Beside | None, own: list[str]) -> tuple[str, float | None]:
    """Return the letter of the pinned run and its average over the tasks of the run on the page, where it has one."""
    return (pinned.letter, answer(pinned.run, own, {}).average) if pinned else ("", None)


def accuracy_panel(bench: Workbench, session: Session, run: Run | None, pinned: Beside | None) -> Drawing:
    """Return accuracy per task of a run, or of the baselines alone, beside the pinned one."""
    suite = load_suite(session.suite)
    scores = pinned.run.scores if pinned and pinned.run else {}
    data = accuracy_data(suite, run, _own_tasks(suite, run, session), bench.record.baselines(session.suite), scores)
    aside = UNMEASURED.format(pinned.letter) if pinned and not scores else ""
    return draw(accuracy, data, colors=task_colors(suite), letter=pinned.letter if pinned else "A", aside=aside)


def _own_tasks(suite: Suite, run: Run | None, session: Session) -> list[str]:
    """Return the tasks of a run's experts, or of those that are chosen."""
    experts = run.recipe.experts if run else session.experts
    return list(dict.fromkeys(suite.task_of[e] for e in experts if e in suite.task_of))


def accuracy_data(
    suite: Suite, run: Run | None, own: list[str], baselines: Pairs, other: Mapping[str, Score]
) -> list[accuracy.TaskAccuracy]:
    """Return the lines of the accuracy panel: the merged experts' tasks, then those that no expert has seen.

    `other` are the scores of the pinned run.
    """
    lines = []
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
                pinned_interval=other[task].interval if task in other else None,
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


def waiting(ahead: int) -> str:
    """Return the value of a status line while something waits its turn behind what so many others compute."""
    behind = f" behind {ahead} other{'s' if ahead > 1 else ''}" if ahead else ""
    return status(f"Waiting for a free place{behind} …", tone="busy")


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
