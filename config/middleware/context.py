"""Context: the outermost; names the request, and answers for every fault."""

import random
import re
from collections.abc import Callable, Sequence
from time import time
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.middleware import FaultHandler
from config.origin import Origin, origin_of_task

# Others may carry line breaks or escape sequences into logs and headers.
_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# Called with each request that begins, or is over; it must neither fail nor
# wait.
Observer = Callable[[Origin], None]


class RequestContext:
    """Gives every request an id, its `Origin`, and every fault an answer.

    It is the one stage that sees the answer as it is sent: what others want to
    know of it, such as its size, they read in the `Origin`.

    Args:
        app: what serves requests.
        on_fault: answers what went wrong.
        heralds: are told of each request that begins.
        observers: are told of each request that is over.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_fault: FaultHandler,
        heralds: Sequence[Observer] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        self._app = app
        self._on_fault = on_fault
        self._heralds = tuple(heralds)
        self._observers = tuple(observers)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, _with_one_line_faults(send))
            return
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        client = scope.get("client")
        origin = Origin(request_id, client[0] if client else "", scope)
        origin_of_task.set(origin)
        for herald in self._heralds:
            herald(origin)
        name = (b"x-request-id", request_id.encode())

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                headers.append(name)
                origin.status, origin.headers = message["status"], headers
            else:
                origin.size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    origin.complete, origin.answered_at = True, time()
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:  # pylint: disable=broad-exception-caught
            # The last resort: whatever it is, its trace goes to the log only.
            response = await self._on_fault(Request(scope, receive), error)
            if not origin.status:
                await response(scope, receive, send_named)
        finally:
            origin.end()
            for observe in self._observers:
                observe(origin)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return str(value.decode())
    # It names, and opens nothing: the system's own randomness costs 6 µs.
    return f"{random.getrandbits(128):032x}"


def _with_one_line_faults(send: Send) -> Send:
    """Shortens what the server logs when a service can't start."""

    async def send_short(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            last_line = message["message"].strip().splitlines()[-1]
            fault = last_line.partition(": ")[2] or last_line
            message = {**message, "message": f"muster: {fault}"}
        await send(message)

    return send_short
