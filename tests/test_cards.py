"""The card of a method: its formula with the current numbers, what runs now, what a run learned; its three roads."""

from __future__ import annotations

import dataclasses
import re
from html import unescape

import numpy as np
import pytest

from merge_engine.adapting.history import History
from merge_engine.hp import HP, declared
from merge_engine.methods import build, method_class, registry
from merge_engine.running import drive
from merge_engine.runs.publish import stored_lines, table_folder, write_table
from merge_engine.runs.table import TableRun, entries, reference_steps
from merge_engine.suite import load_suite
from merge_engine.tensorwise import PostStep
from viz.page import acts, cards, presets
from viz.page import session as state
from viz.page.adapting.gained import gained
from viz.page.controls import shown
from viz.page.formula import formula, mentioned, running, terms
from viz.page.session import Session
from viz.page.typeset import powers, typeset
from viz.page.view import method_form

T = 4
METHODS = list(registry().items())
every = pytest.mark.parametrize(("key", "cls"), METHODS, ids=list(registry()))
NUMBERS = [(key, hp) for key, cls in METHODS for hp in declared(cls).values() if hp.is_number]
CHOICES = [(key, hp) for key, cls in METHODS for hp in declared(cls).values() if hp.choices or hp.type is bool]
of_numbers = pytest.mark.parametrize(("key", "hp"), NUMBERS, ids=lambda v: v.name if isinstance(v, HP) else v)
of_choices = pytest.mark.parametrize(("key", "hp"), CHOICES, ids=lambda v: v.name if isinstance(v, HP) else v)


def card(key, **values) -> str:
    return whole(key, build(key, **values).parameters(), T)


def whole(key, values, experts, learned="") -> str:
    """Return what stands above and below the controls."""
    return cards.method_card(key, values, experts) + cards.method_notes(key, values, experts, learned)


def plain(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html)).replace("\xa0", " ")


def tied(html: str, key: str, name: str) -> list[str]:
    """Return what stands in place of a hyper-parameter's symbol, wherever it does."""
    return re.findall(rf'<button [^>]*data-of="hp-{key}-{name}"[^>]*>(.*?)</button>', html)


def setups(key) -> list[dict]:
    """Return the published choices, and every single change of one."""
    hps = declared(method_class(key)).values()
    return [{}, *({hp.name: value} for hp in hps for value in hp.choices if value != hp.default)]


