"""RSVPs: invite, take a seat or wait for one, leave; who comes.

Owns: `rsvps`. Indexes: see INDEXES. May call: attempts, audit, events,
guest_lists, mails, paging, sessions, users.

Seats hold because every change of who goes or waits is one transaction with
the change of the event's own counters: two that race for the last seat write
the same event, so one of them begins again and finds it full. The unique index
lets nobody in twice. A killed worker's transaction never happened, and the
next worker frees what it held (`config/transactions.py`). So the counters
always agree with the list, nobody waits while a seat is free, and there is
nothing to repair. The event is written last, to be locked for one round trip.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from config import db, transactions
from models.audit import AuditAction
from models.base import Page, PageQuery, new_id, utc_now
from models.events import Event, EventRead, Status
from models.exceptions import (
    AlreadyCheckedInError,
    EventClosedError,
    EventNotFoundError,
    ForbiddenError,
    UserNotFoundError,
)
from models.logins import Actor
from models.mails import Mail, MailKind
from models.rsvps import (
    Guest,
    GuestImport,
    GuestQuery,
    OwnRsvp,
    Rsvp,
    RsvpRead,
    RsvpStatus,
)
from utils import (
    attempts,
    audit,
    events,
    guest_lists,
    mails,
    paging,
    sessions,
    users,
)

COLLECTION: Final = "rsvps"
DOCUMENTS: Final = (Rsvp,)
INDEXES: Final = [
    # Nobody has two places at one event.
    db.IndexModel(
        [("event_id", db.ASCENDING), ("user_id", db.ASCENDING)], unique=True
    ),
    *guest_lists.INDEXES,
    db.IndexModel([("user_id", db.ASCENDING), ("created_at", db.DESCENDING)]),
    # A check-in names the revision that it read: of two, one finds it.
    db.IndexModel("revision", unique=True),
]


async def get_event(event_id: str, *, actor: Actor | None) -> Event:
    """The event with this id, if the caller may see it; guests may.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
    """
    event = await events.load_event(event_id)
    await _require_sight(event, actor)
    return event


async def access_event_as_organiser(event_id: str, *, actor: Actor) -> Event:
    """The event with this id, for those who look after its guests.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: the caller neither created it nor is an admin.
    """
    event = await get_event(event_id, actor=actor)
    if not (actor.is_admin or event.creator_id == actor.user_id):
        raise ForbiddenError(
            "Only its creator or an admin may look after an event's guests."
        )
    return event


async def get_own(event_id: str, *, actor: Actor) -> RsvpRead:
    """The caller's own place at an event, or that there is none.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
    """
    rsvp = await find_rsvp(event_id, user_id=actor.user_id)
    if rsvp is None:
        await get_event(event_id, actor=actor)
    return await _read(event_id, rsvp)


async def find_rsvp(event_id: str, *, user_id: str) -> Rsvp | None:
    """A member's place at an event; None without one."""
    document = await db.collection(COLLECTION).find_one(
        {"event_id": event_id, "user_id": user_id}
    )
    return None if document is None else Rsvp.from_document(document)


async def find_rsvp_by_id(rsvp_id: str) -> Rsvp | None:
    """The place that a ticket names; None when it was given back."""
    document = await db.find_by_id(COLLECTION, rsvp_id)
    return None if document is None else Rsvp.from_document(document)


async def guest_ids(event_id: str, *, waiting: bool = True) -> list[str]:
    """The members who go to an event, and those who wait for a seat."""
    statuses = _COUNTED if waiting else [RsvpStatus.GOING]
    found = db.collection(COLLECTION).find(
        {"event_id": event_id, "status": {"$in": statuses}}, {"user_id": 1}
    )
    return [document["user_id"] async for document in found]


async def list_going(event_id: str) -> list[Rsvp]:
    """The places of all who have a seat, in the order in which they came."""
    found = db.collection(COLLECTION).find(
        {"event_id": event_id, "status": RsvpStatus.GOING},
        sort=[("order", db.ASCENDING)],
    )
    return [Rsvp.from_document(document) async for document in found]


