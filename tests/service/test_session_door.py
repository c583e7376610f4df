"""The door of sessions over real connections: streams and WebSockets."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from config import db
from models.sessions import Session
from tests import containers, factories
from tests.service.running import MARKS, NO_TLS, Service
from utils.sessions import COLLECTION

pytestmark = MARKS

MB = 1024 * 1024


class Door:
    """A service of two workers, and a session that it leads to."""

    def __init__(self, service: Service, session: Session) -> None:
        self.service = service
        self.session = session
        self.path = f"/v1/sessions/{session.id}/proxy"
        self.headers = {"Authorization": f"token {session.token}"}

    def client(self) -> httpx.AsyncClient:
        """A client with the session's token."""
        return httpx.AsyncClient(
            base_url=f"{self.service.url}{self.path}",
            headers=self.headers,
            timeout=20,
            trust_env=False,
            verify=NO_TLS,
        )

    def socket(self, path: str = "/socket", **options: Any) -> connect:
        """A WebSocket; `headers` are added."""
        headers = {**self.headers, **options.pop("headers", {})}
        return connect(
            f"ws://127.0.0.1:{self.service.port}{self.path}{path}",
            additional_headers=headers,
            proxy=None,
            **options,
        )

    def set(self, **fields: object) -> None:
        """Changes the session."""
        uri = self.service.settings["MONGO_DB_URI"]
        with MongoClient[db.Document](uri) as mongo:
            mongo[self.service.settings["MONGO_DB_NAME"]][
                COLLECTION
            ].update_one({"_id": self.session.id}, {"$set": fields})


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "MONGO_DB_URI": os.environ["MUSTER_TEST_DB_URI"],
        "MONGO_DB_NAME": db.new_test_database_name(),
        "WEB_CONCURRENCY": "2",
        "CORS_ORIGINS": "https://app.example.org",
    }
    with Service(tmp_path_factory.mktemp("door"), **settings) as service:
        yield service
    with MongoClient[db.Document](settings["MONGO_DB_URI"]) as mongo:
        mongo.drop_database(settings["MONGO_DB_NAME"])


@pytest_asyncio.fixture(name="door")
async def _door(service: Service) -> AsyncIterator[Door]:
    async with containers.container() as port:
        session = factories.session_document(factories.actor(), port=port)
        uri = service.settings["MONGO_DB_URI"]
        with MongoClient[db.Document](uri) as mongo:
            mongo[service.settings["MONGO_DB_NAME"]][COLLECTION].insert_one(
                session.dict()
            )
        yield Door(service, session)


class TestWebSockets:
    async def test_messages(self, door: Door) -> None:
        async with door.socket("/a%2Fb/socket?x=1") as socket:
            await socket.recv()
            for message in ("text é", b"\0\xff", "", b"", "x" * MB):
                await socket.send(message)
                assert await socket.recv() == message
            latency = await asyncio.wait_for(await socket.ping(), 5)
            assert latency >= 0

    async def test_what_the_container_gets(self, door: Door) -> None:
        headers = {"Cookie": "muster-door=x; a=1", "X-Forwarded-For": "1.1.1.1"}
        async with door.socket(headers=headers) as socket:
            got = dict(await _json(socket))
        assert got["authorization"] == f"token {door.session.token}"
        assert got["cookie"] == "a=1"
        assert got["x-forwarded-for"] == "127.0.0.1"
        assert got["host"] == f"127.0.0.1:{door.service.port}"

    async def test_subprotocol(self, door: Door) -> None:
        offered = ["v9.kernel", "v2.kernel"]
        async with door.socket(subprotocols=offered) as socket:
            assert socket.subprotocol == "v2.kernel"
        async with door.socket() as socket:
            assert socket.subprotocol is None

    async def test_the_container_closes(self, door: Door) -> None:
        async with door.socket() as socket:
            await socket.recv()
            await socket.send("close")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4321
        assert closed.value.rcvd.reason == "enough"

    async def test_the_container_dies(self, door: Door) -> None:
        async with door.socket() as socket:
            await socket.recv()
            await socket.send("die")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011

    @pytest.mark.parametrize(("code", "seen"), [(4999, 4999), (1001, 1001)])
    async def test_the_client_closes(
        self, door: Door, code: int, seen: int
    ) -> None:
        containers.CLOSED.clear()
        async with door.socket() as socket:
            await socket.recv()
            await socket.close(code, "bye")
        await _until(lambda: containers.CLOSED == [seen])

    async def test_the_client_vanishes(self, door: Door) -> None:
        containers.CLOSED.clear()
        socket = await door.socket()
        await socket.recv()
        socket.transport.abort()
        await _until(lambda: len(containers.CLOSED) == 1)

    async def test_the_session_ends(self, door: Door) -> None:
        async with door.socket() as socket:
            await socket.recv()
            door.set(status="stopping")
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001

    async def test_too_long_a_message(self, door: Door) -> None:
        async with door.socket() as socket:
            await socket.recv()
            with pytest.raises(ConnectionClosed) as closed:
                await socket.send(bytes(17 * MB))
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009

    async def test_a_client_that_does_not_read(self, door: Door) -> None:
        """It holds the container up, and takes no memory here."""
        before = _memory_mb(door.service)
        async with door.socket(max_queue=1) as socket:
            await socket.recv()

            async def send() -> None:
                for _ in range(100):
                    await socket.send(bytes(MB))

            sending = asyncio.create_task(send())
            await asyncio.sleep(1)
            assert not sending.done()
            assert _memory_mb(door.service) < before + 40
            for _ in range(100):
                assert len(await socket.recv()) == MB
            await sending

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://127.0.0.1:{port}", 101),
            ("https://app.example.org", 101),
            ("https://evil.example.org", 403),
            ("null", 403),
        ],
    )
    async def test_origins(
        self, door: Door, origin: str, status: int
    ) -> None:
        """No other site's page opens it with this browser's cookie."""
        named = {"Origin": origin.format(port=door.service.port)}
        assert await _status(door, headers=named) == status

    async def test_who_may_not(self, door: Door) -> None:
        for shown, status in (("", 401), ("token x", 404)):
            headers = {"Authorization": shown}
            assert await _status(door, headers=headers) == status
        assert await _status(door, path="/refuses") == 403
        door.set(host_port=1)
        assert await _status(door) == 502
        door.set(status="stopped")
        assert await _status(door) == 409

    async def test_by_token_in_the_address(self, door: Door) -> None:
        """As the JavaScript of a notebook does it."""
        path = f"/socket?token={door.session.token}"
        async with door.socket(path, headers={"Authorization": ""}) as socket:
            assert await socket.recv()

    async def test_elsewhere(self, door: Door) -> None:
        """What has no WebSocket answers as ever."""
        url = f"ws://127.0.0.1:{door.service.port}/v1/events"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, proxy=None):
                pass
        assert refused.value.response.status_code == 200

    async def test_a_refusal_is_no_fault(self, door: Door) -> None:
        assert await _status(door, path="/refuses") == 403
        assert "without completing handshake" not in door.service.errors()

    async def test_it_is_logged(self, door: Door) -> None:
        async with door.socket("/socket?token=hidden-token") as socket:
            await socket.recv()
        line = rf"GET {door.path}/socket\S* 101 "
        await _until(lambda: re.search(line, door.service.errors()))
        assert "hidden-token" not in door.service.errors()


