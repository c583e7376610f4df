"""ID tokens: whom Firebase says that it has seen.

Owns no collection. May call: nobody.
"""

from typing import Any, Final

from jose import JWTError, jwt
from pydantic import TypeAdapter, ValidationError

from config.firebase import Firebase
from config.remote_keys import ALGORITHM, KeysAwayError
from models.base import utc_now
from models.exceptions import (
    BadCredentialsError,
    InvalidRequestError,
    KeysUnavailableError,
    NotFoundError,
)
from models.firebase import Identity
from models.users import Email

# What two clocks may differ by.
_LEEWAY_SECONDS: Final = 5
_MOST_ID_LETTERS: Final = 128
_CLAIMS: Final = ("sub", "iat", "exp", "iss", "aud")
_OPTIONS: Final[dict[str, Any]] = {
    "leeway": _LEEWAY_SECONDS,
    **{f"require_{claim}": True for claim in _CLAIMS},
}
_REFUSAL: Final = (
    "This is no valid ID token of this project: sign in to Firebase again."
)
_EMAIL: Final[TypeAdapter[str]] = TypeAdapter(Email)


async def verify(id_token: str, *, firebase: Firebase) -> Identity:
    """Whom an ID token names.

    Raises:
        NotFoundError: nobody signs in so here.
        BadCredentialsError: it is forged, expired, or of another project.
        KeysUnavailableError: at present nobody can say.
        InvalidRequestError: it names no e-mail.
    """
    if firebase.project_id is None:
        raise NotFoundError("Nobody signs in by Firebase here.")
    try:
        claims = await _claims_of(id_token, firebase, firebase.project_id)
    except (JWTError, RecursionError):
        raise BadCredentialsError(_REFUSAL) from None
    except KeysAwayError:
        raise KeysUnavailableError() from None
    _require_past(claims.get("iat"))
    _require_past(claims.get("auth_time"))
    firebase_id = claims["sub"]
    if not 0 < len(firebase_id) <= _MOST_ID_LETTERS:
        raise BadCredentialsError(_REFUSAL)
    name = claims.get("name")
    return Identity(
        firebase_id=firebase_id,
        email=_email_of(claims),
        # The very word: a text, such as "false", is no proof.
        email_verified=claims.get("email_verified") is True,
        name=name if isinstance(name, str) else "",
    )


async def _claims_of(
    id_token: str, firebase: Firebase, project_id: str
) -> dict[str, Any]:
    header = jwt.get_unverified_header(id_token)
    key_id = header.get("kid")
    # Before anybody is asked for a key; and the one algorithm is named below.
    if header.get("alg") != ALGORITHM or not isinstance(key_id, str):
        raise JWTError("another algorithm")
    key = await firebase.keys.find(key_id)
    if key is None:
        raise JWTError("unknown key")
    claims: dict[str, Any] = jwt.decode(
        id_token,
        key,
        algorithms=[ALGORITHM],
        audience=project_id,
        issuer=f"https://securetoken.google.com/{project_id}",
        options=_OPTIONS,
    )
    if claims["aud"] != project_id:
        # A list that holds it is for others too.
        raise JWTError("another audience")
    return claims


def _require_past(time: object) -> None:
    latest = utc_now().timestamp() + _LEEWAY_SECONDS
    if not isinstance(time, int | float) or time > latest:
        raise BadCredentialsError(_REFUSAL)


def _email_of(claims: dict[str, Any]) -> str:
    try:
        return _EMAIL.validate_python(claims.get("email"))
    except ValidationError:
        raise InvalidRequestError.at(
            "body",
            "id_token",
            msg="it names no e-mail: sign in to Firebase in a way that does",
        ) from None
