"""From an effect to its cause on the page: places, inputs, knock-outs, sweeps, landscapes and pairs of runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from visits import ON_PAGE, choose, focus_figure, link, merge

pytestmark = ON_PAGE


def test_a_cell_moves_every_panel(visit):
    page = visit()
    assert page.inner_text("#panel-spectrum h3").endswith("block 1, fc1")
    plot = page.locator("#panel-overlap-depth .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.08})
    page.wait_for_function("!document.querySelector('#panel-spectrum h3').textContent.endsWith('block 1, fc1')")
    place = re.search(r"block (\d), (\w+)", page.inner_text("#panel-spectrum h3"))
    assert page.locator("#mp-where select").first.input_value() == place[1]
    assert page.locator("#mp-where select").last.input_value() == place[2]
    for name in ("overlap", "histogram"):
        says = f"document.querySelector('#panel-{name} h3').textContent.includes('{place[0]}')"
        page.wait_for_function(says)


def test_a_knock_out_is_scored_beside_the_merge_and_shows_what_flips(visit):
    page = visit()
    merge(page)
    page.wait_for_function("document.querySelector('#mp-headline').textContent.includes('over plain average')")
    headline = _tiles(page)
    focus_figure(page, "collisions")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".mp-outs button")
    page.focus(".mp-outs button >> nth=2")
    page.keyboard.press("Enter")
    page.wait_for_selector("#mp-flips tbody tr")
    page.wait_for_function("!document.querySelector('#mp-flips h3').textContent.includes('≈')")
    gone = page.get_attribute(".mp-gone button", "value")
    assert page.text_content("#mp-flips h3").startswith(f"Without {gone}: ")
    assert f"without={gone}" in page.url
    assert _tiles(page) == headline
    page.click(".ms-flip >> nth=0")
    page.wait_for_selector("#mp-why .ms-router")
    top = "document.querySelector('#mp-why').getBoundingClientRect().top"
    page.wait_for_function(f"{top} > -20 && {top} < 0.7 * innerHeight")
    page.wait_for_timeout(1000)
    _goes_where_the_visitor_goes(page, top)
    page.click("#mp-tabs button[role=tab] >> nth=0")
    page.click(".mp-gone button")
    page.wait_for_selector("#mp-flips h3", state="detached")
    assert "without=" not in page.url


def _goes_where_the_visitor_goes(page, top: str) -> None:
    """Choose the next flipped input, and turn back up as soon as the page has gone to it."""
    page.click("#mp-tabs button[role=tab] >> nth=0")
    page.evaluate("scrollTo(0, 0)")
    page.locator(".ms-flip").nth(1).click()
    page.wait_for_selector("#mp-why .ms-router")
    page.wait_for_function(f"{top} > -20 && {top} < 0.7 * innerHeight")
    assert page.evaluate("scrollY") > 200, "there is a way back"
    page.mouse.wheel(0, -10_000)
    page.wait_for_function("scrollY === 0")
    page.wait_for_timeout(1000)
    assert page.evaluate("scrollY") == 0, "the page does not take them down again"


def _tiles(page) -> list[str]:
    """Return the numbers of the headline but the seconds, which hang on what else the machine does."""
    tiles = [" ".join(text.split()) for text in page.locator("#mp-headline .mp-tile").all_text_contents()]
    assert any(text.startswith("merge time") for text in tiles)
    return [text for text in tiles if not text.startswith("merge time")]


def test_single_inputs_are_explained_and_narrowed(visit):
    page = visit("?suite=toy&recipe=" + link("sim", rank=3))
    page.get_by_role("tab", name="Inputs").click()
    page.wait_for_function("document.querySelector('#mp-gallery').textContent.includes('Press Merge')")
    page.get_by_role("tab", name="Merge", exact=True).click()
    merge(page)
    page.get_by_role("tab", name="Inputs").click()
    choose(page, 3)
    assert "This merge: SiM" in page.inner_text("#mp-why")
    page.get_by_role("button", name="UMAP by route").wait_for()
    before = page.inner_text("#mp-why h3")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("b => document.querySelector('#mp-why h3').textContent !== b", arg=before)
    page.get_by_role("tab", name="Merge", exact=True).click()
    _click_cell(page, 0.1, 0.1)
    page.wait_for_selector(".mp-chip")
    assert page.inner_text(".mp-chip") == "stripes sent to stripes ×"
    page.wait_for_function("!document.querySelector('#mp-gallery h4')")
    page.get_by_role("tab", name="Merge", exact=True).click()
    _click_cell(page, 0.1, 0.1)
    page.wait_for_function("document.querySelector('[role=tab][aria-selected=true]').textContent === 'Inputs'")
    page.click(".mp-chip")
    page.wait_for_function("document.querySelectorAll('#mp-gallery h4').length === 5")
    assert page.locator(".mp-chip").count() == 0


def _click_cell(page, right: float, down: float) -> None:
    """Click a place of the route confusion, in shares of its width and height."""
    plot = page.locator("#panel-route-confusion .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * right, "y": box["height"] * down})


def test_points_of_the_map_are_inputs(visit):
    page = visit("?suite=toy&recipe=" + link("task_arithmetic"))
    merge(page)
    page.get_by_role("tab", name="Inputs").click()
    page.get_by_role("button", name="UMAP by task").wait_for()
    tell = "told => [...MergeScope.panels].find(p => p.name === 'manifold').trigger('select', told)"
    count = page.evaluate("[...MergeScope.panels].find(p => p.name === 'manifold').meta.table.rows.length")
    page.evaluate(tell, {"panel": "manifold", "id": count - 1})
    page.wait_for_function("document.querySelector('#mp-why h3')?.textContent.includes('shape')")
    assert page.evaluate("document.querySelector('.ms-thumb input:checked').value").startswith("shape:")
    page.evaluate(tell, {"panel": "manifold", "ids": [0, count - 1, count - 2, 10_000]})
    page.wait_for_selector(".mp-chip")
    assert page.inner_text(".mp-chip") == "2 inputs from the map ×"
    page.wait_for_function("document.querySelectorAll('.ms-thumb').length === 2")


def test_a_drawing_of_ones_own_is_answered_and_stays_private(visit):
    page = visit("?suite=toy&recipe=" + link("sim"))
    merge(page)
    address = page.url
    page.get_by_role("tab", name="Inputs").click()
    page.get_by_role("button", name="Try an input of your own").click()
    page.wait_for_function("document.querySelector('[data-task]')?.options.length === 5")
    _draw(page, (6, 6), (26, 26))
    page.wait_for_function("document.querySelector('#mp-replies').textContent.includes('routed the picture to')")
    page.wait_for_function("document.querySelectorAll('#mp-yours-why .ms-router').length === 6")
    star = "document.querySelector('#mp-map .ms-plot').data.some(trace => trace.marker.symbol === 'star')"
    page.wait_for_function(star)
    pixel = "document.querySelector('.mp-pad canvas').getContext('2d').getImageData(128, 128, 1, 1).data.join()"
    inked = page.evaluate(pixel)
    first = page.inner_text("#mp-replies")
    for _ in range(2):
        page.get_by_role("button", name="Try an input of your own").click()
    assert page.evaluate(pixel) == inked
    page.locator("#mp-yours-pad").get_by_role("button", name="Undo").click()
    page.wait_for_function("!document.querySelector('#mp-replies .ms-panel')")
    page.wait_for_function(f"!({star})")
    assert page.evaluate(pixel) != inked
    page.get_by_label("Example of").select_option("grain")
    page.get_by_role("button", name="Take one").press("Enter")
    page.wait_for_function("document.querySelector('.mp-pad-said').textContent.includes('test picture of grain')")
    page.wait_for_selector("#mp-replies .ms-panel")
    assert page.inner_text("#mp-replies") != first
    page.set_input_files(".mp-pad input[type=file]", {"name": "../x.png", "mimeType": "image/png", "buffer": b"no"})
    page.wait_for_function("document.querySelector('.mp-pad-said').textContent.includes('cannot be read')")
    large = {"name": "x.png", "mimeType": "image/png", "buffer": b"0" * (3 << 20)}
    page.set_input_files(".mp-pad input[type=file]", large)
    page.wait_for_function("document.querySelector('.mp-pad-said').textContent.includes('3.0 MB')")
    assert page.url.partition("#")[0] == address


def _draw(page, *points) -> None:
    """Draw a line through points of the sheet, in pixels of the picture."""
    sheet = page.locator(".mp-pad canvas")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    at = [(box["x"] + x * box["width"] / 32, box["y"] + y * box["height"] / 32) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=5)
    page.mouse.up()


def test_a_sweep_draws_its_curve_and_a_point_goes_into_the_recipe(visit):
    page = visit("?suite=toy&sweep=scaling%3D0%3A1%3A5%4025%40validation&recipe=" + link("magmax"))
    page.get_by_role("tab", name="Sweep").click()
    page.wait_for_selector("#panel-sweep-curve .main-svg")
    page.wait_for_function("document.querySelector('#mp-sweep-cost').textContent.includes('5 scorings of 100')")
    page.dblclick("#mp-sweep-start")
    said = "document.querySelector('#mp-sweeping').textContent"
    page.wait_for_function(f"{said}.includes('Best of 5 points on validation')")
    page.wait_for_function("!document.querySelector('#mp-sweep-start').disabled")
    page.wait_for_function("document.querySelector('#mp-sweep-cost').textContent.includes('nothing is computed')")
    page.evaluate(f"""() => {{
        window.heard = [];
        new MutationObserver(() => window.heard.push({said})).observe(document.querySelector('#mp-sweeping .mp-said'),
            {{ childList: true, subtree: true, characterData: true }});
    }}""")
    page.click("#mp-sweep-start")
    page.wait_for_timeout(1000)
    assert page.evaluate("window.heard") == [], "all points are known: nothing is waited for"
    assert page.is_enabled("#mp-sweep-start")
    assert page.locator("#panel-sweep-plane").is_hidden()
    focus_figure(page, "sweep-curve")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(f"{said}.includes('Taken into the recipe')")
    assert "sweep=" in page.url
    taken = re.search(r"recipe: scaling (\S+)\. Press", page.inner_text("#mp-sweeping .mp-said"))[1]
    page.get_by_role("tab", name="Merge").click()
    page.wait_for_function("v => document.querySelector('#hp-magmax-scaling').value === v", arg=taken)


def test_landscapes_are_measured_once_and_kept(visit):
    page = visit("?suite=toy&ground=pretrained,stripes,blob~blob,stripes~8~5")
    page.get_by_role("tab", name="Landscape").click()
    page.wait_for_selector("#mp-ground .mp-cost")
    assert "models to build" in page.inner_text("#mp-ground .mp-cost")
    page.dblclick("#mp-survey")
    page.wait_for_function("document.querySelector('#mp-surveying').textContent.includes('Done in')")
    for name in ("plane", "line", "map"):
        page.wait_for_selector(f"#panel-land-{name} .main-svg")
    assert "is measured" in page.inner_text("#mp-ground .mp-cost")
    assert page.is_enabled("#mp-survey")
    page.select_option("[data-emit='ground.plane.2']", "grain")
    page.wait_for_function("location.search.includes('grain')")
    page.wait_for_function("document.querySelector('#mp-surveying').textContent.includes('choice changed')")
    page.select_option("[data-emit='ground.plane.2']", "blob")
    page.wait_for_function("document.querySelector('#mp-ground .mp-cost').textContent.includes('is measured')")
    assert page.locator("#panel-land-plane .main-svg").first.is_visible()


def test_two_runs_are_compared_input_by_input(visit):
    page = visit()
    for method in ("average", "tsv_m"):
        before = page.inner_text("#mp-card-box")
        page.select_option("#mp-method", method)
        page.wait_for_function("b => document.querySelector('#mp-card-box').innerText !== b", arg=before)
        merge(page)
    page.get_by_role("tab", name="Inputs").click()
    page.wait_for_selector("#panel-manifold .main-svg")
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector(".mp-runs tbody tr:nth-child(2)")
    follows = _follower(page, "mp-focus", "mp-sight")
    followed: list[str] = []
    page.on("request", lambda request: followed.append(follows(request)))
    page.locator(".mp-runs tr", has_text="Weight average").get_by_role("button", name="as A").press("Enter")
    page.wait_for_selector(".mp-verdict")
    page.locator(".mp-runs tr", has_text="TSV-M").get_by_role("button", name="as B").press("Enter")
    page.wait_for_function("document.querySelector('.mp-verdict').textContent.includes('exact test')")
    page.wait_for_selector("#panel-differences .main-svg")
    page.wait_for_selector("#panel-run-costs .main-svg")
    assert not any(followed), "a closed tab was drawn"
    for name, signal in (("Inputs", "mp-sight"), ("Merge", "mp-focus")):
        with page.expect_request(lambda request, signal=signal: follows(request) == signal):
            page.get_by_role("tab", name=name).click()
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="to merge", exact=True).press("Enter")
    page.wait_for_selector("th[aria-sort=ascending] >> text=to merge")
    address = page.url.partition("#")[0]
    assert "a=1" in address
    assert "b=1" in address
    page.locator("#mp-differing .ms-thumb").first.press("Enter")
    page.wait_for_selector("#mp-why .ms-input")
    again = visit(address[address.index("?") :])
    again.get_by_role("tab", name="Compare").click()
    again.wait_for_function("document.querySelector('.mp-verdict')?.textContent.includes('exact test')")
    again.set_viewport_size({"width": 390, "height": 800})
    again.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def test_a_sheet_that_was_told_nothing_asks(visit):
    page = visit("?suite=toy")
    early = page.evaluate("""() => {
        const id = gradio_config.components.find((one) => one.props.elem_id === "mp-pad").id;
        return gradio_config.dependencies.filter((event) => event.outputs.includes(id)
            && event.targets.every(([target]) => target !== id)).map((event) => event.id);
    }""")
    assert len(early) == 2

    def lose(route) -> None:
        words = json.loads(route.request.post_data)
        lost = words["fn_index"] in early
        route.fulfill(json={"event_id": f"lost {words['trigger_id']}"}) if lost else route.continue_()

    page.route("**/queue/join*", lose)
    page.get_by_role("tab", name="Inputs").click()
    page.get_by_role("button", name="Try an input of your own").click()
    page.wait_for_function("document.querySelector('[data-task]')?.options.length === 5")


def _follower(page, *signals: str) -> Callable[[Any], str]:
    """Return a function that tells from which of some signals a request follows; empty for any other."""
    named = page.evaluate("""signals => Object.fromEntries(gradio_config.dependencies.flatMap((event) => {
        const of = ([id]) => gradio_config.components.find((one) => one.id === id)?.props.elem_id;
        return event.targets.map(of).filter((word) => signals.includes(word)).map((word) => [event.id, word]);
    }))""", signals)
    assert set(named.values()) == set(signals)

    def follows(request) -> str:
        asks = "/queue/join" in request.url
        return named.get(str(json.loads(request.post_data)["fn_index"]), "") if asks else ""

    return follows
