"""Feedback: what members think of events that they went to."""

from typing import Annotated

from fastapi import APIRouter, Query, status

from docs import feedback as docs
from models.base import Page, PageQuery
from models.exceptions import (
    EventClosedError,
    EventNotFoundError,
    EventNotStartedError,
    FeedbackExistsError,
    FeedbackNotFoundError,
    ForbiddenError,
    StaleError,
)
from models.feedback import FeedbackCreate, FeedbackRead, FeedbackUpdate
from routes.dependencies import (
    CurrentUser,
    EventId,
    FeedbackId,
    IfMatch,
    MaybeUser,
)
from routes.idempotency import IdempotentRoute
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import feedback

router = APIRouter(
    prefix="/v1",
    tags=["Feedback"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


@router.post(
    "/events/{event_id}/feedback",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_FEEDBACK,
    responses=member_problems(
        EventNotFoundError,
        ForbiddenError,
        EventNotStartedError,
        EventClosedError,
        FeedbackExistsError,
        *WITH_BODY,
    ),
)
async def create_feedback(
    event_id: EventId, body: FeedbackCreate, actor: CurrentUser
) -> FeedbackRead:
    return await feedback.create_feedback(event_id, body, actor=actor)


@router.get(
    "/events/{event_id}/feedback",
    **docs.LIST_FEEDBACK,
    responses=member_problems(EventNotFoundError),
)
async def list_feedback(
    event_id: EventId,
    query: Annotated[PageQuery, Query()],
    actor: MaybeUser,
) -> Page[FeedbackRead]:
    return await feedback.list_of(event_id, query, actor=actor)


@router.get(
    "/feedback/{feedback_id}",
    **docs.GET_FEEDBACK,
    responses=member_problems(FeedbackNotFoundError),
)
async def get_feedback(
    feedback_id: FeedbackId, actor: MaybeUser
) -> FeedbackRead:
    return await feedback.get_feedback(feedback_id, actor=actor)


@router.patch(
    "/feedback/{feedback_id}",
    **docs.UPDATE_FEEDBACK,
    responses=member_problems(
        FeedbackNotFoundError, ForbiddenError, StaleError, *WITH_BODY
    ),
)
async def update_feedback(
    feedback_id: FeedbackId,
    body: FeedbackUpdate,
    actor: CurrentUser,
    if_match: IfMatch,
) -> FeedbackRead:
    return await feedback.update_feedback(
        feedback_id, body, actor=actor, if_match=if_match
    )


@router.delete(
    "/feedback/{feedback_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_FEEDBACK,
    responses=member_problems(FeedbackNotFoundError, ForbiddenError),
)
async def delete_feedback(feedback_id: FeedbackId, actor: CurrentUser) -> None:
    await feedback.delete_feedback(feedback_id, actor=actor)
