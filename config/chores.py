"""Chores: what a process does again and again, beside the requests."""

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from config import db

_LOG: Final = logging.getLogger("muster.chores")


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that every worker does, at the same time as the others or not.

    Attributes:
        name: what the log calls it.
        work: does what is to be done at present; several workers may do it at
            once, and one that is killed has it done by another.
        every_seconds: the pause between two times.
        wake: ends a pause when it is set.
    """

    name: str
    work: Callable[[], Awaitable[object]]
    every_seconds: float
    wake: asyncio.Event | None = None


@asynccontextmanager
async def running(chores: Sequence[Chore]) -> AsyncIterator[None]:
    """Does `chores` while the block runs.

    At the end each is cancelled, the last one first; what must not break off
    in the middle, such as a mail, sees to that itself.
    """
    over = asyncio.Event()
    tasks = [asyncio.create_task(_repeat(chore, over)) for chore in chores]
    try:
        yield
    finally:
        over.set()
        for task in reversed(tasks):
            task.cancel()
        for task in reversed(tasks):
            with suppress(asyncio.CancelledError):
                await task


def end_if_cancelled() -> None:
    """Ends this task if it was told to end; for loops that never end else.

    A library's `wait_for` may swallow the cancellation (Python 3.11).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def end_all(
    tasks: Iterable[asyncio.Task[Any]], *, again_seconds: float
) -> None:
    """Cancels tasks until they have ended.

    Args:
        tasks: what is to end.
        again_seconds: when one is cancelled again that has not ended: a
            library's `wait_for` may have swallowed it.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_seconds)


async def _repeat(chore: Chore, over: asyncio.Event) -> None:
    # A library's `wait_for` may swallow the cancellation (Python 3.11).
    while not over.is_set():
        if chore.wake is not None:
            # Before the work: what is queued meanwhile is not forgotten.
            chore.wake.clear()
        try:
            await chore.work()
        except db.UNAVAILABLE_ERRORS as error:
            reason = str(error).partition("\n")[0]
            _LOG.error(
                "%s: the database does not answer: %s", chore.name, reason
            )
        except Exception:  # pylint: disable=broad-exception-caught
            # One fault must not be the end of it: the next time may be fine.
            _LOG.exception("%s failed, and is tried again", chore.name)
        await _pause(chore)


async def _pause(chore: Chore) -> None:
    if chore.wake is None:
        await asyncio.sleep(chore.every_seconds)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(chore.every_seconds):
            await chore.wake.wait()
