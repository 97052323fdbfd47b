"""MergeScope in the browser: `python app.py`, then open the address it prints."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Gradio sums up all its requests with pandas after each of them, 30 ms of the processor, for a page that is off here.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))

from pathlib import Path
from threading import Thread
from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import Font
from gradio.themes.utils.sizes import Size
from starlette.middleware import Middleware

from merge_engine.devices import VARIABLE, fastest
from viz.page.acts import lost_session
from viz.page.api import Api
from viz.page.events import wire
from viz.page.layout import build_page
from viz.page.opening import Opening
from viz.page.plotly_panel import STATIC
from viz.page.served import Served
from viz.page.sparing import SparingBlocks
from viz.page.warm import warm_up
from viz.page.workbench import Workbench

HERE = Path(__file__).resolve().parent
TEXT = [Font(name) for name in ("IBM Plex Sans", "MergeScope Math", "system-ui", "sans-serif")]
STYLES = ("tokens", "page", "card", "collide", "compare", "sweep", "yours", "landscape")
CODE = [Font(name) for name in ("ui-monospace", "Menlo", "Consolas", "monospace")]
# Gradio's own sizes of letters, from xxs to xxl, in steps of assets/css/tokens.css.
STEPS = Size(*(f"var(--step-{step})" for step in (1, 2, 2, 3, 4, 5, 6)))


def build_demo(bench: Workbench | None = None) -> gr.Blocks:
    """Build the page on a workbench."""
    gr.set_static_paths([HERE / path for path in (*STATIC, "assets/icon.svg")])
    with SparingBlocks(title="MergeScope", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        bench = bench or Workbench()
        Api(bench).publish()
        wire(build_page(lost_session()), bench, demo)
    return demo.queue(max_size=64)


def launch_settings(opening: Opening) -> dict[str, Any]:
    """Return how the page is served: its opening at once, nothing external, nothing recorded, little kept."""
    return {
        "theme": gr.themes.Base(font=TEXT, font_mono=CODE, text_size=STEPS),
        "app_kwargs": {"middleware": [Middleware(Served, opening=opening)]},
        "css_paths": [HERE / f"assets/css/{name}.css" for name in STYLES],
        "favicon_path": HERE / "assets/icon.svg",
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": ["api", "settings"],
        "max_file_size": "1mb",
        "state_session_capacity": 50,
        "show_error": False,
    }


if __name__ == "__main__":
    os.chdir(HERE)
    os.environ.setdefault(VARIABLE, fastest())
    bench, opening = Workbench(), Opening()
    Thread(target=warm_up, args=(bench, opening), daemon=True).start()
    build_demo(bench).launch(**launch_settings(opening))
