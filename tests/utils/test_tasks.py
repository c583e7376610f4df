"""Tests of `utils.tasks`."""

from dataclasses import dataclass
from io import BytesIO

import pytest

from models.base import utc_now
from models.processes import ProcessOptions
from models.tasks import FailureKind, TaskError, TaskStatus
from tests import factories
from utils import tasks

pytestmark = pytest.mark.usefixtures("database")
KNOWN = ("double",)


@dataclass(frozen=True)
class Process:
    """As much of a process as the queue needs."""

    name: str = "double"
    options: ProcessOptions = ProcessOptions()


async def test_a_task_lives() -> None:
    caller = factories.actor()
    task = await tasks.submit(
        Process(), arguments=BytesIO(b"21"), actor=caller
    )
    assert await tasks.list_due() == [task.id]
    claimed = await tasks.claim(task.id, worker="w", known=KNOWN)
    assert claimed is not None and claimed.arguments == b"21"
    assert await tasks.claim(task.id, worker="v", known=KNOWN) is None
    done = await tasks.succeed(claimed, result=BytesIO(b"42"))
    assert done is not None
    pieces = await tasks.open_result(task.id, actor=caller)
    assert [piece async for piece in pieces] == [b"42"]
    shown = await tasks.get_task(task.id, actor=caller)
    assert shown.status is TaskStatus.SUCCEEDED
    assert shown.attempts == 1 and shown.progress == 1.0


async def test_who_looked_before_waits_for_the_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ids that a worker has found due may have failed since elsewhere."""
    task = await tasks.submit(
        Process(options=ProcessOptions(retries=1)),
        arguments=BytesIO(b"21"),
        actor=factories.actor(),
    )
    claimed = await tasks.claim(task.id, worker="w", known=KNOWN)
    assert claimed is not None
    error = TaskError(kind=FailureKind.EXCEPTION, detail="")
    failed = await tasks.fail(claimed, error=error)
    assert failed is not None and failed.status is TaskStatus.QUEUED
    assert await tasks.claim(task.id, worker="v", known=KNOWN) is None
    later = utc_now() + tasks.back_off(1) * 3
    monkeypatch.setattr(tasks, "utc_now", lambda: later)
    again = await tasks.claim(task.id, worker="v", known=KNOWN)
    assert again is not None and again.attempts == 2
