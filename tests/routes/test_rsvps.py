"""RSVPs over HTTP: seats, the waiting list, guests, invitations."""

import asyncio
import csv
import io
from collections.abc import Sequence
from random import Random
from typing import Any

import httpx
import pytest

from config import db
from models.base import new_id, rfc_3339, utc_now
from models.events import Event, EventUpdate
from models.exceptions import CapacityBelowSeatsError
from models.logins import Actor
from models.mails import MailKind
from models.rsvps import GuestImport, RsvpStatus, Scan
from models.users import Role
from tests import factories
from tests.commands import counted
from tests.factories import HOUR, Member
from tests.problems import assert_problem
from utils import check_ins, events, guest_lists, organising, rsvps

Client = httpx.AsyncClient


def path(event: Event, tail: str = "rsvp") -> str:
    return f"/v1/events/{event.id}/{tail}"


async def join(client: Client, event: Event, member: Member) -> Any:
    response = await client.put(path(event), auth=member)
    assert response.status_code == 200, response.text
    return response.json()


async def leave(client: Client, event: Event, member: Member) -> Any:
    response = await client.delete(path(event), auth=member)
    assert response.status_code == 200, response.text
    return response.json()


async def read(event: Event) -> Event:
    return await events.load_event(event.id)


async def people(count: int) -> list[Actor]:
    """Callers whose accounts don't matter."""
    return [factories.actor() for _ in range(count)]


async def mails_of(kind: MailKind) -> list[dict[str, Any]]:
    # The outbox itself: what is queued is not for anybody to read.
    return await db.collection("mails").find({"kind": kind}).to_list()


async def check_agreement(event: Event) -> None:
    """The counters say what the list says, and no seat is free in vain."""
    now = await read(event)
    ids = await rsvps.guest_ids(event.id)
    found = [await rsvps.find_rsvp(event.id, user_id=u) for u in ids]
    statuses = [rsvp.status for rsvp in found if rsvp is not None]
    assert now.seats_taken == statuses.count(RsvpStatus.GOING)
    assert now.waitlisted == statuses.count(RsvpStatus.WAITLISTED)
    assert now.seats_taken <= now.capacity
    assert now.waitlisted == 0 or now.seats_taken == now.capacity
    assert len(ids) == len(set(ids))


class TestJoin:
    async def test_seat(self, client: Client) -> None:
        event, member = await factories.event(), await factories.member()
        with counted() as commands:
            answer = await join(client, event, member)
        assert answer == {
            "event_id": event.id,
            "status": "going",
            "position": None,
        }
        assert commands == [
            "find", "find", "insert", "update", "commitTransaction"
        ]  # fmt: skip
        shown = (await client.get(f"/v1/events/{event.id}")).json()
        assert (shown["seats_taken"], shown["waitlisted"]) == (1, 0)

    async def test_waiting_list(self, client: Client) -> None:
        event = await factories.event(capacity=1)
        members = [await factories.member() for _ in range(3)]
        answers = [await join(client, event, m) for m in members]
        assert [a["status"] for a in answers] == [
            "going", "waitlisted", "waitlisted"
        ]  # fmt: skip
        assert [a["position"] for a in answers] == [None, 1, 2]

    async def test_again_changes_nothing(self, client: Client) -> None:
        event = await factories.event(capacity=1)
        members = [await factories.member() for _ in range(3)]
        first = [await join(client, event, m) for m in members]
        assert [await join(client, event, m) for m in members] == first
        await check_agreement(event)
        assert (await read(event)).arrivals == 3

    async def test_cancelled(self, client: Client) -> None:
        creator = await factories.admin()
        event = await factories.event(creator.actor)
        await events.cancel(event.id, actor=creator.actor)
        response = await client.put(path(event), auth=creator)
        problem = assert_problem(response, 409, "event-closed")
        assert problem["event_status"] == "cancelled"

    async def test_past(self, client: Client) -> None:
        event = await factories.event(
            starts_at=factories.at(-2 * HOUR), ends_at=factories.at(-HOUR)
        )
        member = await factories.member()
        response = await client.put(path(event), auth=member)
        problem = assert_problem(response, 409, "event-closed")
        assert problem["event_status"] == "past"

    async def test_ongoing(self, client: Client) -> None:
        event = await factories.event(starts_at=factories.at(-HOUR))
        answer = await join(client, event, await factories.member())
        assert answer["status"] == "going"

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
    async def test_unknown(self, client: Client, method: str) -> None:
        response = await client.request(
            method,
            f"/v1/events/{factories.UNKNOWN_ID}/rsvp",
            auth=await factories.member(),
        )
        assert_problem(response, 404, "event-not-found")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
    async def test_hidden(self, client: Client, method: str) -> None:
        """Pending and private events do not exist for strangers."""
        creator, stranger = await factories.member(), await factories.member()
        for public in (True, False):
            event = await factories.event(creator.actor, public=public)
            response = await client.request(method, path(event), auth=stranger)
            assert_problem(response, 404, "event-not-found")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
    async def test_nobody(self, client: Client, method: str) -> None:
        event = await factories.event()
        response = await client.request(method, path(event))
        assert_problem(response, 401, "not-authenticated")


