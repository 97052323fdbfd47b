"""What a visitor did is in the address, is undone step by step, and comes back."""

from __future__ import annotations

from urllib.parse import urlsplit

from visits import ON_PAGE, choose, focus_figure, link, merge, told

pytestmark = ON_PAGE


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


def test_the_page_is_not_fetched_again_when_its_address_changes(visit):
    page = visit()
    page.wait_for_selector("#panel-overlap .main-svg [clip-path]")
    pages: list[str] = []
    page.on("request", lambda request: pages.append(request.url) if urlsplit(request.url).path == "/" else None)
    cells = page.locator("#panel-overlap-depth .nsewdrag").first
    box = cells.bounding_box()
    for right in (0.2, 0.8):
        before = page.inner_text("#panel-overlap h3")
        cells.click(position={"x": box["width"] * right, "y": box["height"] / 2})
        page.wait_for_function("b => document.querySelector('#panel-overlap h3').innerText !== b", arg=before)
        page.wait_for_timeout(800)  # the browser asks for what the address names in an idle moment
    assert "at=" in page.url
    assert not pages


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


def test_a_broken_address_says_so_and_opens(visit):
    page = visit("?suite=toy&recipe=1nonsense")
    told(page, "does not hold a recipe")
    assert page.locator("#mp-merge").is_enabled()


def test_a_link_opens_the_input_that_was_chosen(visit):
    page = visit("?suite=toy&recipe=" + link("task_arithmetic"))
    merge(page)
    page.get_by_role("tab", name="Inputs").click()
    choose(page, 3)
    page.wait_for_function("location.search.includes('input=')")
    heading = page.inner_text("#mp-why h3")
    page.reload()
    page.wait_for_function("document.querySelector('[role=tab][aria-selected=true]')?.textContent === 'Inputs'")
    page.wait_for_function("t => document.querySelector('#mp-why h3')?.textContent === t", arg=heading)
    assert "input=" in page.url


def test_menus_and_boxes_show_the_session_after_they_were_touched(visit):
    page = visit("?suite=toy&recipe=" + link("dare"))
    page.locator(".mp-toggle input").first.uncheck()
    page.locator("#mp-method").select_option("ties")
    page.wait_for_selector("#hp-ties-density")
    page.get_by_role("tab", name="All methods").click()
    page.wait_for_selector("#mp-table .mp-notice")
    made = f'<button data-emit="load" data-recipe="{link("magmax")}">load</button>'
    page.evaluate("html => document.querySelector('#mp-table .mp-notice').innerHTML = html", made)
    page.click("#mp-table button")
    page.wait_for_function("document.querySelector('#mp-method').value === 'magmax'")
    assert page.locator(".mp-toggle input:checked").count() == 4
    block = page.locator("#mp-where select").first
    there = block.input_value()
    block.select_option("2")
    page.wait_for_function("document.querySelector('#panel-spectrum h3').textContent.includes('block 2')")
    page.wait_for_selector("#panel-overlap-depth .nsewdrag")
    focus_figure(page, "overlap-depth")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#mp-where select').value === '0'")
    assert there == "1"


def test_steps_can_be_undone_and_done_again(visit):
    page = visit("?suite=toy&recipe=" + link("task_arithmetic"))
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


def test_undo_twice_at_once_leaves_redo_and_the_runs_of_the_visit(visit):
    page = visit("?suite=toy&recipe=" + link("task_arithmetic"))
    merge(page)
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


def test_going_back_lets_go_of_a_pair_and_of_a_narrowing(visit):
    page = visit()
    focus_figure(page, "collisions")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".mp-outs button")
    page.wait_for_function("location.search.includes('pair=')")
    page.click("[data-undo]")
    page.wait_for_selector(".mp-outs button", state="detached")
    page.wait_for_function("!location.search.includes('pair=')")
    page.click("[data-redo]")
    page.wait_for_selector(".mp-outs button")


def test_a_page_that_the_server_let_go_of_comes_back(visit, bench):
    """As after an hour of sleep: the server makes up a session, and the page opens its own address again."""
    page = visit("?suite=toy&recipe=" + link("ties", density=0.6))
    page.wait_for_timeout(500)
    bench.sessions.clear()
    page.select_option("#mp-method", "dare")
    page.wait_for_function("document.querySelector('#mp-fault').textContent.includes('let go of this page')")
    assert page.input_value("[data-owner=ties][data-name=density][type=number]") == "0.6"
    assert page.url.endswith(link("ties", density=0.6))
    page.select_option("#mp-method", "dare")
    page.wait_for_function("!document.querySelector('#mp-fault').textContent.includes('let go of this page')")
    page.select_option("#mp-method", "ties")
    page.wait_for_function("end => location.search.endsWith(end)", arg=link("ties", density=0.6))
    bench.sessions.clear()
    page.click("#mp-merge")
    page.wait_for_function("document.querySelector('#mp-fault').textContent.includes('let go of this page')")
    page.wait_for_function("!document.querySelector('#mp-merge').disabled")
    merge(page)
    assert page.url.endswith(link("ties", density=0.6))
