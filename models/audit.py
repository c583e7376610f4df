"""The audit: who did what to whom, when, from where."""

from enum import StrEnum

from pydantic import Field

from models.base import ExtendedBaseModel, UtcTime, utc_now


class AuditAction(StrEnum):
    """What is written down: admins' deeds, and what concerns security."""

    ACCOUNT_CLOSED = "account.closed"
    ACCOUNT_EXPORTED = "account.exported"
    CALENDAR_OPENED = "calendar.opened"
    CALENDAR_REVOKED = "calendar.revoked"
    EMAIL_CHANGED = "email.changed"
    EMAIL_VERIFIED = "email.verified"
    EVENT_APPROVED = "event.approved"
    EVENT_CANCELLED = "event.cancelled"
    EVENT_CHANGED = "event.changed"
    EVENT_DELETED = "event.deleted"
    EVENT_DENIED = "event.denied"
    FEEDBACK_DELETED = "feedback.deleted"
    IMAGE_DELETED = "image.deleted"
    LOGIN_CREATED = "login.created"
    LOGIN_FAILED = "login.failed"
    LOGIN_REUSED = "login.reused"
    LOGIN_REVOKED = "login.revoked"
    LOGINS_REVOKED = "logins.revoked"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REGISTERED = "member.registered"
    PASSWORD_CHANGED = "password.changed"
    PASSWORD_RESET = "password.reset"


class AuditEntry(ExtendedBaseModel):
    """One deed, as stored.

    Attributes:
        at: when.
        actor_id: the member who did it; None for a stranger or the operator.
        action: what was done.
        target_id: the member, event or other thing that it was done to.
        address: the address that the request came from.
        request_id: the request's id; `-` for the operator's commands.
        facts: what was changed, never a secret.
    """

    at: UtcTime = Field(default_factory=utc_now)
    actor_id: str | None
    action: AuditAction
    target_id: str | None
    address: str
    request_id: str
    facts: dict[str, str] = {}
