"""The organiser's board over HTTP, and what an event came to."""

import asyncio
import csv
import io
from typing import Any

import httpx
import pytest

from models.base import utc_now
from models.events import Event
from models.feedback import FeedbackCreate
from models.rsvps import Scan
from models.sessions import EndReason, Session, SessionStatus
from tests import factories
from tests.factories import HOUR, Member
from tests.problems import assert_problem
from utils import check_ins, feedback, rsvps, seat_grants, sessions

Client = httpx.AsyncClient


@pytest.fixture(name="organiser")
async def _organiser(client: Client) -> Member:
    del client  # The database is there and empty.
    await factories.gpus(4)
    await factories.session_template()
    return await factories.admin()


@pytest.fixture(name="event")
async def _event(organiser: Member) -> Event:
    """It goes on, and each of its four seats grants a GPU."""
    event = await factories.event(
        organiser.actor, starts_at=utc_now() - HOUR, capacity=4
    )
    await factories.seat_grant(event, organiser.actor)
    return event


async def guest(event: Event, **overrides: Any) -> Member:
    member = await factories.member(**overrides)
    await rsvps.join(event.id, actor=member.actor)
    return member


async def failed(session: Session, error: str) -> None:
    """Has a session end by a fault, as when its container dies."""
    await sessions.end(
        session.id, reason=EndReason.CONTAINER_ENDED, error=error
    )
    await finished(session)


async def finished(session: Session) -> None:
    now = await sessions.find(session.id)
    assert now is not None
    assert await sessions.finish(now) is not None


async def board(client: Client, event: Event, by: Member) -> list[Any]:
    response = await client.get(f"/v1/events/{event.id}/board", auth=by)
    assert response.status_code == 200, response.text
    items: list[Any] = response.json()["items"]
    return items


async def act(
    client: Client, event: Event, deed: str, by: Member, **body: Any
) -> list[Any]:
    response = await client.post(
        f"/v1/events/{event.id}/board/{deed}", json=body, auth=by
    )
    assert response.status_code == 200, response.text
    outcomes: list[Any] = response.json()["outcomes"]
    return outcomes


