"""Seat grants: which sessions the seats of events grant, and when.

Owns: `seat_grants`. Indexes: see INDEXES. May call: nobody. What an event's
seats grant is kept with its own copy of the times and the capacity, which
`utils/event_compute.py` keeps in step with the event: so those who lease GPUs
find here what is promised without asking for events.

Promises hold because whoever makes one, or leases what may be promised, writes
one document, `take_turn`, in the transaction in which it looks: of two that
race, one begins again and sees what the other one did.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from config import db
from models.base import new_id, utc_now
from models.event_compute import PromisesTurn, SeatGrant
from models.session_errors import EventComputeNotFoundError

COLLECTION: Final = "seat_grants"
DOCUMENTS: Final = (SeatGrant, PromisesTurn)
INDEXES: Final = [
    # A change names the revision that it read, and is lost on a newer one.
    db.IndexModel("revision", unique=True),
    # Those that are over are not looked at.
    db.IndexModel("closes_at"),
    db.IndexModel([("template", db.ASCENDING), ("closes_at", db.ASCENDING)]),
]

# Not an id of an event; it has no times, and no list finds it.
_TURN: Final = "turn"


@dataclass(frozen=True, slots=True)
class Demand:
    """GPUs that are wanted from a time on, up to another, exclusive."""

    starts: datetime
    ends: datetime
    gpus: int


async def get_grant(event_id: str) -> SeatGrant:
    """What the seats of an event grant.

    Raises:
        EventComputeNotFoundError: nothing.
    """
    grant = await find_grant(event_id)
    if grant is None:
        raise EventComputeNotFoundError(event_id)
    return grant


async def find_grant(event_id: str) -> SeatGrant | None:
    """What the seats of an event grant; None for nothing."""
    document = await db.find_by_id(COLLECTION, event_id)
    return None if document is None else SeatGrant.from_document(document)


async def list_grants(after: datetime) -> list[SeatGrant]:
    """The grants that end after a time, the first promised first."""
    found = db.collection(COLLECTION).find({"closes_at": {"$gt": after}})
    grants = [SeatGrant.from_document(document) async for document in found]
    return sorted(grants, key=lambda grant: (grant.created_at, grant.id))


async def find_user_of(template: str) -> str | None:
    """An event that is not over whose seats grant this; None without one."""
    document = await db.collection(COLLECTION).find_one(
        {"template": template, "closes_at": {"$gt": utc_now()}}, {"_id": 1}
    )
    return None if document is None else str(document["_id"])


def demand_of(grant: SeatGrant) -> Demand:
    """What all seats of an event want together."""
    return Demand(grant.wanted_at, grant.closes_at, grant.gpus)


def uncovered(grant: SeatGrant | None, want: Demand) -> list[Demand]:
    """What a session wants that the seats of its event do not want anyway.

    Before their window and after it, such as when the event moved to another
    day, it counts by itself; where they grant less by now, all the time.
    """
    if grant is None or want.gpus > grant.gpus_per_seat:
        return [want]
    parts = [
        replace(want, ends=min(want.ends, grant.wanted_at)),
        replace(want, starts=max(want.starts, grant.closes_at)),
    ]
    return [part for part in parts if part.starts < part.ends]


def peak(
    demands: Iterable[Demand], *, starts: datetime, ends: datetime
) -> int:
    """GPUs that are wanted at most at one moment of a time.

    A sweep over the edges: what ends at a moment is given back before what
    starts then is taken.
    """
    edges: list[tuple[datetime, int]] = []
    for demand in demands:
        if demand.starts < ends and demand.ends > max(starts, demand.starts):
            edges.append((max(demand.starts, starts), demand.gpus))
            edges.append((demand.ends, -demand.gpus))
    most = wanted = 0
    for _, more in sorted(edges):
        wanted += more
        most = max(most, wanted)
    return most


async def take_turn() -> None:
    """Makes those who promise or lease GPUs at the same time begin again.

    Part of the transaction in which it is done, and called before it looks.
    """
    await db.collection(COLLECTION).update_one(
        {"_id": _TURN}, {"$set": {"revision": new_id()}}, upsert=True
    )


async def find_granted(event_ids: Collection[str]) -> set[str]:
    """Those of some hundred events whose seats grant something."""
    found = db.collection(COLLECTION).find(
        {"_id": {"$in": list(event_ids)}}, {"_id": 1}
    )
    return {document["_id"] async for document in found}


async def put(grant: SeatGrant) -> SeatGrant:
    """Writes a promise, in the place of an earlier one of the same event.

    Part of the transaction in which that was read.

    Returns:
        The grant as it is now.
    """
    new = grant.model_copy(
        update={"updated_at": utc_now(), "revision": new_id()}
    )
    await db.collection(COLLECTION).replace_one(
        {"_id": grant.id}, new.dict(), upsert=True
    )
    return new


async def change(
    event_id: str, *, changed: Callable[[SeatGrant], SeatGrant | None]
) -> SeatGrant | None:
    """Changes a grant; of several who do so at once, one after the other.

    Args:
        event_id: whose.
        changed: what becomes of it as it is now; None to leave it.

    Returns:
        The grant as it is then; None when it is gone, or was left.
    """
    while True:
        grant = await find_grant(event_id)
        new = None if grant is None else changed(grant)
        if grant is None or new is None:
            return None
        new = new.model_copy(update={"revision": new_id()})
        result = await db.collection(COLLECTION).replace_one(
            {"revision": grant.revision}, new.dict()
        )
        if result.matched_count == 1:
            return new


async def delete(event_id: str) -> bool:
    """Takes back what the seats of an event grant.

    Part of the transaction in which their sessions are ended.

    Returns:
        False when they granted nothing.
    """
    result = await db.collection(COLLECTION).delete_one({"_id": event_id})
    return result.deleted_count == 1
