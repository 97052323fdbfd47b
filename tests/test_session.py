"""The page without a browser: sessions, acts, controls and words are pure."""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from urllib.parse import parse_qsl

import pytest

from merge_engine.errors import MergeError, RecipeError
from merge_engine.evaluate import Score
from merge_engine.hp import HP, declared
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import method_class, registry
from merge_engine.running import drive
from merge_engine.runs.publish import table_folder, write_table
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.table import TableRun, by_line, entries, reference_steps, shown_row
from viz.page import acts, cards, controls, presets
from viz.page import headline as headline_words
from viz.page import session as state
from viz.page.headline import Answer, duration, headline, size
from viz.page.inputs.choice import Choice
from viz.page.record import Run
from viz.page.reopened import reopened
from viz.page.session import Session
from viz.page.view import menu, status
from viz.page.workbench import Workbench

KNOWN = ("stripes", "blob", "colour", "grain")
START = Session("toy", KNOWN)
PLAIN = [key for key, cls in registry().items() if cls.kind != "post"]


def test_experts_keep_the_order_of_the_suite_and_drop_strangers():
    chosen = state.choose_experts(START, ["grain", "nobody", 3, "stripes"], KNOWN)
    assert chosen.experts == ("stripes", "grain")


@pytest.mark.parametrize("arrived", [None, "stripes", 7, {"a": 1}])
def test_whatever_is_not_a_list_chooses_nobody(arrived):
    assert state.choose_experts(START, arrived, KNOWN).experts == ()


def test_a_method_finds_its_values_again():
    edited = state.set_parameter(state.choose_method(START, "ties"), "ties", "density", "0.35")
    back = state.choose_method(state.choose_method(edited, "average"), "ties")
    assert state.parameters(back, "ties")["density"] == 0.35
    assert state.take(back, "ties", {}).edits == ()


def test_the_published_value_is_no_edit():
    edited = state.set_parameter(START, "task_arithmetic", "scaling", 0.7)
    assert state.set_parameter(edited, "task_arithmetic", "scaling", 0.3).edits == ()


def test_an_empty_box_stands_for_the_word_of_a_number():
    hp = declared(method_class("adarank"))["prior"]
    html = controls.control("adarank", hp, "published", ())
    assert html.count('value=""') == 2
    assert 'placeholder="published"' in html
    assert 'min="0" max="3"' in html
    edited = state.set_parameter(state.choose_method(START, "adarank"), "adarank", "prior", "0")
    assert state.parameters(edited, "adarank")["prior"] == 0
    assert 'placeholder="published"' in controls.control("adarank", hp, 0.0, ())
    cleared = state.set_parameter(edited, "adarank", "prior", "")
    assert state.parameters(cleared, "adarank")["prior"] == "published"
    with pytest.raises(RecipeError, match=r"a number in \[-10, 10\], or published"):
        state.set_parameter(edited, "adarank", "prior", "much")


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [("task_arithmetic", "scaling", "much"), ("task_arithmetic", "scaling", None), ("ties", "density", 2),
     ("ties", "scope", "moon"), ("ties", "nothing", 1), ("nothing", "scaling", 1), (None, None, None)],
)  # fmt: skip
def test_bad_values_are_refused_in_a_sentence(owner, name, value):
    with pytest.raises(RecipeError):
        state.set_parameter(START, owner, name, value)


def test_what_was_refused_stands_until_it_is_legal():
    bad = state.refused(START, "λ is too big.", "task_arithmetic", "scaling")
    elsewhere = state.look_at(state.choose_experts(bad, ["blob", "grain"], KNOWN), block=1, depth=3)
    assert state.fault(elsewhere) == "λ is too big."
    with pytest.raises(RecipeError, match="too big"):
        state.recipe(elsewhere)
    assert "recipe=" in state.query(elsewhere)
    again = state.refused(elsewhere, "λ is too small.", "task_arithmetic", "scaling")
    assert [f[2] for f in again.faults] == ["λ is too small."]
    assert state.fault(state.set_parameter(again, "task_arithmetic", "scaling", 0.5)) == ""


def test_a_refused_value_is_named_as_the_page_names_it():
    with pytest.raises(RecipeError, match=r"^Task Arithmetic: scaling must be a number in .*77"):
        state.set_parameter(START, "task_arithmetic", "scaling", "77")


