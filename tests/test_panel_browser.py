"""Panels in Chromium, on a small Gradio page of their own."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
gr = pytest.importorskip("gradio")

from conftest import free_port  # noqa: E402

from viz import examples  # noqa: E402
from viz.page.plotly_panel import STATIC, PlotlyPanel, Selection  # noqa: E402
from viz.panel import draw  # noqa: E402
from viz.panels import accuracy, overlap, overlap_depth, spectrum  # noqa: E402

ROOT = Path(__file__).parents[1]
EXPERTS = examples.EXPERTS[:5]

pytestmark = pytest.mark.browser


def build() -> gr.Blocks:
    """Return a page of four linked panels, a line that repeats each event, and buttons that redraw."""
    spectra, overlaps = examples.spectrum(EXPERTS, blocks=12, rank=64), examples.subspaces(EXPERTS)

    def place(at: Selection):
        return {"block": at.block, "kind": at.kind}

    def select(event: gr.EventData):
        at = Selection.of(event)
        words = f"{at.panel} {at.block} {at.kind} {at.expert} {at.other}"
        return words, gr.skip() if at.block is None else draw(spectrum, spectra, **place(at), selected=place(at))

    def redraw(count: int):
        return count + 1, draw(spectrum, spectra, block=(count + 1) % 12, kind="q")

    with gr.Blocks(analytics_enabled=False) as page:
        count, said = gr.State(0), gr.Textbox(label="said", elem_id="said")
        with gr.Row():
            with gr.Column(min_width=320):
                bars = PlotlyPanel.of(accuracy, draw(accuracy, accuracy.demo()))
                lines = PlotlyPanel.of(spectrum, draw(spectrum, spectra, block=0, kind="q"))
            with gr.Column(min_width=320):
                pairs = PlotlyPanel.of(overlap, draw(overlap, overlaps, block=0, kind="q"))
                strip = PlotlyPanel.of(overlap_depth, draw(overlap_depth, overlaps))
        nothing = PlotlyPanel.of(accuracy, elem_id="nothing")
        again, empty = gr.Button("again", elem_id="again"), gr.Button("empty", elem_id="empty")
        for panel in (bars, lines, pairs, strip):
            panel.select(select, None, [said, lines], show_progress="hidden", queue=False)
        again.click(redraw, count, [count, lines], show_progress="hidden", queue=False)
        empty.click(lambda: (None, draw(accuracy, accuracy.demo())), None, [lines, nothing], queue=False)
    return page


@pytest.fixture(scope="module")
def address():
    """The address of the page, served from this process."""
    here = Path.cwd()
    os.chdir(ROOT)
    gr.set_static_paths(STATIC)
    page = build()
    try:
        _, url, _ = page.queue().launch(
            server_port=free_port(), prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False
        )
        yield url
    finally:
        page.close()
        os.chdir(here)


@pytest.fixture
def visit(browser, address):
    """A function that opens the page; whatever it opened must have stayed on this machine and without errors."""
    opened = []

    def visit(width: int = 1200, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None)
        opened.append((context, wrong))
        page.goto(address)
        page.locator(".ms-panel .main-svg").nth(7).wait_for(state="attached", timeout=30_000)
        page.wait_for_timeout(300)
        return page

    yield visit
    for context, wrong in opened:
        context.close()
        assert wrong == []


def plot(page, panel):
    return page.locator(f'[data-panel="{panel}"] .ms-plot').first


def point(page, panel, across, down):
    """Return the pixel at fractions of a panel's plot area."""
    plot(page, panel).scroll_into_view_if_needed()
    box = plot(page, panel).locator(".nsewdrag").first.bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def title(page, panel):
    return page.locator(f'[data-panel="{panel}"] h3').first


def says(page, words):
    page.wait_for_function("words => document.querySelector('#said textarea').value === words", arg=words)


def range_of(page, panel):
    return plot(page, panel).evaluate("node => [...node._fullLayout.xaxis.range]")


