"""Docs of `routes/http_events.py`."""

from docs import EndpointDoc

LIST_HTTP_EVENTS: EndpointDoc = {
    "summary": "List the last requests",
    "description": """For admins: the last requests that all workers on all
machines have answered, the latest first; `HTTP_EVENTS_MAX` says how many are
kept (0: none).

Bodies are never kept. Secrets in headers, queries and paths are `***`. A
request is listed a moment after its answer, at most about a second. Requests to
`/health/…` and `/metrics` are left out: those who watch the service ask so
often that nothing else would stay.

`error` says what went wrong on Muster's side, or that the client went away.""",
    "response_description": "A page of requests.",
}

GET_HTTP_EVENT: EndpointDoc = {
    "summary": "Read one of the last requests",
    "description": """For admins: a request by the `X-Request-ID` of its answer.

With `X-Trace: 1` on a request, sent with an admin's access token, the calls of
Muster's own functions are noted, up to 2000: `traces` has them in order, and
`tree` draws them. Times include what a call waited for. Anybody else's wish for
a trace is ignored. `HTTP_EVENTS_TRACE` notes them for every request, which makes
each one much slower.""",
    "response_description": "The request.",
}
