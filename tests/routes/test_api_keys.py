"""API keys over HTTP: make, list, revoke, use them."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from config import db
from models.audit import AuditAction
from models.base import utc_now
from models.scopes import Scope
from tests import factories
from tests.commands import counted
from tests.problems import assert_problem
from utils import api_keys

Client = httpx.AsyncClient


async def _create(
    client: Client, owner: factories.Member, **overrides: Any
) -> dict[str, Any]:
    body = {"name": "door scanner", **overrides}
    response = await client.post("/v1/api-keys", json=body, auth=owner)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def _ask(
    client: Client,
    key: str,
    path: str = "/v1/users/me",
    method: str = "GET",
    **more: Any,
) -> httpx.Response:
    return await client.request(
        method, path, headers={"X-API-Key": key}, **more
    )


@pytest.fixture(name="now")
def _now(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """How far ahead the keys' clock is."""
    ahead = [timedelta(0)]
    monkeypatch.setattr(api_keys, "utc_now", lambda: utc_now() + ahead[0])
    return ahead


class TestCreate:
    async def test_is_shown_once(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner)
        key_id = created["id"].replace("-", "")
        assert created["key"].startswith(f"mk_{key_id}_")
        assert created["scopes"] is created["expires_at"] is None
        assert created["last_used_at"] is None
        listed = (await client.get("/v1/api-keys", auth=owner)).json()["items"]
        assert listed == [{k: v for k, v in created.items() if k != "key"}]

    async def test_only_a_hash_is_kept(self, client: Client) -> None:
        created = await _create(client, await factories.member())
        document = await db.find_by_id("api_keys", created["id"])
        assert document is not None
        assert created["key"].rpartition("_")[2] not in str(document)

    async def test_scopes_are_a_set(self, client: Client) -> None:
        scopes = ["users:read", "events:read", "users:read"]
        created = await _create(
            client, await factories.member(), scopes=scopes
        )
        assert created["scopes"] == ["events:read", "users:read"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": " "},
            {"name": "x" * 65},
            {"name": "a\u202eb"},
            {"scopes": []},
            {"scopes": ["events:delete"]},
            {"expires_at": "2020-01-01T00:00:00Z"},
            {"expires_at": "2030-01-01"},
            {"user_id": factories.UNKNOWN_ID},
        ],
        ids=str,
    )
    async def test_refused(self, client: Client, wrong: dict[str, Any]) -> None:
        owner = await factories.member()
        body = {"name": "x", **wrong}
        response = await client.post("/v1/api-keys", json=body, auth=owner)
        assert_problem(response, 422, "invalid-request")

    async def test_strangers(self, client: Client) -> None:
        response = await client.post("/v1/api-keys", json={"name": "x"})
        assert_problem(response, 401, "not-authenticated")

    async def test_racing_for_the_last(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, turns: None
    ) -> None:
        del turns
        monkeypatch.setattr(api_keys, "MOST_KEYS", 3)
        owner = await factories.member()
        responses = await asyncio.gather(
            *(
                client.post("/v1/api-keys", json={"name": str(n)}, auth=owner)
                for n in range(8)
            )
        )
        statuses = [response.status_code for response in responses]
        assert statuses.count(201) == 3
        for response in responses:
            if response.status_code != 201:
                problem = assert_problem(response, 409, "too-many-api-keys")
                assert problem["limit"] == 3

    async def test_racing_with_a_disabling(
        self, client: Client, turns: None
    ) -> None:
        """Whichever comes first, no key of a disabled member is accepted."""
        del turns
        owner, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{owner.user.id}"
        *made, disabled = await asyncio.gather(
            *(
                client.post("/v1/api-keys", json={"name": "x"}, auth=owner)
                for _ in range(4)
            ),
            client.patch(path, json={"disabled": True}, auth=admin),
        )
        assert disabled.status_code == 200
        for response in made:
            assert response.status_code in (201, 401)
            if response.status_code == 201:
                refused = await _ask(client, response.json()["key"])
                assert_problem(refused, 401, "not-authenticated")


