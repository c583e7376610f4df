"""Event pages: the queries behind a list of events.

Owns no collection: `utils/events.py` passes its own. May call: event_walks,
geo, paging, search. Every query begins with one selective clause on an index
(equality, a few values, or equality and a bounded range), and decides the rest
afterwards: that shape is fast on MongoDB and on the embedded database alike.
A list that is open at one end first asks for about as much as the last one
needed.
"""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from config import db
from models.base import Page
from models.events import (
    MAX_DURATION,
    Approval,
    Event,
    EventFilters,
    EventFound,
    EventQuery,
    Sort,
)
from utils import event_walks, geo, paging, search

# Every list sorts by the last two, within what the first ones select.
_BY_START: Final = [("starts_at", db.ASCENDING), ("_id", db.ASCENDING)]
INDEXES: Final = [
    db.IndexModel([("lookup.listed", db.ASCENDING), *_BY_START]),
    db.IndexModel([("creator_id", db.ASCENDING), *_BY_START]),
    *(
        db.IndexModel(
            [
                ("lookup.listed", db.ASCENDING),
                (key, db.ASCENDING),
                *_BY_START,
            ]
        )
        for key in ("lookup.weeks", "lookup.terms", "lookup.cells", "tags")
    ),
]

_WEEK_MILLISECONDS: Final = 7 * 24 * 3600 * 1000
# The shortest guesses of how far a page reaches, and the first ones.
_MIN_SPAN_SECONDS: Final = 24 * 3600.0
_MIN_RADIUS_KM: Final = 5.0

# A guess that reaches farther saves nothing against asking for all.
_MAX_SPAN_SECONDS: Final = MAX_DURATION.total_seconds()


class _Pace:
    """How far recent pages reached, so that the next query asks for so much.

    It changes only how much a query reads, never what it answers: a guess that
    falls short is followed by a query for the rest.
    """

    def __init__(self) -> None:
        self._reach: dict[str, float] = {}

    def guess(self, kind: str, whole: float, first: float) -> float:
        """How far to ask, at most `whole`; `first` where nothing is known."""
        return min(whole, self._reach.get(kind, first))

    def learn(self, kind: str, reach: float | None, least: float) -> None:
        """Notes how far a full page reached; None when it was not full.

        Few are asked for all at once the next time.
        """
        self._reach[kind] = math.inf if reach is None else max(least, 2 * reach)

    @contextmanager
    def trying(self, kind: str) -> Iterator[None]:
        """Forgets what was learned where that is too much to be answered."""
        try:
            yield
        except db.UNAVAILABLE_ERRORS:
            self._reach.pop(kind, None)
            raise


_PACE: Final = _Pace()


def lookup_fields(event: Event) -> db.Document:
    """What an event's document keeps, so that lists find it."""
    place = event.location
    return {
        "listed": event.public and event.approval is Approval.APPROVED,
        "weeks": _weeks(event.starts_at, event.ends_at),
        **search.search_fields(
            event.title,
            event.description,
            "" if place is None else place.title,
        ),
        **(
            {}
            if place is None
            else geo.geo_fields(place.latitude, place.longitude)
        ),
    }


async def list_page(
    events: db.Collection, query: EventQuery, *, owner: str | None
) -> Page[EventFound]:
    """A page of listed events, or of all that `owner` created.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query.
    """
    walk = event_walks.begin(query, owner=owner)
    if query.order is Sort.DISTANCE:
        documents = await _nearest(events, walk)
    else:
        documents = await _by_start(events, walk)
    return paging.page_of(
        documents,
        limit=query.limit,
        show=_show,
        cursor_of=lambda document: event_walks.EventCursor(
            query=walk.asked,
            last_id=document["_id"],
            as_of_ms=paging.to_milliseconds(walk.as_of),
            starts_at_ms=paging.to_milliseconds(document["starts_at"]),
            chord_squared=document.get("chord"),
        ),
    )


async def list_whole(
    events: db.Collection,
    filters: EventFilters,
    *,
    owner: str | None,
    limit: int,
) -> list[Event]:
    """The first `limit` events of a walk, by one query.

    Raises:
        InvalidRequestError: `q` has no word.
    """
    walk = event_walks.begin_whole(filters, owner=owner, limit=limit)
    circle_km = None if filters.near is None else filters.radius_km
    select = walk.select(circle_km)
    if circle_km is None:
        select |= _span(walk.earliest(), walk.end())
    found = await _find(events, walk, select, circle_km)
    return [Event.from_document(document) for document in found[:limit]]


async def walk_starting(
    events: db.Collection, *, after: datetime, before: datetime
) -> AsyncIterator[db.Document]:
    """The events with guests that start in a time, and take place."""
    for listed in (True, False):
        pipeline: list[db.Document] = [
            {"$match": {"lookup.listed": listed} | _span(after, before)},
            {
                "$match": {
                    "approval": Approval.APPROVED,
                    "cancelled_at": None,
                    "$or": [
                        {"seats_taken": {"$gt": 0}},
                        {"waitlisted": {"$gt": 0}},
                    ],
                }
            },
            {"$project": paging.WITHOUT_LOOKUP},
        ]
        async for document in await events.aggregate(pipeline):
            yield document


def _show(document: db.Document) -> EventFound:
    found = EventFound.of(Event.from_document(document))
    chord = document.get("chord")
    if chord is not None:
        found.distance_km = round(geo.km_of_chord_squared(chord), 3)
    return found


