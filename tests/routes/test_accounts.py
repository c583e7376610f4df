"""Closing an account and exporting it, over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from config import db
from models.base import new_id, utc_now
from models.closings import AccountClosure, Closing, OwnEvents
from models.events import Event
from models.feedback import FeedbackCreate
from models.logins import Actor
from models.mails import Mail, MailKind
from models.users import Role
from tests import factories
from tests.factories import HOUR, PASSWORD, Member
from tests.logged import logged
from tests.problems import assert_problem
from utils import closings, events, feedback, mails, rsvps
from utils.collections import declared_indexes

Client = httpx.AsyncClient
ME = "/v1/users/me"

# What stays of a member: what they did, and that they left.
_STAYS = {"audit", "closings"}


async def close(
    client: Client, member: Member, **overrides: Any
) -> httpx.Response:
    body = {"current_password": PASSWORD, **overrides}
    return await client.request("DELETE", ME, json=body, auth=member)


async def mentions(text: str) -> set[str]:
    """The collections in which a text stands anywhere, such as an id."""
    found = set()
    for name in declared_indexes():
        async for document in db.collection(name).find():
            if text in str(document).casefold():
                found.add(name)
    return found


async def started_event(by: Member, **overrides: Any) -> Event:
    return await factories.event(
        by.actor, starts_at=factories.at(-HOUR), **overrides
    )


async def lived(member: Member) -> Event:
    """Has a member leave traces everywhere; returns an event of another."""
    host = await factories.admin()
    other = await started_event(host, capacity=1)
    own = await factories.event(member.actor, public=False)
    for event in (other, own):
        await rsvps.join(event.id, actor=member.actor)
    await feedback.create_feedback(
        other.id, FeedbackCreate(rating=4, comment="Fine."), actor=member.actor
    )
    await factories.image(member.actor)
    await factories.task(member.actor)
    kind = MailKind.WELCOME
    await mails.queue(Mail(key="k", kind=kind, user_id=member.user.id))
    return other


class TestClose:
    async def test_nothing_is_left(self, client: Client) -> None:
        member = await factories.member()
        await lived(member)
        user_id = member.user.id
        assert {
            "users", "logins", "events", "rsvps", "feedback", "images", "mails",
            "tasks",
        } <= await mentions(user_id)  # fmt: skip
        response = await close(client, member)
        assert response.status_code == 204
        # An event keeps the id of who made it, which names nobody any more.
        assert await mentions(user_id) - _STAYS == {"events"}
        assert_problem(
            await client.get(f"/v1/users/{user_id}"), 404, "user-not-found"
        )

    async def test_email_is_forgotten(self, client: Client) -> None:
        body = factories.registration(email=f"Ada.{new_id()}@example.org")
        assert (await client.post("/v1/users", json=body)).status_code == 201
        form = {"username": body["email"], "password": PASSWORD}
        tokens = (await client.post("/v1/auth/login", data=form)).json()
        path = "/v1/auth/password-reset/request"
        for email in (body["email"], body["email"].upper()):
            response = await client.post(path, json={"email": email})
            assert response.status_code == 202
        email = body["email"].casefold()
        assert await mentions(email) == {"users", "mails"}
        response = await client.request(
            "DELETE",
            ME,
            json={"current_password": PASSWORD},
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
        )
        assert response.status_code == 204
        assert await mentions(email) == set()

    async def test_others_images_wait_for_the_sweep(
        self, client: Client
    ) -> None:
        member = await factories.member()
        mine = await factories.image(member.actor)
        other = await factories.image()
        await db.collection("images").update_many(
            {}, {"$set": {"due_at": utc_now() - HOUR}}
        )
        await close(client, member)
        assert await db.find_by_id("images", mine.id) is None
        assert await db.find_by_id("images", other.id) is not None

    async def test_logins_end(self, client: Client) -> None:
        member = await factories.member()
        await close(client, member)
        refused = await client.get(ME, auth=member)
        assert_problem(refused, 401, "not-authenticated")
        tokens = {"refresh_token": member.tokens.refresh_token}
        refused = await client.post("/v1/auth/refresh", json=tokens)
        assert_problem(refused, 401, "not-authenticated")
        form = {"username": member.user.email, "password": PASSWORD}
        refused = await client.post("/v1/auth/login", data=form)
        assert_problem(refused, 401, "bad-credentials")

    async def test_email_is_free(self, client: Client) -> None:
        member = await factories.member()
        await close(client, member)
        body = factories.registration(email=member.user.email)
        assert (await client.post("/v1/users", json=body)).status_code == 201

    async def test_next_in_line_gets_the_seat(self, client: Client) -> None:
        member, waiting = await factories.member(), await factories.member()
        event = await factories.event(capacity=1)
        for guest in (member, waiting):
            await rsvps.join(event.id, actor=guest.actor)
        await close(client, member)
        now = await rsvps.get_own(event.id, actor=waiting.actor)
        assert now.status == "going"
        event = await events.load_event(event.id)
        assert (event.seats_taken, event.waitlisted) == (1, 0)

    async def test_past_seat(self, client: Client) -> None:
        """Nobody is promoted to what is over."""
        member, waiting = await factories.member(), await factories.member()
        event = await factories.event(capacity=1)
        for guest in (member, waiting):
            await rsvps.join(event.id, actor=guest.actor)
        await events.cancel(event.id, actor=factories.actor(Role.ADMIN))
        await close(client, member)
        now = await rsvps.get_own(event.id, actor=waiting.actor)
        assert now.status == "waitlisted"
        event = await events.load_event(event.id)
        assert (event.seats_taken, event.waitlisted) == (0, 1)

    async def test_own_events_are_cancelled(self, client: Client) -> None:
        member = await factories.member()
        upcoming = await factories.event(member.actor)
        past = await factories.event(
            member.actor,
            starts_at=factories.at(-3 * HOUR),
            ends_at=factories.at(-HOUR),
        )
        await close(client, member)
        assert (await events.load_event(upcoming.id)).cancelled_at is not None
        assert (await events.load_event(past.id)).cancelled_at is None

    async def test_own_events_are_handed_over(self, client: Client) -> None:
        member, heir = await factories.member(), await factories.member()
        made = [await factories.event(member.actor) for _ in range(3)]
        response = await close(
            client, member, events="hand-over", heir_id=heir.user.id
        )
        assert response.status_code == 204
        for event in made:
            now = await events.load_event(event.id)
            assert now.creator_id == heir.user.id
            assert now.cancelled_at is None
        change = await client.patch(
            f"/v1/events/{made[0].id}", json={"title": "Mine"}, auth=heir
        )
        assert change.status_code == 200
        (told,) = await mails.list_of(heir.user.id)
        assert told.kind is MailKind.EVENT_HANDED_OVER

    async def test_handing_over_is_written_down(self, client: Client) -> None:
        member, heir = await factories.member(), await factories.member()
        event = await factories.event(member.actor)
        await close(client, member, events="hand-over", heir_id=heir.user.id)
        admin = await factories.admin()
        page = await client.get(
            "/v1/audit", params={"action": "event.handed-over"}, auth=admin
        )
        (entry,) = page.json()["items"]
        assert entry["actor_id"] == member.user.id
        assert entry["target_id"] == event.id
        assert entry["facts"] == {"heir": heir.user.id}

    @pytest.mark.usefixtures("database")
    async def test_what_the_heir_passed_on_stays(self) -> None:
        """Another worker hands over by a list that it read before."""
        member, heir = await factories.member(), await factories.member()
        third = await factories.member()
        event = await factories.event(member.actor)
        for giver, taker in ((member, heir), (heir, third), (member, heir)):
            await events.hand_over(
                event.id, leaver_id=giver.user.id, heir_id=taker.user.id
            )
        now = await events.load_event(event.id)
        assert now.creator_id == third.user.id
        assert now.revision != event.revision

    async def test_ratings_stay(self, client: Client) -> None:
        member = await factories.member()
        other = await lived(member)
        await close(client, member)
        event = await client.get(f"/v1/events/{other.id}")
        assert event.json()["rating"] == {"average": 4.0, "count": 1}
        page = await client.get(f"/v1/events/{other.id}/feedback")
        (said,) = page.json()["items"]
        assert (said["author"], said["comment"]) == (None, "Fine.")

    async def test_wrong_password(self, client: Client) -> None:
        member = await factories.member()
        refused = await close(client, member, current_password="not this one")
        assert_problem(refused, 403, "forbidden")
        assert (await client.get(ME, auth=member)).status_code == 200

    async def test_wrong_password_too_often(self, client: Client) -> None:
        member = await factories.member()
        for _ in range(4):
            await close(client, member, current_password="not this one")
        codes = await asyncio.gather(
            *(
                close(client, member, current_password="not this one")
                for _ in range(8)
            )
        )
        assert_problem(
            next(r for r in codes if r.status_code == 429),
            429,
            "too-many-attempts",
        )
        assert (await client.get(ME, auth=member)).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            {"events": "hand-over"},
            {"heir_id": factories.UNKNOWN_ID},
            {"events": "burn"},
            {"current_password": ""},
        ],
        ids=str,
    )
    async def test_bad_body(self, client: Client, body: dict[str, Any]) -> None:
        member = await factories.member()
        assert_problem(
            await close(client, member, **body), 422, "invalid-request"
        )
        assert (await client.get(ME, auth=member)).status_code == 200

    async def test_heir_must_be_there(self, client: Client) -> None:
        member, gone = await factories.member(), await factories.member()
        await close(client, gone)
        for heir_id in (
            factories.UNKNOWN_ID, member.user.id, gone.user.id
        ):  # fmt: skip
            refused = await close(
                client, member, events="hand-over", heir_id=heir_id
            )
            assert_problem(refused, 404, "user-not-found")
        assert (await client.get(ME, auth=member)).status_code == 200

    async def test_nobody(self, client: Client) -> None:
        body = {"current_password": PASSWORD}
        refused = await client.request("DELETE", ME, json=body)
        assert_problem(refused, 401, "not-authenticated")

    async def test_twice_at_once(self, client: Client) -> None:
        member = await factories.member()
        answers = await asyncio.gather(
            *(close(client, member) for _ in range(4))
        )
        codes = {answer.status_code for answer in answers}
        assert 204 in codes
        assert codes <= {204, 401, 404}
        assert await mentions(member.user.id) <= _STAYS

    async def test_audit(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        await close(client, member)
        page = await client.get(
            "/v1/audit",
            params={"target": member.user.id, "action": "account.closed"},
            auth=admin,
        )
        (entry,) = page.json()["items"]
        assert entry["actor_id"] == member.user.id


class TestCrash:
    """A process that dies halfway leaves the rest to the next one."""

    STEPS = [
        "events.list_created_by",
        "events.cancel",
        "rsvps.list_of",
        "rsvps.remove",
        "feedback.blank_author",
        "image_uses.delete_images_of",
        "mails.delete_mails_of",
        "one_time_tokens.delete_tokens_of",
        "users.delete_user",
    ]

    @pytest.mark.parametrize("step", STEPS)
    async def test_at(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        member = await factories.member()
        await lived(member)
        with monkeypatch.context() as patch:
            _break(patch, step)
            with pytest.raises(SystemError):
                await _close(member)
            refused = await client.get(ME, auth=member)
            assert_problem(refused, 401, "not-authenticated")
        await _age_closings()
        assert await closings.resume_closings() == 1
        assert await mentions(member.user.id) <= {"events", "audit"}
        assert await closings.resume_closings() == 0

    async def test_one_that_fails_holds_up_no_other(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        members = [await factories.member() for _ in range(3)]
        late = [await factories.event(member.actor) for member in members]
        for member in members:
            await db.collection("closings").insert_one(
                Closing(id=member.user.id, heir_id=None).dict()
            )
        await _age_closings()
        cancel = events.cancel

        async def cancel_or_fail(event_id: str, *, actor: Actor) -> Event:
            if event_id == late[0].id:
                raise ValueError("unheard of")
            return await cancel(event_id, actor=actor)

        monkeypatch.setattr(events, "cancel", cancel_or_fail)
        with logged("muster.closings") as log:
            assert await closings.resume_closings() == 2
        assert len(log) == 1 and "unheard of" in log[0]
        assert members[0].user.id in log[0]
        monkeypatch.undo()
        assert await closings.resume_closings() == 1
        for member in members:
            assert_problem(
                await client.get(f"/v1/users/{member.user.id}"),
                404,
                "user-not-found",
            )

    async def test_request_on_its_way(self, client: Client) -> None:
        """What a request did after the logins ended goes as well."""
        member = await factories.member()
        await close(client, member)
        event = await factories.event()
        await rsvps.join(event.id, actor=member.actor)
        late = await factories.event(member.actor)
        await _age_closings()
        await closings.resume_closings()
        assert (await events.load_event(event.id)).seats_taken == 0
        assert (await events.load_event(late.id)).cancelled_at is not None

    async def test_too_early(self, client: Client) -> None:
        await close(client, await factories.member())
        assert await closings.resume_closings() == 0

    async def test_heir_left_meanwhile(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        member, heir = await factories.member(), await factories.member()
        event = await factories.event(member.actor)
        with monkeypatch.context() as patch:
            _break(patch, "events.list_created_by")
            with pytest.raises(SystemError):
                await _close(
                    member, events=OwnEvents.HAND_OVER, heir_id=heir.user.id
                )
        await close(client, heir)
        await _age_closings()
        await closings.resume_closings()
        assert (await events.load_event(event.id)).cancelled_at is not None

    async def test_by_several_workers(self, client: Client) -> None:
        member = await factories.member()
        await lived(member)
        await close(client, member)
        await _age_closings()
        await asyncio.gather(*(closings.resume_closings() for _ in range(4)))
        assert await mentions(member.user.id) <= {"events", "audit"}


def _break(patch: pytest.MonkeyPatch, step: str) -> None:
    """Has a step fail as if the process had died there."""

    async def die(*_arguments: object, **_named: object) -> None:
        raise SystemError("killed")

    name = f"utils.closings.{step}"
    patch.setattr(name, die)
    steps = tuple(
        die if f"{s.__module__}.{s.__name__}" == f"utils.{step}" else s
        for s in closings._STEPS  # pylint: disable=protected-access
    )
    patch.setattr(closings, "_STEPS", steps)


async def _close(member: Member, **overrides: Any) -> None:
    """What the endpoint does."""
    wish = AccountClosure(current_password=SecretStr(PASSWORD), **overrides)
    await closings.close_account(wish, actor=member.actor)


async def _age_closings() -> None:
    """As if some minutes had passed."""
    await db.collection("closings").update_many(
        {}, {"$set": {"began_at": utc_now() - HOUR}}
    )


class TestExport:
    async def test_all_of_it(self, client: Client) -> None:
        member = await factories.member()
        other = await lived(member)
        response = await client.get(f"{ME}/export", auth=member)
        kept = response.json()
        assert kept["account"]["email"] == member.user.email
        assert len(kept["events"]) == len(kept["images"]) == 1
        assert len(kept["rsvps"]) == 2
        assert kept["feedback"][0]["event_id"] == other.id
        assert kept["mails"][0]["kind"] == "welcome"
        assert kept["logins"][0]["current"] is True
        assert kept["tasks"][0]["status"] == "succeeded"
        assert "account.exported" in str(kept["audit"])

    async def test_no_secrets(self, client: Client) -> None:
        member = await factories.member()
        response = await client.get(f"{ME}/export", auth=member)
        assert member.user.password_hash not in response.text
        assert "hash" not in response.text

    async def test_only_ones_own(self, client: Client) -> None:
        member, other = await factories.member(), await factories.member()
        await lived(other)
        response = await client.get(f"{ME}/export", auth=member)
        assert other.user.id not in response.text
        assert response.json()["events"] == response.json()["rsvps"] == []

    async def test_mails_to_the_address(self, client: Client) -> None:
        member = await factories.member()
        path = "/v1/auth/password-reset/request"
        await client.post(path, json={"email": member.user.email})
        response = await client.get(f"{ME}/export", auth=member)
        (mail,) = response.json()["mails"]
        assert mail["kind"] == "password-reset"

    async def test_who_else_did_it_is_their_own(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"role": "admin"}, auth=admin)
        response = await client.get(f"{ME}/export", auth=member)
        assert admin.user.id not in response.text
        entries = {e["action"]: e for e in response.json()["audit"]}
        theirs, own = entries["member.changed"], entries["account.exported"]
        assert theirs["target_id"] == own["actor_id"] == member.user.id
        for field in ("actor_id", "address", "request_id"):
            assert not theirs[field]
            assert own[field]

    async def test_nobody(self, client: Client) -> None:
        refused = await client.get(f"{ME}/export")
        assert_problem(refused, 401, "not-authenticated")
