"""Accounts: take one's data along, leave for good."""

from fastapi import APIRouter, status

from docs import accounts as docs
from models.closings import AccountClosure
from models.exceptions import (
    ForbiddenError,
    TooManyAttemptsError,
    UserNotFoundError,
)
from models.exports import AccountExport
from routes.dependencies import CurrentUser
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import closings, exports

router = APIRouter(
    prefix="/v1/users/me", tags=["Users"], responses=problems(*COMMON)
)


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.CLOSE_ACCOUNT,
    responses=member_problems(
        ForbiddenError, UserNotFoundError, TooManyAttemptsError, *WITH_BODY
    ),
)
async def close_account(body: AccountClosure, actor: CurrentUser) -> None:
    await closings.close_account(body, actor=actor)


@router.get(
    "/export",
    **docs.EXPORT_ACCOUNT,
    responses=member_problems(UserNotFoundError),
)
async def export_account(actor: CurrentUser) -> AccountExport:
    return await exports.export_account(actor)
