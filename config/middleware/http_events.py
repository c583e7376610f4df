"""HTTP events: who is told of a request, and what is noted of it."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from config import http_events
from config.credentials import Credentials
from config.origin import Origin, origin_of_task
from config.traces import tracing

# Asks for the trace of one request.
_WISH: Final = (b"x-trace", b"1")

IsAdmin = Callable[[Credentials], Awaitable[bool]]


class HttpEvents:
    """Tells of each request, and traces those that an admin asks it of.

    Args:
        app: what serves requests.
        is_admin: finds out whether an admin shows these credentials; asked
            for requests that wish for a trace only. Others' wish is ignored.
        trace_all: traces every request.
        but: beginnings of paths that nobody is told of.
    """

    def __init__(
        self,
        app: ASGIApp,
        is_admin: IsAdmin,
        trace_all: bool,
        but: tuple[str, ...],
    ) -> None:
        self._app = app
        self._is_admin = is_admin
        self._trace_all = trace_all
        self._but = but

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http" or scope["path"].startswith(self._but):
            return self._app(scope, receive, send)
        http_events.requests.tell(origin_of_task.get())
        if self._trace_all or _WISH in scope["headers"]:
            return self._serve_traced(scope, receive, send)
        return self._app(scope, receive, send)

    async def _serve_traced(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._trace_all or await self._may_trace(scope):
            with tracing():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _may_trace(self, scope: Scope) -> bool:
        # Only who logged in is an admin: a key may be for less.
        shown = Credentials.find(scope["headers"], key_name=b"")
        return shown is not None and await self._is_admin(shown)


class Recorder:
    """Keeps each request that is over, to be stored.

    What passes to a session's container is its owner's affair, and is not kept.

    Args:
        but: beginnings of paths that are left out: those who watch the service
            ask so often that nothing else would stay.
    """

    def __init__(self, but: tuple[str, ...]) -> None:
        self._but = but

    def __call__(self, origin: Origin) -> None:
        """Keeps `origin`, and tells who wants to know of it."""
        scope = origin.scope
        if not scope["path"].startswith(self._but) and (
            "is_passed" not in scope["state"]
        ):
            origin.shrink()
            http_events.recent.add(origin)
            http_events.responses.tell(origin)
