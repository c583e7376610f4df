"""Idempotency-Key over two workers, one of them killed on the way."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.database import Database

from config import db
from models.base import new_id
from tests import factories
from tests.service.running import MARKS, Person, Service, wait_for

pytestmark = MARKS

CLIENTS = 40
# A lease ends after 20 seconds.
TAKES_OVER_SECONDS = 40

Documents = Database[db.Document]


@pytest.fixture(scope="module", name="documents")
def _documents() -> Iterator[Documents]:
    """The service's database, which the test looks into."""
    name = db.new_test_database_name()
    uri = os.environ["MUSTER_TEST_DB_URI"]
    with MongoClient[db.Document](uri) as client:
        yield client[name]
        client.drop_database(name)


@pytest.fixture(scope="module", name="service")
def _service(
    tmp_path_factory: pytest.TempPathFactory, documents: Documents
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("idempotency")
    uri = os.environ["MUSTER_TEST_DB_URI"]
    with Service(
        folder, MONGO_DB_URI=uri, MONGO_DB_NAME=documents.name
    ) as service:
        yield service


async def _race(service: Service, person: Person, body: Any) -> list[int]:
    """Equal requests at the same time, to any worker, until all succeed."""
    headers = person.headers | {"Idempotency-Key": new_id()}
    statuses: list[int] = []
    ids: set[str] = set()

    async def send(client: httpx.AsyncClient) -> None:
        while True:
            response = await client.post(
                "/v1/events", json=body, headers=headers
            )
            statuses.append(response.status_code)
            if response.status_code == 201:
                ids.add(response.json()["id"])
                return
            assert response.status_code == 409, response.text
            await asyncio.sleep(0.02)

    async with httpx.AsyncClient(
        base_url=service.url,
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=60,
        trust_env=False,
    ) as client:
        await asyncio.gather(*(send(client) for _ in range(CLIENTS)))
    assert len(ids) == 1
    return statuses


def test_equal_requests_race(service: Service, member: Person) -> None:
    for number in range(5):
        body = factories.event_body(title=f"Race {number}")
        statuses = asyncio.run(_race(service, member, body))
        assert statuses.count(201) == CLIENTS
    mine = member.list_all("/v1/events", mine=True)
    titles = sorted(event["title"] for event in mine)
    assert titles == [f"Race {number}" for number in range(5)]


def test_the_first_one_is_killed(
    service: Service, member: Person, documents: Documents
) -> None:
    """It held its lease, in the middle of its transaction."""
    image_id = _upload(service, member)
    body = factories.event_body(title="Once", image_ids=[image_id])
    headers = member.headers | {"Idempotency-Key": new_id()}
    before = documents["idempotency"].count_documents({})
    victim = service.workers()[0]
    with (
        documents.client.start_session() as session,
        session.start_transaction(),
    ):
        # Whoever claims the image waits for this, and goes on trying.
        documents["images"].update_one(
            {"_id": image_id}, {"$set": {"held": True}}, session=session
        )
        with service.only(victim):
            sent = threading.Thread(
                target=_send_in_vain, args=(service, headers, body)
            )
            sent.start()
            wait_for(
                lambda: documents["idempotency"].count_documents({}) > before
            )
            os.kill(victim, signal.SIGKILL)
        sent.join()
        session.abort_transaction()
    wait_for(lambda: len(service.workers()) == 2)
    answers: list[httpx.Response] = []

    def is_created() -> bool:
        with service.client() as client:
            answers.append(
                client.post("/v1/events", json=body, headers=headers)
            )
        return answers[-1].status_code == 201

    wait_for(is_created, TAKES_OVER_SECONDS)
    assert {answer.status_code for answer in answers[:-1]} <= {409}
    assert is_created()
    assert answers[-1].headers["idempotency-replayed"] == "true"
    assert answers[-1].content == answers[-2].content
    mine = member.list_all("/v1/events", mine=True)
    assert [event["title"] for event in mine] == ["Once"]


def _upload(service: Service, person: Person) -> str:
    with service.client() as client:
        response = client.post(
            "/v1/images",
            files={"file": factories.picture()},
            headers=person.headers,
        )
    return str(response.json()["id"])


def _send_in_vain(
    service: Service, headers: dict[str, str], body: dict[str, Any]
) -> None:
    with service.client() as client, pytest.raises(httpx.TransportError):
        client.post("/v1/events", json=body, headers=headers)
