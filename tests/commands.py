"""Counts what the driver sends to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pymongo import monitoring


class _Recorder(monitoring.CommandListener):
    """Notes the names of commands while somebody listens."""

    def __init__(self) -> None:
        self.names: list[str] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Notes a command."""
        if self.names is not None:
            self.names.append(event.command_name)

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
