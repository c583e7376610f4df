"""Traces: which of Muster's own functions a request calls, and for how long.

The interpreter tells of every call on the loop's thread while at least one
traced request runs, which makes all of them slower; before and after, it costs
nothing. A call belongs to the request whose task makes it. What runs in
threads, such as the hashing of passwords, is time of its caller.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import CodeType, FrameType
from typing import Any, Final

from config.origin import origin_of_task

MOST_CALLS: Final = 2000

_ROOT: Final = Path(__file__).parents[1]
_ROOMS: Final = tuple(
    f"{_ROOT / room}/" for room in ("config", "routes", "utils", "models")
)
# Their frames come and go while one call lasts.
_SUSPENDING: Final = (
    # pylint: disable-next=no-member  # Put there by name, in a loop.
    inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
)


class Call:
    """A call of one of Muster's functions.

    Attributes:
        name: the module and the function.
        parent: the place of the call that made it; -1 for the first ones.
        began: when, by `perf_counter`.
        ended: when it returned last.
    """

    __slots__ = ("began", "ended", "name", "parent")

    def __init__(self, name: str, parent: int) -> None:
        self.name = name
        self.parent = parent
        self.began = self.ended = perf_counter()


class Trace:
    """The calls of one request, in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.left_out = 0
        # The frames themselves: what is known of a number of one that is gone
        # could be told of another.
        self._open: dict[FrameType, int] = {}

    def enter(self, frame: FrameType, name: str) -> None:
        """Notes a call, or that a coroutine goes on."""
        if frame in self._open:
            return
        if len(self.calls) >= MOST_CALLS:
            self.left_out += 1
            return
        self._open[frame] = len(self.calls)
        self.calls.append(Call(name, self._parent_of(frame)))

    def leave(self, frame: FrameType) -> None:
        """Notes that a call returns, or that a coroutine waits."""
        place = self._open.get(frame)
        if place is None:
            return
        self.calls[place].ended = perf_counter()
        if not frame.f_code.co_flags & _SUSPENDING:
            del self._open[frame]

    def close(self) -> None:
        """Lets go of what the calls held."""
        self._open.clear()

    def _parent_of(self, frame: FrameType) -> int:
        caller = frame.f_back
        while caller is not None:
            place = self._open.get(caller)
            if place is not None:
                return place
            caller = caller.f_back
        return -1


class _State:
    """How many requests are traced now, and whom that displaced."""

    running = 0
    displaced: Any = None


@contextmanager
def tracing() -> Iterator[Trace]:
    """Notes the calls of this task, and of tasks that it starts."""
    origin = origin_of_task.get()
    trace = origin.trace = Trace()
    if _State.running == 0:
        _State.displaced = sys.getprofile()
        sys.setprofile(_note)
    _State.running += 1
    try:
        yield trace
    finally:
        _State.running -= 1
        if _State.running == 0:
            sys.setprofile(_State.displaced)
        trace.close()


def _note(frame: FrameType, event: str, _argument: object) -> None:
    if event not in ("call", "return"):
        return
    name = _name_of(frame.f_code)
    if name is None:
        return
    trace = origin_of_task.get().trace
    if trace is None:
        return
    if event == "call":
        trace.enter(frame, name)
    else:
        trace.leave(frame)


_NAMES: Final[dict[CodeType, str | None]] = {}


def _name_of(code: CodeType) -> str | None:
    """How a trace calls a function; None of those that are not Muster's."""
    try:
        return _NAMES[code]
    except KeyError:
        name = None
        path = code.co_filename
        # Comprehensions and the like are a part of their function.
        is_named = not code.co_name.startswith("<")
        if path.startswith(_ROOMS) and is_named and path != __file__:
            module = Path(path).relative_to(_ROOT).with_suffix("")
            name = f"{'.'.join(module.parts)}.{code.co_qualname}"
        _NAMES[code] = name
        return name
