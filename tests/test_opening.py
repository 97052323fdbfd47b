"""What stands on the page from its first byte: whole, true, and gone once the page is there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from visits import ON_PAGE

from viz.page import acts
from viz.page import session as state
from viz.page.opening import Opening, cells, dots
from viz.page.served import Served
from viz.panels import accuracy, interference
from viz.panels.accuracy import TaskAccuracy

PAGE = "<html><head><title>T</title></head><body><gradio-app></gradio-app></body></html>"
GRADIO = "**/assets/index-*.js"
GONE = "!document.querySelector('#ms-opening')"


def client(opening: Opening) -> TestClient:
    routes = [
        Route("/", lambda _: HTMLResponse(PAGE)),
        Route("/parts", lambda _: StreamingResponse(iter([PAGE[:30], PAGE[30:]]), media_type="text/html")),
        Route("/other", lambda _: HTMLResponse("<p>other</p>")),
        Route("/data", lambda _: JSONResponse({"page": PAGE})),
        Route("/post", lambda _: HTMLResponse(PAGE), methods=["POST"]),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(Served, opening=opening)]))


@pytest.mark.parametrize("path", ["/", "/parts"])
def test_a_page_of_gradio_gets_the_opening_before_its_app(path):
    opening = Opening()
    opening.body = "<p>82 %</p>"
    got = client(opening).get(path)
    text = got.text
    assert text.index("IBMPlexSans") < text.index("</head>") < text.index('id="ms-opening"') < text.index("<gradio-app")
    assert text.index("82 %") < text.index("<script>", text.index('id="ms-opening"'))
    assert got.headers["content-length"] == str(len(got.content))


def test_nothing_else_is_touched():
    plain = client(Opening())
    assert plain.get("/other").text == "<p>other</p>"
    assert plain.get("/data").json() == {"page": PAGE}
    assert plain.post("/post").text == PAGE


def places(html: str, kind: str) -> list[float]:
    return [float(found) for found in re.findall(rf'class="{kind}" style="left:([\d.]+)%', html)]


def test_marks_stand_where_the_panel_has_them():
    data = accuracy.demo()
    html, every = dots(data, {}), [accuracy.average(data), *data]
    for kind, field in (("mo-ring", "pretrained"), ("mo-dot", "merged"), ("mo-own", "expert")):
        wanted = [100 * v / accuracy.EDGE for score in every if (v := getattr(score, field)) is not None]
        assert places(html, kind) == pytest.approx(wanted, abs=0.01)
    assert html.count("mo-unseen") == sum(not score.seen for score in data)
    hostile = dots([TaskAccuracy("<img src=x>", merged=50.0)], {})
    assert "<img" not in hostile
    assert "mo-ring" not in hostile


def test_cells_are_those_of_the_map():
    data = interference.demo()
    figure = interference.figure(data, view=next(iter(interference.VIEWS(data))))
    html, z = cells(figure), np.asarray(figure.data[0].z, float)
    assert html.count("<td") == z.size
    assert html.count("<td></td>") == np.isnan(z).sum()
    assert html.count("color-mix") == np.isfinite(z).sum()


def answered(bench, opening: Opening):
    """Merge what the toy suite opens with, and draw the opening of it; returns the run."""
    session = acts.first_session(("toy",), {})[0]
    *_, run = bench.run(state.recipe(session))
    data = interference.demo()
    opening.draw(bench, session, interference.figure(data, view=next(iter(interference.VIEWS(data)))))
    return run


def test_the_opening_is_the_stored_answer(bench, toy, toy_by_name):
    opening = Opening()
    opening.draw(bench, acts.first_session(("toy",), {})[0])
    assert opening.body == "", "nothing is stored"
    run = answered(bench, opening)
    assert f"{np.mean([run.scores[task].accuracy for task in toy.seen]):.1f} %" in opening.body
    assert opening.body.count("mo-dot") == 1 + len(run.scores)
    assert opening.body.count("<section") == 2


class TestInTheBrowser:
    pytestmark = ON_PAGE

    def test_it_stands_before_any_script_has_come_and_shows_nothing_of_a_link(self, browser, url, opening):
        opening.body = '<div class="mo-desk">82 %</div>'
        page = browser.new_page()
        page.route(GRADIO, lambda route: route.abort())
        page.goto(url)
        assert page.is_visible(".mo-desk")
        assert page.inner_text("#ms-opening h1") == "MergeScope"
        page.goto(f"{url}?suite=toy&method=ties")
        assert not page.is_visible(".mo-desk")
        assert page.is_visible(".mo-said")
        page.close()

    @pytest.mark.parametrize("query", ["", "?suite=toy", "?__theme=dark"])
    def test_it_goes_when_the_page_is_there(self, browser, url, bench, opening, query):
        answered(bench, opening)
        page = browser.new_page()
        page.goto(url + query)
        assert page.evaluate("document.querySelector('#ms-opening').classList.contains('dark')") == ("dark" in query)
        page.wait_for_function(GONE, timeout=14_000)
        assert page.is_visible("#mp-merge")
        page.close()
