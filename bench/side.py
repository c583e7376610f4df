"""A side of a benchmark: submits jobs to one queue, and waits for them.

It is asked by lines of JSON on stdin, and answers each by one on stdout. arq's
side runs in an environment of its own, so nothing of Muster is needed here.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from bench import jobs

# Seldom enough to leave the processors to those who work.
_LOOK_SECONDS: Final = 0.02
_ANSWERS: Final = os.dup(1)


class Side(Protocol):
    """A queue that jobs are submitted to."""

    async def submit(self, job: str, array: np.ndarray[Any, Any] | None) -> str:
        """Submits a job; returns its id once it is in the queue."""

    async def count_over(self, ids: Sequence[str]) -> int:
        """How many of some jobs are over; ends the process if one failed."""


async def serve(side: Side) -> None:
    """Answers until there are no more questions.

    `{"job": …, "count": …}` submits and answers how many seconds each took;
    `{}` waits until all of those are over, and answers `[]`.
    """
    ids: list[str] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        took = []
        if asked:
            ids = []
            for array in _arrays(asked["job"], asked["count"]):
                begin = time.perf_counter()
                ids.append(await side.submit(asked["job"], array))
                took.append(time.perf_counter() - begin)
        else:
            await _wait_for(side, ids)
        os.write(_ANSWERS, json.dumps(took).encode() + b"\n")


def _arrays(job: str, count: int) -> list[np.ndarray[Any, Any] | None]:
    size = jobs.ARRAY_BYTES[job]
    if size == 0:
        return [None] * count
    # One for all: what is measured is not how fast they are made.
    return [np.random.default_rng(8).random(size // 8)] * count


async def _wait_for(side: Side, ids: list[str]) -> None:
    # The last one tells most: only then are all looked at.
    for some in (ids[-1:], ids):
        while await side.count_over(some) < len(some):
            await asyncio.sleep(_LOOK_SECONDS)
