"""Rate limits: which limit a request counts for, and whether it is admitted.

Owns no collection. May call: rate_windows. Each worker holds all tiers' limits
in memory: a change is seen at once by the worker that makes it, and by the
others when they are handed the tiers again, each second.
"""

import math
import re
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

from config.setting_values import Rate
from config.settings import OnStoreLoss, Settings
from config.templates import Templates, patterns_of
from config.token_leases import StoreLostError, TokenLeases, Window
from config.token_pool import KEY_BYTES
from models.exceptions import RateLimitedError, RateLimitUnavailableError
from models.logins import Actor
from models.tiers import ALL_OTHERS, Tier
from utils import rate_windows

# One who has an IPv6 address has all of its network.
_NETWORK_BYTES: Final = 8

Headers = list[tuple[bytes, bytes]]


class Limit(NamedTuple):
    """A limit in force.

    Attributes:
        scope: what is counted together: a route template, or all others.
        limit: requests in a period.
        period_seconds: the period.
        name: what clients are told that it is, quoted.
        policy: what they are told of it, RateLimit-Policy.
    """

    scope: str
    limit: int
    period_seconds: int
    name: bytes
    policy: bytes


class _OfPath(NamedTuple):
    """The limit of a template, with what matches its paths and closer ones."""

    pattern: re.Pattern[str]
    closer: Sequence[re.Pattern[str]]
    limit: Limit


@dataclass(frozen=True, slots=True)
class _Limits:
    """A tier's limits: of single templates, and of all other paths."""

    paths: Sequence[_OfPath]
    others: Limit


class RateLimiter:
    """Admits requests, as many as their callers' limits say.

    Args:
        leases: what there is to be admitted.
        templates: the routes that can have a limit of their own.
        anonymous: the limit of an address that is not signed in.
        default: the limit of a member whose tier has none.
        on_store_loss: what happens while nobody can count.

    Attributes:
        refused: how many requests were over their limit.
    """

    def __init__(
        self,
        leases: TokenLeases,
        *,
        templates: Templates,
        anonymous: Rate,
        default: Rate,
        on_store_loss: OnStoreLoss,
    ) -> None:
        self.refused = 0
        self._leases = leases
        self._templates = templates
        self._anonymous = _limit(anonymous, name="anonymous")
        self._default = _limit(default, name="default")
        self._is_open = on_store_loss is OnStoreLoss.OPEN
        self._tiers: Mapping[str | None, _Limits] = {}

    @property
    def paths(self) -> Collection[str]:
        """The route templates that can have a limit of their own."""
        return self._templates

    def admit(
        self, caller: object, *, address: str, path: str
    ) -> Headers | Awaitable[Headers]:
        """Counts a request, and says what is left.

        Args:
            caller: who makes it; whoever is no actor counts by their address.
            address: where it comes from.
            path: what it asks for.

        Returns:
            Headers of the answer, at once where this machine has a token, else
            when the store grants one; no headers while nobody can count.

        Raises:
            RateLimitedError: the limit is reached.
            RateLimitUnavailableError: nobody can count, and the operator wants
                such requests refused.
        """
        if isinstance(caller, Actor):
            limit, subject = self._limit_of(caller.tier, path), _subject(caller)
        else:
            limit, subject = self._anonymous, _network(address)
        now = time.time()
        number = int(now) // limit.period_seconds
        ends_at = (number + 1) * limit.period_seconds
        key = _key(subject, limit.scope, limit.period_seconds, number)
        window = Window(key, limit.limit, ends_at)
        left = self._leases.take_here(window)
        if isinstance(left, int):
            return _standing(limit, left, math.ceil(ends_at - now))
        return self._ask_for(window, limit)

    async def _ask_for(self, window: Window, limit: Limit) -> Headers:
        try:
            left = await self._leases.take(window)
        except StoreLostError:
            if self._is_open:
                return []
            raise RateLimitUnavailableError() from None
        seconds = math.ceil(window.ends_at - time.time())
        if left is None:
            self.refused += 1
            raise _refusal(limit, seconds)
        return _standing(limit, left, seconds)

    async def aclose(self) -> None:
        """Ends what is in flight."""
        await self._leases.aclose()

    def apply(self, found: Sequence[Tier]) -> None:
        """Puts the limits of all tiers in force."""
        self._tiers = {tier.name: self._limits_of(tier) for tier in found}

    def _limit_of(self, tier: str | None, path: str) -> Limit:
        """The limit of a tier's members for a path: the most specific one."""
        limits = self._tiers.get(tier)
        if limits is None:
            return self._default
        for pattern, closer, limit in limits.paths:
            if pattern.match(path) and not any(
                other.match(path) for other in closer
            ):
                return limit
        return limits.others

    def _limits_of(self, tier: Tier) -> _Limits:
        others, paths = self._default, []
        for limit in tier.limits:
            rate = Rate(limit.limit, limit.period_seconds)
            if limit.path == ALL_OTHERS:
                others = _limit(rate, name=tier.name)
            elif limit.path in self._templates:
                # A version of Muster may have lost a path that is limited.
                own = _limit(rate, name=limit.path, scope=limit.path)
                patterns = patterns_of(self._templates, limit.path)
                paths.append(_OfPath(*patterns, own))
        return _Limits(paths, others)


