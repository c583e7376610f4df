"""Tiers over HTTP: what they are, who is in them, what they limit."""

import asyncio
from typing import Any

import httpx
import pytest

from models.base import PageQuery
from models.sessions import SessionQuota
from tests import factories
from tests.factories import UNKNOWN_ID
from tests.problems import assert_problem
from utils import logins, session_quotas, tiers

Client = httpx.AsyncClient

LIMIT = {"path": "/v1/events", "limit": 10, "period_seconds": 60}


async def _entries(client: Client, target: str) -> list[dict[str, Any]]:
    reader = await factories.admin()
    response = await client.get(
        "/v1/audit", params={"target": target}, auth=reader
    )
    items: list[dict[str, Any]] = response.json()["items"]
    return items


class TestCreate:
    async def test_answers_the_tier(self, client: Client) -> None:
        admin = await factories.admin()
        body = {"name": "gold", "description": " Teachers "}
        response = await client.post("/v1/tiers", json=body, auth=admin)
        assert response.status_code == 201
        tier = response.json()
        assert (tier["name"], tier["description"]) == ("gold", "Teachers")
        assert tier["rate_limits"] == []
        read = await client.get("/v1/tiers/gold", auth=admin)
        assert read.json() == tier
        (entry,) = await _entries(client, tier["id"])
        assert entry["action"] == "tier.created"
        assert entry["actor_id"] == admin.user.id
        assert entry["facts"] == {"tier": "gold"}

    @pytest.mark.parametrize(
        "name", ["", "Gold", "g old", "-gold", "x" * 33, "gold\n", None, 7]
    )
    async def test_bad_name(self, client: Client, name: object) -> None:
        admin = await factories.admin()
        response = await client.post(
            "/v1/tiers", json={"name": name}, auth=admin
        )
        assert_problem(response, 422, "invalid-request")

    async def test_name_is_taken(self, client: Client) -> None:
        admin = await factories.admin()
        racing = [
            client.post("/v1/tiers", json={"name": "gold"}, auth=admin)
            for _ in range(5)
        ]
        responses = await asyncio.gather(*racing)
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [201, 409, 409, 409, 409]
        refused = next(r for r in responses if r.status_code == 409)
        assert_problem(refused, 409, "tier-exists")

    async def test_members_may_not(self, client: Client) -> None:
        member = await factories.member()
        response = await client.post(
            "/v1/tiers", json={"name": "gold"}, auth=member
        )
        assert_problem(response, 403, "forbidden")


class TestRead:
    async def test_members_may(self, client: Client) -> None:
        tier, member = await factories.tier(), await factories.member()
        listed = await client.get("/v1/tiers", auth=member)
        assert [item["id"] for item in listed.json()["items"]] == [tier.id]
        read = await client.get("/v1/tiers/gold", auth=member)
        assert read.json() == listed.json()["items"][0]
        (limit,) = read.json()["rate_limits"]
        assert (limit["path"], limit["limit"]) == ("*", 100)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/gold",
            "/gold/rate-limits",
            f"/gold/rate-limits/{UNKNOWN_ID}",
        ],
    )
    async def test_strangers_may_not(self, client: Client, path: str) -> None:
        response = await client.get(f"/v1/tiers{path}")
        assert_problem(response, 401, "not-authenticated")

    async def test_unknown(self, client: Client) -> None:
        member = await factories.member()
        for path in ("gold", "gold/rate-limits"):
            response = await client.get(f"/v1/tiers/{path}", auth=member)
            problem = assert_problem(response, 404, "tier-not-found")
            assert problem["tier"] == "gold"

    async def test_pages(self, client: Client) -> None:
        member = await factories.member()
        made = [await factories.tier(name) for name in ("c", "a", "b")]
        first = await client.get("/v1/tiers?limit=2", auth=member)
        cursor = first.json()["next_cursor"]
        rest = await client.get(f"/v1/tiers?cursor={cursor}", auth=member)
        items = first.json()["items"] + rest.json()["items"]
        assert [item["id"] for item in items] == [tier.id for tier in made]
        assert rest.json()["next_cursor"] is None


