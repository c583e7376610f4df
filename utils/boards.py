"""Boards: who computes at an event; extend, restart or end it for them.

Owns no collection. May call: event_compute, feedback, guest_lists, rsvps,
seat_grants, sessions, users.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from models.base import Page, rfc_3339, utc_now
from models.boards import (
    BoardChoice,
    BoardExtend,
    BoardOutcome,
    BoardOutcomes,
    BoardQuery,
    BoardRow,
    UsageReport,
    UsageRow,
)
from models.event_compute import SeatGrant, WantedSession
from models.events import Event
from models.exceptions import MusterError
from models.logins import Actor
from models.rsvps import GuestQuery, Rsvp
from models.session_errors import (
    EventComputeNotFoundError,
    NotEntitledError,
    SessionNotFoundError,
)
from models.sessions import EndReason, Session, SessionStatus
from models.users import MemberName
from utils import (
    event_compute,
    feedback,
    guest_lists,
    rsvps,
    seat_grants,
    sessions,
    users,
)

# What is restarted, and can't be by then, is given up.
_RESTARTED_WITHIN: Final = timedelta(minutes=10)
_HOUR: Final = timedelta(hours=1)
_COLUMNS: Final = (
    "first_name",
    "last_name",
    "checked_in_at",
    "sessions_started",
    "sessions_failed",
    "gpu_hours",
    "rating",
    "user_id",
)


async def list_rows(
    event_id: str, query: BoardQuery, *, actor: Actor
) -> Page[BoardRow]:
    """A page of an event's guests, with what runs on their seats.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        InvalidRequestError: the cursor is malformed.
    """
    asked = GuestQuery(**query.model_dump())
    page = await rsvps.list_guests(event_id, asked, actor=actor)
    ids = [guest.user.id for guest in page.items if guest.user is not None]
    found = _by_owner(await sessions.list_of_event(event_id, owner_ids=ids))
    return Page(
        items=[
            BoardRow.of(guest, found[guest.user.id if guest.user else ""])
            for guest in page.items
        ],
        next_cursor=page.next_cursor,
    )


async def extend(
    event_id: str, wish: BoardExtend, *, actor: Actor
) -> BoardOutcomes:
    """Gives sessions more time, if need be beyond the event's window.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventComputeNotFoundError: the event's seats grant nothing.
    """
    await _access(event_id, actor)
    more = timedelta(hours=wish.hours)

    async def do(session: Session) -> datetime:
        extended = await sessions.extend_seat(
            session.id, more=more, actor=actor
        )
        return extended.expires_at

    return await _for_each(event_id, wish, do)


async def end(
    event_id: str, wish: BoardChoice, *, actor: Actor
) -> BoardOutcomes:
    """Ends sessions; whose they are may start new ones.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventComputeNotFoundError: the event's seats grant nothing.
    """
    await _access(event_id, actor)

    async def do(session: Session) -> None:
        await sessions.end(
            session.id, reason=EndReason.ORGANISER, actor=actor
        )

    return await _for_each(event_id, wish, do)


async def restart(
    event_id: str, wish: BoardChoice, *, actor: Actor
) -> BoardOutcomes:
    """Ends sessions, and has new ones started when their GPUs are free.

    That they are wanted is written down first: whoever ends one and is killed
    then has it started by another worker, see `prewarming`.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventComputeNotFoundError: the event's seats grant nothing.
    """
    await _access(event_id, actor)
    alive = await _alive_at(event_id)
    if wish.user_ids is None:
        chosen, seated = list(alive), set(alive)
    else:
        chosen = list(dict.fromkeys(wish.user_ids))
        seated = set(await rsvps.guest_ids(event_id, waiting=False))
    wanted = [user_id for user_id in chosen if user_id in seated]
    if wanted:
        await _want(event_id, wanted, alive)
    outcomes: list[BoardOutcome] = []
    for user_id in chosen:
        if user_id not in seated:
            fault = NotEntitledError("This member has no seat at the event.")
            outcomes.append(_refused(user_id, fault))
            continue
        session = alive.get(user_id)
        if session is not None:
            await sessions.end(
                session.id, reason=EndReason.ORGANISER, actor=actor
            )
        outcomes.append(_done(user_id, session))
    event_compute.wanted.set()
    return BoardOutcomes(outcomes=outcomes)


async def report_usage(event_id: str, *, actor: Actor) -> UsageReport:
    """What an event's seats came to.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
    """
    event = await rsvps.access_event_as_organiser(event_id, actor=actor)
    places = {rsvp.user_id: rsvp for rsvp in await rsvps.list_going(event_id)}
    found = _by_owner(await sessions.list_of_event(event_id))
    ratings = await feedback.ratings_of(event_id)
    attendees = list(dict.fromkeys([*places, *found]))
    names = await users.find_names(attendees)
    now = utc_now()
    rows = [
        _usage_row(
            user_id,
            name=names.get(user_id),
            rsvp=places.get(user_id),
            found=found[user_id],
            rating=ratings.get(user_id),
            now=now,
        )
        for user_id in attendees
    ]
    return _report(event, rows)


def usage_table(report: UsageReport) -> str:
    """A report as a table, RFC 4180."""
    return guest_lists.table(
        [_COLUMNS, *(_table_row(row) for row in report.attendees)]
    )


async def _access(event_id: str, actor: Actor) -> None:
    """Returns for those who look after the guests of an event with compute."""
    await rsvps.access_event_as_organiser(event_id, actor=actor)
    await seat_grants.get_grant(event_id)


async def _for_each(
    event_id: str,
    wish: BoardChoice,
    do: Callable[[Session], Awaitable[datetime | None]],
) -> BoardOutcomes:
    """Does something with each chosen session; one that fails stops nobody."""
    alive = await _alive_at(event_id)
    outcomes: list[BoardOutcome] = []
    for user_id in dict.fromkeys(wish.user_ids or alive):
        session = alive.get(user_id)
        try:
            if session is None:
                raise SessionNotFoundError.of_seat(user_id)
            until = await do(session)
        except MusterError as fault:
            outcomes.append(_refused(user_id, fault))
        else:
            outcomes.append(_done(user_id, session, until))
    return BoardOutcomes(outcomes=outcomes)


async def _alive_at(event_id: str) -> dict[str, Session]:
    """The sessions on an event's seats that nothing ends, by their owners."""
    return {
        session.owner_id: session
        for session in await sessions.list_of_event(event_id)
        if session.status in (SessionStatus.STARTING, SessionStatus.RUNNING)
    }