class TestUse:
    async def test_header_and_cookie(self, client: Client) -> None:
        owner = await factories.member()
        key = (await _create(client, owner))["key"]
        for headers in ({"X-API-Key": key}, {"Cookie": f"X-API-Key={key}"}):
            me = await client.get("/v1/users/me", headers=headers)
            assert me.json()["id"] == owner.user.id

    async def test_costs_one_read(self, client: Client) -> None:
        key = (await _create(client, await factories.member()))["key"]
        await _ask(client, key)
        with counted() as commands:
            await _ask(client, key)
        assert commands == ["find", "find"]

    async def test_wrong_ones(self, client: Client) -> None:
        created = await _create(client, await factories.member())
        key = created["key"]
        other = "A" if key[-1] != "A" else "B"
        unknown = f"mk_{'0' * 32}_{key.rpartition('_')[2][-43:]}"
        for wrong in (key[:-1] + other, key[:-1], key + "x", unknown, "x", ""):
            response = await _ask(client, wrong)
            assert_problem(response, 401, "not-authenticated")
            assert key[-43:] not in response.text

    async def test_public_reads_with_a_wrong_one(self, client: Client) -> None:
        response = await _ask(client, "mk_x", "/v1/events")
        assert_problem(response, 401, "not-authenticated")

    async def test_a_login_beside_it_says_who(self, client: Client) -> None:
        owner, other = await factories.member(), await factories.member()
        headers = {"X-API-Key": (await _create(client, owner))["key"]}
        me = await client.get("/v1/users/me", headers=headers, auth=other)
        assert me.json()["id"] == other.user.id

    async def test_expired(
        self, client: Client, now: list[timedelta]
    ) -> None:
        owner = await factories.member()
        expires_at = factories.at(factories.HOUR)
        key = (await _create(client, owner, expires_at=expires_at))["key"]
        assert (await _ask(client, key)).status_code == 200
        now[0] = factories.HOUR
        assert_problem(await _ask(client, key), 401, "not-authenticated")

    async def test_last_use_is_noted_once_a_minute(
        self,
        client: Client,
        now: list[timedelta],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        owner = await factories.member()
        created = await _create(client, owner)
        with counted() as commands:
            await asyncio.gather(
                *(_ask(client, created["key"]) for _ in range(10))
            )
        assert commands.count("update") == 1
        first = await self._last_used_at(client, owner)
        now[0] = timedelta(seconds=61)
        # Another worker, which has not seen that one used.
        monkeypatch.setattr(api_keys, "_noted", {})
        await _ask(client, created["key"])
        assert await self._last_used_at(client, owner) > first

    @staticmethod
    async def _last_used_at(client: Client, owner: factories.Member) -> str:
        page = await client.get("/v1/api-keys", auth=owner)
        return str(page.json()["items"][0]["last_used_at"])

    async def test_a_cookie_from_another_site(self, client: Client) -> None:
        owner = await factories.member()
        key = (await _create(client, owner))["key"]
        headers = {
            "Cookie": f"X-API-Key={key}",
            "Origin": "https://evil.example.org",
        }
        response = await client.post(
            "/v1/events", json=factories.event_body(), headers=headers
        )
        problem = assert_problem(response, 401, "not-authenticated")
        assert "header" in problem["detail"]


class TestScopes:
    async def test_reading_is_not_writing(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner, scopes=["events:read"])
        key = created["key"]
        assert (await _ask(client, key, "/v1/events")).status_code == 200
        response = await _ask(
            client, key, "/v1/events", "POST", json=factories.event_body()
        )
        problem = assert_problem(response, 403, "insufficient-scope")
        assert problem["needed_scope"] == "events:write"
        other = assert_problem(
            await _ask(client, key), 403, "insufficient-scope"
        )
        assert other["needed_scope"] == "users:read"

    async def test_writing_is_not_reading(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner, scopes=["events:write"])
        response = await _ask(
            client,
            created["key"],
            "/v1/events",
            "POST",
            json=factories.event_body(),
        )
        assert response.status_code == 201
        response = await _ask(client, created["key"], "/v1/events")
        assert_problem(response, 403, "insufficient-scope")

    async def test_head_is_reading(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner, scopes=["events:read"])
        response = await _ask(client, created["key"], "/v1/events", "HEAD")
        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/api-keys"),
            ("POST", "/v1/api-keys"),
            ("DELETE", f"/v1/api-keys/{factories.UNKNOWN_ID}"),
            ("GET", "/v1/auth/logins"),
            ("POST", "/v1/auth/logout-all"),
        ],
    )
    @pytest.mark.parametrize("scopes", [None, list(Scope)], ids=["no", "all"])
    async def test_no_key_will_do(
        self,
        client: Client,
        method: str,
        path: str,
        scopes: list[str] | None,
    ) -> None:
        created = await _create(
            client, await factories.member(), scopes=scopes
        )
        body = {"json": {"name": "x"}} if method == "POST" else {}
        response = await _ask(client, created["key"], path, method, **body)
        problem = assert_problem(response, 403, "insufficient-scope")
        assert problem["needed_scope"] is None
        assert "log in" in problem["detail"]


