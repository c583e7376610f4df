"""Idempotency-Key: a request that is repeated is fulfilled once."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from pymongo.errors import OperationFailure

from app import app
from config import db
from models.base import new_id
from routes.idempotency import IdempotentRoute
from tests import factories
from tests.commands import counted
from tests.contract import operations
from tests.problems import assert_problem
from utils import events, idempotency

Client = httpx.AsyncClient


async def _create(
    client: Client,
    caller: factories.Member | None,
    key: str,
    path: str = "/v1/events",
    **asked: Any,
) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.request(
        "POST", path, headers=headers, auth=caller, **asked
    )


async def _titles(client: Client, caller: factories.Member) -> list[str]:
    page = await client.get("/v1/events", params={"mine": True}, auth=caller)
    return [event["title"] for event in page.json()["items"]]


async def _markers() -> list[dict[str, Any]]:
    return await db.collection("idempotency").find({}).to_list()


def _is_replay(again: httpx.Response, first: httpx.Response) -> bool:
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    return (again.status_code, again.content) == (201, first.content)


@pytest.fixture(name="known", autouse=True)
async def _known(database: None) -> None:
    """An event: at the first, the embedded server notes that it has lists.

    Until the transaction of that first one ends, others have to wait.
    """
    del database
    await factories.event()


class TestLaw:
    """Every POST that creates honours the header, and says so."""

    def test_every_one_does(self) -> None:
        routes: list[APIRoute] = app.state.api_routes
        creating = [
            route
            for route in routes
            if "POST" in (route.methods or ())
            and (
                route.status_code == 201
                or route.path.startswith(("/v1/processes/", "/process_"))
            )
        ]
        assert len(creating) >= 16
        for route in creating:
            assert isinstance(route, IdempotentRoute), route.path
            operation = operations()["POST", route.path]
            named = [p["name"] for p in operation.get("parameters", [])]
            assert "Idempotency-Key" in named, route.path
            declared = operation["responses"]
            done = declared[str(route.status_code)]
            assert "Idempotency-Replayed" in done["headers"]
            for status, slug in (
                ("409", "idempotency-key-in-flight"),
                ("422", "idempotency-key-reused"),
                ("422", "invalid-request"),
            ):
                content = declared[status]["content"]
                assert slug in content["application/problem+json"]["examples"]

    def test_others_do_not_promise_it(self) -> None:
        for (method, path), operation in operations().items():
            named = [p["name"] for p in operation.get("parameters", [])]
            if "Idempotency-Key" in named:
                assert {"201", "202"} & {*operation["responses"]} or path == (
                    "/v1/auth/refresh"
                ), method


class TestReplay:
    async def test_same_key_same_body(self, client: Client) -> None:
        member, key, body = await factories.member(), new_id(), _body()
        first = await _create(client, member, key, json=body)
        again = await _create(client, member, key, json=body)
        assert _is_replay(again, first)
        assert await _titles(client, member) == [body["title"]]

    async def test_costs(self, client: Client) -> None:
        member, key, body = await factories.member(), new_id(), _body()
        with counted() as without:
            await client.post("/v1/events", json=_body(), auth=member)
        with counted() as first:
            await _create(client, member, key, json=body)
        with counted() as again:
            await _create(client, member, key, json=body)
        # The marker and the answer are written, and committed.
        assert len(first) == len(without) + 3
        assert again == ["find", "insert", "find"]

    async def test_another_key(self, client: Client) -> None:
        member, body = await factories.member(), _body()
        for _ in range(2):
            response = await _create(client, member, new_id(), json=body)
            assert response.status_code == 201
        assert len(await _titles(client, member)) == 2

    async def test_another_member(self, client: Client) -> None:
        key, body = new_id(), _body()
        ids = set()
        for _ in range(2):
            caller = await factories.member()
            response = await _create(client, caller, key, json=body)
            ids.add(response.json()["id"])
        assert len(ids) == 2

    async def test_an_api_key_is_its_member(self, client: Client) -> None:
        member, key, body = await factories.member(), new_id(), _body()
        made = await client.post(
            "/v1/api-keys", json={"name": "x"}, auth=member
        )
        first = await _create(client, member, key, json=body)
        headers = {
            "X-API-Key": made.json()["key"],
            "Idempotency-Key": key,
        }
        again = await client.post("/v1/events", json=body, headers=headers)
        assert _is_replay(again, first)

    async def test_a_key_without_the_scope(self, client: Client) -> None:
        """What was answered once is shown to those only who may ask."""
        member, key, body = await factories.member(), new_id(), _body()
        made = await client.post(
            "/v1/api-keys",
            json={"name": "x", "scopes": ["users:read"]},
            auth=member,
        )
        await _create(client, member, key, json=body)
        headers = {"X-API-Key": made.json()["key"], "Idempotency-Key": key}
        again = await client.post("/v1/events", json=body, headers=headers)
        assert_problem(again, 403, "insufficient-scope")

    async def test_nobody(self, client: Client) -> None:
        """An address may repeat its registration."""
        key, body = new_id(), factories.registration()
        first = await _create(client, None, key, "/v1/users", json=body)
        again = await _create(client, None, key, "/v1/users", json=body)
        assert _is_replay(again, first)

    async def test_admins_routes(self, client: Client) -> None:
        admin, key = await factories.admin(), new_id()
        body = {"name": "gold"}
        first = await _create(client, admin, key, "/v1/tiers", json=body)
        again = await _create(client, admin, key, "/v1/tiers", json=body)
        assert _is_replay(again, first)
        member = await factories.member()
        refused = await _create(client, member, key, "/v1/tiers", json=body)
        assert_problem(refused, 403, "forbidden")
        strangers = await _create(client, None, key, "/v1/tiers", json=body)
        assert_problem(strangers, 401, "not-authenticated")

    async def test_multipart_with_another_boundary(
        self, client: Client
    ) -> None:
        member, key = await factories.member(), new_id()
        file = factories.picture(size=(640, 480))
        # The client makes a new boundary for each request.
        first, again = [
            await _create(
                client, member, key, "/v1/images", files={"file": file}
            )
            for _ in range(2)
        ]
        types = [r.request.headers["content-type"] for r in (first, again)]
        assert types[0] != types[1]
        assert _is_replay(again, first)

    async def test_the_largest_upload(self, client: Client) -> None:
        member, key = await factories.member(), new_id()
        file = factories.picture("PNG", (2000, 1500), mode="RGB")
        file += b"\0" * (10 * 1024 * 1024 - len(file) - 1000)
        first, again = [
            await _create(
                client, member, key, "/v1/images", files={"file": file}
            )
            for _ in range(2)
        ]
        assert _is_replay(again, first), first.text
        image = await client.get(f"/v1/images/{first.json()['id']}")
        assert len(image.content) == first.json()["bytes"]

    async def test_secrets_can_not_be_read(self, client: Client) -> None:
        member, key = await factories.member(), new_id()
        body = {"name": "door scanner"}
        first = await _create(client, member, key, "/v1/api-keys", json=body)
        again = await _create(client, member, key, "/v1/api-keys", json=body)
        assert _is_replay(again, first)
        [marker] = await _markers()
        stored = str(marker)
        for secret in (key, first.json()["key"], "door scanner", "mk_"):
            assert secret not in stored
        assert member.user.id not in stored


class TestRefused:
    @pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, "a\tb"])
    async def test_malformed(self, client: Client, key: str) -> None:
        member = await factories.member()
        response = await client.post(
            "/v1/events",
            json=_body(),
            auth=member,
            headers={b"Idempotency-Key": key.encode()},
        )
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["header", "Idempotency-Key"]

    @pytest.mark.parametrize("key", ["x", "~" * 255, '"quoted"'])
    async def test_well_formed(self, client: Client, key: str) -> None:
        member = await factories.member()
        response = await _create(client, member, key, json=_body())
        assert response.status_code == 201

    async def test_other_requests(self, client: Client) -> None:
        member, key, body = await factories.member(), new_id(), _body()
        await _create(client, member, key, json=body)
        others = [
            _create(client, member, key, json=body | {"title": "Another"}),
            _create(client, member, key, "/v1/events?x=1", json=body),
            _create(client, member, key, "/v1/api-keys", json=body),
        ]
        for other in others:
            assert_problem(await other, 422, "idempotency-key-reused")
        assert await _titles(client, member) == [body["title"]]


class TestErrors:
    async def test_they_are_not_kept(self, client: Client) -> None:
        member, key = await factories.member(), new_id()
        wrong = await _create(client, member, key, json=_body(title=""))
        assert_problem(wrong, 422, "invalid-request")
        assert not await _markers()
        right = await _create(client, member, key, json=_body())
        assert right.status_code == 201

    async def test_a_conflict_may_be_over(self, client: Client) -> None:
        key, body = new_id(), factories.registration()
        await client.post("/v1/users", json=body)
        taken = await _create(client, None, key, "/v1/users", json=body)
        assert_problem(taken, 409, "email-taken")
        assert not await _markers()

    async def test_nothing_is_written_before_one(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The event was created when it failed: it is undone."""
        member, key, body = await factories.member(), new_id(), _body()
        client.event_hooks = {}

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("the worker breaks")

        with monkeypatch.context() as broken:
            broken.setattr(idempotency, "finish", fail)
            response = await _create(client, member, key, json=body)
        assert_problem(response, 500, "internal-error")
        assert await _titles(client, member) == []
        response = await _create(client, member, key, json=body)
        assert response.status_code == 201
        assert await _titles(client, member) == [body["title"]]


