"""GET /health/live and /health/ready."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from app import app
from config.health import Check, Health
from tests.problems import assert_problem

Client = httpx.AsyncClient


@contextmanager
def instead(health: Health) -> Iterator[None]:
    """The app asks `health` inside the block."""
    held, app.state.health = app.state.health, health
    try:
        yield
    finally:
        app.state.health = held


class TestLive:
    async def test_says_so(self, client: Client) -> None:
        response = await client.get("/health/live")
        assert response.status_code == 200
        assert response.json() == {"status": "live"}


class TestReady:
    async def test_names_what_was_asked(self, client: Client) -> None:
        response = await client.get("/health/ready")
        assert response.status_code == 200
        assert response.json()["status"] == "ready"
        assert response.json()["checks"] == {"database": "ok"}

    async def test_names_what_fails_and_not_why(self, client: Client) -> None:
        async def fail() -> None:
            raise ConnectionError("mongodb://muster:s3cret@10.0.0.7 refused")

        health = Health([Check("database", fail, seconds=5)])
        with instead(health), health.serving():
            response = await client.get("/health/ready")
        problem = assert_problem(response, 503, "not-ready")
        assert problem["checks"] == {"database": "failed"}
        assert "database" in problem["detail"]
        assert "retry-after" in response.headers
        for inside in ("s3cret", "10.0.0.7", "refused"):
            assert inside not in response.text

    async def test_a_draining_process_is_not(self, client: Client) -> None:
        with instead(Health([])):
            response = await client.get("/health/ready")
            assert (await client.get("/health/live")).status_code == 200
        problem = assert_problem(response, 503, "not-ready")
        assert problem["checks"] == {"process": "starting or stopping"}
