"""By what collections are spread over machines, once one is too small.

Nothing here is needed before. A query that names the shard key is answered by
one machine; one that does not asks all of them. Decision 0055 has the reasons.
"""

from collections.abc import Iterable
from typing import Final

from tests.query_shapes import Shape

# What grows with events, guests, requests or time; the rest stays on one
# machine, the members too: their e-mails are unique, by an index of their own.
SHARD_KEYS: Final = {
    "attempts": "_id",
    "events": "_id",
    "feedback": "event_id",
    "idempotency": "_id",
    "logins": "_id",
    "rate_windows": "_id",
    "rsvps": "event_id",
}

# What is asked all the time.
HOT: Final = {
    ("GET", "/v1/auth/validate"),
    ("GET", "/v1/events"),
    ("GET", "/v1/events?mine=true"),
    ("GET", "/v1/events/{event_id}"),
    ("GET", "/v1/events/{event_id}.ics"),
    ("GET", "/v1/events/{event_id}/feedback"),
    ("GET", "/v1/events/{event_id}/rsvp"),
    ("GET", "/v1/events/{event_id}/rsvps"),
    ("GET", "/v1/events/{event_id}/ticket"),
    ("GET", "/v1/users/me"),
    ("GET", "/v1/users/me/rsvps"),
    ("GET", "/v1/users/{user_id}"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/refresh"),
    ("POST", "/v1/events/{event_id}/check-in"),
    ("POST", "/v1/events/{event_id}/feedback"),
    ("PUT", "/v1/events/{event_id}/rsvp"),
    ("DELETE", "/v1/events/{event_id}/rsvp"),
}

# Those that ask all machines all the same, and why.
SCATTERED: Final = {
    ("GET", "/v1/events"): "by time, of all events: each machine sends a page;"
    " the first pages are kept in memory",
    ("GET", "/v1/events?mine=true"): "one member's events lie anywhere, as each"
    " must be found by its id alone: each machine sends a page",
    ("GET", "/v1/users/me/rsvps"): "seats lie with their events: each machine"
    " sends a page of one member's",
}


def strays(shapes: Iterable[Shape]) -> list[str]:
    """What is read from all machines, though one has it.

    A write names the one document that was read, by its id, its revision or
    the refresh token that it holds; all machines look for it in an index.
    """
    return [
        str(shape)
        for shape in shapes
        if shape.collection in SHARD_KEYS
        and shape.command not in ("update", "delete")
        and SHARD_KEYS[shape.collection] not in shape.equal
    ]
