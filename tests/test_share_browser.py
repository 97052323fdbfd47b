"""Sharing as visitors do it: views in the address, a copied link, the page inside another one and inside a Space."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from visits import ON_PAGE, idle, merge, tab, told

from viz.page import share

pytestmark = ON_PAGE
REFUSED = """Object.defineProperty(navigator, "clipboard", {value: undefined}); document.execCommand = () => false;"""
ENERGY = "[data-panel=spectrum] [data-view=energy]"
PRESSED = f"document.querySelector('{ENERGY}').getAttribute('aria-pressed') === '%s'"
FIGURE = "#panel-interference .main-svg"
FRAME = '<!doctype html><iframe src="%s" style="width: 100%%; height: 95vh" allow="%s"></iframe>'


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def outer(browser, url, tmp_path) -> Iterator[Callable]:
    """A page of another origin that shows the app in a frame; returns that page and its frame."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    contexts = []

    def open_page(query: str, allow: str = "", piece: str = FIGURE):
        (tmp_path / "index.html").write_text(FRAME % (url + query, allow), "utf-8")
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"http://localhost:{server.server_port}/index.html")
        return page, _ready(page, piece)

    yield open_page
    for context in contexts:
        context.close()
    server.shutdown()


def _ready(page, piece: str = FIGURE):
    """Return the frame of the app once a piece of it is there."""
    frame = page.frames[1]
    frame.wait_for_selector(piece, timeout=60_000)
    idle(frame)
    return frame


def _settled(page) -> None:
    page.wait_for_timeout(800)


def test_a_view_is_in_the_address_is_opened_with_it_and_undone(visit):
    page = visit()
    _settled(page)
    page.click(ENERGY)
    page.wait_for_function("location.search.includes('panels=spectrum.energy')")
    page.wait_for_function(PRESSED % "true")
    again = visit(page.url[page.url.index("?") :])
    again.wait_for_function(PRESSED % "true")
    page.click("[data-undo]")
    page.wait_for_function(PRESSED % "false")
    page.wait_for_function("!location.search.includes('panels=')")
    page.click("[data-redo]")
    page.wait_for_function(PRESSED % "true")


def test_the_filter_of_the_gallery_is_in_the_address(visit):
    page = visit()
    merge(page)
    tab(page, "Inputs")
    page.wait_for_selector("[name=ms-show]", state="attached")
    _settled(page)
    page.locator(".ms-filters label", has_text="wrong class").click()
    page.wait_for_function("location.search.includes('panels=route_gallery.class')")
    _settled(page)
    page.locator(".ms-thumb[data-state=class]").first.click()
    page.wait_for_function("location.search.includes('input=')")
    assert page.locator("[name=ms-show]:checked").get_attribute("value") == "class"
    assert page.locator(".ms-thumb[data-state=right]:visible").count() == 0
    page.click("[data-undo]")
    page.click("[data-undo]")
    page.wait_for_function("document.querySelector('[name=ms-show]:checked').value === 'all'")


def test_words_of_others_stay_in_the_address_and_are_not_given_away(visit, browser):
    page = visit("?suite=toy&__theme=dark&__sign=secret&ref=paper")
    page.select_option("#mp-method", "ties")
    page.wait_for_selector("#mp-form-box [data-owner=ties]")
    _settled(page)
    for word in ("__theme=dark", "__sign=secret", "ref=paper"):
        assert page.url.count(word) == 1
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("[data-copy]")
    page.get_by_text("Link copied").wait_for()
    copied = page.evaluate("copied")
    assert "__" not in copied
    assert "recipe=" in copied
    assert "ref=paper" in copied
    page.get_by_text("Copy link").wait_for()


def test_where_nothing_may_be_copied_the_whole_address_is_there_to_be_taken(visit):
    page = visit(script=REFUSED)
    page.select_option("#mp-method", "ties")
    page.wait_for_selector("#mp-form-box [data-owner=ties]")
    _settled(page)
    page.click("[data-copy]")
    field = page.locator(".mp-address")
    assert field.input_value() == page.url
    assert field.evaluate("field => field.selectionEnd - field.selectionStart") == len(page.url)
    assert field.get_attribute("readonly") is not None
    page.keyboard.press("Escape")
    field.wait_for(state="detached")


def test_inside_another_page_it_opens_its_query_goes_back_and_leaves_the_history_alone(outer):
    page, frame = outer("?suite=toy&panels=spectrum.energy#sweep", piece="#mp-sweep-start")
    frame.wait_for_function("document.querySelector('[role=tab][aria-selected=true]')?.textContent === 'Sweep'")
    tab(frame, "Merge")
    frame.wait_for_function(PRESSED % "true")
    before = page.evaluate("history.length")
    _settled(page)
    for method in ("ties", "magmax"):
        frame.select_option("#mp-method", method)
        frame.wait_for_function(f"!!document.querySelector('#mp-form-box [data-owner={method}]')")
        _settled(page)
    for method in ("ties", "task_arithmetic"):
        frame.click("[data-undo]")
        frame.wait_for_function(f"document.querySelector('#mp-method').value === '{method}'")
    assert frame.is_disabled("[data-undo]")
    for _ in range(2):
        frame.click("[data-redo]")
    frame.wait_for_function("document.querySelector('#mp-method').value === 'magmax'")
    assert page.evaluate("history.length") == before
    assert page.url.endswith("index.html")


