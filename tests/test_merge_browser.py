"""Merging on the page: scores stream in, sliders are dragged, numbers are wrong, answers come late."""

from __future__ import annotations

import re
from collections.abc import Iterator
from threading import Event

import pytest
from visits import ON_PAGE, focus_figure, idle, link, merge, told

from merge_engine.contract import Step
from merge_engine.runs.recipe import Recipe

pytestmark = ON_PAGE
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


def test_a_merge_streams_its_scores(visit):
    page = visit("?suite=toy&recipe=" + link("ties"))
    page.evaluate("document.querySelector('#panel-accuracy .ms-plot').kept = true")
    merge(page)
    assert re.search(r"\d\d\.\d %", page.inner_text(".mp-main b"))
    assert page.evaluate("document.querySelector('#panel-accuracy .ms-plot').kept")
    assert page.locator("#mp-cancel").is_disabled()
    assert page.locator("#mp-merge").is_enabled()


def test_cancel_stops_and_says_what_is_left(visit, bench):
    page = visit("?suite=toy&recipe=" + link("breadcrumbs"))
    bench.pause = 0.2
    page.click("#mp-merge")
    page.wait_for_function("document.querySelector('#mp-words .mp-bar').value > 1")
    page.click("#mp-cancel")
    told(page, "Cancelled")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    assert page.locator("#mp-cancel").is_disabled()
    assert page.inner_text(".mp-main b") == "not merged yet"


def test_a_second_click_starts_no_second_merge(visit, bench, monkeypatch):
    page, begun = visit("?suite=toy&recipe=" + link("ties", scaling=0.73)), []
    run = bench.run
    monkeypatch.setattr(bench, "run", lambda recipe, *going: begun.append(recipe.digest) or run(recipe, *going))
    bench.pause = 0.1
    page.dblclick("#mp-merge")
    told(page, "Done")
    idle(page)
    page.wait_for_timeout(500)
    assert len(begun) == 1


def test_the_scaling_slider_scores_without_merging(visit):
    page = visit("?suite=toy&recipe=" + link("magmax"))
    merge(page)
    before = page.inner_text(".mp-main b")
    slider = page.locator("#mp-form-box input[type=range]").first
    slider.focus()
    slider.press("End")
    page.wait_for_function("document.querySelector('#mp-headline').textContent.includes('kept')")
    told(page, "Done")
    assert page.inner_text(".mp-main b") != before
    assert "recipe=" in page.url


def test_a_slider_that_is_moved_on_while_it_scores_ends_at_its_last_value(visit, bench):
    page = visit("?suite=toy&recipe=" + link("consensus"))
    merge(page)
    slider = page.locator("#mp-form-box input[type=range][data-live]").first
    before = slider.input_value()
    bench.pause = 0.5
    for _ in range(5):
        slider.press("ArrowRight")
        page.wait_for_timeout(200)
    page.evaluate("document.querySelector('#mp-words .mp-said').textContent = ''")
    bench.pause = 0.0
    idle(page)
    page.wait_for_timeout(1500)
    told(page, "Done")
    idle(page)
    sent = re.search(r"recipe=([^&]+)", page.url)[1]
    value = float(page.locator("#mp-form-box input[type=range][data-live]").first.input_value())
    assert value > float(before)
    scored = bench.record.known(Recipe.from_link(sent))
    assert dict(scored.recipe.parameters)["scaling"] == pytest.approx(value)


def test_a_drag_while_it_merges_frees_the_button(visit, bench):
    page = visit("?suite=toy&recipe=" + link("ties", density=0.33))
    bench.pause = 0.4
    page.click("#mp-merge")
    page.wait_for_function("document.querySelector('#mp-merge').disabled")
    page.locator("[data-owner=ties][data-name=scaling][type=range]").press("ArrowRight")
    bench.pause = 0.0
    idle = "!document.querySelector('#mp-merge').disabled && document.querySelector('#mp-cancel').disabled"
    page.wait_for_function(idle, timeout=20_000)  # what was merged already is scored first
    merge(page)


def test_another_parameter_makes_the_result_stale(visit):
    page = visit("?suite=toy&recipe=" + link("della"))
    box = page.locator("#mp-form-box input.mp-box").first
    box.fill("0.123")
    box.press("Tab")
    told(page, "recipe changed")
    box.fill("77")
    box.press("Tab")
    page.wait_for_selector("#mp-status [data-tone=bad]")
    assert "77" in page.inner_text("#mp-status [data-tone=bad]")