class TestLeave:
    async def test_first_in_line_is_promoted(self, client: Client) -> None:
        event = await factories.event(capacity=1)
        one, two, three = [await factories.member() for _ in range(3)]
        for member in (one, two, three):
            await join(client, event, member)
        answer = await leave(client, event, one)
        assert answer["status"] is None
        own = await client.get(path(event), auth=two)
        assert own.json()["status"] == "going"
        own = await client.get(path(event), auth=three)
        assert own.json() == {
            "event_id": event.id, "status": "waitlisted", "position": 1
        }  # fmt: skip
        mails = await mails_of(MailKind.SEAT_PROMOTION)
        assert [mail["user_id"] for mail in mails] == [two.user.id]
        await check_agreement(event)

    async def test_from_the_line(self, client: Client) -> None:
        event = await factories.event(capacity=1)
        one, two, three = [await factories.member() for _ in range(3)]
        for member in (one, two, three):
            await join(client, event, member)
        await leave(client, event, two)
        own = await client.get(path(event), auth=three)
        assert own.json()["position"] == 1
        assert not await mails_of(MailKind.SEAT_PROMOTION)
        await check_agreement(event)

    async def test_again_changes_nothing(self, client: Client) -> None:
        event, member = await factories.event(), await factories.member()
        await join(client, event, member)
        for _ in range(2):
            assert (await leave(client, event, member))["status"] is None
        assert (await read(event)).seats_taken == 0

    async def test_back_at_the_end(self, client: Client) -> None:
        event = await factories.event(capacity=1)
        one, two, three = [await factories.member() for _ in range(3)]
        for member in (one, two, three):
            await join(client, event, member)
        await leave(client, event, two)
        assert (await join(client, event, two))["position"] == 2

    async def test_closed(self, client: Client) -> None:
        creator, member = await factories.admin(), await factories.member()
        event = await factories.event(creator.actor)
        await join(client, event, member)
        await events.cancel(event.id, actor=creator.actor)
        response = await client.delete(path(event), auth=member)
        assert_problem(response, 409, "event-closed")
        assert (await read(event)).seats_taken == 1

    async def test_from_inside(self, client: Client) -> None:
        """A seat that somebody came in on is not for the next one."""
        event = await factories.event(capacity=1, starts_at=factories.at(-HOUR))
        inside, waiting = await factories.member(), await factories.member()
        for member in (inside, waiting):
            await join(client, event, member)
        host = factories.actor(Role.ADMIN)
        await check_ins.check_in(
            event.id, Scan(user_id=inside.user.id), actor=host
        )
        response = await client.delete(path(event), auth=inside)
        assert_problem(response, 409, "already-checked-in")
        assert (await read(event)).waitlisted == 1


