"""Tasks per second through the queue.

python -m bench.queue [--tasks N] [--slots N] [--array-bytes N]

Submits calls of `np_array` one after the other, then lets one worker run them
all, its children started before. Set TASK_BROKER_URL to have the ids carried by
a broker, and MONGO_DB_URI for another database than the embedded one, where a
`muster_test_…` database is made and dropped.
"""

import argparse
import asyncio
import os
import tempfile
import time
from io import BytesIO
from statistics import median, quantiles
from typing import Any

# Before the settings are read.
os.environ["MONGO_DB_NAME"] = f"muster_test_bench_queue_{os.getpid()}"
os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="muster-bench-"))
os.environ["TASK_QUEUED_MAX"] = os.environ["TASK_RUNNING_MAX"] = "1000000"

# pylint: disable=wrong-import-position
import numpy as np

from config import chores, db
from config.broker import broker_of
from config.lifespan import services
from config.main import settings
from models.payloads import Payload
from models.tasks import Task, TaskStatus
from utils import process_registry, tasks
from utils.chores import task_chores
from utils.collections import declared_indexes

_WARM_UP = 20


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--array-bytes", type=int, default=24)
    asyncio.run(_measure(parser.parse_args()))


async def _measure(arguments: argparse.Namespace) -> None:
    array = np.zeros(arguments.array_bytes // 8)
    async with services(settings, declared_indexes()):
        broker = broker_of(
            settings, find_due=tasks.list_due, wake=tasks.queued, takes=True
        )
        worker = task_chores(broker, slots=arguments.slots)
        async with chores.running(worker):
            await _wait_for([await _submit(array) for _ in range(_WARM_UP)])
            begin = time.perf_counter()
            alone = await _submit(array)
            await _wait_for([alone])
            latency = time.perf_counter() - begin
        submitted, took = [], []
        for _ in range(arguments.tasks):
            begin = time.perf_counter()
            submitted.append(await _submit(array))
            took.append(time.perf_counter() - begin)
        worker = task_chores(broker, slots=arguments.slots)
        async with chores.running(worker):
            # Until the children are there.
            await _wait_for(submitted[: arguments.tasks // 10])
            begin = time.perf_counter()
            await _wait_for(submitted)
            seconds = time.perf_counter() - begin
        await broker.aclose()
        await db.drop_test_database()
    rate = 0.9 * arguments.tasks / seconds
    print(
        f"{rate:.0f} tasks/s with {arguments.slots} slots; submitting one: "
        f"{median(took) * 1000:.1f} ms, 95 %: "
        f"{quantiles(took, n=20)[-1] * 1000:.1f} ms; one alone, from "
        f"submission to result: {latency * 1000:.0f} ms"
    )


async def _submit(array: Any) -> Task:
    process = process_registry.get_process("np_array")
    assert process is not None
    payload = Payload(b'{"array": {"$array": 0}}', [array])
    given = process.dump_arguments(process.validate(payload))
    return await tasks.submit(
        process, arguments=BytesIO(given.to_bytes()), actor=None
    )


async def _wait_for(submitted: list[Task]) -> None:
    # The last one in the queue tells most: only then is all looked at.
    left = [task.id for task in submitted]
    while left:
        seen = await tasks.look_at(left[-50:])
        assert all(
            task.status is not TaskStatus.FAILED for task in seen.values()
        )
        left = [
            task_id
            for task_id in left
            if task_id not in seen or not seen[task_id].status.is_final
        ]
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    main()
