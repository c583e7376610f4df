"""Session requests: who waits in line for GPUs; as stored, sent and shown."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field

from models.base import (
    ExtendedBaseModel,
    JsonInt,
    ObjectId,
    RequestModel,
    UtcTime,
    new_id,
    utc_now,
)
from models.session_templates import MOST_GPUS, Hours, TemplateName


class RequestStatus(StrEnum):
    """Where a place in line is in its life; the last two are ends."""

    WAITING = "waiting"
    OFFERED = "offered"
    TAKEN = "taken"
    EXPIRED = "expired"


class SessionRequest(ExtendedBaseModel):
    """A place in line, as stored.

    Attributes:
        owner_id: who waits.
        template: name of the template.
        gpus: how many GPUs they wait for.
        hours: for how long they want them.
        created_at: when they came; the line's order.
        offer_expires_at: when their GPUs go to the next one; None before.
        forget_at: when it is forgotten; None before its end.
        revision: changes with every change; who changes it names it.
    """

    owner_id: str
    template: str
    gpus: int
    hours: float
    status: RequestStatus = RequestStatus.WAITING
    created_at: UtcTime = Field(default_factory=utc_now)
    offer_expires_at: UtcTime | None = None
    forget_at: UtcTime | None = None
    revision: str = Field(default_factory=new_id)


class SessionRequestCreate(RequestModel):
    """What somebody waits for."""

    template: TemplateName = Field(
        description="Name of a template.", examples=["notebook"]
    )
    gpus: Annotated[JsonInt, Field(ge=1, le=MOST_GPUS)] = Field(
        1, description="GPUs; all or none.", examples=[1]
    )
    hours: Hours = Field(
        description="For so many hours at most.", examples=[2.0]
    )


class SessionRequestRead(BaseModel):
    """A place in line, as shown."""

    id: ObjectId
    template: str = Field(examples=["notebook"])
    gpus: int
    hours: float
    status: RequestStatus
    position: int | None = Field(
        description="1 is the next one; null when it is over.", examples=[3]
    )
    estimated_at: datetime | None = Field(
        description="When the GPUs are free at the latest, unless somebody "
        "extends a session; null when they are kept for you already, or "
        "nothing that runs now frees them."
    )
    offer_expires_at: datetime | None = Field(
        description="Until then the GPUs are kept for you: take them by "
        "POST /v1/sessions."
    )
    created_at: datetime

    @classmethod
    def of(
        cls,
        request: SessionRequest,
        *,
        position: int | None,
        estimated_at: datetime | None,
    ) -> Self:
        """What a place in line looks like to whom it belongs."""
        return cls(
            id=request.id,
            template=request.template,
            gpus=request.gpus,
            hours=request.hours,
            status=request.status,
            position=position,
            estimated_at=estimated_at,
            offer_expires_at=request.offer_expires_at,
            created_at=request.created_at,
        )
