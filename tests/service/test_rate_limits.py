"""Limits hold: over workers and machines, whoever dies, wherever is counted."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import httpx
import pytest
from pymongo import MongoClient

from config import db
from tests.factories import PASSWORD
from tests.redis_server import RedisServer, require_redis, running_redis
from tests.service.running import (
    MARKS,
    RUN,
    Person,
    Service,
    create_admin,
    wait_for,
)

require_redis()
pytestmark = MARKS

# A day: no window ends in the middle of a test, but for midnight.
LIMITS = {
    "RATE_LIMIT_DEFAULT": "100/86400",
    # So few that workers take tokens one by one.
    "RATE_LIMIT_ANONYMOUS": "1000/86400",
}
# A loaded machine may keep the store from answering in time: such requests are
# refused, and asked again, where else they would be admitted uncounted.
STRICT = LIMITS | {"RATE_LIMIT_ON_STORE_LOSS": "closed"}
PATH = "/v1/auth/validate"


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Four workers."""
    with Service(tmp_path_factory.mktemp("limits"), *RUN, **STRICT) as service:
        yield service


@pytest.fixture(scope="module", name="redis")
def _redis() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


@pytest.fixture(scope="module", name="machines", params=["database", "redis"])
def _machines(
    request: pytest.FixtureRequest,
    redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Service]]:
    """Two services with folders of their own, over one database."""
    shared = {
        "MONGO_DB_URI": os.environ["MUSTER_TEST_DB_URI"],
        "MONGO_DB_NAME": db.new_test_database_name(),
        "JWT_SECRET_KEY": "the key that both of the machines know",
        "WEB_CONCURRENCY": "2",
    }
    if request.param == "redis":
        shared["REDIS_URL"] = redis.url
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Service(tmp_path_factory.mktemp(name), **STRICT, **shared)
            )
            for name in ("here", "there")
        ]
    with MongoClient[db.Document](shared["MONGO_DB_URI"]) as client:
        client.drop_database(shared["MONGO_DB_NAME"])


def _new_member(service: Service) -> dict[str, str]:
    """The headers of a member whom nothing was counted for."""
    with service.client() as client:
        email = Person.register(client).email
        form = {"username": email, "password": PASSWORD}
        tokens = client.post("/v1/auth/login", data=form).json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def _race(
    services: Sequence[Service],
    headers: dict[str, str],
    *,
    times: int = 400,
    victim: int | None = None,
) -> Counter[int]:
    """Sends requests to all services at once, each on its own connection.

    Returns:
        How often which status was answered; 0 for a broken connection.
    """
    limits = httpx.Limits(max_keepalive_connections=0, max_connections=100)
    answers: Counter[int] = Counter()
    async with httpx.AsyncClient(
        limits=limits, timeout=60, trust_env=False
    ) as client:

        async def ask(number: int) -> None:
            service = services[number % len(services)]
            try:
                answer = await client.get(service.url + PATH, headers=headers)
            except httpx.TransportError:
                answers[0] += 1
                return
            if answer.status_code == 503:
                await ask(number)
                return
            answers[answer.status_code] += 1
            if victim is not None and answers.total() == 20:
                os.kill(victim, signal.SIGKILL)

        await asyncio.gather(*map(ask, range(times)))
    return answers


class TestOneMachine:
    def test_exactly_the_limit(self, service: Service) -> None:
        # To learn who they are, one request was made.
        answers = asyncio.run(_race([service], _new_member(service)))
        assert answers == {204: 99, 429: 301}

    def test_a_change_counts_for_all_workers(self, service: Service) -> None:
        with service.client() as client:
            email = "door@example.org"
            create_admin(service, email)
            admin = Person(client, email, PASSWORD)
            member = Person.register(client)
            gold = {"name": "gold"}
            assert admin.send("POST", "/v1/tiers", gold).status_code == 201
            path = f"/v1/users/{member.id}"
            admin.send("PATCH", path, {"tier": "gold"})
            for limit in (50, 40):
                body = {"path": "*", "limit": limit, "period_seconds": 86_400}
                limits = "/v1/tiers/gold/rate-limits"
                admin.send("POST", limits, body)
                time.sleep(2)
                said = {
                    member.get(PATH).headers["ratelimit-policy"]
                    for _ in range(12)
                }
                assert said == {f'"gold";q={limit};w=86400'}
                (added,) = admin.get(limits).json()["items"]
                admin.send("DELETE", f"{limits}/{added['id']}")

    def test_killed_worker(self, service: Service) -> None:
        """What it had leased is lost, and nothing else."""
        headers = _new_member(service)
        victim = service.workers()[0]
        answers = asyncio.run(_race([service], headers, victim=victim))
        assert answers[204] <= 99
        assert set(answers) <= {0, 204, 429}
        wait_for(lambda: len(service.workers()) == 4)
        answers += asyncio.run(_race([service], headers))
        # Its connections broke; a share of twenty may be gone with it.
        assert 99 - 20 - answers[0] <= answers[204] <= 99

    def test_forged_addresses_change_nothing(self, service: Service) -> None:
        left = []
        with service.client() as client:
            for number in range(8):
                forged = {"X-Forwarded-For": f"192.0.2.{number}"}
                answer = client.get("/", headers=forged)
                left.append(_left(answer))
        assert left == sorted(left, reverse=True)
        assert len(set(left)) == 8

    def test_whose_word_is_trusted(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with (
            Service(
                tmp_path_factory.mktemp("proxied"),
                WEB_CONCURRENCY="1",
                TRUSTED_PROXIES="127.0.0.1",
                RATE_LIMIT_ANONYMOUS="1/86400",
            ) as service,
            service.client() as client,
        ):
            said = [
                client.get("/", headers={"X-Forwarded-For": address})
                for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")
            ]
        assert [answer.status_code for answer in said] == [200, 429, 200]


class TestTwoMachines:
    def test_never_more_than_the_limit(self, machines: list[Service]) -> None:
        headers = _new_member(machines[0])
        answers = asyncio.run(_race(machines, headers))
        for _ in range(2):
            # A worker that was busy may have some of its last share still.
            answers += asyncio.run(_race(machines, headers))
        assert 90 <= answers[204] <= 99
        assert answers[429] == 1200 - answers[204]


class TestRedisAway:
    def test_fails_open_and_says_so_once(
        self, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with Service(
            tmp_path_factory.mktemp("away"),
            **LIMITS,
            WEB_CONCURRENCY="1",
            REDIS_URL=redis.url,
        ) as service:
            redis.stop()
            answers = asyncio.run(_race([service], _new_member(service)))
            assert answers == {204: 400}
            assert service.errors().count("requests can't be counted") == 1
            redis.start()
            headers = _new_member(service)
            wait_for(lambda: _is_counted(service, headers))
            assert service.errors().count("requests are counted again") == 1


def _left(answer: httpx.Response) -> int:
    """How many requests RateLimit says to be left."""
    return int(answer.headers["ratelimit"].split(";")[1].removeprefix("r="))


def _is_counted(service: Service, headers: dict[str, str]) -> bool:
    with service.client() as client:
        return "ratelimit" in client.get(PATH, headers=headers).headers
