"""Token leases: never more than the limit, and few questions."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from config.token_leases import Share, StoreLostError, TokenLeases, Window
from config.token_pool import Lack, Taken, TokenPool
from tests.logged import logged

LOG = "muster.rate_limits"


# Like a worker that was stopped in the middle.
_HOLDER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Another process holds all buckets of a pool."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.kill()


class Store:
    """Grants windows, like a database does, as long as it is well."""

    def __init__(self) -> None:
        self.granted: dict[bytes, int] = {}
        self.asked: list[int] = []
        self.fault: Exception | None = None
        self.pause_seconds = 0.0

    async def lease(self, asked: Window, wanted: int) -> Share:
        """Grants what is left, at most."""
        self.asked.append(wanted)
        await asyncio.sleep(self.pause_seconds)
        if self.fault is not None:
            raise self.fault
        leased = self.granted.get(asked.key, 0)
        tokens = max(0, min(wanted, asked.limit - leased))
        self.granted[asked.key] = leased + tokens
        return Share(tokens, leased + tokens)


def window(limit: int = 100, name: str = "x") -> Window:
    """A window that lasts."""
    return Window(name.encode().ljust(16), limit, int(time.time()) + 3600)


@pytest.fixture(name="store")
def _store() -> Store:
    return Store()


@pytest_asyncio.fixture(name="leases")
async def _leases(store: Store, tmp_path: Path) -> AsyncIterator[TokenLeases]:
    leases = TokenLeases(tmp_path / "tokens", store.lease)
    yield leases
    await leases.aclose()


async def _take(leases: TokenLeases, asked: Window, times: int) -> list[int]:
    """What was left after each request that was admitted, of racing ones."""
    found = await asyncio.gather(*(leases.take(asked) for _ in range(times)))
    return [left for left in found if left is not None]


class TestTake:
    async def test_one_after_the_other(self, leases: TokenLeases) -> None:
        found = [await leases.take(window(5)) for _ in range(7)]
        assert found == [4, 3, 2, 1, 0, None, None]

    async def test_racing(self, store: Store, leases: TokenLeases) -> None:
        admitted = await _take(leases, window(), 400)
        assert sorted(admitted) == [*range(100)]
        # All that wait share one question.
        assert len(store.asked) <= 2

    async def test_windows_are_apart(self, leases: TokenLeases) -> None:
        one, other = await asyncio.gather(
            _take(leases, window(5, "one"), 20),
            _take(leases, window(7, "other"), 20),
        )
        assert (len(one), len(other)) == (5, 7)

    async def test_few_questions(
        self, store: Store, leases: TokenLeases
    ) -> None:
        for _ in range(400):
            await leases.take(window(1200))
        # Each is two round trips.
        assert 2 * len(store.asked) <= 0.1 * 400

    async def test_few_questions_to_the_end(
        self, store: Store, leases: TokenLeases
    ) -> None:
        for _ in range(400):
            await leases.take(window(100))
        assert store.granted[window().key] == 100
        assert 2 * len(store.asked) <= 0.2 * 100

    async def test_each_token_of_many_once(self, leases: TokenLeases) -> None:
        found = [await leases.take(window(4000)) for _ in range(4010)]
        assert found == [*range(3999, -1, -1), *[None] * 10]

    async def test_workers_hold_few_of_many(
        self, store: Store, leases: TokenLeases, tmp_path: Path
    ) -> None:
        beside = TokenLeases(tmp_path / "tokens", store.lease)
        here, there = await asyncio.gather(
            _take(leases, window(4000), 3000), _take(beside, window(4000), 3000)
        )
        assert 4000 - 2 * 15 <= len(here) + len(there) <= 4000
        await beside.aclose()

    async def test_what_is_held_has_the_limit_it_was_taken_at(
        self, leases: TokenLeases
    ) -> None:
        await _take(leases, window(40_000), 1200)
        assert await leases.take(window(1000)) is None

    async def test_what_the_pool_can_not_take_is_not_lost(
        self, store: Store, tmp_path: Path
    ) -> None:
        """Another worker is stopped with the bucket, before a grant arrives."""
        asked, path = window(20), tmp_path / "tokens"
        with ExitStack() as holders:

            async def lease(asked: Window, wanted: int) -> Share:
                share = await store.lease(asked, wanted)
                if len(store.asked) == 1:
                    holders.enter_context(_held(path))
                return share

            leases = TokenLeases(path, lease)
            first = await leases.take(asked)
            assert store.asked == [10]
        rest = [await leases.take(asked) for _ in range(20)]
        await leases.aclose()
        assert [first, *rest] == [*range(19, -1, -1), None]

    async def test_refusals_ask_nobody(
        self, store: Store, leases: TokenLeases
    ) -> None:
        await _take(leases, window(5), 10)
        asked = len(store.asked)
        assert await _take(leases, window(5), 50) == []
        assert len(store.asked) == asked

    async def test_a_raised_limit(self, leases: TokenLeases) -> None:
        assert len(await _take(leases, window(5), 20)) == 5
        assert len(await _take(leases, window(8), 20)) == 3

    async def test_a_lowered_limit(self, leases: TokenLeases) -> None:
        assert len(await _take(leases, window(100), 3)) == 3
        assert len(await _take(leases, window(5), 20)) == 2

    async def test_machines_share_the_limit(
        self, store: Store, leases: TokenLeases, tmp_path: Path
    ) -> None:
        elsewhere = TokenLeases(tmp_path / "elsewhere", store.lease)
        here, there = await asyncio.gather(
            _take(leases, window(), 200), _take(elsewhere, window(), 200)
        )
        assert len(here) + len(there) == 100
        await elsewhere.aclose()

    async def test_who_waits_may_go_away(
        self, store: Store, leases: TokenLeases
    ) -> None:
        store.pause_seconds = 0.05
        racing = [
            asyncio.create_task(leases.take(window(10))) for _ in range(30)
        ]
        await asyncio.sleep(0.01)
        for task in racing[:15]:
            task.cancel()
        found = await asyncio.gather(*racing[15:])
        assert sorted(left for left in found if left is not None) == [
            *range(10)
        ]

    async def test_a_held_pool_is_gone_around(
        self,
        store: Store,
        leases: TokenLeases,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await leases.take(window(50))
        monkeypatch.setattr(TokenPool, "_lock", lambda *_: False)
        # What others put there can't be had, and is not leased again.
        assert len(await _take(leases, window(50), 60)) == 30
        monkeypatch.undo()
        assert len(await _take(leases, window(50), 60)) == 19
        assert store.granted[window().key] == 50

    async def test_the_pool_is_full(
        self,
        store: Store,
        leases: TokenLeases,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(TokenPool, "_free", lambda *_: -1)
        found = [await leases.take(window(3)) for _ in range(4)]
        assert found == [2, 1, 0, None]
        assert store.asked == [1, 1, 1, 1]


class TestOutage:
    async def test_is_said_once_and_ends(
        self, store: Store, leases: TokenLeases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("config.token_leases._PAUSE_SECONDS", 0.0)
        store.fault = ConnectionError("no route\nto host")
        with logged(LOG) as lines:
            for _ in range(5):
                with pytest.raises(StoreLostError):
                    await leases.take(window())
            assert len(store.asked) == 5
            store.fault = None
            assert await leases.take(window()) == 99
        assert lines == [
            "requests can't be counted: no route",
            "requests are counted again",
        ]

    async def test_the_store_is_left_alone_for_a_while(
        self, store: Store, leases: TokenLeases
    ) -> None:
        store.fault = ConnectionError()
        with logged(LOG):
            for name in "abcde":
                with pytest.raises(StoreLostError):
                    await leases.take(window(name=name))
        assert len(store.asked) == 1

    async def test_what_is_leased_is_still_used(
        self, store: Store, leases: TokenLeases
    ) -> None:
        await leases.take(window(100))
        store.fault = ConnectionError()
        with logged(LOG) as lines:
            for _ in range(19):
                assert await leases.take(window(100)) is not None
            with pytest.raises(StoreLostError):
                await leases.take(window(100))
        assert lines == ["requests can't be counted: ConnectionError"]

    async def test_silence_is_not_waited_for(
        self, store: Store, leases: TokenLeases
    ) -> None:
        store.pause_seconds = 60
        begun = time.monotonic()
        with logged(LOG), pytest.raises(StoreLostError):
            await leases.take(window())
        assert time.monotonic() - begun < 10

    async def test_all_who_wait_are_told(
        self, store: Store, leases: TokenLeases
    ) -> None:
        store.fault, store.pause_seconds = ConnectionError(), 0.01
        with logged(LOG):
            found = await asyncio.gather(
                *(leases.take(window()) for _ in range(20)),
                return_exceptions=True,
            )
        assert all(isinstance(error, StoreLostError) for error in found)
        assert len(store.asked) == 1


class TestClose:
    async def test_ends_what_is_in_flight(
        self, store: Store, tmp_path: Path
    ) -> None:
        leases = TokenLeases(tmp_path / "tokens", store.lease)
        store.pause_seconds = 60
        waiting = asyncio.create_task(leases.take(window()))
        await asyncio.sleep(0.01)
        await leases.aclose()
        with pytest.raises(StoreLostError):
            await waiting

    async def test_leaves_the_pool_to_others(
        self, store: Store, tmp_path: Path
    ) -> None:
        leases = TokenLeases(tmp_path / "tokens", store.lease)
        await leases.take(window(100))
        await leases.aclose()
        pool = TokenPool(tmp_path / "tokens")
        assert isinstance(pool.take(window().key, 100), Taken)
        assert pool.take(window(100, "y").key, 100) is Lack.EMPTY
        pool.close()

    async def test_closes_its_store(self, store: Store, tmp_path: Path) -> None:
        closed = asyncio.Event()

        async def close() -> None:
            closed.set()

        await TokenLeases(tmp_path / "tokens", store.lease, close).aclose()
        assert closed.is_set()
