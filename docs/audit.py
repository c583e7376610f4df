"""Docs of `routes/audit.py`."""

from docs import EndpointDoc

LIST_AUDIT: EndpointDoc = {
    "summary": "Read the audit",
    "description": """For admins: who did what to whom, when, and from where.

Every deed of an admin and every event that concerns security is written down,
the latest first; nothing is ever changed or removed. `target` finds what
happened to a member or thing, `actor` what a member did. What is done to a
login is done to its member, and `facts` name the login.

`request_id` is the `X-Request-ID` of the request, as the log has it.""",
    "response_description": "A page of what was done.",
}
