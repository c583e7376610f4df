"""Attempts: count failed logins, slow them down, then refuse.

Owns: `attempts`. Indexes: see INDEXES. May call: tokens.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from config import db
from models.base import utc_now
from models.exceptions import TooManyAttemptsError
from utils import tokens

COLLECTION: Final = "attempts"
INDEXES: Final = [db.IndexModel("expires_at", expireAfterSeconds=0)]

_WINDOW_SECONDS: Final = 15 * 60

# One address may fail this often for one e-mail, and all addresses together:
# a stranger can't lock a member out from one place, nor guess from many.
_LIMIT_BY_ADDRESS: Final = 10
_LIMIT_BY_EMAIL: Final = 100

# The first failures are typing errors; from then on each answer takes longer.
_FREE_FAILURES: Final = 3
_SLOWEST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that was begun and is counted until it succeeds."""

    keys: tuple[str, str]
    count: int


async def begin(email: str, *, address: str) -> Attempt:
    """Counts an attempt, and holds it up when many failed before.

    It counts before the password is checked, with an atomic `$inc`, so that
    racing attempts are counted each, and no more than the limit are checked.

    Raises:
        TooManyAttemptsError: the limit is reached in this quarter of an hour.
    """
    now = utc_now()
    window = int(now.timestamp()) // _WINDOW_SECONDS
    ends_at = datetime.fromtimestamp((window + 1) * _WINDOW_SECONDS, now.tzinfo)
    keys = (
        tokens.hash_secret(f"{window}|{email}|{address}"),
        tokens.hash_secret(f"{window}|{email}"),
    )
    by_address, by_email = await _count(keys, ends_at)
    if by_address > _LIMIT_BY_ADDRESS or by_email > _LIMIT_BY_EMAIL:
        raise TooManyAttemptsError(int((ends_at - now).total_seconds()) + 1)
    await asyncio.sleep(_delay(by_address))
    return Attempt(keys, by_address)


async def succeed(attempt: Attempt) -> None:
    """Takes the attempts back that led to a login."""
    await db.collection(COLLECTION).delete_one({"_id": attempt.keys[0]})
    await db.collection(COLLECTION).update_one(
        {"_id": attempt.keys[1]}, {"$inc": {"count": -attempt.count}}
    )


async def _count(keys: tuple[str, str], ends_at: datetime) -> tuple[int, int]:
    # Not find_one_and_update: with an upsert it may return nothing in a race.
    attempts = db.collection(COLLECTION)
    expires_at = ends_at + timedelta(seconds=_WINDOW_SECONDS)
    for key in keys:
        await attempts.update_one(
            {"_id": key},
            {"$inc": {"count": 1}, "$setOnInsert": {"expires_at": expires_at}},
            upsert=True,
        )
    found = await attempts.find({"_id": {"$in": list(keys)}}).to_list()
    counts = {document["_id"]: int(document["count"]) for document in found}
    return counts.get(keys[0], 1), counts.get(keys[1], 1)


def _delay(count: int) -> float:
    excess = count - 1 - _FREE_FAILURES
    return 0.0 if excess < 0 else min(_SLOWEST_SECONDS, 0.125 * 2**excess)
