"""A rolling restart under load: each request is answered, none is dropped."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests import factories
from tests.service.running import MARKS, Person, Service, wait_for

pytestmark = MARKS

_RESTARTS = 2
_ANSWERS = 5


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(
        tmp_path_factory.mktemp("rolling"), WEB_CONCURRENCY="2"
    ) as service:
        yield service


class Client(threading.Thread):
    """Asks all the time, and lets nothing pass but what is right."""

    def __init__(self, client: httpx.Client, member: Person) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self.wrong: list[str] = []
        self._client = client
        self._member = member
        self._over = threading.Event()

    def run(self) -> None:
        """Goes on until it is told to stop."""
        while not self._over.wait(random.uniform(0, 0.05)):
            method, wanted = random.choice([("GET", 200), ("POST", 201)])
            body = factories.event_body() if method == "POST" else None
            try:
                answer = self._client.request(
                    method,
                    "/v1/events",
                    json=body,
                    headers=self._member.headers,
                )
            except httpx.TransportError as error:
                self.wrong.append(repr(error))
                continue
            self.answers += 1
            if answer.status_code != wanted:
                self.wrong.append(answer.text)

    def stop(self) -> None:
        """Lets it end."""
        self._over.set()
        self.join(60)
        self._client.close()


@pytest.fixture(name="clients")
def _clients(service: Service) -> Iterator[list[Client]]:
    """Some on a connection each, some with a new one for each request."""
    with service.client() as client:
        member = Person.register(client)
    lasting = [
        httpx.Client(base_url=service.url, timeout=60, trust_env=False)
        for _ in range(6)
    ]
    single = [service.client() for _ in range(6)]
    clients = [Client(client, member) for client in [*lasting, *single]]
    for each in clients:
        each.start()
    yield clients
    for each in clients:
        each.stop()


def test_drops_no_request(service: Service, clients: list[Client]) -> None:
    """`kill -HUP` to the master: others serve, and these end in order."""

    for _ in range(_RESTARTS):
        _wait_for_answers(clients)
        old = set(service.workers())
        os.kill(service.pid, signal.SIGHUP)
        wait_for(partial(_are_gone, service, old), 60)
        _wait_for_answers(clients)
    assert [wrong for client in clients for wrong in client.wrong] == []


def _wait_for_answers(clients: list[Client]) -> None:
    """Until each client has got some more."""
    before = [client.answers for client in clients]
    wait_for(
        lambda: all(
            client.answers >= count + _ANSWERS
            for client, count in zip(clients, before, strict=True)
        ),
        60,
    )


def _are_gone(service: Service, old: set[int]) -> bool:
    return not old & set(service.workers())
