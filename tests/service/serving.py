"""A Muster of the test's own: one `uvicorn app:app`, one database."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from config import db
from tests import factories
from tests.service.running import NO_TLS, free_port

ROOT = Path(__file__).parents[2]
ADMIN = "admin@example.org"


@dataclass(frozen=True)
class Served:
    """A running service with an admin."""

    base_url: str
    database: str

    def register(self) -> str:
        """Registers a member; returns the e-mail."""
        body = factories.registration()
        response = httpx.post(
            f"{self.base_url}/v1/users", json=body, verify=NO_TLS
        )
        assert response.status_code == 201
        return str(body["email"])

    def admin_headers(self) -> dict[str, str]:
        """Headers of a request by the admin, who logs in for them."""
        form = {"username": ADMIN, "password": factories.PASSWORD}
        login = httpx.post(
            f"{self.base_url}/v1/auth/login", data=form, verify=NO_TLS
        )
        return {"Authorization": f"Bearer {login.json()['access_token']}"}


@contextmanager
def served(checkout: Path = ROOT, **settings: str) -> Iterator[Served]:
    """Serves Muster while the block runs, on the test run's server."""
    name = db.new_test_database_name()
    environment = {**os.environ, "MONGO_DB_NAME": name, **settings}
    subprocess.run(
        [sys.executable, "-m", "scripts.create_first_admin", "--email", ADMIN,
         "--password-stdin"],
        input=factories.PASSWORD, text=True, check=True, cwd=ROOT,
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)],
        cwd=checkout, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            base_url = f"http://127.0.0.1:{port}"
            _wait_for(base_url)
            yield Served(base_url, name)
        finally:
            server.terminate()
    with MongoClient[db.Document](os.environ["MUSTER_TEST_DB_URI"]) as client:
        client.drop_database(name)


def _wait_for(base_url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(base_url, verify=NO_TLS)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the service does not answer")
