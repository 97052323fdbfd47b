"""The app as visitors meet it: through gradio_client and through a headless Chromium, on the toy suite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from visits import idle as _idle
from visits import merge as _merge
from visits import told as _said

from merge_engine.contract import Step
from merge_engine.runs.recipe import Recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FOCUS = """(() => {
  const here = document.activeElement, box = getComputedStyle(here.closest(".mp-toggle") ?? here);
  const wanted = getComputedStyle(document.querySelector(".ms-panel")).getPropertyValue("--ms-focus");
  return {id: here.id, name: here.outerHTML.slice(0, 80), outline: box.outline, width: parseFloat(box.outlineWidth),
    wanted: [1, 3, 5].map(i => parseInt(wanted.slice(i, i + 2), 16)).join(", ")};
})()"""
# An answer of an address arrives 300 ms late; `atEnd` is called when it has ended and the page does not know it yet.
LATE = """const send = window.fetch;
  window.fetch = async (...request) => {
    const answer = await send(...request);
    if (!String(request[0]?.url ?? request[0]).includes("%s")) return answer;
    const reader = answer.body.getReader();
    let wanted = true;
    const late = new ReadableStream({
      async start(to) {
        for (let done = false; !done; ) {
          const part = await reader.read();
          done = part.done;
          setTimeout(() => wanted && (part.done ? to.close() : to.enqueue(part.value)), 300);
        }
        setTimeout(() => window.atEnd?.());
      },
      cancel: () => { wanted = false; return reader.cancel(); }
    });
    return new Response(late, answer);
  };"""
RECIPE = {"suite": "toy", "experts": ["stripes", "blob"], "method": "task_arithmetic", "parameters": {"scaling": 0.4}}


def _focus_figure(page, name: str) -> None:
    """Give a panel's figure the keyboard once it is drawn; before that it is hidden and would not take it."""
    page.wait_for_selector(f"#panel-{name} .main-svg")
    figure = page.locator(f"#panel-{name} .ms-plot")
    figure.focus()
    assert figure.evaluate("figure => figure === document.activeElement")


