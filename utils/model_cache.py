"""Model cache: what processes need loaded is loaded once in each process.

Owns no collection. May call: nobody. A model is a function that loads it:

    @model("digits")
    def digits() -> DigitReader:
        return DigitReader.train()

    digits()  # loads it
    digits()  # has it

However many threads ask at once, one loads and the others wait for it. When
all models together pass the limit, those that were used longest ago leave;
pinned ones stay. A thread that still works with one which left keeps it alive
until it is done. A child that is forked off has what its parent had loaded.
"""

import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

MEGABYTE: Final = 1_000_000

# The second number is the pages that are in memory.
_PAGES: Final = Path("/proc/self/statm")


class ModelLoadError(Exception):
    """A model can't be loaded; its cause says why."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the model {name!r} can't be loaded")
        self.name = name


class UnknownModelError(Exception):
    """Nobody declared a model of this name; the message names those there."""


class Statistics(NamedTuple):
    """What the cache of one process did since that process began.

    Attributes:
        models: how many are loaded now.
        bytes: what they take together.
        hits: how often one was there.
        misses: how often one was not, those who waited for it included.
        loads: how often one was loaded.
        failures: how often loading failed.
        evictions: how many left to make room.
        load_seconds: how long all loads took together.
    """

    models: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    loads: int = 0
    failures: int = 0
    evictions: int = 0
    load_seconds: float = 0.0


@dataclass(slots=True)
class _Entry:
    value: Any
    bytes: int
    pinned: bool


class ModelCache:
    """Models of one process, by name; all methods may be called by threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._renew_locks()
        # In the order of their last use, the oldest first.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._load_seconds = 0.0
        # Of each name the number of its attempts, and why the last one failed.
        self._attempts: dict[str, tuple[int, Exception | None]] = {}
        os.register_at_fork(after_in_child=self._renew_locks)

    def limit(self, limit_bytes: int) -> None:
        """Sets what all models may take together; evicts what is above."""
        with self._lock:
            self._limit_bytes = limit_bytes
            self._evict(keep=None)

    def get(
        self,
        name: str,
        load: Callable[[], T],
        *,
        size: Callable[[T], int] | None = None,
        pinned: bool = False,
    ) -> T:
        """The model of this name, loaded by `load` where it is not there.

        A model that is larger than the limit by itself is kept until another
        one comes: callers that take turns with it would load it each time.

        Args:
            name: what it is kept under.
            load: makes it; may ask the cache for other models.
            size: what it takes, bytes; without it, what the process grew by
                while it was loaded.
            pinned: whether it stays, whatever else is loaded.

        Raises:
            ModelLoadError: `load` failed. Those who waited for it fail with
                it; the next one to ask tries again.
        """
        with self._lock:
            found = self._find(name)
            if found is not None:
                return found.value  # type: ignore[no-any-return]
            self._counts["misses"] += 1
            attempt, _ = self._attempts.get(name, (0, None))
        # One load at a time, so that what each one takes can be measured. A
        # thread may come back for another model while it loads one; two that
        # want each other's can't wait for each other.
        with self._loading:
            with self._lock:
                entry = self._entries.get(name)
                last, failure = self._attempts.get(name, (0, None))
            if entry is not None:
                return entry.value  # type: ignore[no-any-return]
            if failure is not None and last > attempt:
                raise ModelLoadError(name) from failure
            value, grown, seconds = self._load(name, load)
            entry = _Entry(value, size(value) if size else grown, pinned)
            self._keep(name, entry, seconds)
            return value

    def forget(self, name: str) -> bool:
        """Drops a model, pinned or not; says whether it was there."""
        with self._lock:
            return self._entries.pop(name, None) is not None

    def statistics(self) -> Statistics:
        """What this process' cache holds and did."""
        with self._lock:
            taken = sum(entry.bytes for entry in self._entries.values())
            return Statistics(
                models=len(self._entries),
                bytes=taken,
                load_seconds=self._load_seconds,
                **self._counts,
            )

    def loaded(self) -> dict[str, int]:
        """What each model takes, bytes; the one used longest ago first."""
        with self._lock:
            return {name: each.bytes for name, each in self._entries.items()}

    def _find(self, name: str) -> _Entry | None:
        entry = self._entries.get(name)
        if entry is not None:
            self._entries.move_to_end(name)
            self._counts["hits"] += 1
        return entry

    def _load(
        self, name: str, load: Callable[[], T]
    ) -> tuple[T, int, float]:
        """The model, what the process grew by, and how long it took."""
        before, begun = _resident_bytes(), time.perf_counter()
        failure: Exception | None = None
        try:
            value = load()
        except Exception as error:
            failure = error
            raise ModelLoadError(name) from error
        finally:
            with self._lock:
                attempt, _ = self._attempts.get(name, (0, None))
                self._attempts[name] = attempt + 1, failure
                self._counts["failures"] += failure is not None
        grown = max(_resident_bytes() - before, 0)
        return value, grown, time.perf_counter() - begun

    def _keep(self, name: str, entry: _Entry, seconds: float) -> None:
        with self._lock:
            self._entries[name] = entry
            self._counts["loads"] += 1
            self._load_seconds += seconds
            self._evict(keep=name)

    def _evict(self, *, keep: str | None) -> None:
        taken = sum(entry.bytes for entry in self._entries.values())
        for name, entry in list(self._entries.items()):
            if taken <= self._limit_bytes:
                return
            if name != keep and not entry.pinned:
                del self._entries[name]
                taken -= entry.bytes
                self._counts["evictions"] += 1

    def _renew_locks(self) -> None:
        """A fork copies locks that a thread held, but not that thread."""
        self._lock = threading.Lock()
        self._loading = threading.RLock()


models: Final = ModelCache(512 * MEGABYTE)
_DECLARED: Final[dict[str, Callable[[], object]]] = {}


def model(
    name: str,
    *,
    size: Callable[[Any], int] | None = None,
    pinned: bool = False,
) -> Callable[[Callable[[], T]], Callable[[], T]]:
    """Declares a model: the decorated loader answers from the cache.

    Args:
        name: unique, such as `digits`.
        size: what it takes, bytes; measured where it is not said.
        pinned: whether it stays, whatever else is loaded.
    """

    def declared(load: Callable[[], T]) -> Callable[[], T]:
        def get() -> T:
            value: T = models.get(name, load, size=size, pinned=pinned)
            return value

        if name in _DECLARED:
            raise ValueError(f"two models are named {name!r}")
        _DECLARED[name] = get
        get.__doc__ = load.__doc__
        return get

    return declared


def warm(names: Iterable[str]) -> None:
    """Loads models before anybody asks for them.

    Raises:
        UnknownModelError: nobody declared one of them; none is loaded.
        ModelLoadError: one can't be loaded.
    """
    names = list(names)
    unknown = [name for name in names if name not in _DECLARED]
    if unknown:
        raise UnknownModelError(
            f"no model is named {', '.join(unknown)}: there are "
            f"{', '.join(sorted(_DECLARED)) or 'none'}"
        )
    for name in names:
        _DECLARED[name]()


def _resident_bytes() -> int:
    try:
        pages = int(_PAGES.read_text("ascii").split()[1])
    except OSError:
        # Not Linux: what says nothing about its size counts as nothing.
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
