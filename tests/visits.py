"""A visit to the page in Chromium: a workbench that can be slowed down, and what visitors do over and over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import draw_plain_maps

from merge_engine.maths.svd import SvdStore
from merge_engine.runs.recipe import Recipe
from viz.page.workbench import Runs, Workbench

TOLERANT = [  # of what Gradio's server says about itself while it is started and closed over and over
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ON_PAGE = [pytest.mark.browser, *TOLERANT]


class PatientBench(Workbench):
    """A workbench that can be slowed down, so that there is time to press Cancel; its second map needs no compiling."""

    pause = 0.0
    sessions: Any = None  # the server's memory of who is on the page

    def __init__(self) -> None:
        super().__init__(svd=SvdStore(folder=None))
        draw_plain_maps(self)

    def run(self, recipe, going: Callable[[], bool] = lambda: True) -> Runs:
        runs = super().run(recipe, going)
        while True:
            try:
                run = next(runs)
            except StopIteration as end:
                return end.value
            time.sleep(self.pause)
            yield run


def is_outside(address: str) -> bool:
    return not address.startswith(("http://127.0.0.1:", "http://localhost:", "data:", "blob:"))


def idle(page) -> None:
    page.wait_for_function("!document.querySelector('#mp-answer [data-tone=busy]')")


def told(page, words: str) -> None:
    """Wait until the status line shows some words; what it last said aloud may be older."""
    said = "w => [...document.querySelectorAll('#mp-status .mp-said')].some((said) => said.textContent.includes(w))"
    page.wait_for_function(said, arg=words)


def merge(page) -> None:
    """Press Merge and wait for the answer."""
    page.evaluate("document.querySelector('#mp-words .mp-said').textContent = ''")
    page.click("#mp-merge")
    told(page, "Done")
    idle(page)


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def link(method: str, **parameters) -> str:
    """Return a recipe of all experts of the toy suite, as it stands in an address."""
    return Recipe("toy", ("stripes", "blob", "colour", "grain"), method, parameters).to_link()


def choose(page, number: int) -> None:
    """Choose an input of the gallery and wait until every expert has answered."""
    page.locator(".ms-thumb").nth(number).click()
    page.wait_for_function("document.querySelectorAll('.ms-router').length >= 6")
    page.wait_for_function("!document.querySelector('#mp-why').textContent.includes('…')")


def focus_figure(page, name: str) -> None:
    """Give a panel's figure the keyboard once it is drawn; before that it is hidden and would not take it."""
    page.wait_for_selector(f"#panel-{name} .main-svg")
    figure = page.locator(f"#panel-{name} .ms-plot")
    figure.focus()
    assert figure.evaluate("figure => figure === document.activeElement")
