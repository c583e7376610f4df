"""The door on a real engine: what runs in containers works behind Muster."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from models.base import new_id
from tests.engine.engines import docker_host
from tests.engine.houses import House

pytestmark = pytest.mark.engine

HERE: Final = Path(__file__).parent
JUPYTER: Final = "muster-test/jupyter:1"
PACKAGES: Final = Path(sys.prefix) / "share/muster-jupyter"


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
                assert await asyncio.wait_for(anext(lines), 30) == "data: 0"
                async with session.socket("/socket", **session.token) as socket:
                    for message in ("hello", b"\0\1"):
                        await socket.send(message)
                        assert await socket.recv() == message
                    session.end()
                    with pytest.raises(ConnectionClosed):
                        await asyncio.wait_for(socket.recv(), 30)
                # Of HTTP/1.0, an end is like any other.
                async with asyncio.timeout(30):
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
