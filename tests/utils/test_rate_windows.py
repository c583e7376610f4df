"""Rate windows: what the database grants, to how many ever ask."""

import asyncio
import time

import pytest

from config import db
from config.main import settings
from config.token_leases import Share, Window
from models.base import new_id
from tests.commands import counted_leases
from utils import rate_windows

pytestmark = pytest.mark.usefixtures("database")


def window(limit: int = 100) -> Window:
    """A window that lasts."""
    return Window(b"x" * 16, limit, int(time.time()) + 3600)


class TestLease:
    async def test_to_the_limit(self) -> None:
        shares = [await rate_windows.lease(window(10), 4) for _ in range(4)]
        assert shares == [Share(4, 4), Share(4, 8), Share(2, 10), Share(0, 10)]

    async def test_racing_processes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each has a lane of its own, in which it leases once at a time."""
        monkeypatch.setattr(rate_windows, "_lane", lambda _: _lane_of_task())
        shares = await asyncio.gather(
            *(_lease_in_turn(f"lane-{number}") for number in range(10))
        )
        assert sum(shares) == 100

    async def test_two_at_once_in_one_lane_lose_at_most(self) -> None:
        racing = [rate_windows.lease(window(), 5) for _ in range(30)]
        shares = await asyncio.gather(*racing)
        assert sum(share.tokens for share in shares) <= 100
        assert max(share.leased for share in shares) == 100

    async def test_a_raised_limit(self) -> None:
        await rate_windows.lease(window(4), 4)
        assert await rate_windows.lease(window(6), 4) == Share(2, 6)

    async def test_a_lowered_limit(self) -> None:
        await rate_windows.lease(window(10), 8)
        assert await rate_windows.lease(window(5), 4) == Share(0, 8)

    async def test_costs_two_round_trips(self) -> None:
        await rate_windows.lease(window(), 1)
        with counted_leases() as names:
            await rate_windows.lease(window(), 1)
        assert names == ["update", "find"]

    async def test_is_forgotten_later(self) -> None:
        asked = window()
        await rate_windows.lease(asked, 1)
        store = db.get_client()[settings.mongo_db_name]
        document = await store["rate_windows"].find_one()
        assert document is not None
        kept = document["expires_at"].timestamp() - asked.ends_at
        assert kept == 60
        indexes = await store["rate_windows"].index_information()
        assert indexes["expires_at_1"]["expireAfterSeconds"] == 0


def _lane_of_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()


async def _lease_in_turn(name: str) -> int:
    task = asyncio.current_task()
    assert task is not None
    task.set_name(f"{name}-{new_id()}")
    return sum([(await rate_windows.lease(window(), 3)).tokens
                for _ in range(5)])  # fmt: skip
