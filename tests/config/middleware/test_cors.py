"""CORS: which origins, what a preflight says, what others get: nothing."""

import json

import pytest

from config.middleware.cors import Cors
from models.exceptions import PreflightRefusedError
from routes.problems import on_fault
from tests.stages import Answer, Header, ask, greet

_APP = "https://app.example.org"


def _stage(*origins: str) -> Cors:
    return Cors(greet, origins, "X-Club-Key", on_fault, PreflightRefusedError)


_STAGE = _stage(
    _APP, "https://*.example.net", "HTTP://Localhost:3000", "https://x.org:443"
)


def _origin(origin: str) -> list[Header]:
    return [(b"host", b"muster.test"), (b"origin", origin.encode("latin-1"))]


async def _preflight(
    origin: str, method: str = "PATCH", headers: str = "authorization"
) -> Answer:
    asked = [
        *_origin(origin),
        (b"access-control-request-method", method.encode()),
        (b"access-control-request-headers", headers.encode()),
    ]
    return await ask(_STAGE, asked, method="OPTIONS")


def _said(answer: Answer) -> list[Header]:
    return [h for h in answer.headers if h[0].startswith(b"access-control")]


ALLOWED = [
    _APP,
    "https://a.example.net",
    "https://a.b-c.example.net",
    "http://localhost:3000",
    "https://x.org",
]
REFUSED = [
    "null",
    "",
    "*",
    "https://example.org",
    "http://app.example.org",
    "https://app.example.org:8443",
    "https://app.example.org:443",
    "https://app.example.org/",
    "https://app.example.org.evil.com",
    "https://evil-app.example.org",
    "https://evilapp.example.org",
    "https://APP.example.org",
    "https://example.net",
    "https://.example.net",
    "https://evil-example.net",
    "https://a.example.net.evil.com",
    "https://a.example.net:444",
    "https://evil.com/.example.net",
    "https://evil.com#.example.net",
    "https://evil.com?.example.net",
    "https://evil@a.example.net",
    "https://a.exampleXnet",
    "https://a.example.net\n",
    "https://evil.com\nhttps://a.example.net",
    "https://\xe9.example.net",
    "http://localhost",
    "http://localhost:30001",
    "https://app.example.org, https://evil.com",
]


class TestPages:
    @pytest.mark.parametrize("origin", ALLOWED)
    async def test_allowed(self, origin: str) -> None:
        answer = await ask(_STAGE, _origin(origin))
        assert answer.body == b"hello"
        assert answer.values("access-control-allow-origin") == [origin]
        assert answer.values("access-control-allow-credentials") == ["true"]
        (exposed,) = answer.values("access-control-expose-headers")
        for name in ("ETag", "RateLimit", "Retry-After", "X-Request-ID"):
            assert name in exposed.split(", ")

    @pytest.mark.parametrize("origin", REFUSED)
    async def test_of_somebody_else(self, origin: str) -> None:
        """They are answered: it is the browser that keeps pages from it."""
        answer = await ask(_STAGE, _origin(origin))
        assert answer.body == b"hello"
        assert not _said(answer)

    async def test_without_a_page(self) -> None:
        answer = await ask(_STAGE, [(b"host", b"muster.test")])
        assert answer.body == b"hello"
        assert not _said(answer)

    @pytest.mark.parametrize("origin", [_APP, "null", "https://evil.com"])
    async def test_nobody_without_origins(self, origin: str) -> None:
        assert not _said(await ask(_stage(), _origin(origin)))

    async def test_options_of_another_kind(self) -> None:
        answer = await ask(_STAGE, _origin(_APP), method="OPTIONS")
        assert answer.body == b"hello"


class TestPreflights:
    @pytest.mark.parametrize("origin", ALLOWED)
    async def test_allowed(self, origin: str) -> None:
        answer = await _preflight(
            origin,
            headers="authorization, content-type,if-match,idempotency-key,"
            "last-event-id,x-club-key,x-request-id,x-trace,if-none-match",
        )
        assert answer.status == 200
        assert answer.values("access-control-allow-origin") == [origin]
        assert answer.values("access-control-allow-credentials") == ["true"]
        assert answer.values("access-control-max-age") == ["7200"]
        (vary,) = answer.values("vary")
        assert vary.startswith("Origin")

    @pytest.mark.parametrize("origin", REFUSED)
    async def test_of_somebody_else(self, origin: str) -> None:
        answer = await _preflight(origin)
        assert answer.status == 400
        assert answer.values("content-type") == ["application/problem+json"]
        assert answer.values("access-control-allow-origin") == []
        problem = json.loads(answer.body)
        assert problem["type"] == "/problems/preflight-refused"
        assert problem["refused"] == ["origin"]
        assert len(answer.values("content-length")) == 1

    async def test_what_else_is_refused(self) -> None:
        answer = await _preflight(_APP, "TRACE", "X-Evil")
        assert json.loads(answer.body)["refused"] == ["method", "headers"]
        assert answer.values("access-control-allow-origin") == [_APP]
        (methods,) = answer.values("access-control-allow-methods")
        assert methods == "DELETE, GET, HEAD, PATCH, POST, PUT"
