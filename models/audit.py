"""The audit: who did what to whom, when, from where."""

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, Field

from models.base import (
    ExtendedBaseModel,
    InputTime,
    ObjectId,
    PageQuery,
    UtcTime,
    utc_now,
)


class AuditAction(StrEnum):
    """What is written down: admins' deeds, and what concerns security."""

    ACCOUNT_CLOSED = "account.closed"
    ACCOUNT_EXPORTED = "account.exported"
    API_KEY_CREATED = "api-key.created"
    API_KEY_REVOKED = "api-key.revoked"
    CALENDAR_OPENED = "calendar.opened"
    CALENDAR_REVOKED = "calendar.revoked"
    EMAIL_CHANGED = "email.changed"
    EMAIL_VERIFIED = "email.verified"
    EVENT_APPROVED = "event.approved"
    EVENT_CANCELLED = "event.cancelled"
    EVENT_CHANGED = "event.changed"
    EVENT_COMPUTE_REHEARSED = "event.compute-rehearsed"
    EVENT_COMPUTE_SET = "event.compute-set"
    EVENT_COMPUTE_UNSET = "event.compute-unset"
    EVENT_DELETED = "event.deleted"
    EVENT_DENIED = "event.denied"
    EVENT_HANDED_OVER = "event.handed-over"
    FEEDBACK_DELETED = "feedback.deleted"
    FIREBASE_LINKED = "firebase.linked"
    GUEST_CHECKED_IN = "guest.checked-in"
    GUEST_CHECKED_OUT = "guest.checked-out"
    GUEST_INVITED = "guest.invited"
    GUEST_UNINVITED = "guest.uninvited"
    IMAGE_DELETED = "image.deleted"
    LOGIN_CREATED = "login.created"
    LOGIN_FAILED = "login.failed"
    LOGIN_REUSED = "login.reused"
    LOGIN_REVOKED = "login.revoked"
    LOGINS_REVOKED = "logins.revoked"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REGISTERED = "member.registered"
    PASSWORD_CHANGED = "password.changed"
    PASSWORD_REFUSED = "password.refused"
    PASSWORD_RESET = "password.reset"
    RATE_LIMIT_ADDED = "rate-limit.added"
    RATE_LIMIT_CHANGED = "rate-limit.changed"
    RATE_LIMIT_REMOVED = "rate-limit.removed"
    SESSION_ENDED = "session.ended"
    SESSION_EXTENDED = "session.extended"
    TEMPLATE_CHANGED = "template.changed"
    TEMPLATE_CREATED = "template.created"
    TEMPLATE_DELETED = "template.deleted"
    TIER_CHANGED = "tier.changed"
    TIER_CREATED = "tier.created"
    TIER_DELETED = "tier.deleted"


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


class AuditQuery(PageQuery):
    """Which deeds to list; the conditions are combined with *and*."""

    actor: ObjectId | None = Field(
        None, description="Only what this member did."
    )
    target: ObjectId | None = Field(
        None, description="Only what was done to this member, event or thing."
    )
    action: AuditAction | None = Field(
        None, description="Only deeds of this kind."
    )
    after: InputTime | None = Field(
        None, description="Only what was done at this time or later."
    )
    before: InputTime | None = Field(
        None, description="Only what was done before this time."
    )


class AuditRead(BaseModel):
    """One deed, as shown to admins."""

    id: str
    at: datetime
    action: AuditAction
    actor_id: str | None = Field(
        description="Who did it; null for a stranger, and for a command of "
        "the operator."
    )
    target_id: str | None = Field(
        description="The member, event or other thing that it was done to. "
        "A login's is its member."
    )
    address: str = Field(
        description="Where the request came from; empty for a command."
    )
    request_id: str = Field(
        description="X-Request-ID of the request; `-` for a command."
    )
    facts: dict[str, str] = Field(
        description="What was changed.",
        examples=[{"role": "member → admin"}],
    )

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """What an admin sees of `entry`."""
        return cls.model_validate(entry, from_attributes=True)
