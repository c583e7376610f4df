"""Logs: how a line looks, and what never stands in one."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import logs
from config.main import settings as muster
from config.origin import Origin, origin_of_task
from config.settings import LogFormat
from tests.logged import logged

_LOG = logging.getLogger("muster.test")
_ID = "b0f1f490-7ee3-4ad3-af28-a0f9661b131c"


def _origin(**scope: Any) -> Origin:
    """A request that is over."""
    asked = {
        "method": "GET",
        "path": f"/v1/events/{_ID}",
        "query_string": b"",
        "state": {"caller": SimpleNamespace(user_id=_ID)},
        **scope,
    }
    origin = Origin("request-1", "192.0.2.1", asked)
    origin.status, origin.size = 200, 812
    origin.count("find", 0.0031)
    origin.end()
    origin.seconds = 0.0123
    return origin


@pytest.fixture(name="restored", autouse=True)
def _restored() -> Iterator[None]:
    token = origin_of_task.set(origin_of_task.get())
    yield
    origin_of_task.reset(token)
    logs.configure_logging(muster)


class Written:
    """Logs into a file of the test's own."""

    def __init__(self, form: LogFormat, folder: Path) -> None:
        self._path = folder / "log"
        self.settings = muster.model_copy(
            update={"log_format": form, "log_file": self._path}
        )
        logs.configure_logging(self.settings)

    def log_request(self, origin: Origin, *, directly: bool = True) -> None:
        """Writes the line of a request, which `origin` is made the task's."""
        origin_of_task.set(origin)
        if directly:
            # The test run puts handlers of its own there.
            logs.configure_logging(self.settings)
        logs.AccessLog(self.settings)(origin)

    def lines(self) -> list[str]:
        """All lines so far."""
        return self._path.read_text("utf-8").splitlines()


@pytest.fixture(name="text")
def _text(tmp_path: Path) -> Written:
    return Written(LogFormat.TEXT, tmp_path)


@pytest.fixture(name="as_json")
def _as_json(tmp_path: Path) -> Written:
    return Written(LogFormat.JSON, tmp_path)


class TestText:
    def test_a_line(self, text: Written) -> None:
        origin_of_task.set(_origin())
        _LOG.info("said %s", "hello")
        (line,) = text.lines()
        time, said = line.split(" ", 1)
        assert datetime.fromisoformat(time).tzinfo is not None
        assert said == f"INFO [request-1 {_ID}] muster.test: said hello"

    @pytest.mark.parametrize("directly", [True, False])
    def test_a_request(self, text: Written, directly: bool) -> None:
        origin = _origin(
            query_string=b"token=s3cret&x=1",
            route=SimpleNamespace(path="/v1/events/{event_id}"),
        )
        text.log_request(origin, directly=directly)
        (line,) = text.lines()
        assert line.partition(" ")[2] == (
            f"INFO [request-1 {_ID}] muster.access: GET /v1/events/{_ID}"
            "?token=***&x=1 200 12.3 ms 812 B 1 commands 3.1 ms 192.0.2.1 "
            "/v1/events/{event_id}"
        )

    def test_a_trace_forges_no_line(self, text: Written) -> None:
        forged = "2030-01-01T00:00:00.000Z INFO [-] muster.test: forged"
        try:
            raise ValueError(f"x\n{forged}\r{forged}\x1b[2J")
        except ValueError:
            _LOG.exception("it\nfailed")
        first, *trace = text.lines()
        assert first.endswith("muster.test: it\\nfailed")
        assert all(line.startswith("  | ") for line in trace)
        assert trace[0] == "  | Traceback (most recent call last):"
        assert any(line.endswith("forged\\x1b[2J") for line in trace)

    @settings(
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(user=st.text())
    def test_users_forge_no_line(
        self, text: Written, user: str
    ) -> None:
        before = len(text.lines())
        _LOG.info("hello %s", user)
        origin = _origin(path=user, query_string=user.encode())
        text.log_request(origin)
        lines = text.lines()[before:]
        assert len(lines) == 2
        assert "muster.test: hello" in lines[0]
        assert "muster.access: GET " in lines[1]


class TestJson:
    def test_a_line(self, as_json: Written) -> None:
        origin_of_task.set(_origin())
        _LOG.warning("said %s", "hello\nyou")
        (line,) = as_json.lines()
        said = json.loads(line)
        assert datetime.fromisoformat(said.pop("time")).tzinfo is not None
        assert said == {
            "level": "WARNING",
            "logger": "muster.test",
            "request_id": "request-1",
            "member_id": _ID,
            "message": "said hello\nyou",
        }

    @pytest.mark.parametrize("directly", [True, False])
    def test_a_request(self, as_json: Written, directly: bool) -> None:
        origin = _origin(query_string=b"q=\xff")
        as_json.log_request(origin, directly=directly)
        (line,) = as_json.lines()
        said = json.loads(line)
        assert said.pop("time")
        assert said == {
            "level": "INFO",
            "logger": "muster.access",
            "request_id": "request-1",
            "member_id": _ID,
            "message": f"GET /v1/events/{_ID} 200",
            "method": "GET",
            "path": f"/v1/events/{_ID}",
            "query": "q=ÿ",
            "route": None,
            "status": 200,
            "duration_ms": 12.3,
            "size": 812,
            "commands": 1,
            "database_ms": 3.1,
            "address": "192.0.2.1",
        }

    def test_a_trace_stays_inside(
        self, as_json: Written
    ) -> None:
        try:
            raise ValueError("password=s3cret\n{}")
        except ValueError:
            _LOG.exception("it failed")
        (line,) = as_json.lines()
        said = json.loads(line)
        assert said["exception"].startswith("Traceback (most recent call last)")
        assert "ValueError: password=***" in said["exception"]


class TestAccessLog:
    def test_it_is_a_logger(self, text: Written) -> None:
        """Somebody's own handler sees what the file has."""
        with logged("muster.access") as lines:
            text.log_request(_origin())
        assert lines == [f"GET /v1/events/{_ID} 200 12.3 ms"]
        assert len(text.lines()) == 1

    def test_its_level_counts(self, text: Written) -> None:
        log = logging.getLogger("muster.access")
        log.setLevel(logging.WARNING)
        try:
            text.log_request(_origin())
        finally:
            log.setLevel(logging.NOTSET)
        assert text.lines() == []


class TestServer:
    def test_its_lines_look_like_others(
        self, text: Written
    ) -> None:
        origin_of_task.set(_origin())
        server = logging.getLogger("gunicorn.error")
        handlers, server.propagate = server.handlers, False
        server.handlers = [logging.NullHandler()]
        try:
            logs.configure_server_logging(text.settings)
            logs.configure_server_logging(text.settings)
            server.error("Booting\nworker")
        finally:
            server.handlers = handlers
        (line,) = text.lines()
        assert line.endswith(
            f"ERROR [request-1 {_ID}] gunicorn.error: Booting\\nworker"
        )
