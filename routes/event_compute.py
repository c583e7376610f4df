"""Event compute: what the seats of an event grant, and its rehearsals."""

from fastapi import APIRouter, status

from docs import event_compute as docs
from models.event_compute import (
    ComputeRead,
    ComputeWrite,
    RehearsalRead,
    RehearsalStart,
)
from models.exceptions import (
    EventClosedError,
    EventNotFoundError,
    ForbiddenError,
)
from models.session_errors import (
    EventComputeNotFoundError,
    NotEnoughGpusError,
    RehearsalNotFoundError,
    RehearsalRunsError,
)
from routes.dependencies import CurrentUser, EventId
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import event_compute

router = APIRouter(
    prefix="/v1/events/{event_id}/compute",
    tags=["Sessions"],
    responses=problems(*COMMON),
)


@router.get(
    "",
    **docs.GET_EVENT_COMPUTE,
    responses=member_problems(EventNotFoundError, EventComputeNotFoundError),
)
async def get_event_compute(
    event_id: EventId, actor: CurrentUser
) -> ComputeRead:
    return ComputeRead.of(
        await event_compute.get_compute(event_id, actor=actor)
    )


@router.put(
    "",
    **docs.SET_EVENT_COMPUTE,
    responses=member_problems(
        EventNotFoundError,
        ForbiddenError,
        EventClosedError,
        NotEnoughGpusError,
        *WITH_BODY,
    ),
)
async def set_event_compute(
    event_id: EventId, body: ComputeWrite, actor: CurrentUser
) -> ComputeRead:
    return ComputeRead.of(
        await event_compute.set_compute(event_id, body, actor=actor)
    )


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.UNSET_EVENT_COMPUTE,
    responses=member_problems(
        EventNotFoundError, ForbiddenError, EventComputeNotFoundError
    ),
)
async def unset_event_compute(event_id: EventId, actor: CurrentUser) -> None:
    await event_compute.unset_compute(event_id, actor=actor)


@router.post(
    "/rehearsal",
    status_code=status.HTTP_202_ACCEPTED,
    **docs.START_REHEARSAL,
    responses=member_problems(
        EventNotFoundError,
        ForbiddenError,
        EventClosedError,
        EventComputeNotFoundError,
        RehearsalRunsError,
        *WITH_BODY,
    ),
)
async def start_rehearsal(
    event_id: EventId, body: RehearsalStart, actor: CurrentUser
) -> RehearsalRead:
    return RehearsalRead.of(
        await event_compute.start_rehearsal(event_id, body, actor=actor),
        event_id=event_id,
    )


@router.get(
    "/rehearsal",
    **docs.GET_REHEARSAL,
    responses=member_problems(
        EventNotFoundError,
        ForbiddenError,
        EventComputeNotFoundError,
        RehearsalNotFoundError,
    ),
)
async def get_rehearsal(
    event_id: EventId, actor: CurrentUser
) -> RehearsalRead:
    return RehearsalRead.of(
        await event_compute.get_rehearsal(event_id, actor=actor),
        event_id=event_id,
    )
