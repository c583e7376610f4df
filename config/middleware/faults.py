"""Faults: what a stage or a route raises is answered inside of the guards."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.middleware import FaultHandler


class Faults:
    """Answers what the app behind it raises.

    `RequestContext` would do so too, but it stands outside of the stages that
    guard answers: a page could not read that, and why, its request failed.
    """

    def __init__(self, app: ASGIApp, on_fault: FaultHandler) -> None:
        self._app = app
        self._on_fault = on_fault

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:  # pylint: disable=broad-exception-caught
            if started or scope["type"] != "http":
                raise
            # Who keeps a record of the request finds there what went wrong.
            scope["state"]["fault"] = error
            response = await self._on_fault(Request(scope, receive), error)
            await response(scope, receive, send)
