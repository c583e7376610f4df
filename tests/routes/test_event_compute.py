"""What seats grant, over HTTP: promises, proofs, entitlements."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from models.base import utc_now
from models.event_compute import SeatGrant
from models.events import Event
from models.mails import MailKind
from models.rsvps import Scan
from models.session_errors import NoGpuFreeError, NotEntitledError
from models.sessions import (
    EndReason,
    Session,
    SessionOrder,
    SessionStatus,
)
from models.users import Role
from tests import factories
from tests.factories import HOUR, Member
from tests.problems import assert_problem
from utils import (
    check_ins,
    event_compute,
    events,
    mails,
    rsvps,
    seat_grants,
    session_templates,
    sessions,
)


Client = httpx.AsyncClient


@pytest.fixture(name="organiser")
async def _organiser(client: Client) -> Member:
    del client  # The database is there and empty.
    return await factories.member()


@pytest.fixture(name="event")
async def _event(organiser: Member) -> Event:
    """An ongoing one with two seats, of an ordinary member."""
    return await factories.event(
        organiser.actor,
        starts_at=utc_now() - HOUR,
        capacity=2,
        public=False,
    )


@pytest.fixture(name="inventory", autouse=True)
async def _inventory(client: Client) -> None:
    del client
    await factories.gpus(4)
    await factories.session_template("notebook", gpus_max=2)


def body(**overrides: Any) -> dict[str, Any]:
    return {"template": "notebook", "gpus_per_seat": 1, **overrides}


def path(event: Event, tail: str = "") -> str:
    return f"/v1/events/{event.id}/compute{tail}"


async def put(
    client: Client, event: Event, by: Member, **overrides: Any
) -> httpx.Response:
    return await client.put(path(event), json=body(**overrides), auth=by)


async def granted(
    client: Client, event: Event, by: Member, **overrides: Any
) -> dict[str, Any]:
    response = await put(client, event, by, **overrides)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def guest(event: Event) -> Member:
    """A member who goes, or waits where all seats are taken."""
    member = await factories.member()
    organiser = factories.actor(Role.ADMIN)
    await rsvps.invite(event.id, user_id=member.user.id, actor=organiser)
    await rsvps.join(event.id, actor=member.actor)
    return member


async def status_of(session: Session) -> tuple[SessionStatus, str | None]:
    found = await sessions.find(session.id)
    assert found is not None
    return found.status, found.end_reason


async def soon(organiser: Member, *, capacity: int) -> Event:
    """An event that starts in half an hour."""
    return await factories.event(
        organiser.actor,
        starts_at=utc_now() + HOUR / 2,
        capacity=capacity,
        public=False,
    )


async def _imported(
    client: Client, by: Member, *entries: str
) -> dict[str, Any]:
    response = await client.post(
        "/v1/events/import", auth=by, **factories.calendar_request(*entries)
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def entry_at(starts_at: datetime, uid: str) -> str:
    """An entry of a calendar file, for an hour."""
    return factories.calendar_entry(
        UID=uid,
        DTSTART=f"{starts_at:%Y%m%dT%H%M%SZ}",
        DTEND=f"{starts_at + HOUR:%Y%m%dT%H%M%SZ}",
    )


async def grant_of(event: Event) -> SeatGrant:
    return await seat_grants.get_grant(event.id)


class TestSet:
    async def test_window_and_seats(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        answer = await granted(
            client,
            event,
            organiser,
            opens_minutes_before=15,
            closes_minutes_after=30,
        )
        assert answer["event_id"] == event.id
        assert answer["seats"] == 2
        minutes = timedelta(minutes=1)
        opens_at = event.starts_at - 15 * minutes
        assert factories.parse(answer["opens_at"]) == opens_at
        assert factories.parse(answer["closes_at"]) == (
            event.ends_at + 30 * minutes
        )
        assert answer["short"] is False
        response = await client.get(path(event), auth=organiser)
        assert response.json() == answer

    async def test_again_changes(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        first = await granted(client, event, organiser)
        second = await granted(client, event, organiser, gpus_per_seat=2)
        assert second["gpus_per_seat"] == 2
        # What grows is promised anew, behind what others were.
        assert second["created_at"] > first["created_at"]
        third = await granted(client, event, organiser, gpus_per_seat=1)
        assert third["created_at"] == second["created_at"]

    async def test_a_denied_event_grants_nothing(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor, capacity=2)
        await granted(client, event, organiser)
        admin = await factories.admin()
        response = await client.post(f"/v1/events/{event.id}/deny", auth=admin)
        assert response.status_code == 200, response.text
        assert await seat_grants.find_grant(event.id) is None
        response = await put(client, event, organiser)
        problem = assert_problem(response, 409, "event-closed")
        assert problem["event_status"] == "denied"

    async def test_who_may(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        member = await guest(event)
        assert_problem(await put(client, event, member), 403, "forbidden")
        stranger = await factories.member()
        for response in (
            await put(client, event, stranger),
            await client.get(path(event), auth=stranger),
            await client.delete(path(event), auth=stranger),
        ):
            assert_problem(response, 404, "event-not-found")
        await granted(client, event, organiser)
        response = await client.get(path(event), auth=member)
        assert response.status_code == 200
        response = await client.delete(path(event), auth=member)
        assert_problem(response, 403, "forbidden")

    async def test_an_admins_deed_is_written_down(
        self, client: Client, event: Event
    ) -> None:
        admin = await factories.admin()
        await granted(client, event, admin)
        response = await client.post(
            path(event, "/rehearsal"), json={"sessions": 1}, auth=admin
        )
        assert response.status_code == 202
        await client.delete(path(event), auth=admin)
        response = await client.get(
            "/v1/audit", params={"target": event.id}, auth=admin
        )
        assert [entry["action"] for entry in response.json()["items"]] == [
            "event.compute-unset",
            "event.compute-rehearsed",
            "event.compute-set",
        ]

    @pytest.mark.parametrize(
        "fault, field",
        [
            ({"template": "unheard-of"}, "template"),
            ({"gpus_per_seat": 3}, "gpus_per_seat"),
            ({"gpus_per_seat": -1}, "gpus_per_seat"),
            ({"opens_minutes_before": 1441}, "opens_minutes_before"),
            ({"prewarm": "start", "needs_check_in": True}, None),
            ({"seats": 3}, "seats"),
        ],
    )
    async def test_invalid(
        self,
        client: Client,
        event: Event,
        organiser: Member,
        fault: dict[str, Any],
        field: str | None,
    ) -> None:
        response = await put(client, event, organiser, **fault)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == [
            "body", *([] if field is None else [field])
        ]  # fmt: skip

    async def test_closed(self, client: Client, organiser: Member) -> None:
        past = await factories.event(
            organiser.actor, starts_at=utc_now() - 9 * HOUR
        )
        response = await put(client, past, organiser)
        assert_problem(response, 409, "event-closed")

    async def test_nothing_granted(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        for response in (
            await client.get(path(event), auth=organiser),
            await client.delete(path(event), auth=organiser),
            await client.get(path(event, "/rehearsal"), auth=organiser),
            await client.post(
                path(event, "/rehearsal"), json={"sessions": 1}, auth=organiser
            ),
        ):
            assert_problem(response, 404, "event-compute-not-found")

    async def test_a_template_in_use_stays(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        assert await seat_grants.find_user_of("notebook") == event.id
        assert await seat_grants.find_user_of("other") is None


class TestProof:
    async def test_too_many_seats(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor, capacity=5)
        response = await put(client, event, organiser)
        problem = assert_problem(response, 409, "not-enough-gpus")
        assert problem["feasible_seats"] == 4
        response = await put(client, event, organiser, gpus_per_seat=2)
        problem = assert_problem(response, 409, "not-enough-gpus")
        assert problem["feasible_seats"] == 2
        assert await seat_grants.find_grant(event.id) is None

    async def test_no_gpu_no_proof(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor, capacity=500)
        await granted(client, event, organiser, gpus_per_seat=0)

    async def test_overlapping_windows(
        self, client: Client, organiser: Member
    ) -> None:
        first = await factories.event(organiser.actor, capacity=3)
        await granted(client, first, organiser)
        second = await factories.event(
            organiser.actor, starts_at=first.ends_at, capacity=3
        )
        # One ends as the other begins.
        await granted(client, second, organiser)
        response = await put(client, second, organiser, opens_minutes_before=1)
        problem = assert_problem(response, 409, "not-enough-gpus")
        assert problem["feasible_seats"] == 1
        # What was promised stays.
        assert (await grant_of(second)).opens_minutes_before == 0

    async def test_what_starts_early_counts_early(
        self, client: Client, organiser: Member
    ) -> None:
        first = await factories.event(organiser.actor, capacity=3)
        await granted(client, first, organiser)
        second = await factories.event(
            organiser.actor, starts_at=first.ends_at, capacity=3
        )
        response = await put(client, second, organiser, prewarm="start")
        assert_problem(response, 409, "not-enough-gpus")
        await granted(client, second, organiser, prewarm="image")

    async def test_members_sessions_count_until_they_end(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        template = await session_templates.get_template("notebook")
        member = await factories.member()
        await sessions.create(
            SessionOrder(
                owner_id=member.user.id,
                template=template,
                gpus=2,
                expires_at=utc_now() + HOUR / 2,
                quota=factories.session_quota(),
            )
        )
        response = await put(client, event, organiser, gpus_per_seat=2)
        problem = assert_problem(response, 409, "not-enough-gpus")
        assert problem["feasible_seats"] == 1
        later = await factories.event(organiser.actor, capacity=2)
        await granted(client, later, organiser, gpus_per_seat=2)

    async def test_what_runs_counts_when_its_seats_are_for_later(
        self, client: Client, organiser: Member
    ) -> None:
        event = await soon(organiser, capacity=2)
        await granted(client, event, organiser, opens_minutes_before=60)
        for _ in range(2):
            await factories.seat_session(event, await guest(event))
        await granted(client, event, organiser, opens_minutes_before=0)
        now = await factories.event(
            organiser.actor,
            starts_at=utc_now() - HOUR,
            ends_at=factories.at(HOUR / 3),
            capacity=3,
        )
        problem = assert_problem(
            await put(client, now, organiser), 409, "not-enough-gpus"
        )
        assert problem["feasible_seats"] == 2

    async def test_what_runs_counts_when_its_seats_grant_less(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser, gpus_per_seat=2)
        for _ in range(2):
            await factories.seat_session(event, await guest(event))
        await granted(client, event, organiser, gpus_per_seat=0)
        other = await factories.event(
            organiser.actor, starts_at=utc_now() - HOUR, capacity=2
        )
        problem = assert_problem(
            await put(client, other, organiser), 409, "not-enough-gpus"
        )
        assert problem["feasible_seats"] == 0

    async def test_more_time_is_proven_when_seats_are_for_later(
        self, client: Client, organiser: Member
    ) -> None:
        event = await soon(organiser, capacity=1)
        await granted(client, event, organiser, opens_minutes_before=60)
        session = await factories.seat_session(
            event, await guest(event), expires_at=utc_now() + HOUR / 6
        )
        await granted(client, event, organiser, opens_minutes_before=0)
        other = await factories.event(
            organiser.actor,
            starts_at=utc_now() + HOUR / 5,
            ends_at=factories.at(HOUR / 3),
            capacity=4,
        )
        await granted(client, other, organiser)
        with pytest.raises(NoGpuFreeError):
            await sessions.extend_seat(
                session.id, more=HOUR / 6, actor=organiser.actor
            )

    @pytest.mark.usefixtures("turns")
    async def test_two_organisers_at_once(
        self, client: Client, organiser: Member
    ) -> None:
        competing = [
            await factories.event(organiser.actor, capacity=3) for _ in range(4)
        ]
        answers = await asyncio.gather(
            *(put(client, each, organiser) for each in competing)
        )
        assert sorted(each.status_code for each in answers) == [200] + [409] * 3

    async def test_a_change_and_a_promise_at_once(
        self, client: Client, organiser: Member
    ) -> None:
        """Whichever comes first, the promise follows the event."""
        made = [
            await factories.event(organiser.actor, capacity=1) for _ in range(3)
        ]
        change = {"capacity": 2}
        await asyncio.gather(
            *(put(client, each, organiser) for each in made),
            *(
                client.patch(
                    f"/v1/events/{each.id}", json=change, auth=organiser
                )
                for each in made
            ),
        )
        for each in made:
            grant = await seat_grants.find_grant(each.id)
            now = await events.load_event(each.id)
            assert grant is None or grant.seats == now.capacity

    @pytest.mark.parametrize(
        "change", [{"capacity": 5}, {"ends_at": 3}, {"starts_at": -1}]
    )
    async def test_a_change_of_the_event_asks_again(
        self, client: Client, organiser: Member, change: dict[str, int]
    ) -> None:
        event = await factories.event(organiser.actor, capacity=3)
        await granted(client, event, organiser)
        for hours in (-2, 2):
            # There is no room before, nor after it.
            other = await factories.event(
                organiser.actor,
                starts_at=event.starts_at + hours * HOUR,
                capacity=2,
            )
            await granted(client, other, organiser)
        before = await grant_of(event)
        asked = {
            field: (event.starts_at + value * HOUR).isoformat()
            if field.endswith("_at")
            else value
            for field, value in change.items()
        }
        response = await client.patch(
            f"/v1/events/{event.id}", json=asked, auth=organiser
        )
        assert_problem(response, 409, "not-enough-gpus")
        response = await client.get(f"/v1/events/{event.id}", auth=organiser)
        assert response.json()["capacity"] == 3
        assert factories.parse(response.json()["starts_at"]) == event.starts_at
        assert await grant_of(event) == before

    async def test_a_change_that_fits_is_followed(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor, capacity=3)
        await granted(client, event, organiser)
        later = (event.ends_at + HOUR).isoformat()
        response = await client.patch(
            f"/v1/events/{event.id}",
            json={"ends_at": later, "capacity": 4},
            auth=organiser,
        )
        assert response.status_code == 200, response.text
        grant = await grant_of(event)
        assert grant.seats == 4
        assert grant.closes_at == event.ends_at + HOUR

    async def test_a_shorter_event_ends_sessions_sooner(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        session = await factories.seat_session(event, await guest(event))
        sooner = event.ends_at - HOUR / 2
        response = await client.patch(
            f"/v1/events/{event.id}",
            json={"ends_at": sooner.isoformat()},
            auth=organiser,
        )
        assert response.status_code == 200, response.text
        found = await sessions.find(session.id)
        assert found is not None and found.expires_at == sooner

    async def test_a_longer_event_ends_sessions_later(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        session = await factories.seat_session(event, await guest(event))
        assert await sessions.change(session, warned=True)
        extended = await factories.seat_session(
            event, await guest(event), expires_at=event.ends_at + HOUR / 2
        )
        later = event.ends_at + HOUR
        response = await client.patch(
            f"/v1/events/{event.id}",
            json={"ends_at": later.isoformat()},
            auth=organiser,
        )
        assert response.status_code == 200, response.text
        found = await sessions.find(session.id)
        assert found is not None and found.expires_at == later
        assert not found.warned
        found = await sessions.find(extended.id)
        assert found is not None and found.expires_at == extended.expires_at

    async def test_an_import_asks_again(
        self, client: Client, organiser: Member
    ) -> None:
        entries = [factories.calendar_entry(UID=uid) for uid in ("a", "b")]
        answer = await _imported(client, organiser, *entries)
        assert answer["created"] == 2
        response = await client.get(
            "/v1/events", params={"mine": True}, auth=organiser
        )
        first, second = (item["id"] for item in response.json()["items"])
        day = utc_now() + timedelta(days=2)
        busy = await factories.event(
            organiser.actor, starts_at=day, capacity=4
        )
        await granted(client, busy, organiser)
        for event_id in (first, second):
            await client.patch(
                f"/v1/events/{event_id}", json={"capacity": 1}, auth=organiser
            )
        response = await client.put(
            f"/v1/events/{first}/compute", json=body(), auth=organiser
        )
        assert response.status_code == 200, response.text
        answer = await _imported(
            client, organiser, *(entry_at(day, uid) for uid in "ab")
        )
        assert answer["updated"] == 1
        assert "GPUs" in answer["problems"][0]["reason"]

    @pytest.mark.parametrize("seats", [4, 5])
    async def test_what_is_promised_during_an_import_follows(
        self,
        client: Client,
        organiser: Member,
        monkeypatch: pytest.MonkeyPatch,
        seats: int,
    ) -> None:
        await _imported(client, organiser, factories.calendar_entry(UID="a"))
        response = await client.get(
            "/v1/events", params={"mine": True}, auth=organiser
        )
        [event_id] = [item["id"] for item in response.json()["items"]]
        await client.patch(
            f"/v1/events/{event_id}", json={"capacity": seats}, auth=organiser
        )
        event = await events.load_event(event_id)
        reimport = events.reimport

        async def slow(*args: Any, **kwargs: Any) -> dict[str, str]:
            # Somebody is faster, while there are GPUs enough.
            await factories.gpus(seats)
            await granted(client, event, organiser)
            await factories.gpus(4)
            return await reimport(*args, **kwargs)

        monkeypatch.setattr(events, "reimport", slow)
        day = utc_now() + timedelta(days=2)
        answer = await _imported(client, organiser, entry_at(day, "a"))
        grant = await seat_grants.find_grant(event.id)
        if seats == 4:
            assert answer["problems"] == []
            now = await events.load_event(event_id)
            assert now.starts_at > event.starts_at
            assert grant is not None and grant.opens_at == now.starts_at
        else:
            assert "GPUs" in answer["problems"][0]["reason"]
            assert grant is None


class TestShort:
    async def test_who_was_promised_last_goes_short(
        self, client: Client, organiser: Member
    ) -> None:
        first = await factories.event(organiser.actor, capacity=2)
        second = await factories.event(organiser.actor, capacity=2)
        await granted(client, first, organiser)
        await granted(client, second, organiser)
        await factories.gpus(3)
        # Any number of workers look.
        await asyncio.gather(*(event_compute.find_short() for _ in range(3)))
        answers = [
            (await client.get(path(each), auth=organiser)).json()
            for each in (first, second)
        ]
        assert [each["short"] for each in answers] == [False, True]
        assert [each["feasible_seats"] for each in answers] == [2, 1]
        await event_compute.find_short()
        told = await mails.list_of(organiser.user.id)
        kinds = [mail for mail in told if mail.kind is MailKind.COMPUTE_SHORT]
        assert [mail.event_id for mail in kinds] == [second.id]
        await factories.gpus(4)
        await event_compute.find_short()
        response = await client.get(path(second), auth=organiser)
        assert response.json()["short"] is False
        # Those that fail again are told of again.
        await factories.gpus(3)
        await asyncio.gather(*(event_compute.find_short() for _ in range(3)))
        told = await mails.list_of(organiser.user.id)
        kinds = [mail for mail in told if mail.kind is MailKind.COMPUTE_SHORT]
        assert [mail.event_id for mail in kinds] == [second.id] * 2

    async def test_asking_for_less_is_not_refused(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor, capacity=4)
        await granted(client, event, organiser)
        await factories.gpus(1)
        response = await client.patch(
            f"/v1/events/{event.id}", json={"capacity": 3}, auth=organiser
        )
        assert response.status_code == 200, response.text
        assert (await grant_of(event)).seats == 3

    async def test_granting_less_is_not_refused(
        self, client: Client, organiser: Member
    ) -> None:
        event = await factories.event(organiser.actor, capacity=2)
        await granted(client, event, organiser, gpus_per_seat=2)
        await factories.gpus(1)
        await event_compute.find_short()
        answer = await granted(client, event, organiser, gpus_per_seat=1)
        assert answer["gpus_per_seat"] == 1
        # It was promised then, and is short of GPUs still.
        assert answer["short"] is True
        response = await put(client, event, organiser, gpus_per_seat=2)
        assert_problem(response, 409, "not-enough-gpus")


class TestEntitle:
    async def refusal(self, event: Event, by: Member) -> str:
        with pytest.raises(NotEntitledError) as caught:
            await factories.seat_session(event, by)
        return caught.value.detail

    async def test_a_seat_grants_one_session(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        session = await factories.seat_session(event, await guest(event))
        assert session.event_id == event.id
        assert session.expires_at == event.ends_at
        assert len(session.gpu_ids) == 1

    async def test_who_does_not_go(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        assert "no seat" in await self.refusal(event, organiser)
        await guest(event)
        await guest(event)
        waiting = await guest(event)
        assert "waiting list" in await self.refusal(event, waiting)

    async def test_seats_that_grant_nothing(self, event: Event) -> None:
        assert "no sessions" in await self.refusal(event, await guest(event))

    async def test_not_yet(self, client: Client, organiser: Member) -> None:
        event = await factories.event(
            organiser.actor, public=False, capacity=2
        )
        await granted(client, event, organiser)
        assert "from" in await self.refusal(event, await guest(event))

    async def test_after_check_in_only(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser, needs_check_in=True)
        member = await guest(event)
        assert "Check in" in await self.refusal(event, member)
        scan = Scan(user_id=member.user.id)
        await check_ins.check_in(event.id, scan, actor=organiser.actor)
        session = await factories.seat_session(event, member)
        await check_ins.undo_check_in(
            event.id, user_id=member.user.id, actor=organiser.actor
        )
        assert await status_of(session) == (
            SessionStatus.STOPPING,
            EndReason.SEAT_LOST,
        )


class TestSeatLost:
    async def test_leaving_ends_the_session_and_passes_the_right_on(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        leaver, _, waiting = [await guest(event) for _ in range(3)]
        session = await factories.seat_session(event, leaver)
        response = await client.delete(
            f"/v1/events/{event.id}/rsvp", auth=leaver
        )
        assert response.status_code == 200
        assert await status_of(session) == (
            SessionStatus.STOPPING,
            EndReason.SEAT_LOST,
        )
        second = await factories.seat_session(event, waiting)
        assert second.owner_id == waiting.user.id
        with pytest.raises(NotEntitledError):
            await factories.seat_session(event, leaver)

    @pytest.mark.parametrize("deed", ["cancel", "delete", "unset"])
    async def test_nothing_granted_any_more(
        self, client: Client, event: Event, organiser: Member, deed: str
    ) -> None:
        await granted(client, event, organiser)
        session = await factories.seat_session(event, await guest(event))
        if deed == "cancel":
            response = await client.post(
                f"/v1/events/{event.id}/cancel", auth=organiser
            )
        elif deed == "delete":
            admin = await factories.admin()
            response = await client.delete(
                f"/v1/events/{event.id}", auth=admin
            )
        else:
            response = await client.delete(path(event), auth=organiser)
        assert response.is_success, response.text
        status, reason = await status_of(session)
        assert status is SessionStatus.STOPPING
        expected = (
            EndReason.ORGANISER
            if deed == "unset"
            else EndReason.EVENT_CANCELLED
        )
        assert reason is expected
        assert await seat_grants.find_grant(event.id) is None

    @pytest.mark.usefixtures("turns")
    async def test_leaving_while_starting_leaves_nothing(
        self, client: Client, organiser: Member
    ) -> None:
        await factories.gpus(20)
        event = await factories.event(
            organiser.actor,
            starts_at=utc_now() - HOUR,
            capacity=20,
            public=False,
        )
        await granted(client, event, organiser)
        members = [await guest(event) for _ in range(20)]

        async def leave(member: Member) -> None:
            await rsvps.leave(event.id, actor=member.actor)

        deeds = [
            deed
            for member in members
            for deed in (factories.seat_session(event, member), leave(member))
        ]
        results = await asyncio.gather(*deeds, return_exceptions=True)
        _require_expected(results)
        for session in await sessions.list_of_event(event.id):
            assert session.status is SessionStatus.STOPPING

    @pytest.mark.usefixtures("turns")
    async def test_taking_back_while_starting_leaves_nothing(
        self, client: Client, event: Event, organiser: Member
    ) -> None:
        await granted(client, event, organiser)
        members = [await guest(event) for _ in range(2)]
        results = await asyncio.gather(
            *(factories.seat_session(event, member) for member in members),
            event_compute.unset_compute(event.id, actor=organiser.actor),
            return_exceptions=True,
        )
        _require_expected(results)
        for session in await sessions.list_of_event(event.id):
            assert session.status is SessionStatus.STOPPING


def _require_expected(results: Sequence[object]) -> None:
    """Nothing went wrong but that somebody had no right any more."""
    faults = [each for each in results if isinstance(each, Exception)]
    for fault in faults:
        assert getattr(fault, "slug", "") in (
            "not-entitled",
            "event-compute-not-found",
            "event-not-found",
        ), repr(fault)