class TestUpdate:
    async def test_description(self, client: Client) -> None:
        tier, admin = await factories.tier(), await factories.admin()
        response = await client.patch(
            "/v1/tiers/gold", json={"description": "Teachers"}, auth=admin
        )
        assert response.json()["description"] == "Teachers"
        entry = (await _entries(client, tier.id))[0]
        assert entry["action"] == "tier.changed"
        assert entry["facts"] == {"description": " → Teachers"}

    async def test_task_quotas(self, client: Client) -> None:
        """What is left out stays, null is the default again."""
        tier, admin = await factories.tier(), await factories.admin()
        said = []
        for change in (
            {"queued": 7, "stored_mb": 9},
            {"running": 2, "queued": None},
        ):
            response = await client.patch(
                "/v1/tiers/gold", json={"task_quotas": change}, auth=admin
            )
            said.append(response.json()["task_quotas"])
        nothing = dict.fromkeys(("queued", "running", "stored", "stored_mb"))
        assert said == [
            nothing | {"queued": 7, "stored_mb": 9},
            nothing | {"running": 2, "stored_mb": 9},
        ]
        facts = [each["facts"] for each in await _entries(client, tier.id)][:2]
        assert facts == [
            {
                "task_quotas.queued": "7 → default",
                "task_quotas.running": "default → 2",
            },
            {
                "task_quotas.queued": "default → 7",
                "task_quotas.stored_mb": "default → 9",
            },
        ]

    async def test_session_quotas(self, client: Client) -> None:
        """They count for all who are in the tier, once they are handed out."""
        tier, admin = await factories.tier(), await factories.admin()
        for change in ({"sessions": 3}, {"gpu_hours_per_week": 2.5}):
            response = await client.patch(
                "/v1/tiers/gold", json={"session_quotas": change}, auth=admin
            )
        assert response.json()["session_quotas"] == {
            "sessions": 3, "gpu_hours_per_week": 2.5
        }  # fmt: skip
        entries = await _entries(client, tier.id)
        last, first = (entry["facts"] for entry in entries[:2])
        assert first == {"session_quotas.sessions": "default → 3"}
        assert last == {"session_quotas.gpu_hours_per_week": "default → 2.5"}
        usual = session_quotas.quota_of(None)
        try:
            await tiers.hand_out(session_quotas.apply)
            assert session_quotas.quota_of("gold") == SessionQuota(3, 2.5)
            assert session_quotas.quota_of("silver") == usual
        finally:
            session_quotas.apply([])

    @pytest.mark.parametrize(
        "quotas",
        [{"queued": 0}, {"running": "1"}, {"stored": 1.5}, {"tasks": 1}, None],
    )
    async def test_bad_task_quotas(
        self, client: Client, quotas: object
    ) -> None:
        await factories.tier()
        response = await client.patch(
            "/v1/tiers/gold",
            json={"task_quotas": quotas},
            auth=await factories.admin(),
        )
        assert_problem(response, 422, "invalid-request")

    async def test_name_stays(self, client: Client) -> None:
        await factories.tier()
        admin = await factories.admin()
        response = await client.patch(
            "/v1/tiers/gold", json={"name": "silver"}, auth=admin
        )
        assert_problem(response, 422, "invalid-request")

    async def test_stale(self, client: Client) -> None:
        await factories.tier()
        admin = await factories.admin()
        read = await client.get("/v1/tiers/gold", auth=admin)
        sent: dict[str, Any] = {
            "url": "/v1/tiers/gold",
            "json": {"description": "Teachers"},
            "headers": {"If-Match": read.headers["etag"]},
            "auth": admin,
        }
        assert (await client.patch(**sent)).status_code == 200
        response = await client.patch(**sent)
        assert_problem(response, 412, "precondition-failed")

    async def test_unknown(self, client: Client) -> None:
        admin = await factories.admin()
        response = await client.patch(
            "/v1/tiers/gold", json={"description": ""}, auth=admin
        )
        assert_problem(response, 404, "tier-not-found")

    async def test_members_may_not(self, client: Client) -> None:
        await factories.tier()
        member = await factories.member()
        for method in ("PATCH", "DELETE"):
            response = await client.request(
                method,
                "/v1/tiers/gold",
                json={} if method == "PATCH" else None,
                auth=member,
            )
            assert_problem(response, 403, "forbidden")


class TestDelete:
    async def test_is_gone(self, client: Client) -> None:
        tier, admin = await factories.tier(), await factories.admin()
        response = await client.delete("/v1/tiers/gold", auth=admin)
        assert response.status_code == 204
        again = await client.delete("/v1/tiers/gold", auth=admin)
        assert_problem(again, 404, "tier-not-found")
        entry = (await _entries(client, tier.id))[0]
        assert (entry["action"], entry["facts"]) == (
            "tier.deleted",
            {"tier": "gold"},
        )

    async def test_stays_while_it_has_members(self, client: Client) -> None:
        await factories.tier()
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"tier": "gold"}, auth=admin)
        response = await client.delete("/v1/tiers/gold", auth=admin)
        assert_problem(response, 409, "tier-in-use")
        await client.patch(path, json={"tier": None}, auth=admin)
        response = await client.delete("/v1/tiers/gold", auth=admin)
        assert response.status_code == 204

    @pytest.mark.usefixtures("turns")
    async def test_race_with_who_joins(self, client: Client) -> None:
        """Nobody is ever in a tier that is gone."""
        admin = await factories.admin()
        for _ in range(8):
            await factories.tier()
            member = await factories.member()
            path = f"/v1/users/{member.user.id}"
            deleted, joined = await asyncio.gather(
                client.delete("/v1/tiers/gold", auth=admin),
                client.patch(path, json={"tier": "gold"}, auth=admin),
            )
            answers = (deleted.status_code, joined.status_code)
            assert answers in {(204, 422), (409, 200)}
            await client.patch(path, json={"tier": None}, auth=admin)
            await client.delete("/v1/tiers/gold", auth=admin)


