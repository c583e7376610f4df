"""Heroku's processes and systemd's units: what they run starts and stops."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from config import db
from tests.deploy.proxies import GUIDE
from tests.service.running import (
    MARKS,
    REPOSITORY,
    Service,
    environment,
)

pytestmark = MARKS

UNITS = sorted((REPOSITORY / "deploy/systemd").glob("*.service"))
# Of what systemd counts as exposed, 0 to 100; a service that asks for nothing
# has 96.
EXPOSED = 20


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    uri, name = os.environ["MUSTER_TEST_DB_URI"], db.new_test_database_name()
    yield {
        "MONGO_DB_URI": uri,
        "MONGO_DB_NAME": name,
        "DATA_DIR": str(tmp_path / "data"),
        "JWT_SECRET_KEY": "k9Zq-" * 8 + "Wc7xTn2LmP0",
        "ENVIRONMENT": "production",
    }
    with MongoClient[db.Document](uri) as client:
        client.drop_database(name)


class TestProcfile:
    """`web` is tried by tests/service/test_run.py."""

    def test_release_and_worker(self, settings: dict[str, str]) -> None:
        text = (REPOSITORY / "Procfile").read_text("utf-8")
        lines = dict(re.findall(r"^(\w+): (.+)$", text, re.M))
        assert list(lines) == ["release", "web", "worker"]
        told = environment(DYNO="run.1", **settings)
        for _ in range(2):
            release = subprocess.run(
                ["sh", "-c", lines["release"]],
                cwd=REPOSITORY, env=told, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert release.returncode == 0, release.stderr
        with subprocess.Popen(
            ["sh", "-c", f"exec {lines['worker']}"],
            cwd=REPOSITORY, env=told, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as worker:  # fmt: skip
            try:
                assert worker.stdout is not None
                said = worker.stdout.readline()
                assert said == f"muster: worker {worker.pid} takes tasks\n"
                worker.terminate()
                assert worker.wait(30) == 0
            finally:
                worker.kill()


class TestGuide:
    """Its other commands are run where what they make is needed."""

    def test_what_it_names_is_there(self) -> None:
        named = set(re.findall(r"\bdeploy/[\w./-]*\w", GUIDE))
        made = {"deploy/.env", "deploy/environment", "deploy/tls/privkey.pem",
                "deploy/tls/fullchain.pem", "deploy/tls"}  # fmt: skip
        assert made <= named | {"deploy/tls"}
        for path in named - made:
            # The beginning of the names of several.
            assert list(REPOSITORY.glob(f"{path}*")), path
        for module in set(re.findall(r"\bscripts\.\w+", GUIDE)):
            assert importlib.util.find_spec(module) is not None

    def test_setup_starts_nothing(self) -> None:
        done = subprocess.run(
            ["sh", "run.sh", "setup"],
            cwd=REPOSITORY, env=environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Muster is at" not in done.stdout


class TestUnits:
    @pytest.mark.skipif(
        shutil.which("systemd-analyze") is None
        and os.environ.get("CI") != "true",
        reason="needs Debian's systemd",
    )
    @pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
    def test_systemd_takes_them(self, unit: Path) -> None:
        checks = (
            ("verify",),
            ("security", "--offline=true", f"--threshold={EXPOSED}"),
        )
        for check in checks:
            said = subprocess.run(
                ["systemd-analyze", *check, str(unit)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert said.returncode == 0, said.stdout + said.stderr
            assert said.stderr.strip() in ("", said.stdout.strip())

    @pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
    def test_what_they_run(self, unit: Path) -> None:
        text = unit.read_text("utf-8")
        (command,) = re.findall(r"^ExecStart=/bin/sh (.*)$", text, re.M)
        script, *mode = command.removeprefix("/opt/muster/").split()
        assert (REPOSITORY / script).exists()
        assert mode == (["worker"] if "worker" in unit.stem else [])

    def test_web_tells_systemd(self, tmp_path: Path) -> None:
        """`Type=notify` with `KillMode=mixed`: the master alone is told."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(tmp_path / "notify"))
            told.settimeout(60)
            service = Service(
                tmp_path,
                NOTIFY_SOCKET=str(tmp_path / "notify"),
                WEB_CONCURRENCY="1",
            )
            with service:
                assert b"READY=1" in told.recv(4096).splitlines()
                os.kill(service.pid, signal.SIGTERM)
                assert service.wait_for_end() == 0
