"""Routes by step: what the panel computes and what moves along its slider."""

from __future__ import annotations

import base64
import dataclasses
import json

import numpy as np
import pytest

from viz import heat, route_examples
from viz.panel import draw
from viz.panels import route_steps
from viz.panels.route_steps import RouteSteps

LONG = tuple(f"expert number {i} with a rather long name" for i in range(12))
STEPS, TASKS, BLOCKS = 3, 4, 2
WEIGHTS = np.random.default_rng(3).normal(0.3, 0.4, (STEPS, TASKS, BLOCKS, TASKS))
DATA = RouteSteps(("a", "b", "c", "d"), ("of a", "of b", "of c", "of d"), (1, 3), (0, 5, 60), WEIGHTS)


def figures(data: RouteSteps) -> dict:
    return {view: json.loads(figure.to_json()) for view, figure in draw(route_steps, data).figures.items()}


def decoded(cells: dict | list) -> np.ndarray:
    """Return cells as the browser reads them, float32."""
    if isinstance(cells, list):
        return np.array(cells, np.float32)
    rows, columns = map(int, cells["shape"].split(","))
    return np.frombuffer(base64.b64decode(cells["bdata"]), cells["dtype"]).reshape(rows, columns)


def test_means_and_lead_are_those_of_plain_loops():
    for m in range(STEPS):
        for e in range(TASKS):
            for block in range(BLOCKS):
                seen = [float(WEIGHTS[m, t, block, e]) for t in range(TASKS)]
                others = [weight for t, weight in enumerate(seen) if t != e]
                assert DATA.all()[m, e, block] == pytest.approx(sum(seen) / TASKS)
                assert DATA.own()[m, e, block] == pytest.approx(seen[e])
                assert DATA.lead()[m, e, block] == pytest.approx(seen[e] - sum(others) / len(others))


def test_a_router_that_does_not_look_at_its_input_leads_nowhere():
    alike = np.broadcast_to(WEIGHTS[:, :1], WEIGHTS.shape)
    assert np.allclose(dataclasses.replace(DATA, weights=alike).lead(), 0)


@pytest.mark.parametrize("view", ["all", "own", "lead"])
def test_the_slider_goes_over_all_steps_and_ends_at_what_is_drawn(view):
    figure = figures(DATA)[view]
    meta = figure["layout"]["meta"]
    assert meta["film"]["names"] == ["0", "5", "60"]
    assert meta["title"] == meta["film"]["titles"][-1] == f"{route_steps.TITLES[view]}, step 60"
    for change, cells in zip(meta["film"]["changes"], getattr(DATA, view)(), strict=True):
        assert decoded(change["data.0.z"]) == pytest.approx(cells, abs=1e-6)
        assert len(change["data.0.text"]) == TASKS
    assert decoded(figure["data"][0]["z"]) == pytest.approx(getattr(DATA, view)()[-1], abs=1e-6)
    assert figure["data"][0]["zmin"] <= getattr(DATA, view)().min()
    assert figure["data"][0]["zmax"] >= getattr(DATA, view)().max()


def test_colours_diverge_from_the_start_and_a_lead_from_zero():
    start = WEIGHTS[0].mean()
    for view, figure in figures(DATA).items():
        cells, labels = figure["data"][0], [a["text"] for a in figure["layout"].get("annotations", [])]
        assert (cells["zmin"] + cells["zmax"]) / 2 == pytest.approx(0 if view == "lead" else start)
        assert labels == ([] if view == "lead" else [f"start {heat.number(start, 3)}"])


def test_cells_lead_to_their_block_and_to_their_expert_or_task():
    found = figures(DATA)
    assert found["all"]["layout"]["meta"]["axes"] == {
        "x": [["block 1", {"block": 1}], ["block 3", {"block": 3}]],
        "y": [[f"of {task}", {"expert": f"of {task}"}] for task in DATA.tasks],
    }
    assert found["lead"]["layout"]["meta"]["axes"]["y"] == [[task, {"task": task}] for task in DATA.tasks]


def test_the_table_has_every_step():
    columns, rows = route_steps.rows(DATA, view="own")
    assert columns == ["step", "inputs of", "block 1", "block 3"]
    assert [row[:2] for row in rows[:5]] == [[0, "a"], [0, "b"], [0, "c"], [0, "d"], [5, "a"]]
    assert rows[-1] == [60, "d", *WEIGHTS[-1, 3, :, 3]]
    assert route_steps.rows(DATA)[0][1] == "expert"
    assert len(route_steps.rows(DATA)[1]) == STEPS * TASKS


def test_one_step_needs_no_slider_and_one_expert_no_comparison():
    first = dataclasses.replace(DATA, steps=(0,), weights=WEIGHTS[:1])
    assert not any("film" in figure["layout"]["meta"] for figure in figures(first).values())
    alone = route_examples.route_steps(("only",))
    assert list(figures(alone)) == ["all", "own"]


def test_many_experts_with_long_names_over_many_blocks():
    for figure in figures(route_examples.route_steps(LONG, blocks=24)).values():
        assert max(map(len, figure["layout"]["yaxis"]["ticktext"])) <= 12
        assert "data.0.text" not in figure["layout"]["meta"]["film"]["changes"][0]
        assert len(json.dumps(figure)) < 150_000
