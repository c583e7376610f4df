"""Muster's side of `bench.queue`: the queue that the settings name.

`python -m bench.muster_side submit` submits, as web processes do, and
`python -m bench.muster_side work` is `scripts.worker`, which also finds the
processes of the benchmark.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.side import serve
from config import chores, db
from config.broker import broker_of
from config.lifespan import services
from config.main import settings
from models.payloads import Payload
from models.tasks import TaskStatus
from scripts import worker
from utils import process_registry, processes, tasks
from utils.chores import sending_chores
from utils.collections import declared_indexes

_PROCESSES: Final = Path(__file__).parent / "processes"


class MusterSide:
    """Muster's queue, of which strangers use as much as they like."""

    async def submit(self, job: str, array: np.ndarray[Any, Any] | None) -> str:
        """Submits a call of a process, as a route does with what it is sent."""
        process = process_registry.get_process(f"bench_{job}")
        assert process is not None
        payload = Payload(b"{}")
        if array is not None:
            payload = Payload(b'{"array": {"$array": 0}}', [array])
        given = process.dump_arguments(process.validate(payload))
        task = await tasks.submit(
            process, arguments=BytesIO(given.to_bytes()), actor=None
        )
        return task.id

    async def count_over(self, ids: Sequence[str]) -> int:
        """How many of some tasks are over."""
        seen = (await tasks.look_at(ids)).values()
        if failed := [task.error for task in seen if task.error is not None]:
            sys.exit(f"bench: a task failed: {failed[0]}")
        return sum(task.status is TaskStatus.SUCCEEDED for task in seen)


async def _submit() -> None:
    broker = broker_of(
        settings, find_due=tasks.list_due, wake=tasks.queued, takes=False
    )
    async with services(settings, declared_indexes()), aclosing(broker):
        async with chores.running(sending_chores(broker)):
            await serve(MusterSide())
        await db.drop_test_database()


if __name__ == "__main__":
    processes.__path__.append(str(_PROCESSES))
    if sys.argv[1:] == ["work"]:
        worker.main()
    else:
        asyncio.run(_submit())
