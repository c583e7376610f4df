"""Transactions: several documents change together, or none of them does.

A transaction locks what it wrote until it ends. Of a killed process it would
end after a minute, by the server's `transactionLifetimeLimitSeconds`. So each
process notes its sessions in a file that it holds locked; whoever starts next
kills the sessions in files that nobody holds, and what they had begun is undone
at once.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import pymongo
from bson.binary import UUID_SUBTYPE, Binary
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ExecutionTimeout, PyMongoError

from config import db
from config.embedded import try_lock

Result = TypeVar("Result")

# As long as a replaced worker takes to start and to free what a killed one
# held, several times over.
_PATIENCE_SECONDS: Final = 15.0
_SESSION_ID_BYTES: Final = 16
_LOG: Final = logging.getLogger("muster.transactions")


class _Waiting:
    """What to call when the open transaction has written, or has ended."""

    def __init__(self) -> None:
        self.afterwards: set[Callable[[], None]] = set()
        self.at_the_end: set[Callable[[], None]] = set()


# None without a transaction.
_waiting: Final[ContextVar[_Waiting | None]] = ContextVar(
    "waiting", default=None
)


class _Notes:
    """The sessions of this process, in a file that is locked while it lives."""

    folder: Path | None = None
    pid = 0
    file = -1
    noted: set[bytes] = set()


_TURNS: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()


async def run(
    work: Callable[[], Awaitable[Result]], *, turn: str | None = None
) -> Result:
    """Runs `work` so that all that it writes is written, or nothing.

    It runs again when another transaction wrote the same documents first, so
    it must do nothing but read and write the database. Inside a transaction it
    is a part of that one.

    Args:
        work: what to do; every call to the database inside belongs to it.
        turn: what it competes for: those of one process queue up for it, which
            takes a tenth of the time of colliding and beginning again.

    Raises:
        pymongo.errors.PyMongoError: the database is away, or others hold what
            it writes for too long.
    """
    if is_open():
        return await work()
    waiting = _Waiting()
    async with _turn_at(turn), db.get_client().start_session() as session:
        _note(session)
        async with session.bind(end_session=False):
            token = _waiting.set(waiting)
            try:
                with pymongo.timeout(_PATIENCE_SECONDS):
                    result = await session.with_transaction(lambda _: work())
            finally:
                _waiting.reset(token)
                for tell in waiting.at_the_end:
                    tell()
    for tell in waiting.afterwards:
        tell()
    return result


def is_open() -> bool:
    """Whether the caller is a part of a transaction."""
    return _waiting.get() is not None


def afterwards(tell: Callable[[], None]) -> None:
    """Calls `tell` once the open transaction has written; now, without one.

    What `work` says twice, as when it runs again, is called once.
    """
    waiting = _waiting.get()
    if waiting is None:
        tell()
    else:
        waiting.afterwards.add(tell)


def at_the_end(tell: Callable[[], None]) -> None:
    """Calls `tell` once the open transaction has ended; now, without one.

    However it ended: a commit whose answer is lost may have written.
    """
    waiting = _waiting.get()
    if waiting is None:
        tell()
    else:
        waiting.at_the_end.add(tell)


def keep_notes_in(folder: Path) -> None:
    """Says where the processes of this machine note their sessions."""
    _Notes.folder = folder


async def undo_the_dead() -> None:
    """Ends the transactions of killed processes of this machine."""
    if _Notes.folder is None or not _Notes.folder.is_dir():
        return
    for path in _Notes.folder.iterdir():
        lock = try_lock(path, fcntl.LOCK_EX)
        if lock is None:
            continue
        try:
            await _kill_sessions(path.read_bytes())
            path.unlink(missing_ok=True)
        finally:
            os.close(lock)


@asynccontextmanager
async def _turn_at(turn: str | None) -> AsyncIterator[None]:
    if turn is None:
        yield
        return
    lock = _TURNS.get(turn)
    if lock is None:
        lock = _TURNS[turn] = asyncio.Lock()
    try:
        await asyncio.wait_for(lock.acquire(), _PATIENCE_SECONDS)
    except TimeoutError:
        raise ExecutionTimeout(f"{turn} is held for too long") from None
    try:
        yield
    finally:
        lock.release()


def _note(session: AsyncClientSession) -> None:
    session_id = bytes(session.session_id["id"])
    if _Notes.pid != os.getpid():
        _Notes.pid, _Notes.file, _Notes.noted = (
            os.getpid(),
            _open_notes(),
            set(),
        )
    if session_id not in _Notes.noted:
        _Notes.noted.add(session_id)
        if _Notes.file >= 0:
            os.write(_Notes.file, session_id)


def _open_notes() -> int:
    """A new locked file; -1 where none can be made."""
    if _Notes.folder is None:
        return -1
    try:
        _Notes.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = _Notes.folder / str(os.getpid())
        while True:
            file = try_lock(path, fcntl.LOCK_EX)
            # Somebody who tidies up may have removed it before it was locked.
            if file is not None and _is_at(file, path):
                os.ftruncate(file, 0)
                return file
            if file is not None:
                os.close(file)
    except OSError as error:
        _LOG.warning(
            "DATA_DIR can't be written: what a killed worker held is free "
            "after a minute only (%s)",
            error,
        )
        return -1


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


async def _kill_sessions(noted: bytes) -> None:
    ids = [
        {"id": Binary(noted[at : at + _SESSION_ID_BYTES], UUID_SUBTYPE)}
        for at in range(0, len(noted), _SESSION_ID_BYTES)
    ]
    if not ids:
        return
    try:
        await db.get_client().admin.command("killSessions", ids)
    except PyMongoError as error:
        _LOG.warning("can't free what a killed process held: %s", error)
