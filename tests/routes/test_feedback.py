"""Feedback over HTTP: rate an event, change one's mind, and the average."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import httpx
import pytest

from config import db
from config.main import settings
from models.base import new_id
from models.events import Event
from models.users import Role, UserUpdate
from tests import factories
from tests.commands import counted
from tests.factories import HOUR, UNKNOWN_ID, Member
from tests.problems import assert_problem
from utils import events, feedback, organising, rsvps, users

Client = httpx.AsyncClient


async def _ongoing(guests: Sequence[Member] = (), **overrides: Any) -> Event:
    """An event that began an hour ago, where `guests` have seats."""
    now = {"starts_at": factories.at(-HOUR), "capacity": 100}
    event = await factories.event(**{**now, **overrides})
    for guest in guests:
        await rsvps.invite(
            event.id, user_id=guest.user.id, actor=factories.actor(Role.ADMIN)
        )
        await rsvps.join(event.id, actor=guest.actor)
    return event


async def _guest(**overrides: Any) -> tuple[Event, Member]:
    """An event that goes on, and a member who is there."""
    member = await factories.member()
    return await _ongoing([member], **overrides), member


async def _move(event: Event, by: timedelta) -> None:
    """Lets time pass: the event began so much earlier."""
    stored = db.get_client()[settings.mongo_db_name]["events"]
    times = {"starts_at": event.starts_at - by, "ends_at": event.ends_at - by}
    await stored.update_one({"_id": event.id}, {"$set": times})


def _path(event: Event) -> str:
    return f"/v1/events/{event.id}/feedback"


async def _rate(
    client: Client, event: Event, member: Member, rating: int = 5, **more: str
) -> dict[str, Any]:
    response = await client.post(
        _path(event), json={"rating": rating, **more}, auth=member
    )
    assert response.status_code == 201, response.text
    given: dict[str, Any] = response.json()
    return given


async def _list(client: Client, event: Event, **arguments: Any) -> Any:
    response = await client.get(_path(event), **arguments)
    assert response.status_code == 200, response.text
    return response.json()["items"]


async def _check_average(
    client: Client, event: Event, ratings: Sequence[int]
) -> None:
    """The event says, and keeps, what its feedback amounts to."""
    listed = await _list(client, event, params={"limit": 100})
    assert sorted(item["rating"] for item in listed) == sorted(ratings)
    shown = (await client.get(f"/v1/events/{event.id}")).json()["rating"]
    count = len(ratings)
    average = round(sum(ratings) / count, 2) if count else None
    assert shown == {"average": average, "count": count}
    stored = await events.load_event(event.id)
    assert (stored.rating_sum, stored.rating_count) == (sum(ratings), count)


class TestCreate:
    async def test_is_shown_and_counts(self, client: Client) -> None:
        event, member = await _guest()
        body = {"rating": 4, "comment": "Good.\nA bit crowded."}
        with counted() as commands:
            response = await client.post(_path(event), json=body, auth=member)
        assert response.status_code == 201
        given = response.json()
        assert given == {
            "id": given["id"],
            "event_id": event.id,
            "author": {
                "id": member.user.id,
                "first_name": "Ada",
                "last_name": "O'Neil",
            },
            "rating": 4,
            "comment": "Good.\nA bit crowded.",
            "created_at": given["created_at"],
            "updated_at": given["created_at"],
        }
        assert commands == [
            "find", "find", "find", "insert", "update", "commitTransaction",
            "find",
        ]  # fmt: skip
        await _check_average(client, event, [4])

    async def test_needs_no_comment(self, client: Client) -> None:
        event, member = await _guest()
        assert (await _rate(client, event, member))["comment"] == ""

    async def test_of_a_past_event(self, client: Client) -> None:
        event, member = await _guest()
        await _move(event, timedelta(days=100))
        await _rate(client, event, member, 3)
        await _check_average(client, event, [3])

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"comment": "Good."},
            {"rating": 0},
            {"rating": 6},
            {"rating": 4.5},
            {"rating": "5"},
            {"rating": True},
            {"rating": None},
            {"rating": {"$gt": 0}},
            {"rating": 5, "comment": None},
            {"rating": 5, "comment": "x" * 5001},
            {"rating": 5, "comment": "a\x00b"},
            {"rating": 5, "comment": "a\u202eb"},
            {"rating": 5, "author_id": new_id()},
        ],
    )
    async def test_invalid(self, client: Client, body: dict[str, Any]) -> None:
        event, member = await _guest()
        response = await client.post(_path(event), json=body, auth=member)
        assert_problem(response, 422, "invalid-request")
        await _check_average(client, event, [])

    async def test_twice(self, client: Client) -> None:
        event, member = await _guest()
        await _rate(client, event, member, 2)
        again = await client.post(_path(event), json={"rating": 5}, auth=member)
        problem = assert_problem(again, 409, "feedback-exists")
        assert problem["event_id"] == event.id
        await _check_average(client, event, [2])

    async def test_of_two_events(self, client: Client) -> None:
        event, member = await _guest()
        other = await _ongoing([member])
        await _rate(client, event, member, 1)
        await _rate(client, other, member, 5)
        await _check_average(client, event, [1])
        await _check_average(client, other, [5])

    @pytest.mark.parametrize("status", ["none", "invited", "waitlisted"])
    async def test_without_a_seat(self, client: Client, status: str) -> None:
        holder, member = await factories.member(), await factories.member()
        event = await _ongoing([holder], capacity=1)
        if status == "invited":
            host = factories.actor(Role.ADMIN)
            await rsvps.invite(event.id, user_id=member.user.id, actor=host)
        if status == "waitlisted":
            await rsvps.join(event.id, actor=member.actor)
        response = await client.post(
            _path(event), json={"rating": 1}, auth=member
        )
        assert_problem(response, 403, "forbidden")
        await _check_average(client, event, [])

    async def test_not_even_by_host_or_admin(self, client: Client) -> None:
        host, admin = await factories.admin(), await factories.admin()
        event = await _ongoing(by=host.actor)
        for caller in (host, admin):
            response = await client.post(
                _path(event), json={"rating": 5}, auth=caller
            )
            assert_problem(response, 403, "forbidden")

    async def test_before_the_start(self, client: Client) -> None:
        event, member = await _guest(starts_at=factories.at(HOUR))
        response = await client.post(
            _path(event), json={"rating": 5}, auth=member
        )
        problem = assert_problem(response, 409, "event-not-started")
        assert factories.parse(problem["starts_at"]) == event.starts_at
        await _move(event, 2 * HOUR)
        await _rate(client, event, member)

    @pytest.mark.parametrize("starts", [-HOUR, HOUR])
    async def test_cancelled(self, client: Client, starts: timedelta) -> None:
        event, member = await _guest(starts_at=factories.at(starts))
        await events.cancel(event.id, actor=factories.actor(Role.ADMIN))
        response = await client.post(
            _path(event), json={"rating": 5}, auth=member
        )
        problem = assert_problem(response, 409, "event-closed")
        assert problem["event_status"] == "cancelled"

    async def test_hidden_event(self, client: Client) -> None:
        event, guest = await _guest(public=False)
        stranger = await factories.member()
        for path in (_path(event), f"/v1/events/{UNKNOWN_ID}/feedback"):
            response = await client.post(
                path, json={"rating": 1}, auth=stranger
            )
            assert_problem(response, 404, "event-not-found")
        await _rate(client, event, guest)

    async def test_needs_a_login(self, client: Client) -> None:
        event = await _ongoing()
        response = await client.post(_path(event), json={"rating": 5})
        assert_problem(response, 401, "not-authenticated")


class TestList:
    async def test_order_and_pages(self, client: Client) -> None:
        members = [await factories.member(first_name=n) for n in "ABCDE"]
        event, other = await _ongoing(members), await _ongoing(members)
        for member in members:
            await _rate(client, event, member)
            await _rate(client, other, member)
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 2}
        while params.get("cursor", "") is not None:
            with counted() as commands:
                response = await client.get(_path(event), params=params)
            assert commands == ["find", "aggregate", "find"]
            page = response.json()
            seen += [item["author"]["first_name"] for item in page["items"]]
            params["cursor"] = page["next_cursor"]
        assert seen == ["E", "D", "C", "B", "A"]

    async def test_empty(self, client: Client) -> None:
        assert await _list(client, await _ongoing()) == []

    async def test_hidden_event(self, client: Client) -> None:
        event, guest = await _guest(public=False)
        given = await _rate(client, event, guest)
        stranger, admin = await factories.member(), await factories.admin()
        for caller in (guest, admin):
            assert await _list(client, event, auth=caller) == [given]
        for stranger_or_nobody in (None, stranger):
            response = await client.get(_path(event), auth=stranger_or_nobody)
            assert_problem(response, 404, "event-not-found")

    async def test_cursor_of_another_event(self, client: Client) -> None:
        members = [await factories.member() for _ in range(2)]
        event, other = await _ongoing(members), await _ongoing()
        for member in members:
            await _rate(client, event, member)
        page = await client.get(_path(event), params={"limit": 1})
        for cursor in (page.json()["next_cursor"], "x"):
            response = await client.get(_path(other), params={"cursor": cursor})
            assert_problem(response, 422, "invalid-request")


class TestRead:
    async def test_by_who_may_see_the_event(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member)
        path = f"/v1/feedback/{given['id']}"
        with counted() as commands:
            response = await client.get(path)
        assert response.json() == given
        assert commands == ["find", "find", "find"]
        again = await client.get(
            path, headers={"If-None-Match": response.headers["etag"]}
        )
        assert again.status_code == 304

    async def test_hidden_event(self, client: Client) -> None:
        event, guest = await _guest(public=False)
        given = await _rate(client, event, guest)
        path = f"/v1/feedback/{given['id']}"
        stranger, admin = await factories.member(), await factories.admin()
        for caller in (guest, admin):
            assert (await client.get(path, auth=caller)).json() == given
        for asked, stranger_or_nobody in (
            (path, None),
            (path, stranger),
            (f"/v1/feedback/{UNKNOWN_ID}", stranger),
        ):
            response = await client.get(asked, auth=stranger_or_nobody)
            assert_problem(response, 404, "feedback-not-found")

    async def test_name_of_today(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member)
        await users.update_user(
            UserUpdate(last_name="Lovelace"),
            actor=member.actor,
            confirmed=None,
            if_match=[],
        )
        read = await client.get(f"/v1/feedback/{given['id']}")
        assert read.json()["author"]["last_name"] == "Lovelace"


class TestUpdate:
    async def test_changes_what_is_sent(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 2, comment="Meh.")
        path = f"/v1/feedback/{given['id']}"
        with counted() as commands:
            response = await client.patch(path, json={"rating": 5}, auth=member)
        assert response.status_code == 200
        changed = response.json()
        assert changed["updated_at"] > given["updated_at"]
        assert changed == {
            **given, "rating": 5, "updated_at": changed["updated_at"],
        }  # fmt: skip
        assert (await client.get(path)).json() == changed
        assert commands == [
            "find", "find", "find", "find", "update", "update",
            "commitTransaction",
        ]  # fmt: skip
        await _check_average(client, event, [5])

    async def test_of_the_words_counts_nothing(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 3)
        response = await client.patch(
            f"/v1/feedback/{given['id']}",
            json={"comment": "Good after all."},
            auth=member,
        )
        assert response.json()["comment"] == "Good after all."
        await _check_average(client, event, [3])

    async def test_if_match(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 3)
        path = f"/v1/feedback/{given['id']}"
        etag = (await client.get(path)).headers["etag"]

        async def patch(rating: int, if_match: str) -> httpx.Response:
            return await client.patch(
                path,
                json={"rating": rating},
                headers={"If-Match": if_match},
                auth=member,
            )

        assert (await patch(4, etag)).status_code == 200
        assert_problem(await patch(1, etag), 412, "precondition-failed")
        assert_problem(await patch(1, '"x"'), 412, "precondition-failed")
        await _check_average(client, event, [4])
        present = (await client.get(path)).headers["etag"]
        racing = await asyncio.gather(*(patch(n, present) for n in (1, 2, 5)))
        statuses = sorted(response.status_code for response in racing)
        assert statuses == [200, 412, 412]

    async def test_by_others(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 1)
        path = f"/v1/feedback/{given['id']}"
        stranger, admin = await factories.member(), await factories.admin()
        for caller in (stranger, admin):
            response = await client.patch(path, json={"rating": 5}, auth=caller)
            assert_problem(response, 403, "forbidden")
        response = await client.patch(path, json={"rating": 5})
        assert_problem(response, 401, "not-authenticated")
        await _check_average(client, event, [1])

    async def test_hidden(self, client: Client) -> None:
        event, guest = await _guest(public=False)
        given = await _rate(client, event, guest)
        stranger = await factories.member()
        for feedback_id in (given["id"], UNKNOWN_ID):
            path = f"/v1/feedback/{feedback_id}"
            patch = await client.patch(path, json={}, auth=stranger)
            assert_problem(patch, 404, "feedback-not-found")
            delete = await client.delete(path, auth=stranger)
            assert_problem(delete, 404, "feedback-not-found")

    @pytest.mark.parametrize(
        "body",
        [
            {"rating": 0},
            {"rating": None},
            {"rating": 2.0},
            {"comment": "x" * 5001},
            {"event_id": UNKNOWN_ID},
        ],
    )
    async def test_invalid(self, client: Client, body: dict[str, Any]) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 3)
        path = f"/v1/feedback/{given['id']}"
        response = await client.patch(path, json=body, auth=member)
        assert_problem(response, 422, "invalid-request")
        assert (await client.get(path)).json() == given

    async def test_after_the_event_was_cancelled(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 5)
        await events.cancel(event.id, actor=factories.actor(Role.ADMIN))
        response = await client.patch(
            f"/v1/feedback/{given['id']}", json={"rating": 1}, auth=member
        )
        assert response.status_code == 200
        await _check_average(client, event, [1])


class TestDelete:
    async def test_by_its_author(self, client: Client) -> None:
        event, member = await _guest()
        other = await factories.member()
        await rsvps.join(event.id, actor=other.actor)
        await _rate(client, event, other, 4)
        given = await _rate(client, event, member, 1)
        path = f"/v1/feedback/{given['id']}"
        response = await client.delete(path, auth=member)
        assert response.status_code == 204
        again = await client.delete(path, auth=member)
        assert_problem(again, 404, "feedback-not-found")
        await _check_average(client, event, [4])
        await _rate(client, event, member, 2)
        await _check_average(client, event, [4, 2])

    async def test_by_an_admin_is_written_down(self, client: Client) -> None:
        event, member = await _guest()
        admin = await factories.admin()
        given = await _rate(client, event, member)
        response = await client.delete(
            f"/v1/feedback/{given['id']}",
            auth=admin,
            headers={"X-Request-ID": "the-request"},
        )
        assert response.status_code == 204
        await _check_average(client, event, [])
        audit = await client.get(
            "/v1/audit", params={"target": given["id"]}, auth=admin
        )
        (entry,) = audit.json()["items"]
        assert (
            entry.items()
            >= {
                "action": "feedback.deleted",
                "actor_id": admin.user.id,
                "address": "127.0.0.1",
                "request_id": "the-request",
                "facts": {
                    "event_id": event.id,
                    "author_id": member.user.id,
                },
            }.items()
        )

    async def test_ones_own_is_nobodys_business(self, client: Client) -> None:
        admin = await factories.admin()
        event = await _ongoing([admin])
        given = await _rate(client, event, admin)
        await client.delete(f"/v1/feedback/{given['id']}", auth=admin)
        audit = await client.get(
            "/v1/audit", params={"action": "feedback.deleted"}, auth=admin
        )
        assert audit.json()["items"] == []

    async def test_by_others(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member)
        path, stranger = f"/v1/feedback/{given['id']}", await factories.member()
        response = await client.delete(path, auth=stranger)
        assert_problem(response, 403, "forbidden")
        assert_problem(await client.delete(path), 401, "not-authenticated")
        await _check_average(client, event, [5])


async def _send(
    client: Client, method: str, path: str, body: Any, auth: Member
) -> httpx.Response:
    return await client.request(method, path, json=body, auth=auth)


@pytest.mark.usefixtures("turns")
class TestRaces:
    async def test_many_rate_at_once(self, client: Client) -> None:
        members = [await factories.member() for _ in range(30)]
        event = await _ongoing(members)
        ratings = [1 + n % 5 for n in range(30)]
        await asyncio.gather(
            *(
                _rate(client, event, member, rating)
                for member, rating in zip(members, ratings, strict=True)
            )
        )
        await _check_average(client, event, ratings)

    async def test_one_rates_many_times_at_once(self, client: Client) -> None:
        event, member = await _guest()
        responses = await asyncio.gather(
            *(
                _send(client, "POST", _path(event), {"rating": n}, member)
                for n in (1, 2, 3, 4, 5)
            )
        )
        statuses = [response.status_code for response in responses]
        assert sorted(statuses) == [201, 409, 409, 409, 409]
        rating = responses[statuses.index(201)].json()["rating"]
        await _check_average(client, event, [rating])

    async def test_deleted_many_times_at_once(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member)
        path, admin = f"/v1/feedback/{given['id']}", await factories.admin()
        responses = await asyncio.gather(
            *(client.delete(path, auth=who) for who in (member, admin) * 3)
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [204] + [404] * 5
        await _check_average(client, event, [])

    @pytest.mark.parametrize("seed", range(3))
    async def test_all_at_once(self, client: Client, seed: int) -> None:
        """Whatever wins, the average is that of what is left."""
        rng = Random(seed)
        members = [await factories.member() for _ in range(10)]
        event = await _ongoing(members)
        rated = members[:7]
        ids = {
            member.user.id: (await _rate(client, event, member))["id"]
            for member in rated
        }
        calls = [
            _send(client, "POST", _path(event), {"rating": 2}, member)
            for member in members * 2
        ]
        for member in rated:
            path = f"/v1/feedback/{ids[member.user.id]}"
            for _ in range(3):
                body = {"rating": rng.randint(1, 5)}
                calls.append(_send(client, "PATCH", path, body, member))
            if rng.random() < 0.6:
                calls.append(_send(client, "DELETE", path, None, member))
        rng.shuffle(calls)
        responses = await asyncio.gather(*calls)
        assert {r.status_code for r in responses} <= {200, 201, 204, 404, 409}
        listed = await _list(client, event, params={"limit": 100})
        await _check_average(client, event, [f["rating"] for f in listed])
        authors = [item["author"]["id"] for item in listed]
        assert len(authors) == len(set(authors))

    async def test_event_is_deleted_meanwhile(self, client: Client) -> None:
        members = [await factories.member() for _ in range(6)]
        event, admin = await _ongoing(members), await factories.admin()
        posts = [
            _send(client, "POST", _path(event), {"rating": 5}, member)
            for member in members
        ]
        delete = client.delete(f"/v1/events/{event.id}", auth=admin)
        responses = await asyncio.gather(*posts[:3], delete, *posts[3:])
        statuses = {response.status_code for response in responses}
        assert statuses <= {201, 204, 404}
        for member in members:
            assert await feedback.list_by(member.user.id) == []

    async def test_event_is_cancelled_meanwhile(self, client: Client) -> None:
        members = [await factories.member() for _ in range(6)]
        event, admin = await _ongoing(members), await factories.admin()
        posts = [
            _send(client, "POST", _path(event), {"rating": 5}, member)
            for member in members
        ]
        cancel = client.post(f"/v1/events/{event.id}/cancel", auth=admin)
        responses = await asyncio.gather(*posts[:3], cancel, *posts[3:])
        given = [r for r in responses if r.status_code == 201]
        assert {r.status_code for r in responses} <= {200, 201, 409}
        await _check_average(client, event, [5] * len(given))


@pytest.mark.parametrize("seed", range(6))
async def test_any_sequence(client: Client, seed: int) -> None:
    """After each step, the event agrees with a list that we keep ourselves."""
    rng = Random(seed)
    members = [await factories.member() for _ in range(3)]
    event = await _ongoing(members)
    expected: dict[str, tuple[str, int]] = {}
    for _ in range(25):
        member, rating = rng.choice(members), rng.randint(1, 5)
        known = expected.get(member.user.id)
        match rng.choice(["POST", "PATCH", "DELETE"]):
            case "POST":
                response = await client.post(
                    _path(event), json={"rating": rating}, auth=member
                )
                assert response.status_code == (409 if known else 201)
                if known is None:
                    given = response.json()["id"]
                    expected[member.user.id] = given, rating
            case "PATCH" if known is not None:
                await client.patch(
                    f"/v1/feedback/{known[0]}",
                    json={"rating": rating},
                    auth=member,
                )
                expected[member.user.id] = known[0], rating
            case "DELETE" if known is not None:
                await client.delete(f"/v1/feedback/{known[0]}", auth=member)
                del expected[member.user.id]
        ratings = [rating for _, rating in expected.values()]
        await _check_average(client, event, ratings)


class TestOfMembersAndEventsThatGo:
    async def test_closed_accounts(self, client: Client) -> None:
        """Their ratings stay, and nobody knows whose they were."""
        members = [await factories.member() for _ in range(3)]
        event = await _ongoing(members)
        for rating, member in enumerate(members, 1):
            await _rate(client, event, member, rating)
        for member in members[:2]:
            await feedback.blank_author(member.user.id)
        listed = await _list(client, event)
        authors = [item["author"] and item["author"]["id"] for item in listed]
        assert authors == [members[2].user.id, None, None]
        await _check_average(client, event, [1, 2, 3])
        assert await feedback.list_by(members[0].user.id) == []

    async def test_admin_deletes_what_nobody_wrote(
        self, client: Client
    ) -> None:
        event, member = await _guest()
        admin, given = (
            await factories.admin(),
            await _rate(client, event, member),
        )
        await feedback.blank_author(member.user.id)
        path = f"/v1/feedback/{given['id']}"
        own = await client.delete(path, auth=member)
        assert_problem(own, 403, "forbidden")
        response = await client.delete(path, auth=admin)
        assert response.status_code == 204
        await _check_average(client, event, [])

    async def test_all_of_a_member(self, client: Client) -> None:
        member = await factories.member()
        wanted = set()
        for _ in range(3):
            event = await _ongoing([member, await factories.member()])
            wanted.add((await _rate(client, event, member))["id"])
        found = await feedback.list_by(member.user.id)
        assert {one.id for one in found} == wanted

    async def test_leaving_keeps_it(self, client: Client) -> None:
        event, member = await _guest()
        given = await _rate(client, event, member, 2)
        await client.delete(f"/v1/events/{event.id}/rsvp", auth=member)
        await _check_average(client, event, [2])
        response = await client.patch(
            f"/v1/feedback/{given['id']}", json={"rating": 3}, auth=member
        )
        assert response.status_code == 200
        await _check_average(client, event, [3])

    async def test_deleted_event(self, client: Client) -> None:
        member = await factories.member()
        event, other = await _ongoing([member]), await _ongoing([member])
        given = await _rate(client, event, member)
        kept = await _rate(client, other, member)
        await organising.delete_event(
            event.id, actor=factories.actor(Role.ADMIN)
        )
        response = await client.get(f"/v1/feedback/{given['id']}")
        assert_problem(response, 404, "feedback-not-found")
        found = await feedback.list_by(member.user.id)
        assert [one.id for one in found] == [kept["id"]]
