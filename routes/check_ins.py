"""Check-ins: tickets for guests, the door for organisers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response, status

from docs import check_ins as docs
from models.exceptions import (
    AlreadyCheckedInError,
    CheckInUndoneError,
    EventClosedError,
    EventNotFoundError,
    ForbiddenError,
    ForeignTicketError,
    ForgedTicketError,
    NoSeatError,
    NotAcceptableError,
    RsvpNotFoundError,
    TicketWithdrawnError,
)
from models.rsvps import (
    CheckInRead,
    DoorCounts,
    Scan,
    ScanBatch,
    ScanOutcomes,
    TicketForm,
    TicketRead,
)
from routes.dependencies import CurrentUser, EventId, UserId, accepted
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import check_ins

router = APIRouter(
    prefix="/v1/events/{event_id}",
    tags=["Check-in"],
    responses=problems(*COMMON),
)

_Form = Annotated[TicketForm, Depends(accepted(TicketForm))]
_VARY = {"Vary": "Accept"}
_TICKET: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            TicketForm.SVG: {"schema": {"type": "string"}},
            TicketForm.PNG: {"schema": {"type": "string", "format": "binary"}},
        }
    },
    **member_problems(
        EventNotFoundError, NotAcceptableError, EventClosedError, NoSeatError
    ),
}


@router.get(
    "/ticket",
    response_model=TicketRead,
    **docs.GET_TICKET,
    responses=_TICKET,
)
async def get_ticket(
    event_id: EventId, actor: CurrentUser, form: _Form, response: Response
) -> TicketRead | Response:
    response.headers.update(_VARY)
    if form is TicketForm.JSON:
        return await check_ins.get_ticket(event_id, actor=actor)
    code = await check_ins.draw_ticket(event_id, form=form, actor=actor)
    return Response(code, media_type=form, headers=_VARY)


@router.post(
    "/check-in",
    **docs.CHECK_IN,
    responses=member_problems(
        EventNotFoundError,
        ForbiddenError,
        ForeignTicketError,
        RsvpNotFoundError,
        EventClosedError,
        TicketWithdrawnError,
        AlreadyCheckedInError,
        CheckInUndoneError,
        ForgedTicketError,
        *WITH_BODY,
    ),
)
async def check_in(
    event_id: EventId, body: Scan, actor: CurrentUser
) -> CheckInRead:
    return await check_ins.check_in(event_id, body, actor=actor)


@router.post(
    "/check-ins",
    **docs.CHECK_IN_ALL,
    responses=member_problems(
        EventNotFoundError, ForbiddenError, EventClosedError, *WITH_BODY
    ),
)
async def check_in_all(
    event_id: EventId, body: ScanBatch, actor: CurrentUser
) -> ScanOutcomes:
    return await check_ins.check_in_all(event_id, body.scans, actor=actor)


@router.get(
    "/check-in",
    **docs.COUNT_AT_DOOR,
    responses=member_problems(EventNotFoundError, ForbiddenError),
)
async def count_at_door(event_id: EventId, actor: CurrentUser) -> DoorCounts:
    return await check_ins.count_at_door(event_id, actor=actor)


@router.delete(
    "/check-in/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.UNDO_CHECK_IN,
    responses=member_problems(
        EventNotFoundError, ForbiddenError, RsvpNotFoundError
    ),
)
async def undo_check_in(
    event_id: EventId, user_id: UserId, actor: CurrentUser
) -> None:
    await check_ins.undo_check_in(event_id, user_id=user_id, actor=actor)
