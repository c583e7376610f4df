"""Event compute: a seat at an event is a GPU.

Owns no collection. May call: audit, events, gpus, mails, rsvps, seat_grants,
session_templates, sessions.

A seat is a promise: what all seats of all events want at one moment is never
more than the healthy GPUs. That is proven whenever a promise is made or grows,
in the transaction that makes it; who proves at the same time begins again, see
`seat_grants.take_turn`. When GPUs fail, `find_short` says whose seats go short.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from config import db, transactions
from config.main import settings
from models.audit import AuditAction
from models.base import rfc_3339, utc_now
from models.event_compute import (
    ComputeWrite,
    Entitlement,
    Prewarm,
    Rehearsal,
    RehearsalStart,
    SeatGrant,
)
from models.events import Approval, Event, Status
from models.exceptions import (
    EventClosedError,
    EventNotFoundError,
    InvalidRequestError,
)
from models.logins import Actor
from models.mails import Mail, MailKind
from models.rsvps import Rsvp, RsvpStatus
from models.session_errors import (
    EventComputeNotFoundError,
    NotEnoughGpusError,
    NotEntitledError,
    RehearsalNotFoundError,
    RehearsalRunsError,
)
from models.sessions import EndReason
from utils import (
    audit,
    events,
    gpus,
    mails,
    rsvps,
    seat_grants,
    session_templates,
    sessions,
)

# Set when this process was asked to start sessions, for whoever does so.
wanted: Final = asyncio.Event()

# What promises compete for in one process.
_TURN: Final = gpus.TURN
# Longer than an engine takes to be asked for one container.
_EACH: Final = timedelta(seconds=5)


async def get_compute(event_id: str, *, actor: Actor) -> SeatGrant:
    """What the seats of an event grant, for all who may see it.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        EventComputeNotFoundError: they grant nothing.
    """
    await rsvps.get_event(event_id, actor=actor)
    return await seat_grants.get_grant(event_id)


async def set_compute(
    event_id: str, wish: ComputeWrite, *, actor: Actor
) -> SeatGrant:
    """Has the seats of an event grant sessions, if there are GPUs for all.

    Sessions that live stay as they are, but for their end.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventClosedError: it is cancelled, past or denied.
        InvalidRequestError: there is no such template, or its sessions can't
            have so many GPUs.
        NotEnoughGpusError: the GPUs do not suffice for all seats.
    """

    async def work() -> SeatGrant:
        event = await rsvps.access_event_as_organiser(event_id, actor=actor)
        _require_open(event)
        template = await session_templates.claim(wish.template)
        if wish.gpus_per_seat > template.gpus_max:
            raise InvalidRequestError.at(
                "body",
                "gpus_per_seat",
                msg=f"a session of {template.name!r} has at most "
                f"{template.gpus_max} GPUs",
            )
        grant = await _promise(_grant_of(event, wish), event_id)
        # Whoever changes the event's times or capacity meanwhile collides with
        # this, and finds the grant.
        await events.count_guests(event_id)
        await _record_if_strange(
            AuditAction.EVENT_COMPUTE_SET,
            event,
            actor,
            template=grant.template,
            gpus_per_seat=str(grant.gpus_per_seat),
        )
        return grant

    while True:
        try:
            return await transactions.run(work, turn=_TURN)
        except db.DuplicateKeyError:
            # Another request made the first promise, of this event or of all.
            continue


async def unset_compute(event_id: str, *, actor: Actor) -> None:
    """Takes back what the seats of an event grant, and ends their sessions.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventComputeNotFoundError: they grant nothing.
    """

    async def work() -> None:
        event = await rsvps.access_event_as_organiser(event_id, actor=actor)
        # That there is one.
        await seat_grants.get_grant(event_id)
        await revoke(event_id, reason=EndReason.ORGANISER)
        await _record_if_strange(
            AuditAction.EVENT_COMPUTE_UNSET, event, actor
        )

    await transactions.run(work, turn=_TURN)


async def revoke(event_id: str, *, reason: EndReason) -> None:
    """Takes back what seats grant, whoever asks; part of a transaction."""
    grant = await seat_grants.find_grant(event_id)
    if grant is None:
        return
    await seat_grants.delete(event_id)
    # Who starts a session at the same time begins again, and may not.
    await seat_grants.take_turn()
    await sessions.end_of_event(event_id, reason=reason)
    if grant.rehearsal is not None and grant.rehearsal.report is None:
        await sessions.end_of_event(grant.rehearsal.id, reason=reason)


async def follow(event: Event) -> None:
    """Keeps what seats grant in step with the event's times and capacity.

    Part of the transaction that changes these.

    Raises:
        NotEnoughGpusError: there are not so many GPUs then.
    """
    grant = await seat_grants.find_grant(event.id)
    if grant is None:
        return
    new = grant.model_copy(update=_facts_of(event, grant))
    if new == grant:
        return
    if new.opens_at != grant.opens_at:
        # What is ready now may not be any more by then.
        new.warmed_at = None
    await _replace(grant, new)


async def entitle(event_id: str, *, actor: Actor) -> Entitlement:
    """What the caller's seat grants them now.

    Part of the transaction in which their session starts. It writes the seat,
    as `sessions.create` takes its turn: so whoever leaves the one or takes back
    the grant at the same time begins again, and ends the session, or is first,
    and there is none.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        NotEntitledError: they have no seat, or it grants nothing, or nothing
            now.
    """
    event = await rsvps.get_event(event_id, actor=actor)
    if event.cancelled_at is not None:
        raise NotEntitledError("This event is cancelled.")
    grant = await seat_grants.find_grant(event_id)
    if grant is None:
        raise NotEntitledError(
            "The seats of this event grant no sessions: start one of your own "
            "quota, without an event_id."
        )
    found = await rsvps.find_rsvp(event_id, user_id=actor.user_id)
    rsvp = _require_seat(found, grant)
    _require_window(grant, utc_now())
    return await _granted(grant, rsvp)


async def entitle_early(event_id: str, *, user_id: str) -> Entitlement:
    """What a member's seat grants now or soon, to have it ready when it does.

    Part of a transaction, as `entitle`.

    Raises:
        EventComputeNotFoundError: the event's seats grant nothing.
        NotEntitledError: they have no seat, or nothing is to be ready yet.
    """
    grant = await seat_grants.get_grant(event_id)
    found = await rsvps.find_rsvp(event_id, user_id=user_id)
    rsvp = _require_seat(found, grant)
    if not grant.wanted_at <= utc_now() < grant.closes_at:
        raise NotEntitledError("Sessions of this event do not start now.")
    return await _granted(grant, rsvp)


async def start_rehearsal(
    event_id: str, wish: RehearsalStart, *, actor: Actor
) -> Rehearsal:
    """Has sessions like those of the seats started, to see how that goes.

    `prewarming.rehearse`, a chore of all workers, does so.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventClosedError: it is cancelled, past or denied.
        EventComputeNotFoundError: the event's seats grant nothing.
        RehearsalRunsError: another one is not over.
    """
    rehearsal = Rehearsal(
        owner_id=actor.user_id,
        sessions=wish.sessions,
        ends_at=utc_now() + _patience(wish.sessions),
    )

    def begun(grant: SeatGrant) -> SeatGrant:
        if grant.rehearsal is not None and grant.rehearsal.report is None:
            raise RehearsalRunsError(event_id)
        return grant.model_copy(update={"rehearsal": rehearsal})

    async def work() -> None:
        event = await rsvps.access_event_as_organiser(event_id, actor=actor)
        _require_open(event)
        if await seat_grants.change(event_id, changed=begun) is None:
            raise EventComputeNotFoundError(event_id)
        await _record_if_strange(
            AuditAction.EVENT_COMPUTE_REHEARSED,
            event,
            actor,
            sessions=str(wish.sessions),
        )

    await transactions.run(work, turn=event_id)
    wanted.set()
    return rehearsal


async def get_rehearsal(event_id: str, *, actor: Actor) -> Rehearsal:
    """The last rehearsal of an event.

    Raises:
        EventNotFoundError, ForbiddenError: see
            `rsvps.access_event_as_organiser`.
        EventComputeNotFoundError: the event's seats grant nothing.
        RehearsalNotFoundError: there was none.
    """
    await rsvps.access_event_as_organiser(event_id, actor=actor)
    grant = await seat_grants.get_grant(event_id)
    if grant.rehearsal is None:
        raise RehearsalNotFoundError(event_id)
    return grant.rehearsal


async def leave_door(event_id: str, *, user_id: str) -> None:
    """Ends what a guest runs whose check-in is undone, if they need one.

    Part of the transaction in which it is undone.
    """
    grant = await seat_grants.find_grant(event_id)
    if grant is not None and grant.needs_check_in:
        await sessions.end_seat(event_id, user_id=user_id)


async def find_short() -> None:
    """Finds the events that GPUs are missing for; their organisers get a mail.

    Any number of workers may do it at once: a mail of a key is sent once.
    """
    now = utc_now()
    grants = await seat_grants.list_grants(now)
    if not grants:
        return
    healthy = await gpus.count_healthy()
    for grant, feasible in shortages(grants, healthy=healthy, now=now):
        if feasible != grant.feasible_seats:
            await _note_short(grant, feasible)


def shortages(
    grants: Sequence[SeatGrant], *, healthy: int, now: datetime
) -> Iterator[tuple[SeatGrant, int | None]]:
    """Which promises are kept: who was promised something first has it first.

    Yields:
        Each promise, with for how many seats there are GPUs; None for all.
    """
    kept: list[seat_grants.Demand] = []
    for grant in grants:
        starts = max(now, grant.wanted_at)
        taken = seat_grants.peak(kept, starts=starts, ends=grant.closes_at)
        feasible = _seats_in(healthy - taken, grant)
        kept.append(
            seat_grants.Demand(
                starts, grant.closes_at, feasible * grant.gpus_per_seat
            )
        )
        yield grant, None if feasible == grant.seats else feasible


async def _promise(grant: SeatGrant, event_id: str) -> SeatGrant:
    """Writes a promise that can be kept, in the place of an earlier one."""
    before = await seat_grants.find_grant(event_id)
    if before is None:
        await _require_room(grant)
        return await seat_grants.put(grant)
    kept: dict[str, object] = {
        "created_at": before.created_at,
        "feasible_seats": before.feasible_seats,
        "rehearsal": before.rehearsal,
        "wanted": before.wanted,
    }
    if _is_ready_alike(grant, before):
        # Else all who were made ready for would be once more.
        kept["warmed_at"] = before.warmed_at
    return await _replace(before, grant.model_copy(update=kept))


async def _replace(before: SeatGrant, after: SeatGrant) -> SeatGrant:
    """Writes a promise; what asks for more is proven, and stands behind others.

    Sessions that live follow the end of the window.
    """
    if not _is_within(after, before):
        await _require_room(after)
        after = after.model_copy(
            update={"feasible_seats": None, "created_at": utc_now()}
        )
    after = await seat_grants.put(after)
    if after.closes_at < before.closes_at:
        # As in `revoke`.
        await seat_grants.take_turn()
        await sessions.cut(after.id, until=after.closes_at)
    elif after.closes_at > before.closes_at:
        await sessions.stretch(before, after)
    return after


async def _require_room(grant: SeatGrant) -> None:
    """Proves that there are GPUs for all seats; part of a transaction."""
    await seat_grants.take_turn()
    starts = max(grant.wanted_at, utc_now())
    others = await seat_grants.list_grants(starts)
    demands = [
        seat_grants.demand_of(other) for other in others if other.id != grant.id
    ]
    granted = {each.id: each for each in (*others, grant)}
    # What runs on no seat, or outlasts its window, does not end at once.
    for session in await sessions.list_alive():
        demands += sessions.demands_of(session, granted)
    demands += await sessions.list_offered()
    taken = seat_grants.peak(demands, starts=starts, ends=grant.closes_at)
    feasible = _seats_in(await gpus.count_healthy() - taken, grant)
    if feasible < grant.seats:
        raise NotEnoughGpusError(
            seats=grant.seats,
            gpus_per_seat=grant.gpus_per_seat,
            feasible=feasible,
        )


def _seats_in(free: int, grant: SeatGrant) -> int:
    """For how many of its seats so many GPUs suffice."""
    if grant.gpus_per_seat == 0:
        return grant.seats
    return min(grant.seats, max(0, free // grant.gpus_per_seat))


def _grant_of(event: Event, wish: ComputeWrite) -> SeatGrant:
    # Times follow below; these are never seen.
    grant = SeatGrant(
        id=event.id,
        seats=event.capacity,
        wanted_at=event.starts_at,
        opens_at=event.starts_at,
        closes_at=event.ends_at,
        **wish.model_dump(),
    )
    return grant.model_copy(update=_facts_of(event, grant))


def _facts_of(event: Event, grant: SeatGrant) -> dict[str, int | datetime]:
    """What a grant takes from its event."""
    opens_at = event.starts_at - timedelta(minutes=grant.opens_minutes_before)
    early = timedelta(minutes=grant.prewarm_minutes)
    starts_early = grant.prewarm is Prewarm.START
    return {
        "seats": event.capacity,
        "wanted_at": opens_at - early if starts_early else opens_at,
        "opens_at": opens_at,
        "closes_at": event.ends_at
        + timedelta(minutes=grant.closes_minutes_after),
    }


def _is_within(new: SeatGrant, old: SeatGrant) -> bool:
    """Whether nothing more is promised than before."""
    return (
        new.gpus <= old.gpus
        and new.wanted_at >= old.wanted_at
        and new.closes_at <= old.closes_at
    )


def _is_ready_alike(new: SeatGrant, old: SeatGrant) -> bool:
    """Whether the same is to be ready at the same time."""
    return (
        new.template == old.template
        and new.prewarm is old.prewarm
        and new.opens_at == old.opens_at
    )


def _patience(count: int) -> timedelta:
    """How long so many sessions may take to come up."""
    return timedelta(seconds=settings.session_start_seconds) + count * _EACH


def _require_open(event: Event) -> None:
    status = event.status_at(utc_now())
    if status in (Status.CANCELLED, Status.PAST):
        raise EventClosedError(event.id, status)
    if event.approval is Approval.DENIED:
        raise EventClosedError(
            event.id,
            Approval.DENIED,
            "An admin denied this event: change it, so that it is looked at "
            "again, and then let its seats grant sessions.",
        )


def _require_seat(rsvp: Rsvp | None, grant: SeatGrant) -> Rsvp:
    if rsvp is None or rsvp.status is RsvpStatus.INVITED:
        raise NotEntitledError()
    if rsvp.status is RsvpStatus.WAITLISTED:
        raise NotEntitledError(
            "You are on the waiting list: you get a mail when you have a seat, "
            "and may start a session then."
        )
    if grant.needs_check_in and rsvp.checked_in_at is None:
        raise NotEntitledError(
            "Check in at the door first: sessions of this event are for those "
            "who came in. Your ticket is at GET /v1/events/{id}/ticket."
        )
    return rsvp


def _require_window(grant: SeatGrant, now: datetime) -> None:
    opens_at, closes_at = map(rfc_3339, (grant.opens_at, grant.closes_at))
    if now < grant.opens_at:
        raise NotEntitledError(
            f"Sessions of this event start from {opens_at} on: ask "
            "again then.",
            {"opens_at": opens_at},
        )
    if now >= grant.closes_at:
        raise NotEntitledError(
            f"Sessions of this event ended at {closes_at}: start "
            "one of your own quota.",
            {"closes_at": closes_at},
        )


async def _granted(grant: SeatGrant, rsvp: Rsvp) -> Entitlement:
    await rsvps.touch(rsvp)
    return Entitlement(
        template=grant.template,
        gpus=grant.gpus_per_seat,
        ends_at=grant.closes_at,
    )


async def _note_short(grant: SeatGrant, feasible: int | None) -> None:
    """Writes down that seats go short, or no more; told once a number."""
    kind = MailKind.COMPUTE_SHORT

    def noted(now: SeatGrant) -> SeatGrant | None:
        if now.seats != grant.seats or now.feasible_seats == feasible:
            return None
        return now.model_copy(update={"feasible_seats": feasible})

    async def work() -> None:
        short = await seat_grants.change(grant.id, changed=noted)
        if short is None or feasible is None:
            return
        try:
            event = await events.load_event(grant.id)
        except EventNotFoundError:
            return
        await mails.queue(
            Mail(
                # Told again when it is noted again, after it was well.
                key=f"{kind}:{grant.id}:{short.revision}",
                kind=kind,
                user_id=event.creator_id,
                event_id=event.id,
                facts={"title": event.title, "feasible": str(feasible)},
            )
        )

    await transactions.run(work)


async def _record_if_strange(
    action: AuditAction, event: Event, actor: Actor, **facts: str
) -> None:
    """Writes down what an admin does to somebody else's event."""
    if actor.user_id != event.creator_id:
        await audit.record(
            action, actor_id=actor.user_id, target_id=event.id, **facts
        )
