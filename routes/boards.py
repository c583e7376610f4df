"""Boards: who computes at an event, for its organiser."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from docs import boards as docs
from models.base import Page
from models.boards import (
    BoardChoice,
    BoardExtend,
    BoardOutcomes,
    BoardQuery,
    BoardRow,
    UsageQuery,
    UsageReport,
)
from models.exceptions import EventNotFoundError, ForbiddenError
from models.rsvps import ListFormat
from models.session_errors import EventComputeNotFoundError
from routes.dependencies import CurrentUser, EventId
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import boards

router = APIRouter(
    prefix="/v1/events/{event_id}",
    tags=["Sessions"],
    responses=problems(*COMMON),
)

_READING: Final = member_problems(EventNotFoundError, ForbiddenError)
_CHANGING: Final = member_problems(
    EventNotFoundError,
    ForbiddenError,
    EventComputeNotFoundError,
    *WITH_BODY,
)


@router.get("/board", **docs.GET_BOARD, responses=_READING)
async def get_board(
    event_id: EventId, query: Annotated[BoardQuery, Query()], actor: CurrentUser
) -> Page[BoardRow]:
    return await boards.list_rows(event_id, query, actor=actor)


@router.post("/board/extend", **docs.EXTEND_ON_BOARD, responses=_CHANGING)
async def extend_on_board(
    event_id: EventId, body: BoardExtend, actor: CurrentUser
) -> BoardOutcomes:
    return await boards.extend(event_id, body, actor=actor)


@router.post("/board/restart", **docs.RESTART_ON_BOARD, responses=_CHANGING)
async def restart_on_board(
    event_id: EventId, body: BoardChoice, actor: CurrentUser
) -> BoardOutcomes:
    return await boards.restart(event_id, body, actor=actor)


@router.post("/board/end", **docs.END_ON_BOARD, responses=_CHANGING)
async def end_on_board(
    event_id: EventId, body: BoardChoice, actor: CurrentUser
) -> BoardOutcomes:
    return await boards.end(event_id, body, actor=actor)


@router.get(
    "/usage",
    response_model=UsageReport,
    **docs.GET_USAGE,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **_READING,
    },
)
async def get_usage(
    event_id: EventId, query: Annotated[UsageQuery, Query()], actor: CurrentUser
) -> UsageReport | Response:
    report = await boards.report_usage(event_id, actor=actor)
    if query.format is ListFormat.CSV:
        return Response(boards.usage_table(report), headers=_TABLE)
    return report


_TABLE: Final = {
    "Content-Type": "text/csv; charset=utf-8; header=present",
    "Content-Disposition": 'attachment; filename="usage.csv"',
}