def test_a_session_that_cannot_be_merged_says_what_to_correct():
    assert "choose at least one" in state.fault(state.choose_experts(START, [], KNOWN))
    assert state.fault(START) == ""


def test_numbers_per_expert_end_with_the_selection():
    edited = state.set_parameter(START, "linear", "weights", ["1", "2", "3", "4"])
    assert state.parameters(edited, "linear")["weights"] == (1, 2, 3, 4)
    fewer = state.choose_experts(edited, ["blob", "grain"], KNOWN)
    assert state.parameters(fewer, "linear")["weights"] == ()


def test_blank_rows_mean_equal():
    edited = state.set_parameter(START, "linear", "weights", ["1", "2", "3", "4"])
    blank = state.set_parameter(edited, "linear", "weights", ["", "", "", ""])
    assert state.parameters(blank, "linear")["weights"] == ()


@pytest.mark.parametrize("key", PLAIN)
def test_a_link_brings_everything_back(key):
    experts = KNOWN[: method_class(key).experts_allowed[1]]
    session = state.choose_experts(state.choose_method(START, key), list(experts), KNOWN)
    session = state.look_at(session, block=2, kind="out", depth=3)
    asked = dict(pair.split("=") for pair in state.query(session).split("&"))
    opened = state.opened(Session("toy", KNOWN), {k: unescape(v) for k, v in asked.items()}, KNOWN, 3)
    assert state.recipe(opened) == state.recipe(session)
    assert (opened.block, opened.kind) == (2, "out")


def test_a_post_step_travels_too():
    session = state.choose_post(START, "subspace_boosting")
    assert state.recipe(session).post[0][0] == "subspace_boosting"
    assert state.recipe(state.load(Session("toy", KNOWN), state.recipe(session), KNOWN)) == state.recipe(session)


@pytest.mark.parametrize("link", ["", "1", "1AAAA", "2abc", "1" + "x" * 9000, "<script>"])
def test_broken_links_say_so(link):
    asked = {"recipe": link, "at": "99.fc1"}
    if not link:
        assert state.opened(START, asked, KNOWN, 3) == START
        return
    with pytest.raises(MergeError):
        state.opened(START, asked, KNOWN, 3)


def test_a_link_to_missing_experts_is_refused():
    with pytest.raises(RecipeError, match="moon"):
        state.load(START, Recipe("toy", ("moon",), "average"), KNOWN)


@pytest.mark.parametrize(("block", "kind"), [(-1, "fc1"), (3, "fc1"), (True, "fc1"), ("1", None), (None, "<b>")])
def test_places_that_do_not_exist_change_nothing(block, kind):
    here = state.look_at(START, block=1, kind="fc1", depth=3)
    assert state.look_at(here, block=block, kind=kind, depth=3) == here


def test_nothing_chosen_is_no_recipe():
    with pytest.raises(RecipeError, match="choose at least one"):
        state.recipe(state.choose_experts(START, [], KNOWN))


@pytest.mark.parametrize("key", list(registry()))
def test_every_declared_parameter_has_one_labelled_control(key):
    html = controls.form(key, {}, KNOWN)
    for name, hp in declared(method_class(key)).items():
        assert f'data-owner="{key}" data-name="{name}"' in html
        if not hp.per_expert:
            assert f'for="hp-{key}-{name}"' in html
            assert f'id="hp-{key}-{name}"' in html
    assert len(re.findall(r"<label", html)) == len(re.findall(r"</label>", html))


def test_settings_of_a_choice_are_a_line_of_text():
    hp = declared(method_class("sim"))["router_settings"]
    html = controls.control("sim", hp, 'a="<b>"', ())
    assert 'type="text"' in html
    assert 'value="a=&quot;&lt;b&gt;&quot;"' in html
    session = state.choose_method(START, "sim")
    with pytest.raises(RecipeError, match="SiM: router settings must be NAME=VALUE"):
        state.set_parameter(session, "sim", "router_settings", "shrinkage")
    session = state.set_parameter(session, "sim", "router_settings", "shrinkage=0.2")
    assert "No parameter of subspace to set named 'shrinkage'" in state.fault(session)
    session = state.set_parameter(session, "sim", "router", "mahalanobis")
    assert state.fault(session) == ""
    assert dict(state.recipe(session).parameters)["router_settings"] == "shrinkage=0.2"


