"""Docs of `routes/session_requests.py`."""

from docs import EndpointDoc

GET_IN_LINE: EndpointDoc = {
    "summary": "Get in line for GPUs",
    "description": """For when `POST /v1/sessions` answers `no-gpu-free`.

The line is served strictly in order; only who asks for more GPUs than there
are, or than seats of events leave for so many hours, waits until that has
changed. When the GPUs are free they are kept for you for some minutes, of
which you get a mail: `status` is `offered` then, and `POST /v1/sessions` with
the same template and GPUs, and no more hours, takes them. What is not taken in
time goes to the next one. Nobody waits twice: 409 `session-request-exists`.""",
    "response_description": "Your place in line.",
}

LIST_PLACES: EndpointDoc = {
    "summary": "List your places in line",
    "description": "The one that you have now, and those that were over "
    "within a day, the latest first.",
    "response_description": "A page of places.",
}

GET_PLACE: EndpointDoc = {
    "summary": "Read your place in line",
    "description": "How many are before you, and when it is your turn at the "
    "latest, if nobody's session is extended.",
}

LEAVE_LINE: EndpointDoc = {
    "summary": "Leave the line",
    "description": "What is kept for you goes to the next one.",
}
