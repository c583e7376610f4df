"""Tasks with workers that are processes of their own, and get killed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.tasks import Task, TaskStatus
from tests import trials
from tests.service import running
from utils import tasks

pytestmark = [
    *running.MARKS,
    pytest.mark.usefixtures("database", "found"),
]

# What a lost task waits for at most: its lease, and a look at it.
_TAKEN_BACK_SECONDS = 60.0


class Workers:
    """Workers of the test run's own database."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._checkout = running.link_trials(folder / "checkout")
        self._settings = settings
        self._log = folder / "workers.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """One more."""
        with self._log.open("ab") as log:
            # It lives as long as this object says.
            # pylint: disable-next=consider-using-with
            worker = subprocess.Popen(
                [sys.executable, "-m", "scripts.worker"],
                cwd=self._checkout,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "TASK_SLOTS": "2",
                    **self._settings,
                },
                stdout=log,
                stderr=log,
            )
        self.running.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Like a power cut."""
        worker.kill()
        worker.wait()
        self.running.remove(worker)

    def end(self, worker: subprocess.Popen[bytes]) -> int:
        """In order."""
        worker.terminate()
        self.running.remove(worker)
        return worker.wait(30)

    def kill_all(self) -> None:
        """At the end of a test."""
        for worker in list(self.running):
            self.kill(worker)

    def log(self) -> str:
        """What they said."""
        return self._log.read_text("utf-8")


@pytest.fixture(name="found")
def _found() -> Iterator[None]:
    with trials.found():
        yield


@pytest.fixture(name="workers")
def _workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    try:
        yield workers
    finally:
        workers.kill_all()


def _runs(task: Task) -> bool:
    return task.status is TaskStatus.RUNNING and task.progress > 0


async def _taken_back() -> None:
    """Does one of the chores of workers that are left."""
    async with asyncio.timeout(_TAKEN_BACK_SECONDS):
        while not await tasks.take_back_lost():
            await asyncio.sleep(0.5)


class TestKill:
    async def test_a_worker_in_the_middle(self, workers: Workers) -> None:
        """Another one runs the task again, within a minute."""
        first = workers.start()
        task = await trials.submit("trial_count", steps=200, seconds=0.05)
        await trials.wait_for(task, _runs)
        workers.kill(first)
        begin = time.monotonic()
        workers.start()
        again = await trials.wait_for(
            task, lambda now: now.attempts == 2 and _runs(now)
        )
        assert time.monotonic() - begin < _TAKEN_BACK_SECONDS
        assert again.losses == 1
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.SUCCEEDED
        assert (done.attempts, done.error) == (2, None)
        assert await trials.result_of(done) == 200

    async def test_children_die_too(
        self, workers: Workers, tmp_path: Path
    ) -> None:
        """What a killed worker had running does not go on."""
        first = workers.start()
        mark = tmp_path / "mark"
        task = await trials.submit("trial_touch", path=str(mark), seconds=60)
        await trials.wait_for(task, _runs)
        workers.kill(first)
        await asyncio.sleep(1)
        before = mark.stat().st_mtime_ns
        await asyncio.sleep(1)
        assert mark.stat().st_mtime_ns == before

    async def test_many(self, workers: Workers) -> None:
        """1 000 tasks, 3 workers, random kills: each ends, each is right."""
        for _ in range(3):
            workers.start()
        numbers = range(1000)
        submitted = []
        for start in range(0, len(numbers), 50):
            submitted += await asyncio.gather(
                *(
                    trials.submit("trial_double", number=number)
                    for number in numbers[start : start + 50]
                )
            )
        for _ in range(5):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            workers.kill(random.choice(workers.running))
            workers.start()
        attempts = 0
        for number, task in zip(numbers, submitted, strict=True):
            done = await trials.wait_for(task)
            assert done.status is TaskStatus.SUCCEEDED, done
            assert await trials.result_of(done) == 2 * number
            attempts += done.attempts
        # A kill costs an attempt of what ran at that moment, and no more.
        assert 1000 <= attempts <= 1000 + 5 * 2


class TestEnd:
    async def test_hands_back(self, workers: Workers) -> None:
        """SIGTERM: what does not end soon is another one's at once."""
        first = workers.start()
        task = await trials.submit("trial_count", steps=400, seconds=0.05)
        await trials.wait_for(task, _runs)
        assert workers.end(first) == 0
        seen = (await tasks.look_at([task.id]))[task.id]
        assert (seen.status, seen.losses) == (TaskStatus.QUEUED, 0)
        assert "Traceback" not in workers.log()

    async def test_finishes(self, workers: Workers) -> None:
        first = workers.start()
        task = await trials.submit("trial_count", steps=30, seconds=0.05)
        await trials.wait_for(task, _runs)
        assert workers.end(first) == 0
        seen = (await tasks.look_at([task.id]))[task.id]
        assert seen.status is TaskStatus.SUCCEEDED


class TestHold:
    async def test_a_ghost(self, workers: Workers) -> None:
        """A worker that slept finds its task lost, and overwrites nothing."""
        ghost = workers.start()
        task = await trials.submit("trial_count", steps=100, seconds=0.05)
        await trials.wait_for(task, _runs)
        ghost.send_signal(signal.SIGSTOP)
        await _taken_back()
        workers.start()
        done = await trials.wait_for(task)
        assert (done.status, done.attempts) == (TaskStatus.SUCCEEDED, 2)
        ghost.send_signal(signal.SIGCONT)
        running.wait_for(lambda: "this worker has lost it" in workers.log())
        seen = (await tasks.look_at([task.id]))[task.id]
        assert seen.revision == done.revision
        assert await trials.result_of(seen) == 100

    async def test_cancel_on_another_worker(self, workers: Workers) -> None:
        workers.start()
        task = await trials.submit("trial_count", steps=2000, seconds=0.05)
        await trials.wait_for(task, _runs)
        begin = time.monotonic()
        await tasks.cancel(task.id, actor=trials.owner_of(task))
        done = await trials.wait_for(task)
        assert done.status is TaskStatus.CANCELLED
        assert time.monotonic() - begin < 2
