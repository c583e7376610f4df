"""Everything that can go wrong, as a tree.

    MusterError
    ├── UnknownHostError                 400 unknown-host
    ├── PreflightRefusedError            400 preflight-refused
    ├── NotAuthenticatedError            401 not-authenticated
    │   ├── BadCredentialsError          401 bad-credentials
    │   └── MissingKeyError              401 missing-key
    ├── ForbiddenError                   403 forbidden
    │   └── InsufficientScopeError       403 insufficient-scope
    ├── NotFoundError                    404 not-found
    │   ├── UserNotFoundError            404 user-not-found
    │   ├── LoginNotFoundError           404 login-not-found
    │   ├── ApiKeyNotFoundError          404 api-key-not-found
    │   ├── EventNotFoundError           404 event-not-found
    │   ├── RsvpNotFoundError            404 rsvp-not-found
    │   ├── FeedbackNotFoundError        404 feedback-not-found
    │   ├── ForeignTicketError           404 foreign-ticket
    │   ├── ImageNotFoundError           404 image-not-found
    │   ├── TierNotFoundError            404 tier-not-found
    │   ├── RateLimitNotFoundError       404 rate-limit-not-found
    │   ├── HttpEventNotFoundError       404 http-event-not-found
    │   ├── ProcessNotFoundError         404 process-not-found
    │   └── TaskNotFoundError            404 task-not-found
    ├── MethodNotAllowedError            405 method-not-allowed
    ├── NotAcceptableError               406 not-acceptable
    ├── ConflictError                    409 (abstract)
    │   ├── EmailTakenError              409 email-taken
    │   ├── TooManyApiKeysError          409 too-many-api-keys
    │   ├── IdempotencyKeyInFlightError  409 idempotency-key-in-flight
    │   ├── EventClosedError             409 event-closed
    │   ├── CapacityBelowSeatsError      409 capacity-below-seats
    │   ├── AlreadyDecidedError          409 already-decided
    │   ├── EventNotStartedError         409 event-not-started
    │   ├── FeedbackExistsError          409 feedback-exists
    │   ├── NoSeatError                  409 no-seat
    │   ├── TicketWithdrawnError         409 ticket-withdrawn
    │   ├── CheckInUndoneError           409 check-in-undone
    │   ├── AlreadyCheckedInError        409 already-checked-in
    │   ├── TierExistsError              409 tier-exists
    │   ├── TierInUseError               409 tier-in-use
    │   ├── RateLimitExistsError         409 rate-limit-exists
    │   ├── TaskStateError               409 task-state
    │   ├── TaskFailedError              409 task-failed
    │   └── TaskCancelledError           409 task-cancelled
    ├── StaleError                       412 precondition-failed
    ├── BodyTooLargeError                413 body-too-large
    ├── UnsupportedMediaTypeError        415 unsupported-media-type
    ├── RangeNotSatisfiableError         416 range-not-satisfiable
    ├── InvalidRequestError              422 invalid-request
    ├── ForgedTicketError                422 forged-ticket
    ├── InvalidTokenError                422 invalid-token
    ├── IdempotencyKeyReusedError        422 idempotency-key-reused
    ├── TooManyAttemptsError             429 too-many-attempts
    ├── RateLimitedError                 429 rate-limited
    ├── TooManyTasksError                429 too-many-tasks
    ├── InternalError                    500 internal-error
    ├── DatabaseUnavailableError         503 database-unavailable
    ├── KeysUnavailableError             503 keys-unavailable
    ├── NotReadyError                    503 not-ready
    └── RateLimitUnavailableError        503 rate-limit-unavailable

What can go wrong with sessions is a branch of its own: `session_errors.py`.
A class says what happened; its constructor takes the facts, which become
members of the problem+json answer (RFC 9457). `routes/problems.py` makes it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar


class MusterError(Exception):
    """A problem that a caller is told about.

    Attributes:
        status: the HTTP status.
        title: what kind of problem it is, the same for each occurrence.
        slug: the last part of the problem's `type`.
        hint: the detail of an example, for the docs.
        detail: what happened this time, and what to do about it.
        facts: further members of the answer.
        headers: headers that the status requires.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal-error"
    hint: ClassVar[str] = ""

    def __init__(
        self,
        detail: str = "",
        facts: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.hint)
        self.detail = detail or self.hint
        self.facts = dict(facts or {})
        self.headers = dict(headers or {})


