"""Session requests: get in line for GPUs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from docs import session_requests as docs
from models.base import ObjectId, Page, PageQuery
from models.session_errors import (
    NoGpuFreeError,
    SessionRequestExistsError,
    SessionRequestNotFoundError,
    TemplateNotFoundError,
    TooManySessionsError,
)
from models.session_requests import SessionRequestCreate, SessionRequestRead
from routes.dependencies import CurrentUser
from routes.idempotency import IdempotentRoute
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import session_line

router = APIRouter(
    prefix="/v1/session-requests",
    tags=["Sessions"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)

RequestId = Annotated[ObjectId, Path(description="Id of a place in line.")]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.GET_IN_LINE,
    responses=member_problems(
        TemplateNotFoundError,
        NoGpuFreeError,
        SessionRequestExistsError,
        TooManySessionsError,
        *WITH_BODY,
    ),
)
async def get_in_line(
    body: SessionRequestCreate, actor: CurrentUser
) -> SessionRequestRead:
    return await session_line.get_in_line(body, actor=actor)


@router.get("", **docs.LIST_PLACES, responses=member_problems())
async def list_places(
    query: Annotated[PageQuery, Query()], actor: CurrentUser
) -> Page[SessionRequestRead]:
    return await session_line.list_places(query, actor=actor)


@router.get(
    "/{session_request_id}",
    **docs.GET_PLACE,
    responses=member_problems(SessionRequestNotFoundError),
)
async def get_place(
    session_request_id: RequestId, actor: CurrentUser
) -> SessionRequestRead:
    return await session_line.get_place(session_request_id, actor=actor)


@router.delete(
    "/{session_request_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.LEAVE_LINE,
    responses=member_problems(SessionRequestNotFoundError),
)
async def leave_line(
    session_request_id: RequestId, actor: CurrentUser
) -> None:
    await session_line.leave(session_request_id, actor=actor)
