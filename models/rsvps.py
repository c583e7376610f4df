"""RSVPs: who is invited to an event, goes, or waits for a seat."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator

from models.base import (
    ExtendedBaseModel,
    InputTime,
    ObjectId,
    PageQuery,
    RequestModel,
    UtcTime,
    new_id,
    utc_now,
)
from models.events import EventRead
from models.users import MemberName

# A scanner's clock may be ahead of ours by so much.
_CLOCK_SKEW = timedelta(minutes=5)


class RsvpStatus(StrEnum):
    """What a member is to an event."""

    INVITED = "invited"
    GOING = "going"
    WAITLISTED = "waitlisted"


class Rsvp(ExtendedBaseModel):
    """A member's place at an event, as stored.

    Attributes:
        order: the number of the arrival; who waits is served in this order.
        invited: whether the member was asked to come, and stays so after
            leaving.
        checked_in_at: when the member came through the door.
        checked_in_by: who let them in.
        check_in_nonce: what the scanner called that scan, so that it may be
            sent again.
        revision: changes with every check-in and its undoing.
    """

    event_id: str
    user_id: str
    status: RsvpStatus
    order: int
    invited: bool = False
    created_at: UtcTime = Field(default_factory=utc_now)
    checked_in_at: UtcTime | None = None
    checked_in_by: str | None = None
    check_in_nonce: str | None = None
    revision: str = Field(default_factory=new_id)


class GuestImport(RequestModel):
    """A guest from elsewhere.

    Attributes:
        created_at: when they joined.
        checked_in_at: when they came in, if they did.
    """

    user_id: ObjectId
    created_at: InputTime
    checked_in_at: InputTime | None = None


class RsvpRead(BaseModel):
    """The caller's own place at an event."""

    event_id: str
    status: RsvpStatus | None = Field(description="Null without an RSVP.")
    position: int | None = Field(
        description="Place on the waiting list, from 1; null for others."
    )


class OwnRsvp(BaseModel):
    """One of the caller's events."""

    event: EventRead = Field(
        description="The event; why it was denied is said at its own address, "
        "to its creator."
    )
    status: RsvpStatus
    position: int | None
    created_at: datetime
    checked_in_at: datetime | None

    @field_validator("event")
    @classmethod
    def _hide_reason(cls, event: EventRead) -> EventRead:
        return event.model_copy(update={"denial_reason": None})


class Guest(BaseModel):
    """A guest, as the organiser sees them."""

    user: MemberName | None = Field(
        description="Null when the account was closed just now."
    )
    status: RsvpStatus
    position: int | None
    created_at: datetime
    checked_in_at: datetime | None


class ListFormat(StrEnum):
    """What a list of guests is written as."""

    JSON = "json"
    CSV = "csv"


class GuestQuery(PageQuery):
    """Which guests to list."""

    status: list[RsvpStatus] = Field(
        [RsvpStatus.GOING, RsvpStatus.WAITLISTED],
        max_length=3,
        description="Guests in any of these states.",
    )
    format: ListFormat = Field(
        ListFormat.JSON,
        description="`csv` answers all guests at once as a table, without "
        "pages.",
    )


class TicketForm(StrEnum):
    """What a ticket comes as."""

    JSON = "application/json"
    SVG = "image/svg+xml"
    PNG = "image/png"


class TicketRead(BaseModel):
    """The caller's ticket."""

    event_id: str
    ticket: str = Field(
        description="Letters and digits; upper and lower case are the same.",
        examples=["MXTUZHKVBBBSXOQJXHNLSFGUBVMR4FWMV5QBDI5WCTZX3ZM2Q7XQ"],
    )
    checked_in_at: datetime | None


class Scan(RequestModel):
    """A guest at the door: by ticket, or by name on the list."""

    ticket: str | None = Field(
        None, max_length=200, description="What the QR code says."
    )
    user_id: ObjectId | None = Field(
        None,
        description="Instead of a ticket: the guest, found on the list.",
    )
    scanned_at: InputTime | None = Field(
        None, description="When, if the scan is sent later; else now."
    )
    nonce: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="The scanner's own name of this scan: sending it again "
        "answers the same.",
        examples=["door-2/000117"],
    )

    @model_validator(mode="after")
    def _check_who(self) -> Self:
        if (self.ticket is None) == (self.user_id is None):
            raise ValueError("a scan has either a ticket or a user_id")
        return self

    @field_validator("scanned_at")
    @classmethod
    def _check_when(cls, scanned_at: datetime | None) -> datetime | None:
        if scanned_at is not None and scanned_at > utc_now() + _CLOCK_SKEW:
            raise ValueError("scanned_at lies in the future")
        return scanned_at


class ScanBatch(RequestModel):
    """Scans that were taken offline."""

    scans: list[Scan] = Field(
        min_length=1,
        max_length=500,
        examples=[
            [
                {
                    "ticket": "MXTUZHKVBBBSXOQJXHNLSFGUBVMR4FWMV5QBDI5WCT",
                    "scanned_at": "2026-05-01T18:31:07+02:00",
                    "nonce": "door-2/000117",
                }
            ]
        ],
    )


class CheckInRead(BaseModel):
    """A guest who came in."""

    event_id: str
    user: MemberName | None
    checked_in_at: datetime


class ScanOutcome(BaseModel):
    """What became of one scan of a batch."""

    nonce: str | None
    checked_in: bool = Field(description="True when this scan let them in.")
    problem: str | None = Field(
        description="Type of the problem if it did not, as a single check-in "
        "would answer it.",
        examples=["/problems/already-checked-in"],
    )
    detail: str | None
    user: MemberName | None
    checked_in_at: datetime | None


class ScanOutcomes(BaseModel):
    """What became of each scan, in their order."""

    outcomes: list[ScanOutcome]


class DoorCounts(BaseModel):
    """How full it is."""

    event_id: str
    capacity: int
    seats_taken: int
    waitlisted: int
    checked_in: int