class TestCapacity:
    async def test_more_seats_go_to_the_first_in_line(
        self, client: Client
    ) -> None:
        creator = await factories.admin()
        event = await factories.event(creator.actor, capacity=1)
        members = [await factories.member() for _ in range(5)]
        for member in members:
            await join(client, event, member)
        response = await client.patch(
            f"/v1/events/{event.id}", json={"capacity": 3}, auth=creator
        )
        assert response.json()["seats_taken"] == 3
        assert response.json()["waitlisted"] == 2
        states = [
            (await client.get(path(event), auth=m)).json() for m in members
        ]
        assert [s["position"] for s in states] == [None, None, None, 1, 2]
        told = await mails_of(MailKind.SEAT_PROMOTION)
        assert {m["user_id"] for m in told} == {m.user.id for m in members[1:3]}
        await check_agreement(event)

    @pytest.mark.usefixtures("database")
    async def test_many_at_once(self) -> None:
        """A long line moves up by a few commands, not by some for each."""
        host = factories.actor(Role.ADMIN)
        event = await factories.event(host, capacity=1)
        await asyncio.gather(
            *(rsvps.join(event.id, actor=a) for a in await people(121))
        )
        with counted() as commands:
            await organising.update_event(
                event.id, EventUpdate(capacity=101), actor=host, if_match=[]
            )
        assert len(commands) < 15
        now = await read(event)
        assert (now.seats_taken, now.waitlisted) == (101, 20)
        await check_agreement(event)
        assert len(await mails_of(MailKind.SEAT_PROMOTION)) == 100

    @pytest.mark.usefixtures("database")
    async def test_whoever_left_the_line(self) -> None:
        """Gaps before, between and behind: the first of the rest are next."""
        event = await factories.event(capacity=1)
        actors = await people(12)
        for actor in actors:
            await rsvps.join(event.id, actor=actor)
        for gone in (1, 4, 5, 8, 11):
            await rsvps.leave(event.id, actor=actors[gone])
        host = factories.actor(Role.ADMIN)
        going = [0]
        for next_ones in ([2], [3, 6], [7, 9, 10]):
            going += next_ones
            await organising.update_event(
                event.id,
                EventUpdate(capacity=len(going)),
                actor=host,
                if_match=[],
            )
            assert await rsvps.guest_ids(event.id, waiting=False) == [
                actors[n].user_id for n in going
            ]
            await check_agreement(event)

    async def test_not_below_seats(self, client: Client) -> None:
        creator = await factories.admin()
        event = await factories.event(creator.actor, capacity=3)
        for _ in range(3):
            await join(client, event, await factories.member())
        response = await client.patch(
            f"/v1/events/{event.id}", json={"capacity": 2}, auth=creator
        )
        problem = assert_problem(response, 409, "capacity-below-seats")
        assert problem["seats_taken"] == 3

    @pytest.mark.usefixtures("database")
    async def test_edit_keeps_the_seats(self) -> None:
        """An organiser's edit and RSVPs at once: neither is lost."""
        creator = await factories.admin()
        event = await factories.event(creator.actor, capacity=30)
        actors = await people(20)

        async def rename(number: int) -> None:
            await organising.update_event(
                event.id,
                EventUpdate(title=f"Title {number}"),
                actor=creator.actor,
                if_match=[],
            )

        await asyncio.gather(
            *(rsvps.join(event.id, actor=actor) for actor in actors),
            *(rename(number) for number in range(10)),
        )
        now = await read(event)
        assert now.seats_taken == 20
        assert now.title.startswith("Title ")
        await check_agreement(event)


