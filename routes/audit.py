"""Audit: who did what to whom, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query

from docs import audit as docs
from models.audit import AuditQuery, AuditRead
from models.base import Page
from routes.dependencies import AdminUser
from routes.problems import COMMON, admin_problems, problems
from utils import audit

router = APIRouter(
    prefix="/v1/audit", tags=["Audit"], responses=problems(*COMMON)
)


@router.get("", **docs.LIST_AUDIT, responses=admin_problems())
async def list_audit(
    query: Annotated[AuditQuery, Query()], _actor: AdminUser
) -> Page[AuditRead]:
    return await audit.list_entries(query)
