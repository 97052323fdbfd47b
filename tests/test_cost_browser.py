"""What something takes is told before the click, nothing heavy begins unasked, and a dragged slider asks for little."""

from __future__ import annotations

import re
import time

import pytest
from visits import ON_PAGE, link, merge, told

from merge_engine.evaluate import score_steps
from viz.page import acts

pytestmark = ON_PAGE
FULL = """const send = window.fetch;
  window.refused = 0;
  window.fetch = async (...request) => {
    const joins = String(request[0]?.url ?? request[0]).includes("/queue/join");
    if (!joins || !window.full || window.refused >= window.full) return send(...request);
    window.refused += 1;
    return new Response('{"detail": "Queue is full."}', {status: 503});
  };"""
DRAG = """async ([steps, pause]) => {
  const slider = document.querySelector("#mp-form-box input[type=range][data-live]");
  for (let i = 0; i < steps; i++) {
    slider.value = Number(slider.min) + (i % 20 + 1) * Number(slider.step);
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise((later) => setTimeout(later, pause));
  }
  slider.dispatchEvent(new Event("change", {bubbles: true}));
  return slider.value;
}"""


def test_the_cost_is_told_before_the_click_and_measured_afterwards(visit):
    page = visit("?suite=toy&recipe=" + link("ties", density=0.41))
    page.wait_for_function("document.querySelector('#mp-cost').textContent.includes('to merge +')")
    words = page.inner_text("#mp-cost")
    assert re.search(r"about [\d.]+ (s|min) to merge \+ [\d.]+ (s|min) to score", words)
    assert re.search(r"up to [\d.]+ [kMG]B of memory", words)
    assert re.search(r"stores [\d.]+ [kMG]B", words)
    merge(page)
    page.wait_for_function("document.querySelector('#mp-cost').textContent.includes('merged already')")
    assert re.search(r"merged already, about [\d.]+ s to score", page.inner_text("#mp-cost"))


def test_a_link_with_knock_outs_starts_nothing_that_takes_long(visit, bench):
    page = visit("?suite=toy&recipe=" + link("sim"))
    merge(page)
    page.context.close()
    page = visit("?suite=toy&without=blob&recipe=" + link("sim"))
    page.wait_for_selector("#mp-flips [data-emit=score]")
    for _ in range(10):
        assert not bench.busy
        time.sleep(0.1)
    assert page.text_content("#mp-flips h3") == "Without blob: not scored"
    assert "to merge +" in page.inner_text("#mp-flips")
    page.click("#mp-flips [data-emit=score]")
    page.wait_for_selector("#mp-flips tbody tr")
    page.wait_for_function("!document.querySelector('#mp-flips h3').textContent.includes('≈')")
    assert page.text_content("#mp-flips h3").startswith("Without blob: ")


@pytest.mark.parametrize("phase", ["Merging", "Scoring"])
def test_a_method_that_adapts_is_cancelled_while_it_does_and_while_it_is_scored(visit, bench, phase, monkeypatch):
    steps = 5000 if phase == "Merging" else 2
    page = visit("?suite=toy&recipe=" + link("we_moe", steps=steps, batch=4))
    bench.pause = 0.05 if phase == "Merging" else 0.0

    def slow(*given, **more):
        for scores in score_steps(*given, **more):
            time.sleep(0.6)
            yield scores

    monkeypatch.setattr("viz.page.workbench.score_steps", slow)
    page.click("#mp-merge")
    page.wait_for_function(f"document.querySelector('#mp-words .mp-said').textContent.startsWith('{phase}')")
    page.wait_for_function("!document.querySelector('#mp-cancel').disabled")
    page.click("#mp-cancel")
    told(page, "Cancelled")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    assert page.locator("#mp-cancel").is_disabled()
    assert not bench.busy


def test_a_long_drag_asks_for_its_last_value_and_for_few_before(visit, monkeypatch):
    page, asked, perform = visit("?suite=toy&recipe=" + link("ties", density=0.37)), [], acts.perform

    def slow(session, said):
        if said.get("act") == "set":
            asked.append(float(said["value"]))
            time.sleep(0.5)
        return perform(session, said)

    monkeypatch.setattr(acts, "perform", slow)
    began = time.monotonic()
    last = float(page.evaluate(DRAG, [38, 60]))  # not the default, which the address has from the start
    page.wait_for_function("end => location.search.includes(end)", arg=link("ties", density=0.37, scaling=last))
    assert asked[-1] == pytest.approx(last)
    assert len(asked) <= (time.monotonic() - began) / 0.5 + 1, "one that the server answers at a time, and the last one"
    assert len(asked) < 20


def test_what_was_set_before_a_click_is_done_before_it(visit, monkeypatch):
    page, order, perform = visit("?suite=toy&recipe=" + link("ties", density=0.36)), [], acts.perform

    def slow(session, said):
        order.append((said.get("act"), said.get("value")))
        time.sleep(0.3 if said.get("act") == "set" else 0)
        return perform(session, said)

    monkeypatch.setattr(acts, "perform", slow)
    box = "[data-owner=ties][data-name=density][type=number]"
    for value in ("0.5", "0.6"):
        page.fill(box, value)
        page.dispatch_event(box, "change")
    page.select_option("#mp-method", "magmax")
    page.wait_for_selector("[data-owner=magmax]")
    assert order == [("set", "0.5"), ("set", "0.6"), ("method", "magmax")]


def test_a_full_queue_loses_nothing(visit):
    page = visit("?suite=toy&recipe=" + link("ties", density=0.34), script=FULL)
    page.evaluate("window.full = 3")
    page.select_option("#mp-method", "dare")
    page.wait_for_selector("#mp-form-box [data-owner=dare]")
    assert page.evaluate("window.refused") == 3
