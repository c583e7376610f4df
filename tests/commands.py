"""Counts what the driver sends to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pymongo import monitoring


_LEASES: Final = "rate_windows"


class _Recorder(monitoring.CommandListener):
    """Notes the names of commands while somebody listens."""

    def __init__(self) -> None:
        self.names: list[str] | None = None
        self.leases: list[str] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Notes a command, unless it is one of those that count requests.

        A lease is for many requests, and no part of any: what it costs, the
        tests of the limits say.
        """
        name = event.command_name
        is_lease = event.command.get(name) == _LEASES
        noted = self.leases if is_lease else self.names
        if noted is not None:
            noted.append(name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note: the start was."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note: the start was."""


RECORDER: Final = _Recorder()


@contextmanager
def counted() -> Iterator[list[str]]:
    """The names of the commands that are sent inside the block, in order."""
    names: list[str] = []
    RECORDER.names = names
    try:
        yield names
    finally:
        RECORDER.names = None


@contextmanager
def counted_leases() -> Iterator[list[str]]:
    """The same of the commands that count requests, and of those alone."""
    names: list[str] = []
    RECORDER.leases = names
    try:
        yield names
    finally:
        RECORDER.leases = None