class TestMembers:
    async def test_is_shown_to_them_and_admins(self, client: Client) -> None:
        await factories.tier()
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        response = await client.patch(path, json={"tier": "gold"}, auth=admin)
        assert response.json()["tier"] == "gold"
        own = await client.get("/v1/users/me", auth=member)
        assert own.json()["tier"] == "gold"
        assert "tier" not in (await client.get(path)).json()
        entry = (await _entries(client, member.user.id))[0]
        assert entry["facts"] == {"tier": "none → gold"}

    async def test_counts_at_once_for_their_logins(
        self, client: Client
    ) -> None:
        await factories.tier()
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        token = member.tokens.access_token
        assert (await logins.authenticate(token)).tier is None
        await client.patch(path, json={"tier": "gold"}, auth=admin)
        assert (await logins.authenticate(token)).tier == "gold"
        form = {"username": member.user.email, "password": factories.PASSWORD}
        login = await client.post("/v1/auth/login", data=form)
        later = login.json()["access_token"]
        assert (await logins.authenticate(later)).tier == "gold"

    async def test_unknown_tier(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        response = await client.patch(
            f"/v1/users/{member.user.id}", json={"tier": "gold"}, auth=admin
        )
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", "tier"]
        assert "GET /v1/tiers" in problem["detail"]

    async def test_are_listed_by_tier(self, client: Client) -> None:
        await factories.tier()
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"tier": "gold"}, auth=admin)
        for tier, found in (("gold", [member.user.id]), ("silver", [])):
            listed = await client.get(f"/v1/users?tier={tier}", auth=admin)
            assert [user["id"] for user in listed.json()["items"]] == found

    async def test_members_choose_none(self, client: Client) -> None:
        await factories.tier()
        member = await factories.member()
        response = await client.patch(
            "/v1/users/me", json={"tier": "gold"}, auth=member
        )
        assert_problem(response, 422, "invalid-request")