def tool(page, panel, word):
    return page.locator(f'[data-panel="{panel}"] .ms-tools button', has_text=word).first


def save(page, panel, word):
    """Choose something of the menu Save of a panel, by keyboard."""
    menu = page.locator(f'[data-panel="{panel}"] .ms-save').first
    menu.locator("summary").press("Enter")
    menu.get_by_role("button", name=word).press("Enter")


def test_panels_have_words_tools_and_tables(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    assert title(page, "accuracy").inner_text() == "Accuracy per task"
    assert title(page, "spectrum").inner_text() == "Spectrum of block 0, q"
    assert page.locator("#nothing .ms-empty").inner_text() == accuracy.EMPTY
    assert page.locator("#nothing .ms-tools button:visible").count() == 0
    assert page.locator(".modebar-btn").count() == 0
    data = page.locator('[data-panel="accuracy"] details.ms-data').first
    data.locator("summary").click()
    data.locator("tbody tr").first.wait_for()
    assert data.locator("tbody tr").count() == 10
    assert data.locator("th").first.inner_text() == "task"
    save(page, "overlap", "Copy numbers")
    page.locator('[data-panel="overlap"] summary', has_text="Copied").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0] == "expert,other,left,chance left,right,chance right"
    assert len(lines) == 1 + 10
    with page.expect_download() as saved:
        save(page, "overlap", "Numbers, CSV")
    assert saved.value.suggested_filename == "mergescope-overlap.csv"
    assert Path(saved.value.path()).read_text("utf-8").splitlines() == lines
    with page.expect_download() as saved:
        save(page, "accuracy", "Picture, PNG")
    assert saved.value.suggested_filename == "mergescope-accuracy.png"
    with Image.open(saved.value.path()) as picture:
        assert (picture.format, picture.width) == ("PNG", 2 * max(640, plot(page, "accuracy").bounding_box()["width"]))
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    with page.expect_download() as saved:
        save(page, "accuracy", "Drawing, SVG")
    assert saved.value.suggested_filename == "mergescope-accuracy.svg"
    drawing = ElementTree.fromstring(Path(saved.value.path()).read_text("utf-8"))
    words = [" ".join(node.itertext()) for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert min(float(drawing.get("width")), float(drawing.get("height"))) > 300
    assert "Accuracy per task" in words
    assert EXPERTS[0] in words


def test_a_menu_closes_and_a_long_table_says_that_it_is_cut(visit):
    page = visit()
    menu = page.locator('[data-panel="overlap"] .ms-save')
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.mouse.click(4, 4)):
        menu.locator("summary").press("Enter")
        menu.get_by_role("button", name="Numbers, CSV").focus()
        close()
        menu.get_by_role("button", name="Numbers, CSV").wait_for(state="hidden")
    make = """count => MergeScope.sheet({columns: ["x"], rows: Array.from({length: count}, (_, i) => [i])})
      .map(node => node.textContent)"""
    words, _ = page.evaluate(make, 1500)
    assert words == "The first 1,000 of 1,500 rows; the CSV has all."
    assert len(page.evaluate(make, 1000)) == 1


def test_a_click_and_enter_reach_python_and_the_linked_panel(visit):
    page = visit()
    page.mouse.click(*point(page, "overlap_depth", 3.5 / 12, 4.5 / 6))
    says(page, "overlap_depth 3 fc1 None None")
    title(page, "spectrum").filter(has_text="Spectrum of block 3, fc1").wait_for()
    assert plot(page, "overlap_depth").locator(".ms-chosen").count() == 1
    page.mouse.click(*point(page, "overlap", 0.5 / 5, 1.5 / 5))
    says(page, f"overlap None None {EXPERTS[1]} {EXPERTS[0]}")
    page.mouse.move(2, 2)

    plot(page, "overlap_depth").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert plot(page, "overlap_depth").locator(".ms-cursor").count() == 1
    spoken = page.locator('[data-panel="overlap_depth"] .ms-live', has_text="block 2, k; mean overlap")
    spoken.wait_for(state="attached")
    page.keyboard.press("Enter")
    says(page, "overlap_depth 2 k None None")
    title(page, "spectrum").filter(has_text="Spectrum of block 2, k").wait_for()
    page.keyboard.press("Escape")
    assert plot(page, "overlap_depth").locator(".ms-cursor").count() == 0
    plot(page, "overlap").focus()
    page.keyboard.press("Enter")
    says(page, f"overlap None None {EXPERTS[0]} {EXPERTS[1]}")  # the blank diagonal is passed over
    plot(page, "accuracy").focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    says(page, "accuracy None None digits None")


