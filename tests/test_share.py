"""What an address says: the views of panels, whose words are whose, and the buttons that give it away."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qsl

import pytest

from merge_engine.errors import RecipeError
from viz.page import acts, share, views
from viz.page.session import KEYS, Session, query


@pytest.fixture
def session(toy_by_name) -> Session:
    return acts.first_session(("toy",), {"suite": "toy"})[0]


class TestViews:
    @pytest.mark.parametrize("pairs", [(), (("spectrum", "energy"),), (("mask_map-at", "5"), ("loss_plane", "a.b"))])
    def test_words_come_back(self, pairs):
        assert views.from_word(views.to_word(pairs)) == pairs

    @pytest.mark.parametrize("word", ["spectrum", ".", "~~", "Spectrum.x", "spectrum.", f"a.{'x' * 200}"])
    def test_what_is_none_is_left_out(self, word):
        assert views.from_word(f"overlap.right~{word}") == (("overlap", "right"),)

    def test_another_view_takes_the_place_of_the_one_before_and_the_usual_one_needs_no_word(self):
        two = views.chosen(views.chosen((), "spectrum", "energy"), "overlap", "right")
        assert dict(views.chosen(two, "spectrum", "values")) == {"spectrum": "values", "overlap": "right"}
        assert views.chosen(two, "spectrum", "") == (("overlap", "right"),)

    @pytest.mark.parametrize(("panel", "view"), [("A", "x"), (1, "x"), ("spectrum", None), ("spectrum; drop", "x")])
    def test_a_view_that_cannot_be_is_refused(self, panel, view):
        with pytest.raises(RecipeError, match="reload"):
            views.chosen((), panel, view)

    def test_no_more_than_a_page_can_have_are_kept(self):
        kept = ()
        for number in range(200):
            kept = views.chosen(kept, "a" * (number % 20 + 1) + "_" * (number // 20), "x")
        assert len(kept) == views.MOST


def test_views_are_in_the_address_and_come_back(session):
    told = acts.perform(session, {"act": "view", "panel": "sweep_curve", "view": "lost"})
    told = acts.perform(told, {"act": "view", "panel": "route_gallery", "view": "route"})
    given = dict(parse_qsl(query(told)))
    assert given["panels"] == "sweep_curve.lost~route_gallery.route"
    assert acts.first_session(("toy",), given)[0].views == told.views


def test_opening_an_address_without_views_lets_go_of_them(session):
    told = acts.perform(session, {"act": "view", "panel": "spectrum", "view": "energy"})
    assert acts.perform(told, {"act": "open", "value": query(session), "turn": "1"}).views == ()


def test_every_word_of_a_query_is_known_as_the_sessions_own(session):
    full = acts.perform(session, {"act": "view", "panel": "spectrum", "view": "energy"})
    full = dataclasses.replace(full, knocked=("blob/1.fc1/0",), metric="cosine")
    assert set(dict(parse_qsl(query(full)))) <= set(KEYS)
    assert {"suite", "at", "recipe", "panels", "a", "b"} <= set(KEYS)
    assert not any(key.startswith("__") or key == "view" for key in KEYS)  # Gradio's


def test_the_button_names_the_space_that_shows_the_app(session, monkeypatch):
    monkeypatch.delenv(share.SPACE, raising=False)
    assert 'data-space=""' in share.link(session)
    monkeypatch.setenv(share.SPACE, 'someone/merge"scope')
    assert 'data-space="someone/merge&quot;scope"' in share.link(session)
