"""Audit: write down who did what to whom; read it.

Owns: `audit`. Indexes: see INDEXES. May call: paging. Entries are only
ever added. Where a deed is a write itself, its entry belongs to the same
transaction: there is none without the other.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from config import db
from config.origin import origin_of_task
from models.audit import AuditAction, AuditEntry, AuditQuery, AuditRead
from models.base import Page, utc_now
from utils import paging

COLLECTION: Final = "audit"
DOCUMENTS: Final = (AuditEntry,)
# Ascending, though the latest are read first: on a descending compound index
# the embedded server leaves out what is equal to a lower bound.
_BY_TIME: Final = [("at", db.ASCENDING), ("_id", db.ASCENDING)]
INDEXES: Final = [
    db.IndexModel(_BY_TIME),
    *(
        db.IndexModel([(key, db.ASCENDING), *_BY_TIME])
        for key in ("target_id", "actor_id", "action")
    ),
]

# The embedded server reads a range to its end before it takes a page of it.
# So a page is looked for among the latest deeds first.
_SPANS: Final = (timedelta(days=1), timedelta(days=30))
_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


async def record(
    action: AuditAction,
    *,
    actor_id: str | None,
    target_id: str | None,
    **facts: str,
) -> None:
    """Writes down a deed of the request that this task works for.

    Args:
        action: what was done.
        actor_id: the member who did it; None for strangers and the operator.
        target_id: whom or what it was done to.
        facts: what was changed, never a secret.
    """
    origin = origin_of_task.get()
    entry = AuditEntry(
        actor_id=actor_id,
        action=action,
        target_id=target_id,
        address=origin.address,
        request_id=origin.request_id,
        facts=facts,
    )
    await db.collection(COLLECTION).insert_one(entry.dict())


async def list_entries(query: AuditQuery) -> Page[AuditRead]:
    """A page of what was written down, the latest first.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query.
    """
    asked = paging.fingerprint(query)
    select, where = _conditions(query)
    page = Page[AuditRead](items=[], next_cursor=None)
    for span in _spans(query, asked):
        page = await paging.page_by_time(
            db.collection(COLLECTION),
            query,
            asked=asked,
            key="at",
            descending=True,
            select=select | span,
            where=where,
            show=lambda document: AuditRead.of(
                AuditEntry.from_document(document)
            ),
        )
        if page.next_cursor is not None:
            break
    return page


async def list_about(user_id: str) -> list[AuditRead]:
    """What a member did, and what was done to them, as they may see it.

    Who else did it, from where, is not theirs to know: it is left blank.
    """
    entries: dict[str, AuditRead] = {}
    for field in ("actor_id", "target_id"):
        found = db.collection(COLLECTION).find({field: user_id})
        async for document in found:
            entry = AuditRead.of(AuditEntry.from_document(document))
            if entry.actor_id != user_id:
                entry.actor_id, entry.address, entry.request_id = None, "", ""
            entries[entry.id] = entry
    return sorted(entries.values(), key=lambda entry: (entry.at, entry.id))


def _conditions(query: AuditQuery) -> tuple[db.Document, list[db.Document]]:
    """The condition that selects most, and the others."""
    asked_for = {
        "target_id": query.target,
        "actor_id": query.actor,
        "action": query.action,
    }
    given = [
        {key: value} for key, value in asked_for.items() if value is not None
    ]
    return (given[0], given[1:]) if given else ({}, [])


def _spans(query: AuditQuery, asked: str) -> Iterator[db.Document]:
    """What to ask for in turn, until a page is full: the last is all."""
    ends = [] if query.before is None else [query.before]
    if query.cursor is not None:
        last = paging.decode(paging.TimeCursor, query.cursor, query=asked)
        ends.append(paging.from_milliseconds(last.at_ms + 1))
    bounds: db.Document = {"$lt": min(ends)} if ends else {}
    first = query.after or _FIRST_TIME
    for span in _SPANS:
        begin = _before(min(ends, default=utc_now()), span)
        if begin > first:
            yield {"at": {"$gte": begin, **bounds}}
    if query.after is not None:
        bounds["$gte"] = query.after
    yield {"at": bounds} if bounds else {}


def _before(time: datetime, span: timedelta) -> datetime:
    try:
        return time - span
    except OverflowError:
        return _FIRST_TIME
