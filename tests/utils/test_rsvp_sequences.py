"""Seats whatever happens, in any order: none twice, none empty, a fair line."""

from collections.abc import Awaitable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import db
from models.events import EventUpdate
from models.exceptions import (
    AlreadyCheckedInError,
    AlreadyDecidedError,
    CapacityBelowSeatsError,
    EventClosedError,
    EventNotFoundError,
    MusterError,
    RsvpNotFoundError,
)
from models.logins import Actor
from models.rsvps import Scan
from models.users import Role
from tests import factories
from tests.factories import Member
from tests.fuzzing import examples
from utils import check_ins, events, organising, rsvps

_MEMBERS = 5

# What happens, with a number that says to whom, or how many seats there are.
_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["join"] * 5
            + ["leave"] * 2
            + ["invite", "uninvite", "check_in", "undo", "resize", "approve"]
            + ["cancel"]
        ),
        st.integers(0, _MEMBERS - 1),
    ),
    min_size=12,
    max_size=30,
)

_ADMIN = factories.actor(Role.ADMIN)

Error = type[MusterError] | None
_UNSEEN: Error = EventNotFoundError


@dataclass
class _World:
    """What should be, by a simple model.

    Attributes:
        seated: who has a seat.
        waiting: who waits for one, the first in line first.
        invited: who was asked to come.
        inside: who came through the door.
    """

    # pylint: disable=too-many-instance-attributes  # All that may change.

    event_id: str
    capacity: int
    host: Actor
    guests: list[Member]
    is_cancelled: bool = False
    is_approved: bool = False
    seated: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    invited: set[int] = field(default_factory=set)
    inside: set[int] = field(default_factory=set)

    async def do(self, deed: str, number: int) -> None:
        """Does it; it fails if, and as, the model says."""
        expected, work = getattr(self, deed)(number)
        if expected is None:
            await work
            return
        with pytest.raises(expected):
            await work

    def join(self, who: int) -> tuple[Error, Awaitable[object]]:
        """A seat while there is one, else the end of the line."""
        error = self._if_seen(who)
        if error is None and who not in self.seated + self.waiting:
            has_seat = len(self.seated) < self.capacity
            (self.seated if has_seat else self.waiting).append(who)
        return error, rsvps.join(self.event_id, actor=self.guests[who].actor)

    def leave(self, who: int) -> tuple[Error, Awaitable[object]]:
        """The seat goes to the first in line."""
        error = self._if_seen(who)
        if error is None and who in self.inside:
            error = AlreadyCheckedInError
        if error is None:
            for places in (self.seated, self.waiting):
                if who in places:
                    places.remove(who)
            self._promote()
        return error, rsvps.leave(self.event_id, actor=self.guests[who].actor)

    def invite(self, who: int) -> tuple[Error, Awaitable[object]]:
        """An invitation is no seat."""
        if not self.is_cancelled:
            self.invited.add(who)
        return self._if_open(), rsvps.invite(
            self.event_id, user_id=self.guests[who].user.id, actor=self.host
        )

    def uninvite(self, who: int) -> tuple[Error, Awaitable[object]]:
        """Who has a place keeps it."""
        self.invited.discard(who)
        return None, rsvps.uninvite(
            self.event_id, user_id=self.guests[who].user.id, actor=self.host
        )

    def check_in(self, who: int) -> tuple[Error, Awaitable[object]]:
        """Who has a seat comes in, once."""
        error = self._if_open()
        if error is None and who not in self.seated:
            error = RsvpNotFoundError
        if error is None and who in self.inside:
            error = AlreadyCheckedInError
        if error is None:
            self.inside.add(who)
        scan = Scan(user_id=self.guests[who].user.id)
        return error, check_ins.check_in(self.event_id, scan, actor=self.host)

    def undo(self, who: int) -> tuple[Error, Awaitable[object]]:
        """Who came in by mistake may leave again."""
        self.inside.discard(who)
        error = None if who in self.seated else RsvpNotFoundError
        return error, check_ins.undo_check_in(
            self.event_id, user_id=self.guests[who].user.id, actor=self.host
        )

    def resize(self, seats: int) -> tuple[Error, Awaitable[object]]:
        """More seats go to the line; none that is taken goes away."""
        capacity, error = seats + 1, self._if_open()
        if error is None and capacity < len(self.seated):
            error = CapacityBelowSeatsError
        if error is None:
            self.capacity = capacity
            self._promote()
        return error, organising.update_event(
            self.event_id,
            EventUpdate(capacity=capacity),
            actor=self.host,
            if_match=(),
        )

    def approve(self, _: int) -> tuple[Error, Awaitable[object]]:
        """From then on, everybody sees it."""
        error = self._if_open()
        if error is None and self.is_approved:
            error = AlreadyDecidedError
        self.is_approved |= error is None
        return error, events.approve(self.event_id, actor=_ADMIN)

    def cancel(self, _: int) -> tuple[Error, Awaitable[object]]:
        """Everybody's place stays as it was."""
        error = self._if_open()
        self.is_cancelled = True
        return error, organising.cancel_event(self.event_id, actor=self.host)

    async def check(self) -> None:
        """The database says the same."""
        found = await db.collection(rsvps.COLLECTION).find(
            {"event_id": self.event_id}, sort=[("order", db.ASCENDING)]
        ).to_list()
        ids = [guest.user.id for guest in self.guests]
        by_status: dict[str, list[int]] = {}
        for rsvp in found:
            who = ids.index(rsvp["user_id"])
            by_status.setdefault(rsvp["status"], []).append(who)
            assert (rsvp["checked_in_at"] is not None) == (who in self.inside)
            assert rsvp["invited"] == (who in self.invited)
        # Who has a seat has it, whenever they came.
        assert sorted(by_status.get("going", [])) == sorted(self.seated)
        assert by_status.get("waitlisted", []) == self.waiting
        assert set(by_status.get("invited", [])) == self.invited - {
            *self.seated,
            *self.waiting,
        }
        event = await events.load_event(self.event_id)
        assert event.seats_taken == len(self.seated) <= event.capacity
        assert event.waitlisted == len(self.waiting)
        for place, who in enumerate(self.waiting, 1):
            own = await rsvps.get_own(
                self.event_id, actor=self.guests[who].actor
            )
            assert own.position == place

    def _if_open(self) -> Error:
        return EventClosedError if self.is_cancelled else None

    def _if_seen(self, who: int) -> Error:
        known = who in self.invited or who in self.seated + self.waiting
        return self._if_open() if known or self.is_approved else _UNSEEN

    def _promote(self) -> None:
        while self.waiting and len(self.seated) < self.capacity:
            self.seated.append(self.waiting.pop(0))


@pytest.fixture(name="guests")
async def _guests(database: None) -> list[Member]:
    del database  # It is there and empty.
    return [await factories.member() for _ in range(_MEMBERS)]


@examples(20)
@given(deeds=_DEEDS, is_pending=st.booleans())
async def test_they_agree(
    guests: list[Member], deeds: list[tuple[str, int]], is_pending: bool
) -> None:
    host = factories.actor()
    event = await factories.event(host, capacity=2)
    world = _World(event.id, event.capacity, host, guests)
    if not is_pending:
        await world.do("approve", 0)
    for deed, number in deeds:
        await world.do(deed, number)
        await world.check()
