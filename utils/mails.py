"""Mails: queue them, and send what waits.

Owns: `mails`. Indexes: see INDEXES. May call: nobody. A mail is queued
in the transaction of what it tells of: it is sent if that happened, and only
then; nobody waits for it.
"""

from typing import Final

from config import db
from models.mails import Mail

COLLECTION: Final = "mails"
INDEXES: Final = [
    # What is queued twice is sent once.
    db.IndexModel("key", unique=True),
    # Who claims a mail names the revision that it read: one of several does.
    db.IndexModel("revision", unique=True),
]


async def queue(mail: Mail) -> None:
    """Has a mail sent soon, unless one with its key was queued before."""
    # Not an insert: a key that is taken must not end the transaction.
    await db.collection(COLLECTION).update_one(
        {"key": mail.key}, {"$setOnInsert": mail.dict()}, upsert=True
    )
