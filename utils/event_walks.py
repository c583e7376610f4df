"""Event walks: what a walk from page to page through a list of events means.

Owns no collection. May call: geo, paging, search. Which events belong to it, in
which order, and what is left of it at a cursor; `event_pages` asks for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

from pydantic import Field

from config import db
from models.base import utc_now
from models.events import MAX_DURATION, EventFilters, EventQuery, Sort, Status
from utils import geo, paging, search

_MILLISECOND: Final = timedelta(milliseconds=1)
_ACTIVE: Final = {Status.UPCOMING, Status.ONGOING}

# The first and the last moment that a guess may be counted from: whatever a
# forged cursor says, it stays a time.
_FIRST_MS: Final = paging.to_milliseconds(datetime(1, 1, 1, tzinfo=UTC))
_LAST_MS: Final = paging.to_milliseconds(datetime(9999, 12, 31, tzinfo=UTC))


def any_of(values: Sequence[object]) -> object:
    """What a field must be to be one of `values`.

    The embedded database reads an index along for one value, not for a choice.
    """
    return values[0] if len(values) == 1 else {"$in": list(values)}


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


@dataclass(frozen=True)
class Walk:
    """One walk through the events that fit a query."""

    query: EventFilters
    owner: str | None
    as_of: datetime
    limit: int
    cursor: EventCursor | None = None
    asked: str = ""

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
            return {**listed, "tags": any_of(self.query.tag)}
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


def begin(query: EventQuery, *, owner: str | None) -> Walk:
    """The walk that a query asks for, or goes on with.

    Raises:
        InvalidRequestError: the cursor is malformed or of another query, or
            `q` has no word.
    """
    asked = paging.fingerprint(query, owner or "")
    search.require_word(query.q)
    if query.cursor is None:
        return Walk(query, owner, utc_now(), query.limit, None, asked)
    cursor = paging.decode(EventCursor, query.cursor, query=asked)
    as_of = paging.from_milliseconds(cursor.as_of_ms)
    return Walk(query, owner, as_of, query.limit, cursor, asked)


def begin_whole(
    filters: EventFilters, *, owner: str | None, limit: int
) -> Walk:
    """A walk of one page, which no other one follows.

    Raises:
        InvalidRequestError: `q` has no word.
    """
    search.require_word(filters.q)
    return Walk(filters, owner, utc_now(), limit)


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
