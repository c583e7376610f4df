"""Metrics: what all workers did, counted for Prometheus.

Under gunicorn each worker counts in files that all of them can read: the
server names the folder before it forks. `uvicorn app:app` counts in memory.
"""

import os
import resource
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client import values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from config.origin import Origin

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

# How old what another worker did may be in what this one shows.
SAMPLE_SECONDS: Final = 1.0

# The library looks for it when it is imported, and counts in memory without.
FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

# Whatever strangers send, there are only so many series.
_METHODS: Final = frozenset(
    ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
)
_OTHER_METHOD: Final = "other"
_NO_ROUTE: Final = "unmatched"

_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_LABELS: Final = ("method", "route", "status")


class _Process:
    """This process, and when it began."""

    id = 0
    started_at = 0.0

    @classmethod
    def begin(cls) -> None:
        """It is another one from now on."""
        cls.id, cls.started_at = os.getpid(), time()


_Process.begin()
# The server imports this, and its workers are forks of it.
os.register_at_fork(after_in_child=_Process.begin)
if FOLDER_VARIABLE in os.environ:
    # The library would ask the system for the process at every number that it
    # counts, lest it was forked since: 2 µs.
    values.ValueClass = values.MultiProcessValue(  # type: ignore[no-untyped-call]
        lambda: _Process.id
    )

# Method, route template, status.
_Series = tuple[str, str | None, int]


@dataclass(frozen=True, slots=True)
class Total:
    """A number that a part of this process counts up by itself.

    Attributes:
        name: of the metric, without `_total`.
        help: what it counts.
        read: the number so far.
    """

    name: str
    help: str
    read: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Level:
    """A number of a part of this process that rises and falls.

    Attributes:
        name: of the metric.
        help: what it says.
        read: the number at present.
        shared: whether all workers look at the same; else theirs add up.
    """

    name: str
    help: str
    read: Callable[[], float]
    shared: bool = False


class _Files(Collector):
    """What all workers counted, in the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Reads all files but those that are made at this moment.

        The library's own collector fails at one that is empty still.

        Raises:
            OSError: the folder is lost, and what was counted with it.
        """
        files = [
            str(file)
            for file in self._folder.iterdir()
            if file.suffix == ".db" and _has_begun(file)
        ]
        merged: Iterable[Metric]
        merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


class Metrics:  # pylint: disable=too-many-instance-attributes  # Numbers.
    """Counts the requests of this process, and shows those of all.

    What Prometheus' library does for one number costs 1 µs. What every request
    would add to is therefore counted in plain numbers and handed over each
    second; only what has labels goes there at once.

    Args:
        totals: what other parts of the process count.
        levels: what they have at present.
    """

    def __init__(
        self, totals: Sequence[Total] = (), levels: Sequence[Level] = ()
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "muster_http_requests",
            "Requests that were answered.",
            _LABELS,
            registry=self._registry,
        )
        self._durations = Histogram(
            "muster_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            _LABELS,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._running = self._gauge(
            "muster_http_requests_in_progress",
            "Requests that are being answered.",
            "livesum",
        )
        self._memory = self._gauge(
            "muster_process_resident_memory_bytes",
            "Memory of each worker.",
            "liveall",
        )
        self._start = self._gauge(
            "muster_process_start_time_seconds",
            "When each worker started, in seconds since 1970.",
            "liveall",
        )
        self._observers: dict[_Series, Callable[[float], None]] = {}
        self._answered: Counts[_Series] = Counts()
        self._in_progress = 0
        self._commands = 0
        self._command_seconds = 0.0
        self._totals = [
            (total, Counter(total.name, total.help, registry=self._registry))
            for total in (
                Total(
                    "muster_database_commands",
                    "Commands that requests asked for; several may share one.",
                    lambda: self._commands,
                ),
                Total(
                    "muster_database_seconds",
                    "Time that requests waited for the database.",
                    lambda: self._command_seconds,
                ),
                *totals,
            )
        ]
        self._levels = [(level, self._gauge_of(level)) for level in levels]
        self._handed_over = {total.name: 0.0 for total, _ in self._totals}

    def begin(self, _origin: Origin) -> None:
        """A request begins."""
        self._in_progress += 1

    def end(self, origin: Origin) -> None:
        """A request is over."""
        self._in_progress -= 1
        self._commands += origin.command_count
        self._command_seconds += origin.command_seconds
        method = origin.scope["method"]
        key = (
            method if method in _METHODS else _OTHER_METHOD,
            origin.route,
            origin.status,
        )
        self._answered[key] += 1
        observe = self._observers.get(key)
        if observe is None:
            observe = self._observers[key] = self._durations.labels(
                *_labels_of(key)
            ).observe
        observe(origin.seconds or 0.0)

    async def sample(self) -> None:
        """Hands over what was counted in plain numbers; a chore."""
        self._hand_over()

    def show(self) -> bytes:
        """What all workers counted, in Prometheus' text format.

        It reads the files of all workers, some milliseconds: call it in a
        thread.
        """
        self._hand_over()
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        everybody.register(_Files(Path(os.environ[FOLDER_VARIABLE])))
        return generate_latest(everybody)

    def _gauge(self, name: str, text: str, mode: str) -> Gauge:
        return Gauge(
            name,
            text,
            multiprocess_mode=mode,  # type: ignore[arg-type]  # One of them.
            registry=self._registry,
        )

    def _gauge_of(self, level: Level) -> Gauge:
        mode = "livemostrecent" if level.shared else "livesum"
        return self._gauge(level.name, level.help, mode)

    def _hand_over(self) -> None:
        self._running.set(self._in_progress)
        self._memory.set(_resident_bytes())
        self._start.set(_Process.started_at)
        for series, count in self._answered.items():
            self._requests.labels(*_labels_of(series)).inc(count)
        self._answered.clear()
        for level, gauge in self._levels:
            gauge.set(level.read())
        for total, counter in self._totals:
            now = total.read()
            counter.inc(now - self._handed_over[total.name])
            self._handed_over[total.name] = now


def _labels_of(series: _Series) -> tuple[str, str, str]:
    method, route, status = series
    return method, route or _NO_ROUTE, str(status)


def _has_begun(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        # Its worker has ended.
        return False


def _resident_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except FileNotFoundError:
        # A Mac tells the most that there was, in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(pages) * resource.getpagesize()
