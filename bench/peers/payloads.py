"""What all contestants are asked, and what they answer alike."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from models.base import new_id, utc_now
from models.events import Approval, EventCreate, EventRead, Rating, Status

PAGE: Final = 20

# What serves the lists of those that have MongoDB.
COMING_INDEX: Final = [("public", 1), ("starts_at", 1)]

# Each contestant has its own.
_OWN: Final = ("id", "creator_id", "created_at", "updated_at")
# Events that are created while it is measured start after all others.
_LATE_HOURS: Final = 24 * 300
_CONNECTIONS: Final = 16


@dataclass(frozen=True)
class Operation:
    """What clients do.

    Attributes:
        name: what the table calls it.
        path: where, of which `{event_id}` is to be replaced.
        body: what is sent; nothing where it is read.
        connections: how many do so at a time.
    """

    name: str
    path: str
    body: str | None = None
    connections: int = _CONNECTIONS


def operations() -> list[Operation]:
    """All that is measured, what changes something last."""
    return [
        Operation("read one event", "/v1/events/{event_id}"),
        Operation(f"list {PAGE} events", f"/v1/events?limit={PAGE}"),
        Operation("create an event", "/v1/events", json.dumps(late_event())),
    ]


def event(number: int) -> dict[str, Any]:
    """One of the events that each contestant is filled with."""
    starts_at = _today() + timedelta(days=1, hours=number)
    return {
        "title": f"Gathering {number}",
        "description": "Bring a laptop; no experience needed. " * 4,
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + timedelta(hours=2)).isoformat(),
        "tags": ["workshop", "class"],
        "location": {
            "title": "Room 404",
            "latitude": 48.8698,
            "longitude": 2.3311,
        },
        "capacity": 20,
        "links": ["https://numpy.org/doc/"],
    }


def late_event() -> dict[str, Any]:
    """An event that is on no first page."""
    return event(_LATE_HOURS)


def alike(answer: dict[str, Any]) -> Any:
    """What of an answer must be the same from all contestants."""
    if "items" in answer:
        return [alike(item) for item in answer["items"]]
    return {
        name: sorted(value) if isinstance(value, dict) else value
        for name, value in answer.items()
        if name not in _OWN
    } | {"fields": sorted(answer)}


def published(new: EventCreate, creator_id: str) -> EventRead:
    """What the peers, which compute nothing, store and show of an event."""
    now = utc_now()
    return EventRead(
        **new.model_dump(),
        id=new_id(),
        creator_id=creator_id,
        status=Status.UPCOMING,
        approval=Approval.APPROVED,
        denial_reason=None,
        seats_taken=0,
        waitlisted=0,
        rating=Rating(),
        created_at=now,
        updated_at=now,
    )


def _today() -> datetime:
    return utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
