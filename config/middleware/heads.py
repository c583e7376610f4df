"""HEAD: answered as GET, without the body."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _AnsweredError(Exception):
    """Nobody waits for what would follow."""


class HeadRequests:
    """Answers HEAD as GET, without the body (RFC 9110, section 9.3.2).

    Where a body comes in pieces, what makes it is ended at the first: a stream
    of events may have no end.

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
        async def send_head(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": message["type"], "body": b""})
            if message.get("more_body", False):
                raise _AnsweredError

        headers = [pair for pair in scope["headers"] if pair[0] != b"range"]
        asked = {**scope, "method": "GET", "headers": headers}
        try:
            await self._app(asked, receive, send_head)
        except _AnsweredError:
            pass
        finally:
            # What the stages around this one know a path's template by.
            scope["route"] = asked.get("route")