async def _nearest(
    events: db.Collection, walk: event_walks.Walk
) -> list[db.Document]:
    """The next events by distance: from a guessed circle, then from all."""
    radius = walk.query.radius_km
    guess = _PACE.guess(walk.kind, radius, first=_MIN_RADIUS_KM)
    found: list[db.Document] = []
    with _PACE.trying(walk.kind):
        for circle_km in (guess, radius) if guess < radius else (radius,):
            found = await _find(events, walk, walk.select(circle_km), circle_km)
            if len(found) > walk.limit:
                break
    _PACE.learn(walk.kind, _distance_reached(walk, found), _MIN_RADIUS_KM)
    return found


async def _by_start(
    events: db.Collection, walk: event_walks.Walk
) -> list[db.Document]:
    """The next events by start: from a guessed span, then from the rest."""
    if walk.query.near is not None:
        radius = walk.query.radius_km
        return await _find(events, walk, walk.select(radius), radius)
    found: list[db.Document] = []
    with _PACE.trying(walk.kind):
        for select in _spans(walk):
            found += await _find(events, walk, select, have=len(found))
            if len(found) > walk.limit:
                break
    _PACE.learn(walk.kind, _seconds_reached(walk, found), _MIN_SPAN_SECONDS)
    return found


def _spans(walk: event_walks.Walk) -> list[db.Document]:
    """First clauses that together select all that is left of the walk."""
    select, first, end = walk.select(), walk.earliest(), walk.end()
    edge = _guessed_edge(walk)
    if edge is None:
        return [select | _span(first, end)]
    upper = select | _span(edge, end)
    lower = select | _span(first, edge)
    if walk.descending:
        return [upper, lower]
    if walk.kind.startswith("listed") and walk.may_be_ongoing():
        # What goes on now began at any time in the last year: the weeks that
        # an event touches find it without reading all that is over.
        lower = {
            **select,
            "lookup.weeks": event_walks.any_of(_weeks(walk.as_of, edge)),
            "starts_at": {"$lt": edge},
        }
    return [lower, upper]


def _guessed_edge(walk: event_walks.Walk) -> datetime | None:
    origin = walk.origin()
    # One's own are few, and asked for at once.
    first = _MIN_SPAN_SECONDS if walk.owner is None else math.inf
    seconds = _PACE.guess(walk.kind, math.inf, first=first)
    if origin is None or seconds > _MAX_SPAN_SECONDS:
        return None
    span = timedelta(seconds=seconds)
    try:
        edge = origin - span if walk.descending else origin + span
    except OverflowError:
        return None
    far_end = walk.earliest() if walk.descending else walk.end()
    if far_end is None:
        return edge
    return edge if min(origin, far_end) < edge < max(origin, far_end) else None


async def _find(
    events: db.Collection,
    walk: event_walks.Walk,
    select: db.Document,
    circle_km: float | None = None,
    *,
    have: int = 0,
) -> list[db.Document]:
    """Up to `limit + 1` events of the walk among those that `select` selects.

    Args:
        events: the collection.
        walk: the walk, with the conditions that decide.
        select: one selective clause on an index.
        circle_km: the radius around `near`, where one is asked for.
        have: how many were found before.
    """
    pipeline: list[db.Document] = [
        {"$match": clause} for clause in _clauses(select)
    ]
    center = walk.query.center
    if center is not None and circle_km is not None:
        farthest = geo.chord_squared_of_km(circle_km)
        pipeline += [
            {"$set": {"chord": geo.chord_squared(center)}},
            {"$match": {"chord": {"$lte": farthest}}},
        ]
    conditions = walk.conditions()
    if conditions:
        pipeline.append({"$match": {"$and": conditions}})
    pipeline += [
        {"$sort": walk.sort_keys()},
        {"$limit": walk.limit + 1 - have},
        {"$project": paging.WITHOUT_LOOKUP},
    ]
    # In one batch: the driver asks for the first hundred otherwise.
    cursor = await events.aggregate(pipeline, batchSize=walk.limit + 2)
    return await cursor.to_list()


def _clauses(select: db.Document) -> list[db.Document]:
    """A choice of values, and then a range.

    In one clause, the embedded database reads all that is listed for them.
    """
    if not any(isinstance(x, dict) and "$in" in x for x in select.values()):
        return [select]
    rest = dict(select)
    span = rest.pop("starts_at", None)
    return [rest] if span is None else [rest, {"starts_at": span}]


def _distance_reached(
    walk: event_walks.Walk, found: list[db.Document]
) -> float | None:
    if len(found) <= walk.limit:
        return None
    return geo.km_of_chord_squared(found[-1]["chord"])


def _seconds_reached(
    walk: event_walks.Walk, found: list[db.Document]
) -> float | None:
    origin = walk.origin()
    if origin is None or len(found) <= walk.limit:
        return None
    reached: timedelta = found[-1]["starts_at"] - origin
    return abs(max(reached, timedelta(0)).total_seconds())


def _span(first: datetime | None, end: datetime | None) -> db.Document:
    bounds = {"$gte": first, "$lt": end}
    given = {op: time for op, time in bounds.items() if time is not None}
    return {"starts_at": given} if given else {}


def _weeks(first: datetime, last: datetime) -> list[int]:
    """Weeks since 1970 that the time from `first` to `last` touches."""
    return list(range(_week(first), _week(last) + 1))


def _week(time: datetime) -> int:
    return paging.to_milliseconds(time) // _WEEK_MILLISECONDS
