"""The two servers of a benchmark: one worker each, started the same way."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.embedded import EmbeddedDatabase

RESULTS: Final = Path(__file__).parent / "results"
REPOSITORY: Final = Path(__file__).resolve().parents[1]

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    port: int
    worker_pid: int

    def url(self, path: str) -> str:
        """Where it serves `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def cpu_seconds(self) -> float:
        """User and system time of its one worker so far."""
        return cpu_seconds(self.worker_pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, and of its ended children."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    # The second field, the name, may hold blanks; it ends with a bracket.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_A_SECOND


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [*map(int, children.read_text(encoding="ascii").split())]


@contextmanager
def database(data_dir: Path) -> Iterator[str]:
    """The URI of a database: MONGO_DB_URI's, or an embedded one's."""
    if "MONGO_DB_URI" in os.environ:
        yield os.environ["MONGO_DB_URI"]
        return
    embedded = EmbeddedDatabase(data_dir)
    try:
        yield embedded.join()
    finally:
        embedded.leave()
        embedded.wait_until_closed(60)


@contextmanager
def muster(
    environment: Mapping[str, str], *, access_log: bool
) -> Iterator[Server]:
    """Muster as the Procfile starts it, with one worker."""
    with _as_muster("muster", "app:app", environment, access_log) as server:
        yield server


@contextmanager
def piped(
    environment: Mapping[str, str], *, access_log: bool
) -> Iterator[Server]:
    """The bare app in Muster's pipeline, on Muster's own worker class."""
    target = "bench.piped_app:app"
    with _as_muster("piped", target, environment, access_log) as server:
        yield server


@contextmanager
def bare(
    environment: Mapping[str, str], *, access_log: bool
) -> Iterator[Server]:
    """The bare app on the same server, with the same worker class."""
    arguments = ["--access-logfile", "-"] if access_log else []
    with plain(
        "bare", [*arguments, "bench.bare_app:app"], environment
    ) as server:
        yield server


@contextmanager
def plain(
    name: str,
    arguments: list[str],
    environment: Mapping[str, str],
    *,
    python: str = sys.executable,
) -> Iterator[Server]:
    """Any app on gunicorn and uvicorn as they come, with one worker."""
    port = free_port()
    how = ["--worker-class", "uvicorn_worker.UvicornWorker"]
    how += ["--bind", f"127.0.0.1:{port}", "--workers", "1"]
    how += ["--no-control-socket"]
    with _gunicorn(
        name, [*how, *arguments], environment, port, python=python
    ) as server:
        yield server


@contextmanager
def _as_muster(
    name: str, target: str, environment: Mapping[str, str], access_log: bool
) -> Iterator[Server]:
    port = free_port()
    with _gunicorn(
        name,
        ["--config", "python:config.server", target],
        {
            **environment,
            "WEB_CONCURRENCY": "1",
            "PORT": str(port),
            "LOG_REQUESTS": str(access_log),
        },
        port,
    ) as server:
        yield server


@contextmanager
def _gunicorn(
    name: str,
    arguments: list[str],
    environment: Mapping[str, str],
    port: int,
    *,
    python: str = sys.executable,
) -> Iterator[Server]:
    log = RESULTS / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "gunicorn", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_open(process, port, log)
        (worker,) = children_of(process.pid)
        yield Server(name, port, worker)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_until_open(
    process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # Any answer will do: the bare app has nothing at its root.
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"bench: a server did not start, see {log}")
