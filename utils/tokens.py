"""Tokens: sign and read access tokens, make and hash random secrets.

Owns no collection. May call: nobody.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jose import JWTError, jwk, jwt

from config.main import JWT_SECRET_KEY, NAME, settings
from models.base import new_id, utc_now

# One algorithm, named at both ends: python-jose accepts whatever a token
# claims when it is given none.
_ALGORITHM: Final = "HS256"
_KEY: Final = jwk.construct(JWT_SECRET_KEY, _ALGORITHM)
_ISSUER: Final = NAME.lower()
_AUDIENCE: Final = f"{_ISSUER}-api"
# Ours have 450 characters; a longer one may nest JSON deeper than is read.
_MAX_TOKEN_LENGTH: Final = 1024
# About 1 MB of those that were sent last.
_READ_TOKENS: Final = 2048
_NONCE_BYTES: Final = 12
_REQUIRED: Final[dict[str, Any]] = {
    f"require_{claim}": True
    for claim in ("sub", "iat", "exp", "iss", "aud", "jti")
}

ACCESS_TOKEN_SECONDS: Final = settings.access_token_minutes * 60


def create_access_token(*, user_id: str, login_id: str) -> str:
    """A signed token that names a member and the login that it belongs to."""
    now = utc_now()
    return jwt.encode(
        {
            "sub": user_id,
            "sid": login_id,
            "iat": now,
            "exp": now + timedelta(seconds=ACCESS_TOKEN_SECONDS),
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "jti": new_id(),
        },
        _KEY,
        algorithm=_ALGORITHM,
    )


def find_login_id(access_token: str) -> str | None:
    """The login that a token names; None when it is forged, foreign or old."""
    if len(access_token) > _MAX_TOKEN_LENGTH:
        return None
    try:
        login_id, expires_at = _read(access_token)
    except (JWTError, RecursionError):
        return None
    # What was good when it was read may be too old by now.
    return login_id if utc_now().timestamp() < expires_at else None


@lru_cache(maxsize=_READ_TOKENS)
def _read(access_token: str) -> tuple[str, int]:
    """The login that a good token names, and when the token ends.

    Clients send a token with every request, and to verify it takes 25 µs. Only
    good ones are remembered: what raises is looked at anew.
    """
    claims = jwt.decode(
        access_token,
        _KEY,
        algorithms=[_ALGORITHM],
        issuer=_ISSUER,
        audience=_AUDIENCE,
        options=_REQUIRED,
    )
    login_id = claims.get("sid")
    if not isinstance(login_id, str):
        raise JWTError("It names no login.")
    return login_id, int(claims["exp"])


def login_expiry(now: datetime) -> datetime:
    """When a login that is used at `now` ends unless it is used again."""
    return now + timedelta(days=settings.refresh_token_days)


def new_secret() -> str:
    """A random text of 256 bits that nobody can guess, safe in a URL."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """The SHA-256 of a *random* secret, for storage; passwords need Argon2."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_same(one: str | None, other: str) -> bool:
    """Compares two hashes in constant time; None is like no hash."""
    return one is not None and hmac.compare_digest(one, other)


def derive_secret(*parts: str) -> str:
    """A secret that only this service can compute again from `parts`."""
    # The length of each part is hashed too: ("a", "b") differs from ("ab", "").
    message = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(
        JWT_SECRET_KEY.encode(), message.encode(), hashlib.sha256
    ).hexdigest()


def seal(content: bytes, secret: str) -> bytes:
    """Encrypts with a secret of `derive_secret`; `unseal` reads it."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(secret).encrypt(nonce, content, None)


def unseal(sealed: bytes, secret: str) -> bytes:
    """What was sealed with this secret.

    Raises:
        cryptography.exceptions.InvalidTag: it was not.
    """
    nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    return _cipher(secret).decrypt(nonce, content, None)


def _cipher(secret: str) -> AESGCM:
    return AESGCM(bytes.fromhex(secret))
