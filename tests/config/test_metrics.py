"""Metrics: few series, and right sums."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.metrics import FOLDER_VARIABLE, Metrics, Total
from config.origin import Origin


def request(
    metrics: Metrics, method: str, route: str | None, status: int = 200
) -> Origin:
    """One request that is over."""
    scope: dict[str, Any] = {"method": method, "state": {}}
    if route is not None:
        scope["route"] = type("Route", (), {"path": route})()
    origin = Origin("x", "", scope)
    origin.status = status
    origin.count("find", 0.25)
    metrics.begin(origin)
    origin.end()
    metrics.end(origin)
    return origin


def samples(metrics: Metrics) -> dict[str, float]:
    """Each series with its value."""
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(metrics.show().decode())
        for sample in family.samples
    }


class TestFiles:
    def test_one_that_is_made_just_now_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another worker has opened it, and written nothing yet."""
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
        (tmp_path / "counter_1.db").touch()
        assert Metrics().show() == b""

    def test_without_their_folder_nothing_is_shown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An empty answer would say that nobody asked for anything."""
        lost = tmp_path / "lost"
        monkeypatch.setenv(FOLDER_VARIABLE, str(lost))
        with pytest.raises(FileNotFoundError, match=str(lost)):
            Metrics().show()


class TestRequests:
    def test_are_counted_by_method_route_and_status(self) -> None:
        metrics = Metrics()
        for status in (200, 200, 404):
            request(metrics, "GET", "/v1/events/{event_id}", status)
        found = samples(metrics)
        name = "muster_http_requests_total"
        assert found[f"{name}['/v1/events/{{event_id}}', '200', 'GET']"] == 2
        assert found[f"{name}['/v1/events/{{event_id}}', '404', 'GET']"] == 1
        name = "muster_http_request_duration_seconds_count"
        assert found[f"{name}['/v1/events/{{event_id}}', '200', 'GET']"] == 2

    def test_strangers_make_no_series(self) -> None:
        metrics = Metrics()
        for number in range(1000):
            request(metrics, f"METHOD{number}", None, 405)
        found = samples(metrics)
        name = "muster_http_requests_total['405', 'other', 'unmatched']"
        assert found[name] == 1000
        assert len([n for n in found if n.startswith(name[:26])]) == 1

    def test_those_that_go_on(self) -> None:
        metrics = Metrics()
        running = Origin("x", "", {"method": "GET", "state": {}})
        metrics.begin(running)
        name = "muster_http_requests_in_progress[]"
        assert samples(metrics)[name] == 1
        running.end()
        metrics.end(running)
        assert samples(metrics)[name] == 0

    def test_their_commands(self) -> None:
        metrics = Metrics()
        for _ in range(3):
            request(metrics, "GET", "/")
            found = samples(metrics)
        assert found["muster_database_commands_total[]"] == 3
        assert found["muster_database_seconds_total[]"] == pytest.approx(0.75)


class TestTotals:
    async def test_are_handed_over_as_they_grow(self) -> None:
        number = 5
        metrics = Metrics([Total("x_seen", "What was seen.", lambda: number)])
        await metrics.sample()
        number = 7
        assert samples(metrics)["x_seen_total[]"] == 7


class TestProcess:
    def test_shows_its_memory_and_age(self) -> None:
        found = samples(Metrics())
        memory = found["muster_process_resident_memory_bytes[]"]
        assert 10_000_000 < memory < 10_000_000_000
        assert found["muster_process_start_time_seconds[]"] > 1_600_000_000
