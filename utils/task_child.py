"""Task child: calls processes, one after the other, in a process of its own.

Owns no collection. May call: model_cache, plots, process_registry,
processes, progress. `task_children` starts it as `python -m utils.task_child`,
and tells it by lines of JSON what to do; each is answered by a line. What a
call takes and returns lies in files. It knows no settings and no secrets, and
ends with its parent.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

from models.exceptions import InvalidRequestError
from models.payloads import Payload
from models.process_errors import ProcessInputError
from models.tasks import FailureKind, TaskError
from utils import (
    model_cache,
    plots,
    process_registry,
    processes,
    progress,
)

GIVEN: Final = "given"
RESULT: Final = "result"
PROGRESS: Final = "progress"

_MEGABYTE: Final = 1024 * 1024
_PR_SET_PDEATHSIG: Final = 1
# Requests go before tasks where both want the same processor.
_NICENESS: Final = 10
_MOST_FILE_BYTES: Final = 4 * 1024 * _MEGABYTE
_DETAIL_CHARACTERS: Final = 1000
_LOG: Final = logging.getLogger("muster.task_child")


def main() -> None:
    """Answers jobs until there are no more."""
    jobs, answers = _own_pipes()
    hello = json.loads(jobs.readline())
    _end_with_parent(hello["parent"])
    _be_modest()
    model_cache.models.limit(hello["model_cache_bytes"])
    processes.__path__[:] = hello["process_folders"]
    process_registry.list_processes()
    # What processes there are is known by now, and what models they declare.
    model_cache.warm(hello["warm_models"])
    _answer(answers, {})
    for line in jobs:
        job = json.loads(line)
        error = _do(job)
        _answer(
            answers,
            {
                "error": None if error is None else error.model_dump(),
                "models": model_cache.models.statistics()._asdict(),
            },
        )
        if error is not None and error.kind is FailureKind.OUT_OF_MEMORY:
            # What is left of it may be anywhere: the next task gets a new one.
            return


def _do(job: dict[str, Any]) -> TaskError | None:
    """Does a job; says why it failed, if it did."""
    folder = Path(job["folder"])
    os.chdir(folder)
    progress.report_to(folder / PROGRESS)
    _limit_memory(job["memory_mb"])
    try:
        _call(job["process"], folder, draw=job["draw"])
    except MemoryError:
        return TaskError(
            kind=FailureKind.OUT_OF_MEMORY,
            detail=f"It needed more than {job['memory_mb']} MB of memory.",
        )
    except (ProcessInputError, InvalidRequestError, plots.NoPlotError) as error:
        return TaskError(kind=FailureKind.INPUT, detail=_line_of(error))
    # Whatever a process raises ends its own task, and nothing else.
    except BaseException as error:  # pylint: disable=broad-exception-caught
        _LOG.exception("process %s failed", job["process"])
        detail = f"{type(error).__name__}: {_line_of(error)}"
        return TaskError(kind=FailureKind.EXCEPTION, detail=detail)
    finally:
        _limit_memory(None)
        progress.stop_reporting()
        os.chdir("/")
    return None


def _call(name: str, folder: Path, *, draw: bool) -> None:
    """Calls a process, or draws what it returned; the result is a file."""
    process = process_registry.get_process(name)
    if process is None:
        raise ProcessInputError(f"There is no process {name} any more.")
    with (folder / GIVEN).open("rb") as file:
        # Its own: some processes change what they are given.
        given = Payload.read_from(file, own=True)
    with (folder / RESULT).open("wb") as file:
        if draw:
            file.write(plots.draw(process.load_result(given), title=name))
        else:
            process.run(given).write_to(file)


def _line_of(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:_DETAIL_CHARACTERS]


def _own_pipes() -> tuple[TextIO, TextIO]:
    """The pipes to the parent, where no process finds them by accident.

    What processes print goes to stderr, and what they read is empty.
    """
    jobs = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return jobs, answers


def _answer(answers: TextIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def _end_with_parent(parent: int) -> None:
    """Has the kernel end this process when its parent is killed."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was killed before we said so.
        sys.exit()
    # Where the kernel knows no such thing, as on macOS.
    threading.Thread(target=_watch_parent, args=[parent], daemon=True).start()


def _watch_parent(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(2)
    os.killpg(0, signal.SIGKILL)


def _be_modest() -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES)
    )
    # Ctrl-C in a terminal is for the parent, which says what is to happen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _limit_memory(megabytes: int | None) -> None:
    """Limits what is allocated from now on; None ends the limit.

    RLIMIT_DATA counts what is allocated, not what is only reserved, such as
    the arenas of threads; so a limit means what it says.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = most
    if megabytes is not None:
        limit = _data_bytes() + megabytes * _MEGABYTE
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _data_bytes() -> int:
    """What this process has allocated; 0 where the kernel does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
