"""Calendars: subscribe to events, import them, one's own feed."""

from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response, status
from starlette.datastructures import URL

from config.main import settings
from docs import calendars as docs
from models.calendars import ImportResult, OwnCalendar
from models.events import EventFilters
from models.exceptions import (
    EventNotFoundError,
    UnsupportedMediaTypeError,
    UserNotFoundError,
)
from routes.dependencies import CurrentUser, EventId, MaybeUser
from routes.idempotency import IdempotentRoute
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import calendars

MEDIA_TYPE: Final = "text/calendar"

_EXAMPLE: Final = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//example.org//EN
BEGIN:VEVENT
UID:42@example.org
DTSTAMP:20300401T120000Z
DTSTART;TZID=Europe/Paris:20300501T183000
DTEND;TZID=Europe/Paris:20300501T210000
SUMMARY:NumPy for beginners
END:VEVENT
END:VCALENDAR
"""

router = APIRouter(
    tags=["Calendars"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


class CalendarResponse(Response):
    """An iCalendar text."""

    media_type = MEDIA_TYPE


async def _calendar_body(request: Request) -> bytes:
    sent = request.headers.get("content-type", "").partition(";")[0].strip()
    if sent.lower() != MEDIA_TYPE:
        raise UnsupportedMediaTypeError(MEDIA_TYPE)
    return await request.body()


@router.get(
    "/v1/events.ics",
    response_class=CalendarResponse,
    **docs.LIST_EVENTS_CALENDAR,
    responses=member_problems(),
)
async def list_events_calendar(
    filters: Annotated[EventFilters, Query()], actor: MaybeUser
) -> Response:
    return CalendarResponse(await calendars.write_events(filters, actor=actor))


@router.get(
    "/v1/events/{event_id}.ics",
    response_class=CalendarResponse,
    **docs.GET_EVENT_CALENDAR,
    responses=member_problems(EventNotFoundError),
)
async def get_event_calendar(event_id: EventId, actor: MaybeUser) -> Response:
    title, text = await calendars.write_event(event_id, actor=actor)
    return CalendarResponse(text, headers=_named(title))


@router.post(
    "/v1/events/import",
    **docs.IMPORT_EVENTS,
    responses=member_problems(*WITH_BODY),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"type": "string", "examples": [_EXAMPLE]}
                }
            },
        }
    },
)
async def import_events(
    actor: CurrentUser, body: Annotated[bytes, Depends(_calendar_body)]
) -> ImportResult:
    return await calendars.import_file(body, actor=actor)


@router.get(
    "/v1/users/me/calendar.ics",
    response_class=CalendarResponse,
    **docs.GET_OWN_CALENDAR,
    responses=member_problems(),
)
async def get_own_calendar(
    token: Annotated[
        str,
        Query(
            max_length=100,
            description="The secret of `POST /v1/users/me/calendar`.",
        ),
    ] = "",
) -> Response:
    # The address says nothing of a login, so caches would keep the answer.
    return CalendarResponse(
        await calendars.write_own(token),
        headers={"Cache-Control": "private, no-cache"},
    )


@router.post(
    "/v1/users/me/calendar",
    status_code=status.HTTP_201_CREATED,
    **docs.OPEN_OWN_CALENDAR,
    responses=member_problems(UserNotFoundError),
)
async def open_own_calendar(
    request: Request, actor: CurrentUser
) -> OwnCalendar:
    return _own_calendar(request, await calendars.open_own(actor))


@router.delete(
    "/v1/users/me/calendar",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.REVOKE_OWN_CALENDAR,
    responses=member_problems(UserNotFoundError),
)
async def revoke_own_calendar(actor: CurrentUser) -> None:
    await calendars.revoke_own(actor)


def _own_calendar(request: Request, token: str) -> OwnCalendar:
    path = request.app.url_path_for("get_own_calendar")
    # Whoever sends a request chooses its Host.
    url = path.make_absolute_url(settings.public_url or request.base_url)
    return OwnCalendar(
        url=str(URL(str(url)).include_query_params(token=token)), token=token
    )


def _named(title: str) -> dict[str, str]:
    """The header that says what a file of this title is called (RFC 6266)."""
    name = "".join(char if char.isalnum() else "-" for char in title)
    plain = name.encode("ascii", "ignore").decode().strip("-") or "event"
    return {
        "Content-Disposition": f'attachment; filename="{plain}.ics"; '
        f"filename*=UTF-8''{quote(name)}.ics"
    }