def test_the_box_takes_the_legal_range_and_the_slider_the_useful_one():
    hp = HP("scaling", float, 0.3, "Scaling.", low=-10, high=10, soft=(0, 2), step=0.05, symbol="λ")
    html = controls.control("task_arithmetic", hp, 0.3, ())
    assert 'min="-10" max="10"' in html
    assert 'type="range" min="0" max="2" step="0.05" value="0.3"' in html
    assert "data-live" in html
    assert 'type="range" min="0" max="5"' in controls.control("task_arithmetic", hp, 5.0, ())


def test_words_from_outside_are_escaped():
    hp = HP("a<b", str, "x", "<script>", choices=("x", '"><img>'))
    html = controls.control("<i>", hp, "x", ()) + menu("go", "<b>", {'"': "<u>"}, "")
    assert "<script>" not in html
    assert "<img>" not in html
    assert "<u>" not in html
    assert "<i>" not in html
    assert "<b>" not in html


def test_a_card_says_what_this_choice_is_given():
    session = state.choose_method(START, "sim")
    plain, told, odd = (
        cards.method_notes("sim", state.parameters(state.set_parameter(session, "sim", name, value), "sim"), 4)
        for name, value in (("rank", 8), ("router", "oracle"), ("router_settings", "nothing=1"))
    )
    assert "ceiling: task known" not in plain
    assert "ceiling: task known" in told
    assert "uses inputs" in odd


def test_the_menu_holds_every_method_once_under_its_family():
    html = cards.method_menu("ties")
    assert sorted(re.findall(r'<option value="(\w+)"', html)) == sorted(PLAIN)
    assert html.count(" selected") == 1


def test_numbers_read_as_people_write_them():
    assert (size(22_056_576), size(float("nan")), size(950)) == ("22.1 M", "–", "950")
    assert (duration(0.42), duration(12.3), duration(200)) == ("0.4 s", "12 s", "3 min")


def test_the_headline_without_a_merge_says_so():
    html = headline(None, Answer(pretrained=40.0, expert=90.0, tasks=4), None, 1e6)
    assert "not merged yet" in html
    assert "40.0 %" in html
    assert "plain average" not in html
    assert "plain average" in headline(None, Answer(pretrained=40.0), 55.0, 1e6)


@pytest.mark.parametrize("method", ["ties", "average"])
@pytest.mark.parametrize("plain", [None, 60.0])
@pytest.mark.parametrize("phase", ["scoring", "done"])
@pytest.mark.parametrize("known", [{}, {"pretrained": 40.0}, {"pretrained": 40.0, "expert": 90.0, "normalised": 80.0}])
def test_no_tile_is_empty(method, plain, phase, known):
    scores = {"blob": Score("blob", 7, 10, 10, 0.0, 0.0)}
    run = Run(Recipe("toy", KNOWN, method), phase, scores=scores, merge_seconds=float("nan"))
    found = Answer(average=70.0, half_width=2.0, tasks=1, **known)
    html = headline(run, found, plain, 1e6)
    values = re.findall(r"<b>(.*?)</b>", html)
    assert all(re.search(r"\d", value) for value in values), values
    assert ("over plain average" in html) == (plain is not None and method != "average")
    assert "+10.0" in html or plain is None or method == "average"


def test_an_address_is_a_step_back_and_keeps_what_was_edited_elsewhere(toy, toy_by_name):
    session, _ = acts.first_session(("toy",), {})
    edited = acts.perform(session, {"act": "set", "owner": "task_arithmetic", "name": "scaling", "value": 0.7})
    other = acts.perform(edited, {"act": "method", "value": "ties"})
    other = acts.perform(other, {"act": "set", "owner": "ties", "name": "density", "value": 0.5})
    other = acts.perform(other, {"act": "input", "value": "blob:1"})
    back = acts.perform(other, {"act": "open", "value": state.query(session)})
    assert state.recipe(back) == state.recipe(session)
    assert back.inputs.chosen == ""
    assert dict(back.edits)["ties"] == (("density", 0.5),)
    again = acts.perform(back, {"act": "open", "value": state.query(other)})
    assert state.query(again) == state.query(other)
    assert again.inputs.chosen == "blob:1"
    with pytest.raises(MergeError):
        acts.perform(session, {"act": "open", "value": "recipe=nothing"})


