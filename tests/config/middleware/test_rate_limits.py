"""The stage that counts requests: who is counted, what is said, who passes."""

from typing import Any

import pytest

from config.middleware.rate_limits import RateLimits
from tests.stages import Answer, Header, ask, greet


class _FullError(Exception):
    """One request too many."""


class _Counter:
    """Notes what is counted, and says how many there were."""

    def __init__(self, limit: int = 100) -> None:
        self.counted: list[tuple[object, str, str]] = []
        self._limit = limit

    async def admit(
        self, caller: object, *, address: str, path: str
    ) -> list[Header]:
        """Counts a request."""
        self.counted.append((caller, address, path))
        if len(self.counted) > self._limit:
            raise _FullError
        return [(b"ratelimit", b"%d" % len(self.counted))]


async def _ask(
    counter: _Counter, *headers: Header, path: str = "/v1/events", **asked: Any
) -> Answer:
    stage = RateLimits(
        greet, admit=counter.admit, open_paths=("/health/", "/metrics")
    )
    return await ask(stage, headers, path=path, **asked)


class TestRateLimits:
    async def test_counts_and_says_so(self) -> None:
        counter = _Counter()
        answer = await _ask(
            counter, client=("192.0.2.7", 1), state={"caller": "ada"}
        )
        assert answer.values("ratelimit") == ["1"]
        assert answer.body == b"hello"
        assert counter.counted == [("ada", "192.0.2.7", "/v1/events")]

    async def test_nothing_is_done_for_one_too_many(self) -> None:
        with pytest.raises(_FullError):
            await _ask(_Counter(limit=0))

    async def test_socket_without_an_address(self) -> None:
        counter = _Counter()
        await _ask(counter, client=None)
        assert counter.counted == [(None, "unknown", "/v1/events")]

    @pytest.mark.parametrize("path", ["/health/live", "/metrics"])
    async def test_open_paths_pass(self, path: str) -> None:
        answer = await _ask(_Counter(limit=0), path=path)
        assert answer.status == 200
        assert answer.values("ratelimit") == []

    async def test_preflight_passes(self) -> None:
        preflight = (b"access-control-request-method", b"PUT")
        answer = await _ask(_Counter(limit=0), preflight, method="OPTIONS")
        assert answer.status == 200

    async def test_other_options_count(self) -> None:
        with pytest.raises(_FullError):
            await _ask(_Counter(limit=0), method="OPTIONS")
        preflight = (b"access-control-request-method", b"PUT")
        with pytest.raises(_FullError):
            await _ask(_Counter(limit=0), preflight)

    async def test_no_header_while_nobody_counts(self) -> None:
        async def admit(_caller: object, **_: str) -> list[Header]:
            return []

        answer = await ask(RateLimits(greet, admit=admit, open_paths=()))
        assert answer.status == 200
        assert answer.values("ratelimit") == []
