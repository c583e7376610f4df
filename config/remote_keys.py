"""Remote keys: the public keys of somebody whose tokens are trusted."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JOSEError

ALGORITHM: Final = "RS256"
_LOG: Final = logging.getLogger("muster.keys")

_TIMEOUT_SECONDS: Final = 5.0
_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")
# Where nothing is said of how long the keys hold; and the longest of all.
_USUAL_SECONDS: Final = 3600.0
_LONGEST_SECONDS: Final = 24 * 3600.0
# Nobody makes us ask more often: not by a key id that nobody knows, nor while
# the server is away.
_UNKNOWN_PAUSE_SECONDS: Final = 30.0
_AWAY_PAUSE_SECONDS: Final = 5.0
# So long the last keys go on serving while the server is away. A key that was
# revoked meanwhile is good until then.
_GRACE_SECONDS: Final = 6 * 3600.0


class KeysAwayError(Exception):
    """Nobody can say at present which keys there are."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What came from the server last, and how long it holds."""

    keys: dict[str, Key] = field(default_factory=dict)
    fresh_until: float = float("-inf")
    usable_until: float = float("-inf")


class RemoteKeys:
    """The keys of a JWK set, kept as long as its server says.

    Args:
        url: where they are.
        clock: seconds that only ever grow.
    """

    def __init__(
        self, url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._one_at_a_time = asyncio.Lock()
        self._kept = _Kept()
        self._next_try = float("-inf")
        self._is_away = False

    async def find(self, key_id: str) -> Key | None:
        """The key with this id; None when there is none.

        It is asked for when the keys are old, or the id is new to us. Of many
        who come at once, one asks, and the others take what it got.

        Raises:
            KeysAwayError: the server does not answer, and the keys of before,
                if any, are too old.
        """
        if self._is_due(key_id):
            async with self._one_at_a_time:
                if self._is_due(key_id):
                    await self._fetch()
        if self._clock() >= self._kept.usable_until:
            raise KeysAwayError(self._url)
        return self._kept.keys.get(key_id)

    async def aclose(self) -> None:
        """Closes the connections; another `find` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _is_due(self, key_id: str) -> bool:
        now = self._clock()
        is_known = key_id in self._kept.keys and now < self._kept.fresh_until
        return not is_known and now >= self._next_try

    async def _fetch(self) -> None:
        if self._client is None:
            # Here, and not at start: it belongs to this event loop.
            self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS)
        try:
            response = await self._client.get(self._url)
            response.raise_for_status()
            keys = _read(response.content)
        except (httpx.HTTPError, ValueError, JOSEError) as error:
            self._next_try = self._clock() + _AWAY_PAUSE_SECONDS
            if not self._is_away:
                self._is_away = True
                _LOG.error("no keys from %s: %r", self._url, error)
            return
        now = self._clock()
        fresh_until = now + _lifetime(response.headers)
        self._kept = _Kept(keys, fresh_until, fresh_until + _GRACE_SECONDS)
        self._next_try = now + _UNKNOWN_PAUSE_SECONDS
        if self._is_away:
            self._is_away = False
            _LOG.warning("keys come from %s again", self._url)


def _read(content: bytes) -> dict[str, Key]:
    """The RSA keys of a JWK set by their ids.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(content)["keys"]
        keys = {
            str(key["kid"]): jwk.construct(key, ALGORITHM)
            for key in found
            # Those of other kinds, or other uses, are none of ours.
            if key.get("kty") == "RSA"
            and key.get("use", "sig") == "sig"
            and key.get("alg", ALGORITHM) == ALGORITHM
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no JWK set: {error!r}") from error
    if not keys:
        raise ValueError("it has no key that signs with RSA")
    return keys


def _lifetime(headers: httpx.Headers) -> float:
    """How long an answer holds, by its max-age and its age; seconds."""
    said = _MAX_AGE.search(headers.get("cache-control", ""))
    if said is None:
        return _USUAL_SECONDS
    age = headers.get("age", "")
    passed = float(age) if age.isdecimal() else 0.0
    return min(max(float(said[1]) - passed, 0.0), _LONGEST_SECONDS)
