"""Entity tags: answers get a name, which saves sending the same one twice."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.etags import etag_of, etags_in

# What they answer is the state at their path.
_TAGGED: Final = ("GET", "PATCH")


class EntityTags:
    """Adds an ETag to what GET and PATCH answer, and honours If-None-Match.

    The tag is a hash of the body: equal answers have equal tags, whatever
    worker or version computed them. Only answers of one piece are tagged, so
    streams stay streams.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http" or scope["method"] not in _TAGGED:
            return self._app(scope, receive, send)
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and _is_untagged(message):
                    start = message
                else:
                    await send(message)
                return
            if start is not None:
                if not message.get("more_body", False):
                    message = _tag(scope, start, message)
                await send(start)
                start = None
            await send(message)

        return self._app(scope, receive, send_tagged)


def _is_untagged(start: Message) -> bool:
    named = dict(start["headers"])
    # A stream has no length: its headers must not wait for its first piece.
    return b"content-length" in named and b"etag" not in named


def _tag(scope: Scope, start: Message, body: Message) -> Message:
    """Puts the ETag into `start`; returns the body to send, if any is due."""
    etag = etag_of(body.get("body", b""))
    start["headers"].append((b"etag", etag.encode()))
    if scope["method"] != "GET":
        return body
    for name, value in scope["headers"]:
        if name == b"if-none-match" and _has(value, etag):
            start["status"] = 304
            start["headers"] = [
                header
                for header in start["headers"]
                if header[0] not in (b"content-length", b"content-type")
            ]
            return {**body, "body": b""}
    return body


def _has(if_none_match: bytes, etag: str) -> bool:
    tags = etags_in(if_none_match.decode("latin-1"))
    return "*" in tags or etag in tags
