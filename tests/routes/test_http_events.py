"""HTTP events: what admins see of the last requests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import db, http_events
from config.main import settings as muster
from config.origin import SERVER_ID, Origin
from models.base import utc_now
from tests import factories
from tests.factories import Member
from tests.logged import logged
from tests.problems import assert_problem
from utils import http_events as ring

LIST = "/v1/http-events"


@pytest_asyncio.fixture(name="admin")
async def _admin(client: httpx.AsyncClient) -> Member:
    """An admin, in front of an empty ring."""
    del client
    http_events.recent.take()
    return await factories.admin()


async def _list(
    client: httpx.AsyncClient, admin: Member, **params: Any
) -> list[dict[str, Any]]:
    response = await client.get(LIST, auth=admin, params=params)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def _paths(
    client: httpx.AsyncClient, admin: Member, **params: Any
) -> list[str]:
    return [
        item["request"]["path"]
        for item in await _list(client, admin, **params)
        if item["request"]["path"] != LIST
    ]


async def _read(
    client: httpx.AsyncClient, admin: Member, response: httpx.Response
) -> dict[str, Any]:
    request_id = response.headers["x-request-id"]
    found = await client.get(f"{LIST}/{request_id}", auth=admin)
    assert found.status_code == 200, found.text
    event: dict[str, Any] = found.json()
    return event


class TestList:
    async def test_what_is_seen(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        event = await factories.event()
        http_events.recent.take()
        asked = await client.get(
            f"/v1/events/{event.id}?x=1", headers={"X-Request-ID": "one"},
            auth=admin,
        )  # fmt: skip
        (seen,) = await _list(client, admin)
        assert seen["request_id"] == "one"
        assert seen["info"]["server_id"] == SERVER_ID
        assert seen["info"]["client"] == "127.0.0.1"
        assert seen["request"] | {"headers": []} == {
            "method": "GET",
            "path": f"/v1/events/{event.id}",
            "route": "/v1/events/{event_id}",
            "query": "x=1",
            "headers": [],
            "size": 0,
            "member_id": admin.user.id,
        }
        assert ["authorization", "***"] in seen["request"]["headers"]
        assert seen["response"]["status"] == 200
        assert seen["response"]["size"] == len(asked.content)
        assert ["x-request-id", "one"] in seen["response"]["headers"]
        assert seen["response"]["duration_ms"] > 0
        assert seen["database"]["names"] == ["find", "find"]
        assert seen["database"]["commands"] == 2
        assert 0 < seen["database"]["duration_ms"]
        assert seen["error"] is None

    async def test_sizes_of_bodies(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        body = b'{"title": "x"}'
        await client.post("/v1/events", content=body, auth=admin)
        (seen,) = await _list(client, admin)
        assert seen["request"]["size"] == len(body)
        assert "title" not in str(seen["request"])

    async def test_filters(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        member = await factories.member()
        await client.get("/v1/events", auth=member)
        await client.get("/v1/nowhere")
        await client.post("/v1/events", json={}, auth=admin)
        await client.head("/v1/events")
        await asyncio.sleep(0.01)
        since = utc_now().isoformat()
        await client.get("/v1/events")
        asked: list[tuple[dict[str, Any], list[str]]] = [
            ({"method": "POST"}, ["/v1/events"]),
            ({"route": "/v1/events"}, ["/v1/events"] * 4),
            ({"status": "404"}, ["/v1/nowhere"]),
            ({"status": "4xx"}, ["/v1/events", "/v1/nowhere"]),
            ({"status": "2xx", "method": "HEAD"}, ["/v1/events"]),
            ({"member": member.user.id}, ["/v1/events"]),
            ({"min_ms": 100_000}, []),
            ({"since": since}, ["/v1/events"]),
        ]
        for params, paths in asked:
            assert await _paths(client, admin, **params) == paths, params

    async def test_pages(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        for number in range(5):
            await client.get(f"/v1/nowhere/{number}")
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 2, "status": "404"}
        while True:
            page = (await client.get(LIST, auth=admin, params=params)).json()
            seen += [item["request"]["path"][-1] for item in page["items"]]
            params["cursor"] = page["next_cursor"]
            if params["cursor"] is None:
                break
        assert seen == list("43210")

    async def test_the_oldest_leave(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        for number in range(muster.http_events_max + 10):
            await client.get(f"/v1/nowhere/{number}")
            if number % 7 == 0:
                await ring.store_recent()
        await ring.store_recent()
        kept = await _paths(client, admin, limit=100)
        most = muster.http_events_max
        assert kept == [
            f"/v1/nowhere/{number}" for number in range(most + 9, 9, -1)
        ]

    async def test_who_watches_the_service_is_left_out(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        await client.get("/health/live")
        assert await _list(client, admin) == []

    async def test_who_may_not(self, client: httpx.AsyncClient) -> None:
        member = await factories.member()
        for path in (LIST, f"{LIST}/one"):
            assert_problem(await client.get(path), 401, "not-authenticated")
            response = await client.get(path, auth=member)
            assert_problem(response, 403, "forbidden")

    @pytest.mark.parametrize(
        "params", [{"status": "9xx"}, {"cursor": "x"}, {"min_ms": -1}]
    )
    async def test_bad_questions(
        self, client: httpx.AsyncClient, admin: Member, params: dict[str, Any]
    ) -> None:
        response = await client.get(LIST, auth=admin, params=params)
        assert_problem(response, 422, "invalid-request")


class TestRead:
    async def test_unknown(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        response = await client.get(f"{LIST}/unknown", auth=admin)
        problem = assert_problem(response, 404, "http-event-not-found")
        assert problem["http_event_id"] == "unknown"

    async def test_the_latest_of_one_id(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        headers = {"X-Request-ID": "twice"}
        await client.get("/v1/events", headers=headers)
        response = await client.get("/v1/nowhere", headers=headers)
        event = await _read(client, admin, response)
        assert event["request"]["path"] == "/v1/nowhere"

    async def test_faults(
        self,
        client: httpx.AsyncClient,
        admin: Member,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("token=s3cret by\nzero")

        monkeypatch.setattr(db, "find_by_id", fail)
        # No operation declares that it fails.
        client.event_hooks = {}
        response = await client.get(f"/v1/events/{factories.UNKNOWN_ID}")
        assert_problem(response, 500, "internal-error")
        monkeypatch.undo()
        event = await _read(client, admin, response)
        assert event["response"]["status"] == 500
        assert event["error"] == {
            "type": "ZeroDivisionError",
            "message": "token=*** by",
        }


class TestTraces:
    async def test_an_admin_asks(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        made = await factories.event()
        path = f"/v1/events/{made.id}"
        traced, other = await asyncio.gather(
            client.get(path, auth=admin, headers={"X-Trace": "1"}),
            client.get("/v1/users/me", auth=admin),
        )
        event = await _read(client, admin, traced)
        names = [call["name"] for call in event["traces"]]
        assert "utils.logins.authenticate" in names
        assert "config.gathering.Gathering.ask" in names
        # Nothing of the one that ran beside it.
        assert not any("accounts" in name for name in names)
        assert (await _read(client, admin, other))["traces"] == []
        for place, call in enumerate(event["traces"]):
            assert call["parent"] < place
            assert 0 <= call["duration_ms"] < 60_000
        assert len(event["tree"]) == len(names)
        (line,) = (
            line for line in event["tree"] if "logins.authenticate" in line
        )
        assert line.lstrip("│ ").startswith(("├─ ", "└─ "))
        assert line.endswith(" ms")

    async def test_others_wish_is_ignored(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        member = await factories.member()
        for auth in (None, member):
            response = await client.get(
                "/v1/events", auth=auth, headers={"X-Trace": "1"}
            )
            event = await _read(client, admin, response)
            assert event["traces"] == event["tree"] == []


class TestMasking:
    @settings(
        deadline=None,
        max_examples=30,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        secret=st.text("abcdefghijkABCDEFG0123456789", min_size=10),
        name=st.sampled_from(
            ["Authorization", "Cookie", "X-API-Key", "Idempotency-Key",
             "X-Auth-Token", "X-Signature"]
        ),
        parameter=st.sampled_from(
            ["token", "access_token", "%74oken", "PASSWORD", "a[secret]"]
        ),
    )  # fmt: skip
    async def test_no_secret_is_stored_or_logged(
        self,
        client: httpx.AsyncClient,
        admin: Member,
        secret: str,
        name: str,
        parameter: str,
    ) -> None:
        del admin
        secret = f"PLANTED{secret}"
        with logged("muster") as lines:
            await client.get(
                f"/v1/events/mk_{secret}?x={quote(secret[:3])}"
                f"&{parameter}={secret}",
                headers={
                    name: secret,
                    "Referer": f"https://x.org/?{parameter}={secret}",
                },
            )
        await ring.store_recent()
        found = db.collection("http_events").find({})
        stored = await found.to_list()
        assert stored
        assert secret not in str(stored)
        assert secret not in "".join(lines)


class TestCallbacks:
    @pytest_asyncio.fixture(name="told")
    async def _told(self) -> AsyncIterator[list[str]]:
        told: list[str] = []
        waiting = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def begins(origin: Origin) -> None:
            told.append(f"begins {origin.scope['path']}")

        def ends(origin: Origin) -> None:
            told.append(f"ends {origin.status}")
            loop.call_soon_threadsafe(waiting.set)

        async def fails(_origin: Origin) -> None:
            raise ZeroDivisionError

        def fails_too(_origin: Origin) -> None:
            raise KeyError

        async def hangs(_origin: Origin) -> None:
            await asyncio.sleep(3600)

        http_events.on_request(fails)
        http_events.on_request(begins)
        http_events.on_response(fails_too)
        http_events.on_response(hangs)
        http_events.on_response(ends)
        told.append("")
        yield told
        http_events.requests.remove(fails)
        http_events.requests.remove(begins)
        http_events.responses.remove(fails_too)
        http_events.responses.remove(hangs)
        http_events.responses.remove(ends)

    async def test_they_are_told_and_harm_nothing(
        self, client: httpx.AsyncClient, told: list[str]
    ) -> None:
        with logged("muster.http_events") as lines:
            response = await client.get("/v1/nowhere")
            async with asyncio.timeout(20):
                while len(told) < 3:
                    await asyncio.sleep(0.01)
        assert response.status_code == 404
        assert set(told) == {"", "begins /v1/nowhere", "ends 404"}
        assert any("ZeroDivisionError" in line for line in lines)
        assert any("KeyError" in line for line in lines)


class TestStoring:
    async def test_a_hiccup_loses_nothing(
        self,
        client: httpx.AsyncClient,
        admin: Member,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await client.get("/v1/nowhere/1")
        insert = db.insert_missing
        away = db.UNAVAILABLE_ERRORS[0]("away")

        async def written_but_unheard(*arguments: Any) -> int:
            await insert(*arguments)
            raise away

        monkeypatch.setattr(db, "insert_missing", written_but_unheard)
        for _ in range(2):
            with pytest.raises(type(away)):
                await ring.store_recent()
        monkeypatch.undo()
        await client.get("/v1/nowhere/2")
        assert await _paths(client, admin) == ["/v1/nowhere/2", "/v1/nowhere/1"]

    async def test_it_is_bounded_meanwhile(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        del admin
        before = http_events.recent.dropped
        for number in range(muster.http_events_max + 5):
            await client.get(f"/v1/nowhere/{number}")
        assert http_events.recent.dropped == before + 5
        assert len(http_events.recent.take()) == muster.http_events_max

    async def test_what_cant_be_stored_holds_up_nobody(
        self,
        client: httpx.AsyncClient,
        admin: Member,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def refuse(*_arguments: Any) -> int:
            raise ValueError

        await client.get("/v1/nowhere/1")
        monkeypatch.setattr(db, "insert_missing", refuse)
        with pytest.raises(ValueError):
            await ring.store_recent()
        monkeypatch.undo()
        await client.get("/v1/nowhere/2")
        assert await _paths(client, admin) == ["/v1/nowhere/2"]

    async def test_a_worker_that_stops_stores_what_it_has(
        self, client: httpx.AsyncClient, admin: Member
    ) -> None:
        await client.get("/v1/nowhere")
        task = asyncio.create_task(ring.store_in_a_moment())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not http_events.recent.take()
        assert await _paths(client, admin) == ["/v1/nowhere"]
