"""Calendars: events out to calendar programs, and in from their files.

Owns no collection. May call: audit, calendar_files, event_compute, events,
rsvps, seat_grants, tokens, users. An imported event is known by who imported
it, its UID, and which of its dates it is: the same file twice makes nothing
twice.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from config import transactions
from config.main import NAME
from models.audit import AuditAction
from models.base import new_id, utc_now
from models.calendars import CalendarEntry, ImportProblem, ImportResult
from models.events import Approval, Event, EventFilters, EventImport
from models.exceptions import NotAuthenticatedError
from models.logins import Actor
from models.rsvps import RsvpStatus
from models.session_errors import NotEnoughGpusError
from models.sessions import EndReason
from utils import (
    audit,
    calendar_files,
    event_compute,
    events,
    rsvps,
    seat_grants,
    tokens,
    users,
)

# What a feed holds at the most.
MOST_EVENTS: Final = 1000

_OWN_SINCE: Final = timedelta(days=90)
# One command each, so that none of them is too large.
_AT_ONCE: Final = 100


async def write_events(filters: EventFilters, *, actor: Actor | None) -> bytes:
    """The iCalendar text of the events that a list with `filters` begins with.

    Raises:
        NotAuthenticatedError: an anonymous caller asks for their own events.
        InvalidRequestError: `q` has no word.
    """
    found = await events.list_whole(filters, actor=actor, limit=MOST_EVENTS)
    return await calendar_files.write(found, name=f"{NAME} events")


async def write_event(
    event_id: str, *, actor: Actor | None
) -> tuple[str, bytes]:
    """The title and the iCalendar text of an event.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
    """
    event = await rsvps.get_event(event_id, actor=actor)
    return event.title, await calendar_files.write([event], name="")


async def write_own(token: str) -> bytes:
    """The iCalendar text of what a member goes to, waits for, or created.

    Raises:
        NotAuthenticatedError: nobody's calendar has this secret, any more.
    """
    user = await users.find_user_by_calendar(tokens.hash_secret(token))
    if user is None or user.disabled:
        raise NotAuthenticatedError(
            "This calendar address is not valid any more: open a new one at "
            "POST /v1/users/me/calendar."
        )
    found, tentative = await _gatherings_of(user.id)
    return await calendar_files.write(
        found, name=f"My {NAME} events", tentative=tentative
    )


async def open_own(actor: Actor) -> str:
    """A new secret for the address of the caller's calendar.

    The one before is dead from then on.

    Raises:
        UserNotFoundError: the account is gone.
    """
    secret = tokens.new_secret()
    await _set_own(
        tokens.hash_secret(secret), AuditAction.CALENDAR_OPENED, actor
    )
    return secret


async def revoke_own(actor: Actor) -> None:
    """Makes the address of the caller's calendar invalid.

    Raises:
        UserNotFoundError: the account is gone.
    """
    await _set_own(None, AuditAction.CALENDAR_REVOKED, actor)


async def import_file(body: bytes, *, actor: Actor) -> ImportResult:
    """Takes the events of a calendar file over, as the caller's private ones.

    What the file has changed since it was imported last is changed here too;
    what it has not keeps what its creator made of it. An event that is over or
    cancelled here stays so.

    Raises:
        InvalidRequestError: it is no calendar, or takes too long to read.
    """
    file = await calendar_files.read(body, now=utc_now())
    result = ImportResult(
        created=0, updated=0, unchanged=0, problems=file.problems
    )
    entries = {_key_of(entry, actor): entry for entry in file.entries}
    # In their order: what is read to compare lies close together then.
    keys = sorted(entries)
    for at in range(0, len(keys), _AT_ONCE):
        chunk = {key: entries[key] for key in keys[at : at + _AT_ONCE]}
        await _import(chunk, result, actor)
    return result


async def _import(
    entries: dict[str, CalendarEntry], result: ImportResult, actor: Actor
) -> None:
    known = await events.list_imported(entries)
    new = [
        _to_import(key, entry, actor)
        for key, entry in entries.items()
        if key not in known and not entry.cancelled
    ]
    if new:
        created = await events.import_events(new)
        result.created += created
        if created < len(new):
            # Another import of this file was faster with some of them.
            ids = {event.id for event in new}
            now = await events.list_imported([str(e.import_key) for e in new])
            known |= {
                k: event for k, event in now.items() if event.id not in ids
            }
    changed = [
        _to_import(key, entries[key], actor)
        for key, event in known.items()
        if _differs(event, entries[key])
    ]
    result.unchanged += len(known) - len(changed)
    if changed:
        faults = await _reimport(
            changed,
            known={key: event.id for key, event in known.items()},
            cancelled={key for key in known if entries[key].cancelled},
            actor=actor,
        )
        result.updated += len(changed) - len(faults)
        result.problems += [
            ImportProblem(uid=entries[key].uid, reason=reason)
            for key, reason in faults.items()
        ]


async def _reimport(
    changed: Sequence[EventImport],
    *,
    known: Mapping[str, str],
    cancelled: Collection[str],
    actor: Actor,
) -> dict[str, str]:
    """Has events follow their file; why some did not, by their keys.

    Those whose seats grant sessions are taken one by one: where there are not
    GPUs enough at the new time, the event stays as it is, and the others don't.
    """
    ids = {str(new.import_key): known[str(new.import_key)] for new in changed}
    granted = await seat_grants.find_granted(list(ids.values()))
    others = [n for n in changed if ids[str(n.import_key)] not in granted]
    faults: dict[str, str] = {}
    for new in changed:
        key = str(new.import_key)
        if ids[key] in granted:
            faults |= await _reimport_granted(
                new, ids[key], cancelled=cancelled, actor=actor
            )
    if others:
        faults |= await events.reimport(
            others, cancelled=cancelled, actor=actor
        )
        mine = {ids[str(new.import_key)] for new in others}
        faults |= await _follow_late(
            {key: each for key, each in ids.items() if each in mine}
        )
    return faults


async def _follow_late(ids: Mapping[str, str]) -> dict[str, str]:
    """Has what seats were granted meanwhile follow; why not, by the keys.

    An event has its new time by then. Where there are not GPUs enough, nothing
    is granted: what was promised a moment ago was for another time.
    """
    faults: dict[str, str] = {}
    late = await seat_grants.find_granted(list(ids.values()))
    for key, event_id in ids.items():
        if event_id not in late:
            continue

        async def follow(which: str = event_id) -> None:
            event = await events.load_event(which)
            if event.cancelled_at is None:
                await event_compute.follow(event)
            else:
                await event_compute.revoke(
                    which, reason=EndReason.EVENT_CANCELLED
                )

        async def revoke(which: str = event_id) -> None:
            await event_compute.revoke(which, reason=EndReason.ORGANISER)

        try:
            await transactions.run(follow, turn=event_id)
        except NotEnoughGpusError as fault:
            await transactions.run(revoke, turn=event_id)
            faults[key] = fault.detail
    return faults


async def _reimport_granted(
    new: EventImport,
    event_id: str,
    *,
    cancelled: Collection[str],
    actor: Actor,
) -> dict[str, str]:
    key = str(new.import_key)

    async def work() -> dict[str, str]:
        faults = await events.reimport([new], cancelled=cancelled, actor=actor)
        if not faults and key in cancelled:
            await event_compute.revoke(
                event_id, reason=EndReason.EVENT_CANCELLED
            )
        elif not faults:
            await event_compute.follow(await events.load_event(event_id))
        return faults

    try:
        return await transactions.run(work, turn=event_id)
    except NotEnoughGpusError as fault:
        return {key: fault.detail}


def _key_of(entry: CalendarEntry, actor: Actor) -> str:
    # A member's keys have one beginning: they are found by a range of them.
    return f"{actor.user_id}:{_digest(entry.uid, entry.recurrence)}"


def _to_import(key: str, entry: CalendarEntry, actor: Actor) -> EventImport:
    # What was checked is not checked again: long texts take a millisecond.
    return EventImport.model_construct(
        **dict(entry.event),
        id=new_id(),
        creator_id=actor.user_id,
        import_key=key,
        import_digest=_content_of(entry),
    )


def _differs(event: Event, entry: CalendarEntry) -> bool:
    if entry.cancelled:
        return event.cancelled_at is None
    return event.import_digest != _content_of(entry)


def _content_of(entry: CalendarEntry) -> str:
    return _digest(entry.event.model_dump_json())


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


async def _gatherings_of(user_id: str) -> tuple[list[Event], set[str]]:
    """A member's events, and the ids of those that they only wait for."""
    since = utc_now() - _OWN_SINCE
    created = await events.list_created(user_id, since=since, limit=MOST_EVENTS)
    places = [
        place
        for place in await rsvps.list_of(user_id)
        if place.status is not RsvpStatus.INVITED
    ]
    found = {event.id: event for event in created}
    ids = [place.event_id for place in places if place.event_id not in found]
    for at in range(0, len(ids), _AT_ONCE):
        found |= await events.find_events(ids[at : at + _AT_ONCE])
    shown = [
        event
        for event in found.values()
        if event.starts_at >= since and event.approval is not Approval.DENIED
    ]
    shown.sort(key=lambda event: (event.starts_at, event.id))
    waiting = RsvpStatus.WAITLISTED
    return shown[:MOST_EVENTS], {
        place.event_id for place in places if place.status is waiting
    }


async def _set_own(
    calendar_hash: str | None, action: AuditAction, actor: Actor
) -> None:
    async def work() -> None:
        await users.set_calendar(actor.user_id, calendar_hash=calendar_hash)
        await audit.record(
            action, actor_id=actor.user_id, target_id=actor.user_id
        )

    await transactions.run(work, turn=actor.user_id)
