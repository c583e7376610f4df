"""Boards: who of an event's guests computes, as shown; and what it came to."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from models.base import JsonBool, ObjectId, PageQuery, RequestModel
from models.rsvps import Guest, ListFormat, RsvpStatus
from models.session_templates import Hours
from models.sessions import EndReason, Session, SessionStatus
from models.users import MemberName

MOST_CHOSEN = 500


class BoardSession(BaseModel):
    """The last session on a guest's seat, without what opens it."""

    id: str
    status: SessionStatus
    gpu_ids: list[str] = Field(description="The GPUs that it has, or had.")
    created_at: datetime
    running_at: datetime | None
    expires_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None

    @classmethod
    def of(cls, session: Session) -> Self:
        """What an organiser sees of `session`."""
        return cls.model_validate(session, from_attributes=True)


class BoardRow(BaseModel):
    """A guest, and what runs on their seat."""

    user: MemberName | None = Field(
        description="Null when the account was closed just now."
    )
    status: RsvpStatus
    checked_in_at: datetime | None
    session: BoardSession | None = Field(
        description="Null while they have started none."
    )
    last_error: str | None = Field(
        description="What went wrong last on this seat, with this session or "
        "an earlier one.",
        examples=["Its memory did not suffice."],
    )

    @classmethod
    def of(cls, guest: Guest, found: list[Session]) -> Self:
        """A guest with the sessions of their seat, the first one first."""
        errors = [each.error for each in found if each.error]
        return cls(
            user=guest.user,
            status=guest.status,
            checked_in_at=guest.checked_in_at,
            session=BoardSession.of(found[-1]) if found else None,
            last_error=errors[-1] if errors else None,
        )


class BoardQuery(PageQuery):
    """Which guests to list."""

    status: list[RsvpStatus] = Field(
        [RsvpStatus.GOING],
        max_length=3,
        description="Guests in any of these states.",
    )


class BoardChoice(RequestModel):
    """Whose sessions are meant."""

    user_ids: Annotated[
        list[ObjectId], Field(min_length=1, max_length=MOST_CHOSEN)
    ] | None = Field(
        None,
        description="These guests.",
        examples=[["0b0f3c9e-4d55-4b0e-8c0a-6f2f5d1c7a90"]],
    )
    all: JsonBool = Field(
        False, description="Instead: all who have a session on their seat."
    )

    @model_validator(mode="after")
    def _check_whose(self) -> Self:
        if (self.user_ids is None) == (not self.all):
            raise ValueError("name either user_ids, or all: true")
        return self


class BoardExtend(BoardChoice):
    """Whose sessions get more time."""

    hours: Hours = Field(
        description="So many hours later they end.",
        examples=[1.0],
    )


class BoardOutcome(BaseModel):
    """What became of one guest's session."""

    user_id: str
    done: bool
    session_id: str | None
    expires_at: datetime | None = Field(
        description="When it ends, after it was extended."
    )
    problem: str | None = Field(
        description="Type of the problem if it was not done.",
        examples=["/problems/session-not-found"],
    )
    detail: str | None


class BoardOutcomes(BaseModel):
    """What became of each."""

    outcomes: list[BoardOutcome]


class UsageQuery(RequestModel):
    """What a report is written as."""

    format: ListFormat = Field(
        ListFormat.JSON, description="`csv` answers a table."
    )


class UsageRow(BaseModel):
    """What one attendee had of an event."""

    user: MemberName | None = Field(description="Null for a closed account.")
    user_id: str
    checked_in_at: datetime | None
    sessions: int = Field(description="How many they started.")
    failed: int = Field(description="How many of these failed.")
    gpu_hours: float = Field(examples=[1.75])
    rating: int | None = Field(description="Of their feedback, 1 to 5.")


class UsageReport(BaseModel):
    """What an event's seats came to, during it and afterwards."""

    event_id: str
    seats_taken: int
    checked_in: int
    computed: int = Field(description="Attendees who started a session.")
    gpu_hours: float
    average_rating: float | None
    attendees: list[UsageRow] = Field(
        description="Who has a seat, or started a session on one that they "
        "gave back."
    )
