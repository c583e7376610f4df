"""Trusted hosts: names, wildcards, and tricks with the Host header."""

import json

import httpx
import pytest

from config.middleware.hosts import TrustedHosts
from config.settings import load_settings
from models.exceptions import UnknownHostError
from routes.problems import on_fault
from tests.stages import Answer, Header, ask, greet


def _stage(*hosts: str) -> TrustedHosts:
    return TrustedHosts(
        greet, hosts, on_fault, UnknownHostError, ["/health/live"]
    )


_STAGE = _stage("muster.example.org", "*.example.net", "127.0.0.1", "[::1]")


def _host(value: bytes) -> list[Header]:
    return [(b"accept", b"*/*"), (b"host", value)]


def _assert_refused(answer: Answer) -> None:
    assert answer.status == 400
    assert answer.values("content-type") == ["application/problem+json"]
    problem = json.loads(answer.body)
    assert problem["type"] == "/problems/unknown-host"
    assert "evil" not in answer.body.decode()


@pytest.mark.parametrize(
    "host",
    [
        b"muster.example.org",
        b"muster.example.org:8000",
        b"Muster.Example.ORG",
        b"a.example.net",
        b"a.b.example.net:443",
        b"127.0.0.1:80",
        b"[::1]:8000",
    ],
)
async def test_ours(host: bytes) -> None:
    assert (await ask(_STAGE, _host(host))).body == b"hello"


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.org",
        b"example.org",
        b"evil-muster.example.org",
        b"muster.example.org.evil.com",
        b"evil.com/muster.example.org",
        b"evil.com#muster.example.org",
        b"evil.com?.example.net",
        b"muster.example.org@evil.com",
        b"evil@muster.example.org",
        b"evil:80@a.example.net",
        b"example.net",
        b".example.net",
        b"evil.example.net.",
        b"evilexample.net",
        b"*.example.net",
        b"a\x00.example.net",
        b"a .example.net",
        b"muster.example.org:80:80",
        b"muster.example.org:",
        b"muster.example.org:evil",
        b"muster.example.org,evil.org",
        b"\xef\xbd\x8duster.example.org",
        b"[::1",
        b"[::2]",
        b"a" * 100_000 + b".evil",
    ],
)
async def test_of_somebody_else(host: bytes) -> None:
    _assert_refused(await ask(_STAGE, _host(host)))


async def test_none_or_two() -> None:
    _assert_refused(await ask(_STAGE))
    ours = _host(b"muster.example.org")
    _assert_refused(await ask(_STAGE, ours + ours))
    _assert_refused(await ask(_STAGE, ours + _host(b"evil.org")))


async def test_forwarded_names_do_not_count() -> None:
    forwarded = [(b"x-forwarded-host", b"muster.example.org")]
    _assert_refused(await ask(_STAGE, _host(b"evil.org") + forwarded))


async def test_all_are_allowed() -> None:
    for headers in ([], _host(b"evil.org"), _host(b"\xff")):
        assert (await ask(_stage("*"), headers)).body == b"hello"


async def test_probes_know_no_name() -> None:
    host = _host(b"10.0.0.7:8000")
    assert (await ask(_STAGE, host, path="/health/live")).body == b"hello"
    _assert_refused(await ask(_STAGE, host, path="/health/live/x"))


def test_the_public_address_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("JWT_SECRET_KEY", "k9Zq-Wc7xTn2LmP0k9Zq-Wc7xTn2LmP0")
    monkeypatch.setenv("PUBLIC_URL", "https://Muster.example.org:8443/x")
    assert load_settings().hosts == ("muster.example.org",)


async def test_development_allows_all(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"Host": "anything.example"})
    assert response.status_code == 200
