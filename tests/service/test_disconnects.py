"""Disconnects: clients that leave real workers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import factories
from tests.service.running import (
    MARKS,
    Person,
    Service,
    create_admin,
    wait_for,
)

pytestmark = MARKS

_EMAIL = "admin@example.org"


@contextmanager
def _asked(service: Service, line: str) -> Iterator[socket.socket]:
    """A request whose client leaves at the end of the block."""
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield client


def test_reads_are_cancelled_and_writes_are_done(tmp_path: Path) -> None:
    def is_there(name: str) -> bool:
        return (tmp_path / name).exists()

    with Service(
        tmp_path,
        "gunicorn", "--config", "python:config.server",
        "tests.service.lasting_app:app",
        WEB_CONCURRENCY="2", LASTING_FOLDER=str(tmp_path),
    ) as service:  # fmt: skip
        create_admin(service, _EMAIL)
        with _asked(service, "GET /stream") as client:
            received = b""
            while b"data: 1" not in received:
                received += client.recv(4096)
        wait_for(lambda: is_there("stream-ended"))
        with _asked(service, "GET /lasting?name=GET"):
            wait_for(lambda: is_there("GET-begun"))
        with _asked(service, "POST /lasting?name=POST"):
            wait_for(lambda: is_there("POST-begun"))
        wait_for(lambda: is_there("GET-cancelled"))
        (tmp_path / "go-on").touch()
        wait_for(lambda: is_there("POST-done"))
        assert not is_there("POST-cancelled")
        assert not is_there("GET-done")
        with service.client() as client_of_admin:
            admin = Person(client_of_admin, _EMAIL, factories.PASSWORD)
            wait_for(lambda: admin.list_all("/v1/http-events", status="499"))
            (event,) = admin.list_all("/v1/http-events", status="499")
            assert event["error"]["message"] == "client went away"
            assert event["request"]["method"] == "GET"
