"""Where everything is on the page. No event is wired here, and nothing heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import gradio as gr

from viz.panels import (
    accuracy,
    apart,
    collisions,
    differences,
    entropy_study,
    histogram,
    interference,
    manifold,
    method_table,
    overlap,
    overlap_depth,
    repeats,
    robustness,
    run_costs,
    sides,
    spectrum,
    sweep_curve,
    sweep_plane,
    variants,
    vectors,
)

from .adapting import learned
from .adapting.moving import PANELS
from .landscape import landscapes
from .own.pad import Pad, yours_parts
from .plotly_panel import PlotlyPanel
from .session import Session
from .widget import Link, OpenTab, Signal, Status, Widget

BRAND = (
    '<div class="mp-brand"><img src="gradio_api/file=assets/icon.svg" alt="" width="34" height="34">'
    "<div><h1>MergeScope</h1><p>See what happens when models are merged.</p></div></div>"
)
SIGNALS = {
    "focus": "merge", "sight": "inputs", "eye": "inputs", "compared": "compare",
    "drill": "", "without": "", "seen": "", "sweep_next": "",
}  # by the tab that has to be open for what follows from them; empty where any may be
INTRO = (
    '<dl class="mp-headline"><div class="mp-tile mp-main mp-waiting"><dt>merged model</dt>'
    "<dd><b>opening the suite …</b><small>experts, pictures and what is known about them</small></dd></div></dl>"
)


@dataclass(frozen=True)
class Page:
    """The components of the page by name."""

    session: gr.State
    shown: gr.State
    focus: Signal
    tabs: gr.Tabs
    suites: Widget
    link: Link
    experts: Widget
    method: Widget
    card: Widget
    running: Widget
    form: Widget
    post: Widget
    post_card: Widget
    post_running: Widget
    post_form: Widget
    cost: Widget
    merge: gr.Button
    cancel: gr.Button
    fault: Status
    status: Status
    preparing: Status
    news: Signal
    headline: Widget
    measured: Widget
    accuracy: PlotlyPanel
    curve: PlotlyPanel
    routes: PlotlyPanel
    layers: PlotlyPanel
    learned: Signal
    masks: PlotlyPanel
    coefficients: PlotlyPanel
    route_steps: PlotlyPanel
    energy: PlotlyPanel
    ranks: PlotlyPanel
    where: Widget
    measuring: Status
    metrics: Widget
    interference: PlotlyPanel
    drill: Signal
    without: Signal
    collisions: PlotlyPanel
    knock: Widget
    vectors: PlotlyPanel
    knocking: Status
    flips: Widget
    spectrum: PlotlyPanel
    overlap: PlotlyPanel
    depths: PlotlyPanel
    histogram: PlotlyPanel
    inputs: gr.Tab
    sight: Signal
    eye: Signal
    narrow: Widget
    gallery: Widget
    looking: Status
    map: PlotlyPanel
    asking: Status
    why: Widget
    pins: Widget
    pinned: OpenTab
    seen: Signal
    compared: Signal
    compare: gr.Tab
    runs: Widget
    costs: PlotlyPanel
    comparing: Status
    verdict: Widget
    sides: PlotlyPanel
    apart: PlotlyPanel
    differences: PlotlyPanel
    differing: Widget
    yours: Signal
    pad: Pad
    replies: Widget
    replying: Status
    yours_why: Widget
    landscape: gr.Tab
    ground: Widget
    survey: gr.Button
    halt: gr.Button
    surveying: Status
    land_plane: PlotlyPanel
    land_line: PlotlyPanel
    land_map: PlotlyPanel
    scatter: PlotlyPanel
    sweeps: gr.Tab
    sweep_next: Signal
    sweep_bar: Widget
    sweep_cost: Widget
    sweep_start: gr.Button
    sweep_stop: gr.Button
    sweeping: Status
    sweep_curve: PlotlyPanel
    sweep_plane: PlotlyPanel
    methods: gr.Tab
    table: Widget
    studied: Widget
    spoiled: PlotlyPanel
    surer: PlotlyPanel
    options: PlotlyPanel
    luck: PlotlyPanel
    about_tab: gr.Tab
    about: Widget

    def fill(self, parts: dict[str, Any]) -> dict[Any, Any]:
        """Return the update of some components from their parts by name."""
        return {getattr(self, name): value for name, value in parts.items()}

    def some(self, *names: str) -> list[Any]:
        """Return components by name."""
        return [getattr(self, name) for name in names]

    def everything(self) -> list[Any]:
        """Return all components."""
        return [getattr(self, f.name) for f in fields(self)]


def build_page(lost: Session) -> Page:
    """Create all components inside the current Blocks; `lost` stands in for a session that the server let go of."""
    parts: dict[str, Any] = {"session": gr.State(lost), "shown": gr.State("")}
    parts |= {name: Signal(tab=tab, elem_id=f"mp-{name}") for name, tab in SIGNALS.items()}
    parts["pinned"] = OpenTab(elem_id="mp-pinned")
    with gr.Row(elem_id="mp-header"):
        gr.HTML(BRAND, apply_default_css=False, elem_id="mp-brand")
        parts["suites"] = Widget(elem_id="mp-suites")
        parts["link"] = Link(elem_id="mp-link")
    with gr.Tabs(elem_id="mp-tabs", overflow_behavior="wrap") as parts["tabs"]:
        with gr.Tab("Merge", id="merge"), gr.Row(elem_id="mp-desk", equal_height=False):
            with gr.Column(elem_id="mp-controls", min_width=300):
                parts |= _controls()
            with gr.Column(elem_id="mp-answer", min_width=300):
                parts |= _answer()
        with gr.Tab("Sweep", id="sweep") as parts["sweeps"]:
            parts |= _sweep()
        with gr.Tab("Inputs", id="inputs") as parts["inputs"]:
            parts |= _inputs()
        with gr.Tab("Compare", id="compare") as parts["compare"]:
            parts |= _compare()
        with gr.Tab("Landscape", id="landscape") as parts["landscape"]:
            parts |= landscapes.components()
        with gr.Tab("All methods", id="methods") as parts["methods"]:
            parts["scatter"] = _panel(method_table)
            parts["table"] = Widget(elem_id="mp-table")
            parts["studied"] = Widget(elem_id="mp-studied")
            parts["spoiled"] = _panel(robustness, "mp-if-known")
            parts["options"] = _panel(variants, "mp-if-known")
            parts["luck"] = _panel(repeats, "mp-if-known")
            parts["surer"] = _panel(entropy_study, "mp-if-known")
        with gr.Tab("About", id="about") as parts["about_tab"]:
            parts["about"] = Widget(elem_id="mp-about")
    parts["pins"] = Widget(elem_id="mp-pins")
    return Page(**parts)


def _controls() -> dict[str, Any]:
    parts: dict[str, Any] = {"experts": Widget(elem_id="mp-experts")}
    with gr.Column(elem_id="mp-recipe"):
        for name in ("method", "card", "form", "running", "post", "post_card", "post_form", "post_running"):
            parts[name] = Widget(elem_id=f"mp-{name.replace('_', '-')}-box")
    with gr.Column(elem_id="mp-go"):
        parts["cost"] = Widget(elem_id="mp-cost")
        with gr.Row(elem_id="mp-buttons"):
            parts["merge"] = gr.Button("Merge", variant="primary", elem_id="mp-merge")
            parts["cancel"] = gr.Button("Cancel", interactive=False, elem_id="mp-cancel")
    return parts


def _answer() -> dict[str, Any]:
    parts: dict[str, Any] = {"headline": Widget(INTRO, elem_id="mp-headline"), "news": Signal(elem_id="mp-news")}
    parts["measured"] = Widget(elem_id="mp-measured")
    with gr.Row(elem_id="mp-lines"):
        with gr.Column(elem_id="mp-status", min_width=0):
            parts |= {"fault": Status(elem_id="mp-fault"), "status": Status(elem_id="mp-words")}
        parts["preparing"] = Status(elem_id="mp-preparing")
    with gr.Row(elem_id="mp-place"):
        parts["where"] = Widget(elem_id="mp-where")
        parts["measuring"] = Status(elem_id="mp-measuring")
    with gr.Row(elem_classes="mp-panels"):
        with gr.Column(elem_classes="mp-stack"):
            parts["accuracy"] = _panel(accuracy, "mp-result")
            parts |= {name: _panel(module, "mp-if-known mp-result") for name, module in PANELS.items()}
            for name, module in (("spectrum", spectrum), ("depths", overlap_depth), ("overlap", overlap)):
                parts[name] = _panel(module)
        with gr.Column(elem_classes="mp-stack"):
            parts["learned"] = Signal(tab="merge", elem_id="mp-learned")
            parts |= {name: _panel(module, "mp-if-known mp-result") for name, module in learned.PANELS.items()}
            with gr.Column(elem_classes="mp-panel", elem_id="mp-interference"):
                parts["metrics"] = Widget(elem_id="mp-metrics")
                parts["interference"] = _panel(interference)
            parts |= _drill()
            parts["histogram"] = _panel(histogram)
    return parts


def _drill() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Column(elem_classes="mp-panel", elem_id="mp-collide"):
        parts["collisions"] = _panel(collisions)
        parts["knock"] = Widget(elem_id="mp-knock")
        parts["knocking"] = Status(elem_id="mp-knocking")
        parts["flips"] = Widget(elem_id="mp-flips", elem_classes="mp-result")
        parts["vectors"] = _panel(vectors)
    return parts


def _sweep() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Column(elem_classes="mp-desk"):
        parts |= {name: Widget(elem_id=f"mp-{name.replace('_', '-')}") for name in ("sweep_bar", "sweep_cost")}
        with gr.Row(elem_id="mp-sweep-buttons"):
            parts["sweep_start"] = gr.Button("Start", variant="primary", elem_id="mp-sweep-start")
            parts["sweep_stop"] = gr.Button("Stop", interactive=False, elem_id="mp-sweep-stop")
        parts["sweeping"] = Status(elem_id="mp-sweeping")
    with gr.Row(elem_classes="mp-panels"):
        for module in (sweep_curve, sweep_plane):
            name = module.__name__.rpartition(".")[2]
            parts[name] = _panel(module, "mp-if-known")
    return parts


def _inputs() -> dict[str, Any]:
    parts: dict[str, Any] = yours_parts() | {"narrow": Widget(elem_id="mp-narrow")}
    with gr.Row(elem_classes="mp-panels"):
        with gr.Column(elem_classes="mp-stack"):
            parts["gallery"] = Widget(elem_id="mp-gallery", elem_classes="mp-result")
        with gr.Column(elem_classes="mp-stack", elem_id="mp-map"):
            parts["map"] = _panel(manifold, "mp-if-known mp-result")
            parts["looking"] = Status(elem_id="mp-looking")
        with gr.Column(elem_classes="mp-stack mp-whole"):
            parts["why"] = Widget(elem_id="mp-why", elem_classes="mp-result")
            parts["asking"] = Status(elem_id="mp-asking")
    return parts


def _compare() -> dict[str, Any]:
    parts: dict[str, Any] = {"runs": Widget(elem_id="mp-runs"), "comparing": Status(elem_id="mp-comparing")}
    parts["verdict"] = Widget(elem_id="mp-verdict")
    with gr.Row(elem_classes="mp-panels"):
        with gr.Column(elem_classes="mp-stack"):
            parts["sides"] = _panel(sides, "mp-if-known")
            parts["differences"] = _panel(differences, "mp-if-known")
            parts["costs"] = _panel(run_costs)
        with gr.Column(elem_classes="mp-stack"):
            parts["differing"] = Widget(elem_id="mp-differing")
            parts["apart"] = _panel(apart)
    return parts


def _panel(module: ModuleType, style: str = "") -> PlotlyPanel:
    name = module.__name__.rpartition(".")[2].replace("_", "-")
    return PlotlyPanel.of(module, height=300, elem_id=f"panel-{name}", elem_classes=style)
