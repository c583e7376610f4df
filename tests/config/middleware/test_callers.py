"""Who calls, and whether they show the service's key: the two stages."""

from collections.abc import Sequence
from typing import Any

import pytest

from config.credentials import Credentials
from config.middleware.callers import Callers, ServiceKey
from tests.stages import Answer, Header, ask, greet

KEY = "the service's own key"
COOKIE = (b"cookie", f"X-API-Key={KEY}".encode())
HOST = (b"host", b"muster.test")


class _RefusedError(Exception):
    """What bad credentials deserve."""


class _Shown:
    """Notes what credentials are looked at; knows one member's key."""

    def __init__(self) -> None:
        self.last: Credentials | None = None

    async def identify(self, shown: Credentials) -> object:
        """Who it is."""
        self.last = shown
        if shown.is_foreign or shown.key not in (None, "mk_good"):
            return _RefusedError()
        return "member" if shown.key or shown.authorization else None


async def _ask(
    headers: Sequence[Header] = (), *, key: str | None = KEY, **asked: Any
) -> tuple[Answer, _Shown, dict[str, object]]:
    """Sends a request through both stages."""
    shown, state = _Shown(), dict[str, object](asked.pop("state", {}))
    door = ServiceKey(
        greet,
        is_needed=key is not None,
        refusal=LookupError,
        open_paths=("/health/", "/docs"),
    )
    stage = Callers(
        door,
        identify=shown.identify,
        key_name="X-API-Key",
        service_key=key,
        open_paths=("/health/",),
    )
    answer = await ask(stage, headers, state=state, **asked)
    return answer, shown, state


class TestCaller:
    async def test_nobody_is_not_looked_for(self) -> None:
        _, shown, state = await _ask([HOST], key=None)
        assert state == {"caller": None}
        assert shown.last is None

    async def test_somebody(self) -> None:
        for header in (
            (b"authorization", b"Bearer x"),
            (b"x-api-key", b"mk_good"),
        ):
            _, _, state = await _ask([header], key=None)
            assert state["caller"] == "member"

    async def test_bad_credentials_are_told_later(self) -> None:
        answer, _, state = await _ask([(b"x-api-key", b"mk_bad")], key=None)
        assert answer.status == 200
        assert isinstance(state["caller"], _RefusedError)

    async def test_whoever_watches_is_not_asked(self) -> None:
        headers = [(b"authorization", b"Bearer of something else")]
        answer, shown, _ = await _ask(headers, path="/health/live")
        assert answer.status == 200
        assert shown.last is None


class TestServiceKey:
    async def test_none(self) -> None:
        with pytest.raises(LookupError):
            await _ask()

    async def test_another(self) -> None:
        with pytest.raises(_RefusedError):
            await _ask([(b"x-api-key", KEY.upper().encode())])

    @pytest.mark.parametrize("value", [b"", b"\xff", "ä".encode(), b"mk_bad"])
    async def test_garbage(self, value: bytes) -> None:
        with pytest.raises(_RefusedError):
            await _ask([(b"x-api-key", value)])

    @pytest.mark.parametrize(
        "header", [(b"x-api-key", KEY.encode()), COOKIE], ids=str
    )
    async def test_shown(self, header: Header) -> None:
        answer, shown, state = await _ask([header])
        assert answer.status == 200
        assert state["caller"] is None
        assert shown.last == Credentials()

    async def test_of_other_letters(self) -> None:
        key = "der Schlüssel von uns allen"
        answer, _, _ = await _ask([(b"x-api-key", key.encode())], key=key)
        assert answer.status == 200

    async def test_beside_a_member(self) -> None:
        bearer = (b"authorization", b"Bearer x")
        _, _, state = await _ask([(b"x-api-key", KEY.encode()), bearer])
        assert state["caller"] == "member"
        with pytest.raises(LookupError):
            await _ask([bearer])

    async def test_a_members_key_will_do(self) -> None:
        answer, _, state = await _ask([(b"x-api-key", b"mk_good")])
        assert answer.status == 200
        assert state["caller"] == "member"

    @pytest.mark.parametrize("path", ["/health/live", "/docs"])
    async def test_open_paths(self, path: str) -> None:
        answer, _, _ = await _ask(path=path)
        assert answer.status == 200


class TestCookie:
    """A browser sends it along whoever's page asks."""

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example.org", "https://muster.test.evil.org", "null",
         "https://muster.test:8443", "https://x@muster.test", "muster.test"],
    )  # fmt: skip
    async def test_a_change_from_elsewhere(self, origin: str) -> None:
        headers = [HOST, COOKIE, (b"origin", origin.encode())]
        with pytest.raises(_RefusedError):
            await _ask(headers, method="POST")
        _, shown, _ = await _ask(headers, method="POST", key=None)
        assert shown.last is not None and shown.last.is_foreign

    @pytest.mark.parametrize(
        "origin", [b"https://muster.test", b"http://MUSTER.test"]
    )
    async def test_a_change_from_our_own_pages(self, origin: bytes) -> None:
        headers = [HOST, COOKIE, (b"origin", origin)]
        answer, _, _ = await _ask(headers, method="DELETE")
        assert answer.status == 200

    async def test_a_change_from_an_allowed_page(self) -> None:
        headers = [HOST, COOKIE, (b"origin", b"https://app.example.org")]
        answer, _, _ = await _ask(
            headers, method="POST", state={"is_allowed_page": True}
        )
        assert answer.status == 200

    async def test_a_change_by_a_program(self) -> None:
        answer, _, _ = await _ask([HOST, COOKIE], method="POST")
        assert answer.status == 200

    async def test_a_read_from_elsewhere(self) -> None:
        """Their page can't see the answer: that is for CORS to say."""
        headers = [HOST, COOKIE, (b"origin", b"https://evil.example.org")]
        answer, _, _ = await _ask(headers)
        assert answer.status == 200

    async def test_a_header_is_sent_on_purpose(self) -> None:
        key = (b"x-api-key", KEY.encode())
        headers = [HOST, key, (b"origin", b"https://evil.example.org")]
        answer, _, _ = await _ask(headers, method="POST")
        assert answer.status == 200
