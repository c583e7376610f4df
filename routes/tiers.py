"""Tiers: groups of members, and how often each may call what."""

from collections.abc import Collection
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, status

from docs import tiers as docs
from models.base import ObjectId, Page, PageQuery
from models.exceptions import (
    RateLimitExistsError,
    RateLimitNotFoundError,
    StaleError,
    TierExistsError,
    TierInUseError,
    TierNotFoundError,
)
from models.tiers import (
    RateLimitCreate,
    RateLimitRead,
    RateLimitUpdate,
    TierCreate,
    TierName,
    TierRead,
    TierUpdate,
)
from routes.dependencies import AdminUser, CurrentUser, IfMatch
from routes.idempotency import IdempotentRoute
from routes.problems import (
    COMMON,
    WITH_BODY,
    admin_problems,
    member_problems,
    problems,
)
from utils import tier_members, tiers

router = APIRouter(
    prefix="/v1/tiers",
    tags=["Tiers"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


def _limited_paths(request: Request) -> Collection[str]:
    paths: Collection[str] = request.app.state.limiter.paths
    return paths


Name = Annotated[TierName, Path(description="Name of a tier.")]
LimitId = Annotated[ObjectId, Path(description="Id of a rate limit.")]
_CHANGE_ERRORS: Final = (
    TierNotFoundError,
    RateLimitNotFoundError,
    RateLimitExistsError,
    StaleError,
)
LimitedPaths = Annotated[Collection[str], Depends(_limited_paths)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_TIER,
    responses=admin_problems(TierExistsError, *WITH_BODY),
)
async def create_tier(body: TierCreate, actor: AdminUser) -> TierRead:
    return TierRead.of(await tiers.create_tier(body, actor_id=actor.user_id))


@router.get("", **docs.LIST_TIERS, responses=member_problems())
async def list_tiers(
    query: Annotated[PageQuery, Query()], _actor: CurrentUser
) -> Page[TierRead]:
    return await tiers.list_tiers(query)


@router.get(
    "/{name}", **docs.GET_TIER, responses=member_problems(TierNotFoundError)
)
async def get_tier(name: Name, _actor: CurrentUser) -> TierRead:
    return TierRead.of(await tiers.get_tier(name))


@router.patch(
    "/{name}",
    **docs.UPDATE_TIER,
    responses=admin_problems(TierNotFoundError, StaleError, *WITH_BODY),
)
async def update_tier(
    name: Name, body: TierUpdate, actor: AdminUser, if_match: IfMatch
) -> TierRead:
    return TierRead.of(
        await tiers.update_tier(name, body, actor=actor, if_match=if_match)
    )


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_TIER,
    responses=admin_problems(TierNotFoundError, TierInUseError),
)
async def delete_tier(name: Name, actor: AdminUser) -> None:
    await tier_members.delete_tier(name, actor=actor)


@router.post(
    "/{name}/rate-limits",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_RATE_LIMIT,
    responses=admin_problems(
        TierNotFoundError, RateLimitExistsError, *WITH_BODY
    ),
)
async def create_rate_limit(
    name: Name, body: RateLimitCreate, paths: LimitedPaths, actor: AdminUser
) -> RateLimitRead:
    return RateLimitRead.of(
        await tiers.add_rate_limit(name, body, paths=paths, actor=actor)
    )


@router.get(
    "/{name}/rate-limits",
    **docs.LIST_RATE_LIMITS,
    responses=member_problems(TierNotFoundError),
)
async def list_rate_limits(
    name: Name, query: Annotated[PageQuery, Query()], _actor: CurrentUser
) -> Page[RateLimitRead]:
    return await tiers.list_rate_limits(name, query)


@router.get(
    "/{name}/rate-limits/{limit_id}",
    **docs.GET_RATE_LIMIT,
    responses=member_problems(TierNotFoundError, RateLimitNotFoundError),
)
async def get_rate_limit(
    name: Name, limit_id: LimitId, _actor: CurrentUser
) -> RateLimitRead:
    return RateLimitRead.of(await tiers.get_rate_limit(name, limit_id))


@router.patch(
    "/{name}/rate-limits/{limit_id}",
    **docs.UPDATE_RATE_LIMIT,
    responses=admin_problems(*_CHANGE_ERRORS, *WITH_BODY),
)
async def update_rate_limit(
    name: Name,
    limit_id: LimitId,
    body: RateLimitUpdate,
    *,
    paths: LimitedPaths,
    actor: AdminUser,
    if_match: IfMatch,
) -> RateLimitRead:
    changed = await tiers.update_rate_limit(
        limit_id, body, tier=name, paths=paths, actor=actor, if_match=if_match
    )
    return RateLimitRead.of(changed)


@router.delete(
    "/{name}/rate-limits/{limit_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_RATE_LIMIT,
    responses=admin_problems(TierNotFoundError, RateLimitNotFoundError),
)
async def delete_rate_limit(
    name: Name, limit_id: LimitId, actor: AdminUser
) -> None:
    await tiers.remove_rate_limit(name, limit_id, actor=actor)