class TestRateLimits:
    async def test_life_of_one(self, client: Client) -> None:
        tier, admin = await factories.tier(), await factories.admin()
        path = "/v1/tiers/gold/rate-limits"
        made = await client.post(path, json=LIMIT, auth=admin)
        assert made.status_code == 201
        limit = made.json()
        assert {key: limit[key] for key in LIMIT} == LIMIT
        own = f"{path}/{limit['id']}"
        assert (await client.get(own, auth=admin)).json() == limit
        changed = await client.patch(own, json={"limit": 7}, auth=admin)
        assert changed.json() == limit | {
            "limit": 7,
            "updated_at": changed.json()["updated_at"],
        }
        listed = await client.get(path, auth=admin)
        assert listed.json()["items"][1:] == [changed.json()]
        gone = await client.delete(own, auth=admin)
        assert gone.status_code == 204
        assert_problem(
            await client.get(own, auth=admin), 404, "rate-limit-not-found"
        )
        said = [
            (entry["action"], entry["facts"]["rate_limit"])
            for entry in await _entries(client, tier.id)
            if "rate_limit" in entry["facts"]
        ]
        assert said == [
            ("rate-limit.removed", "/v1/events 7/60 → none"),
            ("rate-limit.changed", "/v1/events 10/60 → /v1/events 7/60"),
            ("rate-limit.added", "none → /v1/events 10/60"),
            ("rate-limit.added", "none → * 100/60"),
        ]

    @pytest.mark.parametrize(
        "change",
        [
            {"path": "/v1/event"},
            {"path": "/v1/events/7"},
            {"path": "v1/events"},
            {"path": ""},
            {"path": {"$ne": ""}},
            {"limit": 0},
            {"limit": "10"},
            {"limit": 10**10},
            {"period_seconds": 0},
            {"period_seconds": 86_401},
            {"id": UNKNOWN_ID},
        ],
    )
    async def test_invalid(
        self, client: Client, change: dict[str, Any]
    ) -> None:
        tier, admin = await factories.tier(), await factories.admin()
        path = "/v1/tiers/gold/rate-limits"
        made = await client.post(path, json=LIMIT | change, auth=admin)
        assert_problem(made, 422, "invalid-request")
        own = f"{path}/{tier.limits[0].id}"
        changed = await client.patch(own, json=change, auth=admin)
        assert_problem(changed, 422, "invalid-request")

    async def test_says_how_a_path_is_written(self, client: Client) -> None:
        await factories.tier()
        admin = await factories.admin()
        response = await client.post(
            "/v1/tiers/gold/rate-limits",
            json=LIMIT | {"path": "/v1/events/{id}"},
            auth=admin,
        )
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", "path"]
        assert "did you mean /v1/events/{event_id}?" in problem["detail"]

    async def test_one_for_each_path(self, client: Client) -> None:
        tier, admin = await factories.tier(), await factories.admin()
        path = "/v1/tiers/gold/rate-limits"
        racing = [client.post(path, json=LIMIT, auth=admin) for _ in range(4)]
        responses = await asyncio.gather(*racing)
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [201, 409, 409, 409]
        response = await client.patch(
            f"{path}/{tier.limits[0].id}",
            json={"path": "/v1/events"},
            auth=admin,
        )
        problem = assert_problem(response, 409, "rate-limit-exists")
        assert problem["path"] == "/v1/events"

    async def test_stale(self, client: Client) -> None:
        tier, admin = await factories.tier(), await factories.admin()
        own = f"/v1/tiers/gold/rate-limits/{tier.limits[0].id}"
        read = await client.get(own, auth=admin)
        sent: dict[str, Any] = {
            "url": own,
            "json": {"limit": 9},
            "headers": {"If-Match": read.headers["etag"]},
            "auth": admin,
        }
        assert (await client.patch(**sent)).status_code == 200
        response = await client.patch(**sent)
        assert_problem(response, 412, "precondition-failed")

    async def test_unknown(self, client: Client) -> None:
        admin = await factories.admin()
        own = f"/v1/tiers/gold/rate-limits/{UNKNOWN_ID}"

        async def ask() -> list[httpx.Response]:
            return [
                await client.get(own, auth=admin),
                await client.patch(own, json={"limit": 1}, auth=admin),
                await client.delete(own, auth=admin),
            ]

        for response in await ask():
            assert_problem(response, 404, "tier-not-found")
        await factories.tier()
        for response in await ask():
            assert_problem(response, 404, "rate-limit-not-found")

    async def test_added_to_an_unknown_tier(self, client: Client) -> None:
        admin = await factories.admin()
        response = await client.post(
            "/v1/tiers/gold/rate-limits", json=LIMIT, auth=admin
        )
        assert_problem(response, 404, "tier-not-found")

    async def test_members_may_not_write(self, client: Client) -> None:
        tier, member = await factories.tier(), await factories.member()
        path = "/v1/tiers/gold/rate-limits"
        own = f"{path}/{tier.limits[0].id}"
        for response in (
            await client.post(path, json=LIMIT, auth=member),
            await client.patch(own, json={"limit": 1}, auth=member),
            await client.delete(own, auth=member),
        ):
            assert_problem(response, 403, "forbidden")

    async def test_pages(self, client: Client) -> None:
        await factories.tier()
        member, admin = await factories.member(), await factories.admin()
        path = "/v1/tiers/gold/rate-limits"
        for limited in ("/v1/events", "/v1/users", "/v1/images"):
            await client.post(path, json=LIMIT | {"path": limited}, auth=admin)
        first = await client.get(f"{path}?limit=3", auth=member)
        # What the walk has passed may go: nothing is skipped for that.
        gone = first.json()["items"][2]["id"]
        await client.delete(f"{path}/{gone}", auth=admin)
        cursor = first.json()["next_cursor"]
        rest = await client.get(f"{path}?cursor={cursor}", auth=member)
        paths = [item["path"] for item in rest.json()["items"]]
        assert paths == ["/v1/images"]
        assert rest.json()["next_cursor"] is None
        foreign = await client.get(f"/v1/tiers?cursor={cursor}", auth=member)
        assert_problem(foreign, 422, "invalid-request")

    async def test_whoever_applies_them_is_woken(self, client: Client) -> None:
        await factories.tier()
        admin = await factories.admin()
        tiers.changed.clear()
        await client.get("/v1/tiers/gold", auth=admin)
        await tiers.list_tiers(PageQuery())
        assert not tiers.changed.is_set()
        await client.post(
            "/v1/tiers/gold/rate-limits", json=LIMIT, auth=admin
        )
        assert tiers.changed.is_set()