class TestBoard:
    async def test_rows(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        ada, grace, _ = [
            await guest(event, first_name=name) for name in "ABC"
        ]
        await failed(await factories.seat_session(event, ada), "No memory.")
        second = await factories.seat_session(event, ada)
        await check_ins.check_in(
            event.id, Scan(user_id=grace.user.id), actor=organiser.actor
        )
        rows = await board(client, event, organiser)
        assert [row["user"]["first_name"] for row in rows] == ["A", "B", "C"]
        assert rows[0]["session"]["id"] == second.id
        assert rows[0]["session"]["gpu_ids"] == second.gpu_ids
        assert rows[0]["last_error"] == "No memory."
        assert [row["checked_in_at"] is None for row in rows] == [
            True, False, True
        ]  # fmt: skip
        assert rows[1]["session"] is None
        assert second.token not in str(rows)

    async def test_pages(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        members = [await guest(event) for _ in range(3)]
        await factories.seat_session(event, members[2])
        seen: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            response = await client.get(
                f"/v1/events/{event.id}/board",
                params={"limit": 2, **cursor},
                auth=organiser,
            )
            page = response.json()
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert [row["user"]["id"] for row in seen] == [
            member.user.id for member in members
        ]
        assert [row["session"] is None for row in seen] == [True, True, False]

    @pytest.mark.parametrize(
        "method, tail",
        [
            ("GET", "board"),
            ("GET", "usage"),
            ("POST", "board/extend"),
            ("POST", "board/restart"),
            ("POST", "board/end"),
        ],
    )
    async def test_not_the_organiser(
        self, client: Client, event: Event, method: str, tail: str
    ) -> None:
        body: dict[str, Any] = {"all": True}
        if tail.endswith("extend"):
            body["hours"] = 1.0
        response = await client.request(
            method,
            f"/v1/events/{event.id}/{tail}",
            json=body if method == "POST" else None,
            auth=await guest(event),
        )
        assert_problem(response, 403, "forbidden")

    async def test_without_a_grant(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor)
        assert await board(client, event, organiser) == []
        response = await client.post(
            f"/v1/events/{event.id}/board/end",
            json={"all": True},
            auth=organiser,
        )
        assert_problem(response, 404, "event-compute-not-found")


class TestDeeds:
    @pytest.mark.parametrize(
        "body", [{}, {"all": True, "user_ids": [factories.UNKNOWN_ID]}]
    )
    async def test_says_whose(
        self,
        client: Client,
        event: Event,
        organiser: Member,
        body: dict[str, Any],
    ) -> None:
        response = await client.post(
            f"/v1/events/{event.id}/board/end", json=body, auth=organiser
        )
        assert_problem(response, 422, "invalid-request")

    async def test_extend_as_far_as_others_leave_gpus(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        member, idle = await guest(event), await guest(event)
        session = await factories.seat_session(
            event, member, expires_at=utc_now() + HOUR / 4
        )
        outcomes = await act(
            client,
            event,
            "extend",
            organiser,
            user_ids=[member.user.id, idle.user.id],
            hours=0.5,
        )
        assert [each["done"] for each in outcomes] == [True, False]
        assert outcomes[1]["problem"] == "/problems/session-not-found"
        now = await sessions.find(session.id)
        assert now is not None
        assert now.expires_at == session.expires_at + HOUR / 2
        later = await factories.event(
            organiser.actor, starts_at=event.ends_at + HOUR, capacity=4
        )
        await factories.seat_grant(later, organiser.actor)
        extend = {"all": True, "hours": 1.0}
        [outcome] = await act(client, event, "extend", organiser, **extend)
        assert factories.parse(outcome["expires_at"]) > event.ends_at
        # Then all GPUs are promised.
        [outcome] = await act(client, event, "extend", organiser, **extend)
        assert outcome["problem"] == "/problems/no-gpu-free"
        # And what was given is no other event's.
        response = await client.patch(
            f"/v1/events/{later.id}",
            json={"starts_at": event.ends_at.isoformat()},
            auth=organiser,
        )
        assert_problem(response, 409, "not-enough-gpus")

    async def test_two_extend_at_once(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        session = await factories.seat_session(
            event, await guest(event), expires_at=utc_now() + HOUR / 4
        )
        wish = {"all": True, "hours": 0.1}
        await asyncio.gather(
            *(act(client, event, "extend", organiser, **wish) for _ in "ab")
        )
        now = await sessions.find(session.id)
        assert now is not None
        assert now.expires_at == session.expires_at + HOUR / 5

    async def test_end(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        members = [await guest(event) for _ in range(3)]
        found = [await factories.seat_session(event, m) for m in members[:2]]
        outcomes = await act(client, event, "end", organiser, all=True)
        assert {each["session_id"] for each in outcomes} == {
            session.id for session in found
        }
        for session in found:
            now = await sessions.find(session.id)
            assert now is not None
            assert now.status is SessionStatus.STOPPING
            assert now.end_reason is EndReason.ORGANISER
        # They are ending already.
        assert await act(client, event, "end", organiser, all=True) == []

    async def test_restart_writes_down_who_wants_one(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        member, idle = await guest(event), await guest(event)
        stranger = await factories.member()
        session = await factories.seat_session(event, member)
        chosen = [each.user.id for each in (member, idle, stranger)]
        outcomes = await act(
            client, event, "restart", organiser, user_ids=[*chosen, chosen[0]]
        )
        assert [each["done"] for each in outcomes] == [True, True, False]
        assert outcomes[2]["problem"] == "/problems/not-entitled"
        now = await sessions.find(session.id)
        assert now is not None and now.status is SessionStatus.STOPPING
        grant = await seat_grants.get_grant(event.id)
        assert [each.user_id for each in grant.wanted] == chosen[:2]
        # Until the old one is gone, it is not taken for the new one.
        assert [each.instead_of for each in grant.wanted] == [session.id, None]

    async def test_an_admins_deed_is_written_down(
        self, client: Client, event: Event
    ) -> None:
        member, admin = await guest(event), await factories.admin()
        await factories.seat_session(event, member)
        await act(client, event, "extend", admin, all=True, hours=0.1)
        await act(client, event, "end", admin, all=True)
        response = await client.get(
            "/v1/audit", params={"target": member.user.id}, auth=admin
        )
        actions = [entry["action"] for entry in response.json()["items"]]
        assert actions[:2] == ["session.ended", "session.extended"]


class TestUsage:
    async def test_report(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        ada, grace = [await guest(event, first_name=n) for n in ("-Eve", "G")]
        session = await factories.seat_session(event, ada)
        await factories.age(session, hours=2)
        await failed(session, "No memory.")
        await feedback.create_feedback(
            event.id, FeedbackCreate(rating=4), actor=ada.actor
        )
        await check_ins.check_in(
            event.id, Scan(user_id=grace.user.id), actor=organiser.actor
        )
        path = f"/v1/events/{event.id}/usage"
        report = (await client.get(path, auth=organiser)).json()
        assert report["seats_taken"] == 2
        assert (report["checked_in"], report["computed"]) == (1, 1)
        assert report["average_rating"] == 4
        rows = report["attendees"]
        assert rows[0]["gpu_hours"] == pytest.approx(2, abs=0.05)
        assert (rows[0]["sessions"], rows[0]["failed"]) == (1, 1)
        assert [row["rating"] for row in rows] == [4, None]
        table = await client.get(
            path, params={"format": "csv"}, auth=organiser
        )
        assert table.headers["content-type"].startswith("text/csv")
        lines = list(csv.DictReader(io.StringIO(table.text)))
        assert lines[0]["first_name"] == "'-Eve"
        assert float(lines[0]["gpu_hours"]) == rows[0]["gpu_hours"]

    async def test_who_left_counts(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        leaver = await guest(event)
        await factories.seat_session(event, leaver)
        await rsvps.leave(event.id, actor=leaver.actor)
        response = await client.get(
            f"/v1/events/{event.id}/usage", auth=organiser
        )
        report = response.json()
        assert report["seats_taken"] == 0
        assert [row["user_id"] for row in report["attendees"]] == [
            leaver.user.id
        ]
