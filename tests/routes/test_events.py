"""Events over HTTP: publish, read, change, cancel, decide."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from config import cache, db
from config.main import settings
from models.base import new_id, utc_now
from models.users import Role
from tests import factories
from tests.commands import counted
from tests.factories import HOUR
from tests.problems import assert_problem
from utils import events, rsvps

Client = httpx.AsyncClient


async def _ids(client: Client, **arguments: Any) -> set[str]:
    response = await client.get("/v1/events", **arguments)
    assert response.status_code == 200, response.text
    return {event["id"] for event in response.json()["items"]}


class TestCreate:
    async def test_by_a_member_waits(self, client: Client) -> None:
        member = await factories.member()
        body = factories.event_body()
        with counted() as commands:
            response = await client.post("/v1/events", json=body, auth=member)
        assert response.status_code == 201
        event = response.json()
        assert (
            event.items()
            >= {
                "title": body["title"],
                "tags": ["workshop"],
                "location": factories.PARIS,
                "online_url": None,
                "capacity": 20,
                "public": True,
                "links": [],
                "image_ids": [],
                "creator_id": member.user.id,
                "status": "upcoming",
                "approval": "pending",
                "seats_taken": 0,
                "waitlisted": 0,
                "rating": {"average": None, "count": 0},
            }.items()
        )
        assert "_id" not in event and "lookup" not in event
        assert commands == ["find", "insert"]

    @pytest.mark.parametrize(
        ("role", "public", "approval"),
        [
            (Role.MEMBER, False, "approved"),
            (Role.ADMIN, True, "approved"),
            (Role.ADMIN, False, "approved"),
        ],
    )
    async def test_approved_at_once(
        self, client: Client, role: Role, public: bool, approval: str
    ) -> None:
        creator = await factories.member(role)
        body = factories.event_body(public=public)
        response = await client.post("/v1/events", json=body, auth=creator)
        assert response.json()["approval"] == approval

    async def test_reads_back_as_answered(self, client: Client) -> None:
        admin = await factories.admin()
        body = factories.event_body(
            starts_at="2031-03-30T01:30:00.123456+01:00",
            ends_at="2031-03-30T03:30:00+02:00",
        )
        created = await client.post("/v1/events", json=body, auth=admin)
        read = await client.get(f"/v1/events/{created.json()['id']}")
        assert read.json() == created.json()

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            # The night in which Paris puts its clocks forward, and back.
            ("2031-03-30T01:59:59+01:00", "2031-03-30T00:59:59Z"),
            ("2031-03-30T03:00:00+02:00", "2031-03-30T01:00:00Z"),
            ("2031-10-26T02:30:00+02:00", "2031-10-26T00:30:00Z"),
            ("2031-10-26T02:30:00+01:00", "2031-10-26T01:30:00Z"),
            ("2031-05-01T00:00:00+14:00", "2031-04-30T10:00:00Z"),
            ("2031-05-01T00:00:00-12:00", "2031-05-01T12:00:00Z"),
            ("2031-05-01t05:45:00+05:45", "2031-05-01T00:00:00Z"),
            ("2031-05-01T00:00:00.5Z", "2031-05-01T00:00:00.500000Z"),
        ],
    )
    async def test_times_of_any_offset(
        self, client: Client, sent: str, kept: str
    ) -> None:
        admin = await factories.admin()
        body = factories.event_body(
            starts_at=sent, ends_at="2031-12-01T00:00:00Z"
        )
        response = await client.post("/v1/events", json=body, auth=admin)
        assert response.json()["starts_at"] == kept

    @pytest.mark.parametrize(
        ("change", "loc"),
        [
            ({"title": ""}, "title"),
            ({"title": "x" * 121}, "title"),
            ({"title": "a\x00b"}, "title"),
            ({"title": "a\nb"}, "title"),
            ({"title": "a\u202eb"}, "title"),
            ({"links": ["http://exa\nmple.org"]}, "links"),
            ({"links": ["https:example.org"]}, "links"),
            ({"links": ["http:\\\\evil.org"]}, "links"),
            ({"links": ['http://x/"><script>']}, "links"),
            ({"description": "x" * 10_001}, "description"),
            ({"starts_at": "2031-05-01T00:00:00"}, "starts_at"),
            ({"starts_at": "2031-05-01"}, "starts_at"),
            ({"starts_at": 1_900_000_000}, "starts_at"),
            ({"starts_at": "0001-01-01T00:00:00+14:00"}, "starts_at"),
            ({"starts_at": "2031-02-30T00:00:00Z"}, "starts_at"),
            ({"ends_at": factories.at(HOUR)}, None),
            ({"ends_at": factories.at(timedelta(days=400))}, None),
            (
                {
                    "starts_at": "2020-05-01T10:00:00Z",
                    "ends_at": "2020-05-01T11:00:00Z",
                },
                "ends_at",
            ),
            ({"public": 0}, "public"),
            ({"capacity": "20"}, "capacity"),
            ({"tags": ["party"]}, "tags"),
            ({"location": {"title": "x"}}, "location"),
            ({"location": {**factories.PARIS, "latitude": 91}}, "location"),
            ({"location": {**factories.PARIS, "z": 1}}, "location"),
            ({"online_url": "ftp://example.org"}, "online_url"),
            ({"links": ["javascript:alert(1)"]}, "links"),
            ({"links": ["https://example.org"] * 21}, "links"),
            ({"capacity": 0}, "capacity"),
            ({"capacity": 100_001}, "capacity"),
            ({"capacity": {"$gt": 0}}, "capacity"),
            ({"approval": "approved"}, "approval"),
            ({"creator_id": new_id()}, "creator_id"),
        ],
    )
    async def test_invalid(
        self, client: Client, change: dict[str, Any], loc: str | None
    ) -> None:
        admin = await factories.admin()
        body = factories.event_body(**change)
        response = await client.post("/v1/events", json=body, auth=admin)
        problem = assert_problem(response, 422, "invalid-request")
        locs = [error["loc"] for error in problem["errors"]]
        assert ["body"] == locs[0][:1]
        assert loc is None or locs[0][1] == loc
        assert await _ids(client, params={"mine": True}, auth=admin) == set()

    async def test_needs_a_login(self, client: Client) -> None:
        response = await client.post("/v1/events", json=factories.event_body())
        assert_problem(response, 401, "not-authenticated")


class TestRead:
    async def test_round_trips(self, client: Client) -> None:
        event, member = await factories.event(), await factories.member()
        path = f"/v1/events/{event.id}"
        with counted() as anonymous:
            await client.get(path)
        assert anonymous == ["find"]
        with counted() as kept:
            await client.get(path)
            await client.get(path, auth=member)
        assert kept == ["find"]
        cache.forget_all()
        with counted() as signed_in:
            await client.get(path, auth=member)
        assert signed_in == ["find", "find"]

    @pytest.mark.parametrize(
        ("starts", "ends", "status"),
        [
            (HOUR, 2 * HOUR, "upcoming"),
            (-HOUR, HOUR, "ongoing"),
            (-2 * HOUR, -HOUR, "past"),
        ],
    )
    async def test_status(
        self, client: Client, starts: timedelta, ends: timedelta, status: str
    ) -> None:
        event = await factories.event(
            starts_at=factories.at(starts), ends_at=factories.at(ends)
        )
        response = await client.get(f"/v1/events/{event.id}")
        assert response.json()["status"] == status

    async def test_unknown(self, client: Client) -> None:
        response = await client.get(f"/v1/events/{new_id()}")
        assert_problem(response, 404, "event-not-found")

    async def test_malformed_id(self, client: Client) -> None:
        response = await client.get("/v1/events/1")
        assert_problem(response, 422, "invalid-request")

    async def test_etag(self, client: Client) -> None:
        event = await factories.event()
        path = f"/v1/events/{event.id}"
        etag = (await client.get(path)).headers["etag"]
        for tags in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            again = await client.get(path, headers={"If-None-Match": tags})
            assert again.status_code == 304
            assert again.content == b""
            assert again.headers["etag"] == etag
        other = await client.get(path, headers={"If-None-Match": '"x"'})
        assert other.status_code == 200


class TestVisibility:
    """Hidden events are hidden on every reading path."""

    @pytest.mark.parametrize("state", ["pending", "denied", "private"])
    async def test_matrix(self, client: Client, state: str) -> None:
        creator, stranger = await factories.member(), await factories.member()
        admin = await factories.admin()
        event = await factories.event(
            by=creator.actor, public=state != "private"
        )
        if state == "denied":
            await events.deny(event.id, reason=None, actor=admin.actor)
        path = f"/v1/events/{event.id}"
        for viewer, sees in (
            (None, False), (stranger, False), (creator, True), (admin, True)
        ):  # fmt: skip
            read = await client.get(path, auth=viewer)
            assert read.status_code == (200 if sees else 404)
            for params in (
                {}, {"q": "numpy"}, {"tag": "workshop"}, {"near": "48.87,2.33"}
            ):  # fmt: skip
                found = await _ids(client, params=params, auth=viewer)
                assert found == set()
            if not sees:
                assert_problem(read, 404, "event-not-found")
        mine = await _ids(client, params={"mine": True}, auth=creator)
        assert mine == {event.id}
        others = await _ids(client, params={"mine": True}, auth=stranger)
        assert others == set()

    async def test_hidden_ones_can_not_be_changed(self, client: Client) -> None:
        creator, stranger = await factories.member(), await factories.member()
        event = await factories.event(by=creator.actor)
        path = f"/v1/events/{event.id}"
        change = await client.patch(path, json={"title": "x"}, auth=stranger)
        assert_problem(change, 404, "event-not-found")
        cancel = await client.post(f"{path}/cancel", auth=stranger)
        assert_problem(cancel, 404, "event-not-found")

    async def test_mine_needs_a_login(self, client: Client) -> None:
        response = await client.get("/v1/events", params={"mine": True})
        assert_problem(response, 401, "not-authenticated")


class TestUpdate:
    async def test_changes_what_is_sent(self, client: Client) -> None:
        creator = await factories.member()
        event = await factories.event(by=creator.actor, public=False)
        path = f"/v1/events/{event.id}"
        change = {"title": "NumPy for everybody", "location": None}
        with counted() as commands:
            response = await client.patch(path, json=change, auth=creator)
        assert response.status_code == 200
        changed = response.json()
        assert changed["title"] == "NumPy for everybody"
        assert changed["location"] is None
        assert changed["tags"] == ["workshop"]
        assert changed["updated_at"] > changed["created_at"]
        read = await client.get(path, auth=creator)
        assert read.json() == changed
        assert commands == ["find", "find", "update", "commitTransaction"]

    async def test_is_found_by_its_new_words_only(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        await client.patch(
            f"/v1/events/{event.id}", json={"title": "Pottery"}, auth=admin
        )
        assert await _ids(client, params={"q": "pott"}) == {event.id}
        assert await _ids(client, params={"q": "numpy"}) == set()

    async def test_if_match(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        path = f"/v1/events/{event.id}"
        etag = (await client.get(path)).headers["etag"]

        async def patch(title: str, if_match: str) -> httpx.Response:
            return await client.patch(
                path,
                json={"title": title},
                headers={"If-Match": if_match},
                auth=admin,
            )

        assert (await patch("one", etag)).status_code == 200
        assert_problem(await patch("two", etag), 412, "precondition-failed")
        assert_problem(
            await patch("two", "nonsense"), 412, "precondition-failed"
        )
        assert_problem(
            await patch("2", f"{etag}, *"), 412, "precondition-failed"
        )
        present = (await client.get(path)).headers["etag"]
        three = await patch("three", f'"x", {present}')
        assert three.json()["title"] == "three"
        # A change answers its tag, so that the next one needs no read.
        assert (await patch("4", three.headers["etag"])).status_code == 200
        assert (await patch("five", "*")).status_code == 200

    async def test_racing_editors_with_if_match(self, client: Client) -> None:
        """Each adds a link to what they read: none gets lost."""
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        path = f"/v1/events/{event.id}"

        async def add(link: str) -> None:
            while True:
                read = await client.get(path)
                response = await client.patch(
                    path,
                    json={"links": [*read.json()["links"], link]},
                    headers={"If-Match": read.headers["etag"]},
                    auth=admin,
                )
                if response.status_code == 200:
                    return
                assert_problem(response, 412, "precondition-failed")

        wanted = {f"https://example.org/{n}" for n in range(12)}
        await asyncio.gather(*(add(link) for link in wanted))
        links = (await client.get(path)).json()["links"]
        assert len(links) == 12
        assert set(links) == wanted

    async def test_racing_editors_of_other_fields(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        path = f"/v1/events/{event.id}"
        changes: list[dict[str, Any]] = [
            {"title": "Other"},
            {"capacity": 33},
            {"tags": ["food"]},
            {"description": "Another."},
            {"online_url": "https://example.org/call"},
        ]
        await asyncio.gather(
            *(client.patch(path, json=body, auth=admin) for body in changes)
        )
        read = (await client.get(path)).json()
        for change in changes:
            assert read.items() >= change.items()

    @pytest.mark.parametrize(
        "change",
        [
            {"ends_at": factories.at(HOUR)},
            {"starts_at": factories.at(timedelta(days=9))},
            {"starts_at": factories.at(timedelta(days=-400))},
            {
                "starts_at": "2001-05-01T10:00:00Z",
                "ends_at": "2001-05-01T11:00:00Z",
            },
            {"title": None},
            {"capacity": 0},
            {"status": "past"},
        ],
    )
    async def test_invalid(
        self, client: Client, change: dict[str, Any]
    ) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        path = f"/v1/events/{event.id}"
        before = (await client.get(path)).json()
        response = await client.patch(path, json=change, auth=admin)
        assert_problem(response, 422, "invalid-request")
        assert (await client.get(path)).json() == before

    async def test_capacity_below_seats(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        # Nobody can take a seat yet: put two taken ones there.
        stored = db.get_client()[settings.mongo_db_name]["events"]
        await stored.update_one({"_id": event.id}, {"$set": {"seats_taken": 2}})
        response = await client.patch(
            f"/v1/events/{event.id}", json={"capacity": 1}, auth=admin
        )
        problem = assert_problem(response, 409, "capacity-below-seats")
        assert problem["seats_taken"] == 2

    async def test_by_others(self, client: Client) -> None:
        stranger = await factories.member()
        event = await factories.event()
        path = f"/v1/events/{event.id}"
        response = await client.patch(path, json={}, auth=stranger)
        assert_problem(response, 403, "forbidden")
        assert_problem(
            await client.patch(path, json={}), 401, "not-authenticated"
        )

    async def test_past(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(
            by=admin.actor,
            starts_at=factories.at(-2 * HOUR),
            ends_at=factories.at(-HOUR),
        )
        response = await client.patch(
            f"/v1/events/{event.id}", json={"title": "x"}, auth=admin
        )
        problem = assert_problem(response, 409, "event-closed")
        assert problem["event_status"] == "past"

    @pytest.mark.parametrize("role", list(Role))
    async def test_publishing_asks_again(
        self, client: Client, role: Role
    ) -> None:
        creator = await factories.member(role)
        event = await factories.event(by=creator.actor, public=False)
        response = await client.patch(
            f"/v1/events/{event.id}", json={"public": True}, auth=creator
        )
        asked = "approved" if role is Role.ADMIN else "pending"
        assert response.json()["approval"] == asked

    async def test_an_admin_who_corrects_a_denied_one_decides_nothing(
        self, client: Client
    ) -> None:
        admin = await factories.admin()
        event = await factories.event(by=factories.actor())
        path = f"/v1/events/{event.id}"
        await client.post(f"{path}/deny", auth=admin)
        nothing = await client.patch(path, json={}, auth=admin)
        assert nothing.json()["approval"] == "denied"
        change = await client.patch(path, json={"title": "x"}, auth=admin)
        assert change.json()["approval"] == "pending"

    async def test_changing_a_denied_one_asks_again(
        self, client: Client
    ) -> None:
        creator, admin = await factories.member(), await factories.admin()
        event = await factories.event(by=creator.actor)
        path = f"/v1/events/{event.id}"
        body = {"reason": "Where is it?"}
        await client.post(f"{path}/deny", json=body, auth=admin)
        denied = (await client.get(path, auth=creator)).json()
        assert denied["denial_reason"] == "Where is it?"
        response = await client.patch(path, json={"title": "x"}, auth=creator)
        assert response.json()["approval"] == "pending"
        assert response.json()["denial_reason"] is None


class TestDenialReason:
    async def test_is_not_for_guests(self, client: Client) -> None:
        creator, admin = await factories.member(), await factories.admin()
        guest = await factories.member()
        event = await factories.event(by=creator.actor, public=False)
        await rsvps.invite(event.id, user_id=guest.user.id, actor=creator.actor)
        path = f"/v1/events/{event.id}"
        await client.patch(path, json={"public": True}, auth=creator)
        await client.post(f"{path}/deny", json={"reason": "No."}, auth=admin)
        shown = {}
        for member in (creator, admin, guest):
            response = await client.get(path, auth=member)
            shown[member.user.id] = response.json()["denial_reason"]
        assert shown == {
            creator.user.id: "No.", admin.user.id: "No.", guest.user.id: None
        }  # fmt: skip
        page = (await client.get("/v1/users/me/rsvps", auth=guest)).json()
        (own,) = page["items"]
        assert own["event"]["approval"] == "denied"
        assert own["event"]["denial_reason"] is None


class TestTellGuests:
    """Of changes, one mail when the minutes are over in which they came."""

    @pytest.fixture(autouse=True)
    def _at_noon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "utc_now", lambda: self.now)

    now = (utc_now() + timedelta(days=1)).replace(
        hour=12, minute=1, second=0, microsecond=0
    )

    async def _change(
        self, client: Client, starts_in: timedelta
    ) -> list[dict[str, Any]]:
        """The mails to the guests of an event whose link changes thrice."""
        creator = await factories.admin()
        event = await factories.event(
            by=creator.actor,
            starts_at=self.now + starts_in,
            ends_at=self.now + starts_in + HOUR,
        )
        await events.count_guests(event.id, going=1)
        path = f"/v1/events/{event.id}"
        for link in ("a", "b", "c"):
            body = {"online_url": f"https://example.org/{link}"}
            response = await client.patch(path, json=body, auth=creator)
            assert response.status_code == 200, response.text
        await client.post(f"{path}/cancel", auth=creator)
        mails = db.get_client()[settings.mongo_db_name]["mails"]
        return await mails.find({"guests_of": event.id}).to_list()

    async def test_once(self, client: Client) -> None:
        queued = await self._change(client, timedelta(days=1))
        due = {mail["kind"]: mail["due_at"] for mail in queued}
        assert len(queued) == 2
        assert due["event-cancelled"] == self.now
        assert HOUR / 15 <= due["event-changed"] - self.now < HOUR / 12

    async def test_soon(self, client: Client) -> None:
        """Who is on the way hears of each, at once."""
        queued = await self._change(client, HOUR)
        assert len(queued) == 4
        assert {mail["due_at"] for mail in queued} == {self.now}

    async def test_soon_but_put_off(self, client: Client) -> None:
        creator = await factories.admin()
        event = await factories.event(
            by=creator.actor, starts_at=self.now + HOUR / 2
        )
        await events.count_guests(event.id, going=1)
        later = str(event.starts_at + HOUR * 24)
        body = {"starts_at": later, "ends_at": str(event.ends_at + HOUR * 48)}
        response = await client.patch(
            f"/v1/events/{event.id}", json=body, auth=creator
        )
        assert response.status_code == 200, response.text
        mails = db.get_client()[settings.mongo_db_name]["mails"]
        (mail,) = await mails.find({"guests_of": event.id}).to_list()
        assert mail["due_at"] == self.now

    async def test_later_ones_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times = (self.now + n * HOUR / 6 for n in range(1000))
        monkeypatch.setattr(events, "utc_now", lambda: next(times))
        queued = await self._change(client, timedelta(days=30))
        kinds = [mail["kind"] for mail in queued]
        assert kinds.count("event-changed") == 3


class TestCancel:
    async def test_everybody_sees_it(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        path = f"/v1/events/{event.id}"
        with counted() as commands:
            response = await client.post(f"{path}/cancel", auth=admin)
        assert response.json()["status"] == "cancelled"
        assert (await client.get(path)).json()["status"] == "cancelled"
        assert await _ids(client) == set()
        found = await _ids(client, params={"status": "cancelled"})
        assert found == {event.id}
        assert commands == [
            "find",
            "find",
            "update",
            # What its seats grant.
            "find",
            "commitTransaction",
        ]

    async def test_twice(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=admin.actor)
        responses = await asyncio.gather(
            *(
                client.post(f"/v1/events/{event.id}/cancel", auth=admin)
                for _ in range(5)
            )
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [200] + [409] * 4

    async def test_by_others(self, client: Client) -> None:
        event = await factories.event()
        path = f"/v1/events/{event.id}/cancel"
        stranger = await factories.member()
        assert_problem(await client.post(path), 401, "not-authenticated")
        response = await client.post(path, auth=stranger)
        assert_problem(response, 403, "forbidden")


class TestDelete:
    async def test_is_gone(self, client: Client) -> None:
        admin, event = await factories.admin(), await factories.event()
        path = f"/v1/events/{event.id}"
        with counted() as commands:
            response = await client.delete(path, auth=admin)
        assert response.status_code == 204
        assert commands == [
            "find",
            "delete",
            "insert",
            # What its seats grant.
            "find",
            "delete",
            "delete",
            "commitTransaction",
        ]
        assert_problem(await client.get(path), 404, "event-not-found")
        again = await client.delete(path, auth=admin)
        assert_problem(again, 404, "event-not-found")

    async def test_not_even_by_its_creator(self, client: Client) -> None:
        creator = await factories.member()
        event = await factories.event(by=creator.actor)
        path = f"/v1/events/{event.id}"
        assert_problem(await client.delete(path), 401, "not-authenticated")
        response = await client.delete(path, auth=creator)
        assert_problem(response, 403, "forbidden")


class TestQueue:
    async def test_order_and_pages(self, client: Client) -> None:
        admin = await factories.admin()
        creator = factories.actor()
        waiting = [await factories.event(by=creator) for _ in range(5)]
        await factories.event(by=creator, public=False)
        await factories.event(
            by=creator,
            starts_at=factories.at(-2 * HOUR),
            ends_at=factories.at(-HOUR),
        )
        cancelled = await factories.event(by=creator)
        await events.cancel(cancelled.id, actor=creator)
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 2}
        while params.get("cursor", "") is not None:
            with counted() as commands:
                response = await client.get(
                    "/v1/events/queue", params=params, auth=admin
                )
            assert commands == ["find", "aggregate"]
            page = response.json()
            seen += [event["id"] for event in page["items"]]
            params["cursor"] = page["next_cursor"]
        assert seen == [event.id for event in waiting]

    async def test_approve(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=factories.actor())
        path = f"/v1/events/{event.id}"
        response = await client.post(f"{path}/approve", auth=admin)
        assert response.json()["approval"] == "approved"
        assert await _ids(client) == {event.id}
        for decision in ("approve", "deny"):
            again = await client.post(f"{path}/{decision}", auth=admin)
            assert_problem(again, 409, "already-decided")

    async def test_decisions_race(self, client: Client) -> None:
        admins = [await factories.admin() for _ in range(2)]
        event = await factories.event(by=factories.actor())
        responses = await asyncio.gather(
            *(
                client.post(f"/v1/events/{event.id}/{decision}", auth=admin)
                for decision in ("approve", "deny")
                for admin in admins
            )
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [200, 409, 409, 409]

    async def test_closed(self, client: Client) -> None:
        admin, creator = await factories.admin(), factories.actor()
        event = await factories.event(by=creator)
        await events.cancel(event.id, actor=creator)
        for decision in ("approve", "deny"):
            response = await client.post(
                f"/v1/events/{event.id}/{decision}", auth=admin
            )
            assert_problem(response, 409, "event-closed")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/events/queue"),
            ("POST", f"/v1/events/{factories.UNKNOWN_ID}/approve"),
            ("POST", f"/v1/events/{factories.UNKNOWN_ID}/deny"),
        ],
    )
    async def test_admins_only(
        self, client: Client, method: str, path: str
    ) -> None:
        member, admin = await factories.member(), await factories.admin()
        assert_problem(
            await client.request(method, path), 401, "not-authenticated"
        )
        response = await client.request(method, path, auth=member)
        assert_problem(response, 403, "forbidden")
        if method == "POST":
            unknown = await client.request(method, path, auth=admin)
            assert_problem(unknown, 404, "event-not-found")