def test_an_address_keeps_what_the_visit_has_seen(toy, toy_by_name):
    session, _ = acts.first_session(("toy",), {})
    seen = Recipe("toy", tuple(toy.experts), "average").to_link()
    busy = dataclasses.replace(
        session, comparison=dataclasses.replace(session.comparison, seen=(seen,), task="blob"),
        inputs=Choice(circled=("blob:1",), yours=3),
    )  # fmt: skip
    back = acts.perform(busy, {"act": "open", "value": state.query(session), "turn": "4"})
    assert (back.comparison.seen, back.inputs, back.turn) == ((seen,), Choice(yours=3), "4")
    again = acts.perform(back, {"act": "open", "value": state.query(busy), "turn": "4"})
    assert (again.comparison, again.inputs) == (busy.comparison, busy.inputs)
    assert acts.refused(busy, {"act": "open", "turn": "5"}, "no").turn == "5"


STEPS = (
    {"act": "pick", "value": "blob:1|grain:0"},
    {"act": "of", "value": "blob"},
    {"act": "routed", "task": "blob", "expert": "grain"},
    {"act": "sort", "value": "average"},
    {"act": "sort", "value": "task blob"},
    {"act": "knock", "value": "blob:1.fc1:0"},
    {"act": "circle", "values": ["blob:1", "blob:12", "grain:3"]},
    {"act": "deep", "value": "blob"},
    {"act": "differ", "value": "grain"},
)


def test_every_step_of_a_visit_is_in_the_address_and_goes_back(toy, toy_by_name):
    session, _ = acts.first_session(("toy",), {})
    visited = [session]
    for step in (*STEPS, STEPS[3], STEPS[3]):
        visited.append(acts.perform(visited[-1], step))
    addresses = list(map(state.query, visited))
    assert len(set(addresses)) == len(addresses)
    for then, address in zip(visited, addresses, strict=True):
        there, sorry = acts.first_session(("toy",), dict(parse_qsl(address)))
        kept = [(s.pair, s.inputs, dataclasses.replace(s.comparison, seen=())) for s in (there, then)]
        assert kept[0] == kept[1]
        assert sorry == ""
        back = acts.perform(visited[-1], {"act": "open", "value": address})
        assert state.query(back) == address


def test_a_pair_elsewhere_or_of_an_expert_that_left_is_in_no_address(toy, toy_by_name):
    session = acts.perform(acts.first_session(("toy",), {})[0], STEPS[0])
    assert "pair=" in state.query(session)
    assert "pair=" not in state.query(dataclasses.replace(session, block=session.block ^ 1))
    fewer = acts.perform(session, {"act": "experts", "values": ["blob", "stripes"]})
    assert dict(parse_qsl(state.query(fewer)))["pair"].startswith("blob:"), "what is left of it is one component"
    other = acts.perform(session, {"act": "experts", "values": ["stripes"]})
    assert "pair=" not in state.query(other)


@pytest.mark.parametrize("wrong", ["pair=blob", "pair=blob:0.q", "pair=blob:0.q:0,blob:0.q:1", "pair=a:0.q:0,b,c,d",
                                   "pair=blob:0.q,grain:0.q", "pair=blob:0.q:0,grain:1.q:0", "of=moon", "sent=moon",
                                   "pair=moon:0.q:0,grain:0.q:0", "sort=moon", "around=moon.1", "around=blob",
                                   "around=blob.9999999", "deep=moon", "differ=moon"])  # fmt: skip
def test_an_address_with_a_step_that_cannot_be_says_so(toy, toy_by_name, wrong):
    _, sorry = acts.first_session(("toy",), dict(parse_qsl(wrong)))
    assert sorry.endswith(".")


