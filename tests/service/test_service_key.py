"""A service with a key of its own, over its whole pipeline."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import factories
from tests.problems import assert_problem
from tests.service.running import NO_TLS
from tests.service.serving import Served, served

pytestmark = pytest.mark.service

KEY = "the service's own key"
NAME = "X-Club-Key"
PAGE = "https://app.example.org"


@pytest.fixture(name="muster", scope="module")
def _muster() -> Iterator[Served]:
    with served(API_KEY=KEY, API_KEY_NAME=NAME, CORS_ORIGINS=PAGE) as muster:
        yield muster


@pytest.fixture(name="client")
def _client(muster: Served) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=muster.base_url, timeout=60, trust_env=False, verify=NO_TLS
    ) as client:
        yield client


def _register(client: httpx.Client) -> dict[str, Any]:
    body = factories.registration()
    response = client.post("/v1/users", json=body, headers={NAME: KEY})
    assert response.status_code == 201, response.text
    return body


def _log_in(client: httpx.Client) -> dict[str, str]:
    """The headers of somebody who is signed in, without the key."""
    body = _register(client)
    form = {"username": body["email"], "password": body["password"]}
    login = client.post("/v1/auth/login", data=form, headers={NAME: KEY})
    return {"Authorization": f"Bearer {login.json()['access_token']}"}


def test_without_it(client: httpx.Client) -> None:
    for path in ("/", "/v1/events", "/v1/users/me", "/v2"):
        problem = assert_problem(client.get(path), 401, "missing-key")
        assert NAME in problem["detail"]
    form = {"username": "a@example.org", "password": "x"}
    response = client.post("/v1/auth/login", data=form)
    assert_problem(response, 401, "missing-key")


def test_with_it(client: httpx.Client) -> None:
    assert client.get("/v1/events", headers={NAME: KEY}).status_code == 200
    cookie = {"Cookie": f"{NAME}={KEY}"}
    assert client.get("/v1/events", headers=cookie).status_code == 200
    wrong = client.get("/v1/events", headers={NAME: KEY + "x"})
    assert_problem(wrong, 401, "not-authenticated")
    nobody = client.get("/v1/users/me", headers={NAME: KEY})
    assert_problem(nobody, 401, "not-authenticated")


def test_a_log_in_needs_it_too(client: httpx.Client) -> None:
    headers = _log_in(client)
    refused = client.get("/v1/users/me", headers=headers)
    assert_problem(refused, 401, "missing-key")
    me = client.get("/v1/users/me", headers=headers | {NAME: KEY})
    assert me.status_code == 200


def test_a_members_key_will_do(client: httpx.Client) -> None:
    headers = _log_in(client) | {NAME: KEY}
    made = client.post("/v1/api-keys", json={"name": "x"}, headers=headers)
    own = {NAME: made.json()["key"]}
    assert client.get("/v1/users/me", headers=own).status_code == 200
    key_id = made.json()["id"]
    client.delete(f"/v1/api-keys/{key_id}", headers=headers)
    refused = client.get("/v1/events", headers=own)
    assert_problem(refused, 401, "not-authenticated")


def test_what_needs_none(client: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    preflight = client.options(
        "/v1/events",
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": NAME,
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE


def test_cookies_in_changes(client: httpx.Client) -> None:
    """They count for the pages that CORS_ORIGINS lists, and our own."""
    for origin, status in (
        (PAGE, 201),
        (str(client.base_url), 201),
        ("https://evil.example.org", 401),
        ("null", 401),
    ):
        response = client.post(
            "/v1/users",
            json=factories.registration(),
            headers={"Cookie": f"{NAME}={KEY}", "Origin": origin},
        )
        assert response.status_code == status, origin


def test_the_api_says_so(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    scheme = schema["components"]["securitySchemes"]["API key"]
    assert scheme["name"] == NAME
    paths = schema["paths"]
    assert "security" not in paths["/health/live"]["get"]
    assert {"API key": []} in paths["/v1/users"]["post"]["security"]
    for methods in paths.values():
        for operation in methods.values():
            if "security" in operation:
                assert "401" in operation["responses"]
                assert {} not in operation["security"]
