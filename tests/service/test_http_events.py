"""The ring of the last requests, over several workers; and their log."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import factories
from tests.service.running import (
    MARKS,
    Person,
    Service,
    create_admin,
    servers_of,
    wait_for,
)

pytestmark = MARKS

_MOST = 30
_EMAIL = "admin@example.org"
_LIST = "/v1/http-events"


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("http-events")
    with Service(
        folder,
        HTTP_EVENTS_MAX=str(_MOST),
        LOG_FORMAT="json",
        LOG_FILE=str(folder / "log"),
    ) as service:
        create_admin(service, _EMAIL)
        yield service


@pytest.fixture(name="admin")
def _admin(client: httpx.Client) -> Person:
    return Person(client, _EMAIL, factories.PASSWORD)


def _numbers(admin: Person) -> list[int]:
    """The numbers at the ends of the paths that were asked for, in order."""
    return [
        int(event["request"]["path"].rpartition("/")[2])
        for event in admin.list_all(_LIST, status="404")
        if event["request"]["path"].startswith("/v1/nowhere/")
    ]


def _is_told(admin: Person, number: int) -> Callable[[], bool]:
    return lambda: number in _numbers(admin)


class TestRing:
    def test_all_workers_share_it(
        self, service: Service, client: httpx.Client, admin: Person
    ) -> None:
        """In order, bounded, and whoever answers shows all of it."""
        for number in range(2 * _MOST):
            assert client.get(f"/v1/nowhere/{number}").status_code == 404
        wait_for(_is_told(admin, 2 * _MOST - 1))
        events = admin.list_all(_LIST)
        # What asks is an event itself; a worker trims right after it adds.
        wait_for(lambda: len(admin.list_all(_LIST)) <= _MOST)
        seen = _numbers(admin)
        assert seen == sorted(seen, reverse=True)
        assert len({event["info"]["server_id"] for event in events}) == 1
        assert {event["info"]["worker"] for event in events} <= set(
            service.workers()
        )
        assert len({event["info"]["worker"] for event in events}) > 1

    def test_a_database_that_is_killed_loses_none(
        self, service: Service, client: httpx.Client, admin: Person
    ) -> None:
        (server,) = servers_of(service)
        os.kill(server, signal.SIGKILL)
        for number in range(1000, 1010):
            # It asks the database for nothing, so that it waits for none.
            assert client.get(f"/v1/nowhere/{number}").status_code == 404
        for number in range(1000, 1010):
            wait_for(_is_told(admin, number), 40)

    def test_a_stop_stores_the_last(self, tmp_path: Path) -> None:
        with Service(tmp_path, WEB_CONCURRENCY="1") as service:
            create_admin(service, _EMAIL)
            with service.client() as client:
                client.get("/v1/nowhere/7")
            service.stop()
            service.start()
            with service.client() as client:
                admin = Person(client, _EMAIL, factories.PASSWORD)
                assert _numbers(admin) == [7]


class TestLog:
    def test_every_line_is_an_object(
        self, service: Service, client: httpx.Client, admin: Person
    ) -> None:
        """The server's own too, on stderr as in the file; a request has one."""
        client.get("/v1/nowhere/1?token=s3cret", headers={"X-Request-ID": "it"})
        log = Path(service.settings["LOG_FILE"])
        # The line is written when the answer is on its way already.
        wait_for(lambda: any(e["request_id"] == "it" for e in _objects(log)))
        lines = _objects(log)
        (line,) = (each for each in lines if each["request_id"] == "it")
        assert line["query"] == "token=***"
        assert line["status"] == 404
        assert admin.id in {each["member_id"] for each in lines}
        loggers = {each["logger"] for each in lines}
        assert {"gunicorn.error", "uvicorn.error", "muster.access"} <= loggers
        assert "uvicorn.access" not in loggers
        said = [
            json.loads(text)
            for text in service.errors().splitlines()
            if text.startswith("{")
        ]
        assert [e for e in said if e["request_id"] == "it"] == [line]
        assert "nowhere" not in service.output()
        assert "s3cret" not in service.errors()

    @pytest.mark.parametrize("logs_requests", ["true", "false"])
    def test_gunicorns_option_doubles_no_line(
        self, tmp_path: Path, logs_requests: str
    ) -> None:
        with Service(
            tmp_path,
            "gunicorn", "-w", "1", "-k", "config.server.MusterWorker",
            "app:app", "--bind", "127.0.0.1:{port}", "--access-logfile", "-",
            "--log-level", "info",
            LOG_REQUESTS=logs_requests,
        ) as service:  # fmt: skip
            with service.client() as client:
                client.get("/v1/nowhere/1")
            service.stop()
            said = service.output() + service.errors()
        assert said.count("/v1/nowhere/1") == (logs_requests == "true")


def _objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
