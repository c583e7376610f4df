"""Docs of `routes/boards.py`."""

from docs import EndpointDoc

GET_BOARD: EndpointDoc = {
    "summary": "See who computes at an event",
    "description": """For the event's creator and admins: its guests in the
order in which they came, who is in, and what runs on each seat: the last
session, its GPUs, and the last error.

What opens a session stays its owner's.""",
    "response_description": "A page of guests.",
}

EXTEND_ON_BOARD: EndpointDoc = {
    "summary": "Give sessions on seats more time",
    "description": """For the event's creator and admins: of some guests, or of
all who have a session. They may outlast the event's window where nobody else was
promised their GPUs, or has them then; to let all seats go on for longer, change
the event's end or `closes_minutes_after`.

Each guest has an outcome of their own.""",
    "response_description": "What became of each.",
}

RESTART_ON_BOARD: EndpointDoc = {
    "summary": "Start sessions on seats anew",
    "description": """For the event's creator and admins: ends what runs on the
seats of some guests, or of all who have a session, and starts new ones, some at
a time, as soon as the GPUs are given back. A guest who has none yet gets one.

What a session keeps in memory is lost. Each guest has an outcome of their own;
the board shows how it goes on.""",
    "response_description": "What became of each.",
}

END_ON_BOARD: EndpointDoc = {
    "summary": "End sessions on seats",
    "description": """For the event's creator and admins: of some guests, or of
all who have a session. They keep their seats, and may start new ones.

Each guest has an outcome of their own.""",
    "response_description": "What became of each.",
}

GET_USAGE: EndpointDoc = {
    "summary": "Report what an event's seats came to",
    "description": """For the event's creator and admins, during the event and
afterwards: sessions and GPU-hours of each attendee, who came, and how they
rated it.

`format=csv` answers a table (RFC 4180); a name that a spreadsheet would take
for a formula begins with an apostrophe.""",
}
