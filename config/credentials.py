"""Credentials: what a request shows of who sends it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

# As ASGI servers hand headers over: the names in lower case.
Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows of who sends it.

    Attributes:
        authorization: the header Authorization.
        key: an API key, from its header or cookie.
        is_ambient: whether the key is a cookie, which a browser sends along
            with whatever a page asks for, its own or another site's.
        is_foreign: whether another site's page sends it along, to change
            something.
    """

    authorization: str | None = None
    key: str | None = None
    is_ambient: bool = False
    is_foreign: bool = False

    @classmethod
    def find(cls, headers: Headers, *, key_name: bytes) -> Self | None:
        """The credentials among `headers`; None when there are none.

        Args:
            headers: those of a request.
            key_name: of the header and the cookie of API keys, lower case.
        """
        authorization = key = cookies = None
        # Of a header that is sent twice, the first counts.
        for name, value in headers:
            if name == b"authorization":
                authorization = authorization or value
            elif name == key_name:
                key = key or value
            elif name == b"cookie":
                cookies = value if cookies is None else cookies + b";" + value
        if authorization is None and key is None and cookies is None:
            return None
        is_ambient = False
        if key is None and cookies is not None:
            key = _cookie(cookies, key_name)
            is_ambient = key is not None
        if authorization is None and key is None:
            return None
        return cls(_text(authorization), _text(key), is_ambient)

    def without_key(self) -> Self:
        """The same without the API key."""
        return replace(self, key=None, is_ambient=False)


def _cookie(cookies: bytes, name: bytes) -> bytes | None:
    for cookie in cookies.split(b";"):
        found, _, value = cookie.strip().partition(b"=")
        if found.lower() == name:
            return value.strip(b'"')
    return None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
