"""What is cached, over several workers and over two machines: never stale."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from config import db
from tests.factories import PASSWORD
from tests.redis_server import RedisServer, require_redis, running_redis
from tests.service.running import (
    MARKS,
    NO_TLS,
    Person,
    Service,
    create_admin,
    wait_for,
)

pytestmark = MARKS

READERS = 12
# Without Redis another machine may show what it has for so long.
UNHEARD_SECONDS = 2


@pytest.fixture(name="database")
def _database() -> Iterator[dict[str, str]]:
    """The settings of machines that share a database."""
    name = db.new_test_database_name()
    uri = os.environ["MUSTER_TEST_DB_URI"]
    yield {
        "MONGO_DB_URI": uri,
        "MONGO_DB_NAME": name,
        "WEB_CONCURRENCY": "2",
        "JWT_SECRET_KEY": "machines that share a database share a key",
    }
    with MongoClient[db.Document](uri) as client:
        client.drop_database(name)


@pytest.fixture(name="redis")
def _redis() -> Iterator[RedisServer]:
    require_redis()
    with running_redis() as redis:
        yield redis


@contextmanager
def _two(
    folder: Path, settings: dict[str, str]
) -> Iterator[tuple[Service, Service]]:
    """Two machines: what they share is in the settings."""
    for name in ("here", "there"):
        (folder / name).mkdir()
    with (
        Service(folder / "here", **settings) as here,
        Service(folder / "there", **settings) as there,
    ):
        yield here, there


def _admin(service: Service, client: httpx.Client) -> Person:
    create_admin(service, "cache@example.org")
    return Person(client, "cache@example.org", PASSWORD)


async def _seen(service: Service, event_id: str) -> set[tuple[Any, ...]]:
    """What workers show of an event by itself, and of it in the list."""
    async with httpx.AsyncClient(
        base_url=service.url,
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=60,
        trust_env=False,
        verify=NO_TLS,
    ) as client:
        answers = await asyncio.gather(
            *(client.get(f"/v1/events/{event_id}") for _ in range(READERS)),
            *(client.get("/v1/events") for _ in range(READERS)),
        )
    return {
        (event["title"], event["capacity"])
        for answer in answers
        for event in answer.json().get("items", [answer.json()])
    }


def _change(person: Person, path: str, capacity: int) -> None:
    answer = person.send("PATCH", path, {"capacity": capacity})
    assert answer.status_code == 200, answer.text


def _shows(service: Service, event: dict[str, Any], capacity: int) -> bool:
    seen = asyncio.run(_seen(service, event["id"]))
    return seen == {(event["title"], capacity)}


def _replace_a_worker(service: Service) -> None:
    killed = service.workers()[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in service.workers())
    wait_for(lambda: len(service.workers()) == 2)


def test_no_worker_shows_what_was(tmp_path: Path) -> None:
    """Also after one is killed and replaced."""
    with Service(tmp_path) as service, service.client() as client:
        admin = _admin(service, client)
        event = admin.post_event()
        path = f"/v1/events/{event['id']}"
        assert _shows(service, event, event["capacity"])
        for capacity in range(50, 80):
            _change(admin, path, capacity)
            assert _shows(service, event, capacity)
            if capacity == 60:
                _replace_a_worker(service)


def test_other_machines_hear_it(
    redis: RedisServer, tmp_path: Path, database: dict[str, str]
) -> None:
    """And show nothing that they kept while they don't hear."""
    with _two(tmp_path, database | {"REDIS_URL": redis.url}) as (here, there):
        with here.client() as client:
            admin = _admin(here, client)
            event = admin.post_event()
            path = f"/v1/events/{event['id']}"
            assert _shows(there, event, event["capacity"])
            for capacity in range(50, 60):
                _change(admin, path, capacity)
                # Long before what is kept expires.
                wait_for(partial(_shows, there, event, capacity), 10)
            redis.stop()
            wait_for(lambda: there.errors().count("nothing is cached") == 2)
            _change(admin, path, 70)
            assert _shows(there, event, 70)
            redis.start()
            wait_for(lambda: there.errors().count("cached again") == 2)
            assert _shows(there, event, 70)


def test_other_machines_without_redis(
    tmp_path: Path, database: dict[str, str]
) -> None:
    with _two(tmp_path, database) as (here, there), here.client() as client:
        admin = _admin(here, client)
        event = admin.post_event()
        assert _shows(there, event, event["capacity"])
        _change(admin, f"/v1/events/{event['id']}", 70)
        assert _shows(here, event, 70)
        wait_for(lambda: _shows(there, event, 70), UNHEARD_SECONDS + 8)
