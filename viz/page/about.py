"""Words about a suite: its card, where its pictures come from, and how scores are made."""

from __future__ import annotations

from html import escape

from merge_engine.suite import Suite

from .headline import size
from .record import model_size

SHORT = """
<p>An <em>expert</em> is one pretrained model, fine-tuned on one task; what fine-tuning changed in its weights is its
<em>task vector</em>. Merging combines the task vectors of several experts into a single model that should do all of
their tasks, without training it again. Where experts pull the same weights in different directions they interfere and
accuracy is lost; the panels show where.</p>
"""

SCORES = """
<h2>How the numbers are made</h2>
<p>Every task has pictures that no expert was trained on. Half of them are the <em>score half</em>; accuracies are
top-1 accuracies there, but for sweeps and landscapes, which use validation pictures. While a merge is being scored, the
page shows an estimate from the pictures seen so far with a 95 % interval, which tightens until every picture is
scored.</p>
<p>The pretrained model, the experts and the merged model are compared on the same pictures, with the same frozen class
vectors. Normalised accuracy is the mean over tasks of the merged accuracy divided by the expert's own. Settings in the
table of all methods were chosen on a validation split of the training pictures, never on test pictures. Methods marked
as a ceiling are told which task a picture belongs to.</p>
<p>An expert here <em>is</em> the pretrained model plus its stored task vector, 8 bits an entry; every number is
measured on that model. Chance levels in the panels are what random directions or random signs would show.</p>
"""


def about(suite: Suite) -> str:
    """Return the tab about a suite as HTML."""
    counts = (
        f"{len(suite.experts)} experts of one {escape(suite.backbone_name)} backbone with {size(model_size(suite))} "
        f"parameters; {len(suite.seen)} tasks with an expert and {len(suite.unseen)} that no expert has seen."
    )
    return (
        f'<article class="mp-prose"><h2>What merging is</h2>{SHORT}'
        f"<h2>{escape(suite.title)}</h2><p>{counts}</p>{SCORES}"
        f"<h2>Tasks, sources and licences</h2>{_tasks(suite)}{_card(suite)}</article>"
    )


def _tasks(suite: Suite) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(t.title)}</th><td>{len(t.classes)}</td><td>{escape(t.source)}</td>'
        f"<td>{escape(t.licence)}</td><td>{'yes' if t.seen else 'no'}</td></tr>"
        for t in suite.tasks.values()
    )
    head = "".join(f'<th scope="col">{h}</th>' for h in ("task", "classes", "source", "licence", "expert"))
    table = f'<table class="mp-plain"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="mp-scroll" tabindex="0" role="region" aria-label="Tasks and sources">{table}</div>'


def _card(suite: Suite) -> str:
    """The suite's own card and notice, as written."""
    files = [file for name in ("CARD.md", "NOTICE") if (file := suite.folder / name).is_file()]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    return "".join(
        f"<details><summary>{name} of the suite</summary><pre>{escape(text)}</pre></details>"
        for name, text in texts.items()
    )
