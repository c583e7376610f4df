"""Migrates in a process of its own, to be killed: a document each batch.

python -m tests.utils.migrating DATABASE LEASE_SECONDS BATCH_TO_HANG_IN
"""

import asyncio
import os
import sys
from datetime import timedelta

from config import db
from utils import migrations
from utils.migrations import Migration

NAME = "m0001_double"
COUNT = 6


async def double(position: str | None) -> str | None:
    """Doubles the number of one document, unless that was done before."""
    at = 0 if position is None else int(position)
    await db.database()["numbers"].update_one(
        {"_id": at, "doubled": None},
        [{"$set": {"n": {"$multiply": ["$n", 2]}, "doubled": True}}],
    )
    return None if at == COUNT - 1 else str(at + 1)


async def _migrate(name: str, lease: float, hang_in: str) -> None:
    async def hanging(position: str | None) -> str | None:
        after = await double(position)
        if position == hang_in:
            # What it did is not written down yet.
            print("hanging", flush=True)
            await asyncio.sleep(3600)
        return after

    async def work(holder: str) -> None:
        pending = [Migration(NAME, hanging)]
        async for _ in migrations.migrate(pending, holder=holder):
            print("done", flush=True)

    db.configure(os.environ["MONGO_DB_URI"], name)
    await migrations.in_turn(
        work, wait=lambda: None, lease=timedelta(seconds=lease)
    )


if __name__ == "__main__":
    asyncio.run(_migrate(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
