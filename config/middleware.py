"""What surrounds every request, outermost first; pure ASGI.

`RequestContext` names the request and answers for what nobody else caught.
`HeadRequests` answers HEAD as GET. `BodyLimit` refuses what is too long to be
read. `EntityTags` gives answers a name, and saves sending the same one twice.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.etags import etag_of, etags_in
from config.origin import Origin, origin_of_task

# Others may carry line breaks or escape sequences into logs and headers.
_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# What they answer is the state at their path.
_TAGGED: Final = ("GET", "PATCH")

FaultHandler = Callable[[Request, Exception], Awaitable[Response]]


class RequestContext:
    """Gives every request an id, and every fault an answer."""

    def __init__(self, app: ASGIApp, on_fault: FaultHandler) -> None:
        self._app = app
        self._on_fault = on_fault

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _with_one_line_faults(send))
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        origin_of_task.set(Origin(request_id, _address(scope)))
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"].append(
                    (b"x-request-id", request_id.encode())
                )
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:  # pylint: disable=broad-exception-caught
            # The last resort: whatever it is, its trace goes to the log only.
            response = await self._on_fault(Request(scope, receive), error)
            if not started:
                await response(scope, receive, send_named)


class BodyLimit:
    """Refuses a body that is longer than the limit before it is in memory.

    FastAPI's own limit answers in plain text, and treats a handler's
    problem+json as a fault.

    Args:
        app: what reads the body.
        limit_bytes: the limit.
        on_fault: answers what is refused; it finds the limit in the state.
        exceptions: the limits of some methods and paths.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_bytes: int,
        on_fault: FaultHandler,
        exceptions: Mapping[tuple[str, str], int],
    ) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._on_fault = on_fault
        self._exceptions = exceptions

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._exceptions.get(
            (scope["method"], scope["path"]), self._limit_bytes
        )
        scope.setdefault("state", {})["body_limit_bytes"] = limit_bytes
        if _content_length(scope) > limit_bytes:
            response = await self._on_fault(
                Request(scope, receive), HTTPException(413)
            )
            await response(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit_bytes:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_counted, send)


class HeadRequests:
    """Answers HEAD as GET, without the body (RFC 9110, section 9.3.2).

    A range is asked for with GET only (section 14.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        headers = [pair for pair in scope["headers"] if pair[0] != b"range"]
        scope = {**scope, "method": "GET", "headers": headers}
        await self._app(scope, receive, send_head)


class EntityTags:
    """Adds an ETag to what GET and PATCH answer, and honours If-None-Match.

    The tag is a hash of the body: equal answers have equal tags, whatever
    worker or version computed them. Only answers of one piece are tagged, so
    streams stay streams.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http" or scope["method"] not in _TAGGED:
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and _has_length(message):
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

        await self._app(scope, receive, send_tagged)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(16)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _has_length(start: Message) -> bool:
    # A stream has none: its headers must not wait for its first piece.
    return any(name == b"content-length" for name, _ in start["headers"])


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _tag(scope: Scope, start: Message, body: Message) -> Message:
    """Puts the ETag into `start`; returns the body to send, if any is due."""
    if any(name == b"etag" for name, _ in start["headers"]):
        return body
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


def _with_one_line_faults(send: Send) -> Send:
    """Shortens what the server logs when a service can't start."""

    async def send_short(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            last_line = message["message"].strip().splitlines()[-1]
            fault = last_line.partition(": ")[2] or last_line
            message = {**message, "message": f"muster: {fault}"}
        await send(message)

    return send_short
