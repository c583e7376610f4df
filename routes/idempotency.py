"""Idempotency: routes that create, of which a client may repeat each request.

A router whose POST answers 201 is made with `route_class=IdempotentRoute`; one
whose POST queues a task, and answers 202, with `route_class=SubmissionRoute`;
one whose POST starts what no transaction can hold, with `NamedDeedRoute`.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from copy import deepcopy
from tempfile import SpooledTemporaryFile
from typing import IO, Any, ClassVar, Final, Protocol

from fastapi import HTTPException, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message

from config import db, transactions
from models.exceptions import (
    IdempotencyKeyInFlightError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    MusterError,
    TaskNotFoundError,
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
from utils.idempotency import Attempt

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_HEADER: Final = "Idempotency-Key"
_REPLAYED: Final = "Idempotency-Replayed"
_KEY: Final = re.compile(r"[!-~]{1,255}")
_KEPT_HEADERS: Final = ("content-type", "location")
_BOUNDARY: Final = re.compile(r'boundary="?([^";,]+)"?')
# A longer body lies in a file, and is hashed in a thread.
_SHORT_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024

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


class _Fulfil(Protocol):
    """Has the wish of a request fulfilled, and keeps the answer."""

    async def __call__(
        self,
        request: Request,
        handle: Handler,
        *,
        body: IO[bytes],
        attempt: Attempt,
    ) -> Response: ...


class IdempotentRoute(APIRoute):
    """A route whose POST, where it answers 201, honours Idempotency-Key."""

    answered: ClassVar[int] = status.HTTP_201_CREATED

    def __init__(
        self, path: str, endpoint: Callable[..., Any], **options: Any
    ) -> None:
        self.is_idempotent = (
            options["status_code"] == self.answered
            and "POST" in options["methods"]
        )
        if self.is_idempotent:
            extra = options.get("openapi_extra") or {}
            parameters = [*extra.get("parameters", ()), _PARAMETER]
            options["openapi_extra"] = {**extra, "parameters": parameters}
            options["responses"] = _with_ours(
                options["responses"], self.answered
            )
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
            with SpooledTemporaryFile(max_size=_SHORT_BYTES) as body:
                await _receive(request, body)
                wish = Wish(caller, key, await _digest(request, body))
                begun = await idempotency.begin(wish)
                if isinstance(begun, Answer):
                    return _replay(begun)
                return await self._fulfil(
                    request, handle, body=body, attempt=begun
                )

        return handle_once

    @property
    def _fulfil(self) -> _Fulfil:
        return _create


class SubmissionRoute(IdempotentRoute):
    """A route whose POST queues a task, and honours Idempotency-Key."""

    answered: ClassVar[int] = status.HTTP_202_ACCEPTED

    @property
    def _fulfil(self) -> _Fulfil:
        return _submit


class NamedDeedRoute(SubmissionRoute):
    """A route whose POST makes something by more than a transaction, once."""

    answered: ClassVar[int] = status.HTTP_201_CREATED


def deed_of(request: Request) -> str | None:
    """What the deed of a request is called, however often it is sent."""
    deed: str | None = getattr(request.state, "deed", None)
    return deed


def _replay(answer: Answer) -> Response:
    return Response(
        answer.body, answer.status, {**answer.headers, _REPLAYED: "true"}
    )


def _with_ours(
    declared: dict[int | str, dict[str, Any]], answered: int
) -> dict[int | str, dict[str, Any]]:
    """What a route declares, with what the header adds to it."""
    whole = deepcopy(declared)
    ours = problems(IdempotencyKeyInFlightError, IdempotencyKeyReusedError)
    for code, entry in ours.items():
        theirs = whole.setdefault(code, entry)
        for media_type, content in entry["content"].items():
            theirs["content"][media_type]["examples"] |= content["examples"]
    headers = whole.setdefault(answered, {}).setdefault("headers", {})
    headers[_REPLAYED] = {
        "description": f"`true` where {_HEADER} was sent before, and this is "
        "what was answered then.",
        "schema": {"type": "string", "const": "true"},
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


async def _receive(request: Request, body: IO[bytes]) -> None:
    """Stores what a client sends: an upload may be larger than memory."""
    try:
        async for piece in request.stream():
            if body.tell() <= _SHORT_BYTES:
                body.write(piece)
            else:
                await asyncio.to_thread(body.write, piece)
    except ClientDisconnect:
        raise HTTPException(status.HTTP_400_BAD_REQUEST) from None


async def _create(
    request: Request, handle: Handler, *, body: IO[bytes], attempt: Attempt
) -> Response:
    """Has a wish fulfilled by a transaction, which keeps the answer too."""

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


async def _submit(
    request: Request, handle: Handler, *, body: IO[bytes], attempt: Attempt
) -> Response:
    """Has a wish fulfilled by a deed that can be done once, then the answer.

    A transaction would hold all of an upload, and hide from the submission what
    others submit.
    """
    request.state.deed = attempt.deed
    try:
        response = await handle(_again(request, body))
        await idempotency.finish(attempt, answer=_answer_of(response))
    except TaskNotFoundError:
        # Somebody took over, and put half a task away.
        raise IdempotencyKeyInFlightError() from None
    except (MusterError, HTTPException, RequestValidationError):
        # It was refused, so that there is nothing.
        with suppress(*db.UNAVAILABLE_ERRORS):
            await idempotency.give_up(attempt)
        raise
    except Exception:
        # It may have been done: whoever comes next finds it by its name.
        with suppress(*db.UNAVAILABLE_ERRORS):
            await idempotency.leave(attempt)
        raise
    return response


def _again(request: Request, body: IO[bytes]) -> Request:
    """The same request, with a body that was not read yet."""
    size = body.seek(0, 2)
    body.seek(0)
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            return await request.receive()
        if size <= _SHORT_BYTES:
            piece = body.read(_PIECE_BYTES)
        else:
            piece = await asyncio.to_thread(body.read, _PIECE_BYTES)
        is_read = body.tell() == size
        return {
            "type": "http.request",
            "body": piece,
            "more_body": not is_read,
        }

    return Request(dict(request.scope), receive)


def _answer_of(response: Response) -> Answer:
    kept = {
        name: response.headers[name]
        for name in _KEPT_HEADERS
        if name in response.headers
    }
    return Answer(response.status_code, kept, bytes(response.body))


async def _digest(request: Request, body: IO[bytes]) -> str:
    """The SHA-256 of all that a request says; its boundary says nothing."""
    content_type = request.headers.get("content-type", "")
    head = f"{request.method} {request.url.path}?{request.url.query}\n"
    if body.tell() > _SHORT_BYTES:
        return await asyncio.to_thread(_hash, head, content_type, body)
    return _hash(head, content_type, body)


def _hash(head: str, content_type: str, body: IO[bytes]) -> str:
    boundary = _BOUNDARY.search(content_type)
    line, kept = b"", 0
    if boundary is not None:
        line = b"--" + boundary[1].encode()
        kept = len(line) - 1
        content_type = _BOUNDARY.sub("", content_type)
    digest = hashlib.sha256(f"{head}{content_type}\n".encode())
    body.seek(0)
    rest = b""
    while piece := body.read(_PIECE_BYTES):
        rest += piece
        if line:
            rest = rest.replace(line, b"--")
        # A boundary may begin in this piece and end in the next.
        sure = max(len(rest) - kept, 0)
        digest.update(rest[:sure])
        rest = rest[sure:]
    digest.update(rest)
    return digest.hexdigest()
