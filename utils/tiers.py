"""Tiers: groups of members, with the limits and quotas of each.

Owns: `tiers`. Indexes: see INDEXES. May call: audit, etags, paging. A tier's
limits lie in its document, so that each change of them is one write.
"""

import asyncio
import difflib
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from config import db, transactions
from models.audit import AuditAction
from models.base import Page, PageQuery, new_id, utc_now
from models.exceptions import (
    InvalidRequestError,
    RateLimitExistsError,
    RateLimitNotFoundError,
    TierExistsError,
    TierNotFoundError,
)
from models.logins import Actor
from models.tiers import (
    ALL_OTHERS,
    RateLimit,
    RateLimitCreate,
    RateLimitRead,
    RateLimitUpdate,
    Tier,
    TierCreate,
    TierRead,
    TierSessionQuotas,
    TierTaskQuotas,
    TierUpdate,
)
from utils import audit, etags, paging

Quotas = TypeVar("Quotas", TierTaskQuotas, TierSessionQuotas)

COLLECTION: Final = "tiers"
DOCUMENTS: Final = (Tier,)
INDEXES: Final = [
    db.IndexModel("name", unique=True),
    # A change names the revision that it read, and is lost on a newer one.
    db.IndexModel("revision", unique=True),
    db.IndexModel([("created_at", db.ASCENDING), ("_id", db.ASCENDING)]),
]

# Set when this process has changed a tier, for whoever applies what it says.
changed: Final = asyncio.Event()


async def get_tier(name: str) -> Tier:
    """The tier with this name.

    Raises:
        TierNotFoundError: there is none.
    """
    document = await db.collection(COLLECTION).find_one({"name": name})
    if document is None:
        raise TierNotFoundError(name)
    return Tier.from_document(document)


