"""Callers: who makes a request, by whatever shows it.

Owns no collection. May call: api_keys, logins.
"""

from config import db
from config.credentials import Credentials
from models.exceptions import MusterError, NotAuthenticatedError
from models.logins import Actor
from utils import api_keys, logins


async def identify(shown: Credentials) -> Actor | Exception | None:
    """Whose credentials these are, in one read for each that is shown.

    Returns:
        The actor, None for nobody, or why the credentials count for nothing:
        they are bad, or the database does not answer. Whoever needs the caller
        raises it.
    """
    try:
        return await _identify(shown)
    except (MusterError, *db.UNAVAILABLE_ERRORS) as error:
        return error


async def is_admin(shown: Credentials) -> bool:
    """True where these are the credentials of an admin."""
    actor = await identify(shown)
    return isinstance(actor, Actor) and actor.is_admin


async def _identify(shown: Credentials) -> Actor | None:
    if shown.is_foreign:
        raise NotAuthenticatedError(
            "A page of another site sends this, with the cookie of an API "
            "key: send the key as a header instead."
        )
    actor = None
    if shown.key is not None:
        # Beside a log-in, it must be a good one all the same.
        actor = await api_keys.authenticate(shown.key)
    if shown.authorization is None:
        return actor
    scheme, _, access_token = shown.authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticatedError("Authorization is not 'Bearer …'.")
    return await logins.authenticate(access_token.strip())
