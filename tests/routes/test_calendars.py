"""Calendars over HTTP: feeds, the private feed, import."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import icalendar
import pytest
import recurring_ical_events

from config import db
from config.main import settings
from models.base import new_id, utc_now
from tests import factories
from tests.commands import counted
from tests.factories import HOUR, Member, calendar, calendar_entry
from tests.problems import assert_problem
from utils import calendar_files, calendars, events, rsvps

Client = httpx.AsyncClient

OWN = "/v1/users/me/calendar"
FEED = f"{OWN}.ics"
PACKAGES = [
    Path(str(package.__file__)).parent
    for package in (icalendar, recurring_ical_events)
]
SHIPPED = sorted(
    path for package in PACKAGES for path in package.rglob("*.ics")
)
# So many tests share them, for as many processes as there are.
PARTS = 12
NOTHING = {"created": 0, "updated": 0, "unchanged": 0, "problems": []}


async def _components(
    client: Client, path: str, **arguments: Any
) -> dict[str, Any]:
    """What a feed holds, by id, as the library reads it."""
    response = await client.get(path, **arguments)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/calendar; charset=utf-8"
    feed = icalendar.Calendar.from_ical(response.content)
    assert isinstance(feed, icalendar.Calendar)
    assert not any(component.errors for component in feed.walk())
    return {
        str(component["UID"]).removesuffix("@muster"): component
        for component in feed.events
    }


async def _import(
    client: Client, member: Member, *components: str
) -> dict[str, Any]:
    body = factories.calendar_request(*components)
    response = await client.post("/v1/events/import", auth=member, **body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


async def _mine(client: Client, member: Member) -> list[dict[str, Any]]:
    """All events of a member, the past and cancelled ones too."""
    query: dict[str, Any] = {
        "mine": True, "limit": 100,
        "status": ["upcoming", "ongoing", "past", "cancelled"],
    }  # fmt: skip
    response = await client.get("/v1/events", params=query, auth=member)
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def _only(client: Client, member: Member) -> dict[str, Any]:
    (event,) = await _mine(client, member)
    return event


async def _audited(member: Member) -> list[str]:
    """What the audit says of a member's calendar, the first deed first."""
    found = db.get_client()[settings.mongo_db_name]["audit"].find(
        {"target_id": member.user.id, "action": {"$regex": "^calendar"}},
        sort=[("at", 1)],
    )
    return [entry["action"] async for entry in found]


