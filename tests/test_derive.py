"""What follows from the declarations: the list of methods, the schema of a recipe and the reference page."""

from __future__ import annotations

import json
import re

from merge_engine.derive import method_list, metric_list, recipe_schema, reference_page
from merge_engine.hp import declared
from merge_engine.methods import registry
from merge_engine.runs.publish import MARKERS, generated_pages, into_readme
from merge_engine.runs.recipe import Recipe


def test_every_method_is_listed_as_json():
    listed = json.loads(json.dumps(method_list(), allow_nan=False))
    assert [m["key"] for m in listed] == sorted(registry())
    for method in listed:
        assert {"kind", "needs", "title", "family", "idea", "formula", "paper", "parameters"} <= set(method)
        cls = registry()[method["key"]]
        assert [p["name"] for p in method["parameters"]] == list(declared(cls))
        for parameter in method["parameters"]:
            assert {"type", "default", "low", "high", "step", "choices", "help", "symbol"} <= set(parameter)


def test_listed_defaults_build_the_method():
    for method in method_list():
        defaults = {p["name"]: p["default"] for p in method["parameters"]}
        if method["kind"] != "post":
            assert Recipe("toy", ("a", "b"), method["key"], defaults) == Recipe("toy", ("a", "b"), method["key"])


def test_every_metric_is_listed_as_json():
    for metric in json.loads(json.dumps(metric_list(), allow_nan=False)):
        assert metric["title"]
        assert metric["about"]
        assert metric["quantities"]


def test_schema_knows_every_method_and_its_bounds():
    schema = json.loads(json.dumps(recipe_schema(), allow_nan=False))
    steps = {s["properties"]["method"]["const"] for s in schema["properties"]["post"]["items"]["oneOf"]}
    assert set(schema["properties"]["method"]["enum"]) | steps == set(registry())
    branch = next(b["properties"] for b in schema["oneOf"] if b["properties"]["method"]["const"] == "ties")
    density = branch["parameters"]["properties"]["density"]
    known = declared(registry()["ties"])["density"]
    assert (density["minimum"], density["maximum"], density["default"]) == (known.low, known.high, known.default)
    assert branch["parameters"]["additionalProperties"] is False
    branch = next(b["properties"] for b in schema["oneOf"] if b["properties"]["method"]["const"] == "adarank")
    rank = branch["parameters"]["properties"]["rank"]
    assert rank["anyOf"] == [{"type": "number", "minimum": 0, "maximum": 1}, {"const": "published"}]
    assert rank["default"] == "published"


def test_schema_keys_are_those_of_a_recipe():
    recipe = Recipe("toy", ("a", "b"), "ties", post=(("svc", {}),)).to_dict()
    assert set(recipe_schema()["properties"]) == set(recipe)


def test_generated_pages_are_up_to_date():
    for path, page in generated_pages().items():
        assert path.read_text(encoding="utf-8") == page, "run `python -m merge_engine reference --write`"


def test_a_table_goes_between_the_markers_of_a_readme():
    readme = f"before\n{MARKERS[0]}\nold\n{MARKERS[1]}\nafter\n"
    filled = into_readme(readme, "| new |\n")
    assert filled == f"before\n{MARKERS[0]}\n| new |\n{MARKERS[1]}\nafter\n"
    assert into_readme(filled, "| new |\n") == filled
    assert into_readme("no markers", "| new |\n") == "no markers"


def test_reference_page_names_every_method_once():
    page = reference_page()
    for key, cls in registry().items():
        assert page.count(f"\n### {cls.title}\n") == 1, key
        assert cls.paper in page
    anchors = set(re.findall(r"\(#([^)]+)\)", page))
    titles = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in re.findall(r"^### (.+)$", page, re.M)}
    assert anchors <= titles


def test_no_cell_breaks_a_table():
    rows = [line for line in reference_page().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
