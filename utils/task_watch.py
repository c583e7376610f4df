"""Task watch: follows tasks while they change, whatever worker runs them.

Owns no collection. May call: tasks. One query for all tasks that are followed
in this process, four times a second while there are any: a hundred people who
watch cost the database as much as one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final

from config import db
from models.logins import Actor
from models.tasks import Task
from utils import tasks

_LOOK_SECONDS: Final = 0.25
# Where the database is away, it is not asked in vain as often.
_AWAY_SECONDS: Final = 1.0
# After this time without news, the one who follows hears that there are none.
_SILENCE_SECONDS: Final = 15.0


class _Watch:
    """What is followed in this process."""

    followed: Counter[str] = Counter()
    # None for what is gone.
    seen: dict[str, Task | None] = {}
    # Set, and replaced, when all have been looked at.
    looked = asyncio.Event()
    looking: asyncio.Task[None] | None = None


async def follow(
    task_id: str, *, actor: Actor, after: int | None
) -> AsyncGenerator[Task | None, None]:
    """A task as it is, and again whenever it has changed, until it is over.

    What comes and goes between two looks is not seen. None comes now and then
    while nothing changes.

    Args:
        task_id: the task.
        actor: who follows it.
        after: the version that they have seen; None for none.

    Raises:
        TaskNotFoundError: there is none, or it is somebody else's.
    """
    task: Task | None = await tasks.get_task(task_id, actor=actor)
    version = -1 if after is None else after
    _begin(task_id)
    try:
        silence = 0.0
        while task is not None:
            silence += _LOOK_SECONDS
            if task.version > version:
                version, silence = task.version, 0.0
                yield task
            elif silence > _SILENCE_SECONDS:
                silence = 0.0
                yield None
            if task.status.is_final:
                return
            await _Watch.looked.wait()
            # Who has just begun may not have been looked for yet.
            task = _Watch.seen.get(task_id, task)
    finally:
        _end(task_id)


def _begin(task_id: str) -> None:
    _Watch.followed[task_id] += 1
    if _Watch.looking is None or _Watch.looking.done():
        _Watch.looked = asyncio.Event()
        _Watch.looking = asyncio.create_task(_look())


def _end(task_id: str) -> None:
    _Watch.followed[task_id] -= 1
    if not _Watch.followed[task_id]:
        del _Watch.followed[task_id]


async def _look() -> None:
    """Looks at all that is followed, until nothing is."""
    while _Watch.followed:
        pause = _LOOK_SECONDS
        ids = list(_Watch.followed)
        try:
            found = await tasks.look_at(ids)
        except db.UNAVAILABLE_ERRORS:
            pause = _AWAY_SECONDS
        else:
            _Watch.seen = {task_id: found.get(task_id) for task_id in ids}
            _Watch.looked.set()
            _Watch.looked = asyncio.Event()
        await asyncio.sleep(pause)
