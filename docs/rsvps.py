"""Docs of `routes/rsvps.py`."""

from docs import EndpointDoc

JOIN_EVENT: EndpointDoc = {
    "summary": "Take a seat, or wait for one",
    "description": """Takes a seat while there are any: you are `going`.

When all are taken you are `waitlisted`, and `position` says how many are
served before you, yourself included. Asking again changes nothing. When a seat
becomes free, the first in line gets it and a mail.""",
    "response_description": "Your place.",
}

LEAVE_EVENT: EndpointDoc = {
    "summary": "Give the seat back",
    "description": "Leaves the event or its waiting list; the first in line "
    "gets the seat. Asking again changes nothing. A ticket is withdrawn with "
    "its seat, and a session that runs on it is ended. Who was checked in "
    "stays: the seat is in use.",
    "response_description": "Your place: `status` is null.",
}

GET_OWN_RSVP: EndpointDoc = {
    "summary": "Read your place at an event",
    "description": "Whether you are invited, go, or wait, and at which "
    "position.",
}

LIST_GUESTS: EndpointDoc = {
    "summary": "List an event's guests",
    "description": """For its creator and admins: who goes and who waits, in the
order in which they came.

`format=csv` answers all of them as a table (RFC 4180) instead of a page; a
name that a spreadsheet would take for a formula begins with an apostrophe.
`status=invited` lists those who have not answered yet.""",
}

LIST_OWN_RSVPS: EndpointDoc = {
    "summary": "List your RSVPs",
    "description": "The events that you are invited to, go to, or wait for; "
    "the one that you joined last comes first.",
}

INVITE_MEMBER: EndpointDoc = {
    "summary": "Invite a member",
    "description": """For the event's creator and admins. The member gets a
mail, and sees the event even if it is private.

An invitation holds no seat. Asking again changes nothing.""",
    "response_description": "The guest.",
}

UNINVITE_MEMBER: EndpointDoc = {
    "summary": "Take an invitation back",
    "description": "For the event's creator and admins. A member who goes or "
    "waits keeps the place.",
}
