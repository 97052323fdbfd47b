"""Puts the opening into the page that Gradio serves, which is empty until its scripts have run."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .opening import Opening

HEAD_END, BODY = b"</head>", b"<gradio-app"


class Served:
    """Middleware: adds the opening's tags to the head of every page of Gradio, and the opening before its app."""

    def __init__(self, app: ASGIApp, opening: Opening) -> None:
        self.app, self.opening = app, opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on as it is but whole pages."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                held.append(message)
            elif not held:
                await send(message)
            else:
                held.append(message)
                if not message.get("more_body"):
                    await self._send(held, send)

        await self.app(scope, receive, sent)

    async def _send(self, held: list[Message], send: Send) -> None:
        start, *rest = held
        body = with_opening(b"".join(message.get("body", b"") for message in rest), self.opening)
        headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})


def with_opening(page: bytes, opening: Opening) -> bytes:
    """Return a page of Gradio with the opening in it; any other page as it is."""
    if BODY not in page or HEAD_END not in page:
        return page
    head, rest = page.split(HEAD_END, 1)
    before, after = rest.split(BODY, 1)
    return b"".join((head, opening.head().encode(), HEAD_END, before, opening.html().encode(), BODY, after))


def _is_page(start: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])
