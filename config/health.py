"""Health: whether this process can serve, as far as others are needed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

OK: Final = "ok"
FAILED: Final = "failed"
TIMED_OUT: Final = "timed out"
_LOG: Final = logging.getLogger("muster.health")

# What is asked, with its outcome.
Findings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that this process can't serve without.

    Attributes:
        name: what operators call it; everybody may read it.
        probe: returns when it is well, and raises when it is not.
        seconds: how long it may take.
    """

    name: str
    probe: Callable[[], Awaitable[object]]
    seconds: float


class Health:
    """Asks all that this process needs, whenever somebody wants to know."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = tuple(checks)
        self._serves = False
        self._examination: asyncio.Task[Findings] | None = None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Inside the block the process serves: before, it starts; then, it
        drains, and no check is asked any more."""
        self._serves = True
        try:
            yield
        finally:
            self._serves = False

    async def examine(self) -> Findings:
        """What each check finds; all are asked at the same time.

        Whoever asks meanwhile gets the same findings, so that any number of
        strangers costs what one does.
        """
        if not self._serves:
            return {"process": "starting or stopping"}
        if self._examination is None:
            self._examination = asyncio.create_task(self._ask_all())
            self._examination.add_done_callback(self._forget)
        # One who goes away must not take the others' answer along.
        return await asyncio.shield(self._examination)

    def _forget(self, _examination: asyncio.Task[Findings]) -> None:
        self._examination = None

    async def _ask_all(self) -> Findings:
        outcomes = await asyncio.gather(*map(_ask, self._checks))
        return {
            check.name: outcome
            for check, outcome in zip(self._checks, outcomes, strict=True)
        }


def redis_check(url: str, *, seconds: float) -> Check:
    """Redis: over a connection of its own, so that it tells of new ones."""
    # Where there is no Redis, its client takes no memory: 7 MB.
    # pylint: disable-next=import-outside-toplevel
    from redis.asyncio import Redis

    async def probe() -> None:
        async with Redis.from_url(url) as redis:
            await redis.ping()

    return Check("redis", probe, seconds)


async def _ask(check: Check) -> str:
    try:
        async with asyncio.timeout(check.seconds):
            await check.probe()
    except TimeoutError:
        _LOG.warning("%s: no answer in %s s", check.name, check.seconds)
        return TIMED_OUT
    except Exception as error:  # pylint: disable=broad-exception-caught
        # Whatever is wrong: the caller learns the name, the log the reason.
        reason = str(error).partition("\n")[0]
        _LOG.warning("%s: %s", check.name, reason)
        return FAILED
    return OK
