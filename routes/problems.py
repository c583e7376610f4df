"""Problems: one builder of problem+json, and what each route declares of it.

RFC 9457. The framework's own errors become the same kind of answer.
"""

import http
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from config import db
from config.main import settings
from config.templates import Templates, find_template
from models.exceptions import (
    BodyTooLargeError,
    DatabaseUnavailableError,
    ForbiddenError,
    InsufficientScopeError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    MissingKeyError,
    MusterError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    RateLimitUnavailableError,
    UnsupportedMediaTypeError,
)

MEDIA_TYPE: Final = "application/problem+json"
_JSON: Final = "application/json"
_MEDIA_TYPES: Final = {
    "File": "multipart/form-data",
    "Form": "application/x-www-form-urlencoded",
}

# A body of garbage must not make a longer answer.
_MOST_FAULTS: Final = 20
_LOG: Final = logging.getLogger("muster.problems")


# Before anything is done for a request, it is counted, and where the service
# has a key, each must show it.
GUARDED: Final = (
    RateLimitedError,
    RateLimitUnavailableError,
    *((MissingKeyError, NotAuthenticatedError) if settings.api_key else ()),
)

# Nearly every endpoint reads a database, and checks what it is sent.
COMMON: Final = (InvalidRequestError, DatabaseUnavailableError, *GUARDED)

# Endpoints with a body answer these as well.
WITH_BODY: Final = (BodyTooLargeError, UnsupportedMediaTypeError)


class InvalidPart(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(examples=[["body", "title"]])
    msg: str = Field(examples=["Field required"])
    type: str = Field(examples=["missing"])


class Problem(BaseModel):
    """An error (RFC 9457); some have further members, named in the example."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/event-not-found"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="Quote it when you ask for help.")
    errors: list[InvalidPart] | None = Field(
        None, description="With status 422: what is wrong, and where."
    )


def problems(*errors: type[MusterError]) -> dict[int | str, dict[str, Any]]:
    """What a route declares: the errors that it can answer, with examples."""
    # What a route declares of a status hides what its router does.
    statuses = {error.status for error in errors}
    shared = [error for error in COMMON if error.status in statuses]
    declared: dict[int | str, dict[str, Any]] = {}
    for error in dict.fromkeys((*errors, *shared)):
        entry = declared.setdefault(
            error.status,
            {
                "description": http.HTTPStatus(error.status).phrase,
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        entry["content"][MEDIA_TYPE]["examples"][error.slug] = {
            "summary": error.title,
            "value": _example(error),
        }
    return declared


def member_problems(
    *errors: type[MusterError],
) -> dict[int | str, dict[str, Any]]:
    """`problems` of a route for signed-in members."""
    return problems(NotAuthenticatedError, InsufficientScopeError, *errors)


def admin_problems(
    *errors: type[MusterError],
) -> dict[int | str, dict[str, Any]]:
    """`problems` of a route for admins."""
    return member_problems(ForbiddenError, *errors)


def templates_of(
    routers: Sequence[APIRouter], *, but: tuple[str, ...] = ()
) -> Templates:
    """The route templates of `routers`, except those that begin with `but`."""
    return {
        route.path: route.path_regex
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and not route.path.startswith(but)
    }


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Makes every error of `app`, which serves `routers`, a problem+json."""
    app.state.api_routes = [
        route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    app.state.templates = templates_of(routers)
    app.add_exception_handler(MusterError, on_fault)
    app.add_exception_handler(HTTPException, on_fault)
    app.add_exception_handler(RequestValidationError, on_fault)
    for error in db.UNAVAILABLE_ERRORS:
        app.add_exception_handler(error, on_fault)


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Adds the problem's own schema to an OpenAPI document."""
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(
        ref_template="#/components/schemas/{model}"
    )
    components.update(problem.pop("$defs"))
    components["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    return schema


async def on_fault(request: Request, error: Exception) -> Response:
    """The answer to any exception; the log gets what the answer hides."""
    problem = _problem_of(request, error)
    if problem.status >= 500:
        # Who keeps a record of the request finds there what went wrong.
        request.state.fault = error
    match problem:
        case InternalError():
            asked = f"{request.method} {request.url.path}"
            _LOG.error("%s failed", asked, exc_info=error)
        case DatabaseUnavailableError():
            _LOG.error("the database does not answer: %s", _first_line(error))
    return _response(request, problem)


def _response(request: Request, error: MusterError) -> Response:
    return JSONResponse(
        {
            "type": f"/problems/{error.slug}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "instance": request.url.path,
            "request_id": request.state.request_id,
            **error.facts,
        },
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def _problem_of(request: Request, error: Exception) -> MusterError:
    match error:
        case MusterError():
            return error
        case RequestValidationError():
            return _of_validation(request, error.errors())
        case HTTPException():
            return _of_http(request, error)
    if isinstance(error, db.UNAVAILABLE_ERRORS):
        return DatabaseUnavailableError()
    return InternalError()


def _of_http(request: Request, error: HTTPException) -> MusterError:
    match error.status_code:
        case 400:
            # The framework's word for a body that it can't even read.
            return InvalidRequestError.at("body", msg="the body can't be read")
        case 404:
            return NotFoundError()
        case 405:
            return MethodNotAllowedError(_methods_at(request))
        case 413:
            return BodyTooLargeError(request.state.body_limit_bytes)
    return InternalError()


def _methods_at(request: Request) -> list[str]:
    """What the path can be asked with; the framework names one route's only."""
    template = _template_of(request)
    routes: list[APIRoute] = request.app.state.api_routes
    methods = {
        method
        for route in routes
        if route.path == template
        for method in route.methods or ()
    }
    return sorted(methods) or ["GET"]


def _template_of(request: Request) -> str | None:
    return find_template(request.app.state.templates, request.url.path)


def _of_validation(
    request: Request, faults: Sequence[Mapping[str, Any]]
) -> MusterError:
    expected = _expected_media_type(request)
    sent = request.headers.get("content-type", "").partition(";")[0].strip()
    route = request.scope.get("route")
    taken = isinstance(route, APIRoute) and route.path != _template_of(request)
    if faults[0]["loc"][0] == "path" and taken:
        # It was taken for the id of a neighbour's path: /v1/events/{event_id}.
        return MethodNotAllowedError(_methods_at(request))
    about_body = any(fault["loc"][0] == "body" for fault in faults)
    if about_body and expected is not None and sent.lower() != expected:
        if sent or request.headers.get("content-length", "0") != "0":
            return UnsupportedMediaTypeError(expected)
    return InvalidRequestError(
        # Never `input` or `ctx`: they may hold a password.
        [
            {
                "loc": list(fault["loc"]),
                "msg": fault["msg"].removeprefix("Value error, "),
                "type": fault["type"],
            }
            for fault in faults[:_MOST_FAULTS]
        ]
    )


def _expected_media_type(request: Request) -> str | None:
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.body_field is None:
        return None
    kind = type(route.body_field.field_info).__name__
    return _MEDIA_TYPES.get(kind, _JSON)


def _example(error: type[MusterError]) -> dict[str, object]:
    value: dict[str, object] = {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.hint,
        "instance": "/v1/…",
        "request_id": "5f0c9a52c7f04c1c9d0c3d7d0d3f2f11",
    }
    if error is InvalidRequestError:
        value["errors"] = [
            {"loc": ["body", "title"], "msg": "Field required",
             "type": "missing"}
        ]  # fmt: skip
    return value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