class TestRace:
    async def test_equal_requests(self, client: Client) -> None:
        member, key, body = await factories.member(), new_id(), _body()
        responses = await asyncio.gather(
            *(_create(client, member, key, json=body) for _ in range(10))
        )
        bodies = set()
        for response in responses:
            if response.status_code == 409:
                assert_problem(response, 409, "idempotency-key-in-flight")
                assert response.headers["retry-after"] == "1"
            else:
                assert response.status_code == 201
                bodies.add(response.content)
        assert len(bodies) == 1
        assert await _titles(client, member) == [body["title"]]

    async def test_a_transaction_begins_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another one was faster: the handler runs again, on the same body."""
        member, key, body = await factories.member(), new_id(), _body()
        create, runs = events.create_event, 0

        async def overtaken(*args: Any, **more: Any) -> Any:
            nonlocal runs
            runs += 1
            event = await create(*args, **more)
            if runs == 1:
                labels = {"errorLabels": ["TransientTransactionError"]}
                raise OperationFailure("write conflict", 112, labels)
            return event

        monkeypatch.setattr(events, "create_event", overtaken)
        response = await _create(client, member, key, json=body)
        assert response.status_code == 201
        assert runs == 2
        assert await _titles(client, member) == [body["title"]]


class TestLease:
    """Whoever began a wish may have died, or only be slow."""

    async def test_one_that_lives(self, client: Client) -> None:
        member, key, body = await factories.member(), new_id(), _body()
        began, goes_on = asyncio.Event(), asyncio.Event()
        create = events.create_event

        async def slow(*args: Any, **more: Any) -> Any:
            event = await create(*args, **more)
            began.set()
            await goes_on.wait()
            return event

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "create_event", slow)
            first = asyncio.create_task(
                _create(client, member, key, json=body)
            )
            await began.wait()
            second = await _create(client, member, key, json=body)
            goes_on.set()
            done = await first
        assert_problem(second, 409, "idempotency-key-in-flight")
        assert done.status_code == 201
        assert await _titles(client, member) == [body["title"]]

    async def test_one_that_is_too_slow(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It finds that somebody took over, and writes nothing."""
        member, key, body = await factories.member(), new_id(), _body()
        began, goes_on = asyncio.Event(), asyncio.Event()
        create = events.create_event

        async def slow(*args: Any, **more: Any) -> Any:
            event = await create(*args, **more)
            if not began.is_set():
                began.set()
                await goes_on.wait()
            return event

        monkeypatch.setattr(events, "create_event", slow)
        monkeypatch.setattr(idempotency, "LEASE", timedelta(0))
        first = asyncio.create_task(_create(client, member, key, json=body))
        await began.wait()
        second = await _create(client, member, key, json=body)
        goes_on.set()
        assert second.status_code == 201
        assert_problem(await first, 409, "idempotency-key-in-flight")
        assert await _titles(client, member) == [body["title"]]
        third = await _create(client, member, key, json=body)
        assert _is_replay(third, second)


def _body(**overrides: Any) -> dict[str, Any]:
    return factories.event_body(**overrides)