def another(hp: HP):
    """Return a legal value that is not the default, nor 0, which may stand for another."""
    if hp.per_expert:
        return (0.5, 0.25, 1.0, 2.0)
    low, high = hp.span
    middle = hp.check((low + high) // 2 if hp.type is int else (low + high) / 2, "x")
    return high if middle == hp.default else middle


@every
def test_every_method_has_a_card(key, cls):
    found = card(key)
    assert f"T = {T}" in plain(found)
    assert ("mp-badges" in found) == bool(cls.needs or cls.experts_allowed != (1, None))
    assert ("mp-given" in found) == bool(cls.where)


@every
def test_the_formula_stands_there_with_its_symbols(key, cls):
    first = formula(cls(), T).partition('<p class="mp-numbers">')[0]
    assert plain(first.replace("<br>", "\n")) == plain(typeset(cls.formula))


@of_numbers
def test_every_number_stands_in_the_formula_in_its_words_or_in_those_of_a_choice(key, hp):
    cls = method_class(key)
    said = [cls.formula, cls.where, *(words for other in declared(cls).values() for words in other.says)]
    assert any(hp.symbol in {term.symbol for term in mentioned(text, terms(cls(), T))} for text in said)


@of_numbers
def test_its_value_stands_in_place_and_follows_the_control(key, hp):
    told = [setup for setup in setups(key) if tied(card(key, **setup, **given(hp)), key, hp.name)]
    assert told, "no choice of the method shows this number"
    moved = 0
    for setup in told:
        before, after = (tied(card(key, **setup, **values), key, hp.name) for values in ({}, given(hp)))
        now = build(key, **setup, **given(hp)).acting(T)[hp.name]
        written = f"({shown(now)})" if hp.per_expert or now < 0 else powers(shown(now))
        assert set(after) == {typeset(written)}
        moved += before != after
    assert moved, "it stays whatever is set"


def given(hp: HP) -> dict:
    return {hp.name: another(hp)}


@of_choices
def test_a_choice_is_told_where_it_runs(key, hp):
    """Away from the default always; at the default where libraries disagree or the formula needs it."""
    cls = method_class(key)
    needed = {} if hp.when is None else {hp.when[0]: hp.when[1][0]}
    for value in hp.choices or (False, True):
        method = build(key, **{**needed, hp.name: value})
        told, words = plain(running(method, T)), plain(typeset(hp.words(value)))
        numbers = [t for t in mentioned(hp.words(value), terms(method, T)) if t.control]
        if not numbers:
            assert (words in told) == (value != hp.default or hp.always)
        marked = f'mp-changed"><button type="button" tabindex="-1" data-of="hp-{key}-{hp.name}"' in running(method, T)
        assert marked == (value != hp.default)
    if hp.when is not None:
        other = next(v for v in declared(cls)[hp.when[0]].choices if v not in hp.when[1])
        assert not tied(running(build(key, **{hp.when[0]: other}), T), key, hp.name), "it has no effect there"


@every
def test_no_word_is_taken_for_a_symbol(key, cls):
    """Letters that are names in prose, such as q, k and v, are none of the method's symbols."""
    for hp in declared(cls).values():
        if hp.name == "attention":
            assert not any(mentioned(words, terms(cls(), T)) for words in hp.says)


def test_numbers_are_those_that_act():
    assert tied(card("adamerging"), "adamerging", "prior") == ["0.3"]
    assert tied(card("adamerging", base="cart"), "adamerging", "prior") == ["2"]
    assert tied(card("adarank", base="cart"), "adarank", "rank") == ["0.16"]
    assert tied(card("adarank", base="cart", rank=0), "adarank", "rank") == ["0.25"]
    assert set(tied(card("twin_merging"), "twin_merging", "shared_scaling")) == {"0.3"}
    assert set(tied(card("twin_merging", shared="ties"), "twin_merging", "shared_scaling")) == {"1"}
    assert tied(card("twin_merging", shared="average"), "twin_merging", "shared_scaling") == []
    assert tied(card("della", density=0.9), "della", "epsilon")[0] == "0.1"
    assert tied(card("lines"), "lines", "alpha") == []
    assert set(tied(card("lines", alpha_rule="one-minus-beta", beta=0.3), "lines", "alpha")) == {"0.7"}
    assert tied(card("linear", weights=(1, 2, 3, 4)), "linear", "weights") == ["(1, 2, 3, 4)"]
    assert tied(card("task_arithmetic", scaling=-1), "task_arithmetic", "scaling") == ["(-1)"]


def test_published_numbers_follow_the_number_of_experts():
    starts = {
        count: tied(whole("adarank", build("adarank", base="cart").parameters(), count), "adarank", "prior")
        for count in (8, 14, 20)
    }
    assert starts == {8: ["2.3"], 14: ["2.8"], 20: ["2.4"]}


def test_settings_of_parts_stand_there_as_they_are_written():
    told = plain(card("twin_merging", shared="ties", shared_settings="density=0.1"))
    assert "shared settings: density=0.1" in told
    assert "shared settings" not in plain(card("twin_merging"))


def test_the_experts_are_counted():
    assert "θ = (1/4) Σt θt" in plain(card("average"))


def test_variants_change_what_runs():
    assert "low-rank Task Arithmetic" in plain(card("cart", centre="pretrained"))
    assert "mergekit trims every tensor" in plain(card("ties"))
    assert "largest share d = 0.2 of every" in plain(card("consensus", base="ties"))
    assert "random share ρ = 0.1" in plain(card("twin_merging", compression="bernoulli"))
    assert "not by the formula above" in plain(card("sim", router="mahalanobis"))
    assert "not by the formula above" not in plain(card("sim"))


def test_mathematics_is_set():
    assert typeset("θ₀ + Σₜ τₜ²") == "θ<sub>0</sub> + Σ<sub>t</sub> τ<sub>t</sub><sup>2</sup>"
    assert typeset("U_Tₖ Vᵀ θ_avg") == "U<sub>Tk</sub> V<sup>T</sup> θ<sub>avg</sub>"
    assert typeset("Σ_{i≤j} sᵢ") == "Σ<sub>i≤j</sub> s<sub>i</sub>"
    assert typeset("a<b, filter_wise") == "a&lt;b, filter_wise"
    assert [powers(n) for n in ("1e-05", "2.5e-06", "0.3")] == ["10⁻⁵", "2.5 · 10⁻⁶", "0.3"]


def test_a_symbol_is_no_part_of_a_longer_name():
    known = terms(build("ties"), T)
    assert [t.symbol for t in mentioned("d λ · τₜ", known)] == ["d", "λ"]
    assert mentioned("λₜ diag(λ₀) d_k d's T′ λ̂", known) == []


@every
def test_assumptions_and_differing_codes_stand_on_the_card_whole(key, cls):
    told = plain(card(key).partition('class="mp-variant"')[2])
    assert len(cards.notes(cls)) > 90, "nothing is noted"
    assert plain(typeset(cards.notes(cls))).replace("`", "") in told


class TestLearned:
    def history(self, *states, ranks=None, steps=(0, 30)) -> History:
        return History(("digits", "icons"), ranks=ranks or {}, steps=list(steps), states=list(states))

    def test_coefficients(self):
        start, end = np.full((2, 2), 0.3), np.array([[0.1, 0.3], [0.5, 0.9]])
        told = gained(self.history({"coefficients": start}, {"coefficients": end}))
        assert "0.45 on average, from 0.30" in told
        assert "between 0.10 and 0.90" in told
        assert "most for icons (0.70), least for digits (0.20)" in told
        assert told.endswith("30 updates.")

    def test_masks(self):
        start, end = (np.packbits(np.array(rows, bool), axis=1) for rows in (
            [[1, 1, 0, 0], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 1, 1, 0]]
        ))  # fmt: skip
        told = gained(self.history({"masks/w": start}, {"masks/w": end}, ranks={"w": 4}))
        assert "50 % of the components are on, 50 % at the start" in told
        assert "12.5 % were switched on, 12.5 % off" in told

    def test_routes_and_distances(self):
        begun, now = np.full((2, 3, 2), 0.3), np.stack([np.tile([0.6, 0.2], (3, 1)), np.tile([0.1, 0.4], (3, 1))])
        told = gained(self.history({"routes": begun}, {"routes": now}))
        assert "weighs 0.50 on average, any other 0.15; both began at 0.30" in told
        far = gained(self.history({"distance": np.array([0.4, 0.2])}, {"distance": np.array([0.1, 0.1])}))
        assert "from 0.300 to 0.100" in far

    def test_nothing_without_a_run(self):
        assert gained(None) == ""
        assert gained(self.history({"coefficients": np.ones((2, 1))}, steps=(0,))) == ""
        assert "Learned" not in card("adamerging")
        after = whole("adamerging", build("adamerging").parameters(), T, "λ is 0.4.")
        assert "Learned in this run: λ is 0.4." in plain(after)


