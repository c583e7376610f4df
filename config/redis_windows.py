"""Redis windows: how many requests of a window are granted, kept on Redis."""

import time
from typing import Final

from limits.aio.storage import RedisStorage
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from config.token_leases import Share, Window

# Machines whose clocks differ still find a window that has ended for others.
_KEPT_SECONDS: Final = 60


class RedisWindows:
    """Grants the requests of windows that several machines share.

    Args:
        url: where Redis is.
        prefix: what its keys begin with.
    """

    def __init__(self, url: str, prefix: str) -> None:
        # A request waits for none of the client's own repetitions.
        self._redis = Redis.from_url(url, retry=Retry(NoBackoff(), retries=0))
        pool = self._redis.connection_pool
        self._storage = RedisStorage(
            "redis://",  # The client knows where.
            implementation="redispy",
            key_prefix=prefix,
            connection_pool=pool,  # type: ignore[arg-type]  # It takes one.
        )

    async def lease(self, window: Window, wanted: int) -> Share:
        """Grants up to `wanted` requests of a window, within its limit.

        One atomic increment, which may pass the limit: what is beyond it is
        granted to nobody.
        """
        rest_seconds = max(0, window.ends_at - int(time.time()))
        asked_for = await self._storage.incr(
            window.key.hex(), rest_seconds + _KEPT_SECONDS, amount=wanted
        )
        tokens = wanted - max(0, asked_for - window.limit)
        return Share(max(0, tokens), asked_for)

    async def aclose(self) -> None:
        """Closes the connections; the next use makes new ones."""
        await self._redis.aclose()
