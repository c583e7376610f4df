"""Docs of `routes/health.py`."""

from docs import EndpointDoc

GET_LIVE: EndpointDoc = {
    "summary": "Is the process alive?",
    "description": """For whoever restarts what hangs: it asks nobody else.

It needs no key and no login, and counts for no rate limit.""",
}

GET_READY: EndpointDoc = {
    "summary": "Can the process serve?",
    "description": """For load balancers: a process that starts or stops, or
whose database does not answer, should get no requests.

Each part is asked at the same time, within a time limit of its own: `ok`,
`failed` or `timed out`. Why it failed stands in the log only. It needs no key
and no login, and counts for no rate limit.""",
    "response_description": "Every part is well.",
}
