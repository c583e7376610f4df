"""Door: what is meant for a session's container goes another way."""

import re
from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

# The template of all paths that lead to containers.
DOOR: Final = "/v1/sessions/{session_id}/proxy/{path}"
# Of a message of a WebSocket; a notebook's largest pictures are smaller.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024

_SESSIONS: Final = "/v1/sessions/"
_PATH: Final = re.compile(rb"/v1/sessions/([0-9a-f-]{36})/proxy(?=[/?]|$)")


class Door:
    """Sends what is for a session through stages of its own.

    What these let pass is the container's affair: its size, its methods, its
    tags. It costs all other requests a look at their path.

    Args:
        app: what serves the rest.
        stages: what leads to the door, outermost first.
        door: what passes requests on. It finds the session's id in the scope,
            as `door_session_id`, and what sends answers past the stages, as
            `door_send`.
    """

    def __init__(
        self, app: ASGIApp, stages: Sequence[Middleware], door: ASGIApp
    ) -> None:
        self._app = app
        self._door = door
        for stage in reversed(stages):
            self._door = stage.cls(self._door, *stage.args, **stage.kwargs)

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "http" or not scope["path"].startswith(_SESSIONS):
            return self._app(scope, receive, send)
        session_id = find_session_id(scope["raw_path"])
        if session_id is None:
            return self._app(scope, receive, send)
        scope["door_session_id"] = session_id
        scope["door_send"] = send
        return self._door(scope, receive, send)


def find_session_id(raw_path: bytes) -> str | None:
    """The session whose container a path leads to; None of another path."""
    found = _PATH.match(raw_path)
    return None if found is None else found[1].decode()
