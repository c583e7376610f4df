"""Docs of `routes/sessions.py`."""

from docs import EndpointDoc

START_SESSION: EndpointDoc = {
    "summary": "Start a session",
    "description": """A container of a template, with GPUs of its own.

It gets all the GPUs that it asks for, or none: where they are taken, promised
to the seats of events, or others wait for them, the answer is 409 with the
length of the line and the earliest end of a session. Who was offered GPUs in
line gets these.

The session is `starting` until its port answers, then `running`. What runs in
it is at `url`, through Muster, over HTTP and WebSocket, for you alone: send what
shows who you are, as everywhere, or the session's own `token` as
`Authorization: token …`; a browser opens `url?token=…`, and gets a cookie. Nobody
else sees the token. With `event_id` your seat at that event grants
it, which costs nothing of your quota.""",
    "response_description": "The new session.",
}

LIST_SESSIONS: EndpointDoc = {
    "summary": "List sessions",
    "description": "Your sessions, the latest first; for admins, with `all`, "
    "those of everybody.",
    "response_description": "A page of sessions.",
}

GET_SESSION: EndpointDoc = {
    "summary": "Read a session",
    "description": """Your own; an admin sees any, without its token.

`expires_soon` turns true some minutes before its end, when you get an e-mail.
`end_reason` and `error` say why it ended.""",
}

EXTEND_SESSION: EndpointDoc = {
    "summary": "Give a session more time",
    "description": """So many hours later it ends.

Within what its template allows since it began, and what your quota does. Its
GPUs may be promised to an event by then (409).""",
}

END_SESSION: EndpointDoc = {
    "summary": "End a session",
    "description": "It is `stopping` until its container is gone, then its "
    "GPUs are free again. What is over stays so.",
}

GET_SESSION_LOGS: EndpointDoc = {
    "summary": "Read a session's log",
    "description": """What its command wrote, both streams in order.

With `follow` the answer goes on until the session ends. Of a session that is
over nothing is left.""",
}

GET_SESSION_STATS: EndpointDoc = {
    "summary": "See what a session uses",
    "description": "Processors, memory, processes and network at the moment.",
}
