"""Client caching: who may keep an answer, and for whom it is the same."""

from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# Whoever keeps an answer asks each time whether it is still true: ETags make
# that cheap.
_SHARED: Final = b"public, no-cache"
_OWN: Final = b"private, no-cache"
_NOBODY: Final = b"no-store"

# What a 206 or a 304 says is true of the 200 that it is about.
_KEPT_STATUSES: Final = (200, 206, 304)
# Secrets, all that there is about somebody, and what changes at any moment.
_KEPT_BY_NOBODY: Final = (
    "/v1/auth",
    "/v1/api-keys",
    "/v1/users/me/export",
    "/health",
    "/metrics",
)


class ClientCaching:
    """Adds Cache-Control and Vary, unless an answer has its own.

    What is answered to somebody who shows who they are is theirs; what anybody
    gets is everybody's, unless a key is needed to come in at all. Errors and
    the answers to changes are kept by nobody.

    Args:
        app: what answers.
        key_name: name of the header and of the cookie of API keys.
        everybody: whether all may come in; if not, nothing is public.
        by_origin: whether CORS answers pages of some origins differently.
    """

    def __init__(
        self, app: ASGIApp, key_name: str, everybody: bool, by_origin: bool
    ) -> None:
        self._app = app
        self._everybody = everybody
        self._credentials = frozenset(
            (b"authorization", b"cookie", key_name.lower().encode())
        )
        origin = ["Origin"] if by_origin else []
        self._by_origin = ", ".join(origin).encode()
        self._by_caller = ", ".join(
            ["Authorization", "Cookie", key_name, *origin]
        ).encode()

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)

        def send_marked(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self._mark(scope, message)
            return send(message)

        return self._app(scope, receive, send_marked)

    def _mark(self, scope: Scope, start: Message) -> None:
        headers = start["headers"]
        own = dict(headers)
        said = own.get(b"cache-control")
        if said is None:
            said = self._policy(scope, start["status"], b"set-cookie" in own)
            headers.append((b"cache-control", said))
            varies = self._by_caller
        else:
            varies = self._by_origin
            if not self._everybody and b"public" in said:
                said = said.replace(b"public", b"private")
                headers[:] = [h for h in headers if h[0] != b"cache-control"]
                headers.append((b"cache-control", said))
        if varies and said != _NOBODY:
            if b"vary" in own:
                varies = _union(headers, varies)
                headers[:] = [pair for pair in headers if pair[0] != b"vary"]
            headers.append((b"vary", varies))

    def _policy(self, scope: Scope, status: int, sets_cookie: bool) -> bytes:
        if (
            scope["method"] not in ("GET", "HEAD")
            or status not in _KEPT_STATUSES
            or scope["path"].startswith(_KEPT_BY_NOBODY)
        ):
            return _NOBODY
        if sets_cookie or not self._everybody:
            return _OWN
        shown = dict(scope["headers"])
        return _SHARED if self._credentials.isdisjoint(shown) else _OWN


def _union(headers: Sequence[Header], more: bytes) -> bytes:
    """A Vary that names each header once; letters' case does not matter."""
    said = [value for name, value in headers if name == b"vary"]
    names = [name.strip() for name in b",".join([*said, more]).split(b",")]
    return b", ".join({name.lower(): name for name in names if name}.values())