class TestAdmins:
    async def test_without_scopes_all_may_be_done(self, client: Client) -> None:
        admin = await factories.admin()
        key = (await _create(client, admin))["key"]
        for path in ("/v1/audit", "/v1/users", "/v1/events/queue"):
            assert (await _ask(client, key, path)).status_code == 200

    async def test_admins_affairs_need_their_scope(
        self, client: Client
    ) -> None:
        admin = await factories.admin()
        scopes = ["users:read", "events:read"]
        key = (await _create(client, admin, scopes=scopes))["key"]
        for path in ("/v1/audit", "/v1/users", "/v1/events/queue"):
            problem = assert_problem(
                await _ask(client, key, path), 403, "insufficient-scope"
            )
            assert problem["needed_scope"] == "admin:read"
        scopes = ["users:read", "admin:read"]
        key = (await _create(client, admin, scopes=scopes))["key"]
        for path in ("/v1/audit", "/v1/users"):
            assert (await _ask(client, key, path)).status_code == 200

    async def test_without_it_an_admin_is_a_member(
        self, client: Client
    ) -> None:
        """Also where an admin may see or do more than others."""
        admin = await factories.admin()
        event = await factories.event(factories.actor())
        path = f"/v1/events/{event.id}"
        for scopes, status in (
            (["events:read"], 404),
            (["events:read", "admin:write"], 404),
            (["events:read", "admin:read"], 200),
        ):
            key = (await _create(client, admin, scopes=scopes))["key"]
            assert (await _ask(client, key, path)).status_code == status

    async def test_members_gain_nothing(self, client: Client) -> None:
        owner = await factories.member()
        key = (await _create(client, owner, scopes=list(Scope)))["key"]
        response = await _ask(client, key, "/v1/audit")
        assert_problem(response, 403, "forbidden")


class TestMember:
    """A key follows what happens to its member."""

    async def test_role(self, client: Client) -> None:
        owner, admin = await factories.member(), await factories.admin()
        key = (await _create(client, owner))["key"]
        path = f"/v1/users/{owner.user.id}"
        await client.patch(path, json={"role": "admin"}, auth=admin)
        assert (await _ask(client, key, "/v1/audit")).status_code == 200
        await client.patch(path, json={"role": "member"}, auth=admin)
        response = await _ask(client, key, "/v1/audit")
        assert_problem(response, 403, "forbidden")

    async def test_disabled_and_back(self, client: Client) -> None:
        owner, admin = await factories.member(), await factories.admin()
        key = (await _create(client, owner))["key"]
        path = f"/v1/users/{owner.user.id}"
        await client.patch(path, json={"disabled": True}, auth=admin)
        assert_problem(await _ask(client, key), 401, "not-authenticated")
        await client.patch(path, json={"disabled": False}, auth=admin)
        assert (await _ask(client, key)).status_code == 200

    async def test_closed(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner)
        body = {"current_password": factories.PASSWORD}
        response = await client.request(
            "DELETE", "/v1/users/me", json=body, auth=owner
        )
        assert response.status_code == 204
        refused = await _ask(client, created["key"])
        assert_problem(refused, 401, "not-authenticated")
        assert await db.find_by_id("api_keys", created["id"]) is None

    async def test_export(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner)
        export = await client.get("/v1/users/me/export", auth=owner)
        [kept] = export.json()["api_keys"]
        assert kept["id"] == created["id"]
        assert "hash" not in str(kept)


class TestRevoke:
    async def test_counts_at_once(self, client: Client) -> None:
        owner = await factories.member()
        created = await _create(client, owner)
        path = f"/v1/api-keys/{created['id']}"
        response = await client.delete(path, auth=owner)
        assert response.status_code == 204
        refused = await _ask(client, created["key"])
        assert_problem(refused, 401, "not-authenticated")
        again = await client.delete(path, auth=owner)
        assert_problem(again, 404, "api-key-not-found")

    async def test_somebody_elses(self, client: Client) -> None:
        created = await _create(client, await factories.member())
        for other in (await factories.member(), await factories.admin()):
            response = await client.delete(
                f"/v1/api-keys/{created['id']}", auth=other
            )
            assert_problem(response, 404, "api-key-not-found")
        assert (await _ask(client, created["key"])).status_code == 200

    async def test_strangers(self, client: Client) -> None:
        path = f"/v1/api-keys/{factories.UNKNOWN_ID}"
        response = await client.delete(path)
        assert_problem(response, 401, "not-authenticated")

    async def test_is_written_down(self, client: Client) -> None:
        owner, admin = await factories.member(), await factories.admin()
        created = await _create(client, owner)
        await client.delete(f"/v1/api-keys/{created['id']}", auth=owner)
        for action in (
            AuditAction.API_KEY_CREATED,
            AuditAction.API_KEY_REVOKED,
        ):
            page = await client.get(
                "/v1/audit", params={"action": action}, auth=admin
            )
            [entry] = page.json()["items"]
            assert entry["target_id"] == entry["actor_id"] == owner.user.id
            assert entry["facts"]["key_id"] == created["id"]
            assert created["key"][-43:] not in page.text


class TestList:
    async def test_only_ones_own(self, client: Client) -> None:
        owner = await factories.member()
        await _create(client, await factories.member())
        made = [(await _create(client, owner))["id"] for _ in range(3)]
        listed, cursor = [], None
        while True:
            params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = await client.get("/v1/api-keys", params=params, auth=owner)
            listed += [key["id"] for key in page.json()["items"]]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        # Of one millisecond, any may be the older.
        assert sorted(listed) == sorted(made)

    async def test_strangers(self, client: Client) -> None:
        response = await client.get("/v1/api-keys")
        assert_problem(response, 401, "not-authenticated")