@pytest.mark.usefixtures("database")
class TestRace:
    async def test_twenty_seats(self) -> None:
        event = await factories.event(capacity=20)
        actors = await people(100)
        answers = await asyncio.gather(
            *(rsvps.join(event.id, actor=actor) for actor in actors)
        )
        positions = [a.position for a in answers if a.position is not None]
        assert sorted(positions) == list(range(1, 81))
        # What nobody counted then is what is counted now.
        for actor, answer in zip(actors, answers, strict=True):
            assert await rsvps.get_own(event.id, actor=actor) == answer
        await check_agreement(event)
        assert (await read(event)).seats_taken == 20

    async def test_leaving_and_joining(self) -> None:
        event = await factories.event(capacity=20)
        first, second = await people(50), await people(50)
        for actor in first:
            await rsvps.join(event.id, actor=actor)
        await asyncio.gather(
            *(rsvps.leave(event.id, actor=actor) for actor in first),
            *(rsvps.join(event.id, actor=actor) for actor in second),
        )
        now = await read(event)
        assert (now.seats_taken, now.waitlisted) == (20, 30)
        await check_agreement(event)
        told = [m["user_id"] for m in await mails_of(MailKind.SEAT_PROMOTION)]
        assert len(told) == len(set(told))

    async def test_same_member(self, client: Client) -> None:
        event, member = await factories.event(), await factories.member()
        answers = await asyncio.gather(
            *(join(client, event, member) for _ in range(10))
        )
        assert {a["status"] for a in answers} == {"going"}
        assert (await read(event)).seats_taken == 1

    async def test_anything(self) -> None:
        """A storm of joins, leaves and changes of the capacity."""
        rng = Random(7)
        creator = factories.actor(Role.ADMIN)
        event = await factories.event(creator, capacity=5)
        actors = await people(12)

        async def resize() -> None:
            change = EventUpdate(capacity=rng.randint(5, 9))
            try:
                await organising.update_event(
                    event.id, change, actor=creator, if_match=[]
                )
            except CapacityBelowSeatsError:
                return

        async def act(actor: Actor) -> None:
            for _ in range(4):
                if rng.random() < 0.15:
                    await resize()
                elif rng.random() < 0.5:
                    await rsvps.leave(event.id, actor=actor)
                else:
                    await rsvps.join(event.id, actor=actor)

        await asyncio.gather(*(act(actor) for actor in actors))
        await check_agreement(event)


async def _walk(
    client: Client, event: Event, creator: Member, params: dict[str, Any]
) -> list[Any]:
    """All guests, from page to page."""
    guests: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        response = await client.get(
            path(event, "rsvps"), params={**params, **more}, auth=creator
        )
        assert response.status_code == 200, response.text
        guests += response.json()["items"]
        cursor = response.json()["next_cursor"]
    return guests


