"""Organising: what concerns an event and its guests together.

Owns no collection. May call: events, feedback, rsvps. Each use case is one
transaction.
"""

from collections.abc import Awaitable, Collection

from config import transactions
from models.events import Event, EventUpdate
from models.exceptions import EventNotFoundError
from models.logins import Actor
from utils import events, feedback, rsvps


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
    """

    async def work() -> Event:
        event = await events.update_event(
            event_id, change, actor=actor, if_match=if_match
        )
        return await rsvps.fill_seats(event)

    return await _unless_a_guest(
        transactions.run(work, turn=event_id), event_id, actor
    )


async def cancel_event(event_id: str, *, actor: Actor) -> Event:
    """Cancels an event.

    Raises:
        See `events.cancel`.
    """
    return await _unless_a_guest(
        events.cancel(event_id, actor=actor), event_id, actor
    )


async def delete_event(event_id: str, *, actor: Actor) -> None:
    """Removes an event for good, with all that belongs to it.

    Raises:
        EventNotFoundError: there is none.
    """

    async def work() -> None:
        await events.delete(event_id, actor=actor)
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
