"""Redis windows: what Redis grants, and what happens without it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.redis_windows import RedisWindows
from config.token_leases import Share, StoreLostError, TokenLeases, Window
from tests.logged import logged
from tests.redis_server import RedisServer, require_redis, running_redis

require_redis()


@pytest.fixture(name="server")
def _server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest_asyncio.fixture(name="windows")
async def _windows(server: RedisServer) -> AsyncIterator[RedisWindows]:
    windows = RedisWindows(server.url, prefix="muster:test")
    yield windows
    await windows.aclose()


def window(limit: int = 100) -> Window:
    """A window that lasts."""
    return Window(b"x" * 16, limit, int(time.time()) + 3600)


class TestLease:
    async def test_to_the_limit(self, windows: RedisWindows) -> None:
        shares = [await windows.lease(window(10), 4) for _ in range(4)]
        assert [share.tokens for share in shares] == [4, 4, 2, 0]
        assert [share.leased for share in shares] == [4, 8, 12, 16]

    async def test_racing(self, windows: RedisWindows) -> None:
        shares = await asyncio.gather(
            *(windows.lease(window(), 7) for _ in range(50))
        )
        assert sum(share.tokens for share in shares) == 100

    async def test_a_raised_limit(self, windows: RedisWindows) -> None:
        assert await windows.lease(window(4), 4) == Share(4, 4)
        assert await windows.lease(window(6), 4) == Share(2, 8)

    async def test_machines_share_the_limit(
        self, windows: RedisWindows, server: RedisServer, tmp_path: Path
    ) -> None:
        others = RedisWindows(server.url, prefix="muster:test")
        machines = [
            TokenLeases(tmp_path / "here", windows.lease),
            TokenLeases(tmp_path / "there", others.lease, others.aclose),
        ]
        found = await asyncio.gather(
            *(leases.take(window()) for leases in machines * 200)
        )
        assert len([left for left in found if left is not None]) == 100
        for leases in machines:
            await leases.aclose()


class TestOutage:
    async def test_is_said_once_and_ends(
        self,
        windows: RedisWindows,
        server: RedisServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("config.token_leases._PAUSE_SECONDS", 0.0)
        leases = TokenLeases(tmp_path / "tokens", windows.lease)
        with logged("muster.rate_limits") as lines:
            assert await leases.take(window(2)) == 1
            server.stop()
            for _ in range(3):
                with pytest.raises(StoreLostError):
                    await leases.take(window(2))
            server.start()
            assert await leases.take(window(2)) is not None
        assert len(lines) == 2
        assert lines[0].startswith("requests can't be counted: ")
        assert lines[1] == "requests are counted again"
        await leases.aclose()