class TestGuests:
    async def _event(
        self, client: Client, names: Sequence[str]
    ) -> tuple[Event, Member]:
        creator = await factories.admin()
        event = await factories.event(creator.actor, capacity=2)
        for name in names:
            await join(client, event, await factories.member(first_name=name))
        return event, creator

    async def test_list(self, client: Client) -> None:
        names = ["Ada", "Bo", "Cy", "Di", "Ed"]
        event, creator = await self._event(client, names)
        guests = await _walk(client, event, creator, {"limit": 2})
        assert [g["user"]["first_name"] for g in guests] == names
        assert [g["position"] for g in guests] == [None, None, 1, 2, 3]
        assert "email" not in str(guests)

    @pytest.mark.parametrize("reaches", [(1,), (1, 2), (2, 60)])
    async def test_pages_of_what_is_left(
        self,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
        reaches: tuple[int, ...],
    ) -> None:
        """Wherever many left, and however far a page is looked for."""
        monkeypatch.setattr(guest_lists, "_REACHES", reaches)
        creator = await factories.admin()
        event = await factories.event(creator.actor, capacity=3)
        start = utc_now() - 24 * HOUR
        new = [
            GuestImport(user_id=new_id(), created_at=start + n * HOUR)
            for n in range(1, 21)
        ]
        await rsvps.import_guests(event.id, new)
        for name in ("Ada", "Bo", "Cy"):
            user_id = (await factories.member(first_name=name)).user.id
            await rsvps.invite(event.id, user_id=user_id, actor=creator.actor)
        stored = db.collection("rsvps")
        await stored.delete_many({"order": {"$in": [2, *range(5, 17)]}})
        found = await stored.find({"event_id": event.id}).to_list()
        found.sort(key=lambda each: (each["order"], each["_id"]))
        for status in (*([each] for each in RsvpStatus), list(RsvpStatus)):
            params = {"limit": 2, "status": status}
            walked = await _walk(client, event, creator, params)
            assert [guest["created_at"] for guest in walked] == [
                rfc_3339(each["created_at"])
                for each in found
                if each["status"] in status
            ]

    async def test_by_status(self, client: Client) -> None:
        event, creator = await self._event(client, ["Ada", "Bo", "Cy"])
        page = await client.get(
            path(event, "rsvps"), params={"status": "waitlisted"}, auth=creator
        )
        (guest,) = page.json()["items"]
        assert guest["user"]["first_name"] == "Cy"
        assert guest["position"] == 1

    async def test_csv(self, client: Client) -> None:
        names = ["Ada", "=cmd()|a", "Cy, the 3rd"]
        event, creator = await self._event(client, names)
        response = await client.get(
            path(event, "rsvps"), params={"format": "csv"}, auth=creator
        )
        assert response.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [row["first_name"] for row in rows] == [
            "Ada", "'=cmd()|a", "Cy, the 3rd"
        ]  # fmt: skip
        assert [row["status"] for row in rows] == [
            "going", "going", "waitlisted"
        ]  # fmt: skip
        assert rows[2]["position"] == "1"
        listed = await client.get(path(event, "rsvps"), auth=creator)
        assert [row["joined_at"] for row in rows] == [
            guest["created_at"] for guest in listed.json()["items"]
        ]

    async def test_csv_of_many(self, client: Client) -> None:
        creator = await factories.admin()
        event = await factories.event(creator.actor, capacity=250)
        actors = await people(260)
        await asyncio.gather(
            *(rsvps.join(event.id, actor=actor) for actor in actors)
        )
        response = await client.get(
            path(event, "rsvps"), params={"format": "csv"}, auth=creator
        )
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert len(rows) == 260
        assert [r["position"] for r in rows[-10:]] == [
            str(n) for n in range(1, 11)
        ]

    @pytest.mark.parametrize("form", ["json", "csv"])
    async def test_who_may(self, client: Client, form: str) -> None:
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor)
        await events.approve(event.id, actor=factories.actor(Role.ADMIN))
        await join(client, event, guest)
        ask = {"format": form}
        url = path(event, "rsvps")
        for member in (creator, await factories.admin()):
            allowed = await client.get(url, params=ask, auth=member)
            assert allowed.status_code == 200
        refused = await client.get(url, params=ask, auth=guest)
        assert_problem(refused, 403, "forbidden")
        refused = await client.get(url, params=ask)
        assert_problem(refused, 401, "not-authenticated")

    async def test_hidden_event(self, client: Client) -> None:
        event = await factories.event(factories.actor(), public=False)
        response = await client.get(
            path(event, "rsvps"), auth=await factories.member()
        )
        assert_problem(response, 404, "event-not-found")

    async def test_bad_cursor(self, client: Client) -> None:
        creator = await factories.admin()
        event = await factories.event(creator.actor)
        response = await client.get(
            path(event, "rsvps"), params={"cursor": "x"}, auth=creator
        )
        assert_problem(response, 422, "invalid-request")


class TestOwn:
    async def test_list(self, client: Client) -> None:
        member = await factories.member()
        full = await factories.event(capacity=1, title="Full")
        await rsvps.join(full.id, actor=factories.actor())
        free = await factories.event(title="Free")
        for event in (full, free):
            await join(client, event, member)
        page = await client.get("/v1/users/me/rsvps", auth=member)
        items = page.json()["items"]
        assert [i["event"]["title"] for i in items] == ["Free", "Full"]
        assert [i["status"] for i in items] == ["going", "waitlisted"]
        assert [i["position"] for i in items] == [None, 1]

    async def test_pages(self, client: Client) -> None:
        member = await factories.member()
        made = [await factories.event() for _ in range(3)]
        for event in made:
            await join(client, event, member)
        one = await client.get(
            "/v1/users/me/rsvps", params={"limit": 2}, auth=member
        )
        two = await client.get(
            "/v1/users/me/rsvps",
            params={"limit": 2, "cursor": one.json()["next_cursor"]},
            auth=member,
        )
        ids = [
            item["event"]["id"]
            for page in (one, two)
            for item in page.json()["items"]
        ]
        assert ids == [event.id for event in reversed(made)]

    async def test_nobody(self, client: Client) -> None:
        response = await client.get("/v1/users/me/rsvps")
        assert_problem(response, 401, "not-authenticated")


