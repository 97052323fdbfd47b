"""Recipes: resolved, equal across files and links, and refused with one sentence."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import tomllib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merge_engine.errors import RecipeError
from merge_engine.hp import declared
from merge_engine.methods import registry
from merge_engine.runs.recipe import LINK_LIMIT, Recipe, load_recipe
from merge_engine.tensorwise import PostStep

STEPS = [key for key, cls in registry().items() if issubclass(cls, PostStep)]
METHODS = [key for key in registry() if key not in STEPS]


def values(hp):
    """Return a strategy of legal values of a hyper-parameter."""
    if hp.per_expert or hp.pairs:
        return st.just(hp.default)
    if hp.choices:
        return st.sampled_from(hp.choices)
    if hp.type is bool:
        return st.booleans()
    low = hp.low if hp.low is not None else -100
    high = hp.high if hp.high is not None else 100
    return st.integers(low, high) if hp.type is int else st.floats(low, high)


@st.composite
def recipes(draw) -> Recipe:
    def parameters(key):
        return {name: draw(values(hp)) for name, hp in declared(registry()[key]).items() if draw(st.booleans())}

    key = draw(st.sampled_from(METHODS))
    post = [(k, parameters(k)) for k in draw(st.lists(st.sampled_from(STEPS), max_size=2))] if STEPS else []
    experts = draw(st.lists(st.sampled_from(["a", "b-2", "C.3", "d 4"]), min_size=1, unique=True))
    return Recipe("toy", tuple(experts), key, parameters(key), tuple(post), draw(st.integers(0, 2**40)))


@settings(max_examples=40, deadline=None)
@given(recipes())
def test_every_form_comes_back_the_same(recipe):
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    assert Recipe.from_dict(tomllib.loads(recipe.to_toml())) == recipe
    assert Recipe.from_link(recipe.to_link()) == recipe
    assert len(recipe.to_link()) < 700
    assert copy.deepcopy(recipe) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(Recipe.from_dict(recipe.to_dict())) == hash(recipe)


def test_files_come_back_the_same(tmp_path):
    recipe = Recipe("toy", ("a", "b"), "ties", {"density": 0.1}, (("svc", {}), ("lines", {"beta": 0.2})), 7)
    for name, text in (("r.toml", recipe.to_toml()), ("r.json", recipe.to_json())):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert load_recipe(tmp_path / name) == recipe


def test_defaults_are_filled_in_and_share_a_digest():
    plain = Recipe("toy", ("a", "b"), "task_arithmetic")
    assert dict(plain.parameters) == {"scaling": 0.3}
    for given_value in (0.3, "0.3"):
        assert Recipe("toy", ("a", "b"), "task_arithmetic", {"scaling": given_value}).digest == plain.digest
    others = [
        Recipe("toy", ("b", "a"), "task_arithmetic"),
        Recipe("toy", ("a", "b"), "task_arithmetic", {"scaling": 0.31}),
        Recipe("toy", ("a", "b"), "task_arithmetic", post=(("svc", {}),)),
        Recipe("toy", ("a", "b"), "task_arithmetic", seed=1),
        Recipe("other", ("a", "b"), "task_arithmetic"),
        Recipe("toy", ("a", "b"), "average"),
    ]
    assert len({plain.digest, *(r.digest for r in others)}) == 7


def test_build_returns_the_method_and_its_post_steps():
    method, post = Recipe("toy", ("a", "b"), "ties", {"density": 0.1}, (("lines", {"beta": 0.2}),)).build()
    assert (type(method).__name__, method.density, method.scaling) == ("Ties", 0.1, 1.0)
    assert [(type(p).__name__, p.beta) for p in post] == [("Lines", 0.2)]


GOOD = {"suite": "toy", "experts": ["a", "b"], "method": "ties"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"methd": "ties"}, "No key of a recipe named 'methd'. Did you mean 'method'"),
        ({"method": "tiess"}, "Did you mean 'ties'"),
        ({"method": 3}, "method must be text"),
        ({"method": "svc"}, "'svc' is a post-step"),
        ({"parameters": {"densty": 0.1}}, "Did you mean 'density'"),
        ({"parameters": {"density": 7}}, "Ties.density must be"),
        ({"parameters": {"density": "much"}}, "Ties.density must be"),
        ({"parameters": {"density": None}}, "Ties.density must be"),
        ({"parameters": {"density": 10**400}}, "Ties.density must be"),
        ({"parameters": {"density": float("nan")}}, "Ties.density must be"),
        ({"parameters": [1]}, "parameters must be a table"),
        ({"experts": []}, "names no expert"),
        ({"experts": "ab"}, "experts must be a list"),
        ({"experts": ["a", "a"]}, "named twice"),
        ({"experts": ["a", 3]}, "is not a name of an expert"),
        ({"experts": ["a", "../b"]}, "is not a name of an expert"),
        ({"suite": "../../etc"}, "is not a name of a suite"),
        ({"suite": ".hidden"}, "is not a name of a suite"),
        ({"suite": "a\n"}, "is not a name of a suite"),
        ({"post": "svc"}, "post must be a list"),
        ({"post": ["ties"]}, "'ties' is a merge method, not a post-step"),
        ({"post": [{"methd": "svc"}]}, "Did you mean 'method'"),
        ({"post": [{"parameters": {}}]}, "has no 'method'"),
        ({"post": [{"method": "svc", "parameters": {"flor": 1}}]}, "Did you mean 'floor'"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"seed": True}, "seed must be"),
    ],
)
def test_a_wrong_recipe_is_refused_with_one_sentence(change, sentence):
    with pytest.raises(RecipeError) as error:
        Recipe.from_dict({**GOOD, **change})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given_value", [[], "ties", None, 3, {3: 4}, {"method": "ties"}, {"experts": ["a"]}])
def test_what_is_no_recipe_is_refused(given_value):
    with pytest.raises(RecipeError):
        Recipe.from_dict(given_value)


def link_of(text: bytes) -> str:
    return "1" + base64.urlsafe_b64encode(zlib.compress(text)).decode().rstrip("=")


@pytest.mark.parametrize(
    "link",
    [
        "", "1", "2abc", "1%%%", "1é", "1AAAA", "1" + "A" * LINK_LIMIT,
        Recipe("toy", ("a",), "ties").to_link()[:-3],
        link_of(b"[" * 50_000), link_of(b" " * 10_000_000), link_of(b"{"), link_of(b"\xff"), link_of(b"3"),
        link_of(b'{"method": "../../x", "experts": ["a"]}'),
    ],
)  # fmt: skip
def test_a_hostile_link_is_refused(link):
    with pytest.raises(RecipeError):
        Recipe.from_link(link)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_link_reader(text):
    for link in (text, "1" + text):
        with pytest.raises(RecipeError):
            Recipe.from_link(link)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "{"), ("a.toml", "= 3"), ("a.json", "[]"), ("a.json", '{"methd": 1}'), ("a.json", "[" * 70_000)],
)
def test_a_broken_file_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match="recipe"):
        load_recipe(tmp_path / name)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "absent.json")