def _asked_when_quiet(page) -> list[str]:
    """Wait until the page asks the server nothing more; returns a list that grows with what it asks afterwards."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    _idle(page)
    while True:
        page.wait_for_timeout(2500)
        if not asked:
            return asked
        asked.clear()


def test_no_event_has_gradio_copy_its_outputs_to_show_progress():
    import app

    events = [fn for fn in app.build_demo().fns.values() if fn.api_visibility == "private"]
    assert len(events) > 80
    assert all(fn.show_progress_on == [] for fn in events)


def test_programs_list_what_there_is(url):
    client = Client(url, verbose=False)
    assert {"suite": "toy", "experts": ["stripes", "blob", "colour", "grain"]}.items() <= next(
        s for s in client.predict(api_name="/suites") if s["suite"] == "toy"
    ).items()
    methods = client.predict(api_name="/methods")
    assert any(m["key"] == "task_arithmetic" for m in methods)
    named = {name for name in client.view_api(return_format="dict")["named_endpoints"]}
    assert named == {"/suites", "/methods", "/merge"}


def test_a_request_does_not_sum_up_all_requests_before_it(url, monkeypatch):
    summed = []
    monkeypatch.setattr("gradio.queueing.Queue._get_df", lambda records: summed.append(records))
    assert Client(url, verbose=False).predict(api_name="/methods")
    assert summed == []


def test_programs_merge_and_watch(url):
    job = Client(url, verbose=False).submit(RECIPE, api_name="/merge")
    last = job.result(timeout=60)
    assert last["phase"] == "done"
    assert set(last["accuracy"]) == {"stripes", "blob", "shape"}
    assert last["accuracy"]["blob"]["low"] <= last["accuracy"]["blob"]["merged"] <= last["accuracy"]["blob"]["high"]
    assert len(job.outputs()) > 1


@pytest.mark.parametrize("change", [{"method": "moon"}, {"experts": []}, {"parameters": {"scaling": 99}}, {"x": 1}])
def test_programs_are_told_what_is_wrong(url, change):
    with pytest.raises(AppError, match=r"moon|expert|scaling|x"):
        Client(url, verbose=False).predict(RECIPE | change, api_name="/merge")


def test_launch_settings_keep_everything_local():
    import app

    settings = app.launch_settings()
    assert settings["ssr_mode"] is False
    assert settings["run_history"] is False
    assert settings["state_session_capacity"] <= 100
    assert all(Path(path).is_file() for path in settings["css_paths"])
    fonts = settings["theme"]._font
    assert not any(isinstance(font, gr.themes.GoogleFont) for font in fonts)


@pytest.mark.browser
def test_the_first_sight_has_every_panel(visit):
    page = visit()
    assert page.locator(".main-svg").count() >= 5
    assert page.inner_text(".mp-brand h1") == "MergeScope"
    assert "–" not in page.inner_text(".mp-headline").split()
    page.wait_for_function("document.querySelector('.mp-headline').textContent.includes('plain average')")
    assert page.locator(".mp-toggle input:checked").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_labels_have_room_before_a_figure_is_drawn(visit, width):
    page = visit(viewport={"width": width, "height": 900})
    shown = "[...MergeScope.panels].filter(p => p.listening && p.width)"
    page.wait_for_function(f"{shown}.length >= 8")
    short = "p => 'lrtb'.split('').some(side => p.plot._fullLayout._size[side] > p.figure.layout.margin[side] + 0.01)"
    assert page.evaluate(f"{shown}.filter({short}).map(p => p.name)") == []


@pytest.mark.browser
def test_tabs_about_what_is_stored_are_filled_when_they_are_opened(visit):
    page = visit()
    for tab, words in (("All methods", "No results are stored"), ("About", "Tasks, sources and licences")):
        assert page.get_by_text(words).count() == 0
        page.get_by_role("tab", name=tab, exact=True).click()
        page.get_by_text(words).wait_for()


@pytest.mark.browser
def test_the_recipe_stays_in_sight_and_the_keyboard_is_seen(visit):
    page = visit()
    page.evaluate("scrollTo(0, 700)")
    page.wait_for_function("scrollY > 600 && document.querySelector('#mp-controls').getBoundingClientRect().y >= 0")
    page.evaluate("scrollTo(0, 0)")
    page.locator(".mp-toggle input").first.focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        shown = page.evaluate(FOCUS)
        assert "solid" in shown["outline"], shown
        assert shown["wanted"] in shown["outline"], shown
        assert shown["width"] >= 2, shown
        if shown["id"] == "mp-merge":
            break
    assert shown["id"] == "mp-merge"


@pytest.mark.browser
def test_a_merge_streams_its_scores(visit):
    page = visit("?suite=toy&recipe=" + _link("ties"))
    page.evaluate("document.querySelector('#panel-accuracy .ms-plot').kept = true")
    _merge(page)
    assert re.search(r"\d\d\.\d %", page.inner_text(".mp-main b"))
    assert page.evaluate("document.querySelector('#panel-accuracy .ms-plot').kept")
    assert page.locator("#mp-cancel").is_disabled()
    assert page.locator("#mp-merge").is_enabled()


@pytest.mark.browser
def test_cancel_stops_and_says_what_is_left(visit, bench):
    page = visit("?suite=toy&recipe=" + _link("breadcrumbs"))
    bench.pause = 0.2
    page.click("#mp-merge")
    page.wait_for_function("document.querySelector('#mp-words .mp-bar').value > 1")
    page.click("#mp-cancel")
    _said(page, "Cancelled")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    assert page.locator("#mp-cancel").is_disabled()
    assert page.inner_text(".mp-main b") == "not merged yet"


@pytest.mark.browser
def test_the_scaling_slider_scores_without_merging(visit):
    page = visit("?suite=toy&recipe=" + _link("magmax"))
    _merge(page)
    before = page.inner_text(".mp-main b")
    slider = page.locator("#mp-form-box input[type=range]").first
    slider.focus()
    slider.press("End")
    page.wait_for_function("document.querySelector('#mp-headline').textContent.includes('kept')")
    _said(page, "Done")
    assert page.inner_text(".mp-main b") != before
    assert "recipe=" in page.url


@pytest.mark.browser
def test_a_slider_that_is_moved_on_while_it_scores_ends_at_its_last_value(visit, bench):
    page = visit("?suite=toy&recipe=" + _link("consensus"))
    _merge(page)
    slider = page.locator("#mp-form-box input[type=range][data-live]").first
    before = slider.input_value()
    bench.pause = 0.5
    for _ in range(5):
        slider.press("ArrowRight")
        page.wait_for_timeout(200)
    page.evaluate("document.querySelector('#mp-words .mp-said').textContent = ''")
    bench.pause = 0.0
    _idle(page)
    page.wait_for_timeout(1500)
    _said(page, "Done")
    _idle(page)
    link = re.search(r"recipe=([^&]+)", page.url)[1]
    value = float(page.locator("#mp-form-box input[type=range][data-live]").first.input_value())
    assert value > float(before)
    scored = bench.record.known(Recipe.from_link(link))
    assert dict(scored.recipe.parameters)["scaling"] == pytest.approx(value)


@pytest.mark.browser
def test_another_parameter_makes_the_result_stale(visit):
    page = visit("?suite=toy&recipe=" + _link("della"))
    box = page.locator("#mp-form-box input.mp-box").first
    box.fill("0.123")
    box.press("Tab")
    _said(page, "recipe changed")
    box.fill("77")
    box.press("Tab")
    page.wait_for_selector("#mp-status [data-tone=bad]")
    assert "77" in page.inner_text("#mp-status [data-tone=bad]")


@pytest.mark.browser
def test_a_bad_value_is_named_until_it_is_good_while_models_are_scored(visit, bench, monkeypatch):
    ready = Event()

    def unhurried(suite, limit, going) -> Iterator[Step]:
        done = 0
        while not ready.wait(0.4) and going():
            yield Step(done := done + 1, 999, f"picture {done}")

    monkeypatch.setattr(bench.record, "baseline_steps", unhurried)
    page = visit("?suite=toy&recipe=" + _link("della"), idle=False)
    box = page.locator("#mp-form-box input.mp-box").first
    box.fill("77")
    box.press("Tab")
    page.wait_for_selector("#mp-status [data-tone=bad]")
    before = page.evaluate("document.querySelector('#mp-preparing .mp-bar').value")
    page.wait_for_function("v => document.querySelector('#mp-preparing .mp-bar').value > v", arg=before)
    page.locator("#mp-where select").first.select_option("2")
    page.wait_for_function("document.querySelector('#panel-spectrum h3').textContent.includes('block 2')")
    assert "density must be a number" in page.inner_text("#mp-status [data-tone=bad]")
    assert box.get_attribute("aria-invalid") == "true"
    ready.set()
    _idle(page)
    page.click("#mp-merge")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    assert "density must be a number" in page.inner_text("#mp-status [data-tone=bad]")
    box.fill("0.5")
    box.press("Tab")
    page.wait_for_selector("#mp-status [data-tone=bad]", state="detached")


@pytest.mark.browser
def test_published_defaults_come_back_into_the_boxes(visit):
    page = visit("?suite=toy&recipe=" + _link("ensemble"))
    box = page.locator("#mp-form-box input.mp-box").first
    published = box.input_value()
    for value in ("0.321", "7777777"):
        box.fill(value)
        box.press("Tab")
        page.wait_for_selector("#mp-form-box [data-emit=preset][aria-pressed=true]", state="detached")
        page.click("#mp-form-box [data-name=published]")
        page.wait_for_function("w => document.querySelector('#mp-form-box input.mp-box').value === w", arg=published)
        page.wait_for_selector("#mp-status [data-tone=bad]", state="detached")
        page.wait_for_selector("#mp-form-box [data-name=published][aria-pressed=true]")


@pytest.mark.browser
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


@pytest.mark.browser
def test_menus_and_boxes_show_the_session_after_they_were_touched(visit):
    page = visit("?suite=toy&recipe=" + _link("dare"))
    page.locator(".mp-toggle input").first.uncheck()
    page.locator("#mp-method").select_option("ties")
    page.wait_for_selector("#hp-ties-density")
    page.get_by_role("tab", name="All methods").click()
    page.wait_for_selector("#mp-table .mp-notice")
    made = f'<button data-emit="load" data-recipe="{_link("magmax")}">load</button>'
    page.evaluate("html => document.querySelector('#mp-table .mp-notice').innerHTML = html", made)
    page.click("#mp-table button")
    page.wait_for_function("document.querySelector('#mp-method').value === 'magmax'")
    assert page.locator(".mp-toggle input:checked").count() == 4
    block = page.locator("#mp-where select").first
    there = block.input_value()
    block.select_option("2")
    page.wait_for_function("document.querySelector('#panel-spectrum h3').textContent.includes('block 2')")
    page.wait_for_selector("#panel-overlap-depth .nsewdrag")
    _focus_figure(page, "overlap-depth")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#mp-where select').value === '0'")
    assert there == "1"


@pytest.mark.browser
def test_the_open_tab_is_in_the_address(visit):
    page = visit()
    page.goto(page.url.partition("?")[0] + "?suite=toy#sweep")
    page.wait_for_function("document.querySelector('[role=tab][aria-selected=true]')?.textContent === 'Sweep'")
    page.wait_for_selector("#mp-sweep-start")
    page.get_by_role("tab", name="All methods").click()
    page.wait_for_function("location.hash === '#all-methods'")
    page.get_by_role("tab", name="Merge", exact=True).click()
    page.wait_for_function("location.hash === ''")
    page.select_option("#mp-method", "ties")
    page.wait_for_function("location.search.includes('recipe=')")
    page.get_by_role("tab", name="Inputs").click()
    page.wait_for_function("location.hash === '#inputs'")
    page.get_by_role("tab", name="Merge", exact=True).click()
    page.wait_for_timeout(800)
    page.select_option("#mp-method", "average")
    page.wait_for_function("!document.querySelector('[data-undo]').disabled")
    page.get_by_role("tab", name="Inputs").click()
    page.wait_for_function("location.hash === '#inputs'")
    page.click("[data-undo]")
    page.wait_for_function("document.querySelector('#mp-method').value === 'ties'")
    assert page.evaluate("location.hash") == "#inputs"


@pytest.mark.browser
def test_going_back_lets_go_of_a_pair_and_of_a_narrowing(visit):
    page = visit()
    _focus_figure(page, "collisions")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".mp-outs button")
    page.wait_for_function("location.search.includes('pair=')")
    page.click("[data-undo]")
    page.wait_for_selector(".mp-outs button", state="detached")
    page.wait_for_function("!location.search.includes('pair=')")
    page.click("[data-redo]")
    page.wait_for_selector(".mp-outs button")


@pytest.mark.browser
def test_the_keyboard_reaches_experts_and_places(visit):
    page = visit()
    page.locator(".mp-toggle input").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('#mp-card-box').textContent.includes('T = 3')")
    page.locator("#mp-where select").first.select_option("2")
    page.wait_for_function("document.querySelector('#panel-spectrum h3').textContent.includes('block 2')")
    assert page.evaluate("document.activeElement.dataset.emit") in ("experts", "block")


@pytest.mark.browser
def test_masks_move_with_the_slider_and_the_place_while_it_adapts_and_after(visit, bench):
    page = visit("?suite=toy&recipe=" + _link("adarank", base="cart", steps=12, batch=2, mask_rate=0.05))
    slider, heading = "#panel-mask-map .ms-film input", "document.querySelector('#panel-mask-map h3').textContent"
    assert page.locator("#panel-mask-map").is_hidden()
    bench.pause = 0.2
    page.click("#mp-merge")
    page.wait_for_selector(slider)
    assert page.locator("#mp-cancel").is_enabled()
    bench.pause = 0.0
    _said(page, "Done")
    page.wait_for_function(f"{heading}.endsWith('block 1, fc1, step 12')")
    cells = "JSON.stringify(document.querySelector('#panel-mask-map .ms-plot').data[0].z)"
    last = page.evaluate(cells)
    asked = _asked_when_quiet(page)
    page.locator(slider).fill("0")
    page.wait_for_function(f"{heading}.endsWith('block 1, fc1, step 0')")
    page.wait_for_function(f"last => {cells} !== last", arg=last)
    assert page.locator(slider).get_attribute("aria-valuetext") == "step 0 of 12"
    page.get_by_role("button", name="Play").first.click()
    page.wait_for_function(f"{heading}.endsWith('step 12')")
    page.wait_for_function(f"last => {cells} === last", arg=last)
    assert len([address for address in asked if "queue/join" in address]) <= 2  # the word for the address
    page.locator(slider).fill("5")
    page.wait_for_function("location.search.includes('panels=mask_map-at.5')")
    page.locator("#mp-where select").last.select_option("out")
    page.wait_for_function(f"{heading}.endsWith('block 1, out, step 5')")
    _focus_figure(page, "coefficient-map")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#mp-where select').value === '0'")
    page.wait_for_function(f"{heading}.endsWith('block 0, out, step 5')")
    assert page.inner_text("#panel-live-accuracy .ms-note")
    page.locator("#mp-method").select_option("pcb")
    _said(page, "recipe changed")
    _merge(page)
    page.wait_for_function("document.querySelector('#panel-mask-map').offsetParent === null")


@pytest.mark.browser
def test_the_address_brings_a_recipe_back(visit):
    page = visit()
    page.locator("#mp-method").select_option("ties")
    page.wait_for_selector("#hp-ties-density")
    before = page.url
    page.locator("#hp-ties-density").fill("0.4")
    page.locator("#hp-ties-density").press("Tab")
    page.wait_for_function("before => location.href !== before", arg=before)
    again = visit(page.url[page.url.index("?") :])
    assert again.locator("#mp-method").input_value() == "ties"
    assert again.locator("#hp-ties-density").input_value() == "0.4"


@pytest.mark.browser
def test_a_broken_address_says_so_and_opens(visit):
    page = visit("?suite=toy&recipe=1nonsense")
    _said(page, "does not hold a recipe")
    assert page.locator("#mp-merge").is_enabled()


@pytest.mark.browser
def test_dark_is_dark(visit):
    page = visit(color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(n) for n in re.findall(r"\d+", ground)[:3]) < 60
    paper = page.evaluate("getComputedStyle(document.querySelector('#panel-accuracy .main-svg')).background")
    assert "255, 255, 255" not in paper


@pytest.mark.browser
def test_a_phone_scrolls_in_one_direction(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    controls, answer = (page.locator(f"#{name}").bounding_box() for name in ("mp-controls", "mp-answer"))
    assert controls["y"] < answer["y"]
    page.set_viewport_size({"width": 390, "height": 500})
    go = page.locator("#mp-merge").bounding_box()
    assert go["y"] + go["height"] <= 500
    assert page.locator("#mp-merge").bounding_box()["height"] >= 40
    _merge(page)
    page.wait_for_function("document.querySelector('#mp-headline').getBoundingClientRect().top < innerHeight / 3")


@pytest.mark.browser
def test_single_inputs_are_explained_and_narrowed(visit):
    page = visit("?suite=toy&recipe=" + _link("sim", rank=3))
    page.get_by_role("tab", name="Inputs").click()
    page.wait_for_function("document.querySelector('#mp-gallery').textContent.includes('Press Merge')")
    page.get_by_role("tab", name="Merge", exact=True).click()
    _merge(page)
    page.get_by_role("tab", name="Inputs").click()
    _choose(page, 3)
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


@pytest.mark.browser
def test_changes_that_follow_at_once_keep_their_order(visit):
    page = visit("?suite=toy&recipe=" + _link("average"))
    choose = """methods => { const menu = document.querySelector("#mp-method");
        for (const m of methods) { menu.value = m; menu.dispatchEvent(new Event("change", {bubbles: true})); } }"""
    for last in ("magmax", "ties") * 6:
        page.evaluate(choose, ["dare", "cart", last])
        page.wait_for_function(f"location.search && document.querySelector('#mp-form-box [data-owner={last}]')")
        page.wait_for_timeout(700)
        assert page.locator(f"#mp-form-box [data-owner={last}]").count()
        assert page.input_value("#mp-method") == last


@pytest.mark.browser
@pytest.mark.parametrize("late", ["/queue/data", "/queue/join"])
def test_no_answer_is_lost_when_the_stream_or_a_receipt_is_late(visit, late):
    page = visit("?suite=toy&recipe=" + _link("average"), script=LATE % late)
    choose = """([first, then]) => { const menu = document.querySelector("#mp-method");
        const choose = method => { menu.value = method; menu.dispatchEvent(new Event("change", {bubbles: true})); };
        choose(first);
        window.atEnd = () => { window.atEnd = null; choose(then); }; }"""
    for first, then in (("magmax", "ties"), ("dare", "cart")) * 4:
        page.evaluate(choose, [first, then])
        page.wait_for_selector(f"#mp-form-box [data-owner={then}]", timeout=5000)
        page.wait_for_timeout(400)
        assert page.input_value("#mp-method") == then


@pytest.mark.browser
def test_steps_can_be_undone_and_done_again(visit):
    page = visit("?suite=toy&recipe=" + _link("task_arithmetic"))
    undo, redo = page.get_by_label("Undo"), page.get_by_label("Redo")
    assert undo.is_disabled()
    assert redo.is_disabled()
    page.wait_for_timeout(800)
    page.select_option("#mp-method", "ties")
    page.wait_for_function("document.querySelector('[data-undo]:not([disabled])')")
    page.wait_for_timeout(800)
    box = "[data-owner=ties][data-name=density][type=number]"
    page.locator(box).fill("0.5")
    page.keyboard.press("Tab")
    page.wait_for_function("history.state.step === 2")
    undo.click()
    page.wait_for_function(f"document.querySelector('{box}').value === '0.2'")
    page.keyboard.press("Control+z")
    page.wait_for_function("document.querySelector('#mp-method').value === 'task_arithmetic'")
    assert undo.is_disabled()
    page.keyboard.press("Control+Shift+z")
    page.wait_for_function("document.querySelector('#mp-method').value === 'ties'")
    redo.click()
    page.wait_for_function(f"document.querySelector('{box}').value === '0.5'")
    assert redo.is_disabled()


@pytest.mark.browser
def test_undo_twice_at_once_leaves_redo_and_the_runs_of_the_visit(visit):
    page = visit("?suite=toy&recipe=" + _link("task_arithmetic"))
    _merge(page)
    page.wait_for_timeout(800)
    for step, method in enumerate(("ties", "magmax", "dare"), 1):
        page.select_option("#mp-method", method)
        page.wait_for_function(f"history.state.step === {step}")
        page.wait_for_timeout(800)
    page.evaluate("for (let i = 0; i < 2; i++) document.querySelector('[data-undo]').click()")
    page.wait_for_function("document.querySelector('#mp-method').value === 'ties'")
    page.wait_for_timeout(800)
    assert page.evaluate("history.state.step") == 1
    for method in ("magmax", "dare"):
        page.get_by_label("Redo").click()
        page.wait_for_function(f"document.querySelector('#mp-method').value === '{method}'")
    assert page.get_by_label("Redo").is_disabled()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_function("document.querySelector('.mp-runs')?.textContent.includes('Task Arithmetic')")


@pytest.mark.browser
def test_numbers_and_controls_point_at_each_other(visit):
    page = visit("?suite=toy&recipe=" + _link("ties"))
    colour = "getComputedStyle(document.querySelector('.mp-numbers [data-of=hp-ties-scaling]')).backgroundColor"
    plain = page.evaluate(colour)
    page.click(".mp-given [data-of=hp-ties-density][title]")
    page.wait_for_function("document.activeElement.id === 'hp-ties-density'")
    assert page.evaluate(colour) == plain
    page.locator("[data-owner=ties][data-name=scaling][type=range]").press("ArrowRight")
    page.wait_for_function("document.querySelector('.mp-numbers').textContent.includes('1.05')")
    page.wait_for_function(f"{colour} !== {plain!r}")


@pytest.mark.browser
def test_what_runs_stays_unfolded_while_a_slider_moves(visit):
    page = visit("?suite=toy&recipe=" + _link("ties"))
    page.locator(".mp-variant summary").first.click()
    page.locator("[data-owner=ties][data-name=scaling][type=range]").press("ArrowRight")
    page.wait_for_function("document.querySelector('.mp-numbers').textContent.includes('1.05')")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('.mp-variant').open")
    page.select_option("#mp-method", "dare")
    page.wait_for_selector("[data-owner=dare]")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('.mp-variant').open")


@pytest.mark.browser
def test_a_drag_while_it_merges_frees_the_button(visit, bench):
    page = visit("?suite=toy&recipe=" + _link("ties", density=0.33))
    bench.pause = 0.4
    page.click("#mp-merge")
    page.wait_for_function("document.querySelector('#mp-merge').disabled")
    page.locator("[data-owner=ties][data-name=scaling][type=range]").press("ArrowRight")
    bench.pause = 0.0
    page.wait_for_function("!document.querySelector('#mp-merge').disabled", timeout=20_000)
    assert page.locator("#mp-cancel").is_disabled()
    _merge(page)


@pytest.mark.browser
def test_a_second_click_starts_no_second_merge(visit, bench, monkeypatch):
    page, begun = visit("?suite=toy&recipe=" + _link("ties", scaling=0.73)), []
    run = bench.run
    monkeypatch.setattr(bench, "run", lambda recipe, *going: begun.append(recipe.digest) or run(recipe, *going))
    bench.pause = 0.1
    page.dblclick("#mp-merge")
    _said(page, "Done")
    _idle(page)
    page.wait_for_timeout(500)
    assert len(begun) == 1


@pytest.mark.browser
def test_a_page_that_the_server_let_go_of_comes_back(visit, bench):
    """As after an hour of sleep: the server makes up a session, and the page opens its own address again."""
    page = visit("?suite=toy&recipe=" + _link("ties", density=0.6))
    page.wait_for_timeout(500)
    bench.sessions.clear()
    page.select_option("#mp-method", "dare")
    page.wait_for_function("document.querySelector('#mp-fault').textContent.includes('let go of this page')")
    assert page.input_value("[data-owner=ties][data-name=density][type=number]") == "0.6"
    assert page.url.endswith(_link("ties", density=0.6))
    page.select_option("#mp-method", "dare")
    page.wait_for_function("!document.querySelector('#mp-fault').textContent.includes('let go of this page')")
    page.select_option("#mp-method", "ties")
    page.wait_for_function("end => location.search.endsWith(end)", arg=_link("ties", density=0.6))
    bench.sessions.clear()
    page.click("#mp-merge")
    page.wait_for_function("document.querySelector('#mp-fault').textContent.includes('let go of this page')")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    _merge(page)
    assert page.url.endswith(_link("ties", density=0.6))


@pytest.mark.browser
def test_a_link_opens_the_input_that_was_chosen(visit):
    page = visit("?suite=toy&recipe=" + _link("task_arithmetic"))
    _merge(page)
    page.get_by_role("tab", name="Inputs").click()
    _choose(page, 3)
    page.wait_for_function("location.search.includes('input=')")
    heading = page.inner_text("#mp-why h3")
    page.reload()
    page.wait_for_function("document.querySelector('[role=tab][aria-selected=true]')?.textContent === 'Inputs'")
    page.wait_for_function("t => document.querySelector('#mp-why h3')?.textContent === t", arg=heading)
    assert "input=" in page.url


@pytest.mark.browser
def test_points_of_the_map_are_inputs(visit):
    page = visit("?suite=toy&recipe=" + _link("task_arithmetic"))
    _merge(page)
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


@pytest.mark.browser
def test_a_drawing_of_ones_own_is_answered_and_stays_private(visit):
    page = visit("?suite=toy&recipe=" + _link("sim"))
    _merge(page)
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


def _choose(page, number: int) -> None:
    """Choose an input of the gallery and wait until every expert has answered."""
    page.locator(".ms-thumb").nth(number).click()
    page.wait_for_function("document.querySelectorAll('.ms-router').length >= 6")
    page.wait_for_function("!document.querySelector('#mp-why').textContent.includes('…')")


@pytest.mark.browser
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


def _click_cell(page, right: float, down: float) -> None:
    """Click a place of the route confusion, in shares of its width and height."""
    plot = page.locator("#panel-route-confusion .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * right, "y": box["height"] * down})


def _tiles(page) -> list[str]:
    """Return the numbers of the headline but the seconds, which hang on what else the machine does."""
    tiles = [" ".join(text.split()) for text in page.locator("#mp-headline .mp-tile").all_text_contents()]
    assert any(text.startswith("merge time") for text in tiles)
    return [text for text in tiles if not text.startswith("merge time")]


def test_a_knock_out_is_scored_beside_the_merge_and_shows_what_flips(visit):
    page = visit()
    _merge(page)
    page.wait_for_function("document.querySelector('#mp-headline').textContent.includes('over plain average')")
    headline = _tiles(page)
    _focus_figure(page, "collisions")
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
    page.click("#mp-tabs button[role=tab] >> nth=0")
    page.click(".mp-gone button")
    page.wait_for_selector("#mp-flips h3", state="detached")
    assert "without=" not in page.url


@pytest.mark.browser
def test_tabs_opened_after_the_first_act_draw_their_panels(visit):
    page = visit()
    before = page.inner_text("#mp-card-box")
    page.select_option("#mp-method", "ties")
    page.wait_for_function("b => document.querySelector('#mp-card-box').innerText !== b", arg=before)
    _idle(page)
    for tab in ("Sweep", "Compare", "Landscape", "All methods"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(1500)
        assert page.get_by_text("Error rendering").count() == 0
        assert page.evaluate("[...MergeScope.panels].every((panel) => panel.name && panel.props.title)")


def _link(method: str, **parameters) -> str:
    from merge_engine.runs.recipe import Recipe

    return Recipe("toy", ("stripes", "blob", "colour", "grain"), method, parameters).to_link()


@pytest.mark.browser
def test_two_runs_are_compared_input_by_input(visit):
    page = visit()
    for method in ("average", "tsv_m"):
        before = page.inner_text("#mp-card-box")
        page.select_option("#mp-method", method)
        page.wait_for_function("b => document.querySelector('#mp-card-box').innerText !== b", arg=before)
        _merge(page)
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector(".mp-runs tbody tr:nth-child(2)")
    page.locator(".mp-runs tr", has_text="Weight average").get_by_role("button", name="as A").press("Enter")
    page.wait_for_selector(".mp-verdict")
    page.locator(".mp-runs tr", has_text="TSV-M").get_by_role("button", name="as B").press("Enter")
    page.wait_for_function("document.querySelector('.mp-verdict').textContent.includes('exact test')")
    page.wait_for_selector("#panel-differences .main-svg")
    page.wait_for_selector("#panel-run-costs .main-svg")
    page.get_by_role("button", name="to merge", exact=True).press("Enter")
    page.wait_for_selector("th[aria-sort=ascending] >> text=to merge")
    link = page.url.partition("#")[0]
    assert "a=1" in link
    assert "b=1" in link
    page.locator("#mp-differing .ms-thumb").first.press("Enter")
    page.wait_for_selector("#mp-why .ms-input")
    again = visit(link[link.index("?") :])
    again.get_by_role("tab", name="Compare").click()
    again.wait_for_function("document.querySelector('.mp-verdict')?.textContent.includes('exact test')")
    again.set_viewport_size({"width": 390, "height": 800})
    again.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_a_sweep_draws_its_curve_and_a_point_goes_into_the_recipe(visit):
    page = visit("?suite=toy&sweep=scaling%3D0%3A1%3A5%4025%40validation&recipe=" + _link("magmax"))
    page.get_by_role("tab", name="Sweep").click()
    page.wait_for_selector("#panel-sweep-curve .main-svg")
    page.wait_for_function("document.querySelector('#mp-sweep-cost').textContent.includes('5 scorings of 100')")
    page.dblclick("#mp-sweep-start")
    said = "document.querySelector('#mp-sweeping').textContent"
    page.wait_for_function(f"{said}.includes('Best of 5 points on validation')")
    page.wait_for_function("!document.querySelector('#mp-sweep-start').disabled")
    page.wait_for_function("document.querySelector('#mp-sweep-cost').textContent.includes('nothing is computed')")
    assert page.locator("#panel-sweep-plane").is_hidden()
    _focus_figure(page, "sweep-curve")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(f"{said}.includes('Taken into the recipe')")
    assert "sweep=" in page.url
    taken = re.search(r"recipe: scaling (\S+)\. Press", page.inner_text("#mp-sweeping .mp-said"))[1]
    page.get_by_role("tab", name="Merge").click()
    page.wait_for_function("v => document.querySelector('#hp-magmax-scaling').value === v", arg=taken)
