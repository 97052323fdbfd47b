"""The listeners of a visitor's own picture, and their wiring."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from merge_engine.errors import MergeError

from ..guarded import guarded
from ..layout import Page
from ..session import Session
from ..shelf import Tickets
from ..widget import said
from ..workbench import Workbench
from . import pad, yours

Kind = Mapping[str, Any]


class YoursDesk:
    """What visitors do with a picture of their own, on one workbench."""

    def __init__(self, page: Page, bench: Workbench, tickets: Tickets, visitor: Callable[[Any], str]) -> None:
        self.page, self.bench, self.tickets, self.visitor = page, bench, tickets, visitor

    def wire(self, act: Kind, look: Kind) -> None:
        """Attach the listeners; `act` and `look` are the queues of acts and of what takes time."""
        page, told = self.page, self.page.some("session", "shown")
        page.pad.picture(self.take, told, page.some("session", "pad", "yours", "replying"), **act)
        for event in (page.inputs.select, page.sight.turn, page.pad.bare):
            event(self.follow, told, page.some("pad", "yours", "replying"), **act)
        page.yours.turn(self.explain, told, page.some("replies", "replying", "yours_why", "map"), **look)

    @guarded("replying", "Taking the picture")
    def take(self, session: Session, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Take a picture that was drawn or brought along, an example, or an empty sheet."""
        if not session.suite:
            return gr.skip()
        given = said(event)
        try:
            if "example" in given:
                picture = pad.example(session.suite, given["example"], random.randrange(1 << 30))
            else:
                picture = pad.received(session.suite, given)
        except MergeError as error:
            return self.page.fill({"pad": pad.pad_value(session.suite, said=str(error), bad=True)})
        number = None if picture is None else self.bench.insight.yours.keep(picture)
        after = dataclasses.replace(session, inputs=dataclasses.replace(session.inputs, yours=number))
        drawn = given.get("drawn") is True
        words = f"A test picture of {given['example']}; the models are not told." if "example" in given else ""
        value = pad.pad_value(session.suite, picture=None if drawn else picture, said=words)
        return self.page.fill({"session": after, "pad": value, "yours": yours.mark(after, shown)})

    @guarded("replying", "Preparing the sheet")
    def follow(self, session: Session, shown: str) -> dict[Any, Any]:
        """Prepare the sheet for the suite, and say again what is made of the picture if something else would be."""
        if not session.suite:
            return gr.skip()
        return self.page.fill({"pad": pad.pad_value(session.suite), "yours": yours.mark(session, shown)})

    @guarded("replying", "Asking about the picture")
    def explain(self, session: Session, shown: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Say what is made of the picture."""
        yield gr.skip()
        if session.suite:
            ticket = self.tickets.take(f"yours {self.visitor(request)}", yours.mark(session, shown))
            yield from map(self.page.fill, yours.yours_steps(self.bench, session, shown, ticket.going))