class UnknownHostError(MusterError):
    """The Host header names no host of ours, or not exactly one."""

    status = 400
    title = "Unknown host"
    slug = "unknown-host"
    hint = "Send the request to one of the names that ALLOWED_HOSTS lists."


class PreflightRefusedError(MusterError):
    """A page of another site may not call like this."""

    status = 400
    title = "Preflight refused"
    slug = "preflight-refused"
    hint = "CORS does not allow this origin: CORS_ORIGINS lists those it does."

    def __init__(self, refused: str) -> None:
        super().__init__(
            f"CORS does not allow this {refused}: CORS_ORIGINS lists the "
            "origins, Access-Control-Allow-… the rest.",
            {"refused": refused.split(", ")},
        )


class NotAuthenticatedError(MusterError):
    """No credentials where they are needed, or bad ones."""

    status = 401
    title = "Not authenticated"
    slug = "not-authenticated"
    hint = (
        "Log in at POST /v1/auth/login and send the access token as "
        "'Authorization: Bearer …'."
    )

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class BadCredentialsError(NotAuthenticatedError):
    """The e-mail is unknown or the password wrong; nobody is told which."""

    title = "Bad credentials"
    slug = "bad-credentials"
    hint = "No account matches this e-mail and password."


class MissingKeyError(NotAuthenticatedError):
    """The service wants a key of everybody who calls."""

    title = "Missing key"
    slug = "missing-key"
    hint = "Send this service's key, or one of your own, as X-API-Key."

    def __init__(self, header: str = "X-API-Key") -> None:
        super().__init__(
            f"Send this service's key, or one of your own, as {header}."
        )


class ForbiddenError(MusterError):
    """The caller is known, and may not do this."""

    status = 403
    title = "Forbidden"
    slug = "forbidden"
    hint = "Only an admin may do this."


class InsufficientScopeError(ForbiddenError):
    """The caller may do this, but not with this API key."""

    title = "Insufficient scope"
    slug = "insufficient-scope"
    hint = "This API key lacks the scope events:write."

    def __init__(self, needed_scope: str | None) -> None:
        super().__init__(
            "No API key may do this: log in at POST /v1/auth/login instead."
            if needed_scope is None
            else f"This API key lacks the scope {needed_scope}.",
            {"needed_scope": needed_scope},
        )


class NotFoundError(MusterError):
    """There is nothing here, or nothing that the caller may know of."""

    status = 404
    title = "Not found"
    slug = "not-found"
    hint = "Nothing is served at this path: /docs lists what is."


class UserNotFoundError(NotFoundError):
    """No member has this id."""

    title = "Member not found"
    slug = "user-not-found"
    hint = "There is no member with this id."

    def __init__(self, user_id: str) -> None:
        super().__init__(facts={"user_id": user_id})


class LoginNotFoundError(NotFoundError):
    """The caller has no login with this id."""

    title = "Login not found"
    slug = "login-not-found"
    hint = "You have no login with this id: GET /v1/auth/logins lists yours."

    def __init__(self, login_id: str) -> None:
        super().__init__(facts={"login_id": login_id})


class ApiKeyNotFoundError(NotFoundError):
    """The caller has no API key with this id."""

    title = "API key not found"
    slug = "api-key-not-found"
    hint = "You have no API key with this id: GET /v1/api-keys lists yours."

    def __init__(self, key_id: str) -> None:
        super().__init__(facts={"key_id": key_id})