class TestInvitations:
    async def test_opens_a_private_event(self, client: Client) -> None:
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        for _ in range(2):
            invited = await client.put(url, auth=creator)
            assert invited.status_code == 200
            assert invited.json()["status"] == "invited"
            assert invited.json()["user"]["id"] == guest.user.id
        assert len(await mails_of(MailKind.EVENT_INVITATION)) == 1
        seen = await client.get(f"/v1/events/{event.id}", auth=guest)
        assert seen.status_code == 200
        assert seen.json()["seats_taken"] == 0
        own = await client.get(path(event), auth=guest)
        assert own.json()["status"] == "invited"
        assert (await join(client, event, guest))["status"] == "going"
        await check_agreement(event)

    async def test_leaving_keeps_it(self, client: Client) -> None:
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        await client.put(url, auth=creator)
        await join(client, event, guest)
        await leave(client, event, guest)
        own = await client.get(path(event), auth=guest)
        assert own.json()["status"] == "invited"
        assert (await join(client, event, guest))["status"] == "going"
        assert (await read(event)).seats_taken == 1

    async def test_taken_back(self, client: Client) -> None:
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        await client.put(url, auth=creator)
        for _ in range(2):
            response = await client.delete(url, auth=creator)
            assert response.status_code == 204
        hidden = await client.get(f"/v1/events/{event.id}", auth=guest)
        assert_problem(hidden, 404, "event-not-found")

    async def test_taken_back_from_a_guest(self, client: Client) -> None:
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        await client.put(url, auth=creator)
        await join(client, event, guest)
        await client.delete(url, auth=creator)
        own = await client.get(path(event), auth=guest)
        assert own.json()["status"] == "going"
        await leave(client, event, guest)
        gone = await client.get(path(event), auth=guest)
        assert_problem(gone, 404, "event-not-found")

    async def test_of_somebody_who_goes(self, client: Client) -> None:
        creator, guest = await factories.admin(), await factories.member()
        event = await factories.event(creator.actor)
        await join(client, event, guest)
        url = path(event, f"invitations/{guest.user.id}")
        invited = await client.put(url, auth=creator)
        assert invited.json()["status"] == "going"
        assert not await mails_of(MailKind.EVENT_INVITATION)

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_who_may(self, client: Client, method: str) -> None:
        event, guest = await factories.event(), await factories.member()
        url = path(event, f"invitations/{guest.user.id}")
        refused = await client.request(method, url, auth=guest)
        assert_problem(refused, 403, "forbidden")
        refused = await client.request(method, url)
        assert_problem(refused, 401, "not-authenticated")
        hidden = await factories.event(factories.actor(), public=False)
        url = path(hidden, f"invitations/{guest.user.id}")
        refused = await client.request(method, url, auth=guest)
        assert_problem(refused, 404, "event-not-found")

    async def test_guest_may_not_change_it(self, client: Client) -> None:
        """Who knows of an event hears that they may not, not that it isn't."""
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        await client.put(url, auth=creator)
        own = f"/v1/events/{event.id}"
        change = await client.patch(own, json={"title": "Mine"}, auth=guest)
        assert_problem(change, 403, "forbidden")
        cancel = await client.post(f"{own}/cancel", auth=guest)
        assert_problem(cancel, 403, "forbidden")

    async def test_again_and_again_is_one_mail(self, client: Client) -> None:
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        for _ in range(3):
            await client.put(url, auth=creator)
            await client.delete(url, auth=creator)
        assert len(await mails_of(MailKind.EVENT_INVITATION)) == 1

    async def test_mail_is_bounded(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rsvps, "_MOST_INVITATIONS", 1)
        creator = await factories.member()
        event = await factories.event(creator.actor, public=False)
        for _ in range(3):
            guest = await factories.member()
            url = path(event, f"invitations/{guest.user.id}")
            invited = await client.put(url, auth=creator)
            assert invited.json()["status"] == "invited"
        assert len(await mails_of(MailKind.EVENT_INVITATION)) == 1

    async def test_unknown_member(self, client: Client) -> None:
        creator = await factories.admin()
        event = await factories.event(creator.actor)
        response = await client.put(
            path(event, f"invitations/{factories.UNKNOWN_ID}"), auth=creator
        )
        assert_problem(response, 404, "user-not-found")

    async def test_closed(self, client: Client) -> None:
        creator, guest = await factories.admin(), await factories.member()
        event = await factories.event(creator.actor)
        await events.cancel(event.id, actor=creator.actor)
        response = await client.put(
            path(event, f"invitations/{guest.user.id}"), auth=creator
        )
        assert_problem(response, 409, "event-closed")

    async def test_listed(self, client: Client) -> None:
        creator, guest = await factories.admin(), await factories.member()
        event = await factories.event(creator.actor)
        url = path(event, f"invitations/{guest.user.id}")
        await client.put(url, auth=creator)
        guests = await client.get(path(event, "rsvps"), auth=creator)
        assert guests.json()["items"] == []
        invited = await client.get(
            path(event, "rsvps"), params={"status": "invited"}, auth=creator
        )
        assert len(invited.json()["items"]) == 1
        own = await client.get("/v1/users/me/rsvps", auth=guest)
        assert own.json()["items"][0]["status"] == "invited"