async def list_guests(
    event_id: str, query: GuestQuery, *, actor: Actor
) -> Page[Guest]:
    """A page of an event's guests, in the order in which they came.

    Raises:
        EventNotFoundError, ForbiddenError: see `access_event_as_organiser`.
        InvalidRequestError: the cursor is malformed.
    """
    event = await access_event_as_organiser(event_id, actor=actor)
    return await guest_lists.list_page(
        db.collection(COLLECTION), event, query=query
    )


async def export_guests(
    event_id: str, query: GuestQuery, *, actor: Actor
) -> AsyncIterator[str]:
    """All guests of an event as a table, RFC 4180, line by line.

    Raises:
        EventNotFoundError, ForbiddenError: see `access_event_as_organiser`.
    """
    event = await access_event_as_organiser(event_id, actor=actor)
    return guest_lists.csv_lines(
        db.collection(COLLECTION), event, query=query
    )


async def list_own(query: PageQuery, *, actor: Actor) -> Page[OwnRsvp]:
    """A page of the caller's events, the one joined last first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    page = await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, actor.user_id),
        key="created_at",
        descending=True,
        select={"user_id": actor.user_id},
        show=Rsvp.from_document,
    )
    found = await events.find_events([rsvp.event_id for rsvp in page.items])
    positions = await guest_lists.positions(
        db.collection(COLLECTION), page.items
    )
    return Page(
        items=[
            OwnRsvp(
                event=EventRead.of(found[rsvp.event_id]),
                status=rsvp.status,
                position=positions.get(rsvp.id),
                created_at=rsvp.created_at,
                checked_in_at=rsvp.checked_in_at,
            )
            for rsvp in page.items
            if rsvp.event_id in found
        ],
        next_cursor=page.next_cursor,
    )


async def list_of(user_id: str) -> list[Rsvp]:
    """All places of a member."""
    found = db.collection(COLLECTION).find({"user_id": user_id})
    return [Rsvp.from_document(document) async for document in found]


async def join(event_id: str, *, actor: Actor) -> RsvpRead:
    """Takes a seat, or the next place on the waiting list; once.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        EventClosedError: it is cancelled or past.
    """
    work = partial(_arrive, event_id, actor)
    while True:
        try:
            return await transactions.run(work, turn=event_id)
        except db.DuplicateKeyError:
            # The caller has a place, or had one a moment ago.
            work = partial(_come_again, event_id, actor)


async def leave(event_id: str, *, actor: Actor) -> RsvpRead:
    """Gives the seat to the first in line, or leaves the line; once.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        EventClosedError: it is cancelled or past.
        AlreadyCheckedInError: the caller is inside; else the next one in line
            would come in on the same seat.
    """

    async def work() -> RsvpRead:
        event = await events.load_event(event_id)
        rsvp = await find_rsvp(event_id, user_id=actor.user_id)
        if rsvp is None:
            await _require_sight(event, actor)
        _require_open(event)
        if rsvp is not None and rsvp.checked_in_at is not None:
            raise AlreadyCheckedInError(actor.user_id, rsvp.checked_in_at)
        if rsvp is not None and rsvp.status in _COUNTED:
            await _forget(rsvp)
            if rsvp.invited:
                await _add_invitation(event_id, actor.user_id)
            await _vacate(event, rsvp)
            await _end_session(rsvp)
        return RsvpRead(event_id=event_id, status=None, position=None)

    return await transactions.run(work, turn=event_id)


async def remove(rsvp: Rsvp) -> None:
    """Takes a member's place away, whatever the event's state."""

    async def work() -> None:
        now = await find_rsvp(rsvp.event_id, user_id=rsvp.user_id)
        found = await events.find_events([rsvp.event_id])
        if now is not None:
            await _forget(now)
            await _end_session(now)
        if now is not None and rsvp.event_id in found:
            await _vacate(found[rsvp.event_id], now)

    await transactions.run(work, turn=rsvp.event_id)


async def fill_seats(event: Event) -> Event:
    """Gives seats that an event gained to those first in line.

    Part of the transaction in which it gained them.

    Returns:
        The event with its new counters.
    """
    free = min(event.capacity - event.seats_taken, event.waitlisted)
    if free <= 0 or not _is_open(event):
        return event
    promoted = await _first_in_line(event, free)
    await _promote(event, promoted)
    count = len(promoted)
    await events.count_guests(event.id, going=count, waiting=-count)
    return await events.load_event(event.id)


async def invite(event_id: str, *, user_id: str, actor: Actor) -> Guest:
    """Asks a member to come; a private event opens to them. Once.

    Raises:
        EventNotFoundError, ForbiddenError: see `access_event_as_organiser`.
        EventClosedError: it is cancelled or past.
        UserNotFoundError: there is no such member.
    """
    names = await users.find_names([user_id])
    # Mail is no means to pester somebody with events.
    may_tell = await attempts.may(
        "invitation", source=actor.user_id, limit=_MOST_INVITATIONS
    )

    async def work() -> Rsvp:
        event = await access_event_as_organiser(event_id, actor=actor)
        _require_open(event)
        if user_id not in names:
            raise UserNotFoundError(user_id)
        rsvp = await find_rsvp(event_id, user_id=user_id)
        if rsvp is None:
            rsvp = await _add_invitation(event_id, user_id)
            if may_tell:
                mail = _mail(MailKind.EVENT_INVITATION, event, user_id)
                await mails.queue(mail)
            # Whoever deletes the event meanwhile collides with this.
            await events.count_guests(event_id)
        elif not rsvp.invited:
            await _set_invited(rsvp, True)
        else:
            return rsvp
        await record_if_strange(
            AuditAction.GUEST_INVITED, event, user_id=user_id, actor=actor
        )
        return rsvp

    try:
        rsvp = await transactions.run(work, turn=event_id)
    except db.DuplicateKeyError:
        # The member joined at the same moment, or was invited by another one.
        rsvp = await transactions.run(work, turn=event_id)
    return guest_lists.show(rsvp, names=names, position=await _position(rsvp))


async def uninvite(event_id: str, *, user_id: str, actor: Actor) -> None:
    """Takes an invitation back; who goes already keeps the seat.

    Raises:
        EventNotFoundError, ForbiddenError: see `access_event_as_organiser`.
    """

    async def work() -> None:
        event = await access_event_as_organiser(event_id, actor=actor)
        rsvp = await find_rsvp(event_id, user_id=user_id)
        if rsvp is None or not rsvp.invited:
            return
        if rsvp.status is RsvpStatus.INVITED:
            await _forget(rsvp)
        else:
            await _set_invited(rsvp, False)
        await record_if_strange(
            AuditAction.GUEST_UNINVITED, event, user_id=user_id, actor=actor
        )

    await transactions.run(work, turn=event_id)


async def import_guests(event_id: str, new: Sequence[GuestImport]) -> int:
    """Takes an event's guests over from elsewhere, on the operator's word.

    They get the seats in their order, and the rest of them waits. The event
    may be in any state, nobody is told, and a private one has invited them.
    Nothing happens to an event that somebody has come to, so an import that
    broke off is repeated.

    Args:
        event_id: the event.
        new: some hundreds at most, each member once; they are sent in one
            command.

    Returns:
        How many were taken over.

    Raises:
        EventNotFoundError: there is none.
    """

    async def work() -> int:
        event = await events.load_event(event_id)
        if event.arrivals > 0 or not new:
            return 0
        invited = await _take_invitations(event_id, {g.user_id for g in new})
        going = min(event.capacity, len(new))
        # First: of two imports, one begins again and finds the guests.
        await events.count_guests(
            event_id, going=going, waiting=len(new) - going, arrived=len(new)
        )
        await db.collection(COLLECTION).insert_many(
            _imported(event, guest, order, guest.user_id in invited).dict()
            for order, guest in enumerate(new, 1)
        )
        return len(new)

    return await transactions.run(work, turn=event_id)


async def record_if_strange(
    action: AuditAction, event: Event, *, user_id: str, actor: Actor
) -> None:
    """Writes down what an admin does to a guest of somebody else's event.

    Part of the transaction in which it is done.
    """
    if actor.user_id != event.creator_id:
        await audit.record(
            action,
            actor_id=actor.user_id,
            target_id=user_id,
            event_id=event.id,
        )


async def note_check_in(
    rsvp: Rsvp, *, at: datetime | None, by: str | None, nonce: str | None
) -> bool:
    """Writes down that a guest came in, or with None that they did not.

    Returns:
        False when the place changed since it was read.
    """
    result = await db.collection(COLLECTION).update_one(
        {"revision": rsvp.revision},
        {
            "$set": {
                "checked_in_at": at,
                "checked_in_by": by,
                "check_in_nonce": nonce,
                "revision": new_id(),
            }
        },
    )
    return result.matched_count == 1


async def touch(rsvp: Rsvp) -> None:
    """Makes who changes or gives up a place at the same time begin again.

    Part of the transaction in which the place is used for something.
    """
    await db.collection(COLLECTION).update_one(
        {"_id": rsvp.id}, {"$set": {"revision": new_id()}}
    )


async def count_checked_in(event_id: str) -> int:
    """How many of an event's guests came in."""
    pipeline: list[db.Document] = [
        {"$match": {"event_id": event_id, "status": RsvpStatus.GOING}},
        {"$match": {"checked_in_at": {"$ne": None}}},
        {"$count": "number"},
    ]
    found = await db.collection(COLLECTION).aggregate(pipeline)
    return sum([counted["number"] async for counted in found])


