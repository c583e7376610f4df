"""Check-ins: tickets out, guests in.

Owns no collection. May call: event_compute, rsvps, tickets, users.
"""

import asyncio
from collections.abc import Mapping

from config import transactions
from models.audit import AuditAction
from models.base import utc_now
from models.events import Event, Status
from models.exceptions import (
    AlreadyCheckedInError,
    CheckInUndoneError,
    EventClosedError,
    ForeignTicketError,
    MusterError,
    NoSeatError,
    RsvpNotFoundError,
    TicketWithdrawnError,
)
from models.logins import Actor
from models.rsvps import (
    CheckInRead,
    DoorCounts,
    Rsvp,
    RsvpStatus,
    Scan,
    ScanOutcome,
    ScanOutcomes,
    TicketForm,
    TicketRead,
)
from models.users import MemberName
from utils import event_compute, rsvps, tickets, users


async def get_ticket(event_id: str, *, actor: Actor) -> TicketRead:
    """The caller's ticket; the same one until the seat is given back.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        EventClosedError: the event is cancelled.
        NoSeatError: the caller has no seat.
    """
    event = await rsvps.get_event(event_id, actor=actor)
    _require_not_cancelled(event)
    rsvp = await rsvps.find_rsvp(event_id, user_id=actor.user_id)
    if rsvp is None or rsvp.status is not RsvpStatus.GOING:
        raise NoSeatError(event_id)
    return TicketRead(
        event_id=event_id,
        ticket=tickets.sign(tickets.Seat(event_id, rsvp.id)),
        checked_in_at=rsvp.checked_in_at,
    )


async def draw_ticket(
    event_id: str, *, form: TicketForm, actor: Actor
) -> bytes:
    """The caller's ticket as a picture of a QR code.

    Raises:
        See `get_ticket`.
    """
    ticket = await get_ticket(event_id, actor=actor)
    draw = tickets.draw_svg if form is TicketForm.SVG else tickets.draw_png
    return await asyncio.to_thread(draw, ticket.ticket)


async def check_in(event_id: str, scan: Scan, *, actor: Actor) -> CheckInRead:
    """Lets a guest in, once.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: the caller neither created it nor is an admin.
        EventClosedError: it is cancelled.
        ForgedTicketError: nobody here signed the ticket.
        ForeignTicketError: it is for another event.
        TicketWithdrawnError: its holder gave the seat back.
        RsvpNotFoundError: the member has no seat.
        AlreadyCheckedInError: the guest came in before, by another scan.
        CheckInUndoneError: this scan was undone.
    """
    event = await rsvps.access_event_as_organiser(event_id, actor=actor)
    _require_not_cancelled(event)
    rsvp = await _let_in(event, scan, actor)
    names = await users.find_names([rsvp.user_id])
    return CheckInRead(
        event_id=event_id,
        user=names.get(rsvp.user_id),
        checked_in_at=rsvp.checked_in_at or utc_now(),
    )


async def check_in_all(
    event_id: str, scans: list[Scan], *, actor: Actor
) -> ScanOutcomes:
    """Lets in whom a scanner without a network let in; safe to send again.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: the caller neither created it nor is an admin.
        EventClosedError: it is cancelled.
    """
    event = await rsvps.access_event_as_organiser(event_id, actor=actor)
    _require_not_cancelled(event)
    tried = [(scan, await _try(event, scan, actor)) for scan in scans]
    names = await users.find_names(
        {rsvp.user_id for _, rsvp in tried if isinstance(rsvp, Rsvp)}
    )
    return ScanOutcomes(
        outcomes=[_outcome(scan, result, names) for scan, result in tried]
    )


async def undo_check_in(event_id: str, *, user_id: str, actor: Actor) -> None:
    """Takes a check-in back, so that the ticket works again.

    What the guest runs on the seat ends where only those may who came in.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: the caller neither created it nor is an admin.
        RsvpNotFoundError: the member has no seat.
    """
    event = await rsvps.access_event_as_organiser(event_id, actor=actor)

    async def work() -> None:
        while True:
            rsvp = await _seat_of(event_id, user_id)
            # The nonce stays: a batch that is sent again must not redo it.
            nonce = rsvp.check_in_nonce
            if await rsvps.note_check_in(rsvp, at=None, by=None, nonce=nonce):
                break
        await event_compute.leave_door(event_id, user_id=user_id)
        await rsvps.record_if_strange(
            AuditAction.GUEST_CHECKED_OUT, event, user_id=user_id, actor=actor
        )

    await transactions.run(work)


