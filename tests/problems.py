"""One assertion for all problem+json answers."""

from typing import Any

import httpx


def assert_problem(
    response: httpx.Response, status: int, slug: str
) -> dict[str, Any]:
    """Checks that `response` is this problem, whole; returns its members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["title"] and problem["detail"]
    assert problem["instance"] == response.request.url.path
    assert problem["request_id"] == response.headers["x-request-id"]
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
    return problem
