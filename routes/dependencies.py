"""Dependencies: who calls, and the parts of a request that routes share."""

from typing import Annotated, Final

from fastapi import Depends, Header, Path, Request
from fastapi.security import OAuth2PasswordBearer

from config.middleware import etags_in
from models.base import ObjectId
from models.exceptions import ForbiddenError, NotAuthenticatedError
from models.logins import Actor
from utils import logins

_BEARER: Final = OAuth2PasswordBearer(
    tokenUrl="/v1/auth/login",
    refreshUrl="/v1/auth/refresh",
    auto_error=False,
    description="E-mail (as *username*) and password; or send the access "
    "token of POST /v1/auth/login yourself.",
)


async def _find_actor(
    request: Request, access_token: Annotated[str | None, Depends(_BEARER)]
) -> Actor | None:
    if access_token is None:
        if "authorization" in request.headers:
            raise NotAuthenticatedError("Authorization is not 'Bearer …'.")
        return None
    return await logins.authenticate(access_token)


async def _require_actor(
    actor: Annotated[Actor | None, Depends(_find_actor)],
) -> Actor:
    if actor is None:
        raise NotAuthenticatedError()
    return actor


async def require_admin(
    actor: Annotated[Actor, Depends(_require_actor)],
) -> Actor:
    """The admin who calls; whole routers depend on it."""
    if not actor.is_admin:
        raise ForbiddenError()
    return actor


async def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            description="ETag of the state that the change is meant for: in "
            "another state it is refused with 412.",
            max_length=1000,
        ),
    ] = None,
) -> list[str]:
    return [] if if_match is None else list(etags_in(if_match)) or ["unknown"]


def client_address(request: Request) -> str:
    """The address that a request comes from."""
    return "unknown" if request.client is None else request.client.host


def user_agent(request: Request) -> str:
    """What the client calls itself."""
    return request.headers.get("user-agent", "")


MaybeUser = Annotated[Actor | None, Depends(_find_actor)]
CurrentUser = Annotated[Actor, Depends(_require_actor)]
AdminUser = Annotated[Actor, Depends(require_admin)]
IfMatch = Annotated[list[str], Depends(_if_match)]
UserId = Annotated[ObjectId, Path(description="Id of a member.")]
LoginId = Annotated[ObjectId, Path(description="Id of a login.")]
EventId = Annotated[ObjectId, Path(description="Id of an event.")]
