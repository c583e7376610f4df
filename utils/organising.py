"""Organising: what concerns an event and its guests together.

Owns no collection. May call: events, feedback, rsvps. Each use case is one
transaction.
"""

from collections.abc import Collection

from config import transactions
from models.events import Event, EventUpdate
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

    return await transactions.run(work, turn=event_id)


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
