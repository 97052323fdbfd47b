"""The tour of a new visitor in Chromium, with a picture and the seconds of every step.

    python app.py &  python -m tests.tour [folder] [address] [light,dark,phone] [methods,merge,slider,...]

It opens the page, reads the first result, changes the method, drags the scaling, drills from a cell of the map to an
input that flips, draws a digit, sweeps two numbers, compares two runs, and opens the link in a second browser. The last
argument leaves steps out.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from .chromium import CHROMIUM, FLAGS

SIZES = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
}
STORED = ("tsv_m", "cart", "ties", "iso_c", "wudi", "task_arithmetic", "magmax", "regmean", "knots", "dare")
CELLS = [(x, y) for x in (0.12, 0.3, 0.5, 0.7, 0.9) for y in (0.2, 0.6, 0.9)]
DONE = "/^(Done|Stored result)/.test(document.querySelector('#mp-words .mp-said').textContent)"
# The moment of the last thing that a visitor did, on the clock of the page.
ACTED = """for (const kind of ["pointerup", "click", "keydown", "change"])
  addEventListener(kind, () => (window.acted = performance.now()), true);"""
# What a link has to bring back: experts, method and its numbers, place, accuracy, the input that is explained, and what
# tells the pinned runs apart.
STATE = """JSON.stringify([
  ...document.querySelectorAll("#mp-experts input:checked, #mp-form-box input[type=number]")].map(e => e.value).concat(
  document.querySelector("#mp-method").value, [...document.querySelectorAll(".mp-where select")].map(e => e.value),
  ["#mp-headline b", "#mp-why h3", ".mp-verdict"].map(name => document.querySelector(name)?.textContent)))"""
GRADIO = "**/assets/index-*.js"  # what the page is before its scripts have come
STEPS = ("methods", "merge", "slider", "places", "drill", "own", "sweep", "compare")
SEVEN = ((9, 8), (23, 8), (15, 26))


class Tour:
    """One visit; `seconds` holds by step what its repetitions took."""

    def __init__(self, page: Any, address: str, folder: Path, tag: str) -> None:
        self.page, self.address, self.folder, self.tag = page, address, folder, tag
        self.seconds: dict[str, list[float]] = {}

    def timed(self, step: str, act: Callable[[], Any], ready: str, arg: Any = None) -> None:
        """Do something and wait until the page shows it, from the event in the browser to the frame that shows it.

        `ready` is a script that turns true, or a function of `arg` that does.
        """
        act()
        seen = f"arg => {{ const ready = {ready}; return typeof ready === 'function' ? ready(arg) : ready; }}"
        took = f"arg => ({seen})(arg) && performance.now() - window.acted"
        self.keep(step, self.page.wait_for_function(took, arg=arg).json_value() / 1000)

    def watched(self, step: str, act: Callable[[], Any], ready: str) -> None:
        """Time what begins with no event in the page, such as opening it."""
        start = time.perf_counter()
        act()
        self.page.wait_for_function(ready)
        self.keep(step, time.perf_counter() - start)

    def keep(self, step: str, seconds: float) -> None:
        self.seconds.setdefault(step, []).append(seconds)

    def picture(self, name: str, *, full: bool = False) -> None:
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.folder / f"{self.tag}-{name}.png", full_page=full)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def hush(self) -> None:
        """Leave nothing in the status line of what was said before."""
        self.page.evaluate("document.querySelector('#mp-words .mp-said').textContent = ''")

    def press(self) -> None:
        self.hush()
        self.page.click("#mp-merge")

    def idle(self) -> None:
        self.page.wait_for_function("!document.querySelector('#mp-merge').disabled")

    def run(self, steps: Collection[str]) -> str:
        """Take the steps in their order; returns the address that shares what is on the page at the end."""
        self.open()
        for step in STEPS:
            if step in steps:
                self.taken(step)
        return self.page.url

    def taken(self, step: str) -> None:
        """Take one step; where it does not end, keep a picture of what the page shows."""
        try:
            getattr(self, step)()
        except Exception:
            self.picture(f"stuck-{step}")
            raise

    def open(self) -> None:
        self.page.route(GRADIO, lambda route: route.abort())
        self.page.goto(self.address)
        self.picture("0-opening")
        self.page.unroute(GRADIO)
        painted = "document.querySelector('#panel-accuracy .main-svg')"
        go = partial(self.page.goto, self.address, wait_until="commit")
        self.watched("open: stored result", go, "document.querySelector('#ms-opening .mo-line')")
        self.watched("open: first figure after that", lambda: None, painted)
        always = "[...document.querySelectorAll('#mp-answer figure.ms-panel')].filter(p => !p.closest('.mp-if-known'))"
        drawn = "panels.length > 7 && panels.every(p => p.querySelector('.main-svg :is(.trace, .hm)'))"
        self.watched("open: every panel after that", lambda: None, f"(panels => {drawn})({always})")
        self.picture("1-open")
        self.picture("1-open-whole", full=True)

    def methods(self) -> None:
        """Go through methods whose results are stored: nothing is merged."""
        says = "m => document.querySelector('#mp-method').value === m && document.querySelector('#mp-form-box')"
        for key in STORED:
            shown = f"{says}.textContent.length && document.querySelector('#mp-cost').textContent.includes('stores')"
            before = self.page.inner_text("#mp-card-box")
            self.timed("change method", lambda key=key: self.page.select_option("#mp-method", key),
                       f"([m, b]) => ({shown})(m) && document.querySelector('#mp-card-box').innerText !== b",
                       [key, before])  # fmt: skip

    def merge(self) -> None:
        """Merge by Task Arithmetic."""
        self.page.select_option("#mp-method", "task_arithmetic")
        self.page.wait_for_timeout(1000)
        self.timed("merge Task Arithmetic and score 4170 pictures", self.press, DONE)
        self.idle()
        self.picture("2-merged")

    def slider(self) -> None:
        """Move the scaling: a first estimate, then all pictures."""
        slider = self.page.locator("#mp-form-box input[type=range]").first
        number = "document.querySelector('#mp-headline').innerText"
        for _ in range(5):
            self.hush()
            before = self.page.inner_text("#mp-headline")
            self.timed("scaling: first estimate", lambda: slider.press("ArrowRight"), f"b => {number} !== b", before)
            self.watched("scaling: all pictures after that", lambda: None, DONE)
            self.idle()
        self.picture("3-scaling")

    def places(self) -> None:
        """Click cells of the depth strip, as soon as the one before is answered and then with a pause to look."""
        plot = self.page.locator("#panel-overlap-depth .nsewdrag").first
        plot.scroll_into_view_if_needed()
        box, heading = plot.bounding_box(), "document.querySelector('#panel-overlap h3').textContent"
        for step, pause in (("linked redraw, clicks in a row", 0), ("linked redraw", 1500)):
            for right, down in CELLS:
                self.page.wait_for_timeout(pause)
                before = self.page.inner_text("#panel-overlap h3")
                at = {"x": box["width"] * right, "y": box["height"] * down}
                self.timed(step, lambda at=at: plot.click(position=at), f"b => {heading} !== b", before)
        self.page.wait_for_timeout(3000)

    def drill(self) -> None:
        """From a cell of the interference map to a component, knocked out, to an input that flips.

        Merge comes first, as the page asks: single inputs of a scaling that is known from before are not.
        """
        self.press()
        self.page.wait_for_function(DONE)
        self.idle()
        plot = self.page.locator("#panel-interference .nsewdrag").first
        plot.scroll_into_view_if_needed()
        self.page.wait_for_timeout(1500)
        box, told = plot.bounding_box(), "document.querySelector('.mp-where').textContent.includes('meet most')"
        at = {"x": box["width"] * 0.62, "y": box["height"] * 0.2}
        self.timed("a pair of the interference map", lambda: plot.click(position=at), told)
        self.page.wait_for_timeout(3000)
        self.picture("4-interference")
        pairs = "document.querySelectorAll('.mp-pairs button').length"
        self.page.wait_for_function(pairs)
        self.page.locator(".mp-pairs button").first.scroll_into_view_if_needed()
        outs = "document.querySelectorAll('.mp-outs button').length"
        self.timed("choose a colliding pair", lambda: self.page.locator(".mp-pairs button").first.click(), outs)
        last = self.page.locator(".mp-outs button").last
        self.timed("knock out: first flips", last.click, "document.querySelector('#mp-flips tbody tr')")
        settled = "!document.querySelector('#mp-flips h3').textContent.includes('≈')"
        self.watched("knock out: all pictures after that", lambda: None, settled)
        self.page.locator("#mp-flips").scroll_into_view_if_needed()
        self.picture("5-knocked-out")
        asked = "document.querySelectorAll('#mp-why .ms-router').length >= 6"
        self.timed("open a flipped input", self.page.locator(".ms-flip").first.click, asked)
        self.picture("6-flipped-input")

    def own(self) -> None:
        """Draw a seven."""
        self.tab("Inputs")
        self.page.get_by_role("button", name="Try an input of your own").click()
        self.page.wait_for_function("document.querySelector('[data-task]')?.options.length")
        sheet = self.page.locator(".mp-pad canvas")
        sheet.scroll_into_view_if_needed()
        box = sheet.bounding_box()
        spots = [(box["x"] + x * box["width"] / 32, box["y"] + y * box["height"] / 32) for x, y in SEVEN]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move(*spot, steps=6)
        said = "document.querySelector('#mp-replies .ms-panel')"
        self.timed("draw a digit: the merge answers", self.page.mouse.up, said)
        self.page.wait_for_function("document.querySelectorAll('#mp-yours-why .ms-router').length >= 6")
        self.page.locator("#mp-yours").scroll_into_view_if_needed()
        self.picture("7-own-digit")

    def sweep(self) -> None:
        """Two numbers of Ties, on 25 validation pictures a task."""
        self.tab("Merge")
        self.page.select_option("#mp-method", "ties")
        self.tab("Sweep")
        self.page.wait_for_selector("#mp-sweep-bar select[data-emit=against]")
        chosen = "w => document.querySelector(`#mp-sweep-bar select[data-emit=${w[0]}]`).value === w[1]"
        for name, value in (("pictures", "25"), ("against", "density")):
            self.page.select_option(f"#mp-sweep-bar select[data-emit={name}]", value)
            self.page.wait_for_function(chosen, arg=[name, value])
            self.page.wait_for_timeout(700)
        best = "document.querySelector('#mp-sweeping').textContent.includes('Best of')"
        self.page.set_default_timeout(600_000)
        self.timed("sweep two numbers", lambda: self.page.click("#mp-sweep-start"), best)
        self.picture("8-sweep")

    def compare(self) -> None:
        """Pin two runs of this visit and ask what tells them apart."""
        self.tab("Merge")
        for method in ("magmax", "task_arithmetic"):
            self.page.select_option("#mp-method", method)
            self.page.wait_for_timeout(1500)
            self.press()
            self.page.wait_for_function(DONE)
            self.idle()
        self.tab("Compare")
        for method, letter in (("MagMax", "A"), ("Task Arithmetic", "B")):
            row = self.page.locator(".mp-runs tbody tr", has_text=method).first
            row.get_by_role("button", name=f"as {letter}").click()
            self.page.wait_for_function("l => [...document.querySelectorAll('.mp-pinned > b')].some("
                                        "b => b.textContent === l)", arg=letter)  # fmt: skip
        self.timed("compare two runs", lambda: None,
                   "document.querySelector('.mp-verdict')?.textContent.includes('exact test')")  # fmt: skip
        self.page.wait_for_timeout(1500)
        self.picture("9-compare", full=True)


def shared(browser: Any, link: str, state: str, folder: Path) -> None:
    """Open the link in a browser that knows nothing, and find the same on the page: `state`, pins and address."""
    page = browser.new_context(**SIZES["light"]).new_page()
    page.set_default_timeout(120_000)
    page.goto(link)
    page.wait_for_selector("#mp-method", state="attached")  # the link may open another tab
    found = {key: set(re.split("[?&]", url)) for key, url in (("sent", link), ("found", page.url))}
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.wait_for_function("document.querySelectorAll('.mp-pinned > b').length === 2")
    assert found["sent"] == found["found"], found
    page.wait_for_function(f"wanted => {STATE} === wanted", arg=state)
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / "10-shared.png", full_page=True)


def main(folder: Path, address: str, sizes: str, steps: Collection[str]) -> None:
    """Take the tour in sizes such as light,dark,phone; prints the median and the 95th percentile of every step.

    The link is opened in a second browser where the tour has pinned two runs.
    """
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        for tag in sizes.split(","):
            page = browser.new_context(**SIZES[tag]).new_page()
            page.add_init_script(ACTED)
            page.set_default_timeout(90_000)
            page.on("pageerror", lambda error, tag=tag: wrong.append(f"{tag}: {error}"))
            tour = Tour(page, address, folder, tag)
            link = tour.run(steps)
            print(f"\n{tag}")
            for step, seconds in tour.seconds.items():
                high = sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))]
                print(f"  {step}: median {statistics.median(seconds):.2f} s, 95th percentile {high:.2f} s, "
                      f"{len(seconds)} times", flush=True)  # fmt: skip
            if "compare" in steps:
                shared(browser, link, page.evaluate(STATE), folder)
        browser.close()
    assert not wrong, wrong


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    chosen = given.get(3, ",".join(STEPS)).split(",")
    if unknown := set(chosen) - set(STEPS):
        sys.exit(f"There is no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}.")
    sizes = given.get(2, ",".join(SIZES))
    main(Path(given.get(0, "tour")), given.get(1, "http://127.0.0.1:7860/"), sizes, chosen)
