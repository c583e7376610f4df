"""Mails: queue them, hand them out to be sent, note what became of them.

Owns: `mails`. Indexes: see INDEXES. May call: nobody. A mail is queued
in the transaction of what it tells of: it is sent if that happened, and only
then; nobody waits for it.

Never twice: whoever changes a mail names the unique revision that they read, so
that of several one does. A claim is a lease: when it runs out, the next one
tries. Right before the text goes out, the mail is marked as being sent; whoever
finds it so after its lease can't know whether the server has it, and does not
send it again. So a mail is sent at most once in that moment, and tried again
at every other one.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from config import db, transactions
from models.base import new_id
from models.mails import Mail, MailState

COLLECTION: Final = "mails"
DOCUMENTS: Final = (Mail,)
INDEXES: Final = [
    # What is queued twice is sent once.
    db.IndexModel("key", unique=True),
    # Who claims a mail names the revision that it read: one of several does.
    db.IndexModel("revision", unique=True),
    db.IndexModel([("bulk", db.ASCENDING), ("due_at", db.ASCENDING)]),
    db.IndexModel("user_id"),
    db.IndexModel("email"),
    db.IndexModel("expires_at", expireAfterSeconds=0),
]

# Set when this process has queued something, for whoever sends.
queued: Final = asyncio.Event()

# Pauses after the first attempts; the one after the last is the end.
BACK_OFF: Final = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
)

# A killed worker's mail is tried again after this time.
_CLAIM: Final = timedelta(seconds=30)
# Longer than any server is waited for: nobody finds a mail in flight.
_FLIGHT: Final = timedelta(minutes=5)
# So long a key stays taken, and an operator can look what became of a mail.
_KEPT: Final = timedelta(days=7)

_AT_ONCE: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


async def queue(mail: Mail) -> None:
    """Has a mail sent soon, unless one with its key was queued before."""
    # Not an upsert: the embedded server refuses one that would set another
    # `_id` if it found nothing, even when it finds something.
    waiting = db.collection(COLLECTION)
    if await waiting.find_one({"key": mail.key}, {"_id": 1}) is not None:
        return
    # In a transaction, a key that was taken meanwhile makes it begin again.
    with suppress(db.DuplicateKeyError):
        await waiting.insert_one(mail.dict())
    transactions.afterwards(queued.set)


async def queue_new(waiting: Sequence[Mail]) -> None:
    """Has mails with keys that nobody else makes sent soon.

    Part of the transaction of what they tell of.
    """
    documents = [mail.dict() for mail in waiting]
    await db.collection(COLLECTION).insert_many(documents, ordered=False)
    transactions.afterwards(queued.set)


async def queue_all(waiting: Sequence[Mail]) -> None:
    """Has some hundreds of mails sent soon, but for those with taken keys.

    Not atomic, and no part of a transaction; it may be repeated.
    """
    if waiting:
        documents = [mail.dict() for mail in waiting]
        await db.insert_missing(COLLECTION, documents)
        queued.set()


async def list_of(user_id: str, *, email: str | None = None) -> list[Mail]:
    """The mails of a member, those that were sent lately included.

    Args:
        user_id: the member.
        email: theirs, to find what somebody had sent there as well.
    """
    found: list[Mail] = []
    for condition in _whose(user_id, email):
        documents = db.collection(COLLECTION).find(condition)
        found += [Mail.from_document(each) async for each in documents]
    return found


async def delete_mails_of(user_id: str, *, email: str | None) -> None:
    """Forgets all mails of a member who leaves; none is sent any more.

    Args:
        user_id: the member.
        email: theirs; None when nobody knows it any more.
    """
    for condition in _whose(user_id, email):
        await db.collection(COLLECTION).delete_many(condition)


async def find_due(now: datetime) -> list[Mail]:
    """Some of the mails that are due, those first that were due first.

    Whoever waits for a mail does not wait for ten thousand guests to be told.
    """
    # Between two times: those at their end have none.
    due = {"$gt": _EPOCH, "$lt": now + _MILLISECOND}
    for bulk in (False, True):
        found = db.collection(COLLECTION).find({"bulk": bulk, "due_at": due})
        documents = await found.sort("due_at").limit(_AT_ONCE).to_list()
        if documents:
            return [Mail.from_document(document) for document in documents]
    return []


async def claim(mail: Mail, *, now: datetime) -> Mail | None:
    """The mail, for the caller to send; None when another one was faster."""
    return await _change(mail, attempts=mail.attempts + 1, due_at=now + _CLAIM)


async def mark_sending(mail: Mail, *, now: datetime) -> Mail | None:
    """The mail, whose text goes out now; None when the claim has run out."""
    return await _change(mail, state=MailState.SENDING, due_at=now + _FLIGHT)


async def postpone(mail: Mail, *, now: datetime) -> Mail | None:
    """Has a mail tried again later, or given up after the last attempt.

    Returns:
        The mail as it is then; None when another one has it.
    """
    if mail.attempts > len(BACK_OFF):
        return await finish(mail, state=MailState.GIVEN_UP, now=now)
    pause = BACK_OFF[mail.attempts - 1]
    return await _change(mail, state=MailState.WAITING, due_at=now + pause)


async def finish(mail: Mail, *, state: MailState, now: datetime) -> Mail | None:
    """Notes what became of a mail in the end; None when another one has it."""
    return await _change(mail, state=state, due_at=None, expires_at=now + _KEPT)


def _whose(user_id: str, email: str | None) -> list[db.Document]:
    """The conditions that a member's mails fulfil, one for each index."""
    by_id: db.Document = {"user_id": user_id}
    return [by_id] if email is None else [by_id, {"email": email}]


async def _change(mail: Mail, **fields: Any) -> Mail | None:
    changed = mail.model_copy(update={**fields, "revision": new_id()})
    result = await db.collection(COLLECTION).replace_one(
        {"revision": mail.revision}, changed.dict()
    )
    return changed if result.matched_count == 1 else None
