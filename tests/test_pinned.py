"""A pinned run on the toy suite: every panel of the page shows it beside the run on the page, or says why it cannot."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import draw_plain_maps

from merge_engine.maths.svd import SvdStore
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from viz.page import acts, library, view
from viz.page.adapting import learned, moving
from viz.page.compare import comparison
from viz.page.compare.beside import beside
from viz.page.compare.compares import Compares
from viz.page.drill import drill
from viz.page.drill.knocked import Knocked
from viz.page.inputs import sight
from viz.page.landscape.ground import Ground
from viz.page.landscape.landscape import Landscape
from viz.page.layout import Page
from viz.page.listeners import Listeners
from viz.page.own import looks, yours
from viz.page.record import Run
from viz.page.session import Session
from viz.page.sweep import sweeping
from viz.page.weights import lenses
from viz.page.workbench import Workbench, paced

GOING = lambda: True  # noqa: E731
METHODS = {
    "task_arithmetic": {}, "average": {}, "tall_mask": {}, "sim": {"examples": 8, "rank": 4}, "mass": {},
    "we_moe": {"steps": 3, "batch": 4}, "e_we_moe": {"steps": 2, "batch": 4},
    "adamerging": {"steps": 2, "batch": 2}, "adarank": {"steps": 3, "batch": 2, "mask_rate": 0.5, "base": "cart"},
    "twin_merging": {"examples": 8, "epochs": 2, "rank_share": 0.2},
}  # fmt: skip
# Panels of stored studies, which the toy suite has none of: one part speaks for all of them.
STUDIES = {name: "studied" for name in ("spoiled", "surer", "options", "luck")}
PANELS = sorted(f.name for f in dataclasses.fields(Page) if f.type == "PlotlyPanel")
HTML = ("gallery", "why", "flips", "differing", "replies", "yours_why", "runs")
WHOLE = [("sim", "mass"), ("task_arithmetic", "average"), ("task_arithmetic", "average of two"), ("tall_mask", "sim")]
PAIRS = [  # the run on the page, and the one pinned as A; of the first few the whole page is drawn
    *WHOLE, ("adarank", "adamerging"), ("adamerging", "sim"), ("task_arithmetic", "adarank"), ("we_moe", "e_we_moe"),
    ("we_moe", "average"), ("sim", "we_moe"), ("twin_merging", "twin_merging at 1.0"), ("twin_merging", "sim"),
    ("sim", "twin_merging"),
]  # fmt: skip


@dataclass
class Site:
    """A workbench with finished runs by name, and the listeners of a page whose components are their own names."""

    bench: Workbench
    runs: dict[str, Run]
    on: Listeners
    landscape: Landscape
    knocked: Knocked


@pytest.fixture(scope="module")
def site(toy_suite) -> Site:
    looks.looks.cache_clear()
    bench = Workbench(memory=1 << 32, svd=SvdStore(folder=None))
    draw_plain_maps(bench)
    list(bench.record.baseline_steps("toy", None, lambda: True))
    experts = load_suite("toy").experts
    wanted = {name: Recipe("toy", experts, name, given) for name, given in METHODS.items()}
    more = METHODS["twin_merging"] | {"rank_share": 1.0}
    wanted["twin_merging at 1.0"] = Recipe("toy", experts, "twin_merging", more)
    wanted["average of two"] = Recipe("toy", experts[:2], "average")
    runs = {name: finished(bench, recipe) for name, recipe in wanted.items()}
    page = Page(**{field.name: field.name for field in dataclasses.fields(Page)})
    return Site(bench, runs, Listeners(page, bench), Landscape(bench), Knocked(bench))


def finished(bench: Workbench, recipe: Recipe) -> Run:
    *_, last = paced(bench.run(recipe), pause=0)
    return last


def session_of(site: Site, own: str, a: str = "", b: str = "") -> Session:
    """Return a visitor who looks at an input and a picture of their own, at a run, with some runs pinned."""
    session = acts.first_session(("toy",), {})[0]
    link = {which: site.runs[name].recipe.to_link() if name else "" for which, name in (("a", a), ("b", b))}
    pins = dataclasses.replace(comparison.remembered(session.comparison, *link.values()), **link)
    recipe = site.runs[own].recipe
    session = acts.state.load(session, recipe, load_suite("toy").experts)
    number = site.bench.insight.yours.keep(load_suite("toy").pictures("blob", "score")[3])
    inputs = dataclasses.replace(session.inputs, chosen="blob:3", yours=number)
    ground = Ground(pictures=8, detail=6)
    return dataclasses.replace(session, comparison=pins, inputs=inputs, ground=ground, knocked=("stripes",))


def merge_tab(site: Site, session: Session, shown: str) -> Iterator[dict]:
    """Yield the parts of the first tab."""
    bench = site.bench
    yield view.answer_parts(bench, session, bench.record.shown(shown))
    yield from learned.learned_steps(bench, session, f"{shown} whole", GOING)
    yield from lenses.lens_steps(bench, site.on.looks.focus(session, shown), GOING, set())


def other_tabs(site: Site, session: Session, shown: str) -> Iterator[dict]:
    """Yield the parts of the collisions, where something is knocked out, and of all other tabs."""
    bench, base = site.bench, drill.base_of(site.bench, session, shown)
    assert base is not None
    list(site.knocked.run(base, session.knocked))
    yield from drill.drill_steps(bench, site.knocked, session, shown, GOING)
    yield from sight.sight_steps(bench, session, shown, GOING)
    yield from sight.eye_steps(bench, site.knocked, session, shown, GOING)
    yield from yours.yours_steps(bench, session, shown, GOING)
    yield from Compares(site.on.page, site.on).show(session, shown, "")
    pinned = beside(bench.record, session, shown)
    yield library.methods(session, pinned) | sweeping.tab_parts(bench, session, shown)
    list(site.landscape.steps(session, shown, GOING))
    yield {f"land_{name}": drawn for name, drawn in site.landscape.at_hand(session, shown).items()}


def everything(site: Site, session: Session, shown: str, whole: bool) -> dict[str, str]:
    """Return what every part of the page shows in the end, as the texts that the browser gets; None where hidden."""
    parts: dict = {}
    for tab in (merge_tab, other_tabs) if whole else (merge_tab,):
        for each in tab(site, session, shown):
            parts |= each if "__type__" not in each else {}
    return {name: value.to_json() if hasattr(value, "to_json") else value for name, value in parts.items()}


pytestmark = pytest.mark.timeout(1200)  # all runs are merged once


@pytest.fixture(scope="module")
def seen(site) -> dict[tuple[str, str], tuple[dict, dict]]:
    """All parts of the page of a run alone and beside a pinned one, by pair."""
    found, alone = {}, {}
    for own, other in PAIRS:
        shown, whole = site.runs[own].recipe.digest, (own, other) in WHOLE
        if own not in alone:  # pairs that draw the whole page come first
            alone[own] = everything(site, session_of(site, own), shown, whole)
        found[own, other] = alone[own], everything(site, session_of(site, own, other, own), shown, whole)
    return found


def meta(text: str) -> list[dict]:
    """Return the words of all views of a figure."""
    payload = json.loads(text)
    return [figure["layout"]["meta"] for figure in (payload.get("views") or {"": payload}).values()]


@pytest.mark.parametrize("name", [*PANELS, *HTML])
def test_no_panel_is_silent_about_a_pinned_run(site, seen, name):
    """Another figure, other data, or a caption: and every panel of the page has to be drawn here to be judged."""
    part, drawn = STUDIES.get(name, name), 0
    for pair, (alone, both) in seen.items():
        if both.get(part):
            assert both[part] != alone.get(part), (name, pair)
            assert "A" in both[part]
            drawn += 1
    assert drawn, f"no scenario draws the panel {name}: add one to PAIRS, or what draws it to `everything`"


def test_whatever_is_a_panel_is_judged(seen):
    written = {name for _, both in seen.values() for name, text in both.items() if "data-panel=" in str(text)}
    assert written == set(HTML)


@pytest.mark.parametrize("pair", PAIRS, ids=" beside ".join)
def test_a_panel_that_draws_one_run_alone_says_whose_it_is(seen, pair):
    alone, both = seen[pair]
    for name in (*learned.PANELS, *moving.PANELS):
        if both.get(name) and not alone.get(name):
            for words in meta(both[name]):
                assert words["title"].startswith("A: "), name
                assert "This is A alone: the run on the page" in words["aside"]
                assert all(title.startswith("A: ") for title in words.get("film", {}).get("titles", ()))
