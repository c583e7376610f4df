"""What is cached of events: never stale, never somebody else's."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from config import cache
from models.base import utc_now
from models.events import Event, EventUpdate
from models.feedback import FeedbackCreate
from models.users import Role
from tests import factories
from tests.commands import counted
from tests.factories import HOUR
from utils import events, feedback, image_uses, organising, rsvps

Client = httpx.AsyncClient
ADMIN = factories.actor(Role.ADMIN)
SECOND = HOUR / 3600


async def _read(client: Client, event: Event, **options: Any) -> Any:
    return (await client.get(f"/v1/events/{event.id}", **options)).json()


async def _listed(client: Client, **options: Any) -> list[Any]:
    items: list[Any] = (await client.get("/v1/events", **options)).json()[
        "items"
    ]
    return items


class TestHits:
    async def test_they_ask_nothing(self, client: Client) -> None:
        event, member = await factories.event(), await factories.member()
        for path in (f"/v1/events/{event.id}", "/v1/events?tag=workshop"):
            first = await client.get(path)
            with counted() as commands:
                again = await client.get(path)
                signed_in = await client.get(path, auth=member)
            assert commands == ["find"], "the member's login"
            assert first.content == again.content == signed_in.content
            assert first.headers["etag"] == signed_in.headers["etag"]

    async def test_the_bytes_are_those_of_a_miss(self, client: Client) -> None:
        """Of a change's answer too, whose ETag If-Match compares."""
        creator = await factories.admin()
        event = await factories.event(creator.actor)
        path = f"/v1/events/{event.id}"
        changed = await client.patch(path, json={"capacity": 7}, auth=creator)
        for _ in range(2):
            read = await client.get(path)
            assert read.content == changed.content
            assert read.headers["etag"] == changed.headers["etag"]
            assert (
                read.headers["content-type"] == changed.headers["content-type"]
            )
        again = await client.patch(
            path,
            json={"capacity": 8},
            auth=creator,
            headers={"If-Match": read.headers["etag"]},
        )
        assert again.status_code == 200


class TestPrivacy:
    async def test_a_private_event(self, client: Client) -> None:
        """Whoever may see it asks first; nobody else gets what they got."""
        creator = await factories.member()
        event = await factories.event(creator.actor, public=False)
        path = f"/v1/events/{event.id}"
        stranger, admin = await factories.member(), await factories.admin()
        for _ in range(2):
            for knows in (creator, admin):
                assert (await client.get(path, auth=knows)).status_code == 200
            for other in (None, stranger):
                assert (await client.get(path, auth=other)).status_code == 404
        asked = [None, creator, stranger, admin] * 5
        answers = await asyncio.gather(
            *(client.get(path, auth=auth) for auth in asked)
        )
        statuses = [answer.status_code for answer in answers]
        assert statuses == [404, 200, 404, 200] * 5

    async def test_an_invitation_taken_back(self, client: Client) -> None:
        guest, creator = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        path = f"/v1/events/{event.id}"
        await rsvps.invite(
            event.id, user_id=guest.user.id, actor=creator.actor
        )
        assert (await client.get(path, auth=guest)).status_code == 200
        await rsvps.uninvite(
            event.id, user_id=guest.user.id, actor=creator.actor
        )
        assert (await client.get(path, auth=guest)).status_code == 404

    async def test_a_reason_for_denial(self, client: Client) -> None:
        creator = await factories.member()
        event = await factories.event(creator.actor)
        await events.deny(event.id, reason="Not here.", actor=ADMIN)
        path = f"/v1/events/{event.id}"
        seen = await _read(client, event, auth=creator)
        assert seen["denial_reason"] == "Not here."
        assert (await client.get(path)).status_code == 404

    async def test_own_lists(self, client: Client) -> None:
        """Asked for at once by two, and by nobody."""
        ada, bob = await factories.member(), await factories.member()
        mine = {"mine": "true"}
        own = await factories.event(ada.actor)
        for _ in range(2):
            lists = await asyncio.gather(
                _listed(client, params=mine, auth=ada),
                _listed(client, params=mine, auth=bob),
            )
            assert [[e["id"] for e in found] for found in lists] == [
                [own.id], []
            ]  # fmt: skip
            answer = await client.get("/v1/events", params=mine)
            assert answer.status_code == 401

    async def test_bad_credentials(self, client: Client) -> None:
        event = await factories.event()
        await _read(client, event)
        bad = {"Authorization": "Bearer x"}
        answer = await client.get(f"/v1/events/{event.id}", headers=bad)
        assert answer.status_code == 401


Change = Callable[[Event, factories.Member], Awaitable[object]]


async def _update(event: Event, _: factories.Member) -> None:
    await organising.update_event(
        event.id, EventUpdate(title="New"), actor=ADMIN, if_match=()
    )


async def _join(event: Event, guest: factories.Member) -> None:
    await rsvps.join(event.id, actor=guest.actor)


async def _join_and_leave(event: Event, guest: factories.Member) -> None:
    await rsvps.join(event.id, actor=guest.actor)
    await rsvps.leave(event.id, actor=guest.actor)


async def _rate(event: Event, guest: factories.Member) -> None:
    await rsvps.join(event.id, actor=guest.actor)
    await feedback.create_feedback(
        event.id, FeedbackCreate(rating=5), actor=guest.actor
    )


async def _hand_over(event: Event, guest: factories.Member) -> None:
    await events.hand_over(
        event.id, leaver_id=event.creator_id, heir_id=guest.user.id
    )


