"""Submissions: from what a client sends to a task in the queue.

Owns no collection. May call: process_registry, tasks.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Final

import numpy as np

from models.arrays import TaskArray
from models.exceptions import (
    InvalidRequestError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TaskStateError,
)
from models.logins import Actor
from models.payloads import Payload
from models.tasks import Task
from utils import process_registry, tasks

# A body of references must not make us fetch all that was ever computed.
_MOST_REFERENCES: Final = 20

# What is checked in less time than a thread takes to begin.
_SHORT_TEXT_BYTES: Final = 16 * 1024

_NO_RESULT: Final = (
    TaskNotFoundError,
    TaskFailedError,
    TaskCancelledError,
    TaskStateError,
)


async def submit(
    process: process_registry.Process,
    *,
    payload: Payload,
    path: Mapping[str, str],
    actor: Actor | None,
    deed: str | None = None,
) -> Task:
    """Checks what a client sends, and queues it.

    Arrays go from file to file in pieces; none is in memory whole.

    Args:
        process: what is called.
        payload: the body, as it was sent.
        path: the arguments in the path.
        actor: who calls; None for a stranger.
        deed: names the submission; what was submitted by this name before is
            answered again.

    Raises:
        InvalidRequestError: an argument does not fit, or names a task that
            has no such array.
        TooManyTasksError: the caller has as many tasks as they may have.
    """
    with ExitStack() as stack:
        found = {}
        wanted = {asked.key: asked for asked in process.wanted(payload)}
        if len(wanted) > _MOST_REFERENCES:
            raise InvalidRequestError.at(
                "body", msg=f"name {_MOST_REFERENCES} arrays of tasks at most"
            )
        for key, asked in wanted.items():
            found[key] = await _array_of(asked, actor, stack)

        def checked() -> Payload:
            arguments = process.validate(payload, path=path, found=found)
            return process.dump_arguments(arguments)

        if len(payload.text) > _SHORT_TEXT_BYTES:
            arguments = await asyncio.to_thread(checked)
        else:
            arguments = checked()
        file = stack.enter_context(TemporaryFile())
        if arguments.arrays:
            await asyncio.to_thread(arguments.write_to, file)
        else:
            arguments.write_to(file)
        return await tasks.submit(
            process, arguments=file, actor=actor, deed=deed
        )


async def _array_of(
    asked: TaskArray, actor: Actor | None, stack: ExitStack
) -> np.ndarray:
    """An array of an earlier task, mapped from a file that `stack` closes."""
    file = stack.enter_context(TemporaryFile())
    try:
        if asked.of == "result":
            pieces = await tasks.open_result(asked.task, actor=actor)
        else:
            pieces = await tasks.open_submitted(asked.task, actor=actor)
        await _write(pieces, file)
    except _NO_RESULT as error:
        raise InvalidRequestError.at(
            "body", msg=f"task {asked.task}: {error.detail}"
        ) from None
    kept = await asyncio.to_thread(Payload.read_from, file)
    array = kept.array(asked.name)
    if array is None:
        names = ", ".join(kept.names()) or "no arrays"
        raise InvalidRequestError.at(
            "body",
            msg=f"task {asked.task} has no array {asked.name}, but {names}",
        )
    return array


async def _write(pieces: AsyncIterator[bytes], file: IO[bytes]) -> None:
    async for piece in pieces:
        await asyncio.to_thread(file.write, piece)
