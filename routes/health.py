"""Health: whether this process lives, and whether it can serve."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from config.health import OK, Health
from docs import health as docs
from models.exceptions import NotReadyError
from routes.problems import problems

router = APIRouter(prefix="/health", tags=["Service"])


class Live(BaseModel):
    """The process answers."""

    status: str = Field("live", examples=["live"])


class Ready(BaseModel):
    """The process can serve."""

    status: str = Field("ready", examples=["ready"])
    checks: dict[str, str] = Field(examples=[{"database": OK}])


async def _health(request: Request) -> Health:
    health: Health = request.app.state.health
    return health


@router.get("/live", **docs.GET_LIVE)
async def get_live() -> Live:
    return Live()


@router.get("/ready", **docs.GET_READY, responses=problems(NotReadyError))
async def get_ready(health: Annotated[Health, Depends(_health)]) -> Ready:
    checks = await health.examine()
    failing = [name for name, found in checks.items() if found != OK]
    if failing:
        raise NotReadyError(failing, checks)
    return Ready(checks=checks)
