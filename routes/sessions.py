"""Sessions: start, read, extend and end them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, status
from fastapi.responses import StreamingResponse

from docs import sessions as docs
from models.base import ObjectId, Page
from models.exceptions import EventNotFoundError, ForbiddenError
from models.session_errors import (
    EngineUnavailableError,
    NoGpuFreeError,
    NotEntitledError,
    SessionNotFoundError,
    SessionRefusedError,
    SessionStateError,
    TemplateNotFoundError,
    TooManySessionsError,
)
from models.sessions import (
    SessionCreate,
    SessionExtend,
    SessionQuery,
    SessionRead,
    SessionStats,
)
from routes.dependencies import CurrentUser
from routes.idempotency import NamedDeedRoute, deed_of
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import session_quotas, sessions
from utils.session_service import SessionService

router = APIRouter(
    prefix="/v1/sessions",
    tags=["Sessions"],
    responses=problems(*COMMON),
    route_class=NamedDeedRoute,
)


def _service(request: Request) -> SessionService:
    service: SessionService = request.app.state.sessions
    return service


SessionId = Annotated[ObjectId, Path(description="Id of a session.")]
Service = Annotated[SessionService, Depends(_service)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.START_SESSION,
    responses=member_problems(
        NotEntitledError,
        TemplateNotFoundError,
        EventNotFoundError,
        NoGpuFreeError,
        SessionRefusedError,
        SessionStateError,
        TooManySessionsError,
        EngineUnavailableError,
        *WITH_BODY,
    ),
)
async def start_session(
    body: SessionCreate, request: Request, service: Service, actor: CurrentUser
) -> SessionRead:
    """A session that begins."""
    session = await service.start(body, actor=actor, deed=deed_of(request))
    return SessionRead.of(session, viewer_id=actor.user_id)


@router.get(
    "", **docs.LIST_SESSIONS, responses=member_problems(ForbiddenError)
)
async def list_sessions(
    query: Annotated[SessionQuery, Query()], actor: CurrentUser
) -> Page[SessionRead]:
    return await sessions.list_sessions(query, actor=actor)


@router.get(
    "/{session_id}",
    **docs.GET_SESSION,
    responses=member_problems(SessionNotFoundError),
)
async def get_session(session_id: SessionId, actor: CurrentUser) -> SessionRead:
    session = await sessions.get_session(session_id, actor=actor)
    return SessionRead.of(session, viewer_id=actor.user_id)


@router.post(
    "/{session_id}/extend",
    **docs.EXTEND_SESSION,
    responses=member_problems(
        SessionNotFoundError,
        SessionStateError,
        NoGpuFreeError,
        TooManySessionsError,
        *WITH_BODY,
    ),
    status_code=status.HTTP_200_OK,
)
async def extend_session(
    session_id: SessionId, body: SessionExtend, actor: CurrentUser
) -> SessionRead:
    """A session that ends later."""
    session = await sessions.extend(
        session_id,
        hours=body.hours,
        quota=session_quotas.quota_of(actor.tier),
        actor=actor,
    )
    return SessionRead.of(session, viewer_id=actor.user_id)


@router.delete(
    "/{session_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.END_SESSION,
    responses=member_problems(SessionNotFoundError),
)
async def end_session(
    session_id: SessionId, service: Service, actor: CurrentUser
) -> None:
    await service.end(session_id, actor=actor)


@router.get(
    "/{session_id}/logs",
    **docs.GET_SESSION_LOGS,
    response_class=StreamingResponse,
    responses=member_problems(SessionNotFoundError, EngineUnavailableError)
    | {
        200: {
            "description": "What it wrote.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def get_session_logs(
    session_id: SessionId,
    service: Service,
    actor: CurrentUser,
    *,
    follow: Annotated[
        bool, Query(description="Whether to go on until the session ends.")
    ] = False,
    tail: Annotated[
        int,
        Query(
            ge=0, le=10_000, description="From so many lines before the end."
        ),
    ] = 1000,
) -> StreamingResponse:
    """What a session writes, as it comes."""
    pieces = await service.open_logs(
        session_id, follow=follow, tail=tail, actor=actor
    )
    return StreamingResponse(
        pieces,
        media_type="text/plain",
        # A proxy that collects answers would hold it back to its end.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get(
    "/{session_id}/stats",
    **docs.GET_SESSION_STATS,
    responses=member_problems(
        SessionNotFoundError, SessionStateError, EngineUnavailableError
    ),
)
async def get_session_stats(
    session_id: SessionId, service: Service, actor: CurrentUser
) -> SessionStats:
    return await service.stats(session_id, actor=actor)