async def _want(
    event_id: str, user_ids: Sequence[str], alive: Mapping[str, Session]
) -> None:
    until = utc_now() + _RESTARTED_WITHIN
    wanted = []
    for user_id in user_ids:
        old = alive.get(user_id)
        wanted.append(
            WantedSession(
                user_id=user_id,
                until=until,
                # It runs on for a moment: that is not the new one.
                instead_of=None if old is None else old.id,
            )
        )

    def changed(grant: SeatGrant) -> SeatGrant:
        return grant.wanting(wanted)

    if await seat_grants.change(event_id, changed=changed) is None:
        raise EventComputeNotFoundError(event_id)


def _by_owner(found: Sequence[Session]) -> defaultdict[str, list[Session]]:
    by_owner: defaultdict[str, list[Session]] = defaultdict(list)
    for session in sorted(found, key=lambda each: each.created_at):
        by_owner[session.owner_id].append(session)
    return by_owner


def _done(
    user_id: str, session: Session | None, until: datetime | None = None
) -> BoardOutcome:
    return BoardOutcome(
        user_id=user_id,
        done=True,
        session_id=None if session is None else session.id,
        expires_at=until,
        problem=None,
        detail=None,
    )


def _refused(user_id: str, fault: MusterError) -> BoardOutcome:
    return BoardOutcome(
        user_id=user_id,
        done=False,
        session_id=None,
        expires_at=None,
        problem=f"/problems/{fault.slug}",
        detail=fault.detail,
    )


# Each has a name where it is called.
# pylint: disable-next=too-many-arguments
def _usage_row(
    user_id: str,
    *,
    name: MemberName | None,
    rsvp: Rsvp | None,
    found: Sequence[Session],
    rating: int | None,
    now: datetime,
) -> UsageRow:
    hours = sum(
        each.gpus * (((each.ended_at or now) - each.created_at) / _HOUR)
        for each in found
    )
    return UsageRow(
        user=name,
        user_id=user_id,
        checked_in_at=None if rsvp is None else rsvp.checked_in_at,
        sessions=len(found),
        failed=sum(each.status is SessionStatus.FAILED for each in found),
        gpu_hours=round(hours, 3),
        rating=rating,
    )


def _report(event: Event, rows: list[UsageRow]) -> UsageReport:
    return UsageReport(
        event_id=event.id,
        seats_taken=event.seats_taken,
        checked_in=sum(row.checked_in_at is not None for row in rows),
        computed=sum(row.sessions > 0 for row in rows),
        gpu_hours=round(sum(row.gpu_hours for row in rows), 3),
        average_rating=event.rating.average,
        attendees=rows,
    )


def _table_row(row: UsageRow) -> list[object]:
    name = row.user
    return [
        "" if name is None else guest_lists.harmless(name.first_name),
        "" if name is None else guest_lists.harmless(name.last_name),
        row.checked_in_at and rfc_3339(row.checked_in_at),
        row.sessions,
        row.failed,
        row.gpu_hours,
        row.rating,
        row.user_id,
    ]
