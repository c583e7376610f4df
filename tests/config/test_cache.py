"""The cache of answers: hits, misses, races, ends."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.responses import Response

from config import cache, transactions
from config.stamps import Stamps
from tests.logged import logged


class Shown(BaseModel):
    """What the handlers of these tests answer."""

    text: str
    count: int = 0


class Query(BaseModel):
    """What some of them are asked."""

    q: str = ""


class Source:
    """What a handler reads; it counts how often, and may wait or fail."""

    def __init__(self) -> None:
        self.reads = 0
        self.gate: asyncio.Event | None = None
        self.fault: Exception | None = None
        self.text = "as it was"

    async def read(self) -> Shown:
        """What is there now."""
        self.reads += 1
        text, fault = self.text, self.fault
        if self.gate is not None:
            await self.gate.wait()
        if fault is not None:
            raise fault
        return Shown(text=text, count=self.reads)


@pytest.fixture(name="source")
def _source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Something to read, under a machine of the test's own."""
    stamps = Stamps(tmp_path / "stamps")
    monkeypatch.setattr("config.cache._State.stamps", stamps)
    monkeypatch.setattr("config.cache._State.longest_seconds", 3600.0)
    return Source()


Handler = Callable[..., Any]


def _handler(source: Source, **options: Any) -> Handler:
    options = {"per": "everyone", "seconds": 60, "tags": ["a:{a}"], **options}

    @cache.cached("x/{a}", **options)
    async def get(a: str, actor: str | None = None) -> Shown:
        del a, actor
        return await source.read()

    return get


async def _text(answer: Any) -> str:
    shown = await answer
    if isinstance(shown, Response):
        assert shown.media_type == "application/json"
        return Shown.model_validate_json(bytes(shown.body)).text
    assert isinstance(shown, Shown)
    return shown.text


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class TestKeys:
    async def test_the_same_is_read_once(self, source: Source) -> None:
        get = _handler(source)
        answers = [await get(a="1", actor=None) for _ in range(3)]
        assert source.reads == 1
        assert len({bytes(answer.body) for answer in answers}) == 1
        # Stages add headers to an answer.
        assert len({id(answer) for answer in answers}) == 3
        await get(a="2", actor=None)
        assert source.reads == 2

    async def test_everyone_or_the_caller(self, source: Source) -> None:
        for per, reads in (("everyone", 1), ("caller", 3)):
            get, source.reads = _handler(source, per=per), 0
            for caller in ("ada", "bob", None, "ada", "bob", None):
                await get(a="1", actor=caller)
            assert source.reads == reads

    async def test_two_handlers_share_nothing(self, source: Source) -> None:
        one, other = _handler(source), _handler(source)
        await one(a="1", actor=None)
        await other(a="1", actor=None)
        assert source.reads == 2

    async def test_arguments_do_not_run_together(self, source: Source) -> None:
        @cache.cached("{a}/{b}/{query}", tags=(), per="everyone", seconds=60)
        async def get(a: str, b: str, query: Query) -> Shown:
            del a, b, query
            return await source.read()

        asked = [("x/y", "z", ""), ("x", "y/z", ""), ("x", "y", "z")]
        for a, b, q in asked * 2:
            await get(a=a, b=b, query=Query(q=q))
        assert source.reads == 3

    def test_an_argument_that_is_left_out(self) -> None:
        async def get(a: str, b: str) -> Shown:
            return Shown(text=a + b)

        options: dict[str, Any] = {"tags": (), "per": "everyone", "seconds": 1}
        with pytest.raises(TypeError, match="get: .'b'. is not in the key"):
            cache.cached("x/{a}", **options)(get)
        with pytest.raises(TypeError, match="no actor"):
            cache.cached("{a}{b}", **options | {"per": "caller"})(get)

    async def test_unless(self, source: Source) -> None:
        get = _handler(source, unless=lambda a, **_: a == "own")
        for a in ("own", "own", "all", "all"):
            await get(a=a, actor=None)
        assert source.reads == 3


class TestTime:
    async def test_it_expires(
        self, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        get = _handler(source, seconds=0.05)
        await get(a="1", actor=None)
        await asyncio.sleep(0.06)
        await get(a="1", actor=None)
        assert source.reads == 2
        monkeypatch.setattr("config.cache._State.longest_seconds", 0.05)
        get = _handler(source)
        await get(a="1", actor=None)
        await asyncio.sleep(0.06)
        await get(a="1", actor=None)
        assert source.reads == 4

    async def test_a_result_says_until_when(self, source: Source) -> None:
        end = datetime.now(UTC) + timedelta(seconds=0.2)
        get = _handler(source, until=lambda _: end)
        await get(a="1", actor=None)
        await get(a="1", actor=None)
        assert source.reads == 1
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds())
        await get(a="1", actor=None)
        await get(a="1", actor=None)
        assert source.reads == 3

    async def test_a_result_that_is_not_kept(self, source: Source) -> None:
        get = _handler(source, until=lambda _: None)
        for _ in range(2):
            assert isinstance(await get(a="1", actor=None), Shown)
        assert source.reads == 2

    async def test_there_is_room_for_so_much(self, source: Source) -> None:
        get = _handler(source)
        source.text = "x" * 2**20
        for number in range(40):
            await get(a=str(number), actor=None)
        await get(a="39", actor=None)
        assert source.reads == 40
        await get(a="0", actor=None)
        assert source.reads == 41
        source.text = "x" * 2**26
        await get(a="large", actor=None)
        await get(a="large", actor=None)
        assert source.reads == 43