def test_hovering_marks_the_same_expert_elsewhere(visit):
    page = visit(height=1700)
    page.mouse.move(*point(page, "overlap", 2.5 / 5, 0.5 / 5))
    plot(page, "accuracy").locator(".ms-mark.ms-soft").nth(1).wait_for()
    assert plot(page, "overlap").locator(".ms-mark").count() == 2
    faded = plot(page, "spectrum").locator('.scatterlayer > .trace[style*="opacity: 0.15"]').count()
    assert faded == len(EXPERTS) + 1 - 2
    page.mouse.move(2, 2)
    page.locator(".ms-mark").first.wait_for(state="detached")
    assert plot(page, "spectrum").locator('[style*="opacity: 0.15"]').count() == 0


def test_node_zoom_and_view_survive_updates(visit):
    page = visit()
    plot(page, "spectrum").evaluate("node => { node.kept = true; }")
    page.locator('[data-panel="spectrum"] button[data-view="energy"]').click()
    x, y = point(page, "spectrum", 0.2, 0.2)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 150, y + 100, steps=4)
    page.mouse.up()
    tool(page, "spectrum", "Reset zoom").wait_for()
    zoomed = range_of(page, "spectrum")
    assert zoomed[0] > 5
    page.locator("#again").click()
    title(page, "spectrum").filter(has_text="Spectrum of block 1, q").wait_for()
    assert range_of(page, "spectrum") == pytest.approx(zoomed)
    assert plot(page, "spectrum").evaluate("node => node.kept && node.isConnected")
    assert page.locator('[data-panel="spectrum"] [aria-pressed="true"]').inner_text() == "Energy kept"
    tool(page, "spectrum", "Reset zoom").click()
    tool(page, "spectrum", "Reset zoom").wait_for(state="hidden")
    assert range_of(page, "spectrum")[0] < 1


def test_a_panel_empties_fills_and_leaves(visit):
    page = visit()
    page.locator("#empty").click()
    page.locator("#nothing .main-svg").first.wait_for(state="attached")
    assert page.locator('[data-panel="spectrum"] .ms-empty').inner_text() == spectrum.EMPTY
    assert not plot(page, "spectrum").is_visible()
    page.locator("#again").click()
    plot(page, "spectrum").wait_for(state="visible")
    assert not page.locator('[data-panel="spectrum"] .ms-empty').is_visible()
    assert page.evaluate("MergeScope.panels.size") == 5
    page.evaluate("document.querySelector('[data-panel=overlap]').remove()")
    page.wait_for_function("() => MergeScope.panels.size === 4")


def test_theme_and_width_are_followed(visit):
    page = visit(color_scheme="light")
    ink = """node => {
        const { font, paper_bgcolor } = node._fullLayout;
        return [font.color, paper_bgcolor, node._fullData[0].colorscale[0][1]];
    }"""
    light = plot(page, "overlap").evaluate(ink)
    wide = plot(page, "overlap").evaluate("node => node._fullLayout.width")
    page.evaluate("document.body.classList.toggle('dark')")
    page.set_viewport_size({"width": 900, "height": 900})
    page.wait_for_timeout(600)
    dark = plot(page, "overlap").evaluate(ink)
    assert light[:2] == ["#1c2430", "#ffffff"]
    assert dark[1] == "#12161d"
    assert all(a != b for a, b in zip(light, dark, strict=True))
    box = plot(page, "overlap").bounding_box()["width"]
    assert plot(page, "overlap").evaluate("node => node._fullLayout.width") == pytest.approx(box, abs=1)
    assert box != wide


