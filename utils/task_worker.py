"""Task worker: takes what is due, has it done by children, says what became.

Owns no collection. May call: process_registry, task_children, tasks. Any
number of workers may do it at once, see `tasks`.

While a task runs, its worker looks at it twice a second: so a wish to cancel is
heard on whatever machine it runs, progress is seen by all, and whoever has lost
a task (its machine slept, its database was away) stops.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial
from typing import Final

from config import db
from config.broker import Broker, Delivery
from config.chores import end_all, end_if_cancelled
from models.base import new_id, utc_now
from models.tasks import Task, TaskError
from utils import process_registry, task_children, tasks

_LOOK_SECONDS: Final = 0.5
# Renewed when so much of it is left.
_RENEWED_AT: Final = timedelta(seconds=10)
# What runs when the worker is to end may still finish in this time.
_DRAIN_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.5
_BROKER_PAUSE_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger("muster.task_worker")


class _LostError(Exception):
    """Another worker has the task, or nobody wants it any more."""


class _StoppedError(Exception):
    """Its owner wants the task to be stopped."""


class Worker:
    """Runs tasks until it is told to end.

    Args:
        broker: brings their ids.
        slots: how many it runs at once.
    """

    def __init__(self, broker: Broker, *, slots: int) -> None:
        self._broker = broker
        self._slots = asyncio.Semaphore(slots)
        self._running: set[asyncio.Task[None]] = set()
        self._children = task_children.Children()
        self._known = {
            process.name for process in process_registry.list_processes()
        }
        # Unlike that of any other, also of one with the same number later.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{new_id()[:8]}"

    async def work(self) -> None:
        """Takes tasks until it is cancelled, and finishes or hands back then.

        It may be called again.
        """
        taking = asyncio.create_task(self._take())
        try:
            await asyncio.wait([taking])
        finally:
            await end_all([taking], again_seconds=_RETRY_SECONDS)
            await self._drain()

    async def _take(self) -> None:
        while True:
            try:
                async with aclosing(self._broker.deliveries()) as deliveries:
                    await self._take_from(deliveries)
            # Each broker's library has errors of its own. What runs goes on
            # meanwhile.
            except Exception as error:  # pylint: disable=broad-exception-caught
                reason = str(error).partition("\n")[0]
                _LOG.error("no tasks are brought: %s", reason)
                await self._broker.aclose()
            end_if_cancelled()
            await asyncio.sleep(_BROKER_PAUSE_SECONDS)

    async def _take_from(
        self, deliveries: AsyncGenerator[Delivery, None]
    ) -> None:
        while True:
            # First a place, then a task: what one worker holds without running
            # it, no other one can run.
            await self._slots.acquire()
            try:
                delivery = await anext(deliveries)
            except BaseException:
                self._slots.release()
                raise
            end_if_cancelled()
            running = asyncio.create_task(self._handle(delivery))
            self._running.add(running)
            running.add_done_callback(self._one_less)

    def _one_less(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._slots.release()
        error = None if running.cancelled() else running.exception()
        if isinstance(error, db.UNAVAILABLE_ERRORS):
            # It is due still; or its lease runs out, and it is taken back.
            reason = str(error).partition("\n")[0]
            _LOG.error("a task waits for the database: %s", reason)
        elif error is not None:
            _LOG.error("a task was not handled", exc_info=error)

    async def _drain(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)
        # Each hands back what it has, which takes as long at most.
        await end_all(self._running, again_seconds=2 * _DRAIN_SECONDS)
        await self._children.aclose()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            task = await tasks.claim(
                delivery.task_id,
                worker=self.name,
                known=self._known,
            )
        finally:
            # Whatever happened: the database brings it again if need be.
            await delivery.acknowledge()
        if task is not None:
            await self._run(task)

    async def _run(self, task: Task) -> None:
        async with self._children.borrow() as child:
            job = asyncio.create_task(self._do(task, child))
            try:
                task = await self._watch(task, child, job)
                await self._settle(task, job.result(), child)
            except _LostError:
                _LOG.warning("task %s: this worker has lost it", task.id)
                child.kill()
                await tasks.drop_result(task)
            except _StoppedError:
                child.kill()
                await _insist(task, tasks.note_cancelled)
            except asyncio.CancelledError:
                child.kill()
                with suppress(TimeoutError):
                    # Where the database is away, the lease runs out.
                    async with asyncio.timeout(_DRAIN_SECONDS):
                        await _insist(task, tasks.hand_back)
                raise
            finally:
                job.cancel()
                await asyncio.wait([job])

    async def _settle(
        self,
        task: Task,
        error: TaskError | None,
        child: task_children.Child,
    ) -> None:
        """Writes down how an attempt ended.

        Raises:
            _LostError: it does not count any more.
        """
        if error is not None:
            noted = await _insist(task, partial(tasks.fail, error=error))
        else:
            with child.result.open("rb") as file:
                noted = await _insist(task, partial(tasks.succeed, result=file))
        if noted is None:
            raise _LostError

    async def _do(
        self, task: Task, child: task_children.Child
    ) -> TaskError | None:
        """Has a task done; says why it failed, if it did."""
        error = await child.load()
        if error is not None:
            return error
        process = process_registry.get_process(task.process)
        assert process is not None, "none else is claimed"
        return await child.do(
            task_children.Job(
                process=process.name,
                given=tasks.open_arguments(task),
                time_limit_seconds=process.options.time_limit_seconds,
                memory_mb=process.options.memory_mb,
            )
        )

    async def _watch(
        self,
        task: Task,
        child: task_children.Child,
        job: asyncio.Task[TaskError | None],
    ) -> Task:
        """Waits for the end of a job; the task as it is then.

        Raises:
            _LostError: this worker's attempt does not count any more.
            _StoppedError: the task is to be stopped.
        """
        while True:
            done, _ = await asyncio.wait([job], timeout=_LOOK_SECONDS)
            if done:
                return task
            end_if_cancelled()
            try:
                task = await self._look(task, child)
            except db.UNAVAILABLE_ERRORS:
                # It may be back before the lease is over.
                _LOG.warning("task %s: the database does not answer", task.id)

    async def _look(self, task: Task, child: task_children.Child) -> Task:
        now = await tasks.look_again(task)
        if now is None:
            raise _LostError
        if now.cancelling:
            raise _StoppedError
        share, message = child.said() or (now.progress, now.message)
        news = (share, message) != (now.progress, now.message)
        lease_until = now.lease_until or utc_now()
        if news or lease_until - utc_now() < _RENEWED_AT:
            # None: it has changed since; the next look sees how.
            renewed = await tasks.renew(now, progress=share, message=message)
            return renewed or now
        return now


async def send_new(broker: Broker) -> None:
    """Has a broker carry what this process has queued."""
    while tasks.outbox:
        if not await broker.send(tasks.outbox[0]):
            # It is due again after a while, as are all others.
            tasks.outbox.clear()
            return
        tasks.outbox.popleft()


async def send_due(broker: Broker) -> None:
    """Has a broker carry what is tried again, and what it may have lost."""
    while due := await tasks.list_due():
        for task_id in due:
            if await tasks.resend(task_id) and not await broker.send(task_id):
                return


async def _insist(
    task: Task, say: Callable[[Task], Awaitable[Task | None]]
) -> Task | None:
    """Writes down what became of a task, however long the database is away.

    Returns:
        The task as it is then; None when this worker has lost it.
    """
    while True:
        try:
            said = await say(task)
            if said is not None:
                return said
            # It has changed since it was read, such as by a wish to cancel.
            now = await tasks.look_again(task)
            if now is None:
                return None
            task = now
        except db.UNAVAILABLE_ERRORS:
            _LOG.warning("task %s: the database does not answer", task.id)
            await asyncio.sleep(_RETRY_SECONDS)
