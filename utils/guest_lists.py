"""Guest lists: pages of an event's guests, and the table of them all.

Owns no collection: `utils/rsvps.py` passes its own. May call: paging, users.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final

from config import db
from models.base import Page, rfc_3339
from models.events import Event
from models.rsvps import Guest, GuestQuery, Rsvp, RsvpStatus
from models.users import MemberName
from utils import paging, users

INDEXES: Final = [
    db.IndexModel(
        [
            ("event_id", db.ASCENDING),
            ("order", db.ASCENDING),
            ("_id", db.ASCENDING),
        ]
    ),
    db.IndexModel(
        [
            ("event_id", db.ASCENDING),
            ("status", db.ASCENDING),
            ("order", db.ASCENDING),
        ]
    ),
]

_COLUMNS: Final = (
    "first_name",
    "last_name",
    "status",
    "position",
    "joined_at",
    "checked_in_at",
    "user_id",
)
_ROWS_AT_ONCE: Final = 200
# The embedded server reads a range to its end before it takes a page of it. So
# a page is looked for among the next to come, so many times as many as it has
# room for; then farther; then among all.
_REACHES: Final = (2, 60)
# A spreadsheet takes what begins so for a formula, and runs it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class GuestCursor(paging.Cursor):
    """Where a list of guests stands.

    Attributes:
        order: the arrival number of the last guest.
        waiting: how many of those up to here wait.
    """

    order: paging.Number
    waiting: paging.Number


async def list_page(
    rsvps: db.Collection, event: Event, *, query: GuestQuery
) -> Page[Guest]:
    """A page of an event's guests, in the order in which they came.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    asked = paging.fingerprint(query, event.id)
    last = (
        None
        if query.cursor is None
        else paging.decode(GuestCursor, query.cursor, query=asked)
    )
    found = await _find(rsvps, event, query, last)
    before = 0 if last is None else last.waiting
    waiting = _positions(found[: query.limit], before)
    names = await users.find_names([rsvp.user_id for rsvp in found])
    return paging.page_of(
        found,
        limit=query.limit,
        show=lambda rsvp: show(
            rsvp, names=names, position=waiting.get(rsvp.id)
        ),
        cursor_of=lambda rsvp: GuestCursor(
            query=asked,
            last_id=rsvp.id,
            order=rsvp.order,
            waiting=before + len(waiting),
        ),
    )


async def csv_lines(
    rsvps: db.Collection, event: Event, *, query: GuestQuery
) -> AsyncIterator[str]:
    """All guests as a table with a header, some hundred lines at a time."""
    yield table([_COLUMNS])
    some = query.model_copy(update={"limit": _ROWS_AT_ONCE, "cursor": None})
    while True:
        page = await list_page(rsvps, event, query=some)
        yield table(_row(guest) for guest in page.items)
        if page.next_cursor is None:
            return
        some = some.model_copy(update={"cursor": page.next_cursor})


async def positions(
    rsvps: db.Collection, places: Sequence[Rsvp]
) -> dict[str, int]:
    """The places on waiting lists of those who wait, by their ids; one query.

    Args:
        rsvps: the collection.
        places: a hundred at most, of different events.
    """
    waiting = [p for p in places if p.status is RsvpStatus.WAITLISTED]
    if not waiting:
        return {}
    first, *others = map(_count_before, waiting)
    pipeline = first + [
        {"$unionWith": {"coll": rsvps.name, "pipeline": other}}
        for other in others
    ]
    found = await (await rsvps.aggregate(pipeline)).to_list()
    before = {group["_id"]: group["before"] for group in found}
    return {p.id: before.get(p.event_id, 0) + 1 for p in waiting}


def show(
    rsvp: Rsvp, *, names: Mapping[str, MemberName], position: int | None
) -> Guest:
    """What an organiser sees of a guest."""
    return Guest(
        user=names.get(rsvp.user_id),
        status=rsvp.status,
        position=position,
        created_at=rsvp.created_at,
        checked_in_at=rsvp.checked_in_at,
    )


def _count_before(place: Rsvp) -> list[db.Document]:
    """Stages that count those who wait before a place; none of nobody."""
    before = {
        "event_id": place.event_id,
        "status": RsvpStatus.WAITLISTED,
        "order": {"$lt": place.order},
    }
    return [
        {"$match": before},
        {"$group": {"_id": "$event_id", "before": {"$sum": 1}}},
    ]


async def _find(
    rsvps: db.Collection,
    event: Event,
    query: GuestQuery,
    last: GuestCursor | None,
) -> list[Rsvp]:
    """The next guests, up to one more than a page has room for."""
    wanted = query.limit + 1
    conditions: list[db.Document] = [{"status": {"$in": query.status}}]
    if last is not None:
        conditions.append(paging.after("order", last.order, last.last_id))
    found: list[db.Document] = []
    for span in _spans(event, 0 if last is None else last.order, wanted):
        pipeline: list[db.Document] = [
            {"$match": {"event_id": event.id, "order": span}},
            {"$match": {"$and": conditions}},
            {"$sort": {"order": db.ASCENDING, "_id": db.ASCENDING}},
            {"$limit": wanted - len(found)},
        ]
        found += await (await rsvps.aggregate(pipeline)).to_list()
        if len(found) == wanted:
            break
    return [Rsvp.from_document(document) for document in found]


def _spans(event: Event, begin: int, wanted: int) -> Iterator[db.Document]:
    """Ranges of arrival numbers that together hold all from `begin` on.

    An event that few have come to is asked for at once.
    """
    for reach in _REACHES:
        end = begin + reach * wanted
        if end > event.arrivals:
            break
        yield {"$gte": begin, "$lt": end}
        begin = end
    yield {"$gte": begin}


def _positions(found: Sequence[Rsvp], before: int) -> dict[str, int]:
    """The places on the waiting list of those who wait, by their ids."""
    waiting = [r.id for r in found if r.status is RsvpStatus.WAITLISTED]
    return {rsvp_id: n for n, rsvp_id in enumerate(waiting, before + 1)}


def table(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV, RFC 4180."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def _row(guest: Guest) -> list[object]:
    name = guest.user
    return [
        "" if name is None else harmless(name.first_name),
        "" if name is None else harmless(name.last_name),
        guest.status,
        guest.position,
        rfc_3339(guest.created_at),
        guest.checked_in_at and rfc_3339(guest.checked_in_at),
        "" if name is None else name.id,
    ]


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
