"""Callers: who makes a request is found out once, before all that asks."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from config.credentials import Credentials

# Says whose credentials these are: an actor, nobody, or why they are refused.
Identify = Callable[[Credentials], Awaitable[object]]


class Callers:
    """Puts who calls into the request's state, as `caller`.

    It is an actor, None where nobody says who they are, or the error that bad
    credentials deserve. That one is not raised here: a rate limit comes next,
    which must count the attempt, and where everybody may come in, it does not
    matter who asks.

    Args:
        app: what serves the caller.
        identify: finds out who it is.
        key_name: name of the header and of the cookie of API keys.
        but: beginnings of paths that have gates of their own, or none.
    """

    def __init__(
        self,
        app: ASGIApp,
        identify: Identify,
        key_name: str,
        but: tuple[str, ...] = (),
    ) -> None:
        self._app = app
        self._identify = identify
        self._key_name = key_name.lower().encode()
        self._but = but

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] == "http":
            state = scope["state"]
            state["caller"] = None
            shown = Credentials.find(scope["headers"], key_name=self._key_name)
            if shown is not None and not scope["path"].startswith(self._but):
                state["caller"] = await self._identify(shown)
        await self._app(scope, receive, send)
