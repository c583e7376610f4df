"""The queues that `bench.queue` compares: for each one who submits, one worker.

A worker is held (SIGSTOP) while it is not its turn: it takes nothing from the
others, and finds all that was submitted when it goes on.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import servers

_ARQ: Final = servers.RESULTS / "arq"
_ARQ_PYTHON: Final = _ARQ / "bin" / "python"
_STOP_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Sample:
    """What one queue did in one round."""

    tasks_per_second: float
    submit_seconds: tuple[float, ...]


class Contestant:
    """A queue with its worker, which is held unless `run` is called.

    Args:
        name: what the table calls it.
        submitter: answers `bench.side.serve`'s questions.
        worker: runs what was submitted.
        log: what both say.
    """

    def __init__(
        self,
        name: str,
        submitter: subprocess.Popen[bytes],
        worker: subprocess.Popen[bytes],
        log: Path,
    ) -> None:
        self.name = name
        self._submitter = submitter
        self._worker = worker
        self._log = log

    def run(self, job: str, count: int) -> Sample:
        """Submits some jobs; then the worker runs them."""
        took = self._ask({"job": job, "count": count})
        self._worker.send_signal(signal.SIGCONT)
        begin = time.perf_counter()
        self._ask({})
        seconds = time.perf_counter() - begin
        self._worker.send_signal(signal.SIGSTOP)
        return Sample(count / seconds, tuple(took))

    def _ask(self, question: dict[str, Any]) -> list[float]:
        assert self._submitter.stdin and self._submitter.stdout
        try:
            self._submitter.stdin.write(json.dumps(question).encode() + b"\n")
            self._submitter.stdin.flush()
            answer: list[float] = json.loads(self._submitter.stdout.readline())
        except (OSError, ValueError):
            sys.exit(f"bench: {self.name} does not go on, see {self._log}")
        return answer


def require_programs() -> None:
    """Ends the process with one line where arq or redis-server is missing."""
    if shutil.which("redis-server") is None:
        sys.exit(
            "bench: redis-server is missing: `apt-get install redis-server` or "
            "`brew install redis`"
        )
    if not _ARQ_PYTHON.exists():
        folder = _ARQ.relative_to(servers.REPOSITORY)
        sys.exit(
            f"bench: arq is missing: `python -m venv {folder} && "
            f"{folder}/bin/pip install -r bench/requirements.txt`"
        )


@contextmanager
def muster(
    name: str, environment: Mapping[str, str], *, slots: int
) -> Iterator[Contestant]:
    """Muster's queue, with a worker as `sh run.sh worker` starts it."""
    command = [sys.executable, "-m", "bench.muster_side"]
    with _started(
        name,
        [*command, "submit"],
        [*command, "work"],
        {**environment, "TASK_SLOTS": str(slots)},
    ) as contestant:
        yield contestant


@contextmanager
def arq(name: str, *, port: int, slots: int) -> Iterator[Contestant]:
    """arq's queue on the Redis at a port, with a pool of processes."""
    command = [str(_ARQ_PYTHON), "-m", "bench.arq_side"]
    with _started(
        name,
        [*command, "submit", str(port)],
        [*command, "work", str(port), str(slots)],
        {},
    ) as contestant:
        yield contestant


@contextmanager
def _started(
    name: str,
    submitter: Sequence[str],
    worker: Sequence[str],
    environment: Mapping[str, str],
) -> Iterator[Contestant]:
    log = servers.RESULTS / f"{name.replace(' ', '-')}.log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        working, submitting = (
            stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=servers.REPOSITORY,
                    # One thread each, as Muster gives its tasks.
                    env={
                        **os.environ,
                        "OPENBLAS_NUM_THREADS": "1",
                        **environment,
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if command is submitter else output,
                    stderr=output,
                )
            )
            for command in (worker, submitter)
        )
        try:
            yield Contestant(name, submitting, working, log)
        finally:
            working.send_signal(signal.SIGCONT)
            working.terminate()
            working.wait(_STOP_SECONDS)
            assert submitting.stdin
            submitting.stdin.close()
            submitting.wait(_STOP_SECONDS)
