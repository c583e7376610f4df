"""Users: register, find, change members.

Owns: `users`. Indexes: see INDEXES. May call: etags, images, paging,
passwords, search.
"""

import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cachetools import TTLCache
from pydantic import SecretStr

from config import db, gathering, transactions
from models.base import Page, new_id, utc_now
from models.exceptions import (
    EmailTakenError,
    ForbiddenError,
    InvalidRequestError,
    InvalidTokenError,
    UserNotFoundError,
)
from models.logins import Actor
from models.users import (
    MemberName,
    PrivateUser,
    PublicUser,
    Role,
    User,
    UserAdminUpdate,
    UserCreate,
    UserQuery,
    UserUpdate,
)
from utils import etags, images, paging, passwords, search

COLLECTION: Final = "users"
DOCUMENTS: Final = (User,)
INDEXES: Final = [
    # Two accounts never share an e-mail: racing registrations meet here.
    db.IndexModel("email_key", unique=True),
    # A change names the revision that it read, and is lost on a newer one.
    db.IndexModel("revision", unique=True),
    db.IndexModel([("created_at", db.ASCENDING), ("_id", db.ASCENDING)]),
    db.IndexModel([("role", db.ASCENDING), ("created_at", db.ASCENDING)]),
    db.IndexModel([("tier", db.ASCENDING), ("created_at", db.ASCENDING)]),
    db.IndexModel(
        [("lookup.terms", db.ASCENDING), ("created_at", db.ASCENDING)]
    ),
    db.IndexModel(
        "calendar_hash",
        unique=True,
        partialFilterExpression={"calendar_hash": {"$gt": ""}},
    ),
    # Racing first sign-ins of one user of Firebase meet here.
    db.IndexModel(
        "firebase_id",
        unique=True,
        partialFilterExpression={"firebase_id": {"$gt": ""}},
    ),
    # Not a partial one: the planners don't see that `$in` implies it.
    db.IndexModel("image_id"),
]

_BY_ID: Final = gathering.finds(COLLECTION)
# Where many register in one moment.
_LEAST: Final = timedelta(milliseconds=100)


@dataclass(frozen=True)
class _Pace:
    """How members came: since when, and how long it took for each of them."""

    oldest: datetime
    each: timedelta


# It changes slowly, and only how much a query reads.
_PACE: Final[TTLCache[str, _Pace]] = TTLCache(1, 10 * 60)


async def get_user(user_id: str) -> User:
    """The member with this id.

    Raises:
        UserNotFoundError: there is none.
    """
    document = await _BY_ID.ask(user_id)
    if document is None:
        raise UserNotFoundError(user_id)
    return User.from_document(document)


async def show_user(
    user_id: str, *, actor: Actor | None
) -> PrivateUser | PublicUser:
    """What the caller may know of a member; an admin, all.

    Raises:
        UserNotFoundError: there is none, or the account is disabled.
    """
    user = await get_user(user_id)
    if actor is not None and actor.is_admin:
        return PrivateUser.of(user)
    if user.disabled:
        raise UserNotFoundError(user_id)
    return PublicUser.of(user)


async def find_user_by_email(email: str) -> User | None:
    """The member with this e-mail, in any letter case; None when unknown."""
    document = await db.collection(COLLECTION).find_one(
        {"email_key": email_key(email)}
    )
    return None if document is None else User.from_document(document)


async def find_names(user_ids: Collection[str]) -> dict[str, MemberName]:
    """The names of members by their ids; unknown ids are left out."""
    if not user_ids:
        return {}
    found = db.collection(COLLECTION).find(
        {"_id": {"$in": list(user_ids)}}, {"first_name": 1, "last_name": 1}
    )
    return {
        document["_id"]: MemberName(id=document.pop("_id"), **document)
        async for document in found
    }


async def find_user_by_calendar(calendar_hash: str) -> User | None:
    """The member whose calendar has this secret; None when nobody's has."""
    document = await db.collection(COLLECTION).find_one(
        {"calendar_hash": calendar_hash}
    )
    return None if document is None else User.from_document(document)