class TestRoads:
    """Published, best on validation, a failure: each is a button, or a sentence says why not."""

    def at(self, suite, key: str, method: str = "task_arithmetic") -> Session:
        cls = method_class(key)
        post = issubclass(cls, PostStep)
        experts = suite.experts if post else suite.experts[: cls.experts_allowed[1]]
        return Session(suite.name, experts, method if post else key, post=key if post else "")

    @every
    def test_every_method_shows_three_roads_or_says_why_not(self, key, cls):
        session = self.at(load_suite("pictures"), key)
        found = presets.roads(session, key)
        names = {each.name for each in found.settings}
        words = {each.words for each in found.settings}
        assert ("published" in names) == bool(declared(cls))
        best = "validation" in names or presets.BOTH in words
        assert best != (presets.BEST in found.missing)
        assert ("failure" in names) != (presets.FAILING in found.missing)
        assert all(why.endswith(".") for why in found.missing.values())
        html = method_form(session, key)
        assert all(each.words in unescape(html) for each in found.settings)
        assert all(why in unescape(html) for why in found.missing.values())

    def test_what_validation_chose_is_for_the_experts_it_was_chosen_for(self):
        suite = load_suite("pictures")
        whole = self.at(suite, "task_arithmetic")
        assert presets.setting(whole, "task_arithmetic", "validation").values["task_arithmetic"]["scaling"] == 0.2
        few = dataclasses.replace(whole, experts=suite.experts[:3])
        found = presets.roads(few, "task_arithmetic")
        assert "validation" not in {each.name for each in found.settings}
        assert "all experts of the suite" in found.missing[presets.BEST]
        pair = dataclasses.replace(self.at(suite, "slerp"), experts=suite.experts[2:4])
        assert "digits and fashion" in presets.roads(pair, "slerp").missing[presets.BEST]

    def test_other_experts_draw_the_buttons_anew(self):
        suite = load_suite("pictures")
        few = {"act": "experts", "values": list(suite.experts[:3])}
        for key, drawn in (("task_arithmetic", 1), ("smile", 0)):
            before = self.at(suite, key)
            assert acts.perform(before, few).drawn == before.drawn + drawn

    def test_the_published_default_may_be_the_best(self):
        session = self.at(load_suite("pictures"), "cart")
        found = {each.name: each for each in presets.roads(session, "cart").settings}
        assert list(found) == ["published", "failure"]
        assert found["published"].words == presets.BOTH
        assert "30 settings" in found["published"].remark
        assert presets.BOTH in method_form(session, "cart")

    def test_a_post_step_brings_the_method_it_was_chosen_behind(self):
        suite = load_suite("pictures")
        session = self.at(suite, "lines", "task_arithmetic")
        after = acts.perform(session, {"act": "preset", "owner": "lines", "name": "validation"})
        row = stored_lines(suite)["task_arithmetic+lines"]["validation"]
        assert state.recipe(after).digest == row["recipe"]
        assert after.method == "task_arithmetic"
        other = presets.roads(self.at(suite, "lines", "ties"), "lines")
        assert "behind Task Arithmetic and TSV-M only" in other.missing[presets.BEST]

    def test_what_is_pressed_is_what_is_taken(self):
        session = self.at(load_suite("pictures"), "ties")
        assert re.findall(r'data-name="(\w+)" aria-pressed="true"', method_form(session, "ties")) == ["published"]
        failed = acts.perform(session, {"act": "preset", "owner": "ties", "name": "failure"})
        html = method_form(failed, "ties")
        assert re.findall(r'data-name="(\w+)" aria-pressed="true"', html) == ["failure"]
        assert method_class("ties").lesson in unescape(html)
        own = method_form(state.set_parameter(session, "ties", "density", 0.3), "ties")
        assert 'aria-pressed="true"' not in own
        assert "mp-remark" not in own

    def test_a_suite_without_a_table_says_so(self, toy, toy_by_name):
        session = self.at(toy, "task_arithmetic")
        assert "no table" in presets.roads(session, "task_arithmetic").missing[presets.BEST]
        rows = drive(TableRun(toy, limit=6, validation=6).steps(entries(["task_arithmetic"])))
        write_table(toy, rows, drive(reference_steps(toy, 6)), table_folder(toy))
        roads = presets.roads(session, "task_arithmetic")
        assert presets.BEST not in roads.missing
        assert any("6 validation pictures" in each.remark for each in roads.settings)
