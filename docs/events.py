"""Docs of `routes/events.py`."""

from docs import EndpointDoc

CREATE_EVENT: EndpointDoc = {
    "summary": "Publish an event",
    "description": """Creates an event; its creator is its organiser.

A private event, or one by an admin, is `approved` at once. Another public
event is `pending`: only its creator and admins see it until an admin approves
it.

Times carry an offset, e.g. `2030-05-01T18:30:00+02:00`; answers are UTC. An
event lasts 366 days at most. It shows up to 20 images, which you upload
first.""",
    "response_description": "The new event.",
}

LIST_EVENTS: EndpointDoc = {
    "summary": "Find events",
    "description": """Public, approved events that fit all conditions.

Without conditions: those that are upcoming or go on now, by start. `near`
sorts by distance, and adds `distance_km`. `tag` and `status` repeat: any of
them fits. `q` finds words by their beginnings. `mine=true` lists your own
events instead, private and undecided ones included.

A walk from page to page neither repeats nor skips events that exist
throughout; `status` is meant as of the walk's first page.""",
    "response_description": "A page of events.",
}

LIST_EVENT_QUEUE: EndpointDoc = {
    "summary": "List events that wait for approval",
    "description": "For admins: pending events that are neither cancelled nor "
    "past, those first that were published first.",
}

GET_EVENT: EndpointDoc = {
    "summary": "Read an event",
    "description": """One event, with its present `status`.

A private, pending or denied event is shown to its creator, to its guests
(invited, going or waiting) and to admins; to others it does not exist. The `ETag` names this state: send it as
`If-None-Match` to save a transfer, or as `If-Match` with a change.""",
}

UPDATE_EVENT: EndpointDoc = {
    "summary": "Change an event",
    "description": """Changes what is sent, and leaves the rest.

For its creator and admins, while it is neither cancelled nor past. Seats
that it gains go to those first in line, and guests get a mail when its time or
place changes. With the `ETag` of your last read as `If-Match`, a change that somebody made meanwhile
is not overwritten: you get 412. Where its seats grant sessions, there must be
GPUs for all of them then (409).

Publishing a private event, or changing a denied one, puts it (back) into the
admins' queue. An approved event stays approved when its creator changes it.""",
}

CANCEL_EVENT: EndpointDoc = {
    "summary": "Cancel an event",
    "description": "For its creator and admins. Whoever could see it sees "
    "that it is `cancelled`, and its guests get a mail. Sessions on its seats "
    "are ended. There is no way back.",
}

DELETE_EVENT: EndpointDoc = {
    "summary": "Delete an event",
    "description": "For admins: removes an event for good, as if it had never "
    "been. Cancelling is the polite way.",
}

APPROVE_EVENT: EndpointDoc = {
    "summary": "Approve an event",
    "description": "For admins: everybody sees it from now on.",
}

DENY_EVENT: EndpointDoc = {
    "summary": "Deny an event",
    "description": "For admins: it stays hidden, and its creator sees the "
    "reason. Changing it puts it back into the queue. Its seats grant no "
    "sessions any more.",
}
