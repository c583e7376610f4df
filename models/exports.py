"""The export: all that is kept about a member."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from models.api_keys import ApiKeyRead
from models.audit import AuditRead
from models.events import EventRead
from models.feedback import FeedbackRead
from models.images import ImageRead
from models.logins import LoginRead
from models.mails import Mail
from models.rsvps import Rsvp
from models.session_requests import SessionRequest
from models.sessions import SessionRead
from models.tasks import TaskRead
from models.users import PrivateUser


class KeptRsvp(BaseModel):
    """A place at an event, as it is kept."""

    event_id: str
    status: str
    invited: bool
    created_at: datetime
    checked_in_at: datetime | None

    @classmethod
    def of(cls, rsvp: Rsvp) -> Self:
        """What is kept of `rsvp`."""
        return cls.model_validate(rsvp, from_attributes=True)


class KeptMail(BaseModel):
    """A mail that was sent lately, or waits."""

    kind: str
    event_id: str | None
    created_at: datetime

    @classmethod
    def of(cls, mail: Mail) -> Self:
        """What is kept of `mail`."""
        return cls.model_validate(mail, from_attributes=True)


class KeptSessionRequest(BaseModel):
    """A place in line for GPUs, now or lately."""

    template: str
    gpus: int
    hours: float
    status: str
    created_at: datetime

    @classmethod
    def of(cls, request: SessionRequest) -> Self:
        """What is kept of `request`."""
        return cls.model_validate(request, from_attributes=True)


class AccountExport(BaseModel):
    """All that is kept about a member, the secrets' hashes left out."""

    exported_at: datetime
    account: PrivateUser
    firebase_id: str | None = Field(description="Who you are at Firebase.")
    logins: list[LoginRead]
    api_keys: list[ApiKeyRead]
    events: list[EventRead] = Field(description="Those that you created.")
    rsvps: list[KeptRsvp]
    feedback: list[FeedbackRead]
    images: list[ImageRead]
    mails: list[KeptMail]
    sessions: list[SessionRead]
    session_requests: list[KeptSessionRequest]
    tasks: list[TaskRead] = Field(
        description="Their arguments and results are at /v1/tasks."
    )
    audit: list[AuditRead] = Field(
        description="What you did, and what was done to you. Of others' "
        "deeds, actor_id is null, and address and request_id are empty."
    )
