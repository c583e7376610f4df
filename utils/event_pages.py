"""Event pages: the queries behind a list of events.

Owns no collection: `utils/events.py` passes its own. May call: geo, paging,
search. Every query begins with one selective clause on an index (equality, a
few values, or equality and a bounded range), and decides the rest afterwards:
that shape is fast on MongoDB and on the embedded database alike. A list that
is open at one end first asks for about as much as the last one needed.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

from pydantic import Field

from config import db
from models.base import Page, utc_now
from models.events import (
    MAX_DURATION,
    Approval,
    Event,
    EventFound,
    EventQuery,
    Sort,
    Status,
)
from utils import geo, paging, search

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
_MILLISECOND: Final = timedelta(milliseconds=1)
_ACTIVE: Final = {Status.UPCOMING, Status.ONGOING}

# The shortest guesses of how far a page reaches.
_MIN_SPAN_SECONDS: Final = 24 * 3600.0
_MIN_RADIUS_KM: Final = 5.0

# A guess that reaches farther saves nothing against asking for all.
_MAX_SPAN_SECONDS: Final = MAX_DURATION.total_seconds()


# The first and the last moment that a guess may be counted from: whatever a
# forged cursor says, it stays a time.
_FIRST_MS: Final = paging.to_milliseconds(datetime(1, 1, 1, tzinfo=UTC))
_LAST_MS: Final = paging.to_milliseconds(datetime(9999, 12, 31, tzinfo=UTC))


class EventCursor(paging.Cursor):
    """Where a walk through events stands.

    Attributes:
        as_of_ms: when the walk began, the time that decides what is upcoming;
            else an event that starts meanwhile would leave the walk's pages.
        starts_at_ms: start of the last event, milliseconds since 1970.
        chord_squared: squared chord to the last event, where sorted by it.
    """

    as_of_ms: int = Field(ge=0, le=_LAST_MS)
    starts_at_ms: int = Field(ge=_FIRST_MS, le=_LAST_MS)
    chord_squared: float | None


class _Pace:
    """How far recent pages reached, so that the next query asks for so much.

    It changes only how much a query reads, never what it answers: a guess that
    falls short is followed by a query for the rest.
    """

    def __init__(self) -> None:
        self._reach: dict[str, float] = {}

    def guess(self, kind: str, whole: float) -> float:
        """How far to ask, at most `whole`, which is also the first guess."""
        return min(whole, self._reach.get(kind, whole))

    def learn(self, kind: str, reach: float | None, least: float) -> None:
        """Notes how far a full page reached; None when it was not full."""
        if reach is None:
            self._reach.pop(kind, None)
        else:
            self._reach[kind] = max(least, 2 * reach)


_PACE: Final = _Pace()


@dataclass(frozen=True)
class _Walk:
    """One walk through the events that fit a query."""

    query: EventQuery
    owner: str | None
    as_of: datetime
    cursor: EventCursor | None
    asked: str

    @cached_property
    def kind(self) -> str:
        """What walks have in common that reach about as far."""
        if self.owner is not None:
            index = "mine"
        elif self.query.near is not None:
            index = "near"
        elif search.best_term(self.query.q or "") is not None:
            index = "terms"
        else:
            index = "tags" if self.query.tag else "listed"
        return f"{index} {self.query.order} {sorted(self.statuses)}"

    def select(self, circle_km: float | None = None) -> db.Document:
        """The selective clause that the walk's index answers."""
        if self.owner is not None:
            return {"creator_id": self.owner}
        listed: db.Document = {"lookup.listed": True}
        center, term = self.query.center, search.best_term(self.query.q or "")
        if center is not None and circle_km is not None:
            cells = geo.covering_cells(center, circle_km)
            return {**listed, "lookup.cells": {"$in": cells}}
        if term is not None:
            return {**listed, "lookup.terms": term}
        if self.query.tag:
            return {**listed, "tags": {"$in": self.query.tag}}
        return listed

    def sort_keys(self) -> dict[str, int]:
        """The order of the walk, total by the id."""
        direction = db.DESCENDING if self.descending else db.ASCENDING
        if self.query.order is Sort.DISTANCE:
            return {"chord": direction, "_id": direction}
        return {"starts_at": direction, "_id": direction}

    @property
    def descending(self) -> bool:
        return self.query.order is Sort.STARTS_AT_DESCENDING

    @cached_property
    def statuses(self) -> set[Status]:
        return set(self.query.status) or set(Status)

    def earliest(self) -> datetime | None:
        """No event of the walk starts before; None when unknown."""
        bounds = [self.query.starts_after]
        if self.statuses == {Status.UPCOMING}:
            bounds.append(self.as_of)
        elif self.statuses <= _ACTIVE:
            bounds.append(self.as_of - MAX_DURATION)
        if self.cursor is not None and self.query.order is Sort.STARTS_AT:
            bounds.append(paging.from_milliseconds(self.cursor.starts_at_ms))
        return max((time for time in bounds if time), default=None)

    def end(self) -> datetime | None:
        """All events of the walk start before; None when unknown.

        Never "at or before": on a compound index the embedded server leaves
        out what is equal to an upper bound.
        """
        bounds = [self.query.starts_before]
        if self.statuses <= {Status.PAST, Status.ONGOING}:
            bounds.append(self.as_of + _MILLISECOND)
        if self.cursor is not None and self.descending:
            last = paging.from_milliseconds(self.cursor.starts_at_ms)
            bounds.append(last + _MILLISECOND)
        return min((time for time in bounds if time), default=None)

    def origin(self) -> datetime | None:
        """Where the rest of the walk begins, in its order; None if unknown."""
        if self.descending:
            return self.end()
        first = self.earliest()
        if first is None or not self.statuses <= _ACTIVE:
            return first
        return max(first, self.as_of)

    def may_be_ongoing(self) -> bool:
        """Whether what is left can hold events that began before `as_of`."""
        first = self.earliest()
        return (
            self.statuses <= _ACTIVE
            and first is not None
            and first < self.as_of
        )

    def conditions(self) -> list[db.Document]:
        """All that an event must fulfil, whatever index found it."""
        query = self.query
        conditions = search.prefix_conditions(query.q or "")
        if self.statuses != set(Status):
            conditions.append(
                {
                    "$or": [
                        _status_condition(s, self.as_of) for s in self.statuses
                    ]
                }
            )
        if query.starts_after is not None:
            conditions.append({"starts_at": {"$gte": query.starts_after}})
        if query.starts_before is not None:
            conditions.append({"starts_at": {"$lt": query.starts_before}})
        if query.tag:
            conditions.append({"tags": {"$in": query.tag}})
        if self.cursor is not None:
            conditions.append(self._after(self.cursor))
        return conditions

    def _after(self, cursor: EventCursor) -> db.Document:
        if self.query.order is Sort.DISTANCE:
            return paging.after("chord", cursor.chord_squared, cursor.last_id)
        return paging.after(
            "starts_at",
            paging.from_milliseconds(cursor.starts_at_ms),
            cursor.last_id,
            descending=self.descending,
        )


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
    walk = _begin(query, owner)
    if query.order is Sort.DISTANCE:
        documents = await _nearest(events, walk)
    else:
        documents = await _by_start(events, walk)
    return paging.page_of(
        documents,
        limit=query.limit,
        show=_show,
        cursor_of=lambda document: EventCursor(
            query=walk.asked,
            last_id=document["_id"],
            as_of_ms=paging.to_milliseconds(walk.as_of),
            starts_at_ms=paging.to_milliseconds(document["starts_at"]),
            chord_squared=document.get("chord"),
        ),
    )


