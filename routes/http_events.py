"""HTTP events: the last requests, for admins."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from docs import http_events as docs
from models.base import Page
from models.exceptions import HttpEventNotFoundError
from models.http_events import (
    HttpEventListed,
    HttpEventQuery,
    HttpEventRead,
    RequestId,
)
from routes.dependencies import AdminUser
from routes.problems import COMMON, admin_problems, problems
from utils import http_events

router = APIRouter(
    prefix="/v1/http-events",
    tags=["HTTP events"],
    responses=problems(*COMMON),
)


@router.get("", **docs.LIST_HTTP_EVENTS, responses=admin_problems())
async def list_http_events(
    query: Annotated[HttpEventQuery, Query()], _actor: AdminUser
) -> Page[HttpEventListed]:
    return await http_events.list_http_events(query)


@router.get(
    "/{request_id}",
    **docs.GET_HTTP_EVENT,
    responses=admin_problems(HttpEventNotFoundError),
)
async def get_http_event(
    request_id: Annotated[
        RequestId, Path(description="X-Request-ID of the request.")
    ],
    _actor: AdminUser,
) -> HttpEventRead:
    return await http_events.get_http_event(request_id)