class EventNotFoundError(NotFoundError):
    """No event has this id, or the caller may not know of it."""

    title = "Event not found"
    slug = "event-not-found"
    hint = "There is no event with this id, or it is not open to you."

    def __init__(self, event_id: str) -> None:
        super().__init__(facts={"event_id": event_id})


class RsvpNotFoundError(NotFoundError):
    """This member has no seat at this event."""

    title = "RSVP not found"
    slug = "rsvp-not-found"
    hint = "This member has no seat at this event."

    def __init__(self, event_id: str, user_id: str) -> None:
        super().__init__(facts={"event_id": event_id, "user_id": user_id})


class FeedbackNotFoundError(NotFoundError):
    """No feedback has this id, or the caller may not know of it."""

    title = "Feedback not found"
    slug = "feedback-not-found"
    hint = "There is no feedback with this id, or it is not open to you."

    def __init__(self, feedback_id: str) -> None:
        super().__init__(facts={"feedback_id": feedback_id})


class ForeignTicketError(NotFoundError):
    """The ticket is good, but at another event."""

    title = "Ticket of another event"
    slug = "foreign-ticket"
    hint = "This ticket is for another event."


class ImageNotFoundError(NotFoundError):
    """No image has this id."""

    title = "Image not found"
    slug = "image-not-found"
    hint = "There is no image with this id."

    def __init__(self, image_id: str) -> None:
        super().__init__(facts={"image_id": image_id})


class TierNotFoundError(NotFoundError):
    """No tier has this name."""

    title = "Tier not found"
    slug = "tier-not-found"
    hint = "There is no tier with this name: GET /v1/tiers lists them."

    def __init__(self, name: str) -> None:
        super().__init__(facts={"tier": name})


class RateLimitNotFoundError(NotFoundError):
    """The tier has no rate limit with this id."""

    title = "Rate limit not found"
    slug = "rate-limit-not-found"
    hint = "The tier has no rate limit with this id."

    def __init__(self, name: str, limit_id: str) -> None:
        super().__init__(facts={"tier": name, "rate_limit_id": limit_id})


class HttpEventNotFoundError(NotFoundError):
    """The ring has no request with this id, or not any more."""

    title = "HTTP event not found"
    slug = "http-event-not-found"
    hint = "None of the last requests has this id."

    def __init__(self, request_id: str) -> None:
        super().__init__(facts={"http_event_id": request_id})


class ProcessNotFoundError(NotFoundError):
    """No process is at this path."""

    title = "Process not found"
    slug = "process-not-found"
    hint = "There is no such process: GET /v1/processes lists them."


class TaskNotFoundError(NotFoundError):
    """No task has this id, or it is somebody else's."""

    title = "Task not found"
    slug = "task-not-found"
    hint = "You have no task with this id; it may have expired."

    def __init__(self, task_id: str) -> None:
        super().__init__(facts={"task_id": task_id})


class MethodNotAllowedError(MusterError):
    """The path exists, but not with this method."""

    status = 405
    title = "Method not allowed"
    slug = "method-not-allowed"
    hint = "The Allow header lists the methods of this path."

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(
            f"This path takes {', '.join(allowed)}.",
            {"allowed": list(allowed)},
            {"Allow": ", ".join(allowed)},
        )


class NotAcceptableError(MusterError):
    """The Accept header allows none of what there is."""

    status = 406
    title = "Not acceptable"
    slug = "not-acceptable"
    hint = "This comes as application/json, image/svg+xml or image/png."

    def __init__(self, offered: Sequence[str]) -> None:
        super().__init__(
            f"This comes as {', '.join(offered)}.", {"offered": list(offered)}
        )


class ConflictError(MusterError):
    """The request is fine, but not in the present state."""

    status = 409


class EmailTakenError(ConflictError):
    """Another account has this e-mail, whatever its letters' case."""

    title = "E-mail taken"
    slug = "email-taken"
    hint = "An account with this e-mail exists: log in, or use another one."

    def __init__(self, email: str, detail: str = "") -> None:
        super().__init__(detail, {"email": email})


