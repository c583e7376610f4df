"""Paging: opaque cursors that continue a list where the last page ended.

Owns no collection. May call: nobody.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config import db
from models.base import Page, PageQuery, utc_now
from models.exceptions import InvalidRequestError

# What a document keeps to be found by is of no use to its reader.
WITHOUT_LOOKUP: Final = {"lookup": 0}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

# What the database can compare: a forged cursor may hold more.
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Cursor(BaseModel):
    """Where a walk through a list stands; each list adds its sort keys.

    Attributes:
        query: fingerprint of the query that the walk began with.
        last_id: id of the last item that was shown.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str
    last_id: str


class TimeCursor(Cursor):
    """Where a list stands that is sorted by a time.

    Attributes:
        at_ms: the time of the last item, milliseconds since 1970.
    """

    at_ms: Number


Stored = TypeVar("Stored")
Shown = TypeVar("Shown")
AnyCursor = TypeVar("AnyCursor", bound=Cursor)


def fingerprint(query: PageQuery, *more: str) -> str:
    """Tells queries apart, whatever page and page size they ask for."""
    conditions = query.model_dump_json(exclude={"limit", "cursor"})
    digest = hashlib.blake2b("\n".join((conditions, *more)).encode())
    return digest.hexdigest()[:16]


def encode(cursor: Cursor) -> str:
    """The text that a client passes back."""
    return base64.urlsafe_b64encode(cursor.model_dump_json().encode()).decode()


def decode(kind: type[AnyCursor], text: str, *, query: str) -> AnyCursor:
    """The cursor that `encode` made of a walk through `query`.

    Raises:
        InvalidRequestError: it is malformed, or of another query.
    """
    try:
        cursor = kind.model_validate_json(
            base64.b64decode(text, altchars=b"-_", validate=True)
        )
    except (binascii.Error, ValueError, ValidationError):
        raise _fault("this is no cursor: pass next_cursor as it was") from None
    if cursor.query != query:
        raise _fault(
            "this cursor is of another list: keep the other parameters the "
            "same from page to page"
        )
    return cursor


def _fault(message: str) -> InvalidRequestError:
    return InvalidRequestError.at("query", "cursor", msg=message)


def after(
    key: str, value: object, last_id: str, *, descending: bool = False
) -> dict[str, Any]:
    """The condition that an item comes later, by `key` and then by `_id`."""
    later = "$lt" if descending else "$gt"
    return {
        "$or": [
            {key: {later: value}},
            {key: value, "_id": {later: last_id}},
        ]
    }


# Each has a name where it is called; nobody changes the default.
# pylint: disable-next=too-many-arguments,dangerous-default-value
async def page_by_time(
    collection: db.Collection,
    query: PageQuery,
    *,
    asked: str,
    key: str,
    select: db.Document,
    where: Sequence[db.Document] = (),
    show: Callable[[db.Document], Shown],
    descending: bool = False,
    without: db.Document = WITHOUT_LOOKUP,
) -> Page[Shown]:
    """A page of documents in the order of a time that they keep.

    Args:
        collection: the owner's collection.
        query: which page.
        asked: fingerprint of the query.
        key: the field of the time.
        select: one selective clause on an index.
        where: what else a document must fulfil.
        show: what is shown of a document.
        descending: the latest first.
        without: the projection that leaves out what is not shown.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query.
    """
    conditions = list(where)
    if query.cursor is not None:
        last = decode(TimeCursor, query.cursor, query=asked)
        time = from_milliseconds(last.at_ms)
        conditions.append(after(key, time, last.last_id, descending=descending))
    direction = db.DESCENDING if descending else db.ASCENDING
    pipeline: list[db.Document] = [
        {"$match": select},
        {"$match": {"$and": conditions} if conditions else {}},
        {"$sort": {key: direction, "_id": direction}},
        {"$limit": query.limit + 1},
        {"$project": without},
    ]
    return page_of(
        await (await collection.aggregate(pipeline)).to_list(),
        limit=query.limit,
        show=show,
        cursor_of=lambda document: TimeCursor(
            query=asked,
            last_id=document["_id"],
            at_ms=to_milliseconds(document[key]),
        ),
    )


def spans(
    query: PageQuery, *, asked: str, key: str, lengths: Sequence[timedelta]
) -> Iterator[db.Document]:
    """What to ask for in turn until a page of the latest is full.

    The embedded server reads a range to its end before it takes a page of it.

    Args:
        query: which page.
        asked: fingerprint of the query.
        key: the field of the time.
        lengths: how far back to look, from where the last page ended; then
            all is asked for.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query.
    """
    end, bounds = utc_now(), {}
    if query.cursor is not None:
        last = decode(TimeCursor, query.cursor, query=asked)
        end = from_milliseconds(last.at_ms + 1)
        bounds = {"$lt": end}
    for length in lengths:
        if end - _EPOCH > length:
            yield {key: {"$gte": end - length, **bounds}}
    yield {key: bounds} if bounds else {}


def time_reached(query: PageQuery, *, asked: str) -> datetime | None:
    """Where the last page ended of a list that is sorted by a time.

    None for the first page.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query.
    """
    if query.cursor is None:
        return None
    last = decode(TimeCursor, query.cursor, query=asked)
    return from_milliseconds(last.at_ms)


def page_of(
    found: Sequence[Stored],
    *,
    limit: int,
    show: Callable[[Stored], Shown],
    cursor_of: Callable[[Stored], Cursor],
) -> Page[Shown]:
    """The page of a query that asked for one item more than `limit`."""
    items = found[:limit]
    return Page(
        items=[show(item) for item in items],
        next_cursor=(
            encode(cursor_of(items[-1])) if len(found) > limit else None
        ),
    )


def to_milliseconds(time: datetime) -> int:
    """A stored time as whole milliseconds since 1970."""
    return (time - _EPOCH) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """The time that `to_milliseconds` was given.

    Raises:
        InvalidRequestError: a forged cursor names a time that does not exist.
    """
    try:
        return _EPOCH + milliseconds * _MILLISECOND
    except OverflowError:
        raise _fault("this is no cursor: pass next_cursor as it was") from None
