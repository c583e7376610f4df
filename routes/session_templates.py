"""Session templates: what sessions may run."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from docs import session_templates as docs
from models.base import Page, PageQuery
from models.exceptions import StaleError
from models.session_errors import (
    TemplateExistsError,
    TemplateInUseError,
    TemplateNotFoundError,
)
from models.session_templates import (
    TemplateCreate,
    TemplateName,
    TemplateRead,
    TemplateUpdate,
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
from utils import session_templates, template_uses

router = APIRouter(
    prefix="/v1/session-templates",
    tags=["Sessions"],
    responses=problems(*COMMON),
    route_class=IdempotentRoute,
)

Name = Annotated[TemplateName, Path(description="Name of a template.")]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    **docs.CREATE_TEMPLATE,
    responses=admin_problems(TemplateExistsError, *WITH_BODY),
)
async def create_template(
    body: TemplateCreate, actor: AdminUser
) -> TemplateRead:
    return TemplateRead.of(
        await session_templates.create_template(body, actor_id=actor.user_id)
    )


@router.get("", **docs.LIST_TEMPLATES, responses=member_problems())
async def list_templates(
    query: Annotated[PageQuery, Query()], _actor: CurrentUser
) -> Page[TemplateRead]:
    return await session_templates.list_templates(query)


@router.get(
    "/{name}",
    **docs.GET_TEMPLATE,
    responses=member_problems(TemplateNotFoundError),
)
async def get_template(name: Name, _actor: CurrentUser) -> TemplateRead:
    return TemplateRead.of(await session_templates.get_template(name))


@router.patch(
    "/{name}",
    **docs.UPDATE_TEMPLATE,
    responses=admin_problems(TemplateNotFoundError, StaleError, *WITH_BODY),
)
async def update_template(
    name: Name, body: TemplateUpdate, actor: AdminUser, if_match: IfMatch
) -> TemplateRead:
    changed = await session_templates.update_template(
        name, body, actor=actor, if_match=if_match
    )
    return TemplateRead.of(changed)


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_TEMPLATE,
    responses=admin_problems(TemplateNotFoundError, TemplateInUseError),
)
async def delete_template(name: Name, actor: AdminUser) -> None:
    await template_uses.delete_template(name, actor=actor)
