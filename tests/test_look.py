"""How the page is set: one scale of letters, two weights, and a font of our own for every sign."""

from __future__ import annotations

import importlib
import itertools
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from merge_engine.hp import declared
from merge_engine.methods import registry
from viz import markup, sheet, theme
from viz.panel import draw, write

ROOT = Path(__file__).resolve().parent.parent
STYLES = sorted((ROOT / "assets/css").glob("*.css"))
PANELS = [importlib.import_module(f"viz.panels.{path.stem}") for path in (ROOT / "viz/panels").glob("[!_]*.py")]
FIGURES = [panel for panel in PANELS if hasattr(panel, "figure")]


def steps() -> dict[str, int]:
    """Return the sizes of the scale, in pixels, by name."""
    found = re.findall(r"(--step-\d): (\d+)px", (ROOT / "assets/css/tokens.css").read_text("utf-8"))
    return {name: int(size) for name, size in found}


def letters(node: Any, key: str = "") -> Iterator[int]:
    """Yield the size of every font in a figure, those for narrow pages with it."""
    if isinstance(node, dict):
        for name, value in node.items():
            if (name == "size" and "font" in key) or name.endswith("font.size"):
                yield from value if isinstance(value, list) else [value]
            yield from letters(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from letters(value, key)


def test_the_scale_has_six_steps_that_can_be_told_apart():
    sizes = list(steps().values())
    assert len(sizes) == 6
    assert all(large / small >= 1.1 for small, large in itertools.pairwise(sizes))


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.stem)
def test_styles_take_sizes_and_weights_from_the_scale(path):
    css = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.S)
    allowed = {f"var({name})" for name in steps()} | {"inherit", "0"}
    for value in re.findall(r"(?<!-)\bfont-size:\s*([^;}!]+)", css):
        assert value.strip() in allowed, value
    for value in re.findall(r"(?<!-)\bfont:\s*([^;}!]+)", css):
        assert value.strip() == "inherit", value
    if path.stem != "fonts":
        assert set(re.findall(r"font-weight:\s*([^;}!]+)", css)) <= {"400", "600", "inherit"}


@pytest.mark.parametrize("panel", FIGURES, ids=lambda panel: panel.__name__.rpartition(".")[2])
def test_figures_take_sizes_from_the_scale(panel):
    assert list(steps().values())[:3] == [theme.TINY, theme.SMALL, theme.TEXT]
    for figure in draw(panel, panel.demo()).figures.values():
        found = set(letters(json.loads(figure.to_json())))
        assert found
        assert found <= {theme.TINY, theme.SMALL, theme.TEXT}


@pytest.mark.parametrize("panel", [panel for panel in PANELS if hasattr(panel, "html")], ids=lambda p: p.__name__)
def test_a_panel_of_html_brings_its_numbers(panel):
    data = panel.demo()
    told = re.search(r'data-sheet="([^"]+)"', write(panel, data))[1]
    table = json.loads(unescape(told))
    assert table == sheet.numbers(panel.rows(data))
    assert table["rows"]
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    assert "data-sheet" not in write(panel, None)


def test_markup_and_scripts_set_no_sizes_of_their_own():
    paths = [*(ROOT / "viz").rglob("*.py"), *(ROOT / "assets/js").glob("*.js")]
    assert [path.name for path in paths if re.search(r"font-?size\s*[:=]", path.read_text("utf-8"), re.I)] == []


@pytest.mark.browser
def test_every_sign_comes_from_a_font_that_is_served_here(browser, tmp_path):
    signs = [text for cls in registry().values() for text in (cls.formula, cls.paper)]
    signs += [hp.symbol for cls in registry().values() for hp in declared(cls).values()]
    texts = [path.read_text("utf-8") for path in (ROOT / "viz").rglob("*.py")]
    signs += ["".join(sorted({sign for text in texts for sign in text if sign > "~" and sign.isprintable()}))]
    style, words = "font-family: var(--ms-font); font-weight:", " ".join(signs)
    body = "".join(f'<p style="{style} {weight}">{words}</p>' for weight in (400, 600))
    page_file = tmp_path / "signs.html"
    page_file.write_text(f'<!doctype html><meta charset="utf-8">{markup.head(f"{ROOT.as_uri()}/")}{body}', "utf-8")
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.evaluate("document.fonts.ready.then(() => 0)")
    page.wait_for_function("[...document.fonts].filter((font) => font.status === 'loaded').length >= 7")
    tools = page.context.new_cdp_session(page)
    tools.send("DOM.enable")
    tools.send("CSS.enable")
    root = tools.send("DOM.getDocument", {"depth": -1})["root"]["nodeId"]
    for node in tools.send("DOM.querySelectorAll", {"nodeId": root, "selector": "p"})["nodeIds"]:
        used = tools.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        assert [font["familyName"] for font in used if not font["isCustomFont"]] == []
        assert len(used) >= 2
    page.close()
