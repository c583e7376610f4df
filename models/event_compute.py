"""What the seats of an event grant: as stored, as sent, as shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, Field, model_validator

from models.base import (
    ExtendedBaseModel,
    JsonBool,
    JsonInt,
    RequestModel,
    UtcTime,
    new_id,
    utc_now,
)
from models.session_templates import Gpus, TemplateName

MOST_REHEARSED: Final = 500

_DAY_MINUTES: Final = 24 * 60


class Prewarm(StrEnum):
    """What is made ready before the doors open."""

    NONE = "none"
    IMAGE = "image"
    START = "start"


class RehearsalStatus(StrEnum):
    """Where a rehearsal is."""

    RUNNING = "running"
    DONE = "done"


class Rehearsal(BaseModel):
    """Sessions that are started to see whether they come up, as stored.

    Attributes:
        id: what its sessions are known by, in the place of an event's id.
        owner_id: who asked for it; the sessions are theirs.
        sessions: how many were asked for.
        begun: how many of them were tried so far.
        refused: why some were not even begun.
        due_at: when a worker goes on with it; one that does puts it off, so
            that only a dead one's is found due.
        ends_at: what has not come up by then has failed.
        report: how it went; None while it runs.
    """

    id: str = Field(default_factory=new_id)
    owner_id: str
    sessions: int
    begun: int = 0
    refused: list[str] = []
    started_at: UtcTime = Field(default_factory=utc_now)
    due_at: UtcTime = Field(default_factory=utc_now)
    ends_at: UtcTime
    report: "RehearsalReport | None" = None

    @property
    def status(self) -> RehearsalStatus:
        """Whether it runs."""
        if self.report is None:
            return RehearsalStatus.RUNNING
        return RehearsalStatus.DONE


class RehearsalReport(BaseModel):
    """How a rehearsal went.

    Attributes:
        came_up: how many answered.
        p50_seconds: half of those that came up did so within this time.
        max_seconds: all of them did.
        errors: what went wrong, with how often.
    """

    came_up: int
    p50_seconds: float | None
    max_seconds: float | None
    errors: dict[str, int] = {}
    finished_at: UtcTime = Field(default_factory=utc_now)


class WantedSession(BaseModel):
    """A session that is to be started on a seat, as stored.

    Attributes:
        user_id: whose seat it is.
        until: later, nobody tries any more.
        instead_of: the session whose end it waits for; None for no one's.
    """

    user_id: str
    until: UtcTime
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a seat grants a member now.

    Attributes:
        template: the name of what they may run.
        gpus: how many GPUs it has.
        ends_at: when it ends at the latest.
    """

    template: str
    gpus: int
    ends_at: datetime


class SeatGrant(ExtendedBaseModel):
    """What the seats of an event grant; its id is the event's.

    Attributes:
        template: the name of what seats may run.
        gpus_per_seat: GPUs of each.
        seats: how many there are: the event's capacity.
        wanted_at: from when GPUs are wanted: earlier than `opens_at` where
            sessions are started before.
        opens_at: from when seats may start sessions.
        closes_at: when these end.
        needs_check_in: whether only those who came in may.
        prewarm: what is made ready before.
        prewarm_minutes: so long before `opens_at`.
        feasible_seats: for how many there are GPUs since some are missing;
            None while there are enough.
        warmed_at: when what is made ready before was begun.
        wanted: sessions that are to be started, those first that come first.
        due_at: when a worker goes on with these, see `Rehearsal`.
        rehearsal: the last one.
        revision: changes with every change; who changes it names it.
    """

    template: str
    gpus_per_seat: int
    seats: int
    opens_minutes_before: int
    closes_minutes_after: int
    needs_check_in: bool = False
    prewarm: Prewarm = Prewarm.NONE
    prewarm_minutes: int = 0
    wanted_at: UtcTime
    opens_at: UtcTime
    closes_at: UtcTime
    feasible_seats: int | None = None
    warmed_at: UtcTime | None = None
    wanted: list[WantedSession] = []
    due_at: UtcTime = Field(default_factory=utc_now)
    rehearsal: Rehearsal | None = None
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)
    revision: str = Field(default_factory=new_id)

    @property
    def gpus(self) -> int:
        """GPUs of all its seats."""
        return self.seats * self.gpus_per_seat

    def covers(self, gpus: int, now: datetime) -> bool:
        """Whether so many GPUs of a seat are among those that it wants now."""
        return self.wanted_at <= now and gpus <= self.gpus_per_seat

    def wanting(self, more: Sequence[WantedSession]) -> Self:
        """The grant with more sessions that are to be started, each once."""
        ids = {each.user_id for each in more}
        rest = [each for each in self.wanted if each.user_id not in ids]
        return self.model_copy(update={"wanted": [*rest, *more]})

    @property
    def warm_at(self) -> datetime:
        """When making ready begins."""
        return self.opens_at - timedelta(minutes=self.prewarm_minutes)


