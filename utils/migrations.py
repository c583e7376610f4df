"""Migrations: change what is stored, once, in batches, by one at a time.

Owns: `migrations`. Indexes: see INDEXES. May call: nobody.

A migration is a step that is called until it says that it is done. Each call
changes one batch and returns where the next one begins, which is written down:
whoever comes after a crash goes on from there, and does the batch again that
was under way. So a step finds its own work done and leaves it as it is.

Whoever migrates holds the turn, a lease that they renew. Of one that died, it
ends by itself. One that only hangs, and wakes up when another has taken over,
can't say any more how far it is: the record names its holder. The batch that
it may still write is one that the other does as well. A database that is away
for a moment ends nothing, as long as the lease lasts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from config import db
from config.chores import end_if_cancelled
from models.base import new_id, utc_now
from models.migrations import MigrationRecord, MigrationTurn

COLLECTION: Final = "migrations"
DOCUMENTS: Final = (MigrationRecord, MigrationTurn)
INDEXES: Final[list[db.IndexModel]] = []

# Takes where a batch begins, None for the first, and returns where the next one
# does, None at the end.
Step = Callable[[str | None], Awaitable[str | None]]
Result = TypeVar("Result")

# Who says nothing for this long is taken for dead.
LEASE: Final = timedelta(seconds=30)

# Not the name of a migration.
_TURN: Final = "turn"
_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Migration:
    """A change of what is stored.

    Attributes:
        name: what it is recorded under; they are done in the names' order.
        step: does one batch.
    """

    name: str
    step: Step


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a database is.

    Attributes:
        pending: what is to be done, in this order.
        unknown: names of what newer releases did.
    """

    pending: list[Migration]
    unknown: list[str]


async def standing(known: Sequence[Migration]) -> Standing:
    """Which of the known migrations are to be done, and which others are."""
    done: set[str] = set()
    unknown: list[str] = []
    names = {migration.name for migration in known}
    async for document in db.collection(COLLECTION).find({}):
        if document["_id"] == _TURN:
            continue
        record = MigrationRecord.from_document(document)
        if record.done_at is not None:
            done.add(record.id)
        if record.id not in names:
            unknown.append(record.id)
    in_order = sorted(known, key=lambda migration: migration.name)
    pending = [each for each in in_order if each.name not in done]
    return Standing(pending, sorted(unknown))


async def in_turn(
    work: Callable[[str], Awaitable[Result]],
    *,
    wait: Callable[[], None],
    lease: timedelta = LEASE,
) -> Result:
    """Does `work` while nobody else is in here, whatever machine they are on.

    Args:
        work: gets the name of its holder, for `migrate`.
        wait: called once when another has the turn.
        lease: after this time of silence, another one takes over.

    Raises:
        db.OvertakenError: another one took over; the work was ended.
    """
    holder = new_id()
    if not await _take(holder, lease):
        wait()
        while not await _take(holder, lease):
            end_if_cancelled()
            await asyncio.sleep(_LOOK_SECONDS)
    task = asyncio.ensure_future(work(holder))
    renewal = asyncio.create_task(_renew(holder, lease))
    try:
        await asyncio.wait({task, renewal}, return_when="FIRST_COMPLETED")
        if not task.done():
            # It says why it ended.
            await renewal
        return await task
    finally:
        for each in (task, renewal):
            each.cancel()
        await asyncio.gather(task, renewal, return_exceptions=True)
        # Where it can't be given back, the lease ends by itself.
        with suppress(*db.UNAVAILABLE_ERRORS):
            await db.collection(COLLECTION).delete_one(
                {"_id": _TURN, "holder": holder}
            )


async def migrate(
    pending: Sequence[Migration], *, holder: str
) -> AsyncIterator[MigrationRecord]:
    """Does what is pending, whoever began it; yields the record of each.

    Raises:
        db.OvertakenError: another one took over.
    """
    for migration in pending:
        record = await _begin(migration.name, holder)
        while record.done_at is None:
            end_if_cancelled()
            record = await _go_on(record, migration.step)
        yield record


async def _begin(name: str, holder: str) -> MigrationRecord:
    document = await db.find_by_id(COLLECTION, name)
    # After the record was read: who takes over later changes it first.
    turn = await db.find_by_id(COLLECTION, _TURN)
    if turn is None or turn["holder"] != holder:
        raise db.OvertakenError(_TURN)
    if document is None:
        record = MigrationRecord(id=name, holder=holder, began_at=utc_now())
        if await db.insert_missing(COLLECTION, [record.dict()]) == 0:
            raise db.OvertakenError(name)
        return record
    result = await db.collection(COLLECTION).update_one(
        {"_id": name, "holder": document["holder"], "done_at": None},
        {"$set": {"holder": holder}},
    )
    if result.matched_count == 0:
        raise db.OvertakenError(name)
    found = MigrationRecord.from_document(document)
    return found.model_copy(update={"holder": holder})


async def _go_on(record: MigrationRecord, step: Step) -> MigrationRecord:
    position = await step(record.position)
    changes: db.Document = {
        "position": position,
        "batches": record.batches + 1,
        "done_at": utc_now() if position is None else None,
    }
    result = await db.collection(COLLECTION).update_one(
        {"_id": record.id, "holder": record.holder}, {"$set": changes}
    )
    if result.matched_count == 0:
        raise db.OvertakenError(record.id)
    return record.model_copy(update=changes)


async def _take(holder: str, lease: timedelta) -> bool:
    """Whether the turn could be had; of several who try, one gets it."""
    now = utc_now()
    turn = MigrationTurn(id=_TURN, holder=holder, lease_until=now + lease)
    document = await db.find_by_id(COLLECTION, _TURN)
    if document is None:
        return await db.insert_missing(COLLECTION, [turn.dict()]) == 1
    before = MigrationTurn.from_document(document)
    if before.lease_until > now:
        return False
    result = await db.collection(COLLECTION).replace_one(
        # Should it be renewed at this moment after all, it is not met.
        {
            "_id": _TURN,
            "holder": before.holder,
            "lease_until": before.lease_until,
        },
        turn.dict(),
    )
    return result.matched_count == 1


async def _renew(holder: str, lease: timedelta) -> None:
    """Ends only when the turn is lost, or can't be kept."""
    lease_until = utc_now() + lease
    while True:
        end_if_cancelled()
        await asyncio.sleep(lease.total_seconds() / 3)
        renewed_until = utc_now() + lease
        try:
            result = await db.collection(COLLECTION).update_one(
                {"_id": _TURN, "holder": holder},
                {"$set": {"lease_until": renewed_until}},
            )
        except db.UNAVAILABLE_ERRORS:
            if utc_now() >= lease_until:
                raise
            continue
        if result.matched_count == 0:
            raise db.OvertakenError(_TURN)
        lease_until = renewed_until
