"""Chores: they go on, whatever happens, until the end."""

import asyncio
from collections.abc import Iterator

import pytest
from pymongo.errors import AutoReconnect

from config.chores import Chore, running
from tests.logged import logged

HOUR = 3600.0


@pytest.fixture(name="log")
def _log() -> Iterator[list[str]]:
    with logged("muster.chores") as lines:
        yield lines


class _Work:
    """Counts how often it was done, and fails as it is told."""

    def __init__(self, *faults: Exception) -> None:
        self.times = 0
        self._faults = list(faults)
        self._done = asyncio.Event()

    async def __call__(self) -> None:
        self.times += 1
        self._done.set()
        if self._faults:
            raise self._faults.pop(0)

    async def wait_for_more(self) -> None:
        """Waits until it is done once more."""
        self._done.clear()
        async with asyncio.timeout(5):
            await self._done.wait()


async def test_again_and_again() -> None:
    work = _Work()
    async with running([Chore("counting", work, 0.01)]):
        for _ in range(3):
            await work.wait_for_more()
    times = work.times
    await asyncio.sleep(0.05)
    assert work.times == times


async def test_woken() -> None:
    work, wake = _Work(), asyncio.Event()
    async with running([Chore("counting", work, HOUR, wake)]):
        for _ in range(3):
            await work.wait_for_more()
            # What is queued while it works counts as well.
            wake.set()
    assert work.times == 3


async def test_one_fault_is_not_the_end(log: list[str]) -> None:
    work = _Work(
        KeyError("a fault"), AutoReconnect("gone\nand more"), ValueError("x")
    )
    async with running([Chore("counting", work, 0.01)]):
        for _ in range(4):
            await work.wait_for_more()
    assert len(log) == 3
    assert "counting failed" in log[0] and "Traceback" in log[0]
    # The database will be back: nobody needs its trace.
    assert "Traceback" not in log[1] and "\n" not in log[1]


async def test_one_does_not_hold_up_another() -> None:
    async def sleep() -> None:
        await asyncio.sleep(HOUR)

    work = _Work()
    chores = [Chore("sleeping", sleep, 0.01), Chore("counting", work, 0.01)]
    async with running(chores):
        for _ in range(3):
            await work.wait_for_more()


async def test_end_waits_for_what_must_finish() -> None:
    finished = False

    async def finish() -> None:
        nonlocal finished
        try:
            await asyncio.sleep(HOUR)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            finished = True
            raise

    async with running([Chore("finishing", finish, HOUR)]):
        await asyncio.sleep(0)
    assert finished
