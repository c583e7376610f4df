"""Cache: answers of endpoints, kept until what they show is changed.

`@cached` goes on a handler, `@invalidates` on what changes what it shows:

    @router.get("/{event_id}")
    @cached("event/{event_id}", tags=("event:{event_id}",), per="everyone",
            seconds=30)
    async def get_event(event_id: EventId) -> EventRead: …

    @invalidates("event:{event_id}")
    async def cancel(event_id: str, *, actor: Actor) -> Event: …

Each process keeps its own answers, as the bytes of their JSON. Whether one is
still true is known by the stamps of its tags (`config/stamps.py`), which were
read before it was made: a change ends it in all processes of the machine at
once, when the change is committed and before its own answer is sent. Other
machines hear of it over Redis (`config/stamp_news.py`); without Redis they
show what they have until it expires.

A process that is killed between its commit and its stamps leaves answers that
are not true: the one that takes its place ends them all when it starts.
"""

import asyncio
import functools
import inspect
import logging
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Sequence,
)
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, cast

from cachetools import TLRUCache
from pydantic import BaseModel, SecretStr, TypeAdapter
from starlette.responses import Response

from config import transactions
from config.stamps import Stamps, slots_of

if TYPE_CHECKING:
    from config.stamp_news import StampNews

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Key = tuple[Hashable, ...]

_MOST_BYTES: Final = 32 * 1024 * 1024
# What an answer takes besides its bytes, about.
_ENTRY_BYTES: Final = 600
# So long may a machine show what another one has changed, without Redis.
_UNHEARD_SECONDS: Final = 2.0
_CALLER: Final = "actor"
_MEDIA_TYPE: Final = "application/json"
_LOG: Final = logging.getLogger("muster.cache")


@dataclass(slots=True)
class Statistics:
    """What this process did since it began.

    Attributes:
        hits: answers that were there.
        shared: answers that were on their way already.
        misses: answers that had to be made.
        invalidations: tags that were ended here.
    """

    hits: int = 0
    shared: int = 0
    misses: int = 0
    invalidations: int = 0