class TestFlights:
    """Many ask for the same at once."""

    async def test_one_reads_for_all(self, source: Source) -> None:
        source.gate, get = asyncio.Event(), _handler(source)
        asking = [asyncio.create_task(_text(get(a="1"))) for _ in range(50)]
        await _settle()
        source.gate.set()
        assert set(await asyncio.gather(*asking)) == {"as it was"}
        assert source.reads == 1

    async def test_the_first_is_given_up(self, source: Source) -> None:
        source.gate, get = asyncio.Event(), _handler(source)
        asking = [asyncio.create_task(_text(get(a="1"))) for _ in range(5)]
        await _settle()
        asking[0].cancel()
        asking[3].cancel()
        await _settle()
        source.gate.set()
        said = await asyncio.gather(*asking, return_exceptions=True)
        for number, answer in enumerate(said):
            if number in (0, 3):
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert answer == "as it was"
        assert source.reads == 2

    async def test_all_are_given_up(self, source: Source) -> None:
        source.gate, get = asyncio.Event(), _handler(source)
        asking = [asyncio.create_task(_text(get(a="1"))) for _ in range(3)]
        await _settle()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        source.gate = None
        assert await _text(get(a="1")) == "as it was"

    async def test_an_error_is_not_kept(self, source: Source) -> None:
        source.gate, get = asyncio.Event(), _handler(source)
        source.fault = KeyError("away")
        asking = [asyncio.create_task(_text(get(a="1"))) for _ in range(3)]
        await _settle()
        source.fault = None
        source.gate.set()
        said = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(said[0], KeyError)
        assert said[1:] == ["as it was"] * 2
        assert await _text(get(a="1")) == "as it was"

    async def test_what_is_not_for_others(self, source: Source) -> None:
        """One who may see more asks first, another one at the same moment."""
        source.gate = asyncio.Event()

        @cache.cached(
            "x", tags=(), per="everyone", seconds=60, until=lambda _: None
        )
        async def get(actor: str) -> Shown:
            await source.read()
            return Shown(text=f"for {actor}")

        asking = [
            asyncio.create_task(_text(get(actor=name)))
            for name in ("ada", "bob", "eve")
        ]
        await _settle()
        source.gate.set()
        said = await asyncio.gather(*asking)
        assert said == ["for ada", "for bob", "for eve"]

    async def test_who_asks_after_a_change_sees_it(
        self, source: Source
    ) -> None:
        source.gate, get = asyncio.Event(), _handler(source)
        before = asyncio.create_task(_text(get(a="1")))
        await _settle()
        source.text = "changed"
        with cache.invalidating("a:1"):
            pass
        after = asyncio.create_task(_text(get(a="1")))
        await _settle()
        source.gate.set()
        assert await after == "changed"
        assert await before == "as it was"
        # What was read before the change is not kept, though it came last.
        assert await _text(get(a="1")) == "changed"
        assert source.reads == 2


class TestChanges:
    async def test_by_a_decorator(self, source: Source) -> None:
        @cache.invalidates("a:{a}", "lists")
        async def change(a: str, *, fails: bool = False) -> str:
            if fails:
                raise KeyError
            return a

        get = _handler(source)
        await get(a="1", actor=None)
        assert await change("2") == "2"
        await get(a="1", actor=None)
        assert source.reads == 1
        await change(a="1")
        await get(a="1", actor=None)
        assert source.reads == 2
        # What failed may have written all the same.
        with pytest.raises(KeyError):
            await change("1", fails=True)
        await get(a="1", actor=None)
        assert source.reads == 3

    @pytest.mark.usefixtures("database")
    @pytest.mark.parametrize("fails", [False, True])
    async def test_at_the_end_of_a_transaction(
        self, source: Source, fails: bool
    ) -> None:
        get = _handler(source)

        async def work() -> None:
            with cache.invalidating("a:1"):
                pass
            await get(a="1", actor=None)
            assert source.reads == 1, "nobody sees it yet"
            if fails:
                raise KeyError

        await get(a="1", actor=None)
        if fails:
            with pytest.raises(KeyError):
                await transactions.run(work)
        else:
            await transactions.run(work)
        await get(a="1", actor=None)
        assert source.reads == 2

    async def test_counts(self, source: Source) -> None:
        hits, misses = cache.STATISTICS.hits, cache.STATISTICS.misses
        ended = cache.STATISTICS.invalidations
        get = _handler(source)
        for _ in range(4):
            await get(a="1", actor=None)
        with cache.invalidating("a:1", "lists"):
            pass
        assert cache.STATISTICS.hits == hits + 3
        assert cache.STATISTICS.misses == misses + 1
        assert cache.STATISTICS.invalidations == ended + 2


class TestOpened:
    async def test_a_start_ends_what_a_killed_process_left(
        self, source: Source, tmp_path: Path
    ) -> None:
        get = _handler(source)
        async with cache.opened(tmp_path, redis_url=None, alone=True):
            await get(a="1", actor=None)
            Stamps(tmp_path / "cache.stamps").renew_all()
            await get(a="1", actor=None)
        assert source.reads == 2
        await get(a="1", actor=None)
        await get(a="1", actor=None)
        assert source.reads == 4, "nothing is kept when it is closed"

    async def test_nowhere_to_meet(
        self, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("config.cache._State.stamps", None)
        (tmp_path / "file").touch()
        with logged("muster.cache") as log:
            async with cache.opened(
                tmp_path / "file", redis_url=None, alone=True
            ):
                get = _handler(source)
                for _ in range(2):
                    assert isinstance(await get(a="1", actor=None), Shown)
                with cache.invalidating("a:1"):
                    pass
        assert source.reads == 2
        assert len(log) == 1 and "nothing is cached" in log[0]
