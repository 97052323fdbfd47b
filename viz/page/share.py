"""The buttons that go back and on, and the one that copies the address of what is on the page."""

from __future__ import annotations

import os
from html import escape

from .session import KEYS, Session, digest, query

SPACE = "SPACE_ID"  # set by Hugging Face: owner/name of the Space that the app runs in


def link(session: Session) -> str:
    """Return the buttons, with what the browser has to know.

    That is the session's words for the address and all of their names, the latest address that was opened, the digest
    of the recipe, and the Space that shows the app.
    """
    steps = "".join(
        f'<button type="button" class="mp-copy" data-{act} disabled aria-label="{label}" title="{label} ({keys})">'
        f"{sign}</button>"
        for act, label, keys, sign in (("undo", "Undo", "Ctrl+Z", "↶"), ("redo", "Redo", "Ctrl+Shift+Z", "↷"))
    )
    told = {
        "query": query(session), "keys": " ".join(KEYS), "turn": session.turn, "recipe": digest(session),
        "space": os.environ.get(SPACE, ""),
    }  # fmt: skip
    words = " ".join(f'data-{name}="{escape(text, quote=True)}"' for name, text in told.items())
    return (
        f'<span class="mp-history">{steps}<button type="button" class="mp-copy" data-copy {words}>'
        "<span aria-live=polite>Copy link</span></button></span>"
    )
