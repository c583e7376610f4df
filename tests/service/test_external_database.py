"""A database that is not Muster's own goes away and returns."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.problems import assert_problem
from tests.service.machines import External
from tests.service.running import MARKS, Person, Service, wait_for

pytestmark = MARKS

HEALS_SECONDS = 15
UNAVAILABLE_SECONDS = 8


@pytest.fixture(name="external", scope="module")
def _external(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[External]:
    external = External(tmp_path_factory.mktemp("external"))
    external.start()
    yield external
    external.kill()


@pytest.fixture(name="service", scope="module")
def _service(
    external: External, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with Service(
        tmp_path_factory.mktemp("served"),
        MONGO_DB_URI=external.uri,
        WEB_CONCURRENCY="2",
        # Each second the database is asked how many may be admitted.
        RATE_LIMIT_ANONYMOUS="100000/1",
    ) as service:
        yield service


class TestExternalDatabase:
    def test_killed(
        self,
        external: External,
        service: Service,
        client: httpx.Client,
        member: Person,
    ) -> None:
        event_id = member.post_event()["id"]
        said = service.errors().count("requests can't be counted")
        external.kill()
        check_unavailable(member)
        # What needs no database is served all the while, uncounted.
        for _ in range(12):
            assert client.get("/").status_code == 200
        said = service.errors().count("requests can't be counted") - said
        assert said in (1, 2), "once a worker"
        external.start()
        check_heals(member)
        assert member.get(f"/v1/events/{event_id}").status_code == 200

    def test_held(self, external: External, member: Person) -> None:
        """Nothing refuses a connection, and nothing answers."""
        external.signal(signal.SIGSTOP)
        try:
            check_unavailable(member)
        finally:
            external.signal(signal.SIGCONT)
        check_heals(member)

    def test_held_while_a_worker_starts(
        self, external: External, service: Service, member: Person
    ) -> None:
        """It can't, and tries again: the others go on, and the master."""
        victim = service.workers()[0]
        external.signal(signal.SIGSTOP)
        try:
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: "startup failed" in service.errors(), 60)
        finally:
            external.signal(signal.SIGCONT)
        wait_for(lambda: service.errors().count("startup complete") > 2, 60)
        check_heals(member)
        assert len(service.workers()) == 2

    def test_no_embedded_database(self, service: Service) -> None:
        assert not service.folder.path.exists()
        assert len(service.processes()) == 3, "master, 2 workers"


def test_single_server_is_refused(tmp_path: Path) -> None:
    """It has no transactions: the start says so in one line."""
    external = External(tmp_path, "--standalone")
    external.start()
    try:
        service = Service(
            tmp_path, MONGO_DB_URI=external.uri, WEB_CONCURRENCY="1"
        )
        service.launch()
        assert service.wait() != 0
        (line,) = service.errors().strip().splitlines()[-1:]
        assert line.startswith("muster: the database at 127.0.0.1:")
        assert "is a single server, which has no transactions" in line
        assert "rs.initiate()" in line
        assert "Traceback" not in service.errors()
    finally:
        external.kill()


def check_unavailable(member: Person) -> None:
    """A request is answered in time, with the right problem."""
    response = member.get("/v1/users/me")
    assert_problem(response, 503, "database-unavailable")
    assert response.elapsed.total_seconds() < UNAVAILABLE_SECONDS


def check_heals(member: Person) -> None:
    """Requests are answered again, and stay so."""

    def is_well() -> bool:
        response = member.get("/v1/users/me")
        if response.status_code != 200:
            assert_problem(response, 503, "database-unavailable")
        return response.status_code == 200

    wait_for(is_well, HEALS_SECONDS)
    for _ in range(8):
        assert is_well()
