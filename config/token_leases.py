"""Token leases: requests are counted where they come in, a share at a time.

Each worker takes tokens from the pool of its machine, one by one, or some at
once where there are many. When that has none, the worker leases a share of the
window from the store, hands it to the requests that wait, and puts the rest
into the pool. The store never grants more than the limit, over all machines,
and what it granted is used up once: so never more than the limit is admitted.
A worker or machine that dies takes along what it had leased.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from config.token_pool import Lack, TokenPool

# A request waits no longer for a store that does not answer.
_PATIENCE_SECONDS: Final = 0.5
# After that, one request a second finds out whether it is back.
_PAUSE_SECONDS: Final = 1.0
# A bucket is held for microseconds, unless its holder was stopped.
_TRIES: Final = 5
# A worker asks for so many tokens, and for so great a part of the limit.
_LEAST_SHARE: Final = 20
_PART: Final = 20
# Tokens of so many windows, some of which are over, are held at most.
_MOST_HELD: Final = 4096
_LOG: Final = logging.getLogger("muster.rate_limits")


class Window(NamedTuple):
    """What is counted together.

    Attributes:
        key: names caller, path and period, `KEY_BYTES` long.
        limit: the requests that it admits.
        ends_at: when it ends, seconds since 1970.
    """

    key: bytes
    limit: int
    ends_at: int


class Share(NamedTuple):
    """What the store grants.

    Attributes:
        tokens: how many requests may be admitted for it.
        leased: how many were granted to all machines, these among them.
    """

    tokens: int
    leased: int


class StoreLostError(Exception):
    """Nobody can say at present how many requests were admitted."""


# Grants so many tokens of a window at most, and fewer only at its limit.
Lease = Callable[[Window, int], Awaitable[Share]]

Close = Callable[[], Awaitable[None]]

_NOTHING_HELD: Final = (0, 0, 0)

# Each waits for what is left after their request; None when nothing was.
_Waiters = list[asyncio.Future[int | None]]


class TokenLeases:
    """The tokens of a worker: the machine's own, or leased ones.

    Args:
        pool: the file of the machine's pool.
        lease: the store.
        close: closes the store, if that is to be done.
    """

    def __init__(
        self, pool: Path, lease: Lease, close: Close | None = None
    ) -> None:
        self._path = pool
        self._lease = lease
        self._close = close
        self._outage = _Outage()
        # By key: how many tokens, how many requests are left, at what limit.
        self._held: dict[bytes, tuple[int, int, int]] = {}
        self._flights: dict[bytes, tuple[asyncio.Task[None], _Waiters]] = {}

    def take_here(self, window: Window) -> int | Lack:
        """Takes a token of `window` that is on this machine.

        Returns:
            How many requests it admits after this one, as far as this machine
            knows; or why there is no token.
        """
        tokens, left, limit = self._held.get(window.key, _NOTHING_HELD)
        if tokens and limit == window.limit:
            self._hold(window, tokens - 1, left - 1)
            return left
        found = self._pool.take(window.key, window.limit)
        if isinstance(found, Lack):
            return found
        self._hold(window, found.tokens - 1, found.left - 1)
        return found.left

    async def take(self, window: Window) -> int | None:
        """Takes a token of `window`, wherever there is one.

        Returns:
            How many requests it admits after this one, as far as this machine
            knows; None when it admits no more.

        Raises:
            StoreLostError: there is no token here, and the store is away.
        """
        for _ in range(_TRIES):
            found = self.take_here(window)
            if found is not Lack.BUSY:
                break
            await asyncio.sleep(0)
        if isinstance(found, int):
            return found
        if found is Lack.SPENT:
            return None
        return await self._wait(window)

    async def aclose(self) -> None:
        """Ends what is in flight; the pool stays for the other workers."""
        for task, _ in list(self._flights.values()):
            task.cancel()
            await asyncio.wait([task])
        if "_pool" in vars(self):
            self._pool.close()
            del self._pool
        if self._close is not None:
            await self._close()

    def _hold(self, window: Window, tokens: int, left: int) -> None:
        """Keeps tokens of a window, and how many requests the next leaves."""
        if tokens:
            if len(self._held) >= _MOST_HELD:
                self._held.clear()
            self._held[window.key] = tokens, left, window.limit
        else:
            self._held.pop(window.key, None)

    @cached_property
    def _pool(self) -> TokenPool:
        # At the first use: not in a process that only starts others.
        return TokenPool(self._path)

    async def _wait(self, window: Window) -> int | None:
        """Waits for a lease of this process; all who wait share one."""
        if not self._outage.may_ask():
            raise StoreLostError
        waiter = asyncio.get_running_loop().create_future()
        if window.key in self._flights:
            _, waiters = self._flights[window.key]
            waiters.append(waiter)
        else:
            waiters = [waiter]
            # In a context of its own: it works for more than one request.
            task = asyncio.create_task(
                self._fly(window, waiters), context=Context()
            )
            self._flights[window.key] = task, waiters
        left: int | None = await waiter
        return left

    async def _fly(self, window: Window, waiters: _Waiters) -> None:
        try:
            while waiters:
                wanted = self._wanted(window, len(waiters))
                share = await _in_time(self._lease(window, wanted))
                self._outage.end()
                self._hand_out(window, share, waiters)
        except Exception as error:  # pylint: disable=broad-exception-caught
            # Whatever is wrong with the store, requests have to go on.
            self._outage.begin(error)
        finally:
            del self._flights[window.key]
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(StoreLostError())

    def _wanted(self, window: Window, waiting: int) -> int:
        """How many tokens to ask for: towards the limit, fewer and fewer.

        So the last ones go to whoever waits, on whatever machine.
        """
        leased = self._put(window, Share(0, 0))
        if leased is None:
            return waiting
        share = max(_LEAST_SHARE, window.limit // _PART)
        return max(waiting, min(share, (window.limit - leased + 1) // 2))

    def _hand_out(
        self, window: Window, share: Share, waiters: _Waiters
    ) -> None:
        # Those whose clients went away wait no more.
        waiting = [waiter for waiter in waiters if not waiter.done()]
        waiters.clear()
        left = window.limit - share.leased + share.tokens
        for waiter in waiting[: share.tokens]:
            left -= 1
            waiter.set_result(left)
        surplus = max(0, share.tokens - len(waiting))
        if self._put(window, Share(surplus, share.leased)) is None:
            # Another worker was stopped in the bucket, or there is no place.
            held, _, _ = self._held.get(window.key, _NOTHING_HELD)
            self._hold(window, held + surplus, left - 1)
        for waiter in waiting[share.tokens :]:
            if share.leased < window.limit:
                waiters.append(waiter)
                continue
            # Another worker may have put something there meanwhile.
            found = self.take_here(window)
            waiter.set_result(found if isinstance(found, int) else None)

    def _put(self, window: Window, share: Share) -> int | None:
        return self._pool.put(
            window.key,
            tokens=share.tokens,
            leased=share.leased,
            ends_at=window.ends_at,
            now=time.time(),
        )


class _Outage:
    """Whether the store is away; says so once, and once that it is back."""

    def __init__(self) -> None:
        self._is_on = False
        self._next_try = 0.0

    def may_ask(self) -> bool:
        """Whether to ask the store: one request in each pause, while away."""
        if not self._is_on:
            return True
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + _PAUSE_SECONDS
        return True

    def begin(self, error: Exception) -> None:
        """Notes that the store did not answer."""
        self._next_try = time.monotonic() + _PAUSE_SECONDS
        if not self._is_on:
            self._is_on = True
            reason = str(error).partition("\n")[0] or type(error).__name__
            _LOG.error("requests can't be counted: %s", reason)

    def end(self) -> None:
        """Notes that the store answered."""
        if self._is_on:
            self._is_on = False
            _LOG.warning("requests are counted again")


async def _in_time(asked: Awaitable[Share]) -> Share:
    """What the store grants, unless it takes too long.

    Raises:
        TimeoutError: it did not answer in time.
    """
    answer = asyncio.ensure_future(asked)
    try:
        while True:
            begun = time.monotonic()
            await asyncio.wait([answer], timeout=_PATIENCE_SECONDS)
            if answer.done():
                return answer.result()
            # A loop that was held up did not listen for all of that time.
            if time.monotonic() - begun < 1.2 * _PATIENCE_SECONDS:
                raise TimeoutError("the store does not answer")
    finally:
        answer.cancel()