async def list_tiers(query: PageQuery) -> Page[TierRead]:
    """A page of the tiers, the oldest first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query),
        key="created_at",
        select={},
        show=lambda document: TierRead.of(Tier.from_document(document)),
    )


async def list_all() -> list[Tier]:
    """All tiers, which are few."""
    return [
        Tier.from_document(document)
        async for document in db.collection(COLLECTION).find()
    ]


async def hand_out(*apply: Callable[[Sequence[Tier]], None]) -> None:
    """Reads all tiers, once, for all who keep in memory what they say."""
    try:
        found = await list_all()
    except db.UNAVAILABLE_ERRORS:
        # What was read last stays in force; that the database is away, others
        # say.
        return
    for each in apply:
        each(found)


async def create_tier(new: TierCreate, *, actor_id: str | None) -> Tier:
    """Creates a tier without rate limits of its own.

    Raises:
        TierExistsError: there is one with this name.
    """
    tier = Tier(**new.model_dump())

    async def work() -> None:
        try:
            await db.collection(COLLECTION).insert_one(tier.dict())
        except db.DuplicateKeyError:
            raise TierExistsError(new.name) from None
        await audit.record(
            AuditAction.TIER_CREATED,
            actor_id=actor_id,
            target_id=tier.id,
            tier=tier.name,
        )
        transactions.afterwards(changed.set)

    await transactions.run(work, turn=new.name)
    return tier


async def update_tier(
    name: str, change: TierUpdate, *, actor: Actor, if_match: Collection[str]
) -> Tier:
    """Changes what is said of a tier, and its quotas.

    Raises:
        TierNotFoundError: there is none.
        StaleError: it is in another state than `if_match` says.
    """

    def updated(tier: Tier) -> tuple[Tier, dict[str, str]]:
        etags.require(TierRead.of(tier), if_match)
        new = tier.model_copy(update=change.model_dump(exclude_unset=True))
        new.task_quotas = _merged(tier.task_quotas, change.task_quotas)
        new.session_quotas = _merged(
            tier.session_quotas, change.session_quotas
        )
        old_facts, new_facts = _said_of(tier), _said_of(new)
        return new, {
            field: f"{old_facts[field]} → {said}"
            for field, said in new_facts.items()
            if said != old_facts[field]
        }

    return await _change(
        name, updated, action=AuditAction.TIER_CHANGED, actor=actor
    )


async def claim(name: str) -> None:
    """Says that a tier gets a member; part of the transaction that does it.

    It changes the tier. So of a claim and a racing deletion, one comes first,
    and the other one sees what it did.

    Raises:
        InvalidRequestError: there is none; `tier` of a body names it.
    """
    result = await db.collection(COLLECTION).update_one(
        {"name": name}, {"$set": {"revision": new_id()}}
    )
    if result.matched_count == 0:
        raise InvalidRequestError.at(
            "body",
            "tier",
            msg=f"there is no tier {name!r}: GET /v1/tiers lists them",
        )


async def delete_tier(tier: Tier, *, actor: Actor) -> None:
    """Deletes a tier that has no members; part of a transaction."""
    await db.collection(COLLECTION).delete_one({"_id": tier.id})
    await audit.record(
        AuditAction.TIER_DELETED,
        actor_id=actor.user_id,
        target_id=tier.id,
        tier=tier.name,
    )
    transactions.afterwards(changed.set)


async def get_rate_limit(name: str, limit_id: str) -> RateLimit:
    """One of a tier's limits.

    Raises:
        TierNotFoundError: there is no such tier.
        RateLimitNotFoundError: it has no such limit.
    """
    return _limit_of(await get_tier(name), limit_id)


async def list_rate_limits(
    name: str, query: PageQuery
) -> Page[RateLimitRead]:
    """A page of a tier's limits, the oldest first.

    Raises:
        TierNotFoundError: there is none.
        InvalidRequestError: the cursor is malformed.
    """
    asked = paging.fingerprint(query, name)
    limits = (await get_tier(name)).limits
    limits.sort(key=_place)
    if query.cursor is not None:
        last = paging.decode(paging.TimeCursor, query.cursor, query=asked)
        after = (last.at_ms, last.last_id)
        limits = [limit for limit in limits if _place(limit) > after]
    return paging.page_of(
        limits[: query.limit + 1],
        limit=query.limit,
        show=RateLimitRead.of,
        cursor_of=lambda limit: paging.TimeCursor(
            query=asked,
            last_id=limit.id,
            at_ms=paging.to_milliseconds(limit.created_at),
        ),
    )


async def add_rate_limit(
    name: str,
    new: RateLimitCreate,
    *,
    paths: Collection[str],
    actor: Actor,
) -> RateLimit:
    """Limits how often a tier's members may call a path.

    Args:
        name: the tier.
        new: the limit.
        paths: the route templates that can be limited.
        actor: an admin.

    Raises:
        TierNotFoundError: there is no such tier.
        InvalidRequestError: `path` is none of `paths`.
        RateLimitExistsError: the tier has a limit for the path.
    """
    _require_path(new.path, paths)
    limit = RateLimit(**new.model_dump())

    def added(tier: Tier) -> tuple[Tier, dict[str, str]]:
        return _with_limits(tier, [*tier.limits, limit]), _facts(None, limit)

    await _change(
        name, added, action=AuditAction.RATE_LIMIT_ADDED, actor=actor
    )
    return limit


async def update_rate_limit(
    limit_id: str,
    change: RateLimitUpdate,
    *,
    tier: str,
    paths: Collection[str],
    actor: Actor,
    if_match: Collection[str],
) -> RateLimit:
    """Changes a tier's limit.

    Raises:
        TierNotFoundError: there is no such tier.
        RateLimitNotFoundError: it has no such limit.
        InvalidRequestError: the new path is none of `paths`.
        RateLimitExistsError: the tier has another limit for the path.
        StaleError: it is in another state than `if_match` says.
    """
    fields = change.model_dump(exclude_unset=True)
    if "path" in fields:
        _require_path(change.path, paths)

    def updated(before: Tier) -> tuple[Tier, dict[str, str]]:
        old = _limit_of(before, limit_id)
        etags.require(RateLimitRead.of(old), if_match)
        new = old.model_copy(update={**fields, "updated_at": utc_now()})
        limits = [new if limit is old else limit for limit in before.limits]
        return _with_limits(before, limits), _facts(old, new)

    after = await _change(
        tier, updated, action=AuditAction.RATE_LIMIT_CHANGED, actor=actor
    )
    return _limit_of(after, limit_id)


async def remove_rate_limit(name: str, limit_id: str, *, actor: Actor) -> None:
    """Takes a limit from a tier.

    Raises:
        TierNotFoundError: there is no such tier.
        RateLimitNotFoundError: it has no such limit.
    """

    def removed(tier: Tier) -> tuple[Tier, dict[str, str]]:
        old = _limit_of(tier, limit_id)
        limits = [limit for limit in tier.limits if limit is not old]
        return _with_limits(tier, limits), _facts(old, None)

    await _change(
        name, removed, action=AuditAction.RATE_LIMIT_REMOVED, actor=actor
    )


async def _change(
    name: str,
    change: Callable[[Tier], tuple[Tier, dict[str, str]]],
    *,
    action: AuditAction,
    actor: Actor,
) -> Tier:
    """Replaces a tier by what `change` makes of it, and writes down the facts.

    Atomic by the unique `revision`: the write meets a tier only as it was
    read, and is tried again on the newer state when another came first.
    """

    async def work() -> Tier:
        while True:
            tier = await get_tier(name)
            new, facts = change(tier)
            new.updated_at, new.revision = utc_now(), new_id()
            result = await db.collection(COLLECTION).replace_one(
                {"revision": tier.revision}, new.dict()
            )
            if result.matched_count == 1:
                break
        await audit.record(
            action, actor_id=actor.user_id, target_id=tier.id, **facts
        )
        transactions.afterwards(changed.set)
        return new

    return await transactions.run(work, turn=name)


def _with_limits(tier: Tier, limits: list[RateLimit]) -> Tier:
    paths = [limit.path for limit in limits]
    for path in paths:
        if paths.count(path) > 1:
            raise RateLimitExistsError(tier.name, path)
    return tier.model_copy(update={"limits": limits})


def _merged(quotas: Quotas, change: Quotas) -> Quotas:
    given = change.model_dump(exclude_unset=True)
    return quotas.model_copy(update=given)


def _said_of(tier: Tier) -> dict[str, object]:
    """What an update can change, by the names of the audit's facts."""
    quotas = tier.model_dump(include={"task_quotas", "session_quotas"})
    return {
        "description": tier.description,
        **{
            f"{kind}.{name}": "default" if number is None else number
            for kind, numbers in quotas.items()
            for name, number in numbers.items()
        },
    }


def _limit_of(tier: Tier, limit_id: str) -> RateLimit:
    for limit in tier.limits:
        if limit.id == limit_id:
            return limit
    raise RateLimitNotFoundError(tier.name, limit_id)


def _place(limit: RateLimit) -> tuple[int, str]:
    return paging.to_milliseconds(limit.created_at), limit.id


def _require_path(path: str, paths: Collection[str]) -> None:
    if path == ALL_OTHERS or path in paths:
        return
    near = difflib.get_close_matches(path, paths, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InvalidRequestError.at(
        "body",
        "path",
        msg=f"no such path can be limited: {hint}A path is a template as in "
        "/openapi.json, or * for all others",
    )


def _facts(old: RateLimit | None, new: RateLimit | None) -> dict[str, str]:
    """What became of a limit, for the audit."""
    said = [
        "none"
        if limit is None
        else f"{limit.path} {limit.limit}/{limit.period_seconds}"
        for limit in (old, new)
    ]
    return {"rate_limit": " → ".join(said)}
