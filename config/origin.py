"""Origin: which request a task works for, and what is known of it so far.

Set by the outermost middleware; the log, the audit and the counters read it, so
that nobody has to pass it through every call. Tasks that a request starts
inherit it.
"""

import secrets
import socket
from collections.abc import MutableMapping
from contextvars import ContextVar
from time import perf_counter, time
from typing import Any, Final

# The server imports this before it forks: all its workers have the same.
SERVER_ID: Final = f"{socket.gethostname()}-{secrets.token_hex(4)}"

# Of a client that went away before its answer began; nobody reads it.
CLIENT_GONE: Final = 499

# A request that asks more often is known by its number of commands.
_MOST_NAMES: Final = 100

# What is asked for when a request is over, and its route.
_REMEMBERED: Final = ("method", "path", "query_string", "headers", "state")


class Origin:  # pylint: disable=too-many-instance-attributes  # One a request.
    """A request, from its first line to its last.

    It costs every request its making, so that it has slots, refers to what the
    server made anyway, and computes nothing that nobody asks for.

    Attributes:
        request_id: the id in its answer; `-` for what no request asked for.
        address: the client's address; empty where there is no client.
        scope: what the server knows of it (ASGI); once it is over, what
            `shrink` leaves.
        began: when it came, by `perf_counter`.
        seconds: how long it took; None while it goes on.
        began_at: when it came, seconds since 1970; known at its end.
        answered_at: when the last of its answer was given to the server, or
            else when it ended, seconds since 1970. What a client asks for when
            it has an answer comes later, whichever worker serves it.
        status: of its answer; 0 before that begins.
        headers: of its answer, as sent.
        size: bytes of the answer's body that were sent.
        complete: all of the answer was given to the server.
        gone: the client left before that.
        commands: the first names of what the database was asked.
        command_count: how often it was asked.
        command_seconds: how long its answers took, summed up.
        trace: the calls that are noted, where somebody asked for it.
    """

    __slots__ = (
        "address",
        "answered_at",
        "began",
        "began_at",
        "command_count",
        "command_seconds",
        "commands",
        "complete",
        "gone",
        "headers",
        "request_id",
        "scope",
        "seconds",
        "size",
        "status",
        "trace",
    )

    def __init__(
        self, request_id: str, address: str, scope: MutableMapping[str, Any]
    ) -> None:
        self.request_id = request_id
        self.address = address
        self.scope = scope
        self.began = perf_counter()
        self.seconds: float | None = None
        self.began_at = self.answered_at = 0.0
        self.status = self.size = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = self.gone = False
        self.commands: list[str] = []
        self.command_count = 0
        self.command_seconds = 0.0
        # Of a module above this one: config/traces.py.
        self.trace: Any = None

    @property
    def member_id(self) -> str | None:
        """The member who calls, once that is known."""
        caller = self.scope["state"].get("caller")
        return getattr(caller, "user_id", None)

    @property
    def route(self) -> str | None:
        """The template of the path, once it is known; None of no endpoint."""
        return getattr(self.scope.get("route"), "path", None)

    def count(self, command: str, seconds: float) -> None:
        """Notes a command of the database.

        What a task asks for after the answer is nobody's request any more.
        """
        if self.seconds is None:
            self.command_count += 1
            self.command_seconds += seconds
            if self.command_count <= _MOST_NAMES:
                self.commands.append(command)

    def shrink(self) -> None:
        """Lets go of what the server and the framework keep in the scope.

        To remember the last requests whole made each one 40 µs dearer: new ones
        found no memory that was still in the processor's cache.
        """
        scope = self.scope
        self.scope = {name: scope[name] for name in _REMEMBERED}
        if "route" in scope:
            self.scope["route"] = scope["route"]

    def end(self) -> None:
        """Notes that all is over."""
        if self.gone and not self.status:
            self.status = CLIENT_GONE
        self.seconds = perf_counter() - self.began
        now = time()
        self.began_at = now - self.seconds
        if not self.complete:
            self.answered_at = now


def _nobodys() -> Origin:
    origin = Origin("-", "", {"state": {}})
    origin.end()
    return origin


origin_of_task: Final[ContextVar[Origin]] = ContextVar(
    "origin_of_task", default=_nobodys()
)
