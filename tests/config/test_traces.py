"""Traces: whose calls are noted, and how they hang together."""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from config import traces
from config.etags import etags_in
from config.origin import Origin, origin_of_task
from config.traces import Trace, tracing
from models.base import utc_now
from utils import search


@pytest.fixture(name="origin", autouse=True)
def _origin() -> Iterator[Origin]:
    origin = Origin("request-1", "", {"state": {}})
    token = origin_of_task.set(origin)
    yield origin
    origin_of_task.reset(token)


def _names(trace: Trace) -> list[str]:
    return [call.name for call in trace.calls]


class TestCalls:
    def test_callers_are_parents(self) -> None:
        with tracing() as trace:
            utc_now()
        assert _names(trace) == [
            "models.base.utc_now",
            "models.base._to_stored_precision",
        ]
        first, second = trace.calls[0], trace.calls[1]
        assert (first.parent, second.parent) == (-1, 0)
        assert first.began <= second.began <= second.ended <= first.ended

    def test_before_and_after_nothing_is_noted(self, origin: Origin) -> None:
        utc_now()
        with tracing() as trace:
            assert sys.getprofile() is not None
        utc_now()
        assert origin.trace is trace
        assert not trace.calls
        assert sys.getprofile() is None

    async def test_a_coroutine_is_one_call(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However often it waits, and its time includes that."""
        code = _waits.__code__
        # pylint: disable-next=protected-access  # One of Muster's, for once.
        monkeypatch.setitem(traces._NAMES, code, "waits")
        with tracing() as trace:
            await _waits()
        call, *inside = trace.calls
        assert call.name == "waits"
        assert call.ended - call.began >= 0.03
        assert {other.parent for other in inside} == {0, 1, 3}
        assert len(inside) == 4

    async def test_other_requests_are_not_noted(self) -> None:
        second = Origin("request-2", "", {"state": {}})

        async def other() -> None:
            origin_of_task.set(second)
            for _ in range(5):
                await asyncio.sleep(0)
                list(etags_in('"x"'))

        task = asyncio.create_task(other())
        with tracing() as trace:
            for _ in range(10):
                await asyncio.sleep(0)
                utc_now()
            await task
        assert {name.partition(".")[0] for name in _names(trace)} == {"models"}

    async def test_tasks_of_the_request_are_noted(self) -> None:
        async def part() -> None:
            search.words_of("a word")

        with tracing() as trace:
            await asyncio.create_task(part())
        assert "utils.search.words_of" in _names(trace)

    def test_they_are_bounded(self) -> None:
        with tracing() as trace:
            for _ in range(traces.MOST_CALLS):
                utc_now()
        assert len(trace.calls) == traces.MOST_CALLS
        assert trace.left_out == traces.MOST_CALLS

    def test_two_may_overlap(self) -> None:
        with tracing():
            with tracing() as inner:
                utc_now()
            assert sys.getprofile() is not None
        assert len(inner.calls) == 2
        assert sys.getprofile() is None


async def _waits() -> None:
    for _ in range(2):
        await asyncio.sleep(0.02)
        utc_now()
