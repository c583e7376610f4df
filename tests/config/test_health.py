"""Health: each part is asked, in its own time, with everybody's others."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from config import db
from config.health import FAILED, OK, TIMED_OUT, Check, Health, redis_check
from tests.logged import logged

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(name="silent_port")
def _silent_port() -> Iterator[int]:
    """Somebody takes connections there, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture(name="closed_port")
def _closed_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class TestExamine:
    async def test_the_database_is_well(self) -> None:
        health = Health([Check("database", db.ping, seconds=5)])
        with health.serving():
            assert await health.examine() == {"database": OK}

    async def test_one_failure_hides_no_other(
        self, closed_port: int, silent_port: int
    ) -> None:
        gone = redis_check(f"redis://127.0.0.1:{closed_port}", seconds=5)
        mute = redis_check(f"redis://127.0.0.1:{silent_port}", seconds=0.1)
        health = Health(
            [
                Check("database", db.ping, seconds=5),
                Check("gone", gone.probe, gone.seconds),
                Check("mute", mute.probe, mute.seconds),
            ]
        )
        with health.serving(), logged("muster.health") as lines:
            found = await health.examine()
        assert found == {"database": OK, "gone": FAILED, "mute": TIMED_OUT}
        assert sorted(line.partition(":")[0] for line in lines) == [
            "gone",
            "mute",
        ]

    async def test_is_over_when_the_slowest_is(self) -> None:
        """Each waits for the other: one after the other, they would fail."""
        meeting = asyncio.Barrier(2)
        health = Health(
            [Check(name, meeting.wait, seconds=5) for name in ("one", "two")]
        )
        with health.serving():
            assert await health.examine() == {"one": OK, "two": OK}

    async def test_many_who_ask_cost_what_one_does(self) -> None:
        asked = 0
        go_on = asyncio.Event()

        async def probe() -> None:
            nonlocal asked
            asked += 1
            await go_on.wait()

        health = Health([Check("database", probe, seconds=5)])
        with health.serving():
            askers = [asyncio.create_task(health.examine()) for _ in range(9)]
            await asyncio.sleep(0)
            # One who goes away takes nobody's answer along.
            askers[0].cancel()
            await asyncio.sleep(0)
            go_on.set()
            found = await asyncio.gather(*askers[1:])
            assert found == [{"database": OK}] * 8
            assert asked == 1
            await health.examine()
        assert asked == 2

    async def test_nothing_is_asked_before_and_after_it_serves(self) -> None:
        async def probe() -> None:
            pytest.fail("it was asked")

        health = Health([Check("database", probe, seconds=5)])
        stopped = {"process": "starting or stopping"}
        assert await health.examine() == stopped
        with health.serving():
            pass
        assert await health.examine() == stopped
