"""The contract: whatever a test sees must stand in /openapi.json."""

from functools import cache
from typing import Any

import httpx

from app import app

# A method and the template of a path.
Operation = tuple[str, str]


@cache
def operations() -> dict[Operation, dict[str, Any]]:
    """Each documented operation by method and path template."""
    return {
        (method.upper(), path): operation
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }


async def check_declared(response: httpx.Response) -> None:
    """Fails when an endpoint answers what its documentation does not say."""
    operation = _operation_of(response.request)
    if operation is None or response.status_code == 304:
        return
    declared = operation["responses"].get(str(response.status_code))
    asked = f"{response.request.method} {response.request.url.path}"
    assert declared is not None, f"{asked}: {response.status_code} undeclared"
    if response.status_code >= 400:
        await response.aread()
        slug = response.json()["type"].removeprefix("/problems/")
        content = declared["content"]["application/problem+json"]
        assert slug in content["examples"], f"{asked}: {slug} undeclared"


def _operation_of(request: httpx.Request) -> dict[str, Any] | None:
    """The documented operation that serves `request`, if one does."""
    parts = request.url.path.split("/")
    fitting = [
        path
        for template, path in _templates().get(len(parts), ())
        if _fits(template, parts)
    ]
    # A fixed path such as /v1/users/me goes before a template, and one with an
    # ending before one without.
    path = min(fitting, key=lambda p: (p.count("{"), -len(p)), default="")
    return operations().get((request.method, path))


@cache
def _templates() -> dict[int, list[tuple[list[str], str]]]:
    """The paths that are documented, in parts, by how many these are."""
    found: dict[int, list[tuple[list[str], str]]] = {}
    for path in sorted({path for _, path in operations()}):
        template = path.split("/")
        found.setdefault(len(template), []).append((template, path))
    return found


def _fits(template: list[str], parts: list[str]) -> bool:
    return all(
        wanted == part
        or (
            wanted.startswith("{")
            and part != ""
            and part.endswith(wanted.partition("}")[2])
        )
        for wanted, part in zip(template, parts, strict=True)
    )
