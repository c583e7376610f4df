"""The door on a real engine: what runs in containers works behind Muster."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from config import db
from models.base import new_id
from tests.engine.engines import PYTHON, docker_host, soon
from tests.factories import PASSWORD
from tests.service.running import Person, Service, create_admin

pytestmark = pytest.mark.engine

HERE: Final = Path(__file__).parent
JUPYTER: Final = "muster-test/jupyter:1"
PACKAGES: Final = Path(sys.prefix) / "share/muster-jupyter"
SERVER: Final = (sys.executable, "-m", "gunicorn", "-c", "python:config.server")


@dataclass
class House:
    """A service of two workers that starts containers, and who uses it."""

    service: Service
    admin: Person
    member: Person

    async def session(self, **template: Any) -> "Opened":
        """A session that runs, whose port nothing else leads to."""
        small = {
            "name": f"t{new_id()[:8]}", "image": PYTHON, "port": 8000,
            "gpus_max": 0, "memory_mb": 64, "cpus": 1.0, "pids_max": 64,
            "disk_mb": 4, "hours_max": 1.0, "published": False, **template,
        }  # fmt: skip
        made = self.admin.send("POST", "/v1/session-templates", small)
        assert made.status_code == 201, made.text
        wish = {"template": small["name"], "gpus": 0, "hours": 1.0}
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
            base_url=self.url, timeout=30, trust_env=False, **options
        )

    def socket(self, path: str, **headers: str) -> connect:
        """A WebSocket to what runs there."""
        url = self.url.replace("http://", "ws://", 1) + path
        return connect(url, proxy=None, additional_headers=headers)

    def end(self) -> None:
        """Ends it."""
        path = f"/v1/sessions/{self.seen['id']}"
        assert self.house.member.send("DELETE", path).status_code == 204


@pytest.fixture(scope="module", name="house")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {
        "MONGO_DB_URI": os.environ["MUSTER_TEST_DB_URI"],
        "MONGO_DB_NAME": db.new_test_database_name(),
        "WEB_CONCURRENCY": "2",
        "SESSION_ENGINE": "docker",
        "DOCKER_HOST": docker_host(),
        "SESSION_MAX": "20",
    }
    folder = tmp_path_factory.mktemp("door")
    with Service(folder, *SERVER, "app:app", **settings) as service:
        create_admin(service, "admin@example.org")
        with service.client() as client:
            admin = Person(client, "admin@example.org", PASSWORD)
            yield House(service, admin, Person.register(client))
    with MongoClient[db.Document](settings["MONGO_DB_URI"]) as mongo:
        mongo.drop_database(settings["MONGO_DB_NAME"])


@pytest.fixture(name="echo_command")
def _echo_command() -> list[str]:
    """Runs `echo_server.py`, whose lines an argument can't have."""
    text = base64.b64encode((HERE / "echo_server.py").read_bytes()).decode()
    code = "import base64; exec(base64.b64decode('{}'))"
    return ["python3", "-c", code.format(text), "{port}"]


