"""GET /metrics."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app import app
from config.metrics import FOLDER_VARIABLE
from config.settings import Environment
from models.tasks import TaskStatus
from tests import factories, trials
from tests.logged import logged
from tests.problems import assert_problem
from utils import tasks

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

    async def test_a_lost_folder_is_an_error(
        self,
        client: Client,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Whoever watches is not told that nothing happens."""
        lost = tmp_path / "lost"
        monkeypatch.setenv(FOLDER_VARIABLE, str(lost))
        # No operation declares that it fails.
        client.event_hooks = {}
        with logged("muster") as lines:
            response = await client.get("/metrics")
        assert_problem(response, 500, "internal-error")
        assert any(str(lost) in line for line in lines)


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


async def _numbers(client: Client) -> dict[str, float]:
    """The metrics without labels, by name."""
    text = (await client.get("/metrics")).text
    rows = [line.rsplit(" ", 1) for line in text.splitlines()]
    return {
        row[0]: float(row[1])
        for row in rows
        if row[0].startswith(("muster_model", "muster_task"))
    }


class TestTasks:
    async def test_models_and_tasks(self, client: Client) -> None:
        """Loaded once for two tasks; what was done outlives who did it."""
        caller, before = await factories.member(), await _numbers(client)
        body = {"array": [[0] * 8] * 8, "model": "digits"}
        async with trials.working():
            for _ in range(2):
                task = await client.post(
                    "/v1/processes/classify", json=body, auth=caller
                )
                submitted = await tasks.get_task(
                    task.json()["id"], actor=caller.actor
                )
                done = await trials.wait_for(submitted)
                assert done.status is TaskStatus.SUCCEEDED, done.error
            during = await _numbers(client)
        after = await _numbers(client)
        for name, more in (
            ("muster_model_cache_hits_total", 1),
            ("muster_model_cache_misses_total", 1),
            ("muster_model_cache_loads_total", 1),
            ("muster_tasks_submitted_total", 2),
            ("muster_tasks_begun_total", 2),
            ("muster_tasks_succeeded_total", 2),
            ("muster_tasks_failed_total", 0),
        ):
            assert after[name] == during[name] == before[name] + more, name
        assert during["muster_model_cache_models"] == 1
        assert during["muster_model_cache_bytes"] > 1_000_000
        assert during["muster_task_processes"] == 1
        assert after["muster_model_cache_bytes"] == 0
        assert after["muster_task_processes"] == 0

    async def test_waiting(self, client: Client) -> None:
        for _ in range(3):
            await factories.task(status=TaskStatus.QUEUED)
        await tasks.count_waiting()
        assert (await _numbers(client))["muster_tasks_waiting"] == 3

    async def test_bounded(self, client: Client) -> None:
        """Neither members nor processes have series of their own."""
        await factories.task()
        names = [*await _numbers(client)]
        assert names and not any("{" in name for name in names)
