"""Sessions: containers that members compute in; as stored, sent and shown.

A session is `starting` from its lease until its port answers, `running` until
somebody or something ends it, `stopping` until its container is gone, and then
`stopped`, or `failed` where it ended by a fault. Its GPUs are given back with
the last step, so that nobody else has them before.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import BaseModel, Field

from models.base import (
    ExtendedBaseModel,
    ObjectId,
    PageQuery,
    RequestModel,
    UtcTime,
    new_id,
    utc_now,
)
from models.session_templates import Gpus, Hours, SessionTemplate, TemplateName

EXAMPLE_ID: Final = "0b0f3c9e-4d55-4b0e-8c0a-6f2f5d1c7a90"


class SessionStatus(StrEnum):
    """Where a session is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """True when its container is gone and its GPUs are given back."""
        return self in (SessionStatus.STOPPED, SessionStatus.FAILED)


# Those that hold GPUs.
ALIVE: Final = [
    SessionStatus.STARTING,
    SessionStatus.RUNNING,
    SessionStatus.STOPPING,
]


class EndReason(StrEnum):
    """Why a session ended."""

    OWNER = "owner"
    ORGANISER = "organiser"
    ADMIN = "admin"
    EXPIRED = "expired"
    IDLE = "idle"
    SEAT_LOST = "seat-lost"
    EVENT_CANCELLED = "event-cancelled"
    ACCOUNT_CLOSED = "account-closed"
    START_FAILED = "start-failed"
    CONTAINER_ENDED = "container-ended"
    REHEARSED = "rehearsed"

    @property
    def is_fault(self) -> bool:
        """True where nobody wanted it."""
        return self in (EndReason.START_FAILED, EndReason.CONTAINER_ENDED)


class Session(ExtendedBaseModel):
    """A session as stored.

    Attributes:
        owner_id: who started it, or for whom it was started.
        slot: which of its owner's places it takes, from 0: of their quota, or
            at that event; None when it is over.
        template: the template as it was then.
        gpus: how many GPUs it has.
        gpu_ids: which.
        event_id: the event whose seat grants it; None for their own quota.
        status: where it is in its life.
        token: what opens it; random, of its own.
        expires_at: when it is ended.
        warned: whether its owner was told that it expires soon.
        due_at: when a worker looks at it next; None when it is over.
        claim: who works on it now; of several workers one sets it.
        container_started: whether the engine was asked to start it.
        host: where its port answers, for Muster.
        host_port: the port there.
        busy_at: when its CPU was last seen to work.
        cpu_seconds: what its CPU had worked when it was last looked at.
        looked_at: when that was; None before.
        running_at: when its port first answered.
        end_reason: why it is ended; None while nothing ends it.
        error: what went wrong, in a sentence.
        forget: whether it is removed at its end, as its owner is.
        revision: changes with every change; who changes it names it.
    """

    owner_id: str
    slot: int | None = None
    template: SessionTemplate
    gpus: int
    gpu_ids: list[str] = []
    event_id: str | None = None
    status: SessionStatus = SessionStatus.STARTING
    token: str
    created_at: UtcTime = Field(default_factory=utc_now)
    expires_at: UtcTime
    warned: bool = False
    due_at: UtcTime | None = None
    claim: str | None = None
    container_started: bool = False
    host: str | None = None
    host_port: int | None = None
    busy_at: UtcTime | None = None
    cpu_seconds: float = 0.0
    looked_at: UtcTime | None = None
    running_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    end_reason: EndReason | None = None
    error: str | None = None
    forget: bool = False
    revision: str = Field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class SessionQuota:
    """How much of the GPUs one member may use.

    Attributes:
        concurrent: sessions at the same time.
        gpu_hours_per_week: in the last seven days, with what is to come.
    """

    concurrent: int
    gpu_hours_per_week: float


