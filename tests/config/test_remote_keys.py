"""Keys that a real server on this machine publishes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from config.remote_keys import KeysAwayError, RemoteKeys
from tests.firebase import KeyServer, key_server, public_jwk

HOUR = 3600.0
DAY = 24 * HOUR


class _Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> _Clock:
    return _Clock()


@pytest.fixture(name="server")
def _server() -> Iterator[KeyServer]:
    with key_server() as server:
        yield server


@pytest.fixture(name="keys")
async def _keys(server: KeyServer, clock: _Clock) -> AsyncIterator[RemoteKeys]:
    async with aclosing(RemoteKeys(server.url, clock)) as keys:
        yield keys


class TestFind:
    async def test_is_fetched_once(
        self, keys: RemoteKeys, server: KeyServer
    ) -> None:
        assert server.fetches == 0
        for _ in range(3):
            assert await keys.find("first") is not None
        assert server.fetches == 1

    async def test_fifty_at_once(
        self, keys: RemoteKeys, server: KeyServer
    ) -> None:
        server.slow_seconds = 0.2
        found = await asyncio.gather(*(keys.find("first") for _ in range(50)))
        assert None not in found
        assert server.fetches == 1

    async def test_one_that_gives_up_leaves_it_to_the_next(
        self, keys: RemoteKeys, server: KeyServer
    ) -> None:
        server.slow_seconds = 0.2
        first = asyncio.create_task(keys.find("first"))
        second = asyncio.create_task(keys.find("first"))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second is not None

    async def test_other_kinds_of_keys_are_none(
        self, keys: RemoteKeys, server: KeyServer
    ) -> None:
        server.keys += [
            public_jwk("encrypts") | {"use": "enc"},
            public_jwk("other") | {"alg": "RS512"},
            {"kid": "secret", "kty": "oct", "k": "c2VjcmV0"},
        ]
        for key_id in ("encrypts", "other", "secret"):
            assert await keys.find(key_id) is None


class TestAge:
    async def test_max_age(
        self, keys: RemoteKeys, server: KeyServer, clock: _Clock
    ) -> None:
        server.cache_control, server.age = "public, max-age=100", "40"
        await keys.find("first")
        clock.now += 59
        await keys.find("first")
        assert server.fetches == 1
        clock.now += 1
        await keys.find("first")
        assert server.fetches == 2

    @pytest.mark.parametrize(
        ("said", "holds"),
        [("", HOUR), ("no-cache", HOUR), ("max-age=99999999", DAY)],
    )
    async def test_without_a_sensible_one(
        self,
        keys: RemoteKeys,
        server: KeyServer,
        clock: _Clock,
        said: str,
        holds: float,
    ) -> None:
        server.cache_control = said
        await keys.find("first")
        clock.now += holds - 1
        await keys.find("first")
        assert server.fetches == 1
        clock.now += 1
        await keys.find("first")
        assert server.fetches == 2

    async def test_none_does_not_ask_each_time(
        self, keys: RemoteKeys, server: KeyServer, clock: _Clock
    ) -> None:
        server.cache_control = "max-age=0"
        for _ in range(3):
            assert await keys.find("first") is not None
        assert server.fetches == 1
        clock.now += 30
        await keys.find("first")
        assert server.fetches == 2


class TestRotation:
    async def test_a_new_key(
        self, keys: RemoteKeys, server: KeyServer, clock: _Clock
    ) -> None:
        await keys.find("first")
        server.keys = [public_jwk("second", 1)]
        clock.now += 31
        assert await keys.find("second") is not None
        assert await keys.find("first") is None
        assert server.fetches == 2

    async def test_unknown_ids_do_not_make_us_ask(
        self, keys: RemoteKeys, server: KeyServer, clock: _Clock
    ) -> None:
        for number in range(20):
            assert await keys.find(f"unknown {number}") is None
        assert server.fetches == 1
        clock.now += 30
        for number in range(20):
            await keys.find(f"unknown {number}")
        assert server.fetches == 2


class TestAway:
    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b"{}", b'{"keys": []}',
                 b'{"keys": [1]}', b'{"keys": [{"kty": "RSA"}]}',
                 b'{"keys": [{"kid": "first", "kty": "RSA"}]}'],
    )  # fmt: skip
    async def test_garbage(
        self, keys: RemoteKeys, server: KeyServer, body: bytes
    ) -> None:
        server.body = body or b" "
        with pytest.raises(KeysAwayError):
            await keys.find("first")

    async def test_without_keys(
        self, keys: RemoteKeys, server: KeyServer, clock: _Clock
    ) -> None:
        server.status = 500
        for _ in range(5):
            with pytest.raises(KeysAwayError):
                await keys.find("first")
        assert server.fetches == 1
        server.status = 200
        clock.now += 5
        assert await keys.find("first") is not None

    async def test_old_keys_go_on_for_a_while(
        self, keys: RemoteKeys, server: KeyServer, clock: _Clock
    ) -> None:
        await keys.find("first")
        server.status = 503
        clock.now += 2 * HOUR
        assert await keys.find("first") is not None
        assert server.fetches == 2
        clock.now += 6 * HOUR
        with pytest.raises(KeysAwayError):
            await keys.find("first")

    async def test_nobody_listens(self, clock: _Clock) -> None:
        async with aclosing(RemoteKeys("http://127.0.0.1:9", clock)) as keys:
            with pytest.raises(KeysAwayError):
                await keys.find("first")