STATISTICS: Final = Statistics()


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, with the stamps that it holds for."""

    body: bytes
    stamps: tuple[int, ...]
    until: float

    def response(self) -> Response:
        """A new one each time: stages add headers to it."""
        return Response(self.body, media_type=_MEDIA_TYPE)


class _Flight:
    """An answer that is being made, for all who ask for it meanwhile."""

    def __init__(self, stamps: tuple[int, ...]) -> None:
        self.stamps = stamps
        self.landed = asyncio.Event()
        self.kept: _Kept | None = None
        self.was_left = False


class _State:
    """What this process stands on; nothing is kept before it is open."""

    stamps: Stamps | None = None
    news: "StampNews | None" = None
    longest_seconds = 0.0


_KEPT: Final[TLRUCache[Key, _Kept]] = TLRUCache(
    _MOST_BYTES,
    ttu=lambda _key, kept, _now: kept.until,
    # Not a clock that only counts: answers end at the times that they show.
    timer=time.time,
    getsizeof=lambda kept: len(kept.body) + _ENTRY_BYTES,
)
_FLIGHTS: Final[dict[Key, _Flight]] = {}


@asynccontextmanager
async def opened(
    folder: Path, *, redis_url: SecretStr | None, alone: bool
) -> AsyncIterator[None]:
    """Keeps answers until the end of the block.

    Where the folder can't be written, none is kept: others would not learn
    what this process changes.

    Args:
        folder: where the processes of this machine meet.
        redis_url: where machines meet; None where there is no Redis.
        alone: whether no other machine writes to the database.
    """
    try:
        stamps = Stamps(folder / "cache.stamps")
    except OSError as error:
        _LOG.warning("DATA_DIR can't be used: nothing is cached (%s)", error)
        yield
        return
    # Ends what a process keeps that was killed before it could say so.
    stamps.renew_all()
    knows_all = alone or redis_url is not None
    _State.longest_seconds = float("inf") if knows_all else _UNHEARD_SECONDS
    try:
        async with AsyncExitStack() as stack:
            if redis_url is not None:
                # Where there is no Redis, its client takes no memory: 7 MB.
                # pylint: disable-next=import-outside-toplevel
                from config.stamp_news import StampNews

                news = StampNews(stamps, redis_url.get_secret_value())
                _State.news = await stack.enter_async_context(news.running())
            _State.stamps = stamps
            yield
    finally:
        _State.stamps = _State.news = None


def forget_all() -> None:
    """Ends all answers of all processes of this machine."""
    if _State.stamps is not None:
        _State.stamps.renew_all()


@contextmanager
def invalidating(*tags: str) -> Iterator[None]:
    """Ends what hangs on these tags once the block has changed it.

    Inside a transaction that is when it has ended, however it did: of a commit
    that nobody confirmed, nobody knows.
    """
    try:
        yield
    finally:
        transactions.at_the_end(_Renewal(tags))


def invalidates(
    *tags: str,
) -> Callable[
    [Callable[Arguments, Awaitable[Result]]],
    Callable[Arguments, Awaitable[Result]],
]:
    """Says what a function changes; see `invalidating`.

    Args:
        tags: templates over its arguments, such as `event:{event_id}`.
    """

    def decorate(
        change: Callable[Arguments, Awaitable[Result]],
    ) -> Callable[Arguments, Awaitable[Result]]:
        signature = inspect.signature(change)

        @functools.wraps(change)
        async def changing(
            *args: Arguments.args, **kwargs: Arguments.kwargs
        ) -> Result:
            given = signature.bind(*args, **kwargs).arguments
            with invalidating(*(tag.format(**given) for tag in tags)):
                return await change(*args, **kwargs)

        return changing

    return decorate


def cached(
    key: str,
    *,
    tags: Sequence[str],
    per: Literal["caller", "everyone"],
    seconds: float,
    until: Callable[[Any], datetime | None] | None = None,
    unless: Callable[..., bool] | None = None,
) -> Callable[
    [Callable[..., Awaitable[Result]]], Callable[..., Awaitable[Result]]
]:
    """Keeps what a handler answers, for those who ask for the same.

    Of requests for the same at once, one makes the answer for all; when it is
    given up, another one goes on. An error is nobody's but its own request's.

    Args:
        key: a name, with all arguments of the handler in braces.
        tags: what it hangs on, templates over the same arguments.
        per: whether what one caller gets is for that caller, by the handler's
            `actor`, or for everyone.
        seconds: the longest time that an answer is kept.
        until: says of a result until when it holds; None for one that must
            not be kept, nor shown to others who ask at the same moment.
        unless: says of the arguments that nothing is kept.

    Raises:
        TypeError: an argument is not in the key, or nobody calls.
    """

    def decorate(
        handler: Callable[..., Awaitable[Result]],
    ) -> Callable[..., Awaitable[Result]]:
        signature = inspect.signature(handler)
        endpoint = _Endpoint(
            handler,
            names=_names_in(key),
            tags=tags,
            is_per_caller=per == "caller",
            seconds=seconds,
            until=until,
            unless=unless,
            adapter=TypeAdapter(signature.return_annotation),
        )
        endpoint.require_whole_key(set(signature.parameters))

        @functools.wraps(handler)
        async def answer(**arguments: Any) -> object:
            return await endpoint.answer(arguments)

        return cast(Callable[..., Awaitable[Result]], answer)

    return decorate


@dataclass(frozen=True, slots=True)
class _Endpoint:  # pylint: disable=too-many-instance-attributes  # Options.
    """A handler whose answers are kept; see `cached`."""

    handler: Callable[..., Awaitable[object]]
    names: tuple[str, ...]
    tags: Sequence[str]
    is_per_caller: bool
    seconds: float
    until: Callable[[Any], datetime | None] | None
    unless: Callable[..., bool] | None
    adapter: TypeAdapter[Any]

    def require_whole_key(self, parameters: set[str]) -> None:
        """Checks that the key tells all questions apart.

        Raises:
            TypeError: it does not.
        """
        name = self.handler.__name__
        if self.is_per_caller and _CALLER not in parameters:
            raise TypeError(f"{name} has no {_CALLER} to be cached for")
        missing = parameters - {_CALLER} - set(self.names)
        if missing:
            raise TypeError(f"{name}: {sorted(missing)} is not in the key")

    async def answer(self, arguments: dict[str, Any]) -> object:
        """What was kept, or what the handler says now."""
        stamps = _usable_stamps()
        if stamps is None or (self.unless and self.unless(**arguments)):
            return await self.handler(**arguments)
        key = self._key_of(arguments)
        slots = slots_of([tag.format(**arguments) for tag in self.tags])
        while True:
            now = stamps.read(slots)
            kept = _find(key)
            if kept is not None and kept.stamps == now:
                STATISTICS.hits += 1
                return kept.response()
            flight = _FLIGHTS.get(key)
            # Who asks after a change must not get what was read before it.
            if flight is None or flight.stamps != now:
                STATISTICS.misses += 1
                return await self._fly(key, _Flight(now), arguments)
            await flight.landed.wait()
            if flight.kept is not None:
                STATISTICS.shared += 1
                return flight.kept.response()
            if not flight.was_left:
                # It failed, or is not for others: each must see for itself.
                return await self.handler(**arguments)

    async def _fly(
        self, key: Key, flight: _Flight, arguments: dict[str, Any]
    ) -> object:
        _FLIGHTS[key] = flight
        try:
            result = await self.handler(**arguments)
            flight.kept = self._keep(result, flight.stamps)
        except asyncio.CancelledError:
            # The first who waits for it takes its place.
            flight.was_left = True
            raise
        finally:
            flight.landed.set()
            if _FLIGHTS.get(key) is flight:
                del _FLIGHTS[key]
        if flight.kept is None:
            return result
        with suppress(ValueError):  # It is larger than all that may be kept.
            _KEPT[key] = flight.kept
        return flight.kept.response()

    def _key_of(self, arguments: dict[str, Any]) -> Key:
        """Not one text, in which two arguments could read like others."""
        caller = arguments[_CALLER] if self.is_per_caller else None
        asked = [_hashable(arguments[name]) for name in self.names]
        return self.handler, caller, *asked

    def _keep(self, result: object, stamps: tuple[int, ...]) -> _Kept | None:
        lasts = time.time() + min(self.seconds, _State.longest_seconds)
        if self.until is not None:
            end = self.until(result)
            if end is None:
                return None
            lasts = min(lasts, end.timestamp())
        return _Kept(self.adapter.dump_json(result), stamps, lasts)


@dataclass(frozen=True, slots=True)
class _Renewal:
    """The end of what hangs on some tags; equal ones are one."""

    tags: tuple[str, ...]

    def __call__(self) -> None:
        if _State.stamps is None:
            return
        STATISTICS.invalidations += len(self.tags)
        _State.stamps.renew(self.tags)
        if _State.news is not None:
            _State.news.tell(self.tags)


def _find(key: Key) -> _Kept | None:
    try:
        return _KEPT[key]
    except KeyError:
        return None


def _usable_stamps() -> Stamps | None:
    """The stamps, unless some change may have gone unheard."""
    news = _State.news
    return _State.stamps if news is None or news.is_heard else None


def _names_in(template: str) -> tuple[str, ...]:
    parsed = Formatter().parse(template)
    return tuple(name for _, name, _, _ in parsed if name is not None)


def _hashable(value: Hashable) -> Hashable:
    """The value; of a query, which can't be a key, its JSON."""
    return value.model_dump_json() if isinstance(value, BaseModel) else value
