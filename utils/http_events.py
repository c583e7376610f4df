"""HTTP events: store the last requests, find them, draw their calls.

Owns: `http_events`. Indexes: see INDEXES. May call: paging. The collection is a
ring: every worker, on every machine, adds what it served and removes all but
the newest HTTP_EVENTS_MAX. It is short-lived and for admins: neither a member's
export nor the end of an account knows it.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from config import db, http_events
from config.main import settings
from config.masking import (
    mask_headers,
    mask_path,
    mask_query,
    mask_text,
    on_one_line,
)
from config.origin import SERVER_ID, Origin
from config.traces import Trace
from models.base import Page
from models.exceptions import HttpEventNotFoundError
from models.http_events import (
    CallSeen,
    DatabaseSeen,
    ErrorSeen,
    Header,
    HttpEvent,
    HttpEventListed,
    HttpEventQuery,
    HttpEventRead,
    Info,
    RequestSeen,
    ResponseSeen,
)
from utils import paging

COLLECTION: Final = "http_events"
DOCUMENTS: Final = (HttpEvent,)
INDEXES: Final = [
    db.IndexModel("order"),
    db.IndexModel([("request_id", db.ASCENDING), ("order", db.ASCENDING)]),
]

# What comes within this time is one command.
_TOGETHER_SECONDS: Final = 1.0
_MOST_AT_ONCE: Final = 200
_MOST_HEADERS: Final = 100
_MOST_MESSAGE: Final = 500


class _Cursor(paging.Cursor):
    """Where a walk stands: `order` of the last event."""

    order: paging.Number


# Seen, masked, and not stored yet: what a hiccup of the database kept.
_UNSAVED: Final[dict[str, HttpEvent]] = {}


async def store_in_a_moment() -> None:
    """Stores what came, together with what comes in the next moment.

    A worker that stops stores what it has, at once.
    """
    try:
        await asyncio.sleep(_TOGETHER_SECONDS)
    finally:
        await store_recent()


async def store_recent() -> None:
    """Stores what this process served last, and removes what is too old.

    Each event has its id before it is sent, so that a second try adds none
    twice; of two workers that trim at once, each removes the same ones.

    Raises:
        pymongo.errors.PyMongoError: the database is away; nothing is lost that
            the ring has room for.
    """
    for origin in http_events.recent.take():
        event = _event_of(origin)
        _UNSAVED[event.id] = event
    for event_id in list(_UNSAVED)[: -settings.http_events_max]:
        del _UNSAVED[event_id]
    while _UNSAVED:
        batch = list(_UNSAVED.values())[:_MOST_AT_ONCE]
        try:
            await db.insert_missing(COLLECTION, [e.dict() for e in batch])
        except db.UNAVAILABLE_ERRORS:
            raise
        except Exception:
            # The same again would fail again, and hold up all that follow.
            _forget(batch)
            raise
        _forget(batch)
        await _trim()


async def list_http_events(query: HttpEventQuery) -> Page[HttpEventListed]:
    """A page of the last requests, the latest first.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query.
    """
    await store_recent()
    asked = paging.fingerprint(query)
    conditions = _conditions(query)
    if query.cursor is not None:
        last = paging.decode(_Cursor, query.cursor, query=asked)
        conditions.append(
            paging.after("order", last.order, last.last_id, descending=True)
        )
    found = db.collection(COLLECTION).find(
        {"$and": conditions} if conditions else {}, {"traces": 0}
    )
    found.sort([("order", db.DESCENDING), ("_id", db.DESCENDING)])
    return paging.page_of(
        await found.limit(query.limit + 1).to_list(),
        limit=query.limit,
        show=lambda document: HttpEventListed.of(
            HttpEvent.from_document(document)
        ),
        cursor_of=lambda document: _Cursor(
            query=asked, last_id=document["_id"], order=document["order"]
        ),
    )


async def get_http_event(request_id: str) -> HttpEventRead:
    """A request by its id, the latest of those that have it, and its calls.

    Raises:
        HttpEventNotFoundError: no request of the ring has this id.
    """
    await store_recent()
    found = db.collection(COLLECTION).find({"request_id": request_id})
    found.sort("order", db.DESCENDING)
    documents = await found.limit(1).to_list()
    if not documents:
        raise HttpEventNotFoundError(request_id)
    event = HttpEvent.from_document(documents[0])
    return HttpEventRead(
        **HttpEventListed.of(event).model_dump(),
        traces=event.traces,
        calls_left_out=event.calls_left_out,
        tree=draw(event.traces),
    )


def draw(calls: list[CallSeen]) -> list[str]:
    """The tree of calls, line by line."""
    made: dict[int, list[int]] = defaultdict(list)
    for place, call in enumerate(calls):
        made[call.parent].append(place)

    def name(place: int) -> str:
        return f"{calls[place].name}  {calls[place].duration_ms:.1f} ms"

    lines = []
    # Not by recursion: calls may lie deeper than Python's own limit.
    waiting = [(place, "", "") for place in reversed(made[-1])]
    while waiting:
        place, lead, branch = waiting.pop()
        lines.append(f"{lead}{branch}{name(place)}")
        if branch:
            lead += "   " if branch == "└─ " else "│  "
        below = list(reversed(made[place]))
        waiting += [
            (other, lead, "├─ " if index else "└─ ")
            for index, other in enumerate(below)
        ]
    return lines


def _forget(batch: list[HttpEvent]) -> None:
    for event in batch:
        _UNSAVED.pop(event.id, None)


async def _trim() -> None:
    collection = db.collection(COLLECTION)
    newest = collection.find({}, {"order": 1}).sort("order", db.DESCENDING)
    last = await newest.skip(settings.http_events_max - 1).limit(1).to_list()
    if last:
        await collection.delete_many({"order": {"$lt": last[0]["order"]}})


def _conditions(query: HttpEventQuery) -> list[db.Document]:
    conditions: list[db.Document] = [
        {key: value}
        for key, value in {
            "request.method": query.method,
            "request.route": query.route,
            "request.member_id": query.member,
        }.items()
        if value is not None
    ]
    if query.min_ms is not None:
        conditions.append({"response.duration_ms": {"$gte": query.min_ms}})
    if query.since is not None:
        since = int(query.since.timestamp() * 1_000_000)
        conditions.append({"order": {"$gte": since}})
    if query.status is not None:
        least = int(query.status.replace("xx", "00"))
        most = least + 99 if query.status.endswith("xx") else least
        conditions.append({"response.status": {"$gte": least, "$lte": most}})
    return conditions


def _event_of(origin: Origin) -> HttpEvent:
    """What is kept of a request: no body, and no secret."""
    scope, seconds = origin.scope, origin.seconds or 0.0
    return HttpEvent(
        order=int(origin.answered_at * 1_000_000),
        request_id=origin.request_id,
        info=Info(
            time=paging.from_milliseconds(int(origin.began_at * 1000)),
            server_id=SERVER_ID,
            worker=os.getpid(),
            client=origin.address,
        ),
        request=RequestSeen(
            method=on_one_line(scope["method"]),
            path=on_one_line(mask_path(scope["path"])),
            route=origin.route,
            query=on_one_line(mask_query(scope["query_string"])),
            headers=_headers(scope["headers"]),
            size=scope["state"].get("body_bytes", 0),
            member_id=origin.member_id,
        ),
        response=ResponseSeen(
            status=origin.status,
            headers=_headers(origin.headers),
            size=origin.size,
            duration_ms=_milliseconds(seconds),
        ),
        database=DatabaseSeen(
            commands=origin.command_count,
            duration_ms=_milliseconds(origin.command_seconds),
            names=origin.commands,
        ),
        traces=list(_calls(origin)),
        calls_left_out=origin.trace.left_out if origin.trace else 0,
        error=_error(origin),
    )


def _headers(headers: list[tuple[bytes, bytes]]) -> list[Header]:
    return [
        (on_one_line(name), on_one_line(value))
        for name, value in mask_headers(headers[:_MOST_HEADERS])
    ]


def _calls(origin: Origin) -> Iterator[CallSeen]:
    trace: Trace | None = origin.trace
    for call in trace.calls if trace else ():
        yield CallSeen(
            name=call.name,
            parent=call.parent,
            start_ms=_milliseconds(call.began - origin.began),
            duration_ms=_milliseconds(call.ended - call.began),
        )


def _error(origin: Origin) -> ErrorSeen | None:
    fault = origin.scope["state"].get("fault")
    if fault is not None:
        # Its first line: what follows may quote anything.
        message = str(fault).partition("\n")[0][:_MOST_MESSAGE]
        return ErrorSeen(
            type=type(fault).__name__, message=on_one_line(mask_text(message))
        )
    if origin.gone:
        return ErrorSeen(type="Disconnected", message="client went away")
    return None


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
