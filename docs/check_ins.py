"""Docs of `routes/check_ins.py`."""

from docs import EndpointDoc

GET_TICKET: EndpointDoc = {
    "summary": "Get your ticket",
    "description": """The ticket of your seat, as `Accept` asks: its text as
JSON, or a QR code as `image/svg+xml` or `image/png`.

It is signed, so that nobody can make one up, and stays the same until you give
the seat back.""",
}

CHECK_IN: EndpointDoc = {
    "summary": "Check a guest in",
    "description": """For the event's creator and admins: lets a guest in, once.

Send the `ticket` that the QR code holds; for a guest without a phone, the
`user_id` from the list of guests. A second scan answers 409 with the time of
the first; the same `nonce` again is the same scan, and answers as before.""",
    "response_description": "The guest who came in.",
}

CHECK_IN_ALL: EndpointDoc = {
    "summary": "Send scans that were taken offline",
    "description": """For the event's creator and admins: up to 500 scans with
their own times, also after the event.

Give each scan a `nonce` of its own: then the batch may be sent again when the
answer was lost. Scans count in the order of the list; each has its own
outcome, and those that are refused keep nobody else out.""",
}

COUNT_AT_DOOR: EndpointDoc = {
    "summary": "Count guests at the door",
    "description": "For the event's creator and admins: how many came in, of "
    "how many.",
}

UNDO_CHECK_IN: EndpointDoc = {
    "summary": "Undo a check-in",
    "description": "For the event's creator and admins: the guest is out "
    "again, and the ticket works once more. Where sessions are for those who "
    "came in, theirs is ended.",
}
