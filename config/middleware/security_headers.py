"""Security headers: what tells browsers to do less with an answer."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# Answers are data: nothing in them runs, is framed, or is taken for another
# type; no page is told where its visitors come from; who embeds one from
# another site gets nothing, unless that answer itself says so.
ALWAYS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
UNLESS_OWN: Final[tuple[Header, ...]] = (
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# A year, for this host alone: others of its domain are not ours to bind.
_HTTPS_ONLY: Final[Header] = (
    b"strict-transport-security",
    b"max-age=31536000",
)


class SecurityHeaders:
    """Adds to every answer what protects those who read it in a browser.

    Args:
        app: what answers.
        https_only: whether browsers that came by HTTPS must do so from now
            on; not in development, whose certificates come and go.
    """

    def __init__(self, app: ASGIApp, https_only: bool) -> None:
        self._app = app
        self._https_only = https_only

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        by_https = self._https_only and scope["scheme"] == "https"

        def send_guarded(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                own = dict(headers)
                headers += ALWAYS
                for pair in UNLESS_OWN:
                    if pair[0] not in own:
                        headers.append(pair)
                if by_https:
                    headers.append(_HTTPS_ONLY)
            return send(message)

        return self._app(scope, receive, send_guarded)