def limiter_of(settings: Settings, templates: Templates) -> RateLimiter:
    """What counts requests as the settings say: by the database, or Redis."""
    pool = settings.data_dir / f"tokens-{settings.mongo_db_name}"
    if settings.redis_url is None:
        leases = TokenLeases(pool, rate_windows.lease)
    else:
        # Where there is no Redis, its client takes no memory: 7 MB.
        # pylint: disable-next=import-outside-toplevel
        from config.redis_windows import RedisWindows

        redis = RedisWindows(
            settings.redis_url.get_secret_value(),
            prefix=f"muster:{settings.mongo_db_name}",
        )
        leases = TokenLeases(pool, redis.lease, redis.aclose)
    return RateLimiter(
        leases,
        templates=templates,
        anonymous=settings.anonymous_rate,
        default=settings.default_rate,
        on_store_loss=settings.rate_limit_on_store_loss,
    )


def _limit(rate: Rate, *, name: str, scope: str = ALL_OTHERS) -> Limit:
    quoted = f'"{name}"'
    policy = f"{quoted};q={rate.limit};w={rate.period_seconds}"
    return Limit(
        scope, rate.limit, rate.period_seconds, quoted.encode(), policy.encode()
    )


def _standing(limit: Limit, left: int, seconds: int) -> Headers:
    """What an answer says of a limit that was not reached."""
    return [
        (b"ratelimit-policy", limit.policy),
        (b"ratelimit", b"%b;r=%d;t=%d" % (limit.name, left, seconds)),
    ]


def _refusal(limit: Limit, seconds: int) -> RateLimitedError:
    error = RateLimitedError(limit.limit, limit.period_seconds, seconds)
    error.headers |= {
        "RateLimit-Policy": limit.policy.decode(),
        "RateLimit": f"{limit.name.decode()};r=0;t={seconds}",
    }
    return error


def _subject(actor: Actor) -> str:
    """Who is counted: a key for itself, else the member."""
    if actor.key_id is None:
        return f"user:{actor.user_id}"
    return f"key:{actor.key_id}"


@lru_cache(maxsize=4096)
def _key(subject: str, scope: str, period_seconds: int, number: int) -> bytes:
    """What names a window, in as many bytes as there is place for."""
    counted = f"{subject}|{scope}|{period_seconds}|{number}"
    return blake2b(counted.encode(), digest_size=KEY_BYTES).digest()


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    """What is counted of an address: of IPv6, its network of 64 bits."""
    if ":" in address:
        try:
            parsed = IPv6Address(address.partition("%")[0])
        except AddressValueError:
            return f"address:{address}"
        if parsed.ipv4_mapped is not None:
            return f"address:{parsed.ipv4_mapped}"
        return f"address:{parsed.packed[:_NETWORK_BYTES].hex()}"
    return f"address:{address}"
