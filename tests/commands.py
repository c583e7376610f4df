"""Counts what the driver sends to the database, and looks what it asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from pymongo import monitoring

from config import db
from tests.query_plans import Clause, clauses_of, read_wholly
from tests.query_shapes import Shape, is_ours, led_nowhere, sender, shapes_of

Asked = TypeVar("Asked")

_LEASES: Final = "rate_windows"


class _Seen(Generic[Asked]):
    """What was asked for, and by whom first."""

    def __init__(self) -> None:
        self._by: dict[Asked, str] = {}
        self._new: dict[Asked, str] = {}

    def note(self, asked: Asked) -> None:
        """Notes what the command on its way asks for."""
        who = self._by.get(asked)
        # A test may ask as it likes, and Muster the same after it.
        if who is None or not is_ours(who):
            self._by[asked] = self._new[asked] = sender()

    def take_new(self) -> dict[Asked, str]:
        """What was noted since the last call, but for what was before."""
        new, self._new = self._new, {}
        return new


class _Recorder(monitoring.CommandListener):
    """Notes the names of commands while somebody listens."""

    def __init__(self) -> None:
        self.names: list[str] | None = None
        self.leases: list[str] | None = None
        self.sent: list[dict[str, Any]] | None = None
        self.shapes = _Seen[Shape]()
        self.clauses = _Seen[Clause]()
        self.asked: list[Shape] | None = None

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
        if self.sent is not None:
            self.sent.append(dict(event.command))
        for shape in shapes_of(name, event.command):
            if self.asked is not None:
                self.asked.append(shape)
            self.shapes.note(shape)
        for clause in clauses_of(name, event.command):
            self.clauses.note(clause)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note: the start was."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note: the start was."""


RECORDER: Final = _Recorder()


async def check_queries(declared: db.Indexes) -> None:
    """Whether an index leads to all that was asked for so far, and is used.

    Raises:
        AssertionError: the database would read all of a collection that grows.
    """
    indexes = {
        name: [list(model.document["key"].items()) for model in models]
        for name, models in declared.items()
    }
    astray = led_nowhere(RECORDER.shapes.take_new(), indexes)
    astray += await read_wholly(RECORDER.clauses.take_new())
    assert not astray, "\n".join(astray)


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


@contextmanager
def kept() -> Iterator[list[dict[str, Any]]]:
    """The commands that are sent inside the block, in order."""
    commands: list[dict[str, Any]] = []
    RECORDER.sent = commands
    try:
        yield commands
    finally:
        RECORDER.sent = None


@contextmanager
def asked_for() -> Iterator[list[Shape]]:
    """What the commands that are sent inside the block look for."""
    shapes: list[Shape] = []
    RECORDER.asked = shapes
    try:
        yield shapes
    finally:
        RECORDER.asked = None
