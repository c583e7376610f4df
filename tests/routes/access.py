"""Who may do what: one line for each operation of /openapi.json.

`tests/routes/test_authorization.py` asks for each of them as everybody.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.contract import Operation


class Who(StrEnum):
    """Those who ask, as the thing that is asked for sees them."""

    ANONYMOUS = "anonymous"
    MEMBER = "member"  # has nothing to do with it
    OTHER = "other"  # has such a thing as well: goes to the same event
    OWNER = "owner"
    ORGANISER = "organiser"
    ADMIN = "admin"


MEMBERS: Final = frozenset(Who) - {Who.ANONYMOUS}
HOSTS: Final = frozenset({Who.ORGANISER, Who.ADMIN})


@dataclass(frozen=True)
class Access:
    """Who is let in.

    Attributes:
        admitted: those who are.
        others: the status that tells other members that they are not.
        is_blind: whether nobody looks at credentials, not even at bad ones.
    """

    admitted: frozenset[Who]
    others: int = 403
    is_blind: bool = False


_TABLE: Final[dict[Access, str]] = {
    # Whoever asks, with whatever they show; some look at a secret of their own.
    Access(frozenset(Who), is_blind=True): """
        GET /
        GET /health/live
        GET /health/ready
        GET /metrics
        GET /v1/images/{image_id}
        GET /v1/processes
        GET /v1/processes/{path}
        GET /v1/users/me/calendar.ics
        POST /v1/users
        POST /v1/auth/login
        POST /v1/auth/firebase
        POST /v1/auth/refresh
        POST /v1/auth/verify-email
        POST /v1/auth/password-reset/request
        POST /v1/auth/password-reset
    """,
    # Strangers as well, but nobody whose credentials are bad.
    Access(frozenset(Who)): """
        GET /v1/events
        GET /v1/events.ics
        GET /v1/events/{event_id}
        GET /v1/events/{event_id}.ics
        GET /v1/events/{event_id}/feedback
        GET /v1/feedback/{feedback_id}
        GET /v1/users/{user_id}
        POST /process_np_array
    """,
    # Every member: what it is about is their own, or everybody's.
    Access(MEMBERS): """
        POST /v1/events
        POST /v1/events/import
        PUT /v1/events/{event_id}/rsvp
        DELETE /v1/events/{event_id}/rsvp
        GET /v1/events/{event_id}/rsvp
        GET /v1/events/{event_id}/compute
        POST /v1/images
        GET /v1/users/me
        PATCH /v1/users/me
        DELETE /v1/users/me
        GET /v1/users/me/export
        GET /v1/users/me/rsvps
        POST /v1/users/me/calendar
        DELETE /v1/users/me/calendar
        POST /v1/auth/logout
        POST /v1/auth/logout-all
        GET /v1/auth/validate
        GET /v1/auth/logins
        POST /v1/auth/verify-email/request
        POST /v1/api-keys
        GET /v1/api-keys
        POST /v1/processes/classify
        POST /v1/processes/cluster
        POST /v1/processes/filter
        POST /v1/processes/histogram
        POST /v1/processes/np-array
        POST /v1/processes/pca
        POST /v1/processes/resample
        POST /v1/processes/spectrum
        GET /v1/tasks
        GET /v1/gpus
        POST /v1/session-requests
        GET /v1/session-requests
        GET /v1/session-templates
        GET /v1/session-templates/{name}
        POST /v1/sessions
        GET /v1/sessions
        GET /v1/tiers
        GET /v1/tiers/{name}
        GET /v1/tiers/{name}/rate-limits
        GET /v1/tiers/{name}/rate-limits/{limit_id}
    """,
    # Who goes to the event; the others could ask for a seat.
    Access(frozenset({Who.OWNER, Who.OTHER}), others=409): """
        GET /v1/events/{event_id}/ticket
    """,
    Access(frozenset({Who.OWNER, Who.OTHER})): """
        POST /v1/events/{event_id}/feedback
    """,
    Access(HOSTS): """
        PATCH /v1/events/{event_id}
        POST /v1/events/{event_id}/cancel
        GET /v1/events/{event_id}/rsvps
        PUT /v1/events/{event_id}/invitations/{user_id}
        DELETE /v1/events/{event_id}/invitations/{user_id}
        POST /v1/events/{event_id}/check-in
        GET /v1/events/{event_id}/check-in
        POST /v1/events/{event_id}/check-ins
        DELETE /v1/events/{event_id}/check-in/{user_id}
        PUT /v1/events/{event_id}/compute
        DELETE /v1/events/{event_id}/compute
        POST /v1/events/{event_id}/compute/rehearsal
        GET /v1/events/{event_id}/compute/rehearsal
        GET /v1/events/{event_id}/board
        POST /v1/events/{event_id}/board/extend
        POST /v1/events/{event_id}/board/restart
        POST /v1/events/{event_id}/board/end
        GET /v1/events/{event_id}/usage
    """,
    # Everybody may read it. Nobody puts words into another member's mouth.
    Access(frozenset({Who.OWNER})): """
        PATCH /v1/feedback/{feedback_id}
    """,
    Access(frozenset({Who.OWNER, Who.ADMIN})): """
        DELETE /v1/feedback/{feedback_id}
        DELETE /v1/images/{image_id}
    """,
    # Nobody else may even know of it.
    Access(frozenset({Who.OWNER, Who.ADMIN}), others=404): """
        GET /v1/tasks/{task_id}
        DELETE /v1/tasks/{task_id}
        GET /v1/tasks/{task_id}/result
        GET /v1/tasks/{task_id}/events
        POST /v1/tasks/{task_id}/cancel
        POST /v1/tasks/{task_id}/retry
        GET /result/{task_id}
        GET /v1/sessions/{session_id}
        DELETE /v1/sessions/{session_id}
        POST /v1/sessions/{session_id}/extend
        GET /v1/sessions/{session_id}/logs
        GET /v1/sessions/{session_id}/stats
    """,
    Access(frozenset({Who.OWNER}), others=404): """
        DELETE /v1/auth/logins/{login_id}
        DELETE /v1/api-keys/{key_id}
        GET /v1/session-requests/{session_request_id}
        DELETE /v1/session-requests/{session_request_id}
    """,
    Access(frozenset({Who.ADMIN})): """
        GET /v1/events/queue
        POST /v1/events/{event_id}/approve
        POST /v1/events/{event_id}/deny
        DELETE /v1/events/{event_id}
        GET /v1/users
        PATCH /v1/users/{user_id}
        GET /v1/audit
        GET /v1/http-events
        GET /v1/http-events/{request_id}
        POST /v1/session-templates
        PATCH /v1/session-templates/{name}
        DELETE /v1/session-templates/{name}
        POST /v1/tiers
        PATCH /v1/tiers/{name}
        DELETE /v1/tiers/{name}
        POST /v1/tiers/{name}/rate-limits
        PATCH /v1/tiers/{name}/rate-limits/{limit_id}
        DELETE /v1/tiers/{name}/rate-limits/{limit_id}
    """,
}

ACCESS: Final[dict[Operation, Access]] = {
    (method, path): access
    for access, lines in _TABLE.items()
    for method, path in map(str.split, lines.strip().splitlines())
}

# Who is let in and finds something missing that is no matter of rights: the
# tests have no Firebase and no engine.
MISSING: Final[dict[Operation, int]] = {
    ("POST", "/v1/auth/firebase"): 404,
    ("POST", "/v1/sessions"): 503,
    ("GET", "/v1/sessions/{session_id}/logs"): 503,
    ("GET", "/v1/sessions/{session_id}/stats"): 503,
}
