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
        stat = Path(f"/proc/{self.worker_pid}/stat").read_text(encoding="ascii")
        # The second field, the name, may hold blanks; it ends with a bracket.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


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
    port = _free_port()
    arguments = ["--worker-class", "uvicorn_worker.UvicornWorker"]
    arguments += ["--bind", f"127.0.0.1:{port}", "--workers", "1"]
    arguments += ["--no-control-socket"]
    arguments += ["--access-logfile", "-"] if access_log else []
    with _gunicorn(
        "bare",
        [*arguments, "bench.bare_app:app"],
        environment,
        port,
    ) as server:
        yield server


@contextmanager
def _as_muster(
    name: str, target: str, environment: Mapping[str, str], access_log: bool
) -> Iterator[Server]:
    port = _free_port()
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
    name: str, arguments: list[str], environment: Mapping[str, str], port: int
) -> Iterator[Server]:
    log = RESULTS / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_open(process, port, log)
        yield Server(name, port, _only_child(process.pid))
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _free_port() -> int:
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


def _only_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    (worker,) = map(int, children.read_text(encoding="ascii").split())
    return worker
