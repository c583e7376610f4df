"""Guests from elsewhere: seats, counters, repeats and races."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from pymongo.errors import BulkWriteError

from config import db
from models.base import new_id, utc_now
from models.events import Approval, Event
from models.exceptions import EventNotFoundError
from models.logins import Actor
from models.rsvps import GuestImport, Rsvp, RsvpStatus
from models.users import Role
from tests import factories
from tests.factories import HOUR, UNKNOWN_ID
from utils import events, rsvps

pytestmark = pytest.mark.usefixtures("database")


def _crowd(count: int, *, came: bool = False) -> list[GuestImport]:
    """Guests who joined one after the other, an hour ago."""
    start = utc_now() - HOUR
    return [
        GuestImport(
            user_id=new_id(),
            created_at=start + timedelta(minutes=number),
            checked_in_at=start + HOUR if came else None,
        )
        for number in range(count)
    ]


async def _check(event: Event, new: Sequence[GuestImport]) -> list[Rsvp]:
    """The counters and the list say that exactly these came, in this order."""
    stored = await db.collection("rsvps").find({"event_id": event.id}).to_list()
    found = [Rsvp.from_document(document) for document in stored]
    found.sort(key=lambda rsvp: rsvp.order)
    going = min(event.capacity, len(new))
    now = await events.load_event(event.id)
    assert [rsvp.user_id for rsvp in found] == [g.user_id for g in new]
    assert [rsvp.order for rsvp in found] == [*range(1, len(new) + 1)]
    assert [rsvp.status for rsvp in found] == [
        *[RsvpStatus.GOING] * going,
        *[RsvpStatus.WAITLISTED] * (len(new) - going),
    ]
    assert (now.seats_taken, now.waitlisted, now.arrivals) == (
        going,
        len(new) - going,
        len(new),
    )
    return found


class TestImportGuests:
    @pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
    async def test_seats_then_the_line(self, count: int) -> None:
        event, crowd = await factories.event(capacity=5), _crowd(count)
        assert await rsvps.import_guests(event.id, crowd) == count
        found = await _check(event, crowd)
        assert [r.created_at for r in found] == [g.created_at for g in crowd]
        assert not any(rsvp.invited for rsvp in found)

    async def test_again_changes_nothing(self) -> None:
        event, crowd = await factories.event(capacity=5), _crowd(7)
        await rsvps.import_guests(event.id, crowd)
        before = await _check(event, crowd)
        assert await rsvps.import_guests(event.id, crowd) == 0
        assert await rsvps.import_guests(event.id, _crowd(3)) == 0
        assert await _check(event, crowd) == before

    async def test_not_where_somebody_came_and_left(self) -> None:
        event, actor = await factories.event(), factories.actor()
        await rsvps.join(event.id, actor=actor)
        await rsvps.leave(event.id, actor=actor)
        assert await rsvps.import_guests(event.id, _crowd(2)) == 0
        assert await rsvps.guest_ids(event.id) == []

    async def test_who_waits_did_not_come_in(self) -> None:
        host = factories.actor(Role.ADMIN)
        event = await factories.event(host, capacity=2)
        crowd = _crowd(3, came=True)
        await rsvps.import_guests(event.id, crowd)
        first, second, waiting = await _check(event, crowd)
        for rsvp in (first, second):
            assert rsvp.checked_in_at == crowd[0].checked_in_at
            assert rsvp.checked_in_by == host.user_id
        assert waiting.checked_in_at is None is waiting.checked_in_by

    async def test_past_cancelled_undecided(self) -> None:
        """Whatever the state: the operator says that they came."""
        host = factories.actor(Role.ADMIN)
        past = await factories.event(
            starts_at=factories.at(-3 * HOUR), ends_at=factories.at(-HOUR)
        )
        cancelled = await factories.event(host)
        await events.cancel(cancelled.id, actor=host)
        pending = await factories.event(factories.actor())
        assert pending.approval is Approval.PENDING
        for event in (past, cancelled, pending):
            crowd = _crowd(2)
            assert await rsvps.import_guests(event.id, crowd) == 2
            await _check(event, crowd)

    async def test_nobody_is_told(self) -> None:
        event = await factories.event(capacity=1, public=False)
        await rsvps.import_guests(event.id, _crowd(3))
        assert await db.collection("mails").count_documents({}) == 0

    async def test_private_event_stays_open_to_them(self) -> None:
        event, (guest,) = await factories.event(public=False), _crowd(1)
        await rsvps.import_guests(event.id, [guest])
        actor = Actor(guest.user_id, "", Role.MEMBER)
        await rsvps.leave(event.id, actor=actor)
        assert (await rsvps.get_event(event.id, actor=actor)).id == event.id

    async def test_invitations_are_kept(self) -> None:
        host, coming, other = (
            await factories.admin(),
            await factories.member(),
            await factories.member(),
        )
        event = await factories.event(host.actor)
        for member in (coming, other):
            await rsvps.invite(
                event.id, user_id=member.user.id, actor=host.actor
            )
        crowd = _crowd(2)
        crowd[1].user_id = coming.user.id
        assert await rsvps.import_guests(event.id, crowd) == 2
        found = [
            await rsvps.find_rsvp(event.id, user_id=user_id)
            for user_id in (crowd[0].user_id, coming.user.id, other.user.id)
        ]
        assert [rsvp and (rsvp.status, rsvp.invited) for rsvp in found] == [
            (RsvpStatus.GOING, False),
            (RsvpStatus.GOING, True),
            (RsvpStatus.INVITED, True),
        ]

    async def test_one_twice_changes_nothing(self) -> None:
        event, crowd = await factories.event(), _crowd(3)
        with pytest.raises(BulkWriteError):
            await rsvps.import_guests(event.id, [*crowd, crowd[0]])
        await _check(event, [])

    async def test_unknown_event(self) -> None:
        with pytest.raises(EventNotFoundError):
            await rsvps.import_guests(UNKNOWN_ID, _crowd(1))

    async def test_line_moves_up_afterwards(self) -> None:
        event, crowd = await factories.event(capacity=2), _crowd(4)
        await rsvps.import_guests(event.id, crowd)
        leaver = Actor(crowd[0].user_id, "", Role.MEMBER)
        await rsvps.leave(event.id, actor=leaver)
        assert await rsvps.guest_ids(event.id, waiting=False) == [
            crowd[1].user_id,
            crowd[2].user_id,
        ]
        newcomer = await rsvps.join(event.id, actor=factories.actor())
        assert newcomer.position == 2

    @pytest.mark.usefixtures("turns")
    async def test_race(self) -> None:
        """Of several imports one is taken, whole; nobody's else is."""
        event = await factories.event(capacity=5)
        crowds = [_crowd(7) for _ in range(4)]
        taken = await asyncio.gather(
            *(rsvps.import_guests(event.id, crowd) for crowd in crowds)
        )
        assert sorted(taken) == [0, 0, 0, 7]
        await _check(event, crowds[taken.index(7)])

    @pytest.mark.usefixtures("turns")
    async def test_race_with_those_who_join(self) -> None:
        """Whoever is first, counters and list agree, and no seat is double."""
        event, crowd = await factories.event(capacity=5), _crowd(4)
        taken, *_ = await asyncio.gather(
            rsvps.import_guests(event.id, crowd),
            *(rsvps.join(event.id, actor=factories.actor()) for _ in range(3)),
        )
        assert taken in (0, 4)
        now = await events.load_event(event.id)
        going = await rsvps.guest_ids(event.id, waiting=False)
        everybody = await rsvps.guest_ids(event.id)
        assert len(everybody) == len(set(everybody)) == 3 + taken
        assert now.seats_taken == len(going) == min(5, 3 + taken)
        assert now.waitlisted == len(everybody) - len(going)
        assert now.arrivals == 3 + taken

    @pytest.mark.usefixtures("turns")
    async def test_race_with_an_invitation(self) -> None:
        """Whoever is first, the guest has one place and stays invited."""
        host, guest = await factories.admin(), await factories.member()
        event, crowd = await factories.event(host.actor), _crowd(3)
        crowd[1].user_id = guest.user.id
        taken, _ = await asyncio.gather(
            rsvps.import_guests(event.id, crowd),
            rsvps.invite(event.id, user_id=guest.user.id, actor=host.actor),
        )
        assert taken == 3
        _, place, _ = await _check(event, crowd)
        assert place.invited