async def find_user_by_firebase(firebase_id: str) -> User | None:
    """The member with this id at Firebase; None when nobody has it."""
    document = await db.collection(COLLECTION).find_one(
        {"firebase_id": firebase_id}
    )
    return None if document is None else User.from_document(document)


async def list_users(query: UserQuery) -> Page[PrivateUser]:
    """A page of members, those first who registered first.

    Raises:
        InvalidRequestError: `q` has no word, or the cursor is malformed.
    """
    search.require_word(query.q)
    select, *where = _clauses(query)
    asked = paging.fingerprint(query)
    page = Page[PrivateUser](items=[], next_cursor=None)
    for span in await _spans(query, asked):
        page = await paging.page_by_time(
            db.collection(COLLECTION),
            query,
            asked=asked,
            key="created_at",
            select=select | span,
            where=where,
            show=lambda document: PrivateUser.of(User.from_document(document)),
        )
        if page.next_cursor is not None:
            break
    return page


def _clauses(query: UserQuery) -> list[db.Document]:
    """What selects members: the first clause by an index, the rest of those."""
    asked = {
        "lookup.terms": search.best_term(query.q or ""),
        "role": query.role,
        "tier": query.tier,
    }
    selective: list[db.Document] = [
        {name: value} for name, value in asked.items() if value is not None
    ]
    return [*(selective or [{}]), *search.prefix_conditions(query.q or "")]


async def _spans(query: UserQuery, asked: str) -> list[db.Document]:
    """What to ask for in turn until a page is full; the last is all.

    The embedded server reads a range to its end before it takes a page of it.
    """
    last = paging.time_reached(query, asked=asked)
    pace = _PACE.get(COLLECTION)
    if pace is None:
        pace = _PACE[COLLECTION] = await _look_around()
    # Older ones than the oldest belong to the first page as well.
    bounds: db.Document = {} if last is None else {"$gte": last}
    begin, reach, spans = last or pace.oldest, 2 * query.limit * pace.each, []
    while (end := begin + reach) < utc_now():
        spans.append({"created_at": {**bounds, "$lt": end}})
        reach *= 8
    return [*spans, {"created_at": bounds} if bounds else {}]


async def _look_around() -> _Pace:
    """Looks how members came.

    Whom the database has first is one of the oldest, and few are older. By the
    order of time, the embedded one would sort all to find the oldest.
    """
    stored, oldest = db.collection(COLLECTION), utc_now()
    condition: db.Document = {}
    while found := await stored.find_one(condition, {"created_at": 1}):
        oldest = found["created_at"]
        condition = {"created_at": {"$lt": oldest}}
    count = await stored.estimated_document_count()
    return _Pace(oldest, max(_LEAST, (utc_now() - oldest) / max(count, 1)))


async def create_user(new: UserCreate, *, role: Role = Role.MEMBER) -> User:
    """Registers a member on the operator's word; nobody gets a mail.

    Raises:
        EmailTakenError: the e-mail has an account.
        InvalidRequestError: the password is one of the commonest.
    """
    return await add_user(await prepare_user(new, role=role))


async def prepare_user(new: UserCreate, *, role: Role = Role.MEMBER) -> User:
    """The member of a registration, not yet stored.

    Raises:
        InvalidRequestError: the password is one of the commonest.
    """
    return User(
        first_name=new.first_name,
        last_name=new.last_name,
        email=new.email,
        password_hash=await hash_new_password(new.password),
        role=role,
        revision=new_id(),
    )


async def add_user(user: User) -> User:
    """Stores a new member.

    Raises:
        EmailTakenError: the e-mail has an account.
    """
    try:
        await db.collection(COLLECTION).insert_one(_to_document(user))
    except db.DuplicateKeyError:
        raise EmailTakenError(user.email) from None
    return user


async def hash_new_password(
    password: SecretStr, *, field: str = "password"
) -> str:
    """The hash of a password that somebody chose in `field` of a body.

    Raises:
        InvalidRequestError: it is one of the commonest.
    """
    text = password.get_secret_value()
    if passwords.is_common(text):
        raise InvalidRequestError.at(
            "body",
            field,
            msg="this password is one of the commonest: choose another one",
        )
    return await passwords.hash_password(text)


