"""What holds on every path: problems, request ids, bodies, tags of state."""

import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from config.main import MAX_BODY_BYTES
from models.base import new_id
from tests import factories
from tests.problems import assert_problem
from utils import users

Client = httpx.AsyncClient


@pytest.fixture(name="lenient")
async def _lenient(client: Client) -> Client:
    """A client that accepts what no endpoint declares: faults of our own."""
    client.event_hooks = {}
    return client


@pytest.fixture(name="fault_log")
def _fault_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("muster"), "propagate", True)
    return caplog


class TestProblems:
    async def test_unknown_path(self, client: Client) -> None:
        assert_problem(await client.get("/v2/x"), 404, "not-found")

    async def test_wrong_method(self, client: Client) -> None:
        response = await client.put("/v1/users/me", json={})
        assert_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == "DELETE, GET, PATCH"

    async def test_fault_of_our_own(
        self,
        lenient: Client,
        monkeypatch: pytest.MonkeyPatch,
        fault_log: pytest.LogCaptureFixture,
    ) -> None:
        async def fail(_user_id: str, **_: object) -> None:
            raise RuntimeError("the inside story")

        monkeypatch.setattr(users, "show_user", fail)
        response = await lenient.get(f"/v1/users/{new_id()}")
        assert_problem(response, 500, "internal-error")
        assert "inside story" not in response.text
        assert "inside story" in fault_log.text

    async def test_database_away(
        self,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
        fault_log: pytest.LogCaptureFixture,
    ) -> None:
        async def fail(_user_id: str, **_: object) -> None:
            raise ServerSelectionTimeoutError("mongo.internal:27017 refused")

        monkeypatch.setattr(users, "show_user", fail)
        response = await client.get(f"/v1/users/{new_id()}")
        assert_problem(response, 503, "database-unavailable")
        assert response.headers["retry-after"] == "2"
        assert "mongo.internal" not in response.text
        assert "mongo.internal" in fault_log.text
        assert "Traceback" not in fault_log.text

    async def test_instance_is_the_path(self, client: Client) -> None:
        response = await client.get("/v1/events?limit=0")
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["instance"] == "/v1/events"


class TestRequestId:
    @pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
    async def test_a_sane_one_is_kept(self, client: Client, given: str) -> None:
        response = await client.get("/", headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] == given

    @pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>"])
    async def test_another_is_replaced(
        self, client: Client, given: str
    ) -> None:
        response = await client.get("/", headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] not in ("", given)

    async def test_each_request_has_its_own(self, client: Client) -> None:
        ids = {
            (await client.get("/")).headers["x-request-id"] for _ in range(3)
        }
        assert len(ids) == 3


class TestBodies:
    @pytest.mark.parametrize(
        ("content", "content_type"),
        [
            (b"{}", "text/plain"),
            (b"{}", "application/xml"),
            (b"a=b", "application/x-www-form-urlencoded"),
            (b"{}", ""),
        ],
    )
    async def test_wrong_content_type(
        self, client: Client, content: bytes, content_type: str
    ) -> None:
        headers = {"Content-Type": content_type} if content_type else {}
        response = await client.post(
            "/v1/users", content=content, headers=headers
        )
        problem = assert_problem(response, 415, "unsupported-media-type")
        assert problem["expected"] == "application/json"

    async def test_parameters_of_the_content_type(self, client: Client) -> None:
        response = await client.post(
            "/v1/users",
            content=json.dumps(factories.registration()),
            headers={"Content-Type": "Application/JSON; charset=utf-8"},
        )
        assert response.status_code == 201

    @pytest.mark.parametrize(
        "content",
        [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"", b"[" * 100_000],
    )
    async def test_broken_json(self, client: Client, content: bytes) -> None:
        response = await client.post(
            "/v1/users",
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert_problem(response, 422, "invalid-request")

    async def test_garbage_gets_a_short_answer(self, client: Client) -> None:
        body = {f"field{n}": n for n in range(50_000)}
        response = await client.post("/v1/users", json=body)
        problem = assert_problem(response, 422, "invalid-request")
        assert len(problem["errors"]) == 20

    async def test_too_large(self, client: Client) -> None:
        body = factories.registration(first_name="x" * MAX_BODY_BYTES)
        response = await client.post("/v1/users", json=body)
        problem = assert_problem(response, 413, "body-too-large")
        assert problem["limit_bytes"] == MAX_BODY_BYTES

    async def test_too_large_without_a_length(self, client: Client) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 65536
                yield b"x" * 65536

        response = await client.post(
            "/v1/users",
            content=endless(),
            headers={"Content-Type": "application/json"},
        )
        assert_problem(response, 413, "body-too-large")
        assert sent <= MAX_BODY_BYTES + 2 * 65536

    async def test_deny_needs_no_body(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=factories.actor())
        response = await client.post(f"/v1/events/{event.id}/deny", auth=admin)
        assert response.status_code == 200

    async def test_deny_with_a_wrong_body(self, client: Client) -> None:
        admin = await factories.admin()
        event = await factories.event(by=factories.actor())
        response = await client.post(
            f"/v1/events/{event.id}/deny", content=b"no", auth=admin
        )
        assert_problem(response, 415, "unsupported-media-type")


class TestEntityTags:
    async def test_lists_and_documents(self, client: Client) -> None:
        await factories.event()
        for path in ("/", "/v1/events", "/openapi.json"):
            first = await client.get(path)
            again = await client.get(
                path, headers={"If-None-Match": first.headers["etag"]}
            )
            assert again.status_code == 304
            assert not again.content
            assert "content-length" not in again.headers
        await factories.event()
        changed = await client.get(
            "/v1/events", headers={"If-None-Match": first.headers["etag"]}
        )
        assert changed.status_code == 200

    async def test_problems_have_none(self, client: Client) -> None:
        assert "etag" not in (await client.get("/v2")).headers


class TestHead:
    async def test_is_get_without_the_body(self, client: Client) -> None:
        event = await factories.event()
        path = f"/v1/events/{event.id}"
        head, get = await client.head(path), await client.get(path)
        assert head.status_code == 200
        assert head.content == b""
        for name in ("etag", "content-length", "content-type"):
            assert head.headers[name] == get.headers[name]

    async def test_no_redirects(self, client: Client) -> None:
        assert_problem(await client.get("/v1/events/"), 404, "not-found")


class TestService:
    async def test_says_what_it_is(self, client: Client) -> None:
        response = await client.get("/")
        assert response.json()["name"] == "Muster"
        for path in ("docs", "redoc", "openapi"):
            page = await client.get(response.json()[path])
            assert page.status_code == 200