async def delete_of(event_id: str) -> None:
    """Forgets all guests of an event that is being deleted."""
    await db.collection(COLLECTION).delete_many({"event_id": event_id})


# So many members one may have invited in a quarter of an hour by mail.
_MOST_INVITATIONS: Final = 200
_COUNTED: Final = [RsvpStatus.GOING, RsvpStatus.WAITLISTED]


async def _arrive(
    event_id: str, actor: Actor, known: Rsvp | None = None
) -> RsvpRead:
    """Gives the caller, or the invitation that is `known`, a place."""
    event = await events.load_event(event_id)
    await _require_sight(event, actor)
    _require_open(event)
    has_seat = event.seats_taken < event.capacity
    rsvp = Rsvp(
        event_id=event_id,
        user_id=actor.user_id,
        status=RsvpStatus.GOING if has_seat else RsvpStatus.WAITLISTED,
        order=event.arrivals + 1,
        invited=known is not None,
    )
    rsvps = db.collection(COLLECTION)
    if known is not None:
        await rsvps.delete_one({"_id": known.id})
    await rsvps.insert_one(rsvp.dict())
    await events.count_guests(
        event_id, going=int(has_seat), waiting=int(not has_seat), arrived=1
    )
    return RsvpRead(
        event_id=event_id,
        status=rsvp.status,
        # The last in line, behind all who wait: nobody need count them.
        position=None if has_seat else event.waitlisted + 1,
    )


