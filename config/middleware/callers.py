"""Callers: who makes a request is found out once, before all that asks."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from config.credentials import Credentials

# Says whose credentials these are: an actor, nobody, or why they are refused.
Identify = Callable[[Credentials], Awaitable[object]]

# What these ask for changes nothing (RFC 9110, section 9.2.1).
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class Callers:
    """Puts who calls into the request's state, as `caller`.

    It is an actor, None where nobody says who they are, or the error that bad
    credentials deserve. That one is not raised here: a rate limit comes next,
    which must count the attempt, and where everybody may come in, it does not
    matter who asks. `has_key` is there when a good key was shown.

    Args:
        app: what serves the caller.
        identify: finds out who it is.
        key_name: name of the header and of the cookie of API keys.
        service_key: what opens the service, and belongs to no member.
        open_paths: beginnings of paths that have gates of their own, or none.
    """

    def __init__(
        self,
        app: ASGIApp,
        identify: Identify,
        key_name: str,
        service_key: str | None,
        open_paths: Sequence[str],
    ) -> None:
        self._app = app
        self._identify = identify
        self._key_name = key_name.lower().encode()
        self._service_key = service_key
        self._open_paths = tuple(open_paths)

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        shown = Credentials.find(scope["headers"], key_name=self._key_name)
        if shown is None or scope["path"].startswith(self._open_paths):
            scope["state"]["caller"] = None
            return self._app(scope, receive, send)
        return self._serve_caller(shown, scope, receive, send)

    async def _serve_caller(
        self, shown: Credentials, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await self._find_out(scope["state"], scope, shown)
        await self._app(scope, receive, send)

    async def _find_out(
        self, state: dict[str, object], scope: Scope, shown: Credentials
    ) -> None:
        if shown.is_ambient and scope["method"] not in _SAFE:
            shown = replace(shown, is_foreign=is_foreign(scope))
        if not shown.is_foreign and self._opens(shown.key):
            state["has_key"] = True
            shown = shown.without_key()
        caller = state["caller"] = await self._identify(shown)
        if shown.key is not None and not isinstance(caller, Exception):
            state["has_key"] = True

    def _opens(self, key: str | None) -> bool:
        return (
            key is not None
            and self._service_key is not None
            # As bytes: `Credentials` reads each byte of a header as a letter.
            and hmac.compare_digest(
                key.encode("latin-1"), self._service_key.encode()
            )
        )


class ServiceKey:
    """Turns away whoever shows no key, where the service has one.

    It stands behind the rate limits, which count the attempt.

    Args:
        app: what the others come to.
        is_needed: whether the service has a key.
        refusal: makes the error of those who show none.
        open_paths: beginnings of paths that have gates of their own, or none.
    """

    def __init__(
        self,
        app: ASGIApp,
        is_needed: bool,
        refusal: Callable[[], Exception],
        open_paths: Sequence[str],
    ) -> None:
        self._app = app
        self._is_needed = is_needed
        self._refusal = refusal
        self._open_paths = tuple(open_paths)

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if self._is_needed and scope["type"] == "http":
            self._turn_away(scope)
        return self._app(scope, receive, send)

    def _turn_away(self, scope: Scope) -> None:
        state = scope["state"]
        if "has_key" in state or scope["path"].startswith(self._open_paths):
            return
        caller = state["caller"]
        raise caller if isinstance(caller, Exception) else self._refusal()


def is_foreign(scope: Scope) -> bool:
    """Whether a page asks that is neither the service's own nor allowed.

    Browsers name the page's origin in every change; programs name none.
    """
    if scope["state"].get("is_allowed_page"):
        # `Cors` knows those of CORS_ORIGINS.
        return False
    origin = host = b""
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = value.lower()
        elif name == b"host":
            host = value.lower()
    return origin != b"" and origin.partition(b"://")[2] != host