def test_sections_draw_again_where_their_choices_differ_alone(toy, toy_by_name):
    bench = Workbench(svd=SvdStore(folder=None))
    session, _ = acts.first_session(("toy",), {})
    wanted = ({"drill"}, {"sight", "eye"}, {"sight", "eye"}, {"compared"}, {"compared"}, {"drill"},
              {"sight", "eye"}, {"sight", "eye"}, {"compared"})  # fmt: skip
    for step, parts in zip(STEPS, wanted, strict=True):
        after = acts.perform(session, step)
        assert set(reopened(bench, session, after, "")) == set(reopened(bench, after, session, "")) == parts
        assert reopened(bench, after, after, "") == {}


def test_an_address_tells_of_what_cannot_be_merged_yet(toy, toy_by_name):
    session, _ = acts.first_session(("toy",), {})
    two = acts.perform(session, {"act": "method", "value": "nuslerp"})
    assert "exactly 2 experts" in state.fault(two)
    found, sorry = acts.first_session(("toy",), dict(parse_qsl(state.query(two))))
    assert (found.method, found.experts, sorry) == ("nuslerp", two.experts, "")
    none = acts.perform(two, {"act": "experts", "values": []})
    found, sorry = acts.first_session(("toy",), dict(parse_qsl(state.query(none))))
    assert (found.method, found.experts, sorry) == ("nuslerp", (), "")


@pytest.mark.parametrize("metric", ["accuracy", "cka", "routing", "<b>"])
def test_an_address_cannot_ask_for_a_map_that_is_none(toy, toy_by_name, metric):
    found, _ = acts.first_session(("toy",), {"metric": metric})
    assert found.metric == ""
    with pytest.raises(RecipeError, match="No metric"):
        acts.perform(found, {"act": "measure", "value": metric} | {"act": "metric"})


def test_an_address_with_a_recipe_of_another_suite_opens_the_default_and_says_so(toy, toy_by_name):
    link = Recipe("moon", tuple(toy.experts), "average").to_link()
    found, sorry = acts.first_session(("toy",), {"recipe": link})
    assert found.suite == "toy"
    assert "suite 'moon', which is not here" in sorry


def test_the_session_that_stands_in_is_whole_and_marked(toy, toy_by_name):
    lost = acts.lost_session()
    assert lost.turn == state.LOST
    assert lost.suite
    back = acts.perform(lost, {"act": "open", "value": "suite=toy", "turn": "1"})
    assert back.turn == "1"
    assert "let go of this page" in state.fault(back)


def test_the_status_is_json():
    assert status('"<b>', done=1, total=2) == '{"text": "\\"<b>", "done": 1, "total": 2, "tone": ""}'


def test_presets_are_taken_and_left(toy_by_name):
    quick = state.choose_method(START, "we_moe")
    assert presets.taken(quick, presets.setting(quick, "we_moe", "cpu"))
    published = acts.perform(quick, {"act": "preset", "owner": "we_moe", "name": "published"})
    assert published.edits == ()
    assert state.parameters(published, "we_moe")["steps"] == 1000
    own = state.set_parameter(quick, "we_moe", "steps", 7)
    assert not any(presets.taken(own, each) for each in presets.roads(own, "we_moe").settings)
    assert state.choose_method(state.choose_method(own, "average"), "we_moe") == own
    with pytest.raises(RecipeError, match="No preset of"):
        acts.perform(quick, {"act": "preset", "owner": "we_moe", "name": "cpus"})


def test_the_page_opens_with_the_best_stored_merge_and_offers_what_validation_chose(toy, toy_by_name):
    assert presets.first_recipe(toy) is None
    run = TableRun(toy, limit=6, validation=6)
    rows = drive(run.steps(entries(["average", "task_arithmetic", "tall_mask"])))
    write_table(toy, rows, drive(reference_steps(toy, 6)), table_folder(toy))
    best = presets.first_recipe(toy)
    assert best is not None
    single = [row for row in map(shown_row, by_line(rows).values()) if row["kind"] == "static"]
    assert best.digest == max(single, key=lambda row: row["average"])["recipe"]
    session, sorry = acts.first_session(("toy",), {})
    assert not sorry
    assert state.recipe(session) == best


def test_bytes_are_said_in_words():
    assert [headline_words.in_bytes(n) for n in (21.5e6, 3000.0, 10.0, float("nan"))] == ["86 MB", "12 kB", "40 B", "–"]