@pytest.mark.parametrize("allow", ["clipboard-write", ""])
def test_inside_another_page_the_link_is_that_of_the_app(outer, url, allow):
    page, frame = outer("?suite=toy", allow)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    frame.click("[data-copy]")
    button = frame.locator("[data-copy]")
    frame.locator(".mp-address").or_(button.filter(has_text="Link copied")).wait_for()
    shown = frame.locator(".mp-address")
    address = shown.input_value() if shown.count() else page.evaluate("navigator.clipboard.readText()")
    assert address.startswith(f"{url}?suite=toy")


def test_inside_a_space_the_link_is_that_of_its_page_which_is_told(browser, url, monkeypatch):
    monkeypatch.setenv(share.SPACE, "someone/mergescope")
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    listen = "<script>window.got = []; addEventListener('message', e => got.push([e.origin, e.data]));</script>"
    body = listen + FRAME % (f"{url}?suite=toy&__sign=secret", "clipboard-write")
    page.route("https://huggingface.co/**", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto("https://huggingface.co/spaces/someone/mergescope")
    frame = _ready(page)
    frame.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    frame.select_option("#mp-method", "ties")
    frame.wait_for_function("location.search.includes('recipe=') && location.search.includes('__sign=secret')")
    tab(frame, "Sweep")
    frame.wait_for_function("location.hash === '#sweep'")
    frame.click("[data-copy]")
    frame.wait_for_function("window.copied")
    shared = frame.evaluate("copied")
    assert re.fullmatch(r"https://huggingface\.co/spaces/someone/mergescope\?suite=toy&[^#]*recipe=[^#]*#sweep", shared)
    assert "secret" not in shared
    origin, said = page.evaluate("got.filter(([, data]) => data?.queryString).at(-1)")
    assert origin == url.rstrip("/")
    assert shared.endswith(f"?{said['queryString']}{said['hash']}")
    context.close()


def test_the_answer_of_another_recipe_is_marked_until_there_is_a_new_one(visit):
    page = visit()
    merge(page)
    mark = "getComputedStyle(document.querySelector('%s'), '::after').content"
    assert "before" not in page.evaluate(mark % "#panel-accuracy h3")
    page.select_option("#mp-method", "consensus")
    page.wait_for_selector("body[data-before]")
    told(page, "recipe changed")
    assert "of the merge before" in page.evaluate(mark % "#panel-accuracy h3")
    assert ", before" in page.evaluate(mark % ".mp-main dt")
    assert "before" not in page.evaluate(mark % "#panel-spectrum h3")
    page.wait_for_function("getComputedStyle(document.querySelector('#panel-accuracy .ms-plot')).opacity < 0.6")
    merge(page)
    page.wait_for_selector("body:not([data-before])")
    page.select_option("#mp-method", "task_arithmetic")
    page.wait_for_function("document.querySelector('#mp-words .mp-said').textContent.includes('Done')")
    assert page.locator("body[data-before]").count() == 0


def test_pictures_and_runs_are_saved_as_numbers(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    merge(page)
    tab(page, "Inputs")
    shown = page.locator(".ms-thumb")
    shown.first.wait_for()
    with page.expect_download() as saved:
        _save(page, "#mp-gallery", "Numbers, CSV")
    assert saved.value.suggested_filename == "mergescope-route_gallery.csv"
    lines = saved.value.path().read_text("utf-8").splitlines()
    assert lines[0] == "task,input,class,predicted,outcome"
    assert len(lines) == 1 + shown.count()
    page.locator("#mp-gallery .ms-data summary").click()
    page.wait_for_function("n => document.querySelectorAll('#mp-gallery tbody tr').length === n", arg=shown.count())
    tab(page, "Compare")
    _save(page, "#mp-runs", "Copy numbers")
    page.locator("#mp-runs summary", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[0].startswith("pin,run,method,setting,experts,average,stripes,")
    assert len(copied) == 2


def _save(page, panel: str, word: str) -> None:
    page.locator(f"{panel} .ms-save summary").click()
    page.locator(f"{panel} .ms-menu").get_by_role("button", name=word).click()


PLACE = """() => {
  const plot = document.querySelector("#mp-map .ms-plot"), box = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout, dots = plot._fullData.find(t => t.customdata && !t.meta?.aside);
  return [box.x + xaxis._offset + xaxis.c2p(dots.x[0]), box.y + yaxis._offset + yaxis.c2p(dots.y[0])];
}"""


@pytest.mark.parametrize("phone", [False, True])
def test_a_region_of_the_map_is_chosen_without_a_mouse(visit, phone):
    page = visit(**({"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True} if phone else {}))
    merge(page)
    tab(page, "Inputs")
    page.wait_for_selector("#panel-manifold .main-svg")
    page.get_by_role("button", name="UMAP by task").wait_for()
    near = page.get_by_role("button", name="Choose the 20 points nearest to the one chosen")
    assert near.is_hidden()
    if phone:
        page.locator("#mp-map .ms-plot").scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.touchscreen.tap(*page.evaluate(PLACE))
    else:
        page.focus("#mp-map .ms-plot")
        for key in ("ArrowRight", "ArrowRight", "Enter"):
            page.keyboard.press(key)
    near.wait_for()
    page.wait_for_function("location.search.includes('input=')")
    near.tap() if phone else near.press("Enter")
    page.locator(".mp-chip", has_text="20 inputs from the map").wait_for()
    page.wait_for_function("document.querySelectorAll('.ms-thumb').length === 20")
    assert page.locator(".ms-thumb input:checked").count() == 1
