"""Dependencies: who calls, and the parts of a request that routes share."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Header, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import OAuth2PasswordBearer

from config.etags import etags_in
from models.base import ObjectId
from models.exceptions import (
    ForbiddenError,
    InsufficientScopeError,
    NotAcceptableError,
    NotAuthenticatedError,
)
from models.logins import Actor
from models.scopes import ADMIN_SCOPES, needed_admin_scope, needed_scope
from models.users import Role

Form = TypeVar("Form", bound=StrEnum)

_QUALITY: Final = re.compile(r"q=[01](\.[0-9]{0,3})?")


class _Caller(OAuth2PasswordBearer):
    """The scheme of the Authorize button, and who sends a token of it.

    One dependency instead of two: resolving each costs every request 12 µs.
    """

    async def __call__(  # type: ignore[override]  # more than the token
        self, request: Request
    ) -> Actor | None:
        # A stage of the pipeline found out: see `config/middleware/callers`.
        caller: Actor | Exception | None = request.state.caller
        if isinstance(caller, Exception):
            raise caller
        if caller is not None and caller.key_id is not None:
            return _within_scopes(caller, request)
        return caller


def _within_scopes(actor: Actor, request: Request) -> Actor:
    """Who calls with an API key, as far as it lets them.

    Where it may do what the member may, but not what an admin may, they are no
    admin.
    """
    needed = needed_scope(request.method, request.scope["route"].path)
    if needed is None:
        raise InsufficientScopeError(None)
    if actor.scopes is None:
        return actor
    if needed not in actor.scopes:
        raise InsufficientScopeError(needed)
    if needed_admin_scope(request.method) not in actor.scopes:
        return replace(actor, scopes=actor.scopes - ADMIN_SCOPES)
    return actor


LOGIN: Final = _Caller(
    tokenUrl="/v1/auth/login",
    refreshUrl="/v1/auth/refresh",
    scheme_name="Login",
    auto_error=False,
    description="E-mail (as *username*) and password; or send the access "
    "token of POST /v1/auth/login yourself.",
)


async def require_actor(
    actor: Annotated[Actor | None, Depends(LOGIN)],
) -> Actor:
    """The member who calls."""
    if actor is None:
        raise NotAuthenticatedError()
    return actor


async def require_admin(
    request: Request, actor: Annotated[Actor, Depends(require_actor)]
) -> Actor:
    """The admin who calls; whole routers depend on it."""
    if not actor.is_admin:
        if actor.role is Role.ADMIN:
            raise InsufficientScopeError(needed_admin_scope(request.method))
        raise ForbiddenError()
    return actor


def calls_of(dependant: Dependant) -> Iterator[object]:
    """What a route depends on, directly or not."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from calls_of(dependency)


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


def accepted(forms: type[Form]) -> Callable[[Request], Form]:
    """A dependency: which of `forms` the Accept header likes best.

    Of equals, the one that `forms` names first. RFC 9110, section 12.5.1.
    """

    def choose(request: Request) -> Form:
        header = request.headers.get("accept", "*/*")
        weights = {form: _weight(header, form) for form in forms}
        best = max(weights, key=lambda form: weights[form])
        if weights[best] == 0:
            raise NotAcceptableError(list(forms))
        return best

    return choose


def _weight(accept: str, media_type: str) -> float:
    """How much an Accept header likes a type: the closest range decides."""
    kind = media_type.partition("/")[0]
    ranges = {"*/*": 0, f"{kind}/*": 1, media_type: 2}
    fitting = [
        (ranges[name], weight)
        for name, weight in map(_range_of, accept.split(","))
        if name in ranges
    ]
    return max(fitting)[1] if fitting else 0.0


def _range_of(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        if _QUALITY.fullmatch(parameter):
            return name, float(parameter[2:])
    return name, 1.0


def client_address(request: Request) -> str:
    """The address that a request comes from."""
    return "unknown" if request.client is None else request.client.host


def user_agent(request: Request) -> str:
    """What the client calls itself."""
    return request.headers.get("user-agent", "")


MaybeUser = Annotated[Actor | None, Depends(LOGIN)]
CurrentUser = Annotated[Actor, Depends(require_actor)]
AdminUser = Annotated[Actor, Depends(require_admin)]
IfMatch = Annotated[list[str], Depends(_if_match)]
UserId = Annotated[ObjectId, Path(description="Id of a member.")]
ApiKeyId = Annotated[ObjectId, Path(description="Id of an API key.")]
LoginId = Annotated[ObjectId, Path(description="Id of a login.")]
FeedbackId = Annotated[ObjectId, Path(description="Id of feedback.")]
EventId = Annotated[ObjectId, Path(description="Id of an event.")]
ImageId = Annotated[ObjectId, Path(description="Id of an image.")]
