"""The token pool: what the workers of one machine may still admit, shared.

A token is the right to admit one request of one window: a caller, what they
call, a period. Workers lease tokens from a store and put them here, in a file
that all of them map into memory; taking one costs a few microseconds and no
round trip.

The file is a table of buckets. A worker locks a bucket for the moment in which
it touches it, by `fcntl`, which a killed process gives back; when it can't have
the lock, its holder was stopped, and the worker goes on without the pool. A
slot's counts are one aligned word, so that a worker that is killed at any
moment leaves the old counts or the new ones. What is lost with it are tokens
that it had leased and not yet put here: fewer requests are admitted than might
be, never more.
"""

import fcntl
import logging
import mmap
import os
from contextlib import suppress
from enum import Enum
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

_BUCKETS: Final = 8192
_SLOTS: Final = 8
# A slot: two words of the key, the counts, when the window ends.
_SLOT: Final = Struct("=QQQQ")
_KEY: Final = Struct("=QQ")
_WORDS: Final = 4
_BUCKET_WORDS: Final = _SLOTS * _WORDS
_WORD_BYTES: Final = 8
_SIZE: Final = _BUCKETS * _BUCKET_WORDS * _WORD_BYTES
# The counts: leased by all machines above, tokens that are left here below.
_SHIFT: Final = 32
_TOKENS: Final = (1 << _SHIFT) - 1

_LOCK: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_LOG: Final = logging.getLogger("muster.rate_limits")

KEY_BYTES: Final = _KEY.size

# To lock and unlock a bucket takes 10 µs: where there are many tokens, some
# more are taken at once, never so many that others miss them.
_MOST_AT_ONCE: Final = 16
_PART_AT_ONCE: Final = 64


class Lack(Enum):
    """Why there was no token."""

    # The limit admits no more, as far as this machine knows.
    SPENT = "spent"
    # There is none here, but the store may have some.
    EMPTY = "empty"
    # A worker holds the bucket at this moment, or was stopped with it.
    BUSY = "busy"


class Taken(NamedTuple):
    """Tokens that were taken.

    Attributes:
        tokens: how many.
        left: how many requests the window admits after the first of them, as
            far as this machine knows.
    """

    tokens: int
    left: int


class TokenPool:
    """Tokens of the present windows, in a file that all workers map.

    Not for threads: a process's own locks don't keep it out. Where there can be
    no file, it is a pool of this process alone.
    """

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        self._map = mmap.mmap(self._file, _SIZE)
        # One word at a time is written here, which no signal splits.
        self._words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Leaves the pool to the other workers."""
        self._words.release()
        self._map.close()
        if self._file >= 0:
            os.close(self._file)

    def take(self, key: bytes, limit: int) -> Taken | Lack:
        """Takes a token, or some where there are many.

        Args:
            key: the window's, `KEY_BYTES` long.
            limit: what the window admits at present: a limit that was lowered
                counts for the tokens that are here, too.

        Returns:
            What was taken; or why there is no token.
        """
        wanted = _KEY.unpack(key)
        bucket = wanted[0] % _BUCKETS
        if not self._lock(bucket):
            return Lack.BUSY
        try:
            at, (_, _, counts, _) = self._find(bucket, wanted)
            tokens = counts & _TOKENS
            left = limit - (counts >> _SHIFT) + tokens
            if left <= 0:
                return Lack.SPENT
            if tokens == 0:
                return Lack.EMPTY
            taken = min(tokens // _PART_AT_ONCE, _MOST_AT_ONCE, left) or 1
            self._words[at + 2] = counts - taken
            return Taken(taken, left - 1)
        finally:
            self._unlock(bucket)

    def put(
        self, key: bytes, *, tokens: int, leased: int, ends_at: int, now: float
    ) -> int | None:
        """Puts leased tokens here.

        Args:
            key: the window's.
            tokens: how many; none, to see or to say how many are leased.
            leased: how many all machines have leased by now.
            ends_at: the window's end, seconds since 1970.
            now: the time, likewise.

        Returns:
            How many are leased, as far as is known here; None when there is no
            place: the bucket is held, or full of windows that last.
        """
        wanted = _KEY.unpack(key)
        bucket = wanted[0] % _BUCKETS
        if not self._lock(bucket):
            return None
        try:
            at, (_, _, counts, _) = self._find(bucket, wanted)
            words = self._words
            if at < 0:
                at = self._free(bucket, now)
                if at < 0:
                    return None
                # In this order: whoever is killed on the way leaves a slot
                # without tokens.
                words[at + 2] = 0
                words[at], words[at + 1] = wanted
                words[at + 3] = ends_at
            leased = max(leased, counts >> _SHIFT)
            words[at + 2] = leased << _SHIFT | (counts & _TOKENS) + tokens
            return leased
        finally:
            self._unlock(bucket)

    def _find(
        self, bucket: int, key: tuple[int, ...]
    ) -> tuple[int, tuple[int, ...]]:
        """Where the key's slot begins, and its words; -1 where it has none."""
        start = bucket * _BUCKET_WORDS
        for at in range(start, start + _BUCKET_WORDS, _WORDS):
            slot = _SLOT.unpack_from(self._map, at * _WORD_BYTES)
            if slot[0] == key[0] and slot[1] == key[1]:
                return at, slot
        return -1, (0, 0, 0, 0)

    def _free(self, bucket: int, now: float) -> int:
        """Where a slot begins whose window is over; -1 when all last."""
        start = bucket * _BUCKET_WORDS
        for at in range(start, start + _BUCKET_WORDS, _WORDS):
            if self._words[at + 3] <= now:
                return at
        return -1

    def _lock(self, bucket: int) -> bool:
        if self._file < 0:
            return True
        try:
            fcntl.lockf(self._file, _LOCK, 1, bucket)
        except OSError:
            return False
        return True

    def _unlock(self, bucket: int) -> None:
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, bucket)


def _open(path: Path) -> int:
    """The pool's file, whole on the disk; -1 where none can be made."""
    file = -1
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # A disk that is full later must not kill whoever writes to the map.
        os.posix_fallocate(file, 0, _SIZE)
        return file
    except OSError as error:
        if file >= 0:
            with suppress(OSError):
                os.close(file)
        _LOG.warning(
            "DATA_DIR can't be written: each worker leases the requests that "
            "it admits by itself (%s)",
            error,
        )
        return -1
