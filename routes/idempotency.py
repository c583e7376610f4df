"""Idempotency: routes that create, of which a client may repeat each request.

A router whose POST answers 201 is made with `route_class=IdempotentRoute`.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from copy import deepcopy
from typing import Any, Final

from fastapi import HTTPException, Request, status
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message

from config import db, transactions
from models.exceptions import (
    IdempotencyKeyInFlightError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
)
from models.idempotency import Answer, Wish
from models.logins import Actor
from routes.dependencies import (
    LOGIN,
    calls_of,
    client_address,
    require_actor,
    require_admin,
)
from routes.problems import problems
from utils import idempotency

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_HEADER: Final = "Idempotency-Key"
_REPLAYED: Final = "Idempotency-Replayed"
_KEY: Final = re.compile(r"[!-~]{1,255}")
_KEPT_HEADERS: Final = ("content-type", "location")
_BOUNDARY: Final = re.compile(r'boundary="?([^";,]+)"?')
# A longer body is hashed in a thread.
_SHORT_BYTES: Final = 64 * 1024

_PARAMETER: Final[dict[str, Any]] = {
    "name": _HEADER,
    "in": "header",
    "required": False,
    "description": "A random text: with it, the request may be repeated for a "
    "day, and is answered what it was answered first. One that failed is tried "
    "again.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]+$",
    },
}


class IdempotentRoute(APIRoute):
    """A route whose POST, where it answers 201, honours Idempotency-Key."""

    def __init__(
        self, path: str, endpoint: Callable[..., Any], **options: Any
    ) -> None:
        self.is_idempotent = (
            options["status_code"] == status.HTTP_201_CREATED
            and "POST" in options["methods"]
        )
        if self.is_idempotent:
            options["openapi_extra"] = {"parameters": [_PARAMETER]}
            options["responses"] = _with_ours(options["responses"])
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        """What handles a request, once, however often it comes."""
        handle = super().get_route_handler()
        if not self.is_idempotent:
            return handle
        asked = frozenset(calls_of(self.dependant))

        async def handle_once(request: Request) -> Response:
            key = request.headers.get(_HEADER)
            if key is None:
                return await handle(request)
            caller = await _caller(request, asked)
            if not _KEY.fullmatch(key):
                raise InvalidRequestError.at(
                    "header", _HEADER, msg="a key is 1 to 255 visible letters"
                )
            return await _handle_once(request, handle, key=key, caller=caller)

        return handle_once


def _with_ours(
    declared: dict[int | str, dict[str, Any]],
) -> dict[int | str, dict[str, Any]]:
    """What a route declares, with what the header adds to it."""
    whole = deepcopy(declared)
    ours = problems(IdempotencyKeyInFlightError, IdempotencyKeyReusedError)
    for code, entry in ours.items():
        theirs = whole.setdefault(code, entry)
        for media_type, content in entry["content"].items():
            theirs["content"][media_type]["examples"] |= content["examples"]
    whole[status.HTTP_201_CREATED] = {
        "headers": {
            _REPLAYED: {
                "description": f"`true` where {_HEADER} was sent before, and "
                "this is what was answered then.",
                "schema": {"type": "string", "const": "true"},
            }
        }
    }
    return whole


async def _caller(request: Request, asked: frozenset[object]) -> str:
    """Who calls, who may do so: also what was answered once is shown to them.

    Raises:
        MusterError: they may not.
    """
    actor: Actor | None = None
    if LOGIN in asked:
        actor = await LOGIN(request)
    if require_actor in asked:
        actor = await require_actor(actor)
    if require_admin in asked and actor is not None:
        await require_admin(request, actor)
    if actor is None:
        return f"address {client_address(request)}"
    return f"member {actor.user_id}"


async def _handle_once(
    request: Request, handle: Handler, *, key: str, caller: str
) -> Response:
    try:
        body = await request.body()
    except ClientDisconnect:
        raise HTTPException(status.HTTP_400_BAD_REQUEST) from None
    wish = Wish(caller, key, await _digest(request, body))
    begun = await idempotency.begin(wish)
    if isinstance(begun, Answer):
        return Response(
            begun.body, begun.status, {**begun.headers, _REPLAYED: "true"}
        )
    attempt = begun

    async def work() -> Response:
        # It may run again, on the same body.
        response = await handle(_again(request, body))
        await idempotency.finish(attempt, answer=_answer_of(response))
        return response

    try:
        return await transactions.run(work)
    except Exception:
        # Nothing was written. Where even this can't be, the lease ends.
        with suppress(*db.UNAVAILABLE_ERRORS):
            await idempotency.give_up(attempt)
        raise


def _again(request: Request, body: bytes) -> Request:
    """The same request, with a body that was not read yet."""
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            return await request.receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(dict(request.scope), receive)


def _answer_of(response: Response) -> Answer:
    kept = {
        name: response.headers[name]
        for name in _KEPT_HEADERS
        if name in response.headers
    }
    return Answer(response.status_code, kept, bytes(response.body))


async def _digest(request: Request, body: bytes) -> str:
    """The SHA-256 of all that a request says; its boundary says nothing."""
    content_type = request.headers.get("content-type", "")
    head = f"{request.method} {request.url.path}?{request.url.query}\n"
    if len(body) > _SHORT_BYTES:
        return await asyncio.to_thread(_hash, head, content_type, body)
    return _hash(head, content_type, body)


def _hash(head: str, content_type: str, body: bytes) -> str:
    boundary = _BOUNDARY.search(content_type)
    if boundary is not None:
        body = body.replace(b"--" + boundary[1].encode(), b"--")
        content_type = _BOUNDARY.sub("", content_type)
    digest = hashlib.sha256(f"{head}{content_type}\n".encode())
    digest.update(body)
    return digest.hexdigest()
