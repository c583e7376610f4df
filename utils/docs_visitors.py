"""Docs visitors: who may read the API's description where admins only may.

Owns no collection. May call: accounts, callers, users.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

from cachetools import TTLCache

from config.credentials import Credentials
from models.exceptions import ForbiddenError, NotAuthenticatedError
from models.users import Role, User
from utils import accounts, callers, users

# A page is made of several files, and a browser sends the password with each:
# one that was right a moment ago is known again without 24 ms of hashing.
_KNOWN: Final[TTLCache[bytes, bool]] = TTLCache(maxsize=100, ttl=600)
_KEY: Final = secrets.token_bytes(32)


async def admit(shown: Credentials | None, address: str) -> None:
    """Checks that an admin calls, by whatever shows it.

    Besides an access token or a key, e-mail and password will do (RFC 7617):
    that is how a browser asks, and no login is made of it.

    Raises:
        NotAuthenticatedError: there are no credentials, or bad ones.
        ForbiddenError: they are a member's.
        TooManyAttemptsError: too many guesses failed for this e-mail.
    """
    if shown is None:
        raise NotAuthenticatedError()
    scheme, _, value = (shown.authorization or "").partition(" ")
    if scheme.lower() == "basic":
        user = await _recognise(*_parts_of(value), address=address)
        is_admin = user.role is Role.ADMIN
    else:
        # A key beside a token may be the service's own, which names nobody.
        by_token = shown.authorization is not None
        caller = await callers.identify(
            shown.without_key() if by_token else shown
        )
        if caller is None:
            raise NotAuthenticatedError()
        if isinstance(caller, Exception):
            raise caller
        is_admin = caller.is_admin
    if not is_admin:
        raise ForbiddenError()


async def _recognise(email: str, password: str, *, address: str) -> User:
    user = await users.find_user_by_email(email)
    if user is None or user.disabled or _mark(user, password) not in _KNOWN:
        user = await accounts.check_password(email, password, address=address)
        _KNOWN[_mark(user, password)] = True
    return user


def _mark(user: User, password: str) -> bytes:
    """What tells that this is the member's present password."""
    said = f"{user.password_hash}\0{password}".encode()
    return hmac.digest(_KEY, said, hashlib.sha256)


def _parts_of(encoded: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise NotAuthenticatedError("Authorization can't be read.") from None
    email, _, password = text.partition(":")
    return email, password
