"""arq's side of `bench.queue`, on the Redis at a port.

`python -m bench.arq_side submit PORT` submits, and
`python -m bench.arq_side work PORT SLOTS` is arq's worker. What computes runs
in a pool of processes, as its documentation says.
"""

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import numpy as np

# In an environment of its own, see requirements.txt.
import arq  # pylint: disable=import-error
import arq.constants  # pylint: disable=import-error
import arq.worker  # pylint: disable=import-error
from arq.connections import RedisSettings  # pylint: disable=import-error

from bench import jobs
from bench.side import serve

# At each look it begins as many jobs as it has processes: with its default of
# 0.5 s, 2 processes would do 4 a second.
_LOOK_SECONDS: Final = 0.001


class ArqSide:
    """arq's queue."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def submit(self, job: str, array: np.ndarray[Any, Any] | None) -> str:
        """Submits a job; arq pickles what it is called with."""
        given = () if array is None else (array,)
        submitted = await self._pool.enqueue_job(job, *given)
        return str(submitted.job_id)

    async def count_over(self, ids: Sequence[str]) -> int:
        """How many of some jobs have a result."""
        prefix = arq.constants.result_key_prefix
        return int(await self._pool.exists(*(prefix + one for one in ids)))


async def nothing(context: dict[str, Any]) -> None:
    """Has a process do nothing."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(context["pool"], jobs.nothing)


async def mean(
    context: dict[str, Any], array: np.ndarray[Any, Any]
) -> float:
    """Has a process find the mean of an array."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(context["pool"], jobs.mean, array)


async def _submit(port: int) -> None:
    await serve(ArqSide(await arq.create_pool(RedisSettings(port=port))))


def _work(port: int, slots: int) -> None:
    # arq.worker.Worker makes no event loop of its own.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with ProcessPoolExecutor(slots) as pool:
        arq.worker.Worker(
            [nothing, mean],
            redis_settings=RedisSettings(port=port),
            max_jobs=slots,
            poll_delay=_LOOK_SECONDS,
            ctx={"pool": pool},
        ).run()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        _work(int(sys.argv[2]), int(sys.argv[3]))
    else:
        asyncio.run(_submit(int(sys.argv[2])))