async def _come_again(event_id: str, actor: Actor) -> RsvpRead:
    """What `_arrive` does for those who have a place or an invitation."""
    rsvp = await find_rsvp(event_id, user_id=actor.user_id)
    if rsvp is None or rsvp.status is RsvpStatus.INVITED:
        return await _arrive(event_id, actor, rsvp)
    return await _read(event_id, rsvp)


def _imported(
    event: Event, guest: GuestImport, order: int, invited: bool
) -> Rsvp:
    has_seat = order <= event.capacity
    came = guest.checked_in_at is not None and has_seat
    return Rsvp(
        event_id=event.id,
        user_id=guest.user_id,
        status=RsvpStatus.GOING if has_seat else RsvpStatus.WAITLISTED,
        order=order,
        invited=invited or not event.public,
        created_at=guest.created_at,
        checked_in_at=guest.checked_in_at if came else None,
        checked_in_by=event.creator_id if came else None,
    )


async def _take_invitations(event_id: str, user_ids: set[str]) -> set[str]:
    """Removes the invitations of those who come; says who had one."""
    found = db.collection(COLLECTION).find(
        {"event_id": event_id, "status": RsvpStatus.INVITED}, {"user_id": 1}
    )
    taken = {
        document["_id"]: document["user_id"]
        async for document in found
        if document["user_id"] in user_ids
    }
    if taken:
        await db.collection(COLLECTION).delete_many(
            {"_id": {"$in": list(taken)}}
        )
    return set(taken.values())


