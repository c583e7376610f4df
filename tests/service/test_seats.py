"""Seats hold: 200 clients, four workers, one of them killed on the way."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.factories import PARIS, PASSWORD
from tests.service.agreement import check_agreement
from tests.service.running import (
    MARKS,
    RUN,
    Person,
    Service,
    create_admin,
    wait_for,
)

pytestmark = MARKS

CLIENTS = 200
SEATS = 20
HEALS_SECONDS = 15


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("seats"), *RUN) as service:
        yield service


@pytest.fixture(scope="module", name="admin")
def _admin(service: Service) -> Iterator[Person]:
    with service.client() as client:
        email = "door@example.org"
        create_admin(service, email)
        yield Person(client, email, PASSWORD)


@pytest.fixture(scope="module", name="crowd")
def _crowd(service: Service) -> list[dict[str, str]]:
    """The headers of many members."""
    return asyncio.run(_register_all(service))


class Crowd:
    """Many members who talk to a service at the same time.

    Each request has a connection of its own, to any worker. A worker that is
    killed breaks its connections: those requests are sent again, as a client
    would; nothing else may go wrong.
    """

    def __init__(self, service: Service, path: str) -> None:
        self._base_url = service.url
        self._path = path
        self.answers: list[dict[str, Any]] = []
        self.broken = 0

    async def send(self, method: str, crowd: Sequence[dict[str, str]]) -> None:
        """Has each of `crowd` send one request, all at once."""
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(
            base_url=self._base_url,
            limits=limits,
            timeout=60,
            trust_env=False,
        ) as client:
            await asyncio.gather(
                *(self._send(client, method, headers) for headers in crowd)
            )

    async def _send(
        self, client: httpx.AsyncClient, method: str, headers: dict[str, str]
    ) -> None:
        while True:
            try:
                response = await client.request(
                    method, self._path, headers=headers
                )
            except httpx.TransportError:
                self.broken += 1
                continue
            assert response.status_code == 200, response.text
            self.answers.append(response.json())
            return


async def _register_all(service: Service) -> list[dict[str, str]]:
    def register(number: int) -> dict[str, str]:
        del number  # Each is like the others.
        with service.client() as client:
            return Person.register(client).headers

    return await asyncio.gather(
        *(asyncio.to_thread(register, number) for number in range(CLIENTS))
    )


def post_event(admin: Person) -> str:
    event = admin.post_event(capacity=SEATS, location=PARIS)
    return f"/v1/events/{event['id']}"


class TestRace:
    def test_arrivals(
        self, service: Service, admin: Person, crowd: list[dict[str, str]]
    ) -> None:
        path = post_event(admin)
        clients = Crowd(service, f"{path}/rsvp")
        asyncio.run(clients.send("PUT", crowd))
        assert clients.broken == 0
        statuses = [answer["status"] for answer in clients.answers]
        assert statuses.count("going") == SEATS
        assert statuses.count("waitlisted") == CLIENTS - SEATS
        positions = [a["position"] for a in clients.answers if a["position"]]
        assert sorted(positions) == list(range(1, CLIENTS - SEATS + 1))
        assert check_agreement(admin, path) == (SEATS, CLIENTS - SEATS)

    def test_leaving_and_joining(
        self, service: Service, admin: Person, crowd: list[dict[str, str]]
    ) -> None:
        path = post_event(admin)
        clients = Crowd(service, f"{path}/rsvp")
        asyncio.run(clients.send("PUT", crowd[:50]))
        asyncio.run(_both(clients, crowd[:50], crowd[50:100]))
        assert check_agreement(admin, path) == (SEATS, 50 - SEATS)

    def test_killed_worker(
        self, service: Service, admin: Person, crowd: list[dict[str, str]]
    ) -> None:
        """What it had begun is undone; the others go on, without an error."""
        path = post_event(admin)
        clients = Crowd(service, f"{path}/rsvp")
        asyncio.run(clients.send("PUT", crowd[:50]))
        victim = service.workers()[0]
        asyncio.run(_both(clients, crowd[:50], crowd[50:], victim=victim))
        assert victim not in service.workers()
        wait_for(lambda: len(service.workers()) == 4, HEALS_SECONDS)
        assert check_agreement(admin, path) == (SEATS, CLIENTS - 50 - SEATS)


async def _both(
    clients: Crowd,
    leaving: Sequence[dict[str, str]],
    joining: Sequence[dict[str, str]],
    victim: int | None = None,
) -> None:
    """Some leave while others join; a worker may die in the middle."""
    before = len(clients.answers)
    crowd = asyncio.gather(
        clients.send("DELETE", leaving), clients.send("PUT", joining)
    )
    while victim is not None and len(clients.answers) < before + 30:
        assert not crowd.done()
        await asyncio.sleep(0.001)
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    await crowd
