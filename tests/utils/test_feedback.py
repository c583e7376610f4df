"""Feedback from elsewhere: whose counts, and the average, repeats, races."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from pymongo.errors import BulkWriteError

from config import db
from models.base import utc_now
from models.events import Event
from models.exceptions import (
    EventClosedError,
    EventNotFoundError,
    EventNotStartedError,
)
from models.feedback import Feedback, FeedbackImport
from models.logins import Actor
from models.users import Role
from tests import factories
from tests.factories import HOUR, UNKNOWN_ID
from utils import events, feedback, rsvps

pytestmark = pytest.mark.usefixtures("database")


async def _event(guests: Sequence[Actor], capacity: int = 20) -> Event:
    """An event that began an hour ago, with `guests` in their order."""
    event = await factories.event(
        starts_at=factories.at(-HOUR), capacity=capacity
    )
    for guest in guests:
        await rsvps.join(event.id, actor=guest)
    return event


def _opinions(authors: Sequence[Actor], first: int = 5) -> list[FeedbackImport]:
    """Feedback with `first` stars, with one less, and so on."""
    return [
        FeedbackImport(
            author_id=author.user_id,
            rating=first - number,
            comment=f"{number} things to mend",
            created_at=utc_now() - timedelta(minutes=number),
        )
        for number, author in enumerate(authors)
    ]


async def _check(event: Event, new: Sequence[FeedbackImport]) -> None:
    """What is stored is `new`, and the event counts it."""
    stored = await db.collection("feedback").find().to_list()
    found = [Feedback.from_document(document) for document in stored]
    assert sorted(
        (f.author_id, f.rating, f.comment, f.created_at, f.updated_at)
        for f in found
        if f.event_id == event.id
    ) == sorted(
        (n.author_id, n.rating, n.comment, n.created_at, n.created_at)
        for n in new
    )
    now = await events.load_event(event.id)
    assert now.rating_count == len(new)
    assert now.rating_sum == sum(opinion.rating for opinion in new)


def _people(count: int) -> list[Actor]:
    return [factories.actor() for _ in range(count)]


class TestImportFeedback:
    async def test_is_there_and_counts(self) -> None:
        guests = _people(4)
        event, new = await _event(guests), _opinions(guests[:3])
        assert await feedback.import_feedback(event.id, new) == 3
        await _check(event, new)
        assert (await events.load_event(event.id)).rating.average == 4

    async def test_only_of_those_who_have_a_seat(self) -> None:
        going, waiting, stranger = _people(3)
        event = await _event([going, waiting], capacity=1)
        new = _opinions([going, waiting, stranger])
        assert await feedback.import_feedback(event.id, new) == 1
        await _check(event, new[:1])

    @pytest.mark.parametrize("strangers", [0, 2])
    async def test_nothing_to_take(self, strangers: int) -> None:
        event = await _event(_people(2))
        new = _opinions(_people(strangers))
        assert await feedback.import_feedback(event.id, new) == 0
        await _check(event, [])

    async def test_again_changes_nothing(self) -> None:
        guests = _people(4)
        event, new = await _event(guests), _opinions(guests[:2])
        await feedback.import_feedback(event.id, new)
        assert await feedback.import_feedback(event.id, new) == 0
        others = _opinions(guests[2:])
        assert await feedback.import_feedback(event.id, others) == 0
        await _check(event, new)

    async def test_one_twice_changes_nothing(self) -> None:
        guests = _people(2)
        event, new = await _event(guests), _opinions(guests)
        with pytest.raises(BulkWriteError):
            await feedback.import_feedback(event.id, [*new, new[0]])
        await _check(event, [])

    async def test_upcoming(self) -> None:
        event, guest = await factories.event(), factories.actor()
        await rsvps.join(event.id, actor=guest)
        with pytest.raises(EventNotStartedError):
            await feedback.import_feedback(event.id, _opinions([guest]))
        await _check(event, [])

    async def test_cancelled(self) -> None:
        guest, host = factories.actor(), factories.actor(Role.ADMIN)
        event = await _event([guest])
        await events.cancel(event.id, actor=host)
        with pytest.raises(EventClosedError):
            await feedback.import_feedback(event.id, _opinions([guest]))
        await _check(event, [])

    async def test_unknown_event(self) -> None:
        with pytest.raises(EventNotFoundError):
            await feedback.import_feedback(UNKNOWN_ID, [])

    @pytest.mark.usefixtures("turns")
    async def test_race(self) -> None:
        """Of several imports one is taken, whole."""
        guests = _people(3)
        event = await _event(guests)
        all_of_them = [_opinions(guests, first) for first in (3, 4, 5)]
        taken = await asyncio.gather(
            *(feedback.import_feedback(event.id, new) for new in all_of_them)
        )
        assert sorted(taken) == [0, 0, 3]
        await _check(event, all_of_them[taken.index(3)])

    @pytest.mark.usefixtures("turns")
    async def test_race_with_those_who_leave(self) -> None:
        """Who left first has no say; who left later had a seat."""
        guests = _people(3)
        event, new = await _event(guests), _opinions(guests)
        taken, _ = await asyncio.gather(
            feedback.import_feedback(event.id, new),
            rsvps.leave(event.id, actor=guests[0]),
        )
        assert taken in (2, 3)
        await _check(event, new[3 - taken :])
