"""Faults: what a stage or a route raises is answered inside of the guards."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from config.middleware import FaultHandler
from config.origin import origin_of_task


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
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # pylint: disable=broad-exception-caught
            if scope["type"] != "http" or origin_of_task.get().status:
                # It has begun to answer, and can't do so twice.
                raise
            response = await self._on_fault(Request(scope, receive), error)
            await response(scope, receive, send)
