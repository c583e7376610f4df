"""The token pool: like a plain table, for several processes, whatever dies."""

import fcntl
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.token_pool import KEY_BYTES, Lack, Taken, TokenPool
from tests.logged import logged

KEY = b"k" * KEY_BYTES
SOON = int(time.time()) + 3600


def put(
    pool: TokenPool, tokens: int, leased: int, key: bytes = KEY
) -> int | None:
    """Puts tokens of a window that lasts."""
    return pool.put(
        key, tokens=tokens, leased=leased, ends_at=SOON, now=time.time()
    )


def take(pool: TokenPool, key: bytes, limit: int) -> int | Lack:
    """What is left after a token was taken, where there are few."""
    found = pool.take(key, limit)
    if isinstance(found, Lack):
        return found
    assert found.tokens == 1
    return found.left


def key_of(number: int) -> bytes:
    """A key; those of equal numbers modulo 8192 share a bucket."""
    return number.to_bytes(8, "little") + b"\0" * 7 + b"\1"


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "tokens"


class TestTake:
    @pytest.mark.parametrize(
        ("tokens", "taken"), [(127, 1), (128, 2), (1024, 16), (9000, 16)]
    )
    def test_some_at_once_of_many(
        self, path: Path, tokens: int, taken: int
    ) -> None:
        pool = TokenPool(path)
        put(pool, tokens, 10_000)
        assert pool.take(KEY, 10_000) == Taken(taken, tokens - 1)
        # The limit admits no more: there are tokens enough.
        found = pool.take(KEY, 10_000 - tokens + taken + 1)
        assert found == Taken(1, 0)

    def test_nothing_is_there(self, path: Path) -> None:
        assert take(TokenPool(path), KEY, 10) is Lack.EMPTY

    def test_says_what_is_left(self, path: Path) -> None:
        pool = TokenPool(path)
        put(pool, 3, 7)
        # Of ten, four are with others, and three not yet leased.
        assert [take(pool, KEY, 10) for _ in range(4)] == [5, 4, 3, Lack.EMPTY]

    def test_all_is_spent(self, path: Path) -> None:
        pool = TokenPool(path)
        put(pool, 2, 10)
        assert [take(pool, KEY, 10) for _ in range(3)] == [1, 0, Lack.SPENT]

    def test_a_lowered_limit_counts_at_once(self, path: Path) -> None:
        pool = TokenPool(path)
        put(pool, 10, 10)
        for _ in range(3):
            take(pool, KEY, 100)
        assert take(pool, KEY, 4) == 0
        assert take(pool, KEY, 4) is Lack.SPENT
        assert take(pool, KEY, 5) == 0

    def test_a_raised_limit_counts_at_once(self, path: Path) -> None:
        pool = TokenPool(path)
        put(pool, 0, 10)
        assert take(pool, KEY, 10) is Lack.SPENT
        assert take(pool, KEY, 11) is Lack.EMPTY

    def test_several_leases(self, path: Path) -> None:
        """The later one may be put first."""
        pool = TokenPool(path)
        assert put(pool, 10, 20) == 20
        assert put(pool, 10, 10) == 20
        assert [take(pool, KEY, 20) for _ in range(20)] == [*range(19, -1, -1)]


class TestPlaces:
    def test_windows_that_are_over_make_room(self, path: Path) -> None:
        pool, now = TokenPool(path), time.time()
        for number in range(8):
            key = key_of(1 + number * 8192)
            pool.put(key, tokens=5, leased=5, ends_at=int(now) + 5, now=now)
        late = key_of(1 + 8 * 8192)
        assert put(pool, 5, 5, late) is None
        assert (
            pool.put(late, tokens=5, leased=5, ends_at=SOON, now=now + 6) == 5
        )
        assert take(pool, late, 5) == 4
        assert take(pool, key_of(1), 5) is Lack.EMPTY

    def test_others_lose_nothing(self, path: Path) -> None:
        pool = TokenPool(path)
        for number in range(9):
            put(pool, 1, 1, key_of(1 + number * 8192))
        taken = [take(pool, key_of(1 + n * 8192), 1) for n in range(9)]
        assert taken == [0] * 8 + [Lack.EMPTY]

    def test_processes_share_one_file(self, path: Path) -> None:
        put(TokenPool(path), 2, 2)
        assert take(TokenPool(path), KEY, 2) == 1

    def test_no_file_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with logged("muster.rate_limits") as lines:
            pool = TokenPool(tmp_path / "file" / "tokens")
        assert len(lines) == 1 and "DATA_DIR can't be written" in lines[0]
        put(pool, 1, 1)
        assert take(pool, KEY, 1) == 0
        pool.close()


class TestModel:
    """Whatever is done in whatever order, it is a plain table of counts."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.one_of(
                    st.none(), st.tuples(st.integers(0, 5), st.integers(0, 30))
                ),
                st.integers(1, 30),
            ),
            max_size=60,
        )
    )
    def test_like_a_table(
        self, deeds: list[tuple[int, tuple[int, int] | None, int]]
    ) -> None:
        path = Path(f"/proc/self/fd/{os.memfd_create('tokens')}")
        pool = TokenPool(path)
        table: dict[int, tuple[int, int]] = {}
        for number, share, limit in deeds:
            key = key_of(1 + number * 8192)
            tokens, leased = table.get(number, (0, 0))
            if share is not None:
                table[number] = tokens + share[0], max(leased, share[1])
                assert put(pool, *share, key) == table[number][1]
                continue
            left = limit - leased + tokens
            if left <= 0:
                assert take(pool, key, limit) is Lack.SPENT
            elif tokens == 0:
                assert take(pool, key, limit) is Lack.EMPTY
            else:
                assert take(pool, key, limit) == left - 1
                table[number] = tokens - 1, leased
        pool.close()
        os.close(int(path.name))


def _take_all(path: Path, results: Connection) -> None:
    """Takes tokens until there are none."""
    pool, taken = TokenPool(path), 0
    results.send("ready")
    results.recv()
    while (found := pool.take(KEY, 40_000)) is not Lack.SPENT:
        taken += found.tokens if isinstance(found, Taken) else 0
    results.send(taken)


def _hold(path: Path, results: Connection) -> None:
    """Locks all buckets, and says so."""
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        results.send("held")
        results.recv()


class TestProcesses:
    def test_racing_ones_take_each_token_once(self, path: Path) -> None:
        put(TokenPool(path), 40_000, 40_000)
        spawn = multiprocessing.get_context("spawn")
        pipes = [spawn.Pipe() for _ in range(4)]
        racers = [
            spawn.Process(target=_take_all, args=(path, theirs))
            for _, theirs in pipes
        ]
        for racer in racers:
            racer.start()
        for ours, _ in pipes:
            assert ours.recv() == "ready"
        for ours, _ in pipes:
            ours.send("go")
        assert sum(ours.recv() for ours, _ in pipes) == 40_000
        for racer in racers:
            racer.join()

    def test_a_held_bucket_is_not_waited_for(self, path: Path) -> None:
        pool = TokenPool(path)
        put(pool, 2, 2)
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        holder = spawn.Process(target=_hold, args=(path, theirs))
        holder.start()
        assert ours.recv() == "held"
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)
        assert take(pool, KEY, 2) is Lack.BUSY
        assert put(pool, 1, 1) is None
        # Who is killed gives it back.
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
        assert take(pool, KEY, 2) == 1
