"""What a page must not do to anybody: findings of axe-core, things that overflow or lie on each other, and motion."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from visits import ON_PAGE, idle, merge, tab, told

from merge_engine.runs.recipe import Recipe

pytestmark = ON_PAGE
TABS = ("Merge", "Sweep", "Inputs", "Compare", "Landscape", "All methods", "About")
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SWEEP = "&sweep=scaling%3D0%3A1%3A5%4025%40validation"
# Names of what is wider than its box and cannot be scrolled, or reaches beyond the window.
WIDE = """() => [...document.querySelectorAll("#mp-header *, #mp-tabs *")].filter((node) => {
  if (!node.checkVisibility() || node.closest("svg, .mp-hidden, .ms-live, .ms-plot")) return false;
  const style = getComputedStyle(node), box = node.getBoundingClientRect();
  if (!box.width || style.position === "absolute") return false;
  const scrolls = node.closest(".mp-table-box, .ms-table, .ms-wide, .mp-scroll, .tab-container");
  const hides = style.overflowX === "hidden" && style.textOverflow !== "ellipsis";
  return !scrolls && (box.right > innerWidth + 1 || (hides && node.scrollWidth > node.clientWidth + 1));
}).map((node) => `${node.tagName}.${node.className}`)"""
# Pairs of buttons, menus, headings and paragraphs that lie on each other.
CROSSED = """() => {
  const found = [...document.querySelectorAll("#mp-header, #mp-tabs")].flatMap((part) =>
    [...part.querySelectorAll("button, select, summary, h1, h2, h3, h4, p, dt, dd, td, label")])
    .filter((node) => node.checkVisibility() && !node.closest(".ms-menu, .ms-gallery, .mp-table-box, #mp-recipe"))
    .map((node) => ({ node, box: node.getBoundingClientRect() })).filter(({ box }) => box.width > 1 && box.height > 1);
  const inside = (a, b) => a.contains(b) || b.contains(a);
  const common = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]) > 2;
  const over = (a, b) => common(a, b, "left", "right") && common(a, b, "top", "bottom");
  const words = ({ node }) => node.textContent.trim().slice(0, 30);
  return found.flatMap((a, i) => found.slice(i + 1).filter((b) => !inside(a.node, b.node) && over(a.box, b.box))
    .map((b) => `${words(a)} / ${words(b)}`));
}"""


def _findings(page, where: str) -> None:
    """Fail on what axe-core calls serious or critical."""
    page.wait_for_timeout(400)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [(n["target"], n["failureSummary"]) for n in v["nodes"]][:3]) for v in serious] == [], where


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)])
def test_every_tab_is_accessible(visit, scheme, size):
    page = visit(color_scheme=scheme, **size)
    merge(page)
    for name in TABS:
        tab(page, name)
        if name == "Inputs":
            page.locator(".ms-thumb").nth(2).click()
            page.wait_for_selector("#mp-why .ms-router")
            page.get_by_role("button", name="Try an input of your own").click()
            page.wait_for_function("document.querySelector('[data-task]')?.options.length === 5")
            page.get_by_role("button", name="Take one").press("Enter")
            page.wait_for_selector("#mp-replies .ms-panel")
        _findings(page, name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


@pytest.mark.parametrize(("scheme", "size", "method"), [("light", DESKTOP, "della"), ("dark", PHONE, "dare")])
def test_every_state_is_accessible(visit, bench, scheme, size, method):
    """`method` is one that nobody merged before, so that it has no answer yet."""
    page = visit("?suite=toy" + SWEEP, color_scheme=scheme, **size)
    merge(page)
    _findings(_knocked_out(page), "flips")
    page.locator("#panel-accuracy .ms-save summary").click()
    page.locator("#panel-accuracy .ms-data summary").click()
    _findings(page, "menu and data table")
    page.select_option("#mp-method", method)
    page.wait_for_selector("body[data-before]")
    _findings(page, "stale")
    bench.pause = 0.5
    page.click("#mp-merge")
    page.wait_for_selector("#mp-words [data-tone=busy]")
    _findings(page, "busy")
    bench.pause = 0.0
    told(page, "Done")
    idle(page)
    box = page.locator("#mp-form-box input.mp-box").first
    box.fill("77")
    box.press("Tab")
    page.wait_for_selector("#mp-status [data-tone=bad]")
    _findings(page, "error")
    page.select_option("#mp-method", "task_arithmetic")
    tab(page, "Sweep")
    page.click("#mp-sweep-start")
    page.wait_for_function("document.querySelector('#mp-sweeping').textContent.includes('Best of 5 points')")
    _findings(page, "filled sweep")


def _knocked_out(page):
    """Knock the first component of a pair out and wait for what flips."""
    page.wait_for_selector("#panel-collisions .main-svg")
    page.focus("#panel-collisions .ms-plot")
    for key in ("ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.locator(".mp-outs button").nth(2).press("Enter")
    page.wait_for_selector("#mp-flips tbody tr")
    page.wait_for_function("!document.querySelector('#mp-flips h3').textContent.includes('≈')")
    return page


def test_at_a_laptops_size_nothing_overflows_or_lies_on_anything(visit):
    recipe = Recipe("toy", ("stripes", "blob", "colour", "grain"), "iso_cts", {}).to_link()
    page = visit(f"?suite=toy&recipe={recipe}", viewport={"width": 1280, "height": 800})
    merge(page)
    for name in TABS:
        tab(page, name)
        page.wait_for_timeout(1200)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert page.evaluate(WIDE) == [], name
        assert page.evaluate(CROSSED) == [], name
    tab(page, "Merge")
    page.evaluate("scrollTo(0, 0)")
    slider, go = (page.locator(what).first.bounding_box() for what in ("#mp-form-box input[type=range]", "#mp-go"))
    assert slider["y"] + slider["height"] <= go["y"]  # the first slider is in sight, above the button


def test_nothing_moves_on_the_page_where_the_system_asks_for_that(visit):
    moving = """() => [...document.querySelectorAll("body *")].filter((node) => {
      const { transitionDuration, animationDuration, animationName } = getComputedStyle(node);
      const lasts = (times) => times.split(", ").some((time) => parseFloat(time) > 0);
      const moves = lasts(transitionDuration) || (animationName !== "none" && lasts(animationDuration));
      return moves && node.checkVisibility();
    }).length"""
    assert visit().evaluate(moving) > 0
    assert visit(reduced_motion="reduce").evaluate(moving) == 0
