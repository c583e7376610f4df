"""The image's question after its web process's health."""

import socket
import subprocess
import sys
from threading import Thread

import pytest

from tests.deploy.proxies import has_ipv6
from tests.service.running import REPOSITORY, environment, free_port

_LIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_NOT_LIVE = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("bound", "listening"),
    [
        ("", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.3", "127.0.0.3"),
        ("::", "::1"),
    ],
)
def test_asks_where_it_listens(bound: str, listening: str) -> None:
    if ":" in listening and not has_ipv6():
        pytest.skip("needs IPv6")
    assert _check(_LIVE, bound, listening) == (0, "")


@pytest.mark.parametrize("answer", [_NOT_LIVE, b"", b"SSH-2.0-x\r\n"])
def test_other_answers(answer: bytes) -> None:
    """None of them is health, and none is worth a trace."""
    status, said = _check(answer, "127.0.0.1", "127.0.0.1")
    assert status == 1
    assert len(said.splitlines()) <= 1


def test_nobody_listens() -> None:
    done = _ask(free_port(), "127.0.0.1")
    assert done.returncode == 1
    assert "nothing answers at 127.0.0.1" in done.stdout


def _check(answer: bytes, bound: str, listening: str) -> tuple[int, str]:
    """What it says of a server that answers its first request so."""
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with socket.create_server((listening, 0), family=family) as server:
        server.settimeout(60)
        answering = Thread(target=_answer, args=(server, answer))
        answering.start()
        done = _ask(server.getsockname()[1], bound)
        answering.join()
    return done.returncode, done.stdout + done.stderr


def _answer(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        assert connection.recv(4096).startswith(b"GET /health/live ")
        connection.sendall(answer)


def _ask(port: int, bound: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.healthcheck"],
        cwd=REPOSITORY,
        env=environment(PORT=str(port), BIND_ADDRESS=bound),
        capture_output=True,
        text=True,
        check=False,
    )
