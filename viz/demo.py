"""Show panels without a server: a page of their own, from the same assets as the app."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import webbrowser
from pathlib import Path

from . import markup
from .panel import draw, write

ROOT = Path(__file__).resolve().parent.parent
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>MergeScope panels</title>{head}
<style>body{{margin:24px auto;max-width:760px;padding:0 12px;font-family:system-ui,sans-serif;
background:var(--ms-surface)}}
.ms-panel{{margin-bottom:24px}}</style>
<body>{panels}
<script>
document.body.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
for (const [id, props] of {props})
  MergeScope.mount(document.getElementById(id), props, (name, data) => console.log(name, data), () => {{}});
</script></body></html>
"""


def page(*names: str) -> str:
    """Return a complete HTML page with the demonstrations of the named panels; it reads assets from this checkout."""
    panels, props = "", []
    for name in names:
        module = importlib.import_module(f"viz.panels.{name}")
        if hasattr(module, "html"):
            panels += write(module, module.demo())
            continue
        words = {
            "panel": name,
            "title": module.TITLE,
            "about": module.ABOUT,
            "empty": module.EMPTY,
            "height": 300,
        }
        panels += f'<div id="{name}">{markup.fill(aria=module.TITLE, **words)}</div>'
        props.append([name, {**words, "value": draw(module, module.demo()).to_json()}])
    return _PAGE.format(head=markup.head(f"{ROOT.as_uri()}/"), panels=panels, props=json.dumps(props))


def show(*names: str) -> None:
    """Write the demonstration of panels and open it; its address is printed for a machine without a browser."""
    path = Path(tempfile.mkdtemp(prefix="mergescope-")) / "panels.html"
    path.write_text(page(*names))
    print(path.as_uri())
    if sys.stdout.isatty():
        webbrowser.open(path.as_uri())
