"""The contract: whatever a test sees must stand in /openapi.json."""

from functools import cache
from typing import Any

import httpx

from app import app


@cache
def operations() -> dict[tuple[str, str], dict[str, Any]]:
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
        (path.count("{"), operation)
        for (method, path), operation in operations().items()
        if method == request.method and _fits(path.split("/"), parts)
    ]
    # A fixed path such as /v1/users/me goes before a template.
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _fits(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        wanted == part or (part != "" and wanted.startswith("{"))
        for wanted, part in zip(template, parts, strict=True)
    )
