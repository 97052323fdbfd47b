"""The skeleton of one panel in HTML, and the files that bring it to life."""

from __future__ import annotations

from html import escape
from string import Template

from . import sheet

STYLES = tuple(f"assets/css/{name}.css" for name in ("fonts", "tokens", "panel", "routes", "window"))
LETTERS = tuple(f"assets/fonts/IBMPlexSans-{weight}-Latin1.woff2" for weight in ("Regular", "SemiBold"))
SCRIPTS = (
    "assets/vendor/plotly-cartesian.min.js",
    "assets/js/views.js",
    "assets/js/theme.js",
    "assets/js/room.js",
    "assets/js/turns.js",
    "assets/js/marks.js",
    "assets/js/picture.js",
    "assets/js/sheets.js",
    "assets/js/tools.js",
    "assets/js/keys.js",
    "assets/js/film.js",
    "assets/js/panel.js",
)
PANEL = """<figure class="ms-panel" data-panel="${panel}">
<figcaption><div class="ms-head"><h3 role="heading" aria-level="2">${title}</h3><div class="ms-tools"></div></div>
<p class="ms-about"></p></figcaption>
<div class="ms-views" role="group" aria-label="Views"></div>
<div class="ms-film" hidden></div>
<div class="ms-empty" style="min-height:min(${height}px, 150px)" hidden></div>
<div class="ms-plot" role="group" tabindex="0" aria-label="${aria}" style="--ms-height:${height}px"></div>
<p class="ms-note" hidden></p>
<details class="ms-data" hidden><summary>Data table</summary>
<div class="ms-table" tabindex="0" role="region" aria-label="Data table"></div></details>
<div class="ms-live" aria-live="polite"></div>
</figure>"""


def letters(prefix: str) -> str:
    """Return the tags that fetch from `prefix`, before anything is drawn, the letters that every page needs."""
    return "".join(
        f'<link rel="preload" as="font" type="font/woff2" crossorigin href="{prefix}{name}">' for name in LETTERS
    )


def head(prefix: str) -> str:
    """Return the tags that load styles and scripts from `prefix`."""
    links = "".join(f'<link rel="stylesheet" href="{prefix}{name}">' for name in STYLES)
    return links + "".join(f'<script src="{prefix}{name}"></script>' for name in SCRIPTS)


def preload(prefix: str) -> str:
    """Return the tags that have the browser fetch these scripts before they are asked for."""
    return "".join(f'<link rel="preload" as="script" href="{prefix}{name}">' for name in SCRIPTS)


def fill(**words: object) -> str:
    """Return the skeleton with its words; needs panel, title, aria and height."""
    return Template(PANEL).substitute({key: escape(str(value)) for key, value in words.items()})


def frame(panel: str, title: str, about: str, inner: str, table: sheet.Table | None = None) -> str:
    """Return a panel of HTML around `inner`, which is HTML already; the words are escaped.

    `table` are its numbers as (columns, rows), to be read as a data table and saved.
    """
    said = f'<p class="ms-about">{escape(about)}</p>' if about else ""
    tools, data = (sheet.SAVE, sheet.html(table)) if table else ("", "")
    return (
        f'<section class="ms-panel" data-panel="{escape(panel, quote=True)}"><div class="ms-head">'
        f'<h3 role="heading" aria-level="2">{escape(title)}</h3>{tools}</div>{said}{inner}{data}</section>'
    )
