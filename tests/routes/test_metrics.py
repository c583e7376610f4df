"""GET /metrics."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app import app
from config.settings import Environment
from tests import factories
from tests.problems import assert_problem

Client = httpx.AsyncClient

TOKEN = "the watchman's own token"


@contextmanager
def told(**settings: Any) -> Iterator[None]:
    """The app has these settings inside the block."""
    held = app.state.settings
    app.state.settings = held.model_copy(update=settings)
    try:
        yield
    finally:
        app.state.settings = held


class TestShow:
    async def test_by_route_template(self, client: Client) -> None:
        event = await factories.event()
        for _ in range(2):
            await client.get(f"/v1/events/{event.id}")
        response = await client.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain")
        assert response.headers["cache-control"] == "no-store"
        assert 'route="/v1/events/{event_id}",status="200"' in response.text
        assert event.id not in response.text
        for name in (
            "muster_http_request_duration_seconds_bucket",
            "muster_http_requests_in_progress 1.0",
            "muster_database_commands_total",
            "muster_cache_hits_total",
            "muster_cache_misses_total",
            "muster_rate_limit_refusals_total",
            "muster_http_events_dropped_total",
        ):
            assert name in response.text

    async def test_no_path_of_a_stranger(self, client: Client) -> None:
        client.event_hooks = {}
        await client.get("/v1/stranger")
        await client.request("STRANGE", "/v1/events")
        text = (await client.get("/metrics")).text
        assert 'method="GET",route="unmatched",status="404"' in text
        assert 'method="other"' in text
        assert "stranger" not in text.lower().replace("strangers", "")

    async def test_head_has_its_route(self, client: Client) -> None:
        await client.head("/v1/events")
        text = (await client.get("/metrics")).text
        assert 'method="HEAD",route="/v1/events",status="200"' in text


class TestToken:
    async def test_opens(self, client: Client) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with told(metrics_token=SecretStr(TOKEN)):
            response = await client.get("/metrics", headers=headers)
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "shown", [None, "Bearer", "Bearer x", f"Basic {TOKEN}", "Bearer ÿ"]
    )
    async def test_another_does_not(
        self, client: Client, shown: str | None
    ) -> None:
        headers = [(b"authorization", shown.encode())] if shown else []
        with told(metrics_token=SecretStr(TOKEN)):
            response = await client.get("/metrics", headers=headers)
        assert_problem(response, 401, "not-authenticated")

    async def test_nor_does_an_admin(self, client: Client) -> None:
        admin = await factories.admin()
        with told(metrics_token=SecretStr(TOKEN)):
            response = await client.get("/metrics", auth=admin)
        assert_problem(response, 401, "not-authenticated")

    async def test_without_one_it_is_closed(self, client: Client) -> None:
        with told(environment=Environment.PRODUCTION):
            response = await client.get("/metrics")
        assert_problem(response, 404, "not-found")
