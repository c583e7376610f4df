"""Logins: sign in, refresh, sign out; who makes a request.

Owns: `logins`. Indexes: see INDEXES. May call: audit, paging, tokens,
users.
"""

from typing import Final

from config import db, gathering, transactions
from models.audit import AuditAction
from models.base import Page, PageQuery, utc_now
from models.exceptions import (
    BadCredentialsError,
    LoginNotFoundError,
    NotAuthenticatedError,
    UserNotFoundError,
)
from models.logins import Actor, Login, LoginRead, TokenPair
from models.users import Role, User
from utils import audit, paging, tokens, users

COLLECTION: Final = "logins"
DOCUMENTS: Final = (Login,)
INDEXES: Final = [
    db.IndexModel([("user_id", db.ASCENDING), ("used_at", db.DESCENDING)]),
    # A rotation names the hash that it replaces: of two, one finds it.
    db.IndexModel(
        "refresh_hash",
        unique=True,
        # Strings only; the planners see that an equality implies it.
        partialFilterExpression={"refresh_hash": {"$gt": ""}},
    ),
    db.IndexModel("expires_at", expireAfterSeconds=24 * 3600),
]

_CLIENT_LENGTH: Final = 200
# Nearly every request asks for one.
_BY_ID: Final = gathering.finds(COLLECTION)


async def authenticate(access_token: str) -> Actor:
    """Who sent this access token; one read, so that a log-out counts at once.

    Raises:
        NotAuthenticatedError: the token is forged, foreign or expired, or its
            login has ended.
    """
    login_id = tokens.find_login_id(access_token)
    if login_id is None:
        raise NotAuthenticatedError("The access token is not valid any more.")
    login = await _find_login(login_id)
    if login is None or not login.is_alive(utc_now()):
        raise NotAuthenticatedError("This login has ended: log in again.")
    return Actor(login.user_id, login.id, login.role, login.tier)


async def list_logins(query: PageQuery, *, actor: Actor) -> Page[LoginRead]:
    """A page of the caller's living logins, the one used last first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, actor.user_id),
        key="used_at",
        descending=True,
        select={"user_id": actor.user_id},
        where=[{"revoked_at": None, "expires_at": {"$gt": utc_now()}}],
        show=lambda document: LoginRead.of(
            Login.from_document(document), actor=actor
        ),
    )


async def create_login(user: User, *, client: str) -> TokenPair:
    """Signs a member in on a device.

    Raises:
        BadCredentialsError: the account changed while the login was made.
    """
    now = utc_now()
    family, secret = tokens.new_secret(), tokens.new_secret()
    login = Login(
        user_id=user.id,
        role=user.role,
        tier=user.tier,
        family_hash=tokens.hash_secret(family),
        refresh_hash=tokens.hash_secret(secret),
        client=client[:_CLIENT_LENGTH],
        created_at=now,
        used_at=now,
        expires_at=tokens.login_expiry(now),
    )

    async def work() -> None:
        await db.collection(COLLECTION).insert_one(login.dict())
        await audit.record(
            AuditAction.LOGIN_CREATED,
            actor_id=user.id,
            target_id=user.id,
            login_id=login.id,
        )

    await transactions.run(work)
    # Whoever disables an account or changes its standing or password writes
    # the member first and its logins then. Either that second step meets this
    # login, or this read meets the changed member.
    if await _has_changed(user):
        await _end(login.id, user_id=user.id, actor_id=None)
        raise BadCredentialsError()
    return _token_pair(login, family, secret)


async def refresh(refresh_token: str, *, retry_key: str | None) -> TokenPair:
    """Exchanges a refresh token for a new pair; the old one is dead then.

    Of several simultaneous exchanges of one token, one finds the hash that it
    replaces (a unique index); the others are a reuse, which ends the login.
    A client that lost the answer repeats the call with the same `retry_key`:
    the new secret is derived from it, so the same token is answered again.

    Raises:
        NotAuthenticatedError: the token is unknown, expired or was used.
    """
    login_id, family, secret = _parts_of(refresh_token)
    login = await _find_login(login_id)
    now = utc_now()
    if (
        login is None
        or not login.is_alive(now)
        or not tokens.is_same(login.family_hash, tokens.hash_secret(family))
    ):
        raise NotAuthenticatedError("The refresh token is not valid any more.")
    if retry_key is None:
        fresh = tokens.new_secret()
    else:
        fresh = tokens.derive_secret(refresh_token, retry_key)
    if await _rotate(secret, fresh) or await _is_retry(login.id, fresh):
        return _token_pair(login, family, fresh)
    # Whoever sent it, the thief or the member: nobody knows.
    await _end(
        login.id,
        user_id=login.user_id,
        actor_id=None,
        action=AuditAction.LOGIN_REUSED,
    )
    raise NotAuthenticatedError(
        "This refresh token was used before: the login has ended, log in again."
    )


async def log_out(actor: Actor) -> None:
    """Ends the login that makes the request.

    Its tokens are refused from now on, by every worker.
    """
    await _end(actor.login_id, user_id=actor.user_id, actor_id=actor.user_id)


async def log_out_all(actor: Actor) -> None:
    """Ends all logins of the caller."""

    async def work() -> None:
        await revoke_logins_of(actor.user_id)
        await audit.record(
            AuditAction.LOGINS_REVOKED,
            actor_id=actor.user_id,
            target_id=actor.user_id,
        )

    await transactions.run(work, turn=actor.user_id)


async def revoke_own_login(login_id: str, *, actor: Actor) -> None:
    """Ends one of the caller's logins; it may have ended before.

    Raises:
        LoginNotFoundError: the caller has no such login.
    """
    login = await _find_login(login_id)
    if login is None or login.user_id != actor.user_id:
        raise LoginNotFoundError(login_id)
    if login.revoked_at is None:
        await _end(login_id, user_id=login.user_id, actor_id=actor.user_id)


async def revoke_logins_of(user_id: str, *, but: str | None = None) -> None:
    """Ends all logins of a member, `but` one."""
    logins = db.collection(COLLECTION)
    found = await logins.find({"user_id": user_id}, {"_id": 1}).to_list()
    ids = [login["_id"] for login in found if login["_id"] != but]
    await logins.update_many({"_id": {"$in": ids}}, {"$set": _revocation()})


async def delete_logins_of(user_id: str) -> None:
    """Forgets all logins of a member who leaves; their tokens end as well."""
    await db.collection(COLLECTION).delete_many({"user_id": user_id})


async def list_all_of(user_id: str) -> list[Login]:
    """All logins of a member, those that ended lately included."""
    found = db.collection(COLLECTION).find({"user_id": user_id})
    return [Login.from_document(document) async for document in found]


async def change_standing_of(
    user_id: str, *, role: Role, tier: str | None
) -> None:
    """Makes a member's living logins act in their new role and tier."""
    await db.collection(COLLECTION).update_many(
        {"user_id": user_id}, {"$set": {"role": role, "tier": tier}}
    )


