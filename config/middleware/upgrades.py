"""Upgrades: a WebSocket's handshake is a GET, and is guarded as one."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCHEMES: Final = {"ws": "http", "wss": "https"}


class Upgrades:
    """Has handshakes pass the same stages as requests (RFC 6455, section 4).

    Whoever answers finds what receives and sends messages in the scope, as
    `websocket`, and may accept; any other answer refuses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "websocket":
            return self._app(scope, receive, send)
        return self._serve_handshake(scope, receive, send)

    async def _serve_handshake(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # That is the handshake itself.
        await receive()
        asked = {
            **scope,
            "type": "http",
            "method": "GET",
            "scheme": _SCHEMES[scope["scheme"]],
            "websocket": (receive, send),
        }

        async def refuse(message: Message) -> None:
            # Whoever has left needs no refusal.
            with suppress(OSError):
                kind = f"websocket.{message['type']}"
                await send({**message, "type": kind})

        await self._app(asked, _Nothing().receive, refuse)


class _Nothing:
    """The body of a handshake. Its client leaves by the WebSocket's own."""

    def __init__(self) -> None:
        self._is_read = False

    async def receive(self) -> Message:
        """That there is none; nothing comes after that."""
        if self._is_read:
            await asyncio.Event().wait()
        self._is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}