async def count_at_door(event_id: str, *, actor: Actor) -> DoorCounts:
    """How many are in, and how many may still come.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: the caller neither created it nor is an admin.
    """
    event = await rsvps.access_event_as_organiser(event_id, actor=actor)
    return DoorCounts(
        event_id=event_id,
        capacity=event.capacity,
        seats_taken=event.seats_taken,
        waitlisted=event.waitlisted,
        checked_in=await rsvps.count_checked_in(event_id),
    )


async def _let_in(event: Event, scan: Scan, actor: Actor) -> Rsvp:
    """Lets a guest in; what an admin does at another's door is written down."""
    if actor.user_id == event.creator_id:
        return await _check_in(event.id, scan, actor)

    async def work() -> Rsvp:
        rsvp = await _check_in(event.id, scan, actor)
        await rsvps.record_if_strange(
            AuditAction.GUEST_CHECKED_IN,
            event,
            user_id=rsvp.user_id,
            actor=actor,
        )
        return rsvp

    return await transactions.run(work)


async def _check_in(event_id: str, scan: Scan, actor: Actor) -> Rsvp:
    """The guest's place, with the check-in.

    Of two scanners that see one ticket at the same moment, one meets the
    revision that both have read; the other one reads again, and finds who was
    first.
    """
    while True:
        rsvp = await _find_seat(event_id, scan)
        is_known = scan.nonce is not None and scan.nonce == rsvp.check_in_nonce
        if rsvp.checked_in_at is not None:
            if is_known:
                return rsvp
            raise AlreadyCheckedInError(rsvp.user_id, rsvp.checked_in_at)
        if is_known:
            raise CheckInUndoneError()
        at = scan.scanned_at or utc_now()
        if await rsvps.note_check_in(
            rsvp, at=at, by=actor.user_id, nonce=scan.nonce
        ):
            return rsvp.model_copy(update={"checked_in_at": at})


async def _find_seat(event_id: str, scan: Scan) -> Rsvp:
    if scan.ticket is None:
        return await _seat_of(event_id, scan.user_id or "")
    seat = tickets.read(scan.ticket)
    if seat.event_id != event_id:
        raise ForeignTicketError()
    rsvp = await rsvps.find_rsvp_by_id(seat.rsvp_id)
    if rsvp is None:
        raise TicketWithdrawnError()
    return rsvp


async def _seat_of(event_id: str, user_id: str) -> Rsvp:
    rsvp = await rsvps.find_rsvp(event_id, user_id=user_id)
    if rsvp is None or rsvp.status is not RsvpStatus.GOING:
        raise RsvpNotFoundError(event_id, user_id)
    return rsvp


def _require_not_cancelled(event: Event) -> None:
    # What is past still takes the scans of a scanner that was offline.
    status = event.status_at(utc_now())
    if status is Status.CANCELLED:
        raise EventClosedError(event.id, status)


async def _try(event: Event, scan: Scan, actor: Actor) -> Rsvp | MusterError:
    try:
        return await _let_in(event, scan, actor)
    except MusterError as error:
        return error


def _outcome(
    scan: Scan, result: Rsvp | MusterError, names: Mapping[str, MemberName]
) -> ScanOutcome:
    if isinstance(result, MusterError):
        return ScanOutcome(
            nonce=scan.nonce,
            checked_in=False,
            problem=f"/problems/{result.slug}",
            detail=result.detail,
            user=None,
            checked_in_at=None,
        )
    return ScanOutcome(
        nonce=scan.nonce,
        checked_in=True,
        problem=None,
        detail=None,
        user=names.get(result.user_id),
        checked_in_at=result.checked_in_at,
    )