def test_numbers_in_cells_are_white_or_nearly_black(visit):
    fills = "node => [...node.querySelectorAll('.heatmap-label text')].map((text) => getComputedStyle(text).fill)"
    found = {scheme: set(plot(visit(color_scheme=scheme), "overlap").evaluate(fills)) for scheme in ("light", "dark")}
    assert found["light"] | found["dark"] == {"rgb(255, 255, 255)", "rgb(11, 14, 19)"}, found
    saved = """async () => {
      const address = await MergeScope.picture([...MergeScope.panels].find((one) => one.name === "overlap"), "svg");
      const svg = new DOMParser().parseFromString(decodeURIComponent(address.slice(19)), "text/xml");
      return [...svg.querySelectorAll(".heatmap-label text")].map((text) => text.style.fill);
    }"""
    assert set(visit(color_scheme="dark").evaluate(saved)) == found["light"]


def test_a_phone_needs_no_sideways_scroll(visit):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert plot(page, "overlap").evaluate("node => node._fullLayout.width <= innerWidth - 20")
    page.touchscreen.tap(*point(page, "overlap_depth", 3.5 / 12, 4.5 / 6))
    says(page, "overlap_depth 3 fc1 None None")
    page.set_viewport_size({"width": 320, "height": 600})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_moves_where_the_system_asks_for_that(visit):
    moving = "node => getComputedStyle(node).transitionDuration.split(', ').some((time) => parseFloat(time) > 0)"
    assert visit().locator("#again").evaluate(moving)
    assert not visit(reduced_motion="reduce").locator("#again").evaluate(moving)


@pytest.mark.parametrize(("width", "height", "grown"), [(3840, 2160, 1.9), (2560, 1440, 1.25), (1920, 1080, 1)])
def test_a_wall_has_larger_letters_and_is_hit_where_it_is_pointed_at(visit, width, height, grown):
    page = visit(width=width, height=height)
    letters = "node => node.querySelector('.ytick text').getBoundingClientRect().height"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    usual = plot(visit(), "overlap").evaluate(letters)
    assert plot(page, "overlap").evaluate(letters) == pytest.approx(grown * usual, rel=0.1)
    for panel in ("overlap_depth", "overlap"):
        box = page.locator(f'[data-panel="{panel}"]').bounding_box()
        drawn = plot(page, panel).locator(".main-svg").first.bounding_box()
        assert box["x"] <= drawn["x"]
        assert drawn["x"] + drawn["width"] <= box["x"] + box["width"] + 1
        below = page.locator(f'[data-panel="{panel}"] .ms-data').bounding_box()
        assert below["y"] >= drawn["y"] + drawn["height"] - 1
    for block, row, kind in ((3, 4, "fc1"), (11, 0, "q"), (0, 5, "fc2")):
        at = point(page, "overlap_depth", (block + 0.5) / 12, (row + 0.5) / 6)
        page.mouse.click(*at)
        says(page, f"overlap_depth {block} {kind} None None")
        chosen = plot(page, "overlap_depth").locator(".ms-chosen").bounding_box()
        assert chosen["x"] < at[0] < chosen["x"] + chosen["width"]
        assert chosen["y"] < at[1] < chosen["y"] + chosen["height"]


def test_updates_do_not_pile_up(visit):
    page = visit()

    def update(times):
        for _ in range(times):
            before = title(page, "spectrum").inner_text()
            page.locator("#again").click()
            changed = "before => document.querySelector('[data-panel=spectrum] h3').innerText !== before"
            page.wait_for_function(changed, arg=before)
        page.wait_for_timeout(300)
        return page.evaluate("() => { gc(); return performance.memory.usedJSHeapSize / 1e6; }")

    first = update(6)
    assert update(30) - first < 6