async def _vacate(event: Event, rsvp: Rsvp) -> None:
    """Counts a place that is given back; the first in line gets the seat."""
    if rsvp.status is RsvpStatus.WAITLISTED:
        await events.count_guests(event.id, waiting=-1)
    elif rsvp.status is RsvpStatus.GOING:
        promoted = []
        if event.waitlisted > 0 and _is_open(event):
            promoted = await _first_in_line(event, 1)
        await _promote(event, promoted)
        count = len(promoted)
        await events.count_guests(event.id, going=count - 1, waiting=-count)


async def _first_in_line(event: Event, count: int) -> list[Rsvp]:
    """The first of those who wait; there are as many at least."""
    # Those behind them have numbers of their own, up to the last arrival's, so
    # that the first have lower ones than these. The embedded server reads a
    # range to its end, which would be the line's.
    behind = event.waitlisted - count
    found = db.collection(COLLECTION).find(
        {
            "event_id": event.id,
            "status": RsvpStatus.WAITLISTED,
            "order": {"$lt": event.arrivals - behind + 1},
        },
        sort=[("order", db.ASCENDING)],
        limit=count,
    )
    return [Rsvp.from_document(document) async for document in found]


async def _promote(event: Event, promoted: Sequence[Rsvp]) -> None:
    """Gives seats to the first in line, who are all of `promoted`."""
    if not promoted:
        return
    await db.collection(COLLECTION).update_many(
        {
            "event_id": event.id,
            "status": RsvpStatus.WAITLISTED,
            "order": {"$lt": promoted[-1].order + 1},
        },
        {"$set": {"status": RsvpStatus.GOING}},
    )
    kind = MailKind.SEAT_PROMOTION
    await mails.queue_new(
        # Nobody is promoted twice with one place: the keys are new.
        [_mail(kind, event, rsvp.user_id, about=rsvp.id) for rsvp in promoted]
    )


async def _forget(rsvp: Rsvp) -> None:
    await db.collection(COLLECTION).delete_one({"_id": rsvp.id})


async def _end_session(rsvp: Rsvp) -> None:
    """Ends what runs on a seat that is given up: it goes with the seat."""
    if rsvp.status is RsvpStatus.GOING:
        await sessions.end_seat(rsvp.event_id, user_id=rsvp.user_id)


async def _add_invitation(event_id: str, user_id: str) -> Rsvp:
    rsvp = Rsvp(
        event_id=event_id,
        user_id=user_id,
        status=RsvpStatus.INVITED,
        order=0,
        invited=True,
    )
    await db.collection(COLLECTION).insert_one(rsvp.dict())
    return rsvp


async def _set_invited(rsvp: Rsvp, invited: bool) -> None:
    await db.collection(COLLECTION).update_one(
        {"_id": rsvp.id}, {"$set": {"invited": invited}}
    )


def _mail(
    kind: MailKind, event: Event, user_id: str, *, about: str = ""
) -> Mail:
    return Mail(
        key=f"{kind}:{about or event.id}:{user_id}",
        kind=kind,
        user_id=user_id,
        event_id=event.id,
        facts={"title": event.title},
    )


async def _read(event_id: str, rsvp: Rsvp | None) -> RsvpRead:
    return RsvpRead(
        event_id=event_id,
        status=None if rsvp is None else rsvp.status,
        position=None if rsvp is None else await _position(rsvp),
    )


async def _position(rsvp: Rsvp) -> int | None:
    found = await guest_lists.positions(db.collection(COLLECTION), [rsvp])
    return found.get(rsvp.id)


async def _require_sight(event: Event, actor: Actor | None) -> None:
    if events.is_open_to(event, actor=actor):
        return
    if actor is None or not await find_rsvp(event.id, user_id=actor.user_id):
        raise EventNotFoundError(event.id)


def _require_open(event: Event) -> None:
    if not _is_open(event):
        raise EventClosedError(event.id, event.status_at(utc_now()))


def _is_open(event: Event) -> bool:
    return event.status_at(utc_now()) in (Status.UPCOMING, Status.ONGOING)
