"""Calendars: what is read from an iCalendar file, and a member's own feed."""

from pydantic import BaseModel, Field

from models.events import EventCreate


class CalendarEntry(BaseModel):
    """One date of a calendar file.

    Attributes:
        uid: what the file knows the event by.
        recurrence: which of the dates of a recurring event; else empty.
        cancelled: the file says that it does not take place.
        event: what it would be here.
    """

    uid: str
    recurrence: str
    cancelled: bool
    event: EventCreate


class ImportProblem(BaseModel):
    """Something in a file that was not taken over, or not as it stands."""

    uid: str | None = Field(
        description="UID of the event in the file; null where there is none.",
        examples=["20300501T183000-42@example.org"],
    )
    reason: str = Field(examples=["DTSTART can't be read"])


class CalendarFile(BaseModel):
    """What is read from a calendar file."""

    entries: list[CalendarEntry]
    problems: list[ImportProblem]


class ImportResult(BaseModel):
    """What an import did."""

    created: int = Field(description="Events that were not here before.")
    updated: int = Field(description="Events that the file has changed.")
    unchanged: int = Field(description="Events that are here as in the file.")
    problems: list[ImportProblem]


class OwnCalendar(BaseModel):
    """Where a calendar program finds a member's own events."""

    url: str = Field(
        examples=["https://muster.example.org/v1/users/me/calendar.ics?token=…"]
    )
    token: str = Field(description="Its secret part, shown this once.")