@dataclass(frozen=True, slots=True)
class SessionOrder:  # pylint: disable=too-many-instance-attributes  # Facts.
    """A session that is to be, when all is checked that needs no lease.

    Attributes:
        owner_id: whose it is.
        template: what it runs.
        gpus: how many GPUs it gets.
        expires_at: when it is ended.
        quota: what its owner may use; None where a seat grants it.
        event_id: the event whose seat grants it.
        places: how many such sessions its owner may have at that event.
        lets_pass: whether those who wait in line go first.
        claim: who starts it; None leaves that to the next who looks.
        deed: names the wish, which is fulfilled once; the session's id.
    """

    owner_id: str
    template: SessionTemplate
    gpus: int
    expires_at: datetime
    quota: SessionQuota | None = None
    event_id: str | None = None
    places: int = 1
    lets_pass: bool = False
    claim: str | None = None
    deed: str | None = None


class SessionCreate(RequestModel):
    """A session that a member asks for."""

    template: TemplateName = Field(
        description="Name of a template.", examples=["notebook"]
    )
    gpus: Gpus = Field(1, description="GPUs; all or none.", examples=[1])
    hours: Hours = Field(
        description="After so many hours it ends, unless it is extended. A "
        "seat's session ends with the event's window.",
        examples=[2.0],
    )
    event_id: ObjectId | None = Field(
        None,
        description="The event whose seat gives you the session; null: your "
        "own quota does.",
    )


class SessionExtend(RequestModel):
    """More time for a session."""

    hours: Hours = Field(
        description="So many hours later it ends.", examples=[1.0]
    )


class SessionQuery(PageQuery):
    """Which sessions to list: the caller's, or with `all` everybody's."""

    status: list[SessionStatus] = Field(
        [], description="Only these; all by default.", examples=[["running"]]
    )
    all: bool = Field(
        False, description="Those of all members; for admins."
    )


class SessionRead(BaseModel):
    """A session as shown."""

    id: ObjectId = Field(examples=[EXAMPLE_ID])
    owner_id: str
    template: str = Field(examples=["notebook"])
    event_id: str | None
    status: SessionStatus
    gpus: int
    gpu_ids: list[str]
    url: str | None = Field(
        description="Where it is reached through Muster; open it with the "
        "token as `?token=…`, or as yourself.",
        examples=[f"/v1/sessions/{EXAMPLE_ID}/proxy/"],
    )
    direct_url: str | None = Field(
        description="Where it is reached without Muster, if its port is "
        "published."
    )
    token: str | None = Field(
        description="What opens it; only its owner sees it."
    )
    created_at: datetime
    running_at: datetime | None
    expires_at: datetime
    expires_soon: bool = Field(
        description="True once its owner was warned that it ends."
    )
    ended_at: datetime | None
    end_reason: EndReason | None
    error: str | None

    @classmethod
    def of(cls, session: Session, *, viewer_id: str | None) -> Self:
        """What a session looks like to a member, or to an admin (None)."""
        alive = not session.status.is_final
        direct = None
        if alive and session.template.published and session.host_port:
            direct = f"http://{session.host}:{session.host_port}/"
        return cls(
            id=session.id,
            owner_id=session.owner_id,
            template=session.template.name,
            event_id=session.event_id,
            status=session.status,
            gpus=session.gpus,
            gpu_ids=session.gpu_ids,
            url=proxy_path(session.id) if alive else None,
            direct_url=direct,
            token=session.token if viewer_id == session.owner_id else None,
            created_at=session.created_at,
            running_at=session.running_at,
            expires_at=session.expires_at,
            expires_soon=session.warned and alive,
            ended_at=session.ended_at,
            end_reason=session.end_reason,
            error=session.error,
        )


class SessionStats(BaseModel):
    """What a session uses at the moment."""

    cpu_percent: float = Field(
        description="Of one processor: 200 are two of them.", examples=[37.5]
    )
    memory_mb: float = Field(examples=[812.4])
    memory_limit_mb: int = Field(examples=[16384])
    pids: int = Field(description="Processes and threads.", examples=[23])
    network_received_mb: float
    network_sent_mb: float


def proxy_path(session_id: str) -> str:
    """The path under which Muster passes requests to a session."""
    return f"/v1/sessions/{session_id}/proxy/"
