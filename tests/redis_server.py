"""A Redis of the test's own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

_PROGRAM: Final = shutil.which("redis-server")


def require_redis() -> None:
    """Skips a module where Redis is not installed, unless CI=true."""
    if _PROGRAM is None and os.environ.get("CI") != "true":
        pytest.skip("needs redis-server on PATH", allow_module_level=True)


class RedisServer:
    """A server that can be stopped and started again.

    Args:
        options: of its command line, after those that have it keep nothing.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        # It lives as long as this object says.
        # pylint: disable-next=consider-using-with
        self._process = subprocess.Popen(
            [str(_PROGRAM), "--port", str(self.port), "--bind", "127.0.0.1",
             "--save", "", "--appendonly", "no", *self._options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Its process; there is one while it runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ends it; what it kept is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hold(self) -> None:
        """Has it say nothing any more, as when the line is cut."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as client:
                client.sendall(b"PING\r\n")
                return client.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A Redis that runs while the block does."""
    server = RedisServer(*options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