class TestDeleted:
    async def test_guests_go_with_their_event(self, client: Client) -> None:
        admin, guest = await factories.admin(), await factories.member()
        event = await factories.event(admin.actor)
        await join(client, event, guest)
        response = await client.delete(f"/v1/events/{event.id}", auth=admin)
        assert response.status_code == 204
        own = await client.get("/v1/users/me/rsvps", auth=guest)
        assert own.json()["items"] == []
        assert await rsvps.list_of(guest.user.id) == []

    @pytest.mark.usefixtures("database")
    async def test_joining_meanwhile(self) -> None:
        """Whoever joins an event that is being deleted leaves no trace."""
        admin = factories.actor(Role.ADMIN)
        event = await factories.event(admin)
        actors = await people(20)
        await asyncio.gather(
            *(rsvps.join(event.id, actor=actor) for actor in actors),
            organising.delete_event(event.id, actor=admin),
            return_exceptions=True,
        )
        assert await rsvps.guest_ids(event.id) == []

    @pytest.mark.usefixtures("database")
    async def test_inviting_meanwhile(self) -> None:
        admin = factories.actor(Role.ADMIN)
        for _ in range(5):
            event = await factories.event(admin)
            guests = [(await factories.member()).user.id for _ in range(3)]
            await asyncio.gather(
                *(
                    rsvps.invite(event.id, user_id=g, actor=admin)
                    for g in guests
                ),
                organising.delete_event(event.id, actor=admin),
                return_exceptions=True,
            )
            for guest in guests:
                assert await rsvps.list_of(guest) == []

    async def test_place_without_an_event(self, client: Client) -> None:
        """Whatever left it behind, it does not keep its member."""
        event, guest = await factories.event(), await factories.member()
        await join(client, event, guest)
        await events.delete(event.id, actor=factories.actor(Role.ADMIN))
        (place,) = await rsvps.list_of(guest.user.id)
        await rsvps.remove(place)
        assert await rsvps.list_of(guest.user.id) == []


class TestDuration:
    async def test_guest_of_a_pending_event(self, client: Client) -> None:
        """Who holds a seat sees the event while it is decided about."""
        creator, guest = await factories.member(), await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        await client.put(url, auth=creator)
        await join(client, event, guest)
        await client.patch(
            f"/v1/events/{event.id}", json={"public": True}, auth=creator
        )
        seen = await client.get(f"/v1/events/{event.id}", auth=guest)
        assert seen.json()["approval"] == "pending"
