"""GPUs: what there is, and what is free."""

from typing import Annotated

from fastapi import APIRouter, Query

from docs import gpus as docs
from models.base import Page, PageQuery
from models.gpus import GpuRead
from routes.dependencies import CurrentUser
from routes.problems import COMMON, member_problems, problems
from utils import gpus, sessions

router = APIRouter(
    prefix="/v1/gpus", tags=["Sessions"], responses=problems(*COMMON)
)


@router.get("", **docs.LIST_GPUS, responses=member_problems())
async def list_gpus(
    query: Annotated[PageQuery, Query()], actor: CurrentUser
) -> Page[GpuRead]:
    own = None if actor.is_admin else await sessions.ids_of(actor.user_id)
    return await gpus.list_gpus(query, session_ids=own)
