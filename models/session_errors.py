"""What can go wrong with sessions: a branch of the tree in `exceptions.py`.

    ForbiddenError
    └── NotEntitledError             403 not-entitled
    NotFoundError
    ├── TemplateNotFoundError        404 template-not-found
    ├── SessionNotFoundError         404 session-not-found
    ├── SessionRequestNotFoundError  404 session-request-not-found
    ├── EventComputeNotFoundError    404 event-compute-not-found
    └── RehearsalNotFoundError       404 rehearsal-not-found
    ConflictError
    ├── TemplateExistsError          409 template-exists
    ├── TemplateInUseError           409 template-in-use
    ├── NoGpuFreeError               409 no-gpu-free
    ├── NotEnoughGpusError           409 not-enough-gpus
    ├── RehearsalRunsError           409 rehearsal-runs
    ├── SessionStateError            409 session-state
    ├── SessionRefusedError          409 session-refused
    └── SessionRequestExistsError    409 session-request-exists
    MusterError
    ├── TooManySessionsError         429 too-many-sessions
    ├── SessionUnreachableError      502 session-unreachable
    └── EngineUnavailableError       503 engine-unavailable
"""

from datetime import datetime
from typing import Self

from models.exceptions import (
    ConflictError,
    ForbiddenError,
    MusterError,
    NotFoundError,
)


class NotEntitledError(ForbiddenError):
    """The caller has no seat that grants this session now."""

    title = "Not entitled"
    slug = "not-entitled"
    hint = "You have no seat at this event: PUT /v1/events/{id}/rsvp first."


class TemplateNotFoundError(NotFoundError):
    """No template has this name."""

    title = "Template not found"
    slug = "template-not-found"
    hint = "There is no such template; GET /v1/session-templates lists all."

    def __init__(self, name: str) -> None:
        super().__init__(facts={"template": name})


class SessionNotFoundError(NotFoundError):
    """No session has this id, or it is somebody else's."""

    title = "Session not found"
    slug = "session-not-found"
    hint = "You have no session with this id."

    def __init__(self, session_id: str) -> None:
        super().__init__(facts={"session_id": session_id})

    @classmethod
    def of_seat(cls, user_id: str) -> Self:
        """The error of a seat on which nothing runs."""
        fault = cls("")
        fault.detail = "Nothing runs on this member's seat."
        fault.facts = {"user_id": user_id}
        return fault


class SessionRequestNotFoundError(NotFoundError):
    """Nobody waits in line under this id, or somebody else does."""

    title = "Session request not found"
    slug = "session-request-not-found"
    hint = "You have no place in line with this id; it may have expired."

    def __init__(self, request_id: str) -> None:
        super().__init__(facts={"session_request_id": request_id})


class EventComputeNotFoundError(NotFoundError):
    """The seats of this event grant no sessions."""

    title = "No compute at this event"
    slug = "event-compute-not-found"
    hint = (
        "The seats of this event grant no sessions: its organiser may change "
        "that by PUT /v1/events/{id}/compute."
    )

    def __init__(self, event_id: str) -> None:
        super().__init__(facts={"event_id": event_id})


class RehearsalNotFoundError(NotFoundError):
    """Nobody has rehearsed the sessions of this event."""

    title = "No rehearsal"
    slug = "rehearsal-not-found"
    hint = (
        "Nobody has rehearsed the sessions of this event: POST "
        "/v1/events/{id}/compute/rehearsal does."
    )

    def __init__(self, event_id: str) -> None:
        super().__init__(facts={"event_id": event_id})


class TemplateExistsError(ConflictError):
    """Another template has this name."""

    title = "Template exists"
    slug = "template-exists"
    hint = "There is a template of this name: change it, or take another name."

    def __init__(self, name: str) -> None:
        super().__init__(facts={"template": name})


class TemplateInUseError(ConflictError):
    """Events' seats grant sessions of this template."""

    title = "Template in use"
    slug = "template-in-use"
    hint = "Events that are not over grant sessions of this template."

    def __init__(self, name: str, event_id: str) -> None:
        super().__init__(facts={"template": name, "event_id": event_id})