async def may_log_in(user: User | None, password: str) -> bool:
    """Whether it is this member's password, and the account not disabled.

    None stands for an unknown e-mail; each case takes as long as the others.
    """
    verified = await passwords.verify_password(
        password, None if user is None else user.password_hash
    )
    return user is not None and verified and not user.disabled


async def confirm_password(user_id: str, given: SecretStr) -> User:
    """The signed-in member, who knows their password.

    Raises:
        UserNotFoundError: the account is gone.
        ForbiddenError: it is another one.
    """
    user = await get_user(user_id)
    if not await passwords.verify_password(
        given.get_secret_value(), user.password_hash
    ):
        raise ForbiddenError("current_password is wrong.")
    return user


async def update_user(
    change: UserUpdate,
    *,
    actor: Actor,
    password_hash: str | None = None,
    confirmed: User | None,
    if_match: Collection[str],
) -> tuple[User, User]:
    """Changes a member's own account.

    Args:
        change: the fields to change.
        actor: the member.
        password_hash: of the new password, if there is one.
        confirmed: the member whose password was confirmed, if it was: of two
            racing changes of a password, only one is by who knows it.
        if_match: see `etags.require`.

    Returns:
        The account before and after the change.

    Raises:
        UserNotFoundError: the account is gone.
        ForbiddenError: the password was changed since it was confirmed.
        StaleError: the account is in another state than `if_match` says.
        EmailTakenError: the new e-mail has an account.
        InvalidRequestError: the image is not theirs.
    """
    fields = change.model_dump(
        exclude_unset=True, exclude={"password", "current_password"}
    )
    if password_hash is not None:
        fields["password_hash"] = password_hash

    def changed(user: User) -> dict[str, Any]:
        etags.require(PrivateUser.of(user), if_match)
        if confirmed and confirmed.password_hash != user.password_hash:
            raise ForbiddenError("current_password is wrong.")
        if "email" in fields and not is_email_of(user, fields["email"]):
            return {**fields, "email_verified_at": None}
        return fields

    async def work() -> tuple[User, User]:
        if change.image_id is not None:
            await images.claim([change.image_id], actor=actor, field="image_id")
        return await _change(actor.user_id, changed)

    if change.image_id is None:
        return await work()
    return await transactions.run(work, turn=actor.user_id)


async def prove_email(
    user_id: str, *, email: str, password_hash: str | None = None
) -> tuple[User, User]:
    """Notes that a member reads what is sent to `email`.

    Args:
        user_id: the member.
        email: where they read the token that proves it.
        password_hash: of the password that they chose with it, if they did.

    Returns:
        The account before and after.

    Raises:
        InvalidTokenError: the account is gone or disabled, or has another
            e-mail by now.
    """

    def proven(user: User) -> dict[str, Any]:
        if user.disabled or not is_email_of(user, email):
            raise InvalidTokenError()
        return {
            "email_verified_at": user.email_verified_at or utc_now(),
            "welcomed": True,
            "password_hash": password_hash or user.password_hash,
            # Who resets a password throws out whoever came in otherwise. Where
            # both e-mails are proven, Firebase's user comes in again.
            "firebase_id": None if password_hash else user.firebase_id,
        }

    try:
        return await _change(user_id, proven)
    except UserNotFoundError:
        raise InvalidTokenError() from None


async def link_firebase(user_id: str, *, email: str, firebase_id: str) -> User:
    """Lets a user of Firebase with the same proven e-mail come in.

    Raises:
        UserNotFoundError: the account is gone.
        EmailTakenError: it has another e-mail by now, or another account is
            linked.
    """

    def linked(user: User) -> dict[str, Any]:
        if not user.email_verified or not is_email_of(user, email):
            raise EmailTakenError(email)
        return {"firebase_id": firebase_id}

    _, user = await _change(user_id, linked)
    return user


async def administer_user(
    user_id: str, change: UserAdminUpdate, *, if_match: Collection[str] = ()
) -> User:
    """Changes what an admin may change of a member.

    Raises:
        UserNotFoundError: there is none.
        StaleError: the account is in another state than `if_match` says.
    """

    def changed(user: User) -> dict[str, Any]:
        etags.require(PrivateUser.of(user), if_match)
        return change.model_dump(exclude_unset=True)

    _, user = await _change(user_id, changed)
    return user


