"""API keys: make, list, revoke them; whose a key is.

Owns: `api_keys`. Indexes: see INDEXES. May call: audit, paging, tokens,
users.
"""

import re
from datetime import timedelta
from typing import Final
from uuid import UUID

from cachetools import TTLCache

from config import db, gathering, transactions
from models.api_keys import ApiKey, ApiKeyCreate, ApiKeyCreated, ApiKeyRead
from models.audit import AuditAction
from models.base import Page, PageQuery, new_id, utc_now
from models.exceptions import (
    ApiKeyNotFoundError,
    InvalidRequestError,
    NotAuthenticatedError,
    TooManyApiKeysError,
    UserNotFoundError,
)
from models.logins import Actor
from models.users import Role
from utils import audit, paging, tokens, users

COLLECTION: Final = "api_keys"
DOCUMENTS: Final = (ApiKey,)
INDEXES: Final = [
    db.IndexModel([("user_id", db.ASCENDING), ("created_at", db.ASCENDING)]),
    # A key that never expires has none, and stays.
    db.IndexModel("expires_at", expireAfterSeconds=24 * 3600),
]

MOST_KEYS: Final = 50

_FORM: Final = re.compile(r"mk_([0-9a-f]{32})_[A-Za-z0-9_-]{43}")

# That a key was used is written down once in this time.
_USE_SECONDS: Final = 60
_BY_ID: Final = gathering.finds(COLLECTION)
_UNKNOWN: Final = "This API key is unknown, expired or revoked."


async def authenticate(key: str) -> Actor:
    """Who sent this key; one read, so that its end counts at once.

    Raises:
        NotAuthenticatedError: it is unknown, expired or revoked, or its
            member disabled.
    """
    form = _FORM.fullmatch(key)
    if form is None:
        raise NotAuthenticatedError("This is no API key of ours.")
    now = utc_now()
    found = await _find_key(str(UUID(form[1])))
    # The id is no secret: only the hash must not be guessed bit by bit.
    if (
        found is None
        or not tokens.is_same(found.key_hash, tokens.hash_secret(key))
        or not found.is_alive(now)
    ):
        raise NotAuthenticatedError(_UNKNOWN)
    await _note_use(found)
    return Actor(
        found.user_id,
        found.id,
        found.role,
        found.tier,
        key_id=found.id,
        scopes=None if found.scopes is None else frozenset(found.scopes),
    )


async def create_key(new: ApiKeyCreate, *, actor: Actor) -> ApiKeyCreated:
    """Makes a key of the caller's; what is shown this once is in the answer.

    Raises:
        TooManyApiKeysError: the caller has as many as there may be.
        InvalidRequestError: it would have expired already.
        NotAuthenticatedError: the account was closed or disabled meanwhile.
    """
    if new.expires_at is not None and new.expires_at <= utc_now():
        raise InvalidRequestError.at(
            "body", "expires_at", msg="this time is over: name a later one"
        )
    key_id = new_id()
    secret = f"mk_{UUID(key_id).hex}_{tokens.new_secret()}"

    async def work() -> ApiKey:
        # Of two new keys, and of a key and a change of its member, one comes
        # first: each of them writes the member.
        try:
            member = await users.hold(actor.user_id)
        except UserNotFoundError:
            raise NotAuthenticatedError() from None
        if member.disabled:
            raise NotAuthenticatedError()
        keys = db.collection(COLLECTION)
        if await keys.count_documents({"user_id": member.id}) >= MOST_KEYS:
            raise TooManyApiKeysError(MOST_KEYS)
        key = ApiKey(
            id=key_id,
            user_id=member.id,
            role=member.role,
            tier=member.tier,
            name=new.name,
            scopes=None if new.scopes is None else sorted(set(new.scopes)),
            key_hash=tokens.hash_secret(secret),
            expires_at=new.expires_at,
        )
        await keys.insert_one(key.dict())
        await _record(AuditAction.API_KEY_CREATED, key)
        return key

    key = await transactions.run(work, turn=actor.user_id)
    return ApiKeyCreated(**ApiKeyRead.of(key).model_dump(), key=secret)


async def list_keys(query: PageQuery, *, actor: Actor) -> Page[ApiKeyRead]:
    """A page of the caller's keys, the oldest first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, actor.user_id),
        key="created_at",
        select={"user_id": actor.user_id},
        show=lambda document: ApiKeyRead.of(ApiKey.from_document(document)),
    )


async def revoke_key(key_id: str, *, actor: Actor) -> None:
    """Ends one of the caller's keys, which is refused from then on.

    Raises:
        ApiKeyNotFoundError: the caller has no such key.
    """

    async def work() -> None:
        key = await _find_key(key_id)
        if key is None or key.user_id != actor.user_id:
            raise ApiKeyNotFoundError(key_id)
        await db.collection(COLLECTION).delete_one({"_id": key_id})
        await _record(AuditAction.API_KEY_REVOKED, key)

    await transactions.run(work, turn=actor.user_id)


async def list_all_of(user_id: str) -> list[ApiKey]:
    """All keys of a member."""
    found = db.collection(COLLECTION).find({"user_id": user_id})
    return [ApiKey.from_document(document) async for document in found]


async def change_standing_of(
    user_id: str, *, role: Role, tier: str | None, disabled: bool
) -> None:
    """Makes a member's keys act as the member is now."""
    await db.collection(COLLECTION).update_many(
        {"user_id": user_id},
        {"$set": {"role": role, "tier": tier, "disabled": disabled}},
    )


async def delete_keys_of(user_id: str) -> None:
    """Forgets all keys of a member who leaves; none is accepted any more."""
    await db.collection(COLLECTION).delete_many({"user_id": user_id})


async def _find_key(key_id: str) -> ApiKey | None:
    document = await _BY_ID.ask(key_id)
    return None if document is None else ApiKey.from_document(document)


# The keys whose use this process wrote down a moment ago. A request that was
# on its way meanwhile has read the older time.
_noted: Final[TTLCache[str, bool]] = TTLCache(10_000, _USE_SECONDS)


async def _note_use(key: ApiKey) -> None:
    now = utc_now()
    since = key.last_used_at or key.created_at - timedelta(days=1)
    if key.id in _noted or now - since < timedelta(seconds=_USE_SECONDS):
        return
    _noted[key.id] = True
    # Of two workers that do it at once, the later time stays.
    await db.collection(COLLECTION).update_one(
        {"_id": key.id}, {"$max": {"last_used_at": now}}
    )


async def _record(action: AuditAction, key: ApiKey) -> None:
    await audit.record(
        action,
        actor_id=key.user_id,
        target_id=key.user_id,
        key_id=key.id,
        name=key.name,
    )
