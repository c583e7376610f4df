"""The client of a benchmark: wrk, and what it says."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.servers import RESULTS, Server

_WRK: Final = "wrk"
# What has wrk post a body.
_POSTING: Final = RESULTS / "post.lua"
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Request:
    """What to ask for, and how many clients do so at a time.

    A body is posted, as JSON.
    """

    path: str
    headers: Mapping[str, str]
    connections: int
    body: str | None = None


@dataclass(frozen=True)
class Sample:
    """What one server did in one round."""

    requests_per_second: float
    cpu_microseconds: float
    p50_ms: float
    p99_ms: float


def require_wrk() -> None:
    """Ends the process with one line where there is no wrk."""
    if shutil.which(_WRK) is None:
        sys.exit(
            "bench: wrk is missing: `apt-get install wrk`, `brew install wrk` "
            "or https://github.com/wg/wrk"
        )


def drive(server: Server, request: Request, *, seconds: int) -> Sample:
    """Asks one server for some time; every answer must be 2xx."""
    before = server.cpu_seconds()
    said = subprocess.run(
        _command(server, request, seconds),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cpu_seconds = server.cpu_seconds() - before
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"bench: {server.name} answers with errors:\n{said}")
    answered = int(_find(r"(\d+) requests in", said)[0])
    if answered == 0:
        sys.exit(f"bench: {server.name} needs more --seconds than {seconds}")
    return Sample(
        requests_per_second=float(_find(r"Requests/sec: +([\d.]+)", said)[0]),
        cpu_microseconds=cpu_seconds / answered * 1e6,
        p50_ms=_latency(50, said),
        p99_ms=_latency(99, said),
    )


def _command(server: Server, request: Request, seconds: int) -> list[str]:
    command = [_WRK, "--latency", "--threads", "1"]
    command += ["--connections", str(request.connections)]
    command += ["--duration", f"{seconds}s"]
    # A slow answer is an answer: by default wrk gives up after two seconds.
    command += ["--timeout", "60s"]
    for name, value in request.headers.items():
        command += ["--header", f"{name}: {value}"]
    if request.body is not None:
        _POSTING.write_text(
            'wrk.method = "POST"\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{request.body}]==]\n",
            encoding="utf-8",
        )
        command += ["--script", str(_POSTING)]
    return [*command, server.url(request.path)]


def _latency(percent: int, said: str) -> float:
    value, unit = _find(rf"{percent}% +([\d.]+)(us|ms|s|m)\b", said)
    return float(value) * _MILLISECONDS[unit]


def _find(pattern: str, said: str) -> tuple[str, ...]:
    found = re.search(pattern, said)
    if found is None:
        sys.exit(f"bench: wrk says nothing like {pattern}:\n{said}")
    return found.groups()