async def _find_login(login_id: str) -> Login | None:
    document = await _BY_ID.ask(login_id)
    return None if document is None else Login.from_document(document)


async def _end(
    login_id: str,
    *,
    user_id: str,
    actor_id: str | None,
    action: AuditAction = AuditAction.LOGIN_REVOKED,
) -> None:
    """Ends a member's login, and writes down who did it, and why."""

    async def work() -> None:
        await db.collection(COLLECTION).update_one(
            {"_id": login_id}, {"$set": _revocation()}
        )
        await audit.record(
            action, actor_id=actor_id, target_id=user_id, login_id=login_id
        )

    await transactions.run(work, turn=login_id)


async def _has_changed(user: User) -> bool:
    try:
        now = await users.get_user(user.id)
    except UserNotFoundError:
        return True
    return (now.role, now.tier, now.disabled, now.password_hash) != (
        user.role,
        user.tier,
        user.disabled,
        user.password_hash,
    )


async def _rotate(secret: str, fresh: str) -> bool:
    now = utc_now()
    result = await db.collection(COLLECTION).update_one(
        {"refresh_hash": tokens.hash_secret(secret)},
        {
            "$set": {
                "refresh_hash": tokens.hash_secret(fresh),
                "used_at": now,
                "expires_at": tokens.login_expiry(now),
            }
        },
    )
    return result.matched_count == 1


async def _is_retry(login_id: str, fresh: str) -> bool:
    """Whether the last rotation made this very secret, which is no accident."""
    login = await _find_login(login_id)
    return (
        login is not None
        and login.is_alive(utc_now())
        and tokens.is_same(login.refresh_hash, tokens.hash_secret(fresh))
    )


def _parts_of(refresh_token: str) -> tuple[str, str, str]:
    parts = refresh_token.split(".")
    if len(parts) != 3:
        raise NotAuthenticatedError("This is no refresh token.")
    return parts[0], parts[1], parts[2]


def _token_pair(login: Login, family: str, secret: str) -> TokenPair:
    return TokenPair(
        access_token=tokens.create_access_token(
            user_id=login.user_id, login_id=login.id
        ),
        refresh_token=f"{login.id}.{family}.{secret}",
        expires_in=tokens.ACCESS_TOKEN_SECONDS,
    )


def _revocation() -> db.Document:
    return {"revoked_at": utc_now(), "refresh_hash": None}
