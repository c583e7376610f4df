"""Rate windows: how many requests of a window are granted, to all machines.

Owns: `rate_windows`. Indexes: see INDEXES. May call: nobody.
"""

import os
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from config import db
from config.token_leases import Share, Window
from models.base import new_id
from models.rate_windows import RateWindow

COLLECTION: Final = "rate_windows"
DOCUMENTS: Final = (RateWindow,)
INDEXES: Final = [db.IndexModel("expires_at", expireAfterSeconds=0)]

# Machines whose clocks differ still find a window that has ended for others.
_KEPT: Final = timedelta(minutes=1)


async def lease(window: Window, wanted: int) -> Share:
    """Grants up to `wanted` requests of a window, within its limit.

    One atomic update grants what is left, at most, and notes it in the lane of
    this process; the read finds there what it was. A process has one lease of a
    window in flight; if an older one, given up, came late and wrote over it,
    its tokens are lost: fewer are admitted, never more.
    """
    key, lease_id = window.key.hex(), new_id()
    lane = f"lanes.{_lane(os.getpid())}"
    rest = {"$subtract": [window.limit, "$granted"]}
    granted = {"$max": [0, {"$min": [wanted, rest]}]}
    changes: list[db.Document] = [
        {"$set": {"granted": {"$ifNull": ["$granted", 0]}}},
        {"$set": {lane: {"lease_id": lease_id, "tokens": granted}}},
        {
            "$set": {
                "granted": {"$add": ["$granted", f"${lane}.tokens"]},
                "expires_at": _time(window.ends_at) + _KEPT,
            }
        },
    ]
    windows = db.collection(COLLECTION)
    try:
        await windows.update_one({"_id": key}, changes, upsert=True)
    except db.DuplicateKeyError:
        # Another process made it at the same moment.
        await windows.update_one({"_id": key}, changes, upsert=True)
    found = await db.find_by_id(COLLECTION, key)
    if found is None:
        return Share(0, 0)
    mine = found["lanes"].get(_lane(os.getpid()), {})
    tokens = mine["tokens"] if mine.get("lease_id") == lease_id else 0
    return Share(int(tokens), int(found["granted"]))


@lru_cache(maxsize=1)
def _lane(_pid: int) -> str:
    """The lane of a process; one that was forked has another."""
    return new_id()


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
