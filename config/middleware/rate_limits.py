"""Rate limits: every request is counted before anything is done for it."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send


Headers = list[tuple[bytes, bytes]]


class Admit(Protocol):
    """Counts a request: headers of its answer, maybe later, or an error."""

    def __call__(
        self, caller: object, /, *, address: str, path: str
    ) -> Headers | Awaitable[Headers]: ...


class RateLimits:
    """Admits as many requests of each caller as their limit says.

    A CORS preflight is a browser's own request, and passes.

    Args:
        app: what serves who is admitted.
        admit: counts a request of a caller, and raises when it is one too many.
        open_paths: beginnings of paths that are not limited.
    """

    def __init__(
        self, app: ASGIApp, admit: Admit, open_paths: Sequence[str]
    ) -> None:
        self._app = app
        self._admit = admit
        self._open_paths = tuple(open_paths)

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if (
            scope["type"] != "http"
            or scope["path"].startswith(self._open_paths)
            or (scope["method"] == "OPTIONS" and _is_preflight(scope))
        ):
            return self._app(scope, receive, send)
        client = scope.get("client")
        admitted = self._admit(
            scope["state"].get("caller"),
            address=client[0] if client else "unknown",
            path=scope["path"],
        )
        if isinstance(admitted, list):
            return self._app(scope, receive, _with(admitted, send))
        return self._serve_later(admitted, scope, receive, send)

    async def _serve_later(
        self,
        admitted: Awaitable[Headers],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        await self._app(scope, receive, _with(await admitted, send))


def _with(headers: Headers, send: Send) -> Send:
    """Sends an answer with these headers."""

    def send_limited(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"].extend(headers)
        return send(message)

    return send_limited


def _is_preflight(scope: Scope) -> bool:
    return any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )
