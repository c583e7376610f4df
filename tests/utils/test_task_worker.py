"""Tests of `utils.task_worker`, with real children."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from models.base import utc_now
from models.tasks import FailureKind, TaskStatus
from tests import factories, trials
from utils import tasks
from utils.task_worker import Worker

pytestmark = pytest.mark.usefixtures("database", "found")


@pytest.fixture(name="found")
def _found() -> Iterator[None]:
    with trials.found():
        yield


@pytest_asyncio.fixture(name="worker")
async def _worker(database: None, found: None) -> AsyncIterator[Worker]:
    del database, found
    async with trials.working() as worker:
        yield worker


@pytest.mark.usefixtures("worker")
class TestRun:
    async def test_result(self) -> None:
        task = await trials.submit("trial_double", number=21)
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.SUCCEEDED
        assert (done.attempts, done.progress, done.error) == (1, 1.0, None)
        assert await trials.result_of(done) == 42

    async def test_a_long_result(self) -> None:
        task = await trials.submit("trial_zeros", rows=300)
        done = await trials.wait_for(task)
        assert done.result_attempt == 1
        assert await trials.result_of(done) == [[0.5] * 1000] * 300

    async def test_progress(self) -> None:
        task = await trials.submit("trial_count", steps=40)
        seen = await trials.wait_for(task, lambda now: now.progress > 0)
        assert seen.status is TaskStatus.RUNNING
        assert seen.message.startswith("step ")
        done = await trials.wait_for(task)
        assert done.progress == 1.0

    async def test_print(self) -> None:
        task = await trials.submit("trial_print", text='{"error": 1}\n')
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.SUCCEEDED, done.error

    async def test_surroundings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No secrets, no way to the database, nothing to read."""
        task = await trials.submit("trial_look")
        del monkeypatch
        found = await trials.result_of(await trials.wait_for(task))
        assert not set(found) & {
            "JWT_SECRET_KEY", "MONGO_DB_URI", "MUSTER_TEST_DB_URI"
        }  # fmt: skip
        assert found["stdin"] == ""
        assert Path(found["cwd"]).is_relative_to(found["HOME"])


@pytest.mark.usefixtures("worker")
class TestFailures:
    @pytest.mark.parametrize(
        "name, arguments, kind",
        [
            ("trial_sleep", {"seconds": 30}, FailureKind.TIME_LIMIT),
            ("trial_fill", {"megabytes": 400}, FailureKind.OUT_OF_MEMORY),
            ("trial_refuse", {"reason": "Too odd."}, FailureKind.INPUT),
            ("trial_crash", {}, FailureKind.CRASHED),
            ("trial_exit", {"status": 3}, FailureKind.EXCEPTION),
        ],
    )
    async def test_kinds(
        self, name: str, arguments: dict[str, Any], kind: FailureKind
    ) -> None:
        """It fails alone: the next one runs."""
        task = await trials.submit(name, **arguments)
        after = await trials.submit("trial_double", number=1)
        failed = await trials.wait_for(task)
        assert failed.status is TaskStatus.FAILED
        assert failed.error is not None
        assert failed.error.kind is kind, failed.error
        assert await trials.result_of(await trials.wait_for(after)) == 2

    async def test_memory_within_the_limit(self) -> None:
        task = await trials.submit("trial_fill", megabytes=40)
        done = await trials.wait_for(task)
        assert await trials.result_of(done) == 40 * 1024 * 1024

    async def test_retries(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tasks, "_BACK_OFF", timedelta(seconds=0.02))
        task = await trials.submit("trial_fail", times=2, folder=str(tmp_path))
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.SUCCEEDED
        assert (done.attempts, done.failures, done.error) == (3, 2, None)

    async def test_dead_letter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tasks, "_BACK_OFF", timedelta(seconds=0.02))
        task = await trials.submit("trial_fail", times=9, folder=str(tmp_path))
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.FAILED
        assert done.error is not None
        assert done.error.detail == "RuntimeError: attempt 3"


class TestCancel:
    async def test_running(self, worker: Worker) -> None:
        del worker
        caller = factories.actor()
        task = await trials.submit("trial_count", caller, steps=1000)
        await trials.wait_for(task, lambda now: now.progress > 0)
        begin = time.monotonic()
        await tasks.cancel(task.id, actor=caller)
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.CANCELLED
        assert time.monotonic() - begin < 2

    async def test_queued(self) -> None:
        caller = factories.actor()
        task = await trials.submit("trial_double", caller, number=1)
        cancelled = await tasks.cancel(task.id, actor=caller)
        assert cancelled.status is TaskStatus.CANCELLED
        assert await tasks.list_due() == []


class TestEnds:
    async def test_hands_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker that ends gives back what it does not finish."""
        monkeypatch.setattr("utils.task_worker._DRAIN_SECONDS", 0.2)
        task = await trials.submit("trial_count", steps=1000)
        async with trials.working():
            await trials.wait_for(task, lambda now: now.progress > 0)
        assert await tasks.list_due() == [task.id]
        seen = (await tasks.look_at([task.id]))[task.id]
        assert (seen.status, seen.attempts) == (TaskStatus.QUEUED, 1)

    async def test_finishes_what_is_short(self) -> None:
        task = await trials.submit("trial_count", steps=10)
        async with trials.working():
            await trials.wait_for(
                task, lambda now: now.status is TaskStatus.RUNNING
            )
        seen = (await tasks.look_at([task.id]))[task.id]
        assert seen.status is TaskStatus.SUCCEEDED

    async def test_a_ghost_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who has lost a task stops, and overwrites nothing."""
        monkeypatch.setattr("utils.task_worker._LOOK_SECONDS", 3600)
        task = await trials.submit("trial_count", steps=10)
        async with trials.working():
            await trials.wait_for(
                task, lambda now: now.status is TaskStatus.RUNNING
            )
            later = utc_now() + 2 * tasks.LEASE
            monkeypatch.setattr(tasks, "utc_now", lambda: later)
            assert await tasks.take_back_lost() == 1
            again = await tasks.claim(
                task.id, worker="another", known={"trial_count"}
            )
            monkeypatch.undo()
            assert again is not None and again.attempts == 2
            await asyncio.sleep(2)
            seen = (await tasks.look_at([task.id]))[task.id]
            assert seen.revision == again.revision
