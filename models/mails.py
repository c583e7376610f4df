"""Mails: those that wait to be sent, and what became of the others."""

from enum import StrEnum

from pydantic import Field

from models.base import ExtendedBaseModel, UtcTime, new_id, utc_now


class MailKind(StrEnum):
    """What a mail says."""

    EMAIL_VERIFICATION = "email-verification"
    PASSWORD_RESET = "password-reset"
    WELCOME = "welcome"
    EVENT_APPROVED = "event-approved"
    EVENT_DENIED = "event-denied"
    EVENT_CHANGED = "event-changed"
    EVENT_CANCELLED = "event-cancelled"
    EVENT_REMINDER = "event-reminder"
    EVENT_HANDED_OVER = "event-handed-over"
    EVENT_INVITATION = "event-invitation"
    SEAT_PROMOTION = "seat-promotion"
    SESSION_EXPIRES = "session-expires"
    SESSION_OFFERED = "session-offered"
    COMPUTE_SHORT = "compute-short"


class MailState(StrEnum):
    """Where a mail is in its life; the last five are ends."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    DROPPED = "dropped"
    REFUSED = "refused"
    GIVEN_UP = "given-up"
    UNKNOWN = "unknown"


class Mail(ExtendedBaseModel):
    """A mail that waits: what it says, and to whom; not yet its text.

    Its text is made when it is sent, so that it goes to the member's address
    of that moment and no token is ever stored.

    Attributes:
        key: says what the mail is about; there is never a second one with it.
        kind: what it says.
        user_id: the member whom it goes to; None for `email` or `guests_of`.
        email: an address that somebody typed, who may or may not be a member,
            as `users.email_key` makes it.
        guests_of: the event to whose guests it goes, one mail each.
        event_id: the event that it is about.
        facts: what it says besides.
        bulk: whether it is one of many alike, and lets others go first.
        due_at: when it is sent, or tried again, at the earliest; None when
            nothing is to be done any more.
        state: where it is in its life.
        attempts: how often sending was begun.
        expires_at: when it is forgotten; None before its end.
        revision: changes with every change; who claims a mail names it.
    """

    key: str
    kind: MailKind
    user_id: str | None = None
    email: str | None = None
    guests_of: str | None = None
    event_id: str | None = None
    facts: dict[str, str] = {}
    bulk: bool = False
    created_at: UtcTime = Field(default_factory=utc_now)
    due_at: UtcTime | None = Field(default_factory=utc_now)
    state: MailState = MailState.WAITING
    attempts: int = 0
    expires_at: UtcTime | None = None
    revision: str = Field(default_factory=new_id)
