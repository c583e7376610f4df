"""Docs of `routes/service.py`, and of the API as a whole."""

from docs import EndpointDoc

DESCRIPTION = """The backend of a community that meets and computes together.

**Try it here:** register at *Users → Register*, press **Authorize**, and log
in with your e-mail as *username*.

**Errors** are `application/problem+json` (RFC 9457): read `detail`, and quote
`request_id` when you ask for help. **Lists** answer `items` and `next_cursor`.
**Limits:** `RateLimit` says how many requests are left, and `Retry-After` with
status 429 how long to wait. **Times** are RFC 3339 with an offset; answers are
UTC. **Changes** honour `If-Match`, reads `If-None-Match`. **What creates**
honours `Idempotency-Key`: send a random one, and repeat the request when its
answer gets lost."""

TAGS = [
    {
        "name": "Auth",
        "description": "Log in, stay logged in, log out; what a mail proves.",
    },
    {"name": "API keys", "description": "Keys for programs, with scopes."},
    {
        "name": "Users",
        "description": "Accounts and profiles, exports, closing.",
    },
    {
        "name": "Events",
        "description": "Publish, find, change, approve gatherings.",
    },
    {
        "name": "RSVPs",
        "description": "Seats, waiting lists, invitations, guests.",
    },
    {"name": "Check-in", "description": "Tickets, and the door."},
    {
        "name": "Images",
        "description": "Pictures of events and members.",
    },
    {"name": "Feedback", "description": "What members think of events."},
    {
        "name": "Compute",
        "description": "Processes, and the tasks that call them.",
    },
    {
        "name": "Sessions",
        "description": "GPUs, and containers that members compute in.",
    },
    {
        "name": "Compute at events",
        "description": "What seats grant, and the organiser's board.",
    },
    {"name": "Audit", "description": "Who did what to whom, for admins."},
    {
        "name": "Calendars",
        "description": "Subscribe to events, import calendar files.",
    },
    {
        "name": "Sessions",
        "description": "GPUs, and containers that compute on them.",
    },
    {"name": "Tiers", "description": "Who may use how much."},
    {"name": "Service", "description": "What this service is."},
]

GET_SERVICE: EndpointDoc = {
    "summary": "What this is",
    "description": """Name and version of the service, and where its docs are.

The version is for those who may read the docs; where not everybody may, it is
null here, and stands in `/openapi.json`.""",
}