class PromisesTurn(ExtendedBaseModel):
    """What those write who promise or lease GPUs at the same time, as stored.

    Attributes:
        revision: changes with every turn.
    """

    revision: str


_Minutes = Annotated[JsonInt, Field(ge=0, le=_DAY_MINUTES)]


class ComputeWrite(RequestModel):
    """What the seats of an event are to grant."""

    template: TemplateName = Field(
        description="Name of a template.", examples=["notebook"]
    )
    gpus_per_seat: Gpus = Field(
        description="GPUs of each seat's session.", examples=[1]
    )
    opens_minutes_before: _Minutes = Field(
        0,
        description="So long before the event starts, sessions may start.",
        examples=[15],
    )
    closes_minutes_after: _Minutes = Field(
        0,
        description="So long after the event ends, sessions end.",
        examples=[30],
    )
    needs_check_in: JsonBool = Field(
        False, description="Whether only those may who have checked in."
    )
    prewarm: Prewarm = Field(
        Prewarm.NONE,
        description="What is made ready before sessions may start: `image` is "
        "pulled; with `start`, sessions are started for all who go.",
    )
    prewarm_minutes: _Minutes = Field(
        10, description="So long before that.", examples=[10]
    )

    @model_validator(mode="after")
    def _check_prewarm(self) -> Self:
        if self.prewarm is Prewarm.START and self.needs_check_in:
            raise ValueError(
                "sessions that are started before anybody came in can't wait "
                "for a check-in: prewarm the image only, or set "
                "needs_check_in to false"
            )
        return self


class ComputeRead(BaseModel):
    """What the seats of an event grant, as shown."""

    event_id: str
    template: str
    gpus_per_seat: int
    seats: int = Field(description="The event's capacity.")
    opens_minutes_before: int
    closes_minutes_after: int
    needs_check_in: bool
    prewarm: Prewarm
    prewarm_minutes: int
    opens_at: datetime = Field(
        description="From then on, `POST /v1/sessions` with this `event_id` "
        "starts a seat's session."
    )
    closes_at: datetime = Field(description="Then it ends.")
    short: bool = Field(
        description="Whether GPUs are missing that were there when the seats "
        "were promised."
    )
    feasible_seats: int = Field(
        description="For how many seats there are GPUs.", examples=[20]
    )
    warmed_at: datetime | None = Field(
        description="When what is made ready before was begun."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, grant: SeatGrant) -> Self:
        """What `grant` looks like."""
        fields: dict[str, Any] = grant.model_dump(
            include=set(cls.model_fields) - {"feasible_seats"}
        )
        feasible = grant.feasible_seats
        return cls(
            event_id=grant.id,
            short=feasible is not None,
            feasible_seats=grant.seats if feasible is None else feasible,
            **fields,
        )


class RehearsalStart(RequestModel):
    """How many sessions to try."""

    sessions: Annotated[JsonInt, Field(ge=1, le=MOST_REHEARSED)] = Field(
        description="As many as are to be started at the same time.",
        examples=[4],
    )


class RehearsalRead(BaseModel):
    """A rehearsal, as shown."""

    id: str
    event_id: str
    status: RehearsalStatus
    sessions: int = Field(description="How many were asked for.")
    begun: int = Field(description="How many were tried so far.")
    started_at: datetime
    finished_at: datetime | None
    came_up: int | None = Field(
        description="How many answered; null while it runs."
    )
    p50_seconds: float | None = Field(
        description="Half of those came up within this time.", examples=[1.7]
    )
    max_seconds: float | None = Field(
        description="All of those came up within this time.", examples=[3.2]
    )
    errors: dict[str, int] = Field(
        description="What went wrong, and how often.",
        examples=[{"All GPUs are taken.": 1}],
    )

    @classmethod
    def of(cls, rehearsal: Rehearsal, *, event_id: str) -> Self:
        """What `rehearsal` looks like."""
        report = rehearsal.report
        return cls(
            id=rehearsal.id,
            event_id=event_id,
            status=rehearsal.status,
            sessions=rehearsal.sessions,
            begun=rehearsal.begun,
            started_at=rehearsal.started_at,
            finished_at=None if report is None else report.finished_at,
            came_up=None if report is None else report.came_up,
            p50_seconds=None if report is None else report.p50_seconds,
            max_seconds=None if report is None else report.max_seconds,
            errors={} if report is None else report.errors,
        )
