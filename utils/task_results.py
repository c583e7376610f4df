"""Task results: what a task returned, in the form that a client likes.

Owns no collection. May call: process_registry, task_children, tasks.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, Final

from models.array_files import write_npy
from models.exceptions import NotAcceptableError, ProcessNotFoundError
from models.logins import Actor
from models.payloads import Payload
from models.tasks import ResultForm, Task
from utils import process_registry, task_children, tasks

_WINDOW_BYTES: Final = 256 * 1024
_IN_MEMORY_BYTES: Final = 64 * 1024
_PLOT_SECONDS: Final = 60.0
_PLOT_MB: Final = 2048
# A picture takes a processor for a second: one at a time.
_TURN: Final = asyncio.Semaphore(1)

# Draws pictures; Matplotlib is never loaded here.
drawers: Final = task_children.Children()


async def read_json(task: Task, *, actor: Actor | None) -> bytes:
    """What a task returned as JSON, arrays as nested lists.

    Raises:
        MusterError: there is no result, see `tasks.open_result`.
        ProcessNotFoundError: the process is gone, which knew what it means.
    """
    process = _process_of(task)
    async with _kept(task, actor) as file:
        if task.result_size <= _IN_MEMORY_BYTES:
            return process.result_json(Payload.read_from(file))
        return await asyncio.to_thread(
            lambda: process.result_json(Payload.read_from(file))
        )


async def open_npy(
    task: Task, *, name: str | None, actor: Actor | None
) -> AsyncIterator[bytes]:
    """An array that a task returned as `.npy`, in pieces.

    Args:
        task: the task.
        name: which array, such as `amplitudes`; the first by default.
        actor: who asks.

    Raises:
        MusterError: there is no result, see `tasks.open_result`.
        NotAcceptableError: there is no such array in it.
    """
    file = TemporaryFile()

    def write(kept: IO[bytes]) -> bool:
        array = Payload.read_from(kept).array(name)
        if array is None:
            return False
        write_npy(array, file)
        return True

    async with _kept(task, actor) as kept:
        found = await asyncio.to_thread(write, kept)
    if not found:
        file.close()
        raise NotAcceptableError([ResultForm.JSON])
    return _pieces_of(file)


async def draw_plot(task: Task, *, actor: Actor | None) -> bytes:
    """A picture of what a task returned, a PNG; it is drawn once.

    Raises:
        MusterError: there is no result, see `tasks.open_result`.
        NotAcceptableError: it can't be drawn.
    """
    process = _process_of(task)
    pieces = await tasks.open_result(task.id, actor=actor)
    known = await tasks.find_plot(task)
    if known is not None:
        return known
    async with _TURN, drawers.borrow() as child:
        error = await child.load() or await child.do(
            task_children.Job(
                process=process.name,
                given=pieces,
                time_limit_seconds=_PLOT_SECONDS,
                memory_mb=_PLOT_MB,
                draw=True,
            )
        )
        if error is not None:
            raise NotAcceptableError([ResultForm.JSON, ResultForm.NPY])
        picture = await asyncio.to_thread(child.result.read_bytes)
    await tasks.keep_plot(task, picture=picture)
    return picture


def _process_of(task: Task) -> process_registry.Process:
    process = process_registry.get_process(task.process)
    if process is None:
        raise ProcessNotFoundError()
    return process


@asynccontextmanager
async def _kept(
    task: Task, actor: Actor | None
) -> AsyncIterator[IO[bytes]]:
    """What was stored of a result; long ones are mapped, not in memory."""
    with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        async for piece in await tasks.open_result(task.id, actor=actor):
            if len(piece) <= _IN_MEMORY_BYTES:
                file.write(piece)
            else:
                await asyncio.to_thread(file.write, piece)
        file.seek(0)
        yield file


async def _pieces_of(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _WINDOW_BYTES):
            yield piece
