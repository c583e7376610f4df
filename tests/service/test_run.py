"""Start and stop: `run.sh`, Heroku's way, `uvicorn`, and bad settings."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from config import db
from config.embedded import Address
from tests import factories
from tests.factories import PASSWORD
from tests.service.running import (
    MARKS,
    REPOSITORY,
    RUN,
    Load,
    Person,
    Service,
    environment,
    free_port,
    link_checkout,
    run_script,
    servers_of,
    wait_for,
)
from utils.collections import declared_indexes

pytestmark = MARKS

UVICORN = ("uvicorn", "app:app", "--port", "{port}")
PROMPTLY = 10
AWAY_SECONDS = 12
SECRET = "8f3b1b0e5d7c4a6f9e2d1c0b8a7f6e5d"


class TestStart:
    def test_says_where_it_is(self, service: Service) -> None:
        output = service.output()
        assert f"http://localhost:{service.port} " in output
        assert f"http://localhost:{service.port}/docs" in output
        assert str(service.data_dir.resolve()) in output

    def test_docs_are_there(self, client: httpx.Client) -> None:
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert client.get(path).status_code == 200

    def test_four_workers_over_one_server(self, service: Service) -> None:
        assert len(service.workers()) == 4
        assert len(servers_of(service)) == 1
        address = Address.load(service.folder.address)
        assert address is not None
        check_indexes(address.uri, "muster")

    def test_log_has_no_trace(self, service: Service) -> None:
        """Four workers that began on an empty database at the same time."""
        assert "Traceback" not in service.errors()
        assert "ERROR" not in service.errors()

    def test_one_secret_for_all_workers(
        self, service: Service, client: httpx.Client, member: Person
    ) -> None:
        for worker in service.workers():
            with service.only(worker):
                me = member.get("/v1/users/me")
                assert me.json()["email"] == member.email
                fresh = Person(client, member.email, PASSWORD)
            assert fresh.get("/v1/users/me").status_code == 200


@pytest.fixture(name="own", scope="module")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A place where a test starts and stops a service of its own."""
    return Service(tmp_path_factory.mktemp("own"))


class TestStop:
    def test_interrupt_and_start_again(self, own: Service) -> None:
        with own as service, service.client() as client:
            ada = Person.register(client)
            event_id = ada.post_event()["id"]
            started = service.processes()
            assert len(started) == 5, "master, 2 workers, keeper, server"
            with Load(service, ada) as load:
                load.wait_for_more()
                start = time.monotonic()
                assert service.stop() == 0
                assert time.monotonic() - start < PROMPTLY
            assert set(load.answers) == {201}
            service.start()
            load.check()
            assert ada.get(f"/v1/events/{event_id}").status_code == 200
            Person(client, ada.email, PASSWORD)
            assert not started.keys() & service.processes().keys()

    def test_interrupt_impatiently(self, own: Service) -> None:
        """Right after the start, when some workers are not there yet."""
        with own as service:
            for _ in range(3):
                os.killpg(service.pid, signal.SIGINT)
            assert service.wait_for_end() == 0

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_end_the_master(self, own: Service, signum: signal.Signals) -> None:
        """The way of systemd and Docker; idle connections delay nothing."""
        with (
            own as service,
            httpx.Client(base_url=service.url, trust_env=False) as browser,
            socket.create_connection(("127.0.0.1", service.port)),
        ):
            assert browser.get("/").status_code == 200
            start = time.monotonic()
            os.kill(service.pid, signum)
            assert service.wait_for_end() == 0
            assert time.monotonic() - start < PROMPTLY

    def test_interrupt_the_first_start(self, tmp_path: Path) -> None:
        """While the embedded database is being made."""
        service = Service(tmp_path)
        service.launch()
        try:
            wait_for(service.folder.draft.exists)
            assert service.stop() == -signal.SIGINT
        finally:
            service.kill()
        with service, service.client() as client:
            Person.register(client)


class TestSecondTerminal:
    def test_it_keeps_the_database(self, own: Service) -> None:
        """A script that waits for its input outlives the service."""
        email = factories.registration()["email"]
        with own as service:
            servers = servers_of(service)
            with run_script(
                service, "scripts.create_first_admin", "--email", email,
                "--password-stdin",
            ) as script:  # fmt: skip
                try:
                    wait_for(lambda: holds_database(script.pid, service))
                    os.killpg(service.pid, signal.SIGINT)
                    assert service.wait() == 0
                    assert servers_of(service) == servers
                    output, errors = script.communicate(PASSWORD + "\n", 60)
                finally:
                    script.kill()
            assert (script.returncode, errors) == (0, "")
            assert "created" in output
            wait_for(lambda: not service.processes(), PROMPTLY)
            service.start()
            with service.client() as client:
                admin = Person(client, email, PASSWORD)
                assert admin.get("/v1/users").status_code == 200


class TestUvicorn:
    @pytest.mark.parametrize("switches", [(), ("--reload",)])
    def test_serves(self, tmp_path: Path, switches: tuple[str, ...]) -> None:
        with Service(tmp_path, *UVICORN, *switches) as service:
            with service.client() as client:
                ada = Person.register(client)
                ada.post_event()
            assert len(servers_of(service)) == 1
            start = time.monotonic()
            service.stop()
            assert time.monotonic() - start < PROMPTLY


