"""Users: register, one's own account, public profiles, members for admins."""

from typing import Annotated

from fastapi import APIRouter, Query, status

from docs import users as docs
from models.base import Page
from models.exceptions import (
    EmailTakenError,
    ForbiddenError,
    StaleError,
    TooManyAttemptsError,
    UserNotFoundError,
)
from models.users import (
    PrivateUser,
    PublicUser,
    UserAdminUpdate,
    UserCreate,
    UserQuery,
    UserUpdate,
)
from routes.dependencies import (
    AdminUser,
    CurrentUser,
    IfMatch,
    MaybeUser,
    UserId,
)
from routes.idempotency import IdempotentRoute
from routes.problems import (
    COMMON,
    WITH_BODY,
    admin_problems,
    member_problems,
    problems,
)
from utils import accounts, users

router = APIRouter(
    prefix="/v1/users",
    tags=["Users"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_USER,
    responses=problems(EmailTakenError, *WITH_BODY),
)
async def create_user(body: UserCreate) -> PrivateUser:
    return PrivateUser.of(await accounts.register(body))


@router.get("", **docs.LIST_USERS, responses=admin_problems())
async def list_users(
    query: Annotated[UserQuery, Query()], _actor: AdminUser
) -> Page[PrivateUser]:
    return await users.list_users(query)


@router.get(
    "/me", **docs.GET_OWN_USER, responses=member_problems(UserNotFoundError)
)
async def get_own_user(actor: CurrentUser) -> PrivateUser:
    return PrivateUser.of(await users.get_user(actor.user_id))


@router.patch(
    "/me",
    **docs.UPDATE_OWN_USER,
    responses=member_problems(
        ForbiddenError,
        UserNotFoundError,
        EmailTakenError,
        StaleError,
        TooManyAttemptsError,
        *WITH_BODY,
    ),
)
async def update_own_user(
    body: UserUpdate, actor: CurrentUser, if_match: IfMatch
) -> PrivateUser:
    return PrivateUser.of(
        await accounts.update_own(body, actor=actor, if_match=if_match)
    )


@router.get(
    "/{user_id}",
    **docs.GET_USER,
    responses=member_problems(UserNotFoundError),
)
async def get_user(
    user_id: UserId, actor: MaybeUser
) -> PrivateUser | PublicUser:
    return await users.show_user(user_id, actor=actor)


@router.patch(
    "/{user_id}",
    **docs.ADMINISTER_USER,
    responses=admin_problems(UserNotFoundError, StaleError, *WITH_BODY),
)
async def administer_user(
    user_id: UserId,
    body: UserAdminUpdate,
    actor: AdminUser,
    if_match: IfMatch,
) -> PrivateUser:
    return PrivateUser.of(
        await accounts.administer(user_id, body, actor=actor, if_match=if_match)
    )
