"""Session requests: who waits in line for GPUs.

Owns: `session_requests`. Indexes: see INDEXES. May call: paging.

The line is the order in which they came. Whoever gets in does so in a turn that
all take, so that nobody has two places. A change of a place names the unique
revision that it read, in one transaction with the GPUs that it is about: of two
workers that offer, or of an offer and a leaving, one comes first and the other
one sees what it did.
"""

from datetime import datetime, timedelta
from typing import Final

from config import db
from config.main import settings
from models.base import Page, PageQuery, new_id, utc_now
from models.logins import Actor
from models.session_errors import (
    SessionRequestExistsError,
    SessionRequestNotFoundError,
)
from models.session_requests import RequestStatus, SessionRequest
from utils import paging

COLLECTION: Final = "session_requests"
DOCUMENTS: Final = (SessionRequest,)
INDEXES: Final = [
    # Who changes a place names the revision that it read: one of several.
    db.IndexModel("revision", unique=True),
    db.IndexModel([("status", db.ASCENDING), ("created_at", db.ASCENDING)]),
    db.IndexModel([("owner_id", db.ASCENDING), ("created_at", db.DESCENDING)]),
    db.IndexModel("forget_at", expireAfterSeconds=0),
]

# So long what is offered is kept.
KEPT: Final = timedelta(minutes=settings.session_offer_minutes)
# So long one can still see what became of a place.
_REMEMBERED: Final = timedelta(days=1)
_IN_LINE: Final = [RequestStatus.WAITING, RequestStatus.OFFERED]


async def add(request: SessionRequest) -> SessionRequest:
    """Puts somebody at the end of the line.

    Part of a transaction that has the turn: see `seat_grants.take_turn`. A
    unique index would not do: of what a document was before it was changed, the
    embedded server's keeps the key.

    Raises:
        SessionRequestExistsError: they wait already.
    """
    for mine in await list_of(request.owner_id):
        if mine.status in _IN_LINE:
            raise SessionRequestExistsError(mine.id)
    await db.collection(COLLECTION).insert_one(request.dict())
    return request


async def get_own(request_id: str, *, actor: Actor) -> SessionRequest:
    """The caller's place in line, those that are over lately included.

    Raises:
        SessionRequestNotFoundError: they have none with this id.
    """
    request = await find_request(request_id)
    if request is None or request.owner_id != actor.user_id:
        raise SessionRequestNotFoundError(request_id)
    return request


async def find_request(request_id: str) -> SessionRequest | None:
    """Anybody's place in line; None when it was given up, or forgotten."""
    document = await db.find_by_id(COLLECTION, request_id)
    return None if document is None else SessionRequest.from_document(document)


async def list_own(
    query: PageQuery, *, actor: Actor
) -> Page[SessionRequest]:
    """A page of the caller's places, the latest first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, actor.user_id),
        key="created_at",
        descending=True,
        select={"owner_id": actor.user_id},
        show=SessionRequest.from_document,
    )


async def list_of(owner_id: str) -> list[SessionRequest]:
    """All places of a member that are kept."""
    found = db.collection(COLLECTION).find({"owner_id": owner_id})
    return [SessionRequest.from_document(document) async for document in found]


async def length() -> int:
    """How many wait; those who are offered something wait no more."""
    return await db.collection(COLLECTION).count_documents(
        {"status": RequestStatus.WAITING}
    )


async def list_line() -> list[SessionRequest]:
    """All who wait or are offered something, in the order of the line."""
    found = db.collection(COLLECTION).find({"status": {"$in": _IN_LINE}})
    line = [SessionRequest.from_document(document) async for document in found]
    return sorted(line, key=lambda each: (each.created_at, each.id))


async def find_offer(
    owner_id: str, *, template: str, gpus: int, hours: float
) -> SessionRequest | None:
    """The offer that a member may start such a session by, if any."""
    for mine in await list_of(owner_id):
        if (
            mine.status is RequestStatus.OFFERED
            and mine.template == template
            and mine.gpus == gpus
            and mine.hours >= hours
            and not _is_late(mine, utc_now())
        ):
            return mine
    return None


async def offer(request: SessionRequest, *, until: datetime) -> bool:
    """Says that what somebody waits for is kept for them.

    Part of the transaction that keeps it.

    Returns:
        False when they have left, or were offered it by another worker.
    """
    change = {"status": RequestStatus.OFFERED, "offer_expires_at": until}
    return await _change(request, change)


async def take(request: SessionRequest) -> bool:
    """Ends the wait of who takes what was offered.

    Part of the transaction in which they get the GPUs.

    Returns:
        False when the offer has gone to the next one meanwhile.
    """
    return await _change(request, _ended(RequestStatus.TAKEN))


async def expire(request: SessionRequest) -> bool:
    """Ends the wait of who has not taken what was offered, or can't have it.

    Part of the transaction in which the GPUs become free.
    """
    return await _change(request, _ended(RequestStatus.EXPIRED))


async def list_offers() -> list[SessionRequest]:
    """Those that GPUs are kept for."""
    found = db.collection(COLLECTION).find({"status": RequestStatus.OFFERED})
    return [SessionRequest.from_document(document) async for document in found]


async def list_late() -> list[SessionRequest]:
    """The offers whose time is over."""
    now = utc_now()
    return [each for each in await list_offers() if _is_late(each, now)]


async def delete(request_id: str) -> None:
    """Forgets a place; part of the transaction that frees what it holds."""
    await db.collection(COLLECTION).delete_one({"_id": request_id})


def position_in(
    line: list[SessionRequest], request: SessionRequest
) -> int | None:
    """1 for the first in line; None for who is not in it any more."""
    ids = [each.id for each in line]
    return ids.index(request.id) + 1 if request.id in ids else None


async def _change(request: SessionRequest, change: db.Document) -> bool:
    result = await db.collection(COLLECTION).update_one(
        {"revision": request.revision},
        {"$set": {**change, "revision": new_id()}},
    )
    return result.matched_count == 1


def _ended(status: RequestStatus) -> db.Document:
    return {
        "status": status,
        "forget_at": utc_now() + _REMEMBERED,
    }


def _is_late(offered: SessionRequest, now: datetime) -> bool:
    until = offered.offer_expires_at
    return until is not None and until <= now
