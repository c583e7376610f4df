"""The model cache, raced by real threads."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from utils import model_cache
from utils.model_cache import (
    MEGABYTE,
    ModelCache,
    ModelLoadError,
    UnknownModelError,
)

_THREADS = 32


def _cache(megabytes: float = 100) -> ModelCache:
    return ModelCache(int(megabytes * MEGABYTE))


def _at_once(ask: Callable[[int], object]) -> list[object]:
    """What _THREADS threads get that ask at the same moment."""
    gate = threading.Barrier(_THREADS)

    def asked(number: int) -> object:
        gate.wait()
        try:
            return ask(number)
        except ModelLoadError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(asked, range(_THREADS)))


class TestGet:
    def test_threads_that_ask_at_once_load_it_once(self) -> None:
        cache = _cache()
        loads: list[int] = []

        def load() -> object:
            loads.append(1)
            time.sleep(0.1)
            return object()

        got = _at_once(lambda _: cache.get("one", load))
        assert len(set(map(id, got))) == 1
        assert len(loads) == 1
        statistics = cache.statistics()
        assert statistics.loads == 1
        assert statistics.hits + statistics.misses == _THREADS
        assert statistics.load_seconds >= 0.1

    def test_several_models_are_each_loaded_once(self) -> None:
        cache = _cache()
        loads: list[int] = []

        def ask(number: int) -> object:
            name = number % 4

            def load() -> int:
                loads.append(name)
                time.sleep(0.01)
                return name

            return cache.get(str(name), load)

        assert _at_once(ask) == [number % 4 for number in range(_THREADS)]
        assert sorted(loads) == [0, 1, 2, 3]

    def test_one_that_is_there_does_not_wait_for_another(self) -> None:
        cache = _cache()
        cache.get("there", lambda: 1)
        loading, done = threading.Event(), threading.Event()

        def load() -> int:
            loading.set()
            assert done.wait(10)
            return 2

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(cache.get, "slow", load)
            assert loading.wait(10)
            assert cache.get("there", lambda: 3) == 1
            done.set()
            assert slow.result() == 2

    def test_a_model_may_need_another(self) -> None:
        cache = _cache()

        def load() -> list[str]:
            return [cache.get("words", lambda: "words")]

        assert _at_once(
            lambda number: (
                cache.get("reader", load)
                if number % 2
                else cache.get("words", lambda: "words")
            )
        ) == [["words"] if number % 2 else "words" for number in range(32)]
        assert cache.statistics().loads == 2

    def test_a_failure_is_told_to_all_who_waited(self) -> None:
        cache = _cache()
        tries: list[int] = []
        waiting = threading.Semaphore(0)

        def load() -> object:
            tries.append(1)
            for _ in range(_THREADS - 1):
                # pylint: disable-next=consider-using-with  # it only counts
                assert waiting.acquire(timeout=10)
            time.sleep(0.1)
            raise OSError("no such file")

        def ask(_: int) -> object:
            waiting.release()
            return cache.get("broken", load)

        got = _at_once(ask)
        assert all(isinstance(error, ModelLoadError) for error in got)
        assert isinstance(got[0], ModelLoadError)
        assert isinstance(got[0].__cause__, OSError)
        assert len(tries) == cache.statistics().failures == 1

    def test_a_failure_is_not_kept(self) -> None:
        cache = _cache()

        def broken() -> int:
            raise OSError("no such file")

        with pytest.raises(ModelLoadError, match="'late'"):
            cache.get("late", broken)
        assert cache.get("late", lambda: 5) == 5
        assert cache.statistics().failures == 1


class TestMemory:
    def test_what_was_used_longest_ago_leaves(self) -> None:
        cache = _cache(3)

        def get(name: str) -> str:
            return cache.get(name, lambda: name, size=lambda _: MEGABYTE)

        for name in ("a", "b", "c"):
            get(name)
        get("a")
        get("d")
        assert list(cache.loaded()) == ["c", "a", "d"]
        assert cache.statistics().evictions == 1
        assert cache.statistics().bytes == 3 * MEGABYTE

    def test_pinned_ones_stay(self) -> None:
        cache = _cache(2)
        cache.get("kept", lambda: 1, size=lambda _: MEGABYTE, pinned=True)
        for name in ("a", "b", "c"):
            cache.get(name, lambda: 1, size=lambda _: MEGABYTE)
        assert list(cache.loaded()) == ["kept", "c"]

    def test_one_that_is_too_large_is_kept_alone(self) -> None:
        cache = _cache(2)
        cache.get("small", lambda: 1, size=lambda _: MEGABYTE)
        cache.get("large", lambda: 1, size=lambda _: 9 * MEGABYTE)
        assert list(cache.loaded()) == ["large"]
        cache.get("small", lambda: 1, size=lambda _: MEGABYTE)
        assert list(cache.loaded()) == ["small"]

    def test_a_lower_limit_takes_effect_at_once(self) -> None:
        cache = _cache(2)
        for name in ("a", "b"):
            cache.get(name, lambda: 1, size=lambda _: MEGABYTE)
        cache.limit(MEGABYTE)
        assert list(cache.loaded()) == ["b"]

    def test_its_size_is_what_the_process_grew_by(self) -> None:
        cache = _cache(1000)
        cache.get("array", lambda: np.ones(10_000_000))
        assert 75e6 < cache.statistics().bytes < 100e6

    def test_one_that_left_works_on_where_it_is_used(self) -> None:
        cache = _cache(1)
        array = cache.get("array", lambda: [1, 2], size=lambda _: MEGABYTE)
        cache.get("next", lambda: [3], size=lambda _: MEGABYTE)
        assert "array" not in cache.loaded()
        assert array == [1, 2]

    def test_the_limit_holds_under_a_race(self) -> None:
        cache = _cache(3)

        def get(name: str) -> str:
            return cache.get(name, lambda: name, size=lambda _: MEGABYTE)

        def ask(number: int) -> object:
            for turn in range(50):
                name = str((number * 7 + turn) % 9)
                assert get(name) == name
                assert cache.statistics().bytes <= 3 * MEGABYTE
            return number

        assert _at_once(ask) == list(range(_THREADS))
        statistics = cache.statistics()
        assert statistics.hits + statistics.misses == 50 * _THREADS
        assert statistics.loads - statistics.evictions == statistics.models

    def test_forget(self) -> None:
        cache = _cache()
        cache.get("one", lambda: 1, pinned=True)
        assert cache.forget("one")
        assert not cache.forget("one")
        assert cache.get("one", lambda: 2) == 2


class TestFork:
    def test_a_child_has_what_its_parent_loaded(self) -> None:
        """Even when it was forked while a thread was loading."""
        cache = _cache()
        cache.get("there", lambda: 7)
        loading, done = threading.Event(), threading.Event()

        def load() -> int:
            loading.set()
            assert done.wait(10)
            return 1

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(cache.get, "slow", load)
            assert loading.wait(10)
            child = os.fork()
            if not child:
                # Neither pytest nor the pool may go on in here.
                there = cache.get("there", lambda: 0) == 7
                loads = cache.get("slow", lambda: 3) == 3
                os._exit(0 if there and loads else 1)
            _, status = os.waitpid(child, 0)
            done.set()
            assert slow.result() == 1
        assert os.waitstatus_to_exitcode(status) == 0


class TestDeclared:
    def test_a_decorated_loader_answers_from_the_cache(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_cache, "models", _cache())
        monkeypatch.setattr(model_cache, "_DECLARED", {})

        @model_cache.model("numbers")
        def numbers() -> list[int]:
            """Some numbers."""
            return [1, 2]

        model_cache.warm(["numbers"])
        assert model_cache.models.loaded().keys() == {"numbers"}
        assert numbers() is numbers()
        assert numbers.__doc__ == "Some numbers."
        assert model_cache.models.statistics().loads == 1
        with pytest.raises(UnknownModelError, match="there are numbers"):
            model_cache.warm(["numbers", "nobody"])
        with pytest.raises(ValueError, match="two models"):
            model_cache.model("numbers")(lambda: 1)