class TestHeroku:
    """A dyno: the build made the environment, and the database is a URI."""

    @pytest.fixture(name="database")
    def _database(self) -> Iterator[dict[str, str]]:
        uri = os.environ["MUSTER_TEST_DB_URI"]
        name = db.new_test_database_name()
        yield {"MONGO_DB_URI": uri, "MONGO_DB_NAME": name}
        with MongoClient[dict[str, object]](uri) as client:
            client.drop_database(name)

    @pytest.mark.parametrize("command", [RUN, ("sh", "-c", "exec {procfile}")])
    def test_serves(
        self,
        tmp_path: Path,
        database: dict[str, str],
        command: tuple[str, ...],
    ) -> None:
        calls = tmp_path / "calls"
        service = Service(
            tmp_path,
            *(part.replace("{procfile}", procfile()) for part in command),
            **database,
            **watched_programs(tmp_path, calls),
            DYNO="web.1",
            WEB_CONCURRENCY="2",
            ENVIRONMENT="production",
            JWT_SECRET_KEY=SECRET,
            # Nobody is there: mail waits.
            SMTP_URL=f"smtp://127.0.0.1:{free_port()}",
        )
        before = set(service.checkout.iterdir())
        with service, service.client() as client:
            ada = Person.register(client)
            for worker in service.workers():
                with service.only(worker):
                    assert ada.get("/v1/users/me").status_code == 200
            assert len(service.processes()) == 3, "master, 2 workers"
            check_indexes(database["MONGO_DB_URI"], database["MONGO_DB_NAME"])
            assert "ERROR" not in service.errors()
            # The way in which a dyno is ended.
            assert service.stop(signal.SIGTERM) == 0
        assert not calls.exists(), calls.read_text("utf-8")
        assert set(service.checkout.iterdir()) == before
        # What the workers share only: neither a database nor mail.
        assert {path.name for path in service.data_dir.glob("*")} <= {
            "cache.stamps",
            "metrics",
            "sessions",
            f"tokens-{database['MONGO_DB_NAME']}",
        }


class TestRefusals:
    """A start that can't succeed ends with one line that says why."""

    @pytest.mark.parametrize(
        "settings, named",
        [
            ({"JWT_SECRET_KEY": "short-s3cr3t"}, "JWT_SECRET_KEY"),
            ({"PORT": "abc"}, "PORT"),
            ({"MONGO_DB_URI": "postgres://ada:s3cr3t@db/"}, "MONGO_DB_URI"),
            (
                {"ENVIRONMENT": "production", "JWT_SECRET_KEY": SECRET},
                "MONGO_DB_URI",
            ),
            (
                {
                    "ENVIRONMENT": "production",
                    "JWT_SECRET_KEY": "change-me-change-me-s3cr3t-0123456789",
                    "MONGO_DB_URI": "mongodb://localhost",
                },
                "JWT_SECRET_KEY",
            ),
        ],
        ids=["secret", "port", "scheme", "no-database", "placeholder"],
    )
    @pytest.mark.parametrize("command", [RUN, UVICORN], ids=" ".join)
    def test_bad_setting(
        self,
        tmp_path: Path,
        command: tuple[str, ...],
        settings: dict[str, str],
        named: str,
    ) -> None:
        run = run_in_vain(tmp_path, command, settings)
        assert run.stdout == ""
        (line,) = run.stderr.splitlines()
        assert line.startswith("muster: ")
        assert named in line
        assert "s3cr3t" not in line

    @pytest.mark.parametrize("command", [RUN, UVICORN], ids=" ".join)
    def test_database_away(
        self, tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        away = f"127.0.0.1:{free_port()}"
        uri = f"mongodb://ada:s3cr3t@{away}/"
        start = time.monotonic()
        run = run_in_vain(tmp_path, command, {"MONGO_DB_URI": uri})
        assert time.monotonic() - start < AWAY_SECONDS
        assert run.stdout == ""
        said = f"muster: the database at {away} does not answer"
        lines = run.stderr.splitlines()
        assert [said in line for line in lines].count(True) == 1
        assert all(said in line or "INFO" in line or "Exiting" in line
                   for line in lines)  # fmt: skip
        assert "s3cr3t" not in run.stderr


def run_in_vain(
    tmp_path: Path, command: tuple[str, ...], settings: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs what must fail, and leaves nothing behind."""
    port = str(free_port())
    defaults = {"DATA_DIR": str(tmp_path / "data"), "PORT": port}
    run = subprocess.run(
        [part.format(port=port) for part in command],
        cwd=link_checkout(tmp_path / "checkout"),
        env=environment(**(defaults | settings)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode not in (0, None)
    assert not (tmp_path / "data" / "embedded").exists()
    return run


def procfile() -> str:
    """What Heroku runs as `web`."""
    text = (REPOSITORY / "Procfile").read_text("utf-8")
    (web,) = [line for line in text.splitlines() if line.startswith("web:")]
    return web.partition(":")[2].strip()


def watched_programs(tmp_path: Path, calls: Path) -> dict[str, str]:
    """A PATH whose pip and python3 write down that they were called.

    The service itself needs neither: its programs name their interpreter.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("pip", "python3"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\n')
        program.chmod(0o700)
    inherited = environment()["PATH"]
    return {"PATH": f"{programs}{os.pathsep}{inherited}", "VIRTUAL_ENV": ""}


def check_indexes(uri: str, name: str) -> None:
    """All declared indexes are there."""
    with MongoClient[dict[str, object]](uri) as client:
        for collection, models in declared_indexes().items():
            found = client[name][collection].index_information()
            assert {model.document["name"] for model in models} <= set(found)


def holds_database(pid: int, service: Service) -> bool:
    """Whether a process has the embedded database's lock open."""
    lock = str(service.folder.users_lock)
    try:
        files = list(Path(f"/proc/{pid}/fd").iterdir())
        return any(os.readlink(file) == lock for file in files)
    except FileNotFoundError:
        return False
