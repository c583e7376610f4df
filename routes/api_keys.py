"""API keys: make, list, revoke."""

from typing import Annotated

from fastapi import APIRouter, Query, status

from docs import api_keys as docs
from models.api_keys import ApiKeyCreate, ApiKeyCreated, ApiKeyRead
from models.base import Page, PageQuery
from models.exceptions import ApiKeyNotFoundError, TooManyApiKeysError
from routes.dependencies import ApiKeyId, CurrentUser
from routes.idempotency import IdempotentRoute
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import api_keys

router = APIRouter(
    prefix="/v1/api-keys",
    tags=["API keys"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_API_KEY,
    responses=member_problems(TooManyApiKeysError, *WITH_BODY),
)
async def create_api_key(
    body: ApiKeyCreate, actor: CurrentUser
) -> ApiKeyCreated:
    return await api_keys.create_key(body, actor=actor)


@router.get("", **docs.LIST_API_KEYS, responses=member_problems())
async def list_api_keys(
    query: Annotated[PageQuery, Query()], actor: CurrentUser
) -> Page[ApiKeyRead]:
    return await api_keys.list_keys(query, actor=actor)


@router.delete(
    "/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.REVOKE_API_KEY,
    responses=member_problems(ApiKeyNotFoundError),
)
async def revoke_api_key(key_id: ApiKeyId, actor: CurrentUser) -> None:
    await api_keys.revoke_key(key_id, actor=actor)