def _begin(query: EventQuery, owner: str | None) -> _Walk:
    asked = paging.fingerprint(query, owner or "")
    search.require_word(query.q)
    if query.cursor is None:
        return _Walk(query, owner, utc_now(), None, asked)
    cursor = paging.decode(EventCursor, query.cursor, query=asked)
    as_of = paging.from_milliseconds(cursor.as_of_ms)
    return _Walk(query, owner, as_of, cursor, asked)


def _show(document: db.Document) -> EventFound:
    found = EventFound.of(Event.from_document(document))
    chord = document.get("chord")
    if chord is not None:
        found.distance_km = round(geo.km_of_chord_squared(chord), 3)
    return found


async def _nearest(events: db.Collection, walk: _Walk) -> list[db.Document]:
    """The next events by distance: from a guessed circle, then from all."""
    radius = walk.query.radius_km
    guess = _PACE.guess(walk.kind, radius)
    found: list[db.Document] = []
    for circle_km in (guess, radius) if guess < radius else (radius,):
        found = await _find(events, walk, walk.select(circle_km), circle_km)
        if len(found) > walk.query.limit:
            break
    _PACE.learn(walk.kind, _distance_reached(walk, found), _MIN_RADIUS_KM)
    return found


async def _by_start(events: db.Collection, walk: _Walk) -> list[db.Document]:
    """The next events by start: from a guessed span, then from the rest."""
    if walk.query.near is not None:
        radius = walk.query.radius_km
        return await _find(events, walk, walk.select(radius), radius)
    found: list[db.Document] = []
    for select in _spans(walk):
        found += await _find(events, walk, select, have=len(found))
        if len(found) > walk.query.limit:
            break
    _PACE.learn(walk.kind, _seconds_reached(walk, found), _MIN_SPAN_SECONDS)
    return found


def _spans(walk: _Walk) -> list[db.Document]:
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
            "lookup.weeks": {"$in": _weeks(walk.as_of, edge)},
            "starts_at": {"$lt": edge},
        }
    return [lower, upper]


def _guessed_edge(walk: _Walk) -> datetime | None:
    origin = walk.origin()
    seconds = _PACE.guess(walk.kind, math.inf)
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
    walk: _Walk,
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
    pipeline: list[db.Document] = [{"$match": select}]
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
        {"$limit": walk.query.limit + 1 - have},
        {"$project": paging.WITHOUT_LOOKUP},
    ]
    return await (await events.aggregate(pipeline)).to_list()


def _distance_reached(walk: _Walk, found: list[db.Document]) -> float | None:
    if len(found) <= walk.query.limit:
        return None
    return geo.km_of_chord_squared(found[-1]["chord"])


def _seconds_reached(walk: _Walk, found: list[db.Document]) -> float | None:
    origin = walk.origin()
    if origin is None or len(found) <= walk.query.limit:
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


def _status_condition(status: Status, now: datetime) -> db.Document:
    match status:
        case Status.CANCELLED:
            return {"cancelled_at": {"$ne": None}}
        case Status.UPCOMING:
            return {"cancelled_at": None, "starts_at": {"$gt": now}}
        case Status.ONGOING:
            return {
                "cancelled_at": None,
                "starts_at": {"$lte": now},
                "ends_at": {"$gt": now},
            }
        case Status.PAST:
            return {"cancelled_at": None, "ends_at": {"$lte": now}}