class TestStreams:
    async def test_both_ways_at_once(self, door: Door) -> None:
        """The answer's pieces come while the request is still sent."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", door.service.port
        )
        writer.write(
            f"POST {door.path}/echo HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: {door.headers['Authorization']}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        # The server in the test sends its head with the first piece.
        for word in (b"one", b"two", b"three"):
            writer.write(b"%x\r\n%b\r\n" % (len(word), word))
            got = await asyncio.wait_for(reader.readuntil(word), 10)
            assert word in got
        writer.write(b"0\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        writer.close()
        await writer.wait_closed()

    async def test_much_takes_no_memory(self, door: Door) -> None:
        before = _memory_mb(door.service)
        async with door.client() as client:

            async def content() -> AsyncIterator[bytes]:
                for _ in range(100):
                    yield bytes(MB)

            answer = await client.post("/length", content=content())
            assert answer.json() == 100 * MB
            length = 0
            async with client.stream("GET", "/pieces?count=1600") as answer:
                async for piece in answer.aiter_raw():
                    length += len(piece)
            assert length == 100 * MB
        assert _memory_mb(door.service) < before + 20

    async def test_events_come_at_once(self, door: Door) -> None:
        containers.LEFT.clear()
        async with door.client() as client:
            async with client.stream("GET", "/events") as answer:
                lines = answer.aiter_lines()
                assert await asyncio.wait_for(anext(lines), 5) == "data: 0"
        # The client has left, and the container hears of it.
        await _until(lambda: containers.LEFT)

    async def test_whoever_leaves_a_post(self, door: Door) -> None:
        containers.LEFT.clear()
        async with door.client() as client:
            async with client.stream("POST", "/events") as answer:
                assert await anext(answer.aiter_lines()) == "data: 0"
        await _until(lambda: containers.LEFT)

    async def test_the_session_ends(self, door: Door) -> None:
        async with door.client() as client:
            async with client.stream("GET", "/events") as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                door.set(status="stopping")
                with pytest.raises(httpx.RemoteProtocolError):
                    async with asyncio.timeout(10):
                        async for _ in lines:
                            pass

    async def test_what_breaks_off_is_not_whole(self, door: Door) -> None:
        async with door.client() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/breaks")


class TestBrowsers:
    async def test_a_page_and_its_scripts(self, door: Door) -> None:
        """They reach their own session, and nothing else of this host."""
        chromium = shutil.which("chromium")
        if chromium is None and os.environ.get("CI") != "true":
            pytest.skip("needs Debian's chromium on PATH")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"]
            )
            page = await browser.new_page()
            url = f"{door.service.url}{door.path}/page"
            await page.goto(f"{url}?token={door.session.token}")
            await page.wait_for_function("document.title == 'done'")
            assert page.url == url
            saw = json.loads(await page.inner_text("body"))
            await browser.close()
        # Where a container sends them, they stay inside as well.
        assert saw == {
            "own": 200,
            "own_post": 200,
            "moved": 200,
            "socket": "message",
            "muster": "refused",
            "muster_post": "refused",
            "cookies": "plain=2",
        }


async def _json(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


async def _status(door: Door, path: str = "/socket", **options: Any) -> int:
    try:
        async with door.socket(path, **options):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def _memory_mb(service: Service) -> float:
    """What the largest of the service's processes takes."""
    sizes = []
    for pid in service.processes():
        try:
            status = Path(f"/proc/{pid}/status").read_text("utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if found is not None and b"gunicorn" in command:
            sizes.append(int(found[1]) / 1024)
    return max(sizes)
