"""Context: the outermost; names the request, and answers for every fault."""

import re
import secrets
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.middleware import FaultHandler
from config.origin import Origin, origin_of_task

# Others may carry line breaks or escape sequences into logs and headers.
_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


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


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(16)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _with_one_line_faults(send: Send) -> Send:
    """Shortens what the server logs when a service can't start."""

    async def send_short(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            last_line = message["message"].strip().splitlines()[-1]
            fault = last_line.partition(": ")[2] or last_line
            message = {**message, "message": f"muster: {fault}"}
        await send(message)

    return send_short
