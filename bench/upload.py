"""An upload: what memory a web worker needs while it receives an array."""

import http.client
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import numpy as np

from bench import servers
from bench.servers import Server

_WARM_UP_BYTES: Final = 1024 * 1024
_LOOK_SECONDS: Final = 0.1
_KILOBYTE: Final = 1024


@dataclass(frozen=True)
class Sample:
    """What one upload took.

    Attributes:
        seconds: until it was answered, and so stored.
        grown: bytes by which the web worker's peak memory lay above what it
            had before.
    """

    seconds: float
    grown: int


def measure(
    environment: Mapping[str, str], *, size: int, rounds: int
) -> list[Sample]:
    """Uploads arrays of `size` bytes to a web worker of Muster's."""
    with servers.muster(environment, access_log=False) as server:
        _upload(server, _WARM_UP_BYTES)
        return [_upload(server, size) for _ in range(rounds)]


def _upload(server: Server, size: int) -> Sample:
    with TemporaryFile(dir=servers.RESULTS) as file:
        np.save(file, np.zeros(size // 8))
        file.seek(0)
        before = _peak_bytes(server, anew=True)
        begin = time.perf_counter()
        answer = _ask(server, "POST", "/process_np_array", file)
        seconds = time.perf_counter() - begin
        grown = _peak_bytes(server) - before
    # The next one begins when nothing of this one runs any more.
    result = f"/result/{answer['task_id']}"
    while _ask(server, "GET", result)["status"] != "completed":
        time.sleep(_LOOK_SECONDS)
    return Sample(seconds, grown)


def _ask(
    server: Server, method: str, path: str, file: IO[bytes] | None = None
) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request(
        method, path, file, {"Content-Type": "application/x-npy"}
    )
    with connection.getresponse() as response:
        answer: dict[str, Any] = json.load(response)
    assert response.status < 300, answer
    connection.close()
    return answer


def _peak_bytes(server: Server, *, anew: bool = False) -> int:
    """The most that the worker has had in memory; `anew`: from now on."""
    folder = Path(f"/proc/{server.worker_pid}")
    if anew:
        # Where the kernel can't, the peak is that since the start.
        with suppress(OSError):
            (folder / "clear_refs").write_text("5", encoding="ascii")
    status = (folder / "status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * _KILOBYTE