class TestEcho:
    async def test_whole(self, house: House, echo_command: list[str]) -> None:
        """HTTP, a stream and a WebSocket; and none when it has ended."""
        session = await house.session(command=echo_command)
        assert session.seen["direct_url"] is None
        async with session.client(headers=session.token) as client:
            said = (await client.get("/a%2Fb?c=d")).json()
            assert said["path"] == "/a%2Fb?c=d"
            assert said["headers"]["authorization"] == (
                f"token {session.seen['token']}"
            )
            async with client.stream("GET", "/events") as answer:
                lines = answer.aiter_lines()
                assert await asyncio.wait_for(anext(lines), 5) == "data: 0"
                async with session.socket("/socket", **session.token) as socket:
                    for message in ("hello", b"\0\1"):
                        await socket.send(message)
                        assert await socket.recv() == message
                    session.end()
                    with pytest.raises(ConnectionClosed):
                        await asyncio.wait_for(socket.recv(), 10)
                # Of HTTP/1.0, an end is like any other.
                async with asyncio.timeout(10):
                    async for _ in lines:
                        pass
            assert (await client.get("/")).status_code == 409

    async def test_for_its_owner_only(
        self, house: House, echo_command: list[str]
    ) -> None:
        session = await house.session(command=echo_command, base_path=True)
        async with session.client() as client:
            for who, status in (
                (house.member.headers, 200),
                (house.admin.headers, 404),
                ({}, 401),
            ):
                answer = await client.get("/", headers=who)
                assert answer.status_code == status
        async with session.socket("/socket", **house.member.headers) as socket:
            await socket.send("mine")
            assert await socket.recv() == "mine"
        with pytest.raises(InvalidStatus):
            await session.socket("/socket", **house.admin.headers)
        session.end()


@pytest.fixture(name="jupyter")
async def _jupyter() -> str:
    """The image of a real Jupyter server, made once for all processes."""
    if not (PACKAGES / "jupyter.txt").exists():
        pytest.skip(
            "no Jupyter server was fetched: sh tests/engine/get-jupyter.sh "
            f"{PACKAGES}"
        )
    made = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'bash "{HERE}/mkrootfs.sh" python "{PACKAGES}" | docker --host '
        f'"{docker_host()}" import --change "ENV PYTHONPATH=/opt/packages" '
        f"- {JUPYTER}",
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    return JUPYTER


class TestJupyter:
    async def test_a_notebook(self, house: House, jupyter: str) -> None:
        """As a browser uses it: its page, its API, and a kernel that adds."""
        session = await house.session(
            image=jupyter,
            command=[
                "python3", "-m", "jupyter_server", "--no-browser",
                "--ServerApp.ip=0.0.0.0", "--ServerApp.port={port}",
                "--ServerApp.base_url={base_path}",
                "--ServerApp.root_dir=/tmp",
                "--IdentityProvider.token={token}",
            ],
            base_path=True, memory_mb=512, disk_mb=64, pids_max=256,
            cpus=2.0,
        )  # fmt: skip
        async with session.client(follow_redirects=True) as browser:
            page = await browser.get(
                f"/?token={session.seen['token']}",
                headers={"Accept": "text/html"},
            )
            assert page.status_code in (200, 404), page.text
            assert "token=" not in str(page.url)
            # From here on, a cookie says who it is.
            status = await browser.get("/api/status")
            assert status.status_code == 200, status.text
            written = await browser.put(
                "/api/contents/a.txt",
                json={"type": "file", "format": "text", "content": "é"},
            )
            assert written.status_code == 201, written.text
            read = await browser.get("/files/a.txt")
            assert read.content == "é".encode()
            made = await browser.post("/api/kernels", json={})
            assert made.status_code == 201, made.text
            kernel = made.json()["id"]
            cookies = "; ".join(
                f"{each.name}={each.value}" for each in browser.cookies.jar
            )
        async with session.socket(
            f"/api/kernels/{kernel}/channels?session_id={new_id()}",
            Cookie=cookies,
            Origin=house.service.url,
        ) as socket:
            await socket.send(json.dumps(_execution("1+1")))
            result = await asyncio.wait_for(_result(socket), 60)
        assert result == "2"
        session.end()


def _execution(code: str) -> dict[str, Any]:
    """A message that asks a kernel to run something."""
    return {
        "channel": "shell",
        "header": {
            "msg_id": new_id(),
            "msg_type": "execute_request",
            "username": "ada",
            "session": new_id(),
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
        },
    }


async def _result(messages: ClientConnection) -> str:
    async for message in messages:
        said = json.loads(message)
        if said["msg_type"] == "execute_result":
            text: str = said["content"]["data"]["text/plain"]
            return text
    raise AssertionError("the kernel said nothing")
