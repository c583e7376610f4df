"""Bodies: what is too long is refused before it is read into memory."""

from collections.abc import Awaitable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.middleware import FaultHandler


class BodyLimit:
    """Refuses a body that is longer than the limit before it is in memory.

    FastAPI's own limit answers in plain text, and treats a handler's
    problem+json as a fault.

    Args:
        app: what reads the body.
        limit_bytes: the limit.
        on_fault: answers what is refused; it finds the limit in the state.
        exceptions: the limits of some methods and paths; a path that ends
            with `/` stands for all below it.
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
        self._below = [
            (method, path, limit)
            for (method, path), limit in exceptions.items()
            if path.endswith("/")
        ]

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        limit_bytes = self._limit_of(scope["method"], scope["path"])
        state = scope.setdefault("state", {})
        state["body_limit_bytes"] = limit_bytes
        if _content_length(scope) > limit_bytes:
            return self._refuse(scope, receive, send)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            state["body_bytes"] = received
            if received > limit_bytes:
                raise HTTPException(413)
            return message

        return self._app(scope, receive_counted, send)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        response = await self._on_fault(
            Request(scope, receive), HTTPException(413)
        )
        await response(scope, receive, send)

    def _limit_of(self, method: str, path: str) -> int:
        for known, beginning, limit_bytes in self._below:
            if method == known and path.startswith(beginning):
                return limit_bytes
        return self._exceptions.get((method, path), self._limit_bytes)


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
