"""RSVPs: take a seat or wait for one, leave; guests for organisers."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from fastapi.responses import StreamingResponse

from docs import rsvps as docs
from models.base import Page, PageQuery
from models.exceptions import (
    AlreadyCheckedInError,
    EventClosedError,
    EventNotFoundError,
    ForbiddenError,
    UserNotFoundError,
)
from models.rsvps import Guest, GuestQuery, ListFormat, OwnRsvp, RsvpRead
from routes.dependencies import CurrentUser, EventId, UserId
from routes.problems import COMMON, member_problems, problems
from utils import rsvps

router = APIRouter(prefix="/v1", tags=["RSVPs"], responses=problems(*COMMON))


@router.put(
    "/events/{event_id}/rsvp",
    **docs.JOIN_EVENT,
    responses=member_problems(EventNotFoundError, EventClosedError),
)
async def join_event(event_id: EventId, actor: CurrentUser) -> RsvpRead:
    return await rsvps.join(event_id, actor=actor)


@router.delete(
    "/events/{event_id}/rsvp",
    **docs.LEAVE_EVENT,
    responses=member_problems(
        EventNotFoundError, EventClosedError, AlreadyCheckedInError
    ),
)
async def leave_event(event_id: EventId, actor: CurrentUser) -> RsvpRead:
    return await rsvps.leave(event_id, actor=actor)


@router.get(
    "/events/{event_id}/rsvp",
    **docs.GET_OWN_RSVP,
    responses=member_problems(EventNotFoundError),
)
async def get_own_rsvp(event_id: EventId, actor: CurrentUser) -> RsvpRead:
    return await rsvps.get_own(event_id, actor=actor)


@router.get(
    "/events/{event_id}/rsvps",
    response_model=Page[Guest],
    **docs.LIST_GUESTS,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **member_problems(EventNotFoundError, ForbiddenError),
    },
)
async def list_guests(
    event_id: EventId,
    query: Annotated[GuestQuery, Query()],
    actor: CurrentUser,
) -> Page[Guest] | Response:
    if query.format is ListFormat.CSV:
        lines = await rsvps.export_guests(event_id, query, actor=actor)
        return StreamingResponse(lines, headers=_TABLE)
    return await rsvps.list_guests(event_id, query, actor=actor)


@router.get(
    "/users/me/rsvps", **docs.LIST_OWN_RSVPS, responses=member_problems()
)
async def list_own_rsvps(
    query: Annotated[PageQuery, Query()], actor: CurrentUser
) -> Page[OwnRsvp]:
    return await rsvps.list_own(query, actor=actor)


@router.put(
    "/events/{event_id}/invitations/{user_id}",
    **docs.INVITE_MEMBER,
    responses=member_problems(
        EventNotFoundError, ForbiddenError, EventClosedError, UserNotFoundError
    ),
)
async def invite_member(
    event_id: EventId, user_id: UserId, actor: CurrentUser
) -> Guest:
    return await rsvps.invite(event_id, user_id=user_id, actor=actor)


@router.delete(
    "/events/{event_id}/invitations/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.UNINVITE_MEMBER,
    responses=member_problems(EventNotFoundError, ForbiddenError),
)
async def uninvite_member(
    event_id: EventId, user_id: UserId, actor: CurrentUser
) -> None:
    await rsvps.uninvite(event_id, user_id=user_id, actor=actor)


_TABLE = {
    "Content-Type": "text/csv; charset=utf-8; header=present",
    "Content-Disposition": 'attachment; filename="guests.csv"',
}
