"""Tests of `utils.task_schedules`."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from models.tasks import SCHEDULE
from tests import trials
from utils import task_schedules, tasks

pytestmark = pytest.mark.usefixtures("database", "found")
# trial_tick runs at minutes 0, 10, … of each hour.
TEN = datetime(2026, 5, 1, 10, 0, 7, tzinfo=UTC)


@pytest.fixture(name="found")
def _found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with trials.found():
        monkeypatch.setattr(task_schedules, "_QUEUED", {})
        yield


async def _by_workers(now: datetime, count: int = 5) -> int:
    """How many tasks several workers queue that look at the same moment."""

    async def look() -> int:
        # Each knows only what it did itself.
        # pylint: disable-next=protected-access
        task_schedules._QUEUED.clear()
        return await task_schedules.queue_scheduled(now)

    return sum(await asyncio.gather(*(look() for _ in range(count))))


async def test_once_over_all_workers() -> None:
    assert await _by_workers(TEN) == 1
    assert await _by_workers(TEN + timedelta(seconds=40)) == 0
    (task,) = await tasks.list_of(SCHEDULE)
    assert task.process == "trial_tick"
    assert task.slot == "trial_tick@2026-05-01T10:00Z"


async def test_each_time() -> None:
    assert await _by_workers(TEN) == 1
    assert await _by_workers(TEN + timedelta(minutes=10)) == 1


async def test_missed_by_little() -> None:
    """As by workers that were just started again."""
    assert await _by_workers(TEN + timedelta(minutes=4)) == 1


async def test_missed_by_long() -> None:
    assert await _by_workers(TEN + timedelta(minutes=6)) == 0


async def test_it_runs() -> None:
    await _by_workers(TEN)
    (task,) = await tasks.list_of(SCHEDULE)
    async with trials.working():
        done = await trials.wait_for(task)
    assert await trials.result_of(done) == "tick"
