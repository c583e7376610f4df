"""Organising: what concerns an event and its guests together.

Owns no collection. May call: event_compute, events, feedback, rsvps. Each use
case is one transaction.
"""

from collections.abc import Awaitable, Collection
from typing import Final

from config import transactions
from models.events import Event, EventUpdate
from models.exceptions import EventNotFoundError
from models.logins import Actor
from models.sessions import EndReason
from utils import event_compute, events, feedback, rsvps


# What the sessions that seats grant depend on.
_COMPUTE_FIELDS: Final = ("starts_at", "ends_at", "capacity")


async def update_event(
    event_id: str,
    change: EventUpdate,
    *,
    actor: Actor,
    if_match: Collection[str],
) -> Event:
    """Changes an event; seats that it gains go to those first in line.

    Raises:
        See `events.update_event`.
        NotEnoughGpusError: its seats grant sessions, and there are not GPUs
            for all of them then.
    """

    async def work() -> Event:
        event = await events.update_event(
            event_id, change, actor=actor, if_match=if_match
        )
        if not change.model_fields_set.isdisjoint(_COMPUTE_FIELDS):
            await event_compute.follow(event)
        return await rsvps.fill_seats(event)

    return await _unless_a_guest(
        transactions.run(work, turn=event_id), event_id, actor
    )


async def cancel_event(event_id: str, *, actor: Actor) -> Event:
    """Cancels an event; what runs on its seats ends.

    Raises:
        See `events.cancel`.
    """

    async def work() -> Event:
        event = await events.cancel(event_id, actor=actor)
        await event_compute.revoke(event_id, reason=EndReason.EVENT_CANCELLED)
        return event

    return await _unless_a_guest(
        transactions.run(work, turn=event_id), event_id, actor
    )


async def deny_event(
    event_id: str, *, reason: str | None, actor: Actor
) -> Event:
    """Keeps a public event hidden; its seats grant nothing any more.

    Raises:
        See `events.deny`.
    """

    async def work() -> Event:
        event = await events.deny(event_id, reason=reason, actor=actor)
        await event_compute.revoke(event_id, reason=EndReason.ADMIN)
        return event

    return await transactions.run(work, turn=event_id)


async def delete_event(event_id: str, *, actor: Actor) -> None:
    """Removes an event for good, with all that belongs to it.

    Raises:
        EventNotFoundError: there is none.
    """

    async def work() -> None:
        await events.delete(event_id, actor=actor)
        await event_compute.revoke(event_id, reason=EndReason.EVENT_CANCELLED)
        await rsvps.delete_of(event_id)
        await feedback.delete_of(event_id)

    await transactions.run(work, turn=event_id)


async def _unless_a_guest(
    change: Awaitable[Event], event_id: str, actor: Actor
) -> Event:
    """Guests know of a private event, and may not change it."""
    try:
        return await change
    except EventNotFoundError:
        await rsvps.access_event_as_organiser(event_id, actor=actor)
        raise