class TooManyApiKeysError(ConflictError):
    """The caller has as many API keys as there may be."""

    title = "Too many API keys"
    slug = "too-many-api-keys"
    hint = "You have 50 API keys: revoke one first."

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You have {limit} API keys: revoke one first.", {"limit": limit}
        )


class IdempotencyKeyInFlightError(ConflictError):
    """An equal request with this key is not answered yet."""

    title = "Idempotency-Key in flight"
    slug = "idempotency-key-in-flight"
    hint = "An equal request is not answered yet: try again in a moment."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class EventClosedError(ConflictError):
    """The event is cancelled or past."""

    title = "Event closed"
    slug = "event-closed"
    hint = "This event is cancelled or past, and can't be changed any more."

    def __init__(
        self, event_id: str, event_status: str, detail: str = ""
    ) -> None:
        super().__init__(
            detail
            or f"This event is {event_status}, and can't be changed any more.",
            {"event_id": event_id, "event_status": event_status},
        )


class CapacityBelowSeatsError(ConflictError):
    """More seats are taken than the new capacity has."""

    title = "Capacity below seats taken"
    slug = "capacity-below-seats"
    hint = "The capacity can't fall below the seats that are taken."

    def __init__(self, capacity: int, seats_taken: int) -> None:
        super().__init__(
            f"{seats_taken} seats are taken: the capacity can't fall to "
            f"{capacity}.",
            {"capacity": capacity, "seats_taken": seats_taken},
        )


class AlreadyDecidedError(ConflictError):
    """The event is not waiting for a decision."""

    title = "Already decided"
    slug = "already-decided"
    hint = "This event does not wait for a decision."

    def __init__(self, event_id: str, approval: str) -> None:
        super().__init__(
            f"This event is {approval} already.",
            {"event_id": event_id, "approval": approval},
        )


class EventNotStartedError(ConflictError):
    """Nobody can say yet how the event was."""

    title = "Event not started"
    slug = "event-not-started"
    hint = "This event starts at 2030-05-01T16:30:00Z: wait until then."

    def __init__(self, event_id: str, starts_at: datetime) -> None:
        at = starts_at.isoformat().replace("+00:00", "Z")
        super().__init__(
            f"This event starts at {at}: wait until then.",
            {"event_id": event_id, "starts_at": at},
        )


class FeedbackExistsError(ConflictError):
    """The caller has rated this event."""

    title = "Feedback exists"
    slug = "feedback-exists"
    hint = "You have rated this event: change your feedback instead."

    def __init__(self, event_id: str) -> None:
        super().__init__(facts={"event_id": event_id})


class NoSeatError(ConflictError):
    """The caller has no seat, so there is no ticket."""

    title = "No seat"
    slug = "no-seat"
    hint = "You have no seat at this event: PUT …/rsvp asks for one."

    def __init__(self, event_id: str) -> None:
        super().__init__(facts={"event_id": event_id})


class TicketWithdrawnError(ConflictError):
    """The ticket was good, but its holder gave the seat back."""

    title = "Ticket withdrawn"
    slug = "ticket-withdrawn"
    hint = "This ticket is withdrawn: its holder gave the seat back."


class CheckInUndoneError(ConflictError):
    """This very scan was undone; sent again, it lets nobody in."""

    title = "Check-in undone"
    slug = "check-in-undone"
    hint = "This scan was undone: scan the ticket again, with a new nonce."


class AlreadyCheckedInError(ConflictError):
    """This guest came in before."""

    title = "Already checked in"
    slug = "already-checked-in"
    hint = "This guest came in at 2030-05-01T16:31:07Z already."

    def __init__(self, user_id: str, checked_in_at: datetime) -> None:
        at = checked_in_at.isoformat().replace("+00:00", "Z")
        super().__init__(
            f"This guest came in at {at} already.",
            {"user_id": user_id, "checked_in_at": at},
        )


