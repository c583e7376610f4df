"""Disconnects: whoever went away is not worked for any more."""

import asyncio
from collections import deque
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.origin import origin_of_task

# Nearly all requests are over before: one look at all that run finds the
# others, so that no request has a timer of its own.
_WATCH_AFTER_SECONDS: Final = 0.1

# Whoever waits for the client's own messages hears of its leaving there, and
# gets this long to end in order.
_GRACE_SECONDS: Final = 1.0

# What changes nothing may break off anywhere; what writes is done, as the
# client can't know how far it came.
_MAY_BREAK_OFF: Final = ("GET", "HEAD")


class Disconnects:
    """Cancels the reading of a client that goes away.

    The request's task is cancelled, whatever it waits for: the driver closes
    the connection of an open command, unless others may share it
    (`config/gathering.py`), and generators run their `finally`. A request that
    writes is left alone, to its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running = _Running()

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http" or scope["method"] not in _MAY_BREAK_OFF:
            await self._app(scope, receive, send)
            return
        watch = _Watch(receive)
        self._running.add(watch)
        try:
            await self._app(scope, watch.receive, send)
        except asyncio.CancelledError:
            # Ours ends here; that of a server that stops goes on its way.
            if not watch.take_back():
                raise
        finally:
            self._running.discard(watch)
            watch.stop()


class _Running:
    """The requests that run, of which each is watched after one or two looks.

    Looks end with the last request, and begin again with the next one.
    """

    def __init__(self) -> None:
        self._new: set[_Watch] = set()
        self._seen: set[_Watch] = set()
        self._looks: asyncio.AbstractEventLoop | None = None

    def add(self, watch: "_Watch") -> None:
        """A request begins."""
        self._new.add(watch)
        loop = asyncio.get_running_loop()
        if self._looks is not loop:
            # The first one, or the loop before ended between two looks.
            self._looks = loop
            loop.call_later(_WATCH_AFTER_SECONDS, self._look)

    def discard(self, watch: "_Watch") -> None:
        """It is over."""
        self._new.discard(watch)
        self._seen.discard(watch)

    def _look(self) -> None:
        for watch in self._seen:
            watch.start()
        self._seen, self._new = self._new, set()
        if self._seen and self._looks is not None:
            self._looks.call_later(_WATCH_AFTER_SECONDS, self._look)
        else:
            self._looks = None


class _Messages:
    """What was read and not yet handed on."""

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.arrived = asyncio.Event()
        self.taken = asyncio.Event()

    def add(self, message: Message) -> None:
        """Adds what was read."""
        self.waiting.append(message)
        self.arrived.set()
        self.taken.clear()

    async def take(self) -> Message:
        """The next one; the last one, that the client left, stays."""
        while not self.waiting:
            await self.arrived.wait()
        message = self.waiting[0]
        if message["type"] != "http.disconnect":
            self.waiting.popleft()
            self.taken.set()
            if not self.waiting:
                self.arrived.clear()
        return message


class _Watch:  # pylint: disable=too-many-instance-attributes  # And has slots.
    """Reads what the client sends, while a request lasts, to see it leave.

    It hands on what it reads: nobody else asks the server then, so that nothing
    is lost, and the request may wait for messages meanwhile.
    """

    __slots__ = (
        "_asked",
        "_cancelled",
        "_grace",
        "_messages",
        "_origin",
        "_reader",
        "_receive",
        "_task",
    )

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[object] | None = asyncio.current_task()
        self._origin = origin_of_task.get()
        self._asked = 0
        self._cancelled = False
        self._grace: asyncio.TimerHandle | None = None
        # Made for requests that last.
        self._messages: _Messages | None = None
        self._reader: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to read."""
        if self._asked:
            # The request waits for messages itself: two must not.
            asyncio.get_running_loop().call_later(
                _WATCH_AFTER_SECONDS, self._start_again
            )
            return
        self._messages = _Messages()
        self._reader = asyncio.create_task(self._read(self._messages))

    async def receive(self) -> Message:
        """The next message, for the request."""
        self._asked += 1
        try:
            if self._messages is not None:
                return await self._messages.take()
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._note_leaving()
            return message
        finally:
            self._asked -= 1

    def take_back(self) -> bool:
        """Forgets the cancellation; False where there was none, or another."""
        if not self._cancelled or self._task is None:
            return False
        self._cancelled = False
        return self._task.uncancel() == 0

    def stop(self) -> None:
        """Reads no more; a cancellation that nobody noticed is forgotten."""
        self.take_back()
        if self._reader is not None:
            self._reader.cancel()
        if self._grace is not None:
            self._grace.cancel()
        self._task = None

    def _start_again(self) -> None:
        if self._task is not None:
            self.start()

    async def _read(self, messages: _Messages) -> None:
        while True:
            message = await self._receive()
            messages.add(message)
            if message["type"] == "http.disconnect":
                self._note_leaving()
                return
            if message.get("more_body", False):
                # A body that nobody wants stays with the server.
                await messages.taken.wait()

    def _note_leaving(self) -> None:
        if self._origin.complete:
            # It has its answer: the server says so of every request's end.
            return
        self._origin.gone = True
        if self._asked:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(_GRACE_SECONDS, self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and not self._origin.complete:
            self._cancelled = True
            self._task.cancel()
