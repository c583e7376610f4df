"""A whole service whose workers start containers, and who uses it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pymongo import MongoClient
from websockets.asyncio.client import connect

from config import db
from models.base import new_id
from tests.engine.engines import PYTHON, SERVE, docker_host, soon
from tests.factories import PASSWORD
from tests.service.running import Person, Service, create_admin

SERVER: Final = (sys.executable, "-m", "gunicorn", "-c", "python:config.server")


@dataclass
class House:
    """A service of two workers that starts containers, and who uses it."""

    service: Service
    admin: Person
    member: Person

    async def session(self, gpus: int = 0, **template: Any) -> "Opened":
        """A session that runs, whose port nothing else leads to."""
        small = {
            "name": f"t{new_id()[:8]}", "image": PYTHON, "port": 8000,
            "gpus_max": 0, "memory_mb": 64, "cpus": 1.0, "pids_max": 64,
            "disk_mb": 4, "hours_max": 1.0, "published": False,
            "command": list(SERVE), **template,
        }  # fmt: skip
        made = self.admin.send("POST", "/v1/session-templates", small)
        assert made.status_code == 201, made.text
        wish = {"template": small["name"], "gpus": gpus, "hours": 1.0}
        begun = self.member.send("POST", "/v1/sessions", wish)
        assert begun.status_code == 201, begun.text
        path = f"/v1/sessions/{begun.json()['id']}"

        async def ask() -> dict[str, Any]:
            seen: dict[str, Any] = self.member.get(path).json()
            assert seen["status"] in ("starting", "running"), seen
            return seen if seen["status"] == "running" else {}

        return Opened(self, await soon(ask))


@dataclass
class Opened:
    """A session that runs."""

    house: House
    seen: dict[str, Any]

    @property
    def url(self) -> str:
        """Where it is, without a slash."""
        home: str = self.seen["url"]
        return f"{self.house.service.url}{home.rstrip('/')}"

    @property
    def token(self) -> dict[str, str]:
        """What opens it."""
        return {"Authorization": f"token {self.seen['token']}"}

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client of what runs there."""
        return httpx.AsyncClient(
            base_url=self.url, timeout=60, trust_env=False, **options
        )

    def socket(self, path: str, **headers: str) -> connect:
        """A WebSocket to what runs there."""
        url = self.url.replace("http://", "ws://", 1) + path
        return connect(url, proxy=None, additional_headers=headers)

    def end(self) -> None:
        """Ends it."""
        path = f"/v1/sessions/{self.seen['id']}"
        assert self.house.member.send("DELETE", path).status_code == 204


@contextmanager
def opened_house(folder: Path) -> Iterator[House]:
    """Serves while the block runs; there is one GPU, of the settings' list."""
    settings = {
        "MONGO_DB_URI": os.environ["MUSTER_TEST_DB_URI"],
        "MONGO_DB_NAME": db.new_test_database_name(),
        "WEB_CONCURRENCY": "2",
        "SESSION_ENGINE": "docker",
        "DOCKER_HOST": docker_host(),
        "SESSION_GPUS": "GPU-0=Test/1024",
        "SESSION_MAX": "20",
    }
    with Service(folder, *SERVER, "app:app", **settings) as service:
        create_admin(service, "admin@example.org")
        with service.client() as client:
            admin = Person(client, "admin@example.org", PASSWORD)
            yield House(service, admin, Person.register(client))
    with MongoClient[db.Document](settings["MONGO_DB_URI"]) as mongo:
        mongo.drop_database(settings["MONGO_DB_NAME"])