class TierExistsError(ConflictError):
    """Another tier has this name."""

    title = "Tier exists"
    slug = "tier-exists"
    hint = "There is a tier with this name: change it, or choose another name."

    def __init__(self, name: str) -> None:
        super().__init__(facts={"tier": name})


class TierInUseError(ConflictError):
    """The tier has members."""

    title = "Tier in use"
    slug = "tier-in-use"
    hint = (
        "This tier has members: GET /v1/users?tier=… lists them; give them "
        "another one first."
    )

    def __init__(self, name: str) -> None:
        super().__init__(facts={"tier": name})


class RateLimitExistsError(ConflictError):
    """The tier has a rate limit for this path."""

    title = "Rate limit exists"
    slug = "rate-limit-exists"
    hint = "This tier has a rate limit for this path: change that one."

    def __init__(self, name: str, path: str) -> None:
        super().__init__(facts={"tier": name, "path": path})


class TaskStateError(ConflictError):
    """The task is in a state in which this can't be done."""

    title = "Wrong state"
    slug = "task-state"
    hint = "This task is running: cancel it first."

    def __init__(self, task_id: str, task_status: str, advice: str) -> None:
        super().__init__(
            f"This task is {task_status}: {advice}.",
            {"task_id": task_id, "task_status": task_status},
        )


class TaskFailedError(ConflictError):
    """The task has no result, because it failed."""

    title = "Task failed"
    slug = "task-failed"
    hint = "It took longer than 60 seconds."

    def __init__(self, task_id: str, kind: str, detail: str) -> None:
        super().__init__(detail, {"task_id": task_id, "kind": kind})


class TaskCancelledError(ConflictError):
    """The task has no result, because it was cancelled."""

    title = "Task cancelled"
    slug = "task-cancelled"
    hint = "This task was cancelled: it has no result."

    def __init__(self, task_id: str) -> None:
        super().__init__(facts={"task_id": task_id})


class StaleError(MusterError):
    """If-Match names another state than the present one."""

    status = 412
    title = "Precondition failed"
    slug = "precondition-failed"
    hint = (
        "Somebody changed it since you read it: read it again, and send the "
        "new ETag as If-Match."
    )


class BodyTooLargeError(MusterError):
    """The body is longer than Muster reads."""

    status = 413
    title = "Body too large"
    slug = "body-too-large"
    hint = "The body is over the limit."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The body is over the limit of {limit_bytes} bytes.",
            {"limit_bytes": limit_bytes},
        )


class UnsupportedMediaTypeError(MusterError):
    """The body, or the file in it, is of another type than is read here."""

    status = 415
    title = "Unsupported media type"
    slug = "unsupported-media-type"
    hint = "Send the body as application/json."

    def __init__(self, expected: str, *, part: str = "body") -> None:
        super().__init__(
            f"Send the {part} as {expected}.", {"expected": expected}
        )


class RangeNotSatisfiableError(MusterError):
    """The range that is asked for begins behind the end."""

    status = 416
    title = "Range not satisfiable"
    slug = "range-not-satisfiable"
    hint = "The range begins behind the end: see Content-Range."

    def __init__(self, length_bytes: int) -> None:
        super().__init__(
            f"The range begins behind the end of {length_bytes} bytes.",
            {"length_bytes": length_bytes},
            {"Content-Range": f"bytes */{length_bytes}"},
        )


class InvalidRequestError(MusterError):
    """The body, the query, the path or a header does not fit."""

    status = 422
    title = "Invalid request"
    slug = "invalid-request"
    hint = "body.title: Field required"

    def __init__(self, errors: Sequence[Mapping[str, object]]) -> None:
        first = errors[0]
        loc = first["loc"]
        where = (
            ".".join(str(part) for part in loc)
            if isinstance(loc, Sequence)
            else loc
        )
        super().__init__(f"{where}: {first['msg']}", {"errors": list(errors)})
        self.reason = str(first["msg"])

    @classmethod
    def at(
        cls, *loc: str, msg: str, kind: str = "value_error"
    ) -> "InvalidRequestError":
        """The error of one place, e.g. `at("body", "ends_at", msg=…)`."""
        return cls([{"loc": list(loc), "msg": msg, "type": kind}])


