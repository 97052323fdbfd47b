"""The app as programs and first visitors meet it: through gradio_client and through a headless Chromium."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from gradio_client import Client
from gradio_client.exceptions import AppError
from visits import TOLERANT, idle, merge

from viz.page.sparing import SparingBlocks

pytestmark = TOLERANT
FOCUS = """(() => {
  const here = document.activeElement, box = getComputedStyle(here.closest(".mp-toggle") ?? here);
  const wanted = getComputedStyle(document.querySelector(".ms-panel")).getPropertyValue("--ms-focus");
  return {id: here.id, name: here.outerHTML.slice(0, 80), outline: box.outline, width: parseFloat(box.outlineWidth),
    wanted: [1, 3, 5].map(i => parseInt(wanted.slice(i, i + 2), 16)).join(", ")};
})()"""
RECIPE = {"suite": "toy", "experts": ["stripes", "blob"], "method": "task_arithmetic", "parameters": {"scaling": 0.4}}


def test_no_event_has_gradio_copy_its_outputs_to_show_progress():
    import app

    events = [fn for fn in app.build_demo().fns.values() if fn.api_visibility == "private"]
    assert len(events) > 80
    assert all(fn.show_progress_on == [] for fn in events)


def test_a_page_that_is_served_holds_plain_data():
    """Gradio copies it for everybody who opens the page, with all that hangs on a listener."""
    import app

    config = app.build_demo().get_config_file()
    kept = [one for one in config["components"] if one["type"] != "state"]  # a state has a function that deletes it
    plain = {**config, "components": kept}
    assert set(json.loads(json.dumps(plain))) == set(plain)


@pytest.mark.parametrize("asked", [(), (1,), (0, 2), (0, 1, 2)])
def test_an_answer_builds_only_what_it_changes(asked):
    built = []

    class Part(gr.HTML):
        def __init__(self, value="", **settings):
            built.append(value)
            super().__init__(value, **settings)

    with SparingBlocks(analytics_enabled=False) as demo:
        parts = [Part(str(i)) for i in range(3)]
        button = gr.Button()
        button.click(lambda: None, None, parts)
    event, state = next(iter(demo.fns.values())), SessionState(demo)
    built.clear()
    answer = {parts[i]: gr.update(value=f"new {i}") for i in asked} if asked else gr.skip()
    sent = asyncio.run(demo.postprocess_data(event, answer, state))
    assert [one.get("value") for one in sent] == [f"new {i}" if i in asked else None for i in range(3)]
    assert all(one["__type__"] == "update" for one in sent)
    assert len(built) == len(asked)
    assert list(event.outputs) == parts


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
    from viz.page.opening import Opening

    settings = app.launch_settings(Opening())
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
def test_tabs_opened_after_the_first_act_draw_their_panels(visit):
    page = visit()
    before = page.inner_text("#mp-card-box")
    page.select_option("#mp-method", "ties")
    page.wait_for_function("b => document.querySelector('#mp-card-box').innerText !== b", arg=before)
    idle(page)
    for tab in ("Sweep", "Compare", "Landscape", "All methods"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(1500)
        assert page.get_by_text("Error rendering").count() == 0
        assert page.evaluate("[...MergeScope.panels].every((panel) => panel.name && panel.props.title)")


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
def test_the_keyboard_reaches_experts_and_places(visit):
    page = visit()
    page.locator(".mp-toggle input").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('#mp-card-box').textContent.includes('T = 3')")
    page.locator("#mp-where select").first.select_option("2")
    page.wait_for_function("document.querySelector('#panel-spectrum h3').textContent.includes('block 2')")
    assert page.evaluate("document.activeElement.dataset.emit") in ("experts", "block")


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
    merge(page)
    page.wait_for_function("document.querySelector('#mp-headline').getBoundingClientRect().top < innerHeight / 3")
