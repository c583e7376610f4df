"""Security headers: on every answer, each of them once."""

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config.middleware.security_headers import SecurityHeaders
from tests import factories
from tests.problems import assert_problem
from tests.stages import ask, greet
from utils import users

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
_STAGE = SecurityHeaders(greet, https_only=True)


def _assert_guarded(response: httpx.Response) -> None:
    for name, value in _HEADERS.items():
        assert response.headers.get_list(name) == [value], name


async def test_over_https_only() -> None:
    name = "strict-transport-security"
    assert (await ask(_STAGE)).values(name) == []
    by_https = await ask(_STAGE, scheme="https")
    assert by_https.values(name) == ["max-age=31536000"]
    lenient = SecurityHeaders(greet, https_only=False)
    assert (await ask(lenient, scheme="https")).values(name) == []


async def test_an_answer_has_its_own() -> None:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            "Content-Security-Policy": "sandbox",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        await Response("x", headers=headers)(scope, receive, send)

    answer = await ask(SecurityHeaders(page, https_only=False))
    assert answer.values("content-security-policy") == ["sandbox"]
    assert answer.values("cross-origin-resource-policy") == ["cross-origin"]


async def test_every_answer(client: httpx.AsyncClient) -> None:
    member = await factories.member()
    event = await factories.event()
    for path in ("/", "/v1/events", f"/v1/events/{event.id}", "/v2"):
        _assert_guarded(await client.get(path))
        _assert_guarded(await client.head(path))
    _assert_guarded(await client.get("/v1/users/me"))
    _assert_guarded(await client.get("/v1/users/me", auth=member))
    _assert_guarded(await client.put("/v1/users/me"))
    _assert_guarded(await client.post("/v1/users", content=b"x"))
    first = await client.get("/v1/events")
    tag = {"If-None-Match": first.headers["etag"]}
    _assert_guarded(await client.get("/v1/events", headers=tag))


async def test_faults_of_our_own(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_user_id: str, **_: object) -> None:
        raise RuntimeError("the inside story")

    monkeypatch.setattr(users, "show_user", fail)
    client.event_hooks = {}
    response = await client.get(f"/v1/users/{factories.actor().user_id}")
    assert_problem(response, 500, "internal-error")
    _assert_guarded(response)


async def test_pages_have_a_policy_of_their_own(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/docs", "/redoc"):
        response = await client.get(path)
        (policy,) = response.headers.get_list("content-security-policy")
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        for name in ("x-content-type-options", "referrer-policy"):
            assert response.headers.get_list(name) == [_HEADERS[name]]
