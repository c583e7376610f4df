"""HTTP events, inside a process: the last requests, until they are stored.

On a request's way there is no more than a reference to it that is put into a
bounded queue; a chore stores what came together. Who wants to be told of
requests registers a callback:

    http_events.on_request(f)   # f(origin), when one begins
    http_events.on_response(f)  # f(origin), when one is over

A coroutine function runs as a task beside the request, any other in a thread
of its own: neither delays an answer, and a fault is logged.
"""

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter
from typing import Final, TypeVar

from config.main import settings
from config.origin import Origin

Callback = TypeVar("Callback", bound=Callable[[Origin], object])

# More would be a queue that nobody catches up with.
_MOST_WAITING: Final = 1000
_SLOW_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 10.0
_LOG: Final = logging.getLogger("muster.http_events")


class Recent:
    """The last requests that are not stored yet.

    Attributes:
        arrived: set when there is one.
        dropped: how many left before they were stored.
    """

    def __init__(self, most: int) -> None:
        self.arrived = asyncio.Event()
        self.dropped = 0
        self._most = most
        self._waiting: deque[Origin] = deque(maxlen=most)

    def add(self, origin: Origin) -> None:
        """Adds a request that is over; the oldest one leaves a full queue."""
        if self._most == 0:
            return
        if len(self._waiting) == self._most:
            self.dropped += 1
        self._waiting.append(origin)
        if not self.arrived.is_set():
            self.arrived.set()

    def take(self) -> list[Origin]:
        """All of them, the first one first; none is left."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class Listeners:
    """Callbacks that are told of requests."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Origin], object]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: SimpleQueue[tuple[Callable[[Origin], object], Origin]]
        self._queue = SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, callback: Callable[[Origin], object]) -> None:
        """Tells `callback` of each request from now on."""
        self._callbacks.append(callback)

    def remove(self, callback: Callable[[Origin], object]) -> None:
        """Tells `callback` no more."""
        self._callbacks.remove(callback)

    def tell(self, origin: Origin) -> None:
        """Tells all callbacks of a request, and waits for none."""
        for callback in self._callbacks:
            if inspect.iscoroutinefunction(callback):
                self._start_task(callback, origin)
            else:
                self._hand_over(callback, origin)

    def _start_task(
        self, callback: Callable[[Origin], object], origin: Origin
    ) -> None:
        if len(self._tasks) >= _MOST_WAITING:
            _LOG.warning("%s is too slow: a request is left out", callback)
            return
        task = asyncio.create_task(_await(callback, origin))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hand_over(
        self, callback: Callable[[Origin], object], origin: Origin
    ) -> None:
        if self._queue.qsize() >= _MOST_WAITING:
            _LOG.warning("%s is too slow: a request is left out", callback)
            return
        if self._thread is None:
            # After the fork, and ending with the process, whatever it is at.
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._queue.put((callback, origin))

    def _work(self) -> None:
        while True:
            callback, origin = self._queue.get()
            begin = perf_counter()
            try:
                callback(origin)
            except Exception:  # pylint: disable=broad-exception-caught
                _LOG.exception("%s failed", callback)
            _warn_if_slow(callback, begin)


recent: Final = Recent(settings.http_events_max)
requests: Final = Listeners()
responses: Final = Listeners()


def on_request(callback: Callback) -> Callback:
    """Calls `callback` with the `Origin` of each request that begins."""
    requests.add(callback)
    return callback


def on_response(callback: Callback) -> Callback:
    """Calls `callback` with the `Origin` of each request that is over."""
    responses.add(callback)
    return callback


async def _await(
    callback: Callable[[Origin], object], origin: Origin
) -> None:
    begin = perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            result = callback(origin)
            if inspect.isawaitable(result):
                await result
    except Exception:  # pylint: disable=broad-exception-caught
        _LOG.exception("%s failed", callback)
    _warn_if_slow(callback, begin)


def _warn_if_slow(callback: Callable[[Origin], object], begin: float) -> None:
    seconds = perf_counter() - begin
    if seconds > _SLOW_SECONDS:
        _LOG.warning("%s took %.1f s", callback, seconds)