class NoGpuFreeError(ConflictError):
    """So many GPUs are not free for that long."""

    title = "No GPU free"
    slug = "no-gpu-free"
    hint = (
        "All GPUs are taken: get in line by POST /v1/session-requests, or ask "
        "again when the first session expires."
    )

    def __init__(
        self,
        *,
        asked: int,
        free: int,
        queue_length: int,
        earliest_expiry: datetime | None,
        detail: str = "",
    ) -> None:
        super().__init__(
            detail,
            {
                "asked": asked,
                "free": free,
                "queue_length": queue_length,
                "earliest_expiry": earliest_expiry
                and earliest_expiry.isoformat().replace("+00:00", "Z"),
            },
        )


class NotEnoughGpusError(ConflictError):
    """The inventory has too few GPUs for all seats in that window."""

    title = "Not enough GPUs"
    slug = "not-enough-gpus"
    hint = (
        "4 GPUs are free of other events in that window, which is enough for "
        "4 seats: lower the capacity, or the GPUs of each seat."
    )

    def __init__(
        self, *, seats: int, gpus_per_seat: int, feasible: int
    ) -> None:
        super().__init__(
            f"{seats} seats with {gpus_per_seat} GPUs each are more than other "
            f"events and sessions leave in that window: {feasible} seats are "
            "feasible.",
            {
                "seats": seats,
                "gpus_per_seat": gpus_per_seat,
                "feasible_seats": feasible,
            },
        )


class RehearsalRunsError(ConflictError):
    """Another rehearsal of the event is not over."""

    title = "Rehearsal runs"
    slug = "rehearsal-runs"
    hint = "A rehearsal of this event runs: wait for its report."

    def __init__(self, event_id: str) -> None:
        super().__init__(facts={"event_id": event_id})


class SessionStateError(ConflictError):
    """The session is in a state in which this can't be done."""

    title = "Wrong state"
    slug = "session-state"
    hint = "This session is over: start a new one by POST /v1/sessions."

    def __init__(
        self, session_id: str, *, status: str, detail: str = ""
    ) -> None:
        super().__init__(
            detail, {"session_id": session_id, "state": status}
        )


class SessionRefusedError(ConflictError):
    """The engine can't start such a session; nothing is left of it."""

    title = "Session refused"
    slug = "session-refused"
    hint = (
        "The image lab:2 is not there and can't be pulled: an admin corrects "
        "the template."
    )

    def __init__(self, *, fault: str, detail: str) -> None:
        super().__init__(detail, {"fault": fault})


class SessionRequestExistsError(ConflictError):
    """The caller waits in line already."""

    title = "In line already"
    slug = "session-request-exists"
    hint = "You wait in line already: leave it first to ask for something else."

    def __init__(self, request_id: str) -> None:
        super().__init__(facts={"session_request_id": request_id})


class TooManySessionsError(MusterError):
    """The caller has used what their tier grants."""

    status = 429
    title = "Too many sessions"
    slug = "too-many-sessions"
    hint = "2 sessions at the same time are your quota: end one of them first."

    def __init__(
        self, quota: str, *, limit: float, detail: str, retry_seconds: int
    ) -> None:
        super().__init__(
            detail,
            {"quota": quota, "limit": limit},
            {"Retry-After": str(max(1, retry_seconds))},
        )


class SessionUnreachableError(MusterError):
    """What runs in the session does not answer."""

    status = 502
    title = "Session unreachable"
    slug = "session-unreachable"
    hint = "Nothing answers in this session: its logs may say why."

    def __init__(self, session_id: str) -> None:
        super().__init__(facts={"session_id": session_id})


class EngineUnavailableError(MusterError):
    """What runs containers is switched off, or does not answer."""

    status = 503
    title = "Engine unavailable"
    slug = "engine-unavailable"
    hint = "Sessions can't be started at present: try again in a minute."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers={"Retry-After": "60"})
