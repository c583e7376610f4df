"""Schemes: what the OpenAPI document says of the credentials of each route."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi.routing import APIRoute

from models.scopes import Scope, needed_admin_scope, needed_scope
from routes.dependencies import (
    LOGIN,
    calls_of,
    require_actor,
    require_admin,
)

_HEADER: Final = "API key"
_COOKIE: Final = "API key cookie"


def describe(
    schema: dict[str, Any],
    routes: Sequence[APIRoute],
    *,
    key_name: str,
    is_key_needed: bool,
    open_paths: tuple[str, ...],
) -> None:
    """Adds API keys to what the framework says of log-ins.

    Args:
        schema: the OpenAPI document.
        routes: those that it describes.
        key_name: name of the header and of the cookie of API keys.
        is_key_needed: whether the service has a key that all must show.
        open_paths: beginnings of paths where nobody must.
    """
    components = schema.setdefault("components", {})
    components.setdefault("securitySchemes", {}).update(
        {
            name: {
                "type": "apiKey",
                "in": place,
                "name": key_name,
                "description": "A key of POST /v1/api-keys, with the scopes "
                "that the operation names; or the service's own key.",
            }
            for name, place in ((_HEADER, "header"), (_COOKIE, "cookie"))
        }
    )
    for route in routes:
        for method in route.methods or ():
            operation = schema["paths"][route.path_format][method.lower()]
            ways = list(_ways(route, method))
            if is_key_needed and not route.path.startswith(open_paths):
                ways = [
                    {key: [], **way}
                    for way in ways
                    for key in (_HEADER, _COOKIE)
                    if {_HEADER, _COOKIE}.isdisjoint(way) or key in way
                ]
            if ways != [{}]:
                operation["security"] = ways


def _ways(route: APIRoute, method: str) -> Iterator[dict[str, list[Scope]]]:
    """Each way to be let in; an empty one is that of strangers."""
    asked = set(calls_of(route.dependant))
    if require_actor not in asked:
        yield {}
    if not asked & {require_actor, LOGIN}:
        return
    yield {LOGIN.scheme_name: []}
    scope = needed_scope(method, route.path)
    if scope is not None:
        scopes = {scope}
        if require_admin in asked:
            scopes.add(needed_admin_scope(method))
        yield {_HEADER: sorted(scopes)}
        yield {_COOKIE: sorted(scopes)}