def test_a_bad_value_is_named_until_it_is_good_while_models_are_scored(visit, bench, monkeypatch):
    ready = Event()

    def unhurried(suite, limit, going) -> Iterator[Step]:
        done = 0
        while not ready.wait(0.4) and going():
            yield Step(done := done + 1, 999, f"picture {done}")

    monkeypatch.setattr(bench.record, "baseline_steps", unhurried)
    page = visit("?suite=toy&recipe=" + link("della"), idle=False)
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
    idle(page)
    page.click("#mp-merge")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    assert "density must be a number" in page.inner_text("#mp-status [data-tone=bad]")
    box.fill("0.5")
    box.press("Tab")
    page.wait_for_selector("#mp-status [data-tone=bad]", state="detached")


def test_published_defaults_come_back_into_the_boxes(visit):
    page = visit("?suite=toy&recipe=" + link("ensemble"))
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


def test_numbers_and_controls_point_at_each_other(visit):
    page = visit("?suite=toy&recipe=" + link("ties"))
    colour = "getComputedStyle(document.querySelector('.mp-numbers [data-of=hp-ties-scaling]')).backgroundColor"
    plain = page.evaluate(colour)
    page.click(".mp-given [data-of=hp-ties-density][title]")
    page.wait_for_function("document.activeElement.id === 'hp-ties-density'")
    assert page.evaluate(colour) == plain
    page.locator("[data-owner=ties][data-name=scaling][type=range]").press("ArrowRight")
    page.wait_for_function("document.querySelector('.mp-numbers').textContent.includes('1.05')")
    page.wait_for_function(f"{colour} !== {plain!r}")


def test_what_runs_stays_unfolded_while_a_slider_moves(visit):
    page = visit("?suite=toy&recipe=" + link("ties"))
    page.locator(".mp-variant summary").first.click()
    page.locator("[data-owner=ties][data-name=scaling][type=range]").press("ArrowRight")
    page.wait_for_function("document.querySelector('.mp-numbers').textContent.includes('1.05')")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('.mp-variant').open")
    page.select_option("#mp-method", "dare")
    page.wait_for_selector("[data-owner=dare]")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('.mp-variant').open")


def test_masks_move_with_the_slider_and_the_place_while_it_adapts_and_after(visit, bench):
    page = visit("?suite=toy&recipe=" + link("adarank", base="cart", steps=12, batch=2, mask_rate=0.05))
    slider, heading = "#panel-mask-map .ms-film input", "document.querySelector('#panel-mask-map h3').textContent"
    assert page.locator("#panel-mask-map").is_hidden()
    bench.pause = 0.2
    page.click("#mp-merge")
    page.wait_for_selector(slider)
    assert page.locator("#mp-cancel").is_enabled()
    bench.pause = 0.0
    told(page, "Done")
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
    focus_figure(page, "coefficient-map")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#mp-where select').value === '0'")
    page.wait_for_function(f"{heading}.endsWith('block 0, out, step 5')")
    assert page.inner_text("#panel-live-accuracy .ms-note")
    page.locator("#mp-method").select_option("pcb")
    told(page, "recipe changed")
    merge(page)
    page.wait_for_function("document.querySelector('#panel-mask-map').offsetParent === null")


def _asked_when_quiet(page) -> list[str]:
    """Wait until the page asks the server nothing more; returns a list that grows with what it asks afterwards."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    idle(page)
    while True:
        page.wait_for_timeout(2500)
        if not asked:
            return asked
        asked.clear()


def test_changes_that_follow_at_once_keep_their_order(visit):
    page = visit("?suite=toy&recipe=" + link("average"))
    choose = """methods => { const menu = document.querySelector("#mp-method");
        for (const m of methods) { menu.value = m; menu.dispatchEvent(new Event("change", {bubbles: true})); } }"""
    for last in ("magmax", "ties") * 6:
        page.evaluate(choose, ["dare", "cart", last])
        page.wait_for_function(f"location.search && document.querySelector('#mp-form-box [data-owner={last}]')")
        page.wait_for_timeout(700)
        assert page.locator(f"#mp-form-box [data-owner={last}]").count()
        assert page.input_value("#mp-method") == last


@pytest.mark.parametrize("late", ["/queue/data", "/queue/join"])
def test_no_answer_is_lost_when_the_stream_or_a_receipt_is_late(visit, late):
    page = visit("?suite=toy&recipe=" + link("average"), script=LATE % late)
    choose = """([first, then]) => { const menu = document.querySelector("#mp-method");
        const choose = method => { menu.value = method; menu.dispatchEvent(new Event("change", {bubbles: true})); };
        choose(first);
        window.atEnd = () => { window.atEnd = null; choose(then); }; }"""
    for first, then in (("magmax", "ties"), ("dare", "cart")) * 4:
        page.evaluate(choose, [first, then])
        page.wait_for_selector(f"#mp-form-box [data-owner={then}]", timeout=5000)
        page.wait_for_timeout(400)
        assert page.input_value("#mp-method") == then
