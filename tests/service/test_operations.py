"""What operators watch: health and metrics of all workers together."""

import os
import re
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.service.running import MARKS, Service, wait_for

pytestmark = MARKS

_PATH = "/v1/events/00000000-0000-4000-8000-000000000000"
_BEGUN = re.compile(
    r'^muster_process_start_time_seconds{pid="(\d+)"} (\S+)', re.M
)
_COUNTED = re.compile(
    r'^muster_http_requests_total{.*"/v1/events/{event_id}".*} (\d+)', re.M
)


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One of which a worker is killed, and that leaves nothing behind."""
    temporary = tmp_path_factory.mktemp("temporary")
    with Service(
        tmp_path_factory.mktemp("operations"), TMPDIR=str(temporary)
    ) as service:
        assert list(temporary.glob("muster-metrics-*"))
        yield service
    assert not list(temporary.glob("muster-metrics-*"))


def counted(client: httpx.Client) -> int:
    """How often an event was asked for, as any one worker says."""
    found = _COUNTED.search(client.get("/metrics").text)
    return 0 if found is None else int(float(found[1]))


class TestMetrics:
    def test_are_those_of_all_workers(
        self, service: Service, client: httpx.Client
    ) -> None:
        before = counted(client)
        for worker in service.workers():
            with service.only(worker):
                assert client.get(_PATH).status_code == 404
        wait_for(lambda: counted(client) == before + 2)

    def test_a_dead_worker_leaves_what_it_did(
        self, service: Service, client: httpx.Client
    ) -> None:
        before, victim = counted(client), service.workers()[0]
        with service.only(victim):
            client.get(_PATH)
        wait_for(lambda: counted(client) == before + 1)
        os.kill(victim, signal.SIGKILL)
        wait_for(
            lambda: (
                victim not in service.workers() and len(service.workers()) == 2
            )
        )
        assert counted(client) == before + 1
        wait_for(
            lambda: f'pid="{victim}"' not in client.get("/metrics").text
        )

    def test_the_master_has_none(
        self, service: Service, client: httpx.Client
    ) -> None:
        """It imports the app, and its workers are forks of it."""

        def begun() -> dict[int, float]:
            text = client.get("/metrics").text
            return {int(pid): float(at) for pid, at in _BEGUN.findall(text)}

        wait_for(lambda: set(begun()) == set(service.workers()))
        assert len(set(begun().values())) == 2

    def test_each_worker_shows_its_memory(
        self, service: Service, client: httpx.Client
    ) -> None:
        def shown() -> bool:
            text = client.get("/metrics").text
            name = "muster_process_resident_memory_bytes"
            return all(
                f'{name}{{pid="{worker}"}}' in text
                for worker in service.workers()
            )

        wait_for(shown)


class TestHealth:
    def test_ready(self, client: httpx.Client) -> None:
        assert client.get("/health/ready").json() == {
            "status": "ready",
            "checks": {"database": "ok"},
        }