class TestFeed:
    async def test_holds_what_the_list_lists(self, client: Client) -> None:
        shown = [await factories.event() for _ in range(3)]
        await factories.event(by=factories.actor())
        await factories.event(by=factories.actor(), public=False)
        found = await _components(client, "/v1/events.ics")
        assert set(found) == {event.id for event in shown}
        assert found[shown[0].id]["SUMMARY"] == "NumPy for beginners"

    @pytest.mark.parametrize(
        "params",
        [
            {"near": "48.87,2.33", "radius_km": 5},
            {"near": "48.87,2.33", "sort": "starts_at"},
            {"q": "num begin"},
            {"tag": ["workshop", "food"]},
            {"starts_after": 30 * HOUR},
            {"starts_before": 30 * HOUR},
            {"status": "cancelled"},
            {"status": ["past", "upcoming"], "sort": "-starts_at"},
        ],
        ids=str,
    )
    async def test_all_filters(
        self, client: Client, params: dict[str, Any]
    ) -> None:
        admin = await factories.admin()
        later = {
            "starts_at": factories.at(40 * HOUR),
            "ends_at": factories.at(41 * HOUR),
        }
        before = {
            "starts_at": factories.at(-2 * HOUR),
            "ends_at": factories.at(-HOUR),
        }
        kinds: list[dict[str, Any]] = [
            {}, later, before, {"location": None}, {"tags": ["music"]},
            {"title": "Pottery"}, {**later, "tags": []},
        ]  # fmt: skip
        for fields in kinds:
            await factories.event(**fields)
        cancelled = await factories.event()
        await events.cancel(cancelled.id, actor=admin.actor)
        params = {
            name: factories.at(value) if isinstance(value, timedelta) else value
            for name, value in params.items()
        }
        listed = await client.get("/v1/events", params=params)
        ids = [event["id"] for event in listed.json()["items"]]
        found = await _components(client, "/v1/events.ics", params=params)
        assert list(found) == ids
        assert 0 < len(ids) < 8

    async def test_mine(self, client: Client) -> None:
        creator = await factories.member()
        event = await factories.event(by=creator.actor)
        await factories.event()
        query = {"mine": True}
        found = await _components(
            client, "/v1/events.ics", params=query, auth=creator
        )
        assert set(found) == {event.id}
        assert found[event.id]["STATUS"] == "TENTATIVE"
        anonymous = await client.get("/v1/events.ics", params=query)
        assert_problem(anonymous, 401, "not-authenticated")

    @pytest.mark.parametrize(
        "params",
        [{"near": "x"}, {"q": "…"}, {"limit": 5}, {"cursor": "x"}, {"x": 1}],
        ids=str,
    )
    async def test_invalid(
        self, client: Client, params: dict[str, Any]
    ) -> None:
        response = await client.get("/v1/events.ics", params=params)
        assert_problem(response, 422, "invalid-request")

    async def test_more_than_pages_hold(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By one query, and no more than a feed may hold."""
        all_ids = [
            (
                await factories.event(
                    starts_at=factories.at(n * HOUR),
                    ends_at=factories.at((n + 1) * HOUR),
                )
            ).id
            for n in range(1, 131)
        ]
        with counted() as commands:
            found = await _components(client, "/v1/events.ics")
        assert list(found) == all_ids
        assert commands == ["aggregate"]
        monkeypatch.setattr(calendars, "MOST_EVENTS", 120)
        with counted() as commands:
            found = await _components(client, "/v1/events.ics")
        assert list(found) == all_ids[:120]
        assert commands == ["aggregate"]

    async def test_etag(self, client: Client) -> None:
        event = await factories.event()
        for path in ("/v1/events.ics", f"/v1/events/{event.id}.ics"):
            etag = (await client.get(path)).headers["etag"]
            again = await client.get(path, headers={"If-None-Match": etag})
            assert again.status_code == 304

    async def test_wrong_method(self, client: Client) -> None:
        member, event = await factories.member(), await factories.event()
        for path in (f"/v1/events/{event.id}.ics", "/v1/events.ics"):
            for method in ("PATCH", "DELETE"):
                response = await client.request(
                    method, path, auth=await factories.admin(), json={}
                )
                assert_problem(response, 405, "method-not-allowed")
                assert response.headers["allow"] == "GET"
        response = await client.get("/v1/events/import", auth=member)
        assert_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == "POST"


class TestSingle:
    async def test_is_a_file(self, client: Client) -> None:
        event = await factories.event(title="Café; NumPy\\/ 2: 日本")
        response = await client.get(f"/v1/events/{event.id}.ics")
        assert response.headers["content-disposition"] == (
            'attachment; filename="Caf--NumPy---2.ics"; '
            "filename*=UTF-8''Caf%C3%A9--NumPy---2--%E6%97%A5%E6%9C%AC.ics"
        )
        found = await _components(client, f"/v1/events/{event.id}.ics")
        assert found[event.id]["SUMMARY"] == event.title

    async def test_follows_its_life(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        path = f"/v1/events/{event.id}"

        async def shown() -> tuple[str, int]:
            component = (await _components(client, f"{path}.ics"))[event.id]
            return component["STATUS"], component["SEQUENCE"]

        assert await shown() == ("CONFIRMED", 0)
        await client.patch(path, json={"title": "Other"}, auth=admin)
        assert await shown() == ("CONFIRMED", 0)
        later = {"ends_at": factories.at(timedelta(days=2))}
        await client.patch(path, json=later, auth=admin)
        assert await shown() == ("CONFIRMED", 1)
        await client.post(f"{path}/cancel", auth=admin)
        assert await shown() == ("CANCELLED", 2)

    async def test_is_seen_as_the_event_is(self, client: Client) -> None:
        creator, stranger = await factories.member(), await factories.member()
        event = await factories.event(by=creator.actor, public=False)
        path = f"/v1/events/{event.id}.ics"
        for viewer in (None, stranger):
            response = await client.get(path, auth=viewer)
            assert_problem(response, 404, "event-not-found")
        guest = await factories.member()
        await rsvps.invite(event.id, user_id=guest.user.id, actor=creator.actor)
        for viewer in (creator, guest, await factories.admin()):
            assert (await client.get(path, auth=viewer)).status_code == 200

    async def test_unknown(self, client: Client) -> None:
        response = await client.get(f"/v1/events/{new_id()}.ics")
        assert_problem(response, 404, "event-not-found")
        response = await client.get("/v1/events/x.ics")
        assert_problem(response, 422, "invalid-request")


class TestOwn:
    @staticmethod
    async def _open(client: Client, member: Member) -> dict[str, str]:
        response = await client.post(OWN, auth=member)
        assert response.status_code == 201
        opened: dict[str, str] = response.json()
        return opened

    @staticmethod
    async def _statuses(client: Client, url: str) -> dict[str, str]:
        found = await _components(client, url)
        return {key: str(event["STATUS"]) for key, event in found.items()}

    async def test_holds_the_members_events(self, client: Client) -> None:
        creator, admin = await factories.member(), await factories.admin()
        by = creator.actor
        private = await factories.event(by=by, public=False)
        pending, denied = [await factories.event(by=by) for _ in range(2)]
        await events.deny(denied.id, reason=None, actor=admin.actor)
        cancelled = await factories.event(by=by, public=False)
        await events.cancel(cancelled.id, actor=by)
        days = {
            n: await factories.event(
                by=by, public=False,
                starts_at=factories.at(timedelta(days=-n)),
                ends_at=factories.at(timedelta(days=-n) + HOUR),
            ) for n in (1, 89, 91)
        }  # fmt: skip
        await factories.event()
        url = (await self._open(client, creator))["url"]
        assert await self._statuses(client, url) == {
            private.id: "CONFIRMED",
            pending.id: "TENTATIVE",
            cancelled.id: "CANCELLED",
            days[1].id: "CONFIRMED",
            days[89].id: "CONFIRMED",
        }

    async def test_holds_what_the_member_goes_to(self, client: Client) -> None:
        guest, admin = await factories.member(), await factories.admin()
        kinds: list[dict[str, Any]] = [
            {}, {"capacity": 1}, {"public": False}, {"public": False}, {},
            {"starts_at": factories.at(timedelta(days=-91)),
             "ends_at": factories.at(HOUR)},
        ]  # fmt: skip
        first, full, private, invited, denied, old = [
            await factories.event(by=admin.actor, **fields) for fields in kinds
        ]
        await rsvps.join(full.id, actor=admin.actor)
        for event in (private, invited):
            await rsvps.invite(
                event.id, user_id=guest.user.id, actor=admin.actor
            )
        for event in (first, full, private, denied, old):
            await rsvps.join(event.id, actor=guest.actor)
        await db.get_client()[settings.mongo_db_name]["events"].update_one(
            {"_id": denied.id}, {"$set": {"approval": "denied"}}
        )
        url = (await self._open(client, guest))["url"]
        with counted() as commands:
            await client.get(url)
        assert commands == ["find", "aggregate", "find", "find"]
        assert await self._statuses(client, url) == {
            first.id: "CONFIRMED",
            full.id: "TENTATIVE",
            private.id: "CONFIRMED",
        }
        await rsvps.leave(first.id, actor=guest.actor)
        await events.cancel(private.id, actor=admin.actor)
        assert await self._statuses(client, url) == {
            full.id: "TENTATIVE",
            private.id: "CANCELLED",
        }

    async def test_address(self, client: Client) -> None:
        member = await factories.member()
        opened = await self._open(client, member)
        assert opened == {
            "token": opened["token"],
            "url": f"http://muster.test{FEED}?token={opened['token']}",
        }
        with counted() as commands:
            response = await client.get(opened["url"])
        assert commands == ["find", "aggregate", "find"]
        assert response.headers["cache-control"] == "private, no-cache"
        me = (await client.get("/v1/users/me", auth=member)).text
        assert "calendar" not in me and opened["token"] not in me
        stored = db.get_client()[settings.mongo_db_name]["users"]
        assert opened["token"] not in str(await stored.find_one())

    async def test_public_address(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever Host the request names."""
        site = "https://example.org/muster"
        changed = settings.model_copy(update={"public_url": site})
        monkeypatch.setattr("routes.calendars.settings", changed)
        member = await factories.member()
        response = await client.post(
            OWN, auth=member, headers={"Host": "evil.example"}
        )
        opened = response.json()
        assert opened["url"] == f"{site}{FEED}?token={opened['token']}"

    async def test_a_new_one_kills_the_old(self, client: Client) -> None:
        member = await factories.member()
        first = await self._open(client, member)
        second = await self._open(client, member)
        assert_problem(await client.get(first["url"]), 401, "not-authenticated")
        assert (await client.get(second["url"])).status_code == 200
        assert await _audited(member) == ["calendar.opened"] * 2

    async def test_revoked(self, client: Client) -> None:
        member, other = await factories.member(), await factories.member()
        opened = await self._open(client, member)
        others = await self._open(client, other)
        for _ in range(2):
            response = await client.delete(OWN, auth=member)
            assert response.status_code == 204
            assert_problem(
                await client.get(opened["url"]), 401, "not-authenticated"
            )
        assert (await client.get(others["url"])).status_code == 200
        assert (await _audited(member))[:2] == [
            "calendar.opened",
            "calendar.revoked",
        ]

    @pytest.mark.parametrize("token", [None, "", "x", "x" * 100])
    async def test_wrong_token(self, client: Client, token: str | None) -> None:
        await factories.member()
        params = {} if token is None else {"token": token}
        response = await client.get(FEED, params=params)
        assert_problem(response, 401, "not-authenticated")

    async def test_is_no_login(self, client: Client) -> None:
        """The login shows nothing here, and the token nothing elsewhere."""
        member = await factories.member()
        opened = await self._open(client, member)
        response = await client.get(FEED, auth=member)
        assert_problem(response, 401, "not-authenticated")
        headers = {"Authorization": f"Bearer {opened['token']}"}
        response = await client.get("/v1/users/me", headers=headers)
        assert_problem(response, 401, "not-authenticated")

    async def test_disabled_member(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        opened = await self._open(client, member)
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"disabled": True}, auth=admin)
        assert_problem(
            await client.get(opened["url"]), 401, "not-authenticated"
        )

    async def test_racing_openers(self, client: Client) -> None:
        """Each gets an address; in the end one of them is valid."""
        member = await factories.member()
        opened = await asyncio.gather(
            *(self._open(client, member) for _ in range(8))
        )
        answers = [await client.get(one["url"]) for one in opened]
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200] + [401] * 7

    async def test_needs_a_login(self, client: Client) -> None:
        for method in ("POST", "DELETE"):
            response = await client.request(method, OWN)
            assert_problem(response, 401, "not-authenticated")


