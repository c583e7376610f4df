"""Tests of `utils.tasks`."""

from dataclasses import dataclass
from io import BytesIO

import pytest

from models.processes import ProcessOptions
from models.tasks import TaskStatus
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
