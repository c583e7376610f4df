"""Stamp news: what is changed on one machine ends on all others, over Redis.

Each process listens to one channel, and renews the stamps of its machine by
what it hears. While it does not hear, it keeps nothing and shows nothing that
it kept; when it hears again, all stamps change, since it can't know what it
missed.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from config.stamps import Stamps

_CHANNEL: Final = "muster:stamps"
# A line that is cut says nothing: after so long, it is asked whether it lives.
_SILENCE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.5
# Of so many tags at once, all are meant.
_MOST_TAGS: Final = 500
_LOG: Final = logging.getLogger("muster.cache")


class StampNews:
    """Tells other machines what is changed here, and hears it from them.

    Attributes:
        is_heard: whether nothing that others say is missed.
    """

    def __init__(self, stamps: Stamps, url: str) -> None:
        self.is_heard = False
        self._stamps = stamps
        # Its own second try would hide a gap.
        self._redis = Redis.from_url(
            url,
            socket_timeout=2 * _SILENCE_SECONDS,
            socket_connect_timeout=_SILENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._untold: set[str] = set()
        self._all_untold = False
        self._waiting = asyncio.Event()
        self._is_away = False

    def tell(self, tags: Iterable[str]) -> None:
        """Has other machines renew the stamps of these tags, in a moment."""
        self._untold.update(tags)
        if len(self._untold) > _MOST_TAGS:
            self._untold.clear()
            self._all_untold = True
        self._waiting.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Listens and tells until the end of the block."""
        tasks = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._speak()),
        ]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(RedisError, OSError):
                await self._tell_the_untold()
            await self._redis.aclose()

    async def _speak(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            try:
                await self._tell_the_untold()
            except (RedisError, OSError):
                # What could not be said is said with what comes next.
                await asyncio.sleep(_RETRY_SECONDS)
                self._waiting.set()

    async def _tell_the_untold(self) -> None:
        tags, all_tags = sorted(self._untold), self._all_untold
        if not tags and not all_tags:
            return
        said = [self._stamps.machine, None if all_tags else tags]
        await self._redis.publish(_CHANNEL, json.dumps(said))
        self._untold.difference_update(tags)
        self._all_untold = self._all_untold and not all_tags

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as line:
                    await line.subscribe(_CHANNEL)
                    await self._hear(line)
            except (RedisError, OSError) as error:
                if not self._is_away:
                    _LOG.error("Redis is away, nothing is cached: %s", error)
                self._is_away = True
            finally:
                self.is_heard = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hear(self, line: PubSub) -> None:
        """Listens until the line is cut.

        Raises:
            redis.exceptions.RedisError: it is.
        """
        is_asked = False
        while True:
            said = await line.get_message(timeout=_SILENCE_SECONDS)
            if said is None and is_asked:
                raise RedisError("no answer")
            if said is None:
                is_asked = True
                await line.ping()
                continue
            is_asked = False
            if said["type"] == "subscribe":
                self._begin()
            elif said["type"] == "message":
                self._take(said["data"])

    def _begin(self) -> None:
        self._stamps.renew_all()
        self.is_heard = True
        if self._is_away:
            _LOG.warning("Redis is back: answers are cached again")
        self._is_away = False

    def _take(self, data: bytes) -> None:
        try:
            machine, tags = json.loads(data)
            if machine == self._stamps.machine:
                # The process that says it has done it.
                return
            self._stamps.renew(tags)
        except (ValueError, TypeError, AttributeError):
            # All of them, or what a later version says.
            self._stamps.renew_all()
