"""Task children: processes of the system's that call Muster's, with limits.

Owns no collection. May call: model_cache, processes, progress, task_child. A
child does one task at a time, and lives on to the next with what it has loaded.
It has a folder of its own, an environment without secrets, and dies with its
parent. One that takes too long is killed, with all that it started; the next
task gets a new one.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from config.main import settings
from models.tasks import INLINE_BYTES, FailureKind, TaskError
from utils import model_cache, processes, progress, task_child

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_PREFIX: Final = "muster-task-"
# What a child loads before it is ready is not the task's time.
_START_SECONDS: Final = 120.0
# A child that has nothing to do gives its memory back.
_IDLE_SECONDS: Final = 300.0
_MOST_LINE_BYTES: Final = 1024 * 1024

# What a child inherits; above all, no secrets.
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
# A task has one processor: others have tasks as well.
_ONE_THREAD: Final = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)
_LOG: Final = logging.getLogger("muster.task_children")


@dataclass(frozen=True, slots=True)
class Job:
    """A call of a process, or a picture of what one returned.

    Attributes:
        process: its name.
        given: what it is called with, or what it returned, in pieces.
        draw: whether a picture is wanted.
        time_limit_seconds: after which it is stopped.
        memory_mb: what it may allocate.
    """

    process: str
    given: AsyncIterator[bytes]
    time_limit_seconds: float
    memory_mb: int
    draw: bool = False


class _Known:
    """The children of this process, and what those did that ended."""

    living: set["Child"] = set()
    ended = model_cache.Statistics()


class Child:
    """One process that calls processes.

    Attributes:
        models: statistics of the models that it has loaded.
        idle_since: when its last job ended, by the monotonic clock.
    """

    def __init__(self, process: Process, home: Path) -> None:
        self._process = process
        self._home = home
        self._folder = home / "task"
        self.models = model_cache.Statistics()
        self.idle_since = time.monotonic()
        self._loaded = False
        self._killed = False
        _Known.living.add(self)

    @classmethod
    async def start(cls) -> Self:
        """A new child, which is still loading."""
        home = await asyncio.to_thread(_make_home)
        inherited = {
            name: os.environ[name] for name in _INHERITED if name in os.environ
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            task_child.__name__,
            stdin=PIPE,
            stdout=PIPE,
            cwd=home,
            env={
                **inherited,
                **_ONE_THREAD,
                "PYTHONPATH": str(_REPOSITORY),
                # Matplotlib's list of the machine's fonts takes seconds.
                "MPLCONFIGDIR": str(settings.data_dir.resolve() / "matplotlib"),
                "HOME": str(home),
                "TMPDIR": str(home),
            },
            # A process group of its own, which is killed as a whole.
            start_new_session=True,
            limit=_MOST_LINE_BYTES,
        )
        child = cls(process, home)
        child._tell(
            {
                "parent": os.getpid(),
                "model_cache_bytes": settings.model_cache_mb
                * model_cache.MEGABYTE,
                "warm_models": settings.models_to_warm,
                "process_folders": list(processes.__path__),
            }
        )
        return child

    @property
    def result(self) -> Path:
        """Where the last call has left what it returned."""
        return self._folder / task_child.RESULT

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be given a job."""
        return self._process.returncode is None and not self._killed

    def said(self) -> tuple[float, str] | None:
        """What the present call says about how far it is."""
        return progress.read_report(self._folder / task_child.PROGRESS)

    async def load(self) -> TaskError | None:
        """Waits until a new child has loaded; says why it can't, if so."""
        if self._loaded:
            return None
        try:
            async with asyncio.timeout(_START_SECONDS):
                if await self._next_line():
                    self._loaded = True
                    return None
                return await self._why_it_died()
        except TimeoutError:
            self.kill()
            return TaskError(
                kind=FailureKind.CRASHED, detail="Its process does not start."
            )

    async def do(self, job: Job) -> TaskError | None:
        """Does a job; says why it failed, if it did.

        When the time is over, the child is killed. A caller that is cancelled
        meanwhile kills it: it may be given no other job.
        """
        await asyncio.to_thread(_empty, self._folder)
        await _write(self._folder / task_child.GIVEN, job.given)
        self._tell(
            {
                "process": job.process,
                "draw": job.draw,
                "folder": str(self._folder),
                "memory_mb": job.memory_mb,
            }
        )
        try:
            async with asyncio.timeout(job.time_limit_seconds):
                line = await self._next_line()
        except TimeoutError:
            self.kill()
            return TaskError(
                kind=FailureKind.TIME_LIMIT,
                detail=f"It took longer than {job.time_limit_seconds:g} "
                "seconds.",
            )
        if not line:
            return await self._why_it_died()
        self.idle_since = time.monotonic()
        answer: dict[str, Any] = json.loads(line)
        self.models = model_cache.Statistics(**answer["models"])
        if answer["error"] is None:
            return None
        error = TaskError.model_validate(answer["error"])
        if error.kind is FailureKind.OUT_OF_MEMORY:
            # What is left of it may be anywhere.
            self.kill()
        return error

    def kill(self) -> None:
        """Ends it at once, with all that it started."""
        if self._killed:
            return
        self._killed = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """Ends it, and waits until nothing is left of it."""
        self.kill()
        if self in _Known.living:
            _Known.living.remove(self)
            # What it had loaded is gone, what it did is not undone.
            did = self.models._replace(models=0, bytes=0)
            _Known.ended = _sum([_Known.ended, did])
        await self._process.wait()
        await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)

    def _tell(self, content: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(content).encode() + b"\n")

    async def _next_line(self) -> bytes:
        """What it answers; nothing when it died."""
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def _why_it_died(self) -> TaskError:
        status = await self._process.wait()
        if status == -signal.SIGKILL:
            detail = "Its process was killed, most likely for want of memory."
            return TaskError(kind=FailureKind.OUT_OF_MEMORY, detail=detail)
        how = f"with status {status}"
        if status < 0:
            how = f"by {signal.Signals(-status).name}"
        return TaskError(
            kind=FailureKind.CRASHED, detail=f"Its process ended {how}."
        )


