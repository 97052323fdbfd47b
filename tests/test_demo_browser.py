"""Panels of routed and adaptive merges in Chromium, on the demonstration page, without a server."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil

import numpy as np
import pytest

import viz.panels
from viz import demo, swept
from viz.panel import draw

NAMES = [m.name for m in pkgutil.iter_modules(viz.panels.__path__)]
SAVED = """async () => {
  const found = [];
  for (const panel of MergeScope.panels) {
    panel.meta.title += " in words that go on and on".repeat(4);
    const address = await MergeScope.picture(panel, "svg");
    const sheet = document.createElement("div");
    sheet.innerHTML = decodeURIComponent(address.slice(address.indexOf(",") + 1));
    document.body.append(sheet);
    const svg = sheet.querySelector("svg"), frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
    found.push({
      width: frame.width, words: boxes.length, heading: svg.querySelectorAll(".gtitle tspan").length,
      paper: getComputedStyle(svg.querySelector("rect")).fill, font: svg.outerHTML.includes("Helvetica"),
      inside: boxes.every((box) => box.left >= frame.left - 1 && box.right <= frame.right + 1
        && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1),
    });
    sheet.remove();
  }
  return found;
}"""
OUTSIDE = """async ([name, value]) => {
  const panel = [...MergeScope.panels].find((one) => one.name === name);
  panel.props.value = value;
  panel.update();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const frame = panel.plot.getBoundingClientRect();
  return [...panel.plot.querySelectorAll("text")].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1);
  }).map((text) => text.textContent);
}"""
DRAWN = "[...MergeScope.panels].every((panel) => panel.plot.querySelector('.main-svg'))"

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(browser, tmp_path):
    """A function that opens the demonstration of some panels; it returns the page and the list of events."""
    opened = []

    def visit(*names: str, width: int = 900, height: int = 900, **options):
        file = tmp_path / "panels.html"
        text = demo.page(*names).replace("console.log(name, data)", "(window.said ||= []).push([name, data])")
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        opened.append((context, wrong))
        page.goto(file.as_uri())
        page.wait_for_function(DRAWN, timeout=60_000)
        return page

    yield visit
    for context, wrong in opened:
        context.close()
        assert wrong == []


def said(page, event="select"):
    page.wait_for_function(f"(window.said || []).some(([name]) => name === '{event}')")
    return page.evaluate(f"said.filter(([name]) => name === '{event}').at(-1)[1]")


def click_cell(page, panel, x, y):
    """Click the middle of a cell of a heat map by its categories."""
    box = page.evaluate(
        """([panel, x, y]) => { const plot = [...MergeScope.panels].find((p) => p.name === panel).plot;
        const [a, b] = [MergeScope.span(plot._fullLayout.xaxis, x), MergeScope.span(plot._fullLayout.yaxis, y)];
        const at = plot.getBoundingClientRect();
        return [at.left + a[0] + a[1] / 2, at.top + b[0] + b[1] / 2]; }""",
        [panel, x, y],
    )
    page.mouse.move(*box)
    page.mouse.click(*box)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_every_demonstration_fits_its_page(visit, width, scheme):
    page = visit(*NAMES, width=width, color_scheme=scheme)
    assert page.locator(".ms-panel").count() == len(NAMES)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.querySelectorAll('.ms-panel')].every((p) => p.scrollWidth <= p.clientWidth + 1)")


def test_a_saved_picture_is_light_and_whole_even_from_a_dark_phone(visit):
    page = visit("accuracy", "loss_plane", "sweep_curve", "route_confusion", width=390, color_scheme="dark")
    assert page.evaluate("document.body.classList.contains('dark') || document.documentElement.className === 'dark'")
    for picture in page.evaluate(SAVED):
        assert picture["inside"]
        assert picture["width"] == 640
        assert picture["words"] > 8
        assert picture["font"]
        assert picture["heading"] > 1
        assert picture["paper"] == "rgb(255, 255, 255)"


def test_words_of_a_sweep_stay_on_a_phone_wherever_its_marks_are(visit):
    page = visit("sweep_curve", "sweep_plane", width=390)
    ends = (0.0, 0.1, 2.4, 4.0)
    for name, names in (("sweep_curve", ("scaling",)), ("sweep_plane", ("scaling", "rank"))):
        data, panel = swept.demo(names), importlib.import_module(f"viz.panels.{name}")
        blank = {n: np.full_like(getattr(data, n), np.nan) for n in ("accuracy", "low", "high", "normalised")}
        for places in itertools.combinations_with_replacement(ends, 3):
            points = ((x, x / 8)[: len(names)] for x in places)
            marks = dict(zip(("published", "table", "current"), points, strict=True))
            for given in (dataclasses.replace(data, marks=marks), dataclasses.replace(data, marks=marks, **blank)):
                assert page.evaluate(OUTSIDE, [name, draw(panel, given).to_json()]) == [], marks


def test_a_cell_of_the_confusion_says_task_and_expert(visit):
    page = visit("route_confusion", "live_accuracy")
    click_cell(page, "route_confusion", "letters", "icons")
    event = said(page)
    assert (event["task"], event["expert"]) == ("icons", "letters")
    assert page.evaluate("MergeScope.bus.selected.task") == "icons"
    assert page.locator('[data-panel="route_confusion"] .ms-chosen').count() == 1
    click_cell(page, "route_confusion", "letters", "icons")
    page.wait_for_function("MergeScope.bus.selected.task === undefined")


def test_points_that_are_drawn_around_are_selected(visit):
    page = visit("manifold")
    box = page.locator("#manifold .nsewdrag").first.bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.02)]
    places = [(box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    ids = said(page)["ids"]
    count = page.evaluate("MergeScope.panels.values().next().value.meta.table.rows.length")
    assert len(set(ids)) == len(ids)
    assert 0.9 * count <= len(ids) <= count
    page.evaluate("MergeScope.panels.values().next().value.plot.emit('plotly_deselect')")
    assert said(page)["ids"] == []


def test_a_point_says_its_number(visit):
    page = visit("manifold")
    plot = page.locator("#manifold .ms-plot")
    plot.focus()
    plot.press("ArrowRight")
    plot.press("Enter")
    event = said(page)
    trace = page.evaluate("[...MergeScope.panels][0].source.data[0]")
    assert event["id"] == trace["customdata"][0]
    assert event["task"] == trace["meta"]["task"]


def test_bars_answer_the_keyboard(visit):
    page = visit("twin_energy", "histogram")
    for name in ("twin_energy", "histogram"):
        plot = page.locator(f"#{name} .ms-plot")
        plot.focus()
        plot.press("ArrowRight")
        page.locator(f"#{name} .hoverlayer .hovertext").wait_for()
        plot.press("Escape")
    page.locator("#twin_energy .ms-plot").press("ArrowDown")
    page.locator("#twin_energy .ms-plot").press("Enter")
    assert isinstance(said(page)["block"], int)


def test_filters_of_the_gallery_work_in_the_browser(visit):
    page = visit("route_gallery", "accuracy")
    shown = page.locator(".ms-thumb:visible")
    every = shown.count()
    page.locator(".ms-filters label", has_text="wrong route").click()
    wrong = page.locator('.ms-thumb[data-state="route"]').count()
    assert 0 < shown.count() == wrong < every
    page.locator(".ms-filters label", has_text="all").click()
    assert shown.count() == every
    page.locator(".ms-thumb").nth(3).click()
    assert page.evaluate("document.querySelector('.ms-thumb input:checked').value") == page.locator(
        ".ms-thumb input"
    ).nth(3).get_attribute("value")
