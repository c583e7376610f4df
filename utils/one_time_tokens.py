"""One-time tokens: issue them for a mail, redeem each once.

Owns: `one_time_tokens`. Indexes: see INDEXES. May call: tokens.
"""

from datetime import datetime
from typing import Final

from config import db
from models.base import utc_now
from models.exceptions import InvalidTokenError
from models.one_time_tokens import LIFETIMES, OneTimeToken, Purpose
from utils import tokens

COLLECTION: Final = "one_time_tokens"
DOCUMENTS: Final = (OneTimeToken,)
INDEXES: Final = [
    # Whoever deletes it has redeemed it: of several, one does.
    db.IndexModel("hash", unique=True),
    db.IndexModel([("user_id", db.ASCENDING), ("purpose", db.ASCENDING)]),
    db.IndexModel("expires_at", expireAfterSeconds=0),
]


async def issue(
    mail_id: str,
    *,
    purpose: Purpose,
    user_id: str,
    email: str,
    now: datetime,
) -> str:
    """The token of a mail, the same when the mail is made again.

    Args:
        mail_id: the mail; the token is derived from it, and kept nowhere.
        purpose: what the token is good for.
        user_id: the member whom it is sent to.
        email: where it is sent.
        now: when its life begins.
    """
    token = f"{mail_id}.{tokens.derive_secret(purpose, mail_id)}"
    issued = OneTimeToken(
        id=mail_id,
        hash=tokens.hash_secret(token),
        purpose=purpose,
        user_id=user_id,
        email=email,
        expires_at=now + LIFETIMES[purpose],
    )
    await db.collection(COLLECTION).replace_one(
        {"_id": mail_id}, issued.dict(), upsert=True
    )
    return token


async def get_token(token: str, *, purpose: Purpose) -> OneTimeToken:
    """What a token says that is good for `purpose` at present.

    Raises:
        InvalidTokenError: it is not.
    """
    document = await db.collection(COLLECTION).find_one(
        {"hash": tokens.hash_secret(token)}
    )
    if document is None:
        raise InvalidTokenError()
    found = OneTimeToken.from_document(document)
    if found.purpose is not purpose or found.expires_at <= utc_now():
        raise InvalidTokenError()
    return found


async def redeem(token: str, *, purpose: Purpose) -> OneTimeToken:
    """Uses a token up; of several who try at once, one does.

    Raises:
        InvalidTokenError: it is not good for `purpose` at present.
    """
    found = await get_token(token, purpose=purpose)
    result = await db.collection(COLLECTION).delete_one({"hash": found.hash})
    if result.deleted_count == 0:
        raise InvalidTokenError()
    return found


async def revoke_tokens_of(user_id: str, *, purpose: Purpose) -> None:
    """Makes a member's tokens of this kind good for nothing."""
    await db.collection(COLLECTION).delete_many(
        {"user_id": user_id, "purpose": purpose}
    )


async def delete_tokens_of(user_id: str) -> None:
    """Forgets all tokens of a member who leaves."""
    await db.collection(COLLECTION).delete_many({"user_id": user_id})