async def _delete_image(event: Event, _: factories.Member) -> None:
    await image_uses.delete_image(event.image_ids[0], actor=ADMIN)


CHANGES: dict[str, Change] = {
    "update": _update,
    "cancel": lambda event, _: organising.cancel_event(event.id, actor=ADMIN),
    "delete": lambda event, _: organising.delete_event(event.id, actor=ADMIN),
    "join": _join,
    "leave": _join_and_leave,
    "rate": _rate,
    "hand over": _hand_over,
    "delete an image": _delete_image,
}


class TestChanges:
    @pytest.mark.parametrize("name", CHANGES)
    async def test_each_is_seen_at_once(
        self, client: Client, name: str
    ) -> None:
        """As if nothing had ever been cached."""
        creator, guest = await factories.admin(), await factories.member()
        image = await factories.image(creator.actor)
        event = await factories.event(
            creator.actor,
            image_ids=[image.id],
            starts_at=factories.at(-HOUR),
            ends_at=factories.at(HOUR),
        )

        async def seen() -> list[Any]:
            return [await _read(client, event), await _listed(client)]

        before = await seen()
        await CHANGES[name](event, guest)
        after = await seen()
        cache.forget_all()
        afresh = await seen()
        for answers in (after, afresh):
            answers[0].pop("request_id", None)
        assert after == afresh
        if name != "leave":
            assert after[0] != before[0]

    async def test_publishing_and_deciding(self, client: Client) -> None:
        creator = await factories.member()
        assert await _listed(client) == []
        event = await factories.event(creator.actor)
        path = f"/v1/events/{event.id}"
        assert (await client.get(path)).status_code == 404
        await events.approve(event.id, actor=ADMIN)
        assert (await client.get(path)).status_code == 200
        assert [e["id"] for e in await _listed(client)] == [event.id]
        await organising.update_event(
            event.id,
            EventUpdate(public=False),
            actor=creator.actor,
            if_match=(),
        )
        assert (await client.get(path)).status_code == 404
        assert await _listed(client) == []

    async def test_imports(self, client: Client) -> None:
        """A file that is read again changes several at once."""
        member = await factories.member()
        path = "/v1/events/import"
        uid = "one@example.org"
        entry = factories.calendar_entry(UID=uid)
        asked = factories.calendar_request(entry)
        await client.post(path, auth=member, **asked)
        (own,) = await _listed(client, params={"mine": True}, auth=member)
        await organising.update_event(
            own["id"],
            EventUpdate(public=True),
            actor=ADMIN,
            if_match=(),
        )
        public = await client.get(f"/v1/events/{own['id']}")
        assert public.json()["title"] == own["title"]
        assert [e["title"] for e in await _listed(client)] == [own["title"]]
        changed = factories.calendar_entry(UID=uid, SUMMARY="Another title")
        answer = await client.post(
            path, auth=member, **factories.calendar_request(changed)
        )
        assert answer.json()["updated"] == 1
        public = await client.get(f"/v1/events/{own['id']}")
        assert public.json()["title"] == "Another title"
        listed = await _listed(client)
        assert [e["title"] for e in listed] == ["Another title"]

    async def test_racing_readers_and_writers(self, client: Client) -> None:
        """Whoever has changed it sees that, whatever others ask meanwhile."""
        event = await factories.event(capacity=1000)
        done = asyncio.Event()

        async def write() -> None:
            for capacity in range(100, 120):
                await organising.update_event(
                    event.id,
                    EventUpdate(capacity=capacity),
                    actor=ADMIN,
                    if_match=(),
                )
                assert (await _read(client, event))["capacity"] == capacity
                (listed,) = await _listed(client)
                assert listed["capacity"] == capacity
            done.set()

        async def read() -> None:
            last = 0
            while not done.is_set():
                seen = (await _read(client, event))["capacity"] % 1000
                assert seen >= last
                last = seen

        await asyncio.gather(write(), *(read() for _ in range(5)))


class TestTimes:
    @pytest.mark.parametrize(
        ("starts", "ends", "statuses"),
        [
            (0.0, 3600.0, ["upcoming", "ongoing"]),
            (-3600.0, 0.0, ["ongoing", "past"]),
        ],
    )
    async def test_a_status_changes_in_time(
        self, client: Client, starts: float, ends: float, statuses: list[str]
    ) -> None:
        turn = utc_now() + SECOND
        event = await factories.event(
            starts_at=turn + starts * SECOND, ends_at=turn + ends * SECOND
        )
        seen: list[tuple[datetime, str, datetime, list[str]]] = []
        while not seen or seen[-1][2] < turn + SECOND / 4:
            before = utc_now()
            status = (await _read(client, event))["status"]
            listed = [e["status"] for e in await _listed(client)]
            seen.append((before, status, utc_now(), listed))
            await asyncio.sleep(0.01)
        for before, status, after, listed in seen:
            shown = [status, *listed]
            if after < turn:
                assert shown == [statuses[0]] * 2
            elif before >= turn:
                past = statuses[1] == "past"
                assert shown == [statuses[1]] * (1 if past else 2)
        assert {status for _, status, _, _ in seen} == set(statuses)

    async def test_what_appears_by_itself_is_not_cached(
        self, client: Client
    ) -> None:
        asked = {"params": {"status": "ongoing"}}
        for _ in range(2):
            with counted() as commands:
                assert await _listed(client, **asked) == []
            assert "aggregate" in commands
