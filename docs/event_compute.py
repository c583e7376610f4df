"""Docs of `routes/event_compute.py`."""

from docs import EndpointDoc

GET_EVENT_COMPUTE: EndpointDoc = {
    "summary": "Read what the seats of an event grant",
    "description": """For all who may see the event.

`short` is true while GPUs are missing that were there when the seats were
promised; `feasible_seats` says for how many seats there are enough.""",
}

SET_EVENT_COMPUTE: EndpointDoc = {
    "summary": "Let the seats of an event grant sessions",
    "description": """For the event's creator and admins. From
`opens_minutes_before` its start, whoever has a seat may start one session of
the template by `POST /v1/sessions` with this `event_id`, beside their own
quota. It ends `closes_minutes_after` the event's end at the latest, and with
the seat: the next in line may start one of their own.

A seat is a promise: the GPUs of all seats must be there at every moment of that
window, beside those of all other events; else 409 says for how many seats they
suffice. The same is asked when capacity or times change. Asking again changes
what is granted; sessions that live go on.""",
    "response_description": "What the seats grant from now on.",
}

UNSET_EVENT_COMPUTE: EndpointDoc = {
    "summary": "Take back what the seats of an event grant",
    "description": "For the event's creator and admins. The sessions on these "
    "seats are ended.",
}

START_REHEARSAL: EndpointDoc = {
    "summary": "Rehearse the sessions of an event",
    "description": """For the event's creator and admins: starts so many
sessions like those of the seats, some at a time, waits until they answer, ends
them, and reports how many came up and how fast.

They take GPUs that are free now, without touching anybody's quota; for which
there is none, the report says so. One rehearsal of an event runs at a time.""",
    "response_description": "The rehearsal; read it again for the report.",
}

GET_REHEARSAL: EndpointDoc = {
    "summary": "Read the report of a rehearsal",
    "description": "For the event's creator and admins: the last rehearsal, "
    "or the one that runs.",
}
