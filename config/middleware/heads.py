"""HEAD: answered as GET, without the body."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """Answers HEAD as GET, without the body (RFC 9110, section 9.3.2).

    A range is asked for with GET only (section 14.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return self._app(scope, receive, send)
        return self._serve_head(scope, receive, send)

    async def _serve_head(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        def send_head(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            return send(message)

        headers = [pair for pair in scope["headers"] if pair[0] != b"range"]
        asked = {**scope, "method": "GET", "headers": headers}
        try:
            await self._app(asked, receive, send_head)
        finally:
            # What the stages around this one know a path's template by.
            scope["route"] = asked.get("route")
