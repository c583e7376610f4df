"""What is changed on one machine, heard on another over a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from config import cache
from config.stamp_news import StampNews
from config.stamps import Slots, Stamps, slots_of
from tests.logged import logged
from tests.redis_server import RedisServer, require_redis, running_redis

require_redis()

TAG, OTHER = slots_of(["event:a"]), slots_of(["event:b"])


@dataclass(frozen=True)
class Machine:
    """A machine with one process."""

    stamps: Stamps
    news: StampNews

    def watch(self, slots: Slots = TAG) -> Callable[[], bool]:
        """What says whether a tag was renewed since."""
        before = self.stamps.read(slots)
        return lambda: self.stamps.read(slots) != before


async def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(name="redis")
def _redis() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


@pytest_asyncio.fixture(name="machines")
async def _machines(
    redis: RedisServer, tmp_path: Path
) -> AsyncIterator[list[Machine]]:
    async with AsyncExitStack() as stack:
        machines = []
        for name in ("a", "b"):
            stamps = Stamps(tmp_path / name / "cache.stamps")
            news = StampNews(stamps, redis.url)
            await stack.enter_async_context(news.running())
            machines.append(Machine(stamps, news))
        await _until(lambda: all(m.news.is_heard for m in machines))
        yield machines


async def test_others_hear_it(machines: list[Machine]) -> None:
    here, there = machines
    own, heard, not_meant = here.watch(), there.watch(), there.watch(OTHER)
    here.news.tell(["event:a", "lists"])
    await _until(heard)
    assert not own(), "who says it has done it"
    assert not not_meant()


async def test_many_at_once_are_all(machines: list[Machine]) -> None:
    here, there = machines
    heard = there.watch(OTHER)
    here.news.tell(f"event:{number}" for number in range(2000))
    await _until(heard)


@pytest.mark.parametrize(
    "said", ["", "{", "[]", "7", '[1, 2]', '[1, ["event:a", 7]]', "\xff"]
)
async def test_what_nobody_understands_ends_all(
    machines: list[Machine], redis: RedisServer, said: str
) -> None:
    heard = [machine.watch(OTHER) for machine in machines]
    async with Redis.from_url(redis.url) as stranger:
        await stranger.publish("muster:stamps", said)
    await _until(lambda: all(has() for has in heard))
    assert all(machine.news.is_heard for machine in machines)


async def test_a_gap(machines: list[Machine], redis: RedisServer) -> None:
    """What is said meanwhile is not lost: afterwards all stamps are new."""
    here, there = machines
    with logged("muster.cache") as log:
        redis.stop()
        await _until(lambda: not any(m.news.is_heard for m in machines))
        heard = there.watch(OTHER)
        here.news.tell(["event:a"])
        await asyncio.sleep(0.7)
        assert not there.news.is_heard
        redis.start()
        await _until(lambda: all(m.news.is_heard for m in machines))
        assert heard()
    assert sum("away" in line for line in log) == 2, "once a process"
    assert sum("back" in line for line in log) == 2


async def test_a_line_that_is_silent(
    machines: list[Machine], redis: RedisServer
) -> None:
    redis.hold()
    await _until(lambda: not any(m.news.is_heard for m in machines))


async def test_nothing_is_kept_unheard(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.cache._State.stamps", None)
    monkeypatch.setattr("config.cache._State.news", None)
    reads = 0

    @cache.cached("x", tags=("event:a",), per="everyone", seconds=60)
    async def get() -> int:
        nonlocal reads
        reads += 1
        return reads

    async def reads_of_two() -> int:
        before = reads
        await get()
        await get()
        return reads - before

    async with cache.opened(
        tmp_path, redis_url=SecretStr(redis.url), alone=False
    ):
        async with asyncio.timeout(20):
            while await reads_of_two() != 0:
                await asyncio.sleep(0.01)
        redis.stop()
        async with asyncio.timeout(20):
            while await reads_of_two() != 2:
                await asyncio.sleep(0.01)


async def test_what_is_said_last_is_heard(
    redis: RedisServer, tmp_path: Path, machines: list[Machine]
) -> None:
    """A script changes something, and ends."""
    stamps = Stamps(tmp_path / "script" / "cache.stamps")
    heard = machines[0].watch()
    news = StampNews(stamps, redis.url)
    async with news.running():
        news.tell(["event:a"])
    await _until(heard)