class TestImport:
    async def test_once(self, client: Client) -> None:
        member = await factories.member()
        entry = calendar_entry(SUMMARY="Pottery", CATEGORIES="ART")
        with counted() as commands:
            result = await _import(client, member, entry)
        assert result == {**NOTHING, "created": 1}
        assert commands == ["find", "aggregate", "insert"]
        event = await _only(client, member)
        assert event.items() >= {
            "title": "Pottery", "tags": ["art"], "capacity": 100,
            "public": False, "approval": "approved", "status": "upcoming",
            "creator_id": member.user.id,
        }.items()  # fmt: skip
        assert "import_key" not in event
        stranger = await factories.member()
        response = await client.get(f"/v1/events/{event['id']}", auth=stranger)
        assert_problem(response, 404, "event-not-found")

    async def test_is_found_by_its_words(self, client: Client) -> None:
        member = await factories.member()
        await _import(client, member, calendar_entry(SUMMARY="Pottery"))
        found = await client.get(
            "/v1/events", params={"mine": True, "q": "pott"}, auth=member
        )
        assert len(found.json()["items"]) == 1

    async def test_twice(self, client: Client) -> None:
        """The member's own edits stay; the file has nothing new."""
        member = await factories.member()
        entries = [calendar_entry() for _ in range(250)]
        with counted() as commands:
            result = await _import(client, member, *entries)
        assert result == {**NOTHING, "created": 250}
        assert commands == ["find"] + ["aggregate", "insert"] * 3
        event = (await _mine(client, member))[0]
        edit = {"title": "Mine", "capacity": 7}
        await client.patch(f"/v1/events/{event['id']}", json=edit, auth=member)
        with counted() as commands:
            result = await _import(client, member, *entries)
        assert result == {**NOTHING, "unchanged": 250}
        assert commands == ["find"] + ["aggregate"] * 3
        now = await client.get(f"/v1/events/{event['id']}", auth=member)
        assert now.json().items() >= edit.items()

    async def test_changed(self, client: Client) -> None:
        """What the file says is taken over; what it does not say stays."""
        member = await factories.member()
        entries = [calendar_entry(UID=str(n)) for n in range(150)]
        await _import(client, member, *entries)
        one = (await _mine(client, member))[0]
        path = f"/v1/events/{one['id']}"
        edit = {"title": "Mine", "capacity": 7, "public": True}
        await client.patch(path, json=edit, auth=member)
        changed = [
            entry.replace("for beginners", "for all") for entry in entries
        ]
        with counted() as commands:
            result = await _import(client, member, *changed)
        assert result == {**NOTHING, "updated": 150}
        # What is known, whose seats grant sessions; the change itself; and
        # whose seats were granted some meanwhile.
        change = [
            "aggregate", "find", "aggregate", "update", "commitTransaction",
            "find",
        ]  # fmt: skip
        assert commands == ["find"] + change * 2
        now = (await client.get(path, auth=member)).json()
        assert now["title"] == "NumPy for all"
        assert (now["capacity"], now["public"]) == (7, True)
        assert now["approval"] == "pending"
        result = await _import(client, member, *changed)
        assert result == {**NOTHING, "unchanged": 150}

    async def test_moved_ones_say_so(self, client: Client) -> None:
        member = await factories.member()
        entry = calendar_entry(UID="1", DURATION="PT1H", DTEND=None)
        await _import(client, member, entry)
        event = await _only(client, member)
        later = f"{utc_now() + timedelta(days=3):%Y%m%dT%H%M%SZ}"
        entry = calendar_entry(
            UID="1", DURATION="PT1H", DTEND=None, DTSTART=later
        )
        assert (await _import(client, member, entry))["updated"] == 1
        path = f"/v1/events/{event['id']}.ics"
        component = (await _components(client, path, auth=member))[event["id"]]
        assert component["SEQUENCE"] == 1
        assert component["DTSTART"].to_ical() == later.encode()

    async def test_guests_are_told(self, client: Client) -> None:
        member = await factories.member()
        moved, gone, renamed = "moved", "gone", "renamed"
        await _import(
            client,
            member,
            *(calendar_entry(UID=u) for u in (moved, gone, renamed)),
        )
        for event in await _mine(client, member):
            await events.count_guests(event["id"], going=1)
        later = f"{utc_now() + timedelta(days=3):%Y%m%dT%H%M%SZ}"
        await _import(
            client,
            member,
            calendar_entry(UID=moved, DTSTART=later, DTEND=None),
            calendar_entry(UID=gone, STATUS="CANCELLED"),
        )
        mails = db.get_client()[settings.mongo_db_name]["mails"]
        kinds = [mail["kind"] async for mail in mails.find()]
        assert sorted(kinds) == ["event-cancelled", "event-changed"]

    async def test_cancelled_in_the_file(self, client: Client) -> None:
        member = await factories.member()
        unknown = calendar_entry(STATUS="CANCELLED")
        assert await _import(client, member, unknown) == NOTHING
        await _import(client, member, calendar_entry(UID="1"))
        gone = calendar_entry(UID="1", STATUS="CANCELLED")
        result = await _import(client, member, gone)
        assert result == {**NOTHING, "updated": 1}
        assert (await _only(client, member))["status"] == "cancelled"
        result = await _import(client, member, gone)
        assert result == {**NOTHING, "unchanged": 1}

    async def test_cancelled_here(self, client: Client) -> None:
        """It is not revived, and the member is told why."""
        member = await factories.member()
        entry = calendar_entry(UID="1")
        await _import(client, member, entry)
        event = await _only(client, member)
        path = f"/v1/events/{event['id']}"
        await client.post(f"{path}/cancel", auth=member)
        assert (await _import(client, member, entry))["unchanged"] == 1
        changed = calendar_entry(UID="1", SUMMARY="Other")
        result = await _import(client, member, changed)
        assert result.items() >= {"updated": 0, "unchanged": 0}.items()
        (problem,) = result["problems"]
        assert problem["uid"] == "1" and "cancelled" in problem["reason"]
        now = await _only(client, member)
        assert (now["status"], now["title"]) == ("cancelled", event["title"])

    async def test_over(self, client: Client) -> None:
        member = await factories.member()
        times = {"DTSTART": "20200501T163000Z", "DTEND": None}
        await _import(client, member, calendar_entry(UID="1", **times))
        assert (await _only(client, member))["status"] == "past"
        result = await _import(client, member, calendar_entry(UID="1"))
        assert "past" in result["problems"][0]["reason"]
        ahead = calendar_entry(UID="2")
        await _import(client, member, ahead)
        back = calendar_entry(UID="2", **times)
        result = await _import(client, member, back)
        assert "over" in result["problems"][0]["reason"]
        gone = calendar_entry(UID="1", STATUS="CANCELLED", **times)
        result = await _import(client, member, gone)
        assert "past" in result["problems"][0]["reason"]

    async def test_each_member_has_their_own(self, client: Client) -> None:
        one, other = await factories.member(), await factories.member()
        entry = calendar_entry()
        for member in (one, other):
            assert (await _import(client, member, entry))["created"] == 1
        assert (await _only(client, one))["creator_id"] == one.user.id

    async def test_handed_over_ones(self, client: Client) -> None:
        """What somebody else organises now, no file of mine changes."""
        member, heir = await factories.member(), await factories.member()
        await _import(client, member, calendar_entry(UID="1"))
        event = await _only(client, member)
        await events.hand_over(
            event["id"], leaver_id=member.user.id, heir_id=heir.user.id
        )
        changed = calendar_entry(UID="1", SUMMARY="Other")
        result = await _import(client, member, changed)
        assert "Another member" in result["problems"][0]["reason"]
        assert (await _only(client, heir))["title"] == event["title"]

    async def test_deleted_ones_come_back(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        entry = calendar_entry()
        await _import(client, member, entry)
        event = await _only(client, member)
        await client.delete(f"/v1/events/{event['id']}", auth=admin)
        assert (await _import(client, member, entry))["created"] == 1

    async def test_recurring(self, client: Client) -> None:
        member = await factories.member()
        start = (utc_now() + timedelta(days=1)).replace(hour=10)
        head: dict[str, str | None] = {
            "UID": "1", "DTEND": None, "DTSTART": f"{start:%Y%m%dT%H%M%SZ}",
            "RRULE": "FREQ=WEEKLY;COUNT=4",
        }  # fmt: skip
        result = await _import(client, member, calendar_entry(**head))
        assert result == {**NOTHING, "created": 4}
        week = f"{start + timedelta(days=7):%Y%m%dT%H%M%SZ}"
        moved = {"RECURRENCE-ID": week, "DTSTART": week, "SUMMARY": "Special"}
        exception = calendar_entry(**{**head, **moved, "RRULE": None})
        result = await _import(
            client, member, calendar_entry(**head), exception
        )
        assert result == {**NOTHING, "updated": 1, "unchanged": 3}
        hour_later = f"{start + HOUR:%Y%m%dT%H%M%SZ}"
        result = await _import(
            client, member, calendar_entry(**{**head, "DTSTART": hour_later})
        )
        assert result == {**NOTHING, "updated": 4}
        assert len(await _mine(client, member)) == 4

    async def test_broken_ones_are_reported(self, client: Client) -> None:
        member = await factories.member()
        result = await _import(
            client,
            member,
            calendar_entry(),
            calendar_entry(UID="bad", DTSTART="soon"),
            calendar_entry(),
        )
        problem = {"uid": "bad", "reason": "DTSTART can't be read"}
        assert result == {**NOTHING, "created": 2, "problems": [problem]}

    async def test_feed_comes_back(self, client: Client) -> None:
        """What one Muster gives, another member can take."""
        admin, member = await factories.admin(), await factories.member()
        await factories.event(
            by=admin.actor, online_url="https://meet.example/1",
            title="C:\\New; 1,2", description="One\nTwo",
        )  # fmt: skip
        feed = await client.get("/v1/events.ics")
        response = await client.post(
            "/v1/events/import", content=feed.content, auth=member,
            headers={"Content-Type": feed.headers["content-type"]},
        )  # fmt: skip
        assert response.json() == {**NOTHING, "created": 1}
        event = await _only(client, member)
        assert event.items() >= {
            "title": "C:\\New; 1,2", "description": "One\nTwo",
            "location": factories.PARIS, "tags": ["workshop"],
            "online_url": "https://meet.example/1",
        }.items()  # fmt: skip

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00" * 50])
    async def test_no_calendar(self, client: Client, content: bytes) -> None:
        member = await factories.member()
        response = await client.post(
            "/v1/events/import", content=content, auth=member,
            headers={"Content-Type": "text/calendar"},
        )  # fmt: skip
        problem = assert_problem(response, 422, "invalid-request")
        assert "BEGIN:VCALENDAR" in problem["detail"]

    @pytest.mark.parametrize(
        "content_type", ["", "text/plain", "application/json", "text/calendars"]
    )
    async def test_wrong_content_type(
        self, client: Client, content_type: str
    ) -> None:
        member = await factories.member()
        headers = {"Content-Type": content_type} if content_type else {}
        response = await client.post(
            "/v1/events/import", content=calendar(calendar_entry()),
            headers=headers, auth=member,
        )  # fmt: skip
        problem = assert_problem(response, 415, "unsupported-media-type")
        assert problem["expected"] == "text/calendar"

    async def test_too_large(self, client: Client) -> None:
        member = await factories.member()
        body = factories.calendar_request("X" * 1024 * 1024)
        response = await client.post("/v1/events/import", auth=member, **body)
        assert_problem(response, 413, "body-too-large")

    async def test_needs_a_login(self, client: Client) -> None:
        body = factories.calendar_request(calendar_entry())
        response = await client.post("/v1/events/import", **body)
        assert_problem(response, 401, "not-authenticated")

    async def test_takes_too_long(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader that the system had to end is the file's fault."""
        monkeypatch.setattr("utils.calendar_files._PATIENCE_SECONDS", 0)
        member = await factories.member()
        body = factories.calendar_request(calendar_entry())
        response = await client.post("/v1/events/import", auth=member, **body)
        problem = assert_problem(response, 422, "invalid-request")
        assert "too long" in problem["detail"]


class TestRaces:
    async def test_one_file_from_eight_clients(self, client: Client) -> None:
        """Each event is created once, and counted once."""
        member = await factories.member()
        entries = [calendar_entry() for _ in range(120)]
        results = await asyncio.gather(
            *(_import(client, member, *entries) for _ in range(8))
        )
        assert sum(result["created"] for result in results) == 120
        assert sum(result["unchanged"] for result in results) == 7 * 120
        assert all(result["updated"] == 0 for result in results)
        found = await _components(
            client, "/v1/events.ics", params={"mine": True}, auth=member
        )
        assert len(found) == 120

    async def test_changed_file_from_eight_clients(
        self, client: Client
    ) -> None:
        """All end with what the file says."""
        member = await factories.member()
        entries = [calendar_entry(UID=str(n)) for n in range(30)]
        await _import(client, member, *entries)
        changed = [e.replace("for beginners", "for all") for e in entries]
        results = await asyncio.gather(
            *(_import(client, member, *changed) for _ in range(8))
        )
        assert not any(r["created"] or r["problems"] for r in results)
        mine = await _mine(client, member)
        assert {event["title"] for event in mine} == {"NumPy for all"}
        assert len(mine) == 30

    async def test_import_against_editors(self, client: Client) -> None:
        """Editors change what no file says: nothing of theirs is lost."""
        member = await factories.member()
        entries = [calendar_entry(UID=str(n)) for n in range(20)]
        await _import(client, member, *entries)
        mine = await _mine(client, member)
        changed = [e.replace("for beginners", "for all") for e in entries]

        async def edit(event: dict[str, Any], capacity: int) -> None:
            response = await client.patch(
                f"/v1/events/{event['id']}",
                json={"capacity": capacity},
                auth=member,
            )
            assert response.status_code == 200, response.text

        result, *_ = await asyncio.gather(
            _import(client, member, *changed),
            *(edit(event, n + 1) for n, event in enumerate(mine)),
        )
        assert result == {**NOTHING, "updated": 20}
        now = {event["id"]: event for event in await _mine(client, member)}
        for n, event in enumerate(mine):
            assert now[event["id"]]["capacity"] == n + 1
            assert now[event["id"]]["title"] == "NumPy for all"

    async def test_overtaken_import_begins_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another change comes between its reading and its writing."""
        member = await factories.member()
        await _import(client, member, calendar_entry(UID="1"))
        event = await _only(client, member)
        replace_all, rounds = db.replace_all, 0

        async def overtaken(name: str, replacements: Any) -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 1:
                replacements = [({"revision": "x"}, replacements[0][1])]
            await replace_all(name, replacements)

        monkeypatch.setattr(db, "replace_all", overtaken)
        changed = calendar_entry(UID="1", SUMMARY="Other")
        result = await _import(client, member, changed)
        assert (result["updated"], rounds) == (1, 2)
        assert (await _only(client, member))["id"] == event["id"]


class TestShippedCalendars:
    """Real calendars, and odd ones, that the packages bring along."""

    def test_there_are_many(self) -> None:
        assert len(SHIPPED) > 250

    @pytest.mark.parametrize(
        "part",
        [
            0,
            1,
            *(
                pytest.param(part, marks=pytest.mark.long)
                for part in range(2, PARTS)
            ),
        ],
    )
    async def test_twice_is_like_once(
        self, client: Client, part: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # At midnight a year has other dates.
        now = datetime(2026, 11, 22, 12, tzinfo=UTC)
        monkeypatch.setattr(calendars, "utc_now", lambda: now)
        if part > 0:
            # Each reading is a process of its own, and gives the same: the
            # first part reads all anew.
            # pylint: disable-next=protected-access
            read_once = cache(calendar_files._run_reader)
            monkeypatch.setattr(calendar_files, "_run_reader", read_once)
        member = await factories.member()
        for path in SHIPPED[part::PARTS]:
            first, second = [
                await client.post(
                    "/v1/events/import",
                    content=path.read_bytes(),
                    headers={"Content-Type": "text/calendar"},
                    auth=member,
                )
                for _ in range(2)
            ]
            assert first.status_code == second.status_code, path
            if b"BEGIN:VCALENDAR" not in path.read_bytes():
                assert_problem(first, 422, "invalid-request")
                continue
            assert first.status_code == 200, f"{path}: {first.text}"
            once, twice = first.json(), second.json()
            assert (twice["created"], twice["updated"]) == (0, 0), path
            known = once["created"] + once["updated"] + once["unchanged"]
            assert twice["unchanged"] == known, path
