"""Attempts: count what strangers try, slow it down, then refuse.

Owns: `attempts`. Indexes: see INDEXES. May call: tokens.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from config import db
from models.attempts import AttemptCount
from models.base import utc_now
from models.exceptions import TooManyAttemptsError
from utils import tokens

COLLECTION: Final = "attempts"
DOCUMENTS: Final = (AttemptCount,)
INDEXES: Final = [db.IndexModel("expires_at", expireAfterSeconds=0)]

_WINDOW_SECONDS: Final = 15 * 60

# One source may fail this often at one subject, and all sources together: a
# stranger can't lock a member out from one place, nor guess from many.
_LIMIT_BY_SOURCE: Final = 10
_LIMIT_BY_SUBJECT: Final = 100

# The first failures are typing errors; from then on each answer takes longer.
_FREE_FAILURES: Final = 3
_SLOWEST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was begun and is counted until it succeeds."""

    by_source: str
    by_subject: str


async def begin(subject: str, *, source: str) -> Attempt:
    """Counts an attempt, and holds it up when many went before.

    It counts before the password is checked, with an atomic `$inc`, so that
    racing attempts are counted each, and no more than the limit are checked.

    Args:
        subject: what is guessed at: an e-mail, or a member.
        source: who guesses: an address, or a login.

    Raises:
        TooManyAttemptsError: the limit is reached in this quarter of an hour.
    """
    now = utc_now()
    window, ends_at = _window_at(now)
    attempt = Attempt(
        tokens.hash_secret(f"{window}|{subject}|{source}"),
        tokens.hash_secret(f"{window}|{subject}"),
    )
    retry_after = int((ends_at - now).total_seconds()) + 1
    # What one source does beyond its limit must not count for the others.
    by_source = await _count(attempt.by_source, ends_at)
    if by_source > _LIMIT_BY_SOURCE:
        raise TooManyAttemptsError(retry_after)
    if await _count(attempt.by_subject, ends_at) > _LIMIT_BY_SUBJECT:
        raise TooManyAttemptsError(retry_after)
    await asyncio.sleep(_delay(by_source))
    return attempt


async def may(deed: str, *, source: str, limit: int) -> bool:
    """Counts a deed of a source, where nobody is told that there is a limit.

    Returns:
        Whether it stays within `limit` in this quarter of an hour.
    """
    window, ends_at = _window_at(utc_now())
    key = tokens.hash_secret(f"{window}|{deed}|{source}")
    return await _count(key, ends_at) <= limit


async def succeed(attempt: Attempt) -> None:
    """Forgets the failures of this source, and takes the attempt back."""
    attempts = db.collection(COLLECTION)
    await attempts.delete_one({"_id": attempt.by_source})
    fewer = {"$max": [0, {"$subtract": ["$count", 1]}]}
    await attempts.update_one(
        {"_id": attempt.by_subject}, [{"$set": {"count": fewer}}]
    )


def _window_at(now: datetime) -> tuple[int, datetime]:
    """Which quarter of an hour it is, and when it ends."""
    window = int(now.timestamp()) // _WINDOW_SECONDS
    end = datetime.fromtimestamp((window + 1) * _WINDOW_SECONDS, now.tzinfo)
    return window, end


async def _count(key: str, ends_at: datetime) -> int:
    # Not find_one_and_update: with an upsert it may return nothing in a race.
    await db.collection(COLLECTION).update_one(
        {"_id": key},
        {
            "$inc": {"count": 1},
            "$setOnInsert": {
                "expires_at": ends_at + timedelta(seconds=_WINDOW_SECONDS)
            },
        },
        upsert=True,
    )
    found = await db.find_by_id(COLLECTION, key)
    return 1 if found is None else int(found["count"])


def _delay(count: int) -> float:
    excess = count - 1 - _FREE_FAILURES
    return 0.0 if excess < 0 else min(_SLOWEST_SECONDS, 0.125 * 2**excess)