def is_email_of(user: User, email: str) -> bool:
    """Whether `email` is the member's, in any letter case."""
    return email_key(user.email) == email_key(email)


async def disable(user_id: str) -> None:
    """Disables a member who leaves; part of a transaction.

    Raises:
        UserNotFoundError: there is none.
    """
    await _change(user_id, lambda _: {"disabled": True})


async def hold(user_id: str) -> User:
    """The member, whom nothing changes until the open transaction has written.

    Of that and a racing change of the member, one comes first: both write the
    document, here something that nobody reads.

    Raises:
        UserNotFoundError: there is none.
    """
    await db.collection(COLLECTION).update_one(
        {"_id": user_id}, {"$set": {"held_by": new_id()}}
    )
    return await get_user(user_id)


async def delete_user(user_id: str) -> None:
    """Forgets a member, whose e-mail is free from then on."""
    await db.collection(COLLECTION).delete_one({"_id": user_id})


async def set_calendar(user_id: str, *, calendar_hash: str | None) -> None:
    """Gives a member's calendar another secret, or none.

    Raises:
        UserNotFoundError: the account is gone.
    """
    await _change(user_id, lambda _: {"calendar_hash": calendar_hash})


async def is_tier_taken(tier: str) -> bool:
    """Whether somebody is in the tier."""
    found = await db.collection(COLLECTION).find_one({"tier": tier}, {"_id": 1})
    return found is not None


async def image_ids_in_use(ids: Sequence[str]) -> set[str]:
    """Those of some hundred images that are a member's picture."""
    found = await db.collection(COLLECTION).distinct(
        "image_id", {"image_id": {"$in": list(ids)}}
    )
    return set(found)


async def forget_images(ids: Sequence[str]) -> None:
    """Leaves the members whose picture is one of `ids` without one."""
    users = db.collection(COLLECTION)
    found = users.find({"image_id": {"$in": list(ids)}}, {"_id": 1})
    changes = [
        db.UpdateOne(
            {"_id": user["_id"]},
            {
                "$set": {
                    "image_id": None,
                    "updated_at": utc_now(),
                    "revision": new_id(),
                }
            },
        )
        async for user in found
    ]
    if changes:
        await users.bulk_write(changes)


def email_key(email: str) -> str:
    """What makes an e-mail the same as another: not its letters' case."""
    name, _, domain = unicodedata.normalize("NFKC", email.strip()).rpartition(
        "@"
    )
    # Casefolding would make one domain of two: strasse.de is not straße.de.
    return f"{name.casefold()}@{domain.lower()}"


async def _change(
    user_id: str, changed: Callable[[User], dict[str, Any]]
) -> tuple[User, User]:
    """Changes the fields of a member that `changed` says; returns both states.

    Atomic by the unique `revision`: the update meets a member only as it was
    read, and is tried again on the newer state when another change came first.
    """
    while True:
        user = await get_user(user_id)
        fields = changed(user)
        new = user.model_copy(
            update={**fields, "updated_at": utc_now(), "revision": new_id()}
        )
        try:
            if await _replace(user, new):
                return user, new
        except db.DuplicateKeyError:
            raise EmailTakenError(new.email) from None


async def _replace(old: User, new: User) -> bool:
    """Puts a member in the place of the one that was read, if still so."""
    found = {"revision": old.revision}
    if email_key(old.email) == email_key(new.email):
        replaced = await db.collection(COLLECTION).replace_one(
            found, _to_document(new)
        )
        return replaced.matched_count == 1

    async def work() -> bool:
        # Not a replacement: in a unique index, the embedded server would keep
        # the old e-mail, and nobody could ever register with it.
        removed = await db.collection(COLLECTION).delete_one(found)
        if removed.deleted_count == 0:
            return False
        await db.collection(COLLECTION).insert_one(_to_document(new))
        return True

    return await transactions.run(work)


def _to_document(user: User) -> db.Document:
    name, _, domain = user.email.partition("@")
    return {
        **user.dict(),
        "email_key": email_key(user.email),
        "lookup": search.search_fields(
            user.first_name, user.last_name, name, domain
        ),
    }
