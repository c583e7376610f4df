"""Processes for tests: as they would be found in `utils/processes/`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from io import BytesIO

from config.broker import PolledDatabase
from config.chores import end_all
from models.logins import Actor
from models.payloads import Payload
from models.tasks import Task
from models.users import Role
from tests import factories
from utils import process_registry, processes, tasks
from utils.task_worker import Worker

FOLDER: Final = Path(__file__).parent / "processes"
# Longer than anything takes that a test waits for, on a busy machine.
_PATIENCE_SECONDS: Final = 60.0


@contextmanager
def found() -> Iterator[None]:
    """Has the processes in `tests/processes` found while the block runs."""
    _forget()
    processes.__path__.append(str(FOLDER))
    try:
        yield
    finally:
        processes.__path__.remove(str(FOLDER))
        _forget()


@asynccontextmanager
async def working(slots: int = 1) -> AsyncIterator[Worker]:
    """A worker that runs tasks while the block runs."""
    worker = Worker(
        PolledDatabase(tasks.list_due, tasks.queued), slots=slots
    )
    work = asyncio.create_task(worker.work())
    try:
        yield worker
    finally:
        await end_all([work], again_seconds=60)


async def submit(
    name: str, by: Actor | None = None, **arguments: object
) -> Task:
    """Queues a call of a process."""
    process = process_registry.get_process(name)
    assert process is not None
    given = process.validate(Payload(json.dumps(arguments).encode()))
    return await tasks.submit(
        process,
        arguments=BytesIO(process.dump_arguments(given).to_bytes()),
        actor=by or factories.actor(),
    )


def _is_over(task: Task) -> bool:
    return task.status.is_final


async def wait_for(
    task: Task, until: Callable[[Task], object] = _is_over
) -> Task:
    """A task, when it is over, or as a test wants it to be."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            now = (await tasks.look_at([task.id]))[task.id]
            if until(now):
                return now
            await asyncio.sleep(0.02)


async def result_of(task: Task) -> Any:
    """What a task returned."""
    pieces = await tasks.open_result(task.id, actor=owner_of(task))
    data = b"".join([piece async for piece in pieces])
    process = process_registry.get_process(task.process)
    assert process is not None
    return json.loads(process.result_json(Payload.from_bytes(data)))


def owner_of(task: Task) -> Actor:
    """Who submitted a task."""
    return Actor(str(task.owner_id), "", Role.MEMBER)


def _forget() -> None:
    # pylint: disable=protected-access  # what was found before
    process_registry._all.cache_clear()
    process_registry._by_name.cache_clear()
