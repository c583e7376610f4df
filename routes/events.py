"""Events: publish, find, change, cancel, decide."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, status

from config.cache import cached
from docs import events as docs
from models.base import Page, PageQuery
from models.events import (
    EventCreate,
    EventDenial,
    EventFound,
    EventQuery,
    EventRead,
    EventUpdate,
)
from models.exceptions import (
    AlreadyDecidedError,
    CapacityBelowSeatsError,
    EventClosedError,
    EventNotFoundError,
    ForbiddenError,
    StaleError,
)
from models.session_errors import NotEnoughGpusError
from routes.dependencies import (
    AdminUser,
    CurrentUser,
    EventId,
    IfMatch,
    MaybeUser,
)
from routes.idempotency import IdempotentRoute
from routes.problems import (
    COMMON,
    WITH_BODY,
    admin_problems,
    member_problems,
    problems,
)
from utils import event_sharing, events, organising, rsvps

router = APIRouter(
    prefix="/v1/events",
    tags=["Events"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_EVENT,
    responses=member_problems(*WITH_BODY),
)
async def create_event(body: EventCreate, actor: CurrentUser) -> EventRead:
    return EventRead.of(await events.create_event(body, actor=actor))


@router.get("", **docs.LIST_EVENTS, responses=member_problems())
@cached(
    "events?{query}",
    tags=("event-lists",),
    per="everyone",
    seconds=10,
    until=event_sharing.page_is_shared_until,
    unless=event_sharing.differs,
)
async def list_events(
    query: Annotated[EventQuery, Query()], actor: MaybeUser
) -> Page[EventFound]:
    return await events.list_events(query, actor=actor)


@router.get("/queue", **docs.LIST_EVENT_QUEUE, responses=admin_problems())
async def list_event_queue(
    query: Annotated[PageQuery, Query()], _actor: AdminUser
) -> Page[EventRead]:
    return await events.list_queue(query)


@router.get(
    "/{event_id}",
    **docs.GET_EVENT,
    responses=member_problems(EventNotFoundError),
)
@cached(
    "events/{event_id}",
    tags=("event:{event_id}",),
    per="everyone",
    seconds=30,
    until=event_sharing.is_shared_until,
)
async def get_event(event_id: EventId, actor: MaybeUser) -> EventRead:
    return events.show(
        await rsvps.get_event(event_id, actor=actor), actor=actor
    )


@router.patch(
    "/{event_id}",
    **docs.UPDATE_EVENT,
    responses=member_problems(
        EventNotFoundError,
        ForbiddenError,
        EventClosedError,
        CapacityBelowSeatsError,
        NotEnoughGpusError,
        StaleError,
        *WITH_BODY,
    ),
)
async def update_event(
    event_id: EventId,
    body: EventUpdate,
    actor: CurrentUser,
    if_match: IfMatch,
) -> EventRead:
    return EventRead.of(
        await organising.update_event(
            event_id, body, actor=actor, if_match=if_match
        )
    )


@router.post(
    "/{event_id}/cancel",
    **docs.CANCEL_EVENT,
    responses=member_problems(
        EventNotFoundError, ForbiddenError, EventClosedError
    ),
)
async def cancel_event(event_id: EventId, actor: CurrentUser) -> EventRead:
    return EventRead.of(await organising.cancel_event(event_id, actor=actor))


@router.delete(
    "/{event_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_EVENT,
    responses=admin_problems(EventNotFoundError),
)
async def delete_event(event_id: EventId, actor: AdminUser) -> None:
    await organising.delete_event(event_id, actor=actor)


@router.post(
    "/{event_id}/approve",
    **docs.APPROVE_EVENT,
    responses=admin_problems(
        EventNotFoundError, AlreadyDecidedError, EventClosedError
    ),
)
async def approve_event(event_id: EventId, actor: AdminUser) -> EventRead:
    return EventRead.of(await events.approve(event_id, actor=actor))


@router.post(
    "/{event_id}/deny",
    **docs.DENY_EVENT,
    responses=admin_problems(
        EventNotFoundError, AlreadyDecidedError, EventClosedError, *WITH_BODY
    ),
)
async def deny_event(
    event_id: EventId,
    actor: AdminUser,
    body: Annotated[EventDenial, Body(default_factory=EventDenial)],
) -> EventRead:
    return EventRead.of(
        await organising.deny_event(event_id, reason=body.reason, actor=actor)
    )