class Children:
    """The children of this process: as many as have jobs at the same time."""

    def __init__(self) -> None:
        self._idle: list[Child] = []

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Child]:
        """A child that has loaded, or died of it; it is not anybody else's."""
        await self._dismiss_idle()
        while self._idle:
            # The one that was used last: the others may go.
            child = self._idle.pop()
            if child.alive:
                break
            await child.aclose()
        else:
            child = await Child.start()
            _LOG.info("a new process for tasks: %d", child.pid)
        try:
            yield child
        except BaseException:
            child.kill()
            raise
        finally:
            if child.alive:
                self._idle.append(child)
            else:
                await child.aclose()

    async def aclose(self) -> None:
        """Ends all children that have nothing to do."""
        while self._idle:
            await self._idle.pop().aclose()

    async def rest(self) -> None:
        """Dismisses those who have nothing to do for long, until cancelled.

        Then all are; for who lends children out at no regular times.
        """
        try:
            while True:
                await asyncio.sleep(_IDLE_SECONDS / 10)
                await self._dismiss_idle()
        finally:
            await self.aclose()

    async def _dismiss_idle(self) -> None:
        long_ago = time.monotonic() - _IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < long_ago:
            await self._idle.pop(0).aclose()


def statistics() -> model_cache.Statistics:
    """What the models take that this process' children have loaded.

    What was done, those did as well that have ended.
    """
    return _sum([_Known.ended, *(child.models for child in _Known.living)])


def count_living() -> int:
    """How many children this process has."""
    return len(_Known.living)


def _sum(found: Iterable[model_cache.Statistics]) -> model_cache.Statistics:
    return model_cache.Statistics(*map(sum, zip(*found, strict=True)))


def _make_home() -> Path:
    """A folder for a child; those that killed parents left behind go."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        parent = left.name.removeprefix(_PREFIX).partition("-")[0]
        if parent.isdigit() and not _lives(int(parent)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


async def _write(path: Path, pieces: AsyncIterator[bytes]) -> None:
    with path.open("wb", buffering=0) as file:
        async for piece in pieces:
            if len(piece) <= INLINE_BYTES:
                file.write(piece)
            else:
                await asyncio.to_thread(file.write, piece)
