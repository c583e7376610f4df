"""Tickets and the door over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from models.events import Event
from tests import factories
from tests.factories import HOUR, Member
from tests.problems import assert_problem
from utils import events, rsvps, tickets

Client = httpx.AsyncClient


@pytest.fixture(name="organiser")
async def _organiser(client: Client) -> Member:
    del client  # The database is there and empty.
    return await factories.admin()


@pytest.fixture(name="event")
async def _event(organiser: Member) -> Event:
    return await factories.event(organiser.actor, starts_at=factories.at(-HOUR))


@pytest.fixture(name="guest")
async def _guest(event: Event) -> Member:
    member = await factories.member(first_name="Grace")
    await rsvps.join(event.id, actor=member.actor)
    return member


def path(event: Event, tail: str) -> str:
    return f"/v1/events/{event.id}/{tail}"


async def ticket_of(client: Client, event: Event, member: Member) -> str:
    response = await client.get(path(event, "ticket"), auth=member)
    assert response.status_code == 200, response.text
    return str(response.json()["ticket"])


async def scan(
    client: Client, event: Event, by: Member, **body: Any
) -> httpx.Response:
    return await client.post(path(event, "check-in"), json=body, auth=by)


class TestTicket:
    async def test_json(
        self, client: Client, event: Event, guest: Member
    ) -> None:
        response = await client.get(path(event, "ticket"), auth=guest)
        body = response.json()
        assert body["event_id"] == event.id
        assert body["checked_in_at"] is None
        assert tickets.read(body["ticket"]).event_id == event.id
        assert response.headers["vary"].split(", ")[0] == "Accept"
        assert await ticket_of(client, event, guest) == body["ticket"]

    @pytest.mark.parametrize(
        "accept, answer",
        [
            ("image/svg+xml", ("image/svg+xml", b"<?xml")),
            ("image/png", ("image/png", b"\x89PNG")),
            ("image/*", ("image/svg+xml", b"<?xml")),
            ("image/svg+xml;q=0.5, image/png", ("image/png", b"\x89PNG")),
            ("application/json;q=0, */*", ("image/svg+xml", b"<?xml")),
            ("text/html, */*;q=0.1", ("application/json", b"{")),
        ],
    )
    async def test_by_accept(
        self, client: Client, guest: Member, accept: str,
        answer: tuple[str, bytes],
    ) -> None:  # fmt: skip
        (rsvp,) = await rsvps.list_of(guest.user.id)
        form, start = answer
        response = await client.get(
            f"/v1/events/{rsvp.event_id}/ticket",
            auth=guest,
            headers={"Accept": accept},
        )
        assert response.headers["content-type"].partition(";")[0] == form
        assert response.content.startswith(start)
        assert response.headers["vary"].split(", ")[0] == "Accept"

    async def test_not_acceptable(
        self, client: Client, event: Event, guest: Member
    ) -> None:
        response = await client.get(
            path(event, "ticket"), auth=guest, headers={"Accept": "text/html"}
        )
        problem = assert_problem(response, 406, "not-acceptable")
        assert "image/png" in problem["offered"]

    async def test_no_seat(
        self, client: Client, organiser: Member, guest: Member
    ) -> None:
        full = await factories.event(organiser.actor, capacity=1)
        await rsvps.join(full.id, actor=organiser.actor)
        stranger = await factories.member()
        await rsvps.join(full.id, actor=guest.actor)
        for member in (stranger, guest):
            response = await client.get(path(full, "ticket"), auth=member)
            assert_problem(response, 409, "no-seat")

    async def test_cancelled(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        await events.cancel(event.id, actor=organiser.actor)
        response = await client.get(path(event, "ticket"), auth=guest)
        assert_problem(response, 409, "event-closed")

    async def test_hidden_and_nobody(self, client: Client) -> None:
        event = await factories.event(factories.actor(), public=False)
        member = await factories.member()
        response = await client.get(path(event, "ticket"), auth=member)
        assert_problem(response, 404, "event-not-found")
        response = await client.get(path(event, "ticket"))
        assert_problem(response, 401, "not-authenticated")


class TestCheckIn:
    async def test_once(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        ticket = await ticket_of(client, event, guest)
        first = await scan(client, event, organiser, ticket=ticket)
        assert first.status_code == 200
        assert first.json()["user"]["first_name"] == "Grace"
        second = await scan(client, event, organiser, ticket=ticket)
        problem = assert_problem(second, 409, "already-checked-in")
        assert factories.parse(problem["checked_in_at"]) == factories.parse(
            first.json()["checked_in_at"]
        )
        assert problem["checked_in_at"] in problem["detail"]

    async def test_by_list(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        first = await scan(client, event, organiser, user_id=guest.user.id)
        assert first.json()["user"]["id"] == guest.user.id
        ticket = await ticket_of(client, event, guest)
        second = await scan(client, event, organiser, ticket=ticket)
        assert_problem(second, 409, "already-checked-in")

    async def test_by_list_without_a_seat(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        response = await scan(
            client, event, organiser, user_id=organiser.user.id
        )
        assert_problem(response, 404, "rsvp-not-found")

    async def test_forged(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        ticket = await ticket_of(client, event, guest)
        for forged in (f"{ticket[:-9]}ABCDEFGHI", "hello", "A" * 77):
            response = await scan(client, event, organiser, ticket=forged)
            assert_problem(response, 422, "forged-ticket")

    async def test_of_another_event(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        other = await factories.event(organiser.actor)
        ticket = await ticket_of(client, event, guest)
        response = await scan(client, other, organiser, ticket=ticket)
        assert_problem(response, 404, "foreign-ticket")

    async def test_withdrawn(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        ticket = await ticket_of(client, event, guest)
        await rsvps.leave(event.id, actor=guest.actor)
        response = await scan(client, event, organiser, ticket=ticket)
        assert_problem(response, 409, "ticket-withdrawn")
        await rsvps.join(event.id, actor=guest.actor)
        response = await scan(client, event, organiser, ticket=ticket)
        assert_problem(response, 409, "ticket-withdrawn")
        fresh = await ticket_of(client, event, guest)
        response = await scan(client, event, organiser, ticket=fresh)
        assert response.status_code == 200

    async def test_cancelled(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        ticket = await ticket_of(client, event, guest)
        await events.cancel(event.id, actor=organiser.actor)
        response = await scan(client, event, organiser, ticket=ticket)
        assert_problem(response, 409, "event-closed")

    async def test_nonce(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        """The same scan may be sent again; another one is a second scan."""
        ticket = await ticket_of(client, event, guest)
        body = {
            "ticket": ticket,
            "nonce": "door-1/7",
            "scanned_at": factories.at(-timedelta(minutes=20)),
        }
        first = await scan(client, event, organiser, **body)
        assert factories.parse(
            first.json()["checked_in_at"]
        ) == factories.parse(body["scanned_at"]).replace(
            tzinfo=factories.parse(first.json()["checked_in_at"]).tzinfo
        )
        again = await scan(client, event, organiser, **body)
        assert again.json() == first.json()
        other = await scan(
            client, event, organiser, **{**body, "nonce": "door-2/1"}
        )
        assert_problem(other, 409, "already-checked-in")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"ticket": "A" * 77, "user_id": factories.UNKNOWN_ID},
            {"user_id": "me"},
            {"ticket": "A", "scanned_at": "2999-05-01T18:30:00Z"},
            {"ticket": "A", "nonce": ""},
            {"ticket": "A", "more": 1},
        ],
        ids=str,
    )
    async def test_bad_body(
        self, client: Client, event: Event, organiser: Member,
        body: dict[str, Any],
    ) -> None:  # fmt: skip
        response = await scan(client, event, organiser, **body)
        assert_problem(response, 422, "invalid-request")

    async def test_two_doors(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        ticket = await ticket_of(client, event, guest)
        answers = await asyncio.gather(
            *(
                scan(client, event, organiser, ticket=ticket, nonce=f"d{n}")
                for n in range(10)
            )
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200] + [409] * 9


class TestBatch:
    async def test_outcomes(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        late = await factories.member()
        await rsvps.join(event.id, actor=late.actor)
        await rsvps.leave(event.id, actor=late.actor)
        seen_at = factories.at(-timedelta(minutes=3))
        body = {
            "scans": [
                {
                    "ticket": await ticket_of(client, event, guest),
                    "nonce": "a",
                    "scanned_at": seen_at,
                },
                {"ticket": "x", "nonce": "b"},
                {"user_id": guest.user.id, "nonce": "c"},
                {"user_id": late.user.id, "nonce": "d"},
            ]
        }
        url = path(event, "check-ins")
        first = await client.post(url, json=body, auth=organiser)
        outcomes = first.json()["outcomes"]
        assert [o["nonce"] for o in outcomes] == ["a", "b", "c", "d"]
        assert [o["checked_in"] for o in outcomes] == [
            True, False, False, False
        ]  # fmt: skip
        assert [o["problem"] for o in outcomes] == [
            None,
            "/problems/forged-ticket",
            "/problems/already-checked-in",
            "/problems/rsvp-not-found",
        ]
        assert outcomes[0]["user"]["first_name"] == "Grace"
        again = await client.post(url, json=body, auth=organiser)
        assert again.json() == first.json()

    @pytest.mark.parametrize("count", [0, 501])
    async def test_size(
        self, client: Client, event: Event, organiser: Member, count: int
    ) -> None:
        response = await client.post(
            path(event, "check-ins"),
            json={"scans": [{"ticket": "x"}] * count},
            auth=organiser,
        )
        assert_problem(response, 422, "invalid-request")

    async def test_after_the_event(
        self, client: Client, organiser: Member
    ) -> None:
        past = await factories.event(
            organiser.actor,
            starts_at=factories.at(-3 * HOUR),
            ends_at=factories.at(-HOUR),
        )
        response = await client.post(
            path(past, "check-ins"),
            json={"scans": [{"user_id": organiser.user.id}]},
            auth=organiser,
        )
        (outcome,) = response.json()["outcomes"]
        assert outcome["problem"] == "/problems/rsvp-not-found"

    async def test_cancelled(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await events.cancel(event.id, actor=organiser.actor)
        response = await client.post(
            path(event, "check-ins"),
            json={"scans": [{"ticket": "x"}]},
            auth=organiser,
        )
        assert_problem(response, 409, "event-closed")


class TestCounts:
    async def test_while_the_door_is_open(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        await rsvps.join(event.id, actor=factories.actor())
        url = path(event, "check-in")
        before = await client.get(url, auth=organiser)
        assert before.json() == {
            "event_id": event.id,
            "capacity": 20,
            "seats_taken": 2,
            "waitlisted": 0,
            "checked_in": 0,
        }
        await scan(client, event, organiser, user_id=guest.user.id)
        after = await client.get(url, auth=organiser)
        assert after.json()["checked_in"] == 1


class TestUndo:
    async def test_ticket_works_again(
        self, client: Client, event: Event, guest: Member, organiser: Member
    ) -> None:
        ticket = await ticket_of(client, event, guest)
        await scan(client, event, organiser, ticket=ticket, nonce="a")
        url = path(event, f"check-in/{guest.user.id}")
        for _ in range(2):
            response = await client.delete(url, auth=organiser)
            assert response.status_code == 204
        same = await scan(client, event, organiser, ticket=ticket, nonce="a")
        assert_problem(same, 409, "check-in-undone")
        again = await scan(client, event, organiser, ticket=ticket, nonce="b")
        assert again.status_code == 200

    async def test_without_a_seat(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        url = path(event, f"check-in/{organiser.user.id}")
        response = await client.delete(url, auth=organiser)
        assert_problem(response, 404, "rsvp-not-found")


class TestWhoMay:
    @pytest.mark.parametrize(
        "call, body",
        [
            ("POST check-in", {"ticket": "x"}),
            ("POST check-ins", {"scans": [{"ticket": "x"}]}),
            ("GET check-in", None),
            (f"DELETE check-in/{factories.UNKNOWN_ID}", None),
        ],
    )
    async def test_organisers_only(
        self, client: Client, guest: Member, call: str, body: Any
    ) -> None:
        event = await factories.event()
        method, tail = call.split()
        url = path(event, tail)
        nobody = await client.request(method, url, json=body)
        assert_problem(nobody, 401, "not-authenticated")
        refused = await client.request(method, url, json=body, auth=guest)
        assert_problem(refused, 403, "forbidden")
        hidden = await factories.event(factories.actor(), public=False)
        missing = await client.request(
            method, path(hidden, tail), json=body, auth=guest
        )
        assert_problem(missing, 404, "event-not-found")

    async def test_creator(self, client: Client) -> None:
        creator = await factories.member()
        own = await factories.event(creator.actor)
        counts = await client.get(path(own, "check-in"), auth=creator)
        assert counts.status_code == 200
        response = await scan(client, own, creator, ticket="x")
        assert_problem(response, 422, "forged-ticket")


class TestAudit:
    async def test_at_somebody_elses_door(self, client: Client) -> None:
        """What an admin does there is written down; their own is their own."""
        creator, admin = await factories.member(), await factories.admin()
        guest = await factories.member()
        event = await factories.event(creator.actor, public=False)
        url = path(event, f"invitations/{guest.user.id}")
        for by in (creator, admin):
            await client.put(url, auth=by)
            await client.delete(url, auth=by)
        await client.put(url, auth=creator)
        await rsvps.join(event.id, actor=guest.actor)
        for by in (creator, admin):
            await scan(client, event, by, user_id=guest.user.id)
            door = path(event, f"check-in/{guest.user.id}")
            assert (await client.delete(door, auth=by)).status_code == 204
        page = await client.get(
            "/v1/audit", params={"target": guest.user.id}, auth=admin
        )
        found = [e for e in page.json()["items"] if "guest." in e["action"]]
        assert [entry["action"] for entry in reversed(found)] == [
            "guest.invited",
            "guest.uninvited",
            "guest.checked-in",
            "guest.checked-out",
        ]
        assert {e["actor_id"] for e in found} == {admin.user.id}
        assert {e["facts"]["event_id"] for e in found} == {event.id}