class ForgedTicketError(MusterError):
    """Nobody here signed this ticket."""

    status = 422
    title = "Forged ticket"
    slug = "forged-ticket"
    hint = "This is no ticket of ours: it was forged, or read wrongly."


class InvalidTokenError(MusterError):
    """A mailed token is unknown, used up, expired or of another e-mail."""

    status = 422
    title = "Invalid token"
    slug = "invalid-token"
    hint = "This token is used up, expired or mistyped: ask for a new mail."


class IdempotencyKeyReusedError(MusterError):
    """The key came with another request before."""

    status = 422
    title = "Idempotency-Key reused"
    slug = "idempotency-key-reused"
    hint = "This key came with another request: take a new one for this."


class TooManyAttemptsError(MusterError):
    """Too many logins failed for this e-mail."""

    status = 429
    title = "Too many attempts"
    slug = "too-many-attempts"
    hint = "Too many logins failed: wait, then try again."

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            f"Too many logins failed: try again in {retry_after_seconds} "
            "seconds.",
            {"retry_after_seconds": retry_after_seconds},
            {"Retry-After": str(retry_after_seconds)},
        )


class RateLimitedError(MusterError):
    """The caller has made all requests that the period admits."""

    status = 429
    title = "Rate limited"
    slug = "rate-limited"
    hint = "100 requests in 60 seconds are admitted: wait 17 seconds."

    def __init__(
        self, limit: int, period_seconds: int, retry_after_seconds: int
    ) -> None:
        super().__init__(
            f"{limit} requests in {period_seconds} seconds are admitted: wait "
            f"{retry_after_seconds} seconds.",
            {
                "limit": limit,
                "period_seconds": period_seconds,
                "retry_after_seconds": retry_after_seconds,
            },
            {"Retry-After": str(retry_after_seconds)},
        )


class TooManyTasksError(MusterError):
    """The caller has as many tasks as they may have."""

    status = 429
    title = "Too many tasks"
    slug = "too-many-tasks"
    hint = "100 tasks of yours wait, which is the most that may: try again."

    def __init__(self, quota: str, limit: int, advice: str) -> None:
        super().__init__(
            f"Your quota of {limit} {quota} is used up: {advice}.",
            {"quota": quota, "limit": limit},
            {"Retry-After": str(_TASKS_RETRY_SECONDS)},
        )


# Sooner, hardly anything has ended.
_TASKS_RETRY_SECONDS = 10


class InternalError(MusterError):
    """A fault of Muster's own; the log has the details."""

    hint = "Something broke on our side; the request_id helps us to find it."


class DatabaseUnavailableError(MusterError):
    """The database did not answer in time."""

    status = 503
    title = "Database unavailable"
    slug = "database-unavailable"
    hint = "The database does not answer at present: try again in a moment."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class KeysUnavailableError(MusterError):
    """Whose tokens are good can't be found out at present."""

    status = 503
    title = "Keys unavailable"
    slug = "keys-unavailable"
    hint = "Firebase's keys can't be fetched at present: try again in a moment."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class NotReadyError(MusterError):
    """This process should get no requests at present."""

    status = 503
    title = "Not ready"
    slug = "not-ready"
    hint = "At present this process can't serve: database."

    def __init__(
        self, failing: Sequence[str], checks: Mapping[str, str]
    ) -> None:
        super().__init__(
            f"At present this process can't serve: {', '.join(failing)}.",
            {"checks": dict(checks)},
            {"Retry-After": "2"},
        )


class RateLimitUnavailableError(MusterError):
    """Requests can't be counted at present, and are refused meanwhile."""

    status = 503
    title = "Rate limit unavailable"
    slug = "rate-limit-unavailable"
    hint = "Requests can't be counted at present: try again in a moment."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})
