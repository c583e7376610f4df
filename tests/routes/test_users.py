"""Accounts and profiles over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from config import db, transactions
from models.base import new_id, utc_now
from models.exceptions import NotAuthenticatedError
from models.users import Role, UserCreate, UserUpdate
from tests import factories
from tests.commands import counted
from tests.factories import Member
from tests.problems import assert_problem
from utils import accounts, logins, users

Client = httpx.AsyncClient

_GUESSES = [timedelta(milliseconds=100), factories.HOUR, timedelta(days=2)]


class TestRegister:
    async def test_answers_the_account(self, client: Client) -> None:
        body = factories.registration(email="Ada@Example.org")
        response = await client.post("/v1/users", json=body)
        assert response.status_code == 201
        user = response.json()
        assert user["email"] == "Ada@example.org"
        assert user["role"] == "member"
        assert user["disabled"] is False
        assert "_id" not in user
        assert not any("password" in name for name in user)

    @pytest.mark.parametrize(
        "name",
        ["O'Neil", "José", "李", "Anne-Marie", "Ng", "ʻOkina", "نیک\u200cنام"],
    )
    async def test_names(self, client: Client, name: str) -> None:
        body = factories.registration(first_name=name, last_name=name)
        response = await client.post("/v1/users", json=body)
        assert response.status_code == 201
        assert response.json()["first_name"] == name

    @pytest.mark.parametrize(
        "change",
        [
            {"first_name": ""},
            {"first_name": "  "},
            {"first_name": "x" * 65},
            {"first_name": "Ada\u202e"},
            {"first_name": "A\nda"},
            {"first_name": "<>"},
            {"last_name": None},
            {"email": "ada"},
            {"email": "ada@localhost"},
            {"email": "Ada <ada@example.org>"},
            {"email": {"$ne": ""}},
            {"password": "tiny pw"},
            {"password": "x" * 129},
            {"password": "password123"},
            {"password": "Password123"},
            {"role": "admin"},
        ],
    )
    async def test_invalid(
        self, client: Client, change: dict[str, Any]
    ) -> None:
        body = factories.registration(**change)
        response = await client.post("/v1/users", json=body)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"][0] == "body"
        assert body["password"] not in response.text

    @pytest.mark.usefixtures("database")
    async def test_told_again(self) -> None:
        """A database that died before it answered had written it."""
        user = await users.prepare_user(UserCreate(**factories.registration()))
        for _ in range(2):
            assert await accounts.admit(user) == user

    async def test_taken_in_any_case(self, client: Client) -> None:
        await factories.member(email="ada@example.org")
        body = factories.registration(email="ADA@EXAMPLE.ORG")
        response = await client.post("/v1/users", json=body)
        problem = assert_problem(response, 409, "email-taken")
        assert problem["email"] == "ADA@example.org"

    async def test_fifty_at_once(self, client: Client) -> None:
        bodies = [
            factories.registration(
                email="ada@example.org" if n % 2 else "Ada@Example.org"
            )
            for n in range(50)
        ]
        responses = await asyncio.gather(
            *(client.post("/v1/users", json=body) for body in bodies)
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [201] + [409] * 49

    async def test_round_trips(self, client: Client) -> None:
        with counted() as commands:
            await client.post("/v1/users", json=factories.registration())
        assert commands == [
            "insert", "find", "insert", "insert", "commitTransaction"
        ]  # fmt: skip


class TestOwnAccount:
    async def test_read(self, client: Client) -> None:
        member = await factories.member()
        with counted() as commands:
            response = await client.get("/v1/users/me", auth=member)
        assert response.json()["email"] == member.user.email
        assert commands == ["find", "find"]

    async def test_change_names_and_links(self, client: Client) -> None:
        member = await factories.member()
        body = {"first_name": "Grace", "links": ["https://example.org/a?b"]}
        with counted() as commands:
            response = await client.patch(
                "/v1/users/me", json=body, auth=member
            )
        assert response.status_code == 200
        user = response.json()
        assert (user["first_name"], user["links"]) == ("Grace", body["links"])
        assert user["last_name"] == member.user.last_name
        assert commands == ["find", "find", "update"]

    async def test_change_email(self, client: Client) -> None:
        member = await factories.member()
        body = {
            "email": "new@example.org",
            "current_password": factories.PASSWORD,
        }
        response = await client.patch("/v1/users/me", json=body, auth=member)
        assert response.json()["email"] == "new@example.org"
        form = {"username": "new@example.org", "password": factories.PASSWORD}
        login = await client.post("/v1/auth/login", data=form)
        assert login.status_code == 200

    async def test_an_old_email_is_free(self, client: Client) -> None:
        body = factories.registration()
        member = await factories.member(email=body["email"])
        change = {
            "email": "new@example.org",
            "current_password": factories.PASSWORD,
        }
        await client.patch("/v1/users/me", json=change, auth=member)
        response = await client.post("/v1/users", json=body)
        assert response.status_code == 201

    async def test_change_email_to_a_taken_one(self, client: Client) -> None:
        member, other = await factories.member(), await factories.member()
        body = {
            "email": other.user.email.upper(),
            "current_password": factories.PASSWORD,
        }
        response = await client.patch("/v1/users/me", json=body, auth=member)
        assert_problem(response, 409, "email-taken")

    async def test_change_password(self, client: Client) -> None:
        member = await factories.member()
        form = {
            "username": member.user.email,
            "password": factories.PASSWORD,
        }
        other = (await client.post("/v1/auth/login", data=form)).json()
        body = {
            "password": "another long one",
            "current_password": factories.PASSWORD,
        }
        response = await client.patch("/v1/users/me", json=body, auth=member)
        assert response.status_code == 200
        mine = await client.get("/v1/auth/validate", auth=member)
        assert mine.status_code == 204
        headers = {"Authorization": f"Bearer {other['access_token']}"}
        others = await client.get("/v1/auth/validate", headers=headers)
        assert others.status_code == 401
        old = await client.post("/v1/auth/login", data=form)
        assert_problem(old, 401, "bad-credentials")

    async def test_killed_after_a_change_of_the_password(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The others are out, though nobody can repeat the change."""
        member = await factories.member()
        other = await logins.create_login(member.user, client="other")
        run = transactions.run

        async def run_and_die(work: Any, *, turn: str | None = None) -> Any:
            result = await run(work, turn=turn)
            if turn == member.user.id:
                raise SystemError("killed")
            return result

        monkeypatch.setattr(transactions, "run", run_and_die)
        change = UserUpdate(
            password=SecretStr("another long one"),
            current_password=SecretStr(factories.PASSWORD),
        )
        with pytest.raises(SystemError):
            await accounts.update_own(change, actor=member.actor, if_match=())
        with pytest.raises(NotAuthenticatedError):
            await logins.authenticate(other.access_token)
        response = await client.get("/v1/users/me", auth=member)
        assert response.status_code == 200

    async def test_of_two_changes_one_knows_the_password(
        self, client: Client
    ) -> None:
        member = await factories.member()
        responses = await asyncio.gather(
            *(
                client.patch(
                    "/v1/users/me",
                    json={
                        "password": f"another long one {n}",
                        "current_password": factories.PASSWORD,
                    },
                    auth=member,
                )
                for n in range(3)
            )
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [200, 403, 403]

    async def test_passwords_are_taken_as_typed(self, client: Client) -> None:
        """White space counts; how a keyboard composes an accent does not."""
        member = await factories.member(password="  caf\u00e9 au lait  ")
        for password, status in (
            ("  cafe\u0301 au lait  ", 200),
            ("caf\u00e9 au lait", 401),
        ):
            form = {"username": member.user.email, "password": password}
            login = await client.post("/v1/auth/login", data=form)
            assert login.status_code == status

    @pytest.mark.parametrize(
        "change", [{"email": "a@example.org"}, {"password": "a long new one"}]
    )
    async def test_needs_the_current_password(
        self, client: Client, change: dict[str, str]
    ) -> None:
        member = await factories.member()
        missing = await client.patch("/v1/users/me", json=change, auth=member)
        assert_problem(missing, 422, "invalid-request")
        body = {**change, "current_password": "wrong password"}
        wrong = await client.patch("/v1/users/me", json=body, auth=member)
        assert_problem(wrong, 403, "forbidden")
        me = await client.get("/v1/users/me", auth=member)
        assert me.json()["email"] == member.user.email

    async def test_guessing_the_password_is_limited(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = utc_now()
        monkeypatch.setattr("utils.attempts.utc_now", lambda: now)
        monkeypatch.setattr("utils.attempts._SLOWEST_SECONDS", 0.0)
        member = await factories.member()
        body = {"email": "a@example.org", "current_password": "wrong"}
        for _ in range(10):
            await client.patch("/v1/users/me", json=body, auth=member)
        response = await client.patch("/v1/users/me", json=body, auth=member)
        assert_problem(response, 429, "too-many-attempts")

    async def test_stale(self, client: Client) -> None:
        member = await factories.member()
        etag = (await client.get("/v1/users/me", auth=member)).headers["etag"]
        for status in (200, 412):
            response = await client.patch(
                "/v1/users/me",
                json={"first_name": "Grace"},
                headers={"If-Match": etag},
                auth=member,
            )
            assert response.status_code == status
        assert_problem(response, 412, "precondition-failed")

    async def test_racing_changes_lose_nothing(self, client: Client) -> None:
        member = await factories.member()
        changes: list[dict[str, Any]] = [
            {"first_name": "Grace"},
            {"last_name": "Hopper"},
            {"links": ["https://example.org"]},
        ]
        await asyncio.gather(
            *(
                client.patch("/v1/users/me", json=change, auth=member)
                for change in changes
            )
        )
        user = (await client.get("/v1/users/me", auth=member)).json()
        for change in changes:
            assert user.items() >= change.items()

    @pytest.mark.parametrize("method", ["GET", "PATCH"])
    async def test_needs_a_login(self, client: Client, method: str) -> None:
        response = await client.request(method, "/v1/users/me", json={})
        assert_problem(response, 401, "not-authenticated")


class TestPublicProfile:
    async def test_shows_no_more_than_it_should(self, client: Client) -> None:
        member = await factories.member()
        with counted() as commands:
            response = await client.get(f"/v1/users/{member.user.id}")
        assert set(response.json()) == {
            "id", "first_name", "last_name", "links", "image_id", "created_at"
        }  # fmt: skip
        assert commands == ["find"]

    async def test_unknown(self, client: Client) -> None:
        response = await client.get(f"/v1/users/{new_id()}")
        assert_problem(response, 404, "user-not-found")

    async def test_disabled(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"disabled": True}, auth=admin)
        assert_problem(await client.get(path), 404, "user-not-found")

    async def test_admins_see_and_match_the_whole(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        read = await client.get(path, auth=admin)
        assert read.json()["email"] == member.user.email
        for status in (200, 412):
            response = await client.patch(
                path,
                json={"disabled": True},
                headers={"If-Match": read.headers["etag"]},
                auth=admin,
            )
            assert response.status_code == status
        assert (await client.get(path, auth=admin)).json()["disabled"]


def _guess(each: timedelta) -> None:
    """Has lists of members guess how long each of them took to come."""
    # pylint: disable=protected-access
    oldest = utc_now() - timedelta(days=1)
    users._PACE[users.COLLECTION] = users._Pace(oldest, each)


async def _walk(
    client: Client, admin: Member, *, limit: int
) -> tuple[list[str], list[str]]:
    """All members' ids from page to page, and what was sent for them."""
    seen: list[str] = []
    params: dict[str, Any] = {"limit": limit}
    with counted() as commands:
        while "cursor" not in params or params["cursor"]:
            response = await client.get("/v1/users", params=params, auth=admin)
            page = response.json()
            seen += [user["id"] for user in page["items"]]
            params["cursor"] = page["next_cursor"]
    return seen, commands


class TestAdministration:
    @pytest.mark.parametrize("each", _GUESSES)
    async def test_list_pages_in_order(
        self, client: Client, each: timedelta
    ) -> None:
        """However far the queries guess that a page reaches."""
        _guess(each)
        admin = await factories.admin()
        members = [admin] + [await factories.member() for _ in range(4)]
        seen, commands = await _walk(client, admin, limit=2)
        assert seen == [member.user.id for member in members]
        if each == _GUESSES[-1]:
            assert commands == ["find", "aggregate"] * 3

    @pytest.mark.parametrize("each", _GUESSES)
    async def test_registered_at_once(
        self, client: Client, each: timedelta
    ) -> None:
        """From elsewhere, many at one time; no page leaves one out."""
        _guess(each)
        admin = await factories.admin()
        members = [await factories.member() for _ in range(9)]
        ids = sorted(member.user.id for member in members)
        at = utc_now() - factories.HOUR
        await db.collection("users").update_many(
            {"_id": {"$in": ids}}, {"$set": {"created_at": at}}
        )
        seen, _ = await _walk(client, admin, limit=2)
        assert seen == [*ids, admin.user.id]

    @pytest.mark.parametrize(
        ("params", "found"),
        [
            ({"q": "zoë"}, {"Zoé"}),
            ({"q": "ZO mul"}, {"Zoé"}),
            ({"q": "findme"}, {"Lena"}),
            ({"q": "oe"}, set()),
            ({"role": "admin"}, {"Root"}),
            ({"role": "admin", "q": "lena"}, set()),
        ],
    )
    async def test_filters(
        self, client: Client, params: dict[str, str], found: set[str]
    ) -> None:
        admin = await factories.admin(first_name="Root")
        await factories.member(first_name="Zoé", last_name="Müller")
        await factories.member(first_name="Lena", email="findme@example.org")
        response = await client.get("/v1/users", params=params, auth=admin)
        names = {user["first_name"] for user in response.json()["items"]}
        assert names == found

    async def test_new_role_counts_at_once(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        assert_problem(
            await client.get("/v1/users", auth=member), 403, "forbidden"
        )
        response = await client.patch(path, json={"role": "admin"}, auth=admin)
        assert response.json()["role"] == "admin"
        promoted = await client.get("/v1/users", auth=member)
        assert promoted.status_code == 200
        await client.patch(path, json={"role": "member"}, auth=admin)
        demoted = await client.get("/v1/users", auth=member)
        assert_problem(demoted, 403, "forbidden")

    async def test_disabling_ends_all_logins(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"disabled": True}, auth=admin)
        response = await client.get("/v1/auth/validate", auth=member)
        assert_problem(response, 401, "not-authenticated")

    async def test_not_yourself(self, client: Client) -> None:
        admin = await factories.admin()
        response = await client.patch(
            f"/v1/users/{admin.user.id}", json={"disabled": True}, auth=admin
        )
        assert_problem(response, 403, "forbidden")

    async def test_unknown(self, client: Client) -> None:
        admin = await factories.admin()
        response = await client.patch(
            f"/v1/users/{new_id()}", json={"role": "admin"}, auth=admin
        )
        assert_problem(response, 404, "user-not-found")

    async def test_members_may_not(self, client: Client) -> None:
        member = await factories.member()
        response = await client.patch(
            f"/v1/users/{member.user.id}", json={"role": "admin"}, auth=member
        )
        assert_problem(response, 403, "forbidden")

    async def test_racing_role_changes_agree_with_the_logins(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Promoted, demoted meanwhile, and the promotion told last."""
        member, admin = await factories.member(), await factories.admin()
        other = await factories.admin()
        path = f"/v1/users/{member.user.id}"
        tell = logins.change_standing_of
        demoted = False

        async def tell_late(
            user_id: str, *, role: Role, tier: str | None
        ) -> None:
            nonlocal demoted
            if role is Role.ADMIN and not demoted:
                demoted = True
                await client.patch(path, json={"role": "member"}, auth=other)
            await tell(user_id, role=role, tier=tier)

        monkeypatch.setattr(logins, "change_standing_of", tell_late)
        await client.patch(path, json={"role": "admin"}, auth=admin)
        stored = (await client.get(path, auth=admin)).json()["role"]
        acts = await client.get("/v1/users", auth=member)
        assert (stored, acts.status_code) == ("member", 403)

    async def test_login_that_races_with_disabling(
        self, client: Client
    ) -> None:
        admin = await factories.admin()
        for _ in range(5):
            member = await factories.member()
            form = {
                "username": member.user.email,
                "password": factories.PASSWORD,
            }
            login, _ = await asyncio.gather(
                client.post("/v1/auth/login", data=form),
                client.patch(
                    f"/v1/users/{member.user.id}",
                    json={"disabled": True},
                    auth=admin,
                ),
            )
            if login.status_code == 200:
                token = login.json()["access_token"]
                response = await client.get(
                    "/v1/auth/validate",
                    headers={"Authorization": f"Bearer {token}"},
                )
                assert response.status_code == 401

    async def test_role_is_stored(self, client: Client) -> None:
        admin = await factories.admin()
        me = await client.get("/v1/users/me", auth=admin)
        assert me.json()["role"] == Role.ADMIN
