"""CORS: which pages of other sites may call, and read what is answered."""

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.middleware import FaultHandler

_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_ALLOWED_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
    "X-Trace",
)
_EXPOSED_HEADERS: Final = (
    "Content-Disposition",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
)
# The longest time that browsers remember a preflight's answer for.
_PREFLIGHT_SECONDS: Final = 7200
_DEFAULT_PORT: Final = re.compile(r"(?<=^http:)(.*):80$|(?<=^https:)(.*):443$")
_SUBDOMAINS: Final = r"(?:[a-z0-9_-]+\.)+"


class Origins:
    """The pages of other sites that may call.

    Args:
        origins: such as `https://app.example.org`, or
            `https://*.example.org` for all subdomains.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self.exact = [_serialised(o) for o in origins if "*" not in o]
        self.pattern = _pattern([o for o in origins if "*" in o])

    def allow(self, origin: str) -> bool:
        """Whether pages of `origin`, as browsers write it, may call."""
        return origin in self.exact or (
            self.pattern is not None
            and re.fullmatch(self.pattern, origin) is not None
        )


class Cors(CORSMiddleware):
    """Lets pages of the allowed origins call, with credentials too.

    Starlette's, but a refused preflight says why as a problem+json, a request
    that no page sent costs nothing, and origins that are not allowed get no
    headers at all. That answers vary by Origin is said by `ClientCaching`.

    Args:
        app: what answers.
        origins: such as `https://app.example.org`, or
            `https://*.example.org` for all subdomains; never `*`, which with
            credentials would open every account to every page.
        api_key_name: the header of API keys, which pages may send.
        on_fault: answers a refused preflight.
        refusal: makes the error that it answers, of what is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Collection[str],
        api_key_name: str,
        on_fault: FaultHandler,
        refusal: Callable[[str], Exception],
    ) -> None:
        allowed = Origins(origins)
        super().__init__(
            app,
            allow_origins=allowed.exact,
            allow_origin_regex=allowed.pattern,
            allow_methods=_METHODS,
            allow_headers=(*_ALLOWED_HEADERS, api_key_name),
            allow_credentials=True,
            expose_headers=_EXPOSED_HEADERS,
            max_age=_PREFLIGHT_SECONDS,
        )
        self._on_fault = on_fault
        self._refusal = refusal
        self._headers = [
            (name.lower().encode(), value.encode())
            for name, value in self.simple_headers.items()
        ]

    # A plain function, like the other stages: what it returns is awaited.
    # pylint: disable-next=invalid-overridden-method
    def __call__(  # type: ignore[override]
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        for name, origin in scope["headers"]:
            if name == b"origin":
                break
        else:
            return self.app(scope, receive, send)
        asked = Headers(scope=scope)
        if is_preflight(scope["method"], asked):
            return self._answer_preflight(asked, scope, receive, send)
        if self.is_allowed_origin(origin.decode("latin-1")):
            # Cookies count in what such a page asks for: see `Callers`.
            scope["state"]["is_allowed_page"] = True
            send = self._sender(origin, send)
        return self.app(scope, receive, send)

    async def _answer_preflight(
        self, asked: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        response = self.preflight_response(asked)
        if response.status_code != 200:
            said = bytes(response.body).decode()
            refused = said.removeprefix("Disallowed CORS ")
            allowed = response.headers
            response = await self._on_fault(
                Request(scope, receive), self._refusal(refused)
            )
            for name, value in allowed.items():
                response.headers.setdefault(name, value)
        await response(scope, receive, send)

    def _sender(self, origin: bytes, send: Send) -> Send:
        headers = [*self._headers, (b"access-control-allow-origin", origin)]

        def send_readable(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] += headers
            return send(message)

        return send_readable


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser asks what a page may do; it sends no credentials."""
    return method == "OPTIONS" and "access-control-request-method" in headers


def _serialised(origin: str) -> str:
    """The origin as browsers write it: lower case, without a usual port."""
    return _DEFAULT_PORT.sub(r"\1\2", origin.lower())


def _pattern(wildcards: Collection[str]) -> str | None:
    """What the origins below some domains look like, from end to end."""
    return (
        "|".join(
            re.escape(_serialised(origin)).replace(r"\*\.", _SUBDOMAINS)
            for origin in wildcards
        )
        or None
    )
