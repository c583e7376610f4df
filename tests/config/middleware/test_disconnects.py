"""Disconnects: over real connections, to a real server in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest
import pytest_asyncio
import uvicorn
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from config import db
from config.middleware.context import RequestContext
from config.middleware.disconnects import Disconnects
from config.origin import CLIENT_GONE, Origin

Handler = Callable[[Request], Awaitable[Response]]

_SOON: Final = 20


class Connection:
    """A client that may leave at any time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.leave()

    def send(self, text: str) -> None:
        """Sends `text` as it is."""
        self._writer.write(text.encode())

    def ask(self, method: str = "GET", *, body: str = "") -> None:
        """Sends a request."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} / HTTP/1.1\r\nHost: x\r\n{length}\r\n{body}")

    async def answer(self) -> str:
        """The body of the next answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        (length,) = (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        return (await self._reader.readexactly(length)).decode()

    async def read(self, end: str) -> None:
        """Reads until `end` was sent."""
        await self._reader.readuntil(end.encode())

    def leave(self) -> None:
        """Hangs up, without a word."""
        self._writer.transport.abort()


class Server:
    """The stages in front of a handler that each test sets."""

    def __init__(self) -> None:
        self.handler: Handler
        self.begun = asyncio.Event()
        self.ended: asyncio.Queue[Origin] = asyncio.Queue()
        self.port = 0
        self.app: ASGIApp = RequestContext(
            Disconnects(self._serve),
            on_fault=_on_fault,
            observers=[self.ended.put_nowait],
        )

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.port)

    async def over(self) -> Origin:
        """The next request that is over."""
        return await asyncio.wait_for(self.ended.get(), _SOON)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        request = Request(scope, receive)
        response = await self.handler(request)
        await response(scope, receive, send)


async def _on_fault(_request: Request, error: Exception) -> Response:
    raise error


@pytest_asyncio.fixture(name="server")
async def _server() -> AsyncIterator[Server]:
    server = Server()
    config = uvicorn.Config(
        server.app, port=0, log_config=None, lifespan="off", http="httptools"
    )
    running = uvicorn.Server(config)
    # The test run has its own signals.
    running.capture_signals = suppress  # type: ignore[assignment]
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
    server.port = running.servers[0].sockets[0].getsockname()[1]
    yield server
    running.should_exit = running.force_exit = True
    await task


class Lasting:
    """A handler that lasts, and notes how it ended."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()
        self.done = asyncio.Event()

    async def __call__(self, _request: Request) -> Response:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.done.set()
        return Response("done")


async def _in_time(waited_for: Awaitable[object]) -> None:
    await asyncio.wait_for(waited_for, _SOON)


class TestReads:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_they_are_cancelled(
        self, server: Server, method: str
    ) -> None:
        server.handler = lasting = Lasting()
        async with server.connect() as client:
            client.ask(method)
            await server.begun.wait()
        await _in_time(lasting.cancelled.wait())
        origin = await server.over()
        assert origin.gone
        assert origin.status == CLIENT_GONE

    async def test_a_command_of_the_database_is_broken_off(
        self, server: Server, database: None
    ) -> None:
        del database
        broken_off = asyncio.Event()

        async def watch(_request: Request) -> Response:
            changes = await db.collection("users").watch(
                max_await_time_ms=_SOON * 1000
            )
            server.begun.set()
            try:
                await changes.next()
            finally:
                broken_off.set()
            return Response()

        server.handler = watch
        async with server.connect() as client:
            client.ask()
            await server.begun.wait()
            await asyncio.sleep(0.2)
        await asyncio.wait_for(broken_off.wait(), _SOON / 2)
        assert (await server.over()).status == CLIENT_GONE
        assert await db.find_by_id("users", "x") is None

    async def test_who_stays_is_answered(self, server: Server) -> None:
        server.handler = lasting = Lasting()
        async with server.connect() as client:
            client.ask()
            await server.begun.wait()
            await asyncio.sleep(0.3)
            lasting.go_on.set()
            assert await client.answer() == "done"
        origin = await server.over()
        assert (origin.gone, origin.status) == (False, 200)

    async def test_what_follows_an_answer_is_done(self, server: Server) -> None:
        """The server says of every request's end that the client left."""
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0.3)
            done.set()

        async def answer(_request: Request) -> Response:
            return Response("done", background=BackgroundTask(work))

        server.handler = answer
        async with server.connect() as client:
            client.ask()
            assert await client.answer() == "done"
        await _in_time(done.wait())
        assert not (await server.over()).gone

    async def test_a_cancellation_of_others_passes(self) -> None:
        """A server that stops cancels what lasts."""
        lasting = Lasting()

        async def app(scope: Scope, receive: Receive, _send: Send) -> None:
            await lasting(Request(scope, receive))

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            return {}

        async def send(_message: object) -> None:
            raise AssertionError

        scope = {"type": "http", "method": "GET", "headers": [], "state": {}}
        task = asyncio.create_task(
            Disconnects(app)(scope, receive, send)
        )
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lasting.cancelled.is_set()


class TestWrites:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_they_are_done(self, server: Server, method: str) -> None:
        server.handler = lasting = Lasting()
        async with server.connect() as client:
            client.ask(method)
            await server.begun.wait()
        await asyncio.sleep(0.3)
        lasting.go_on.set()
        await _in_time(lasting.done.wait())
        assert (await server.over()).status == 200


class TestStreams:
    @pytest.mark.parametrize("beats", [0.02, 60])
    async def test_they_end_in_order(
        self, server: Server, beats: float
    ) -> None:
        ended = asyncio.Event()

        async def ticks() -> AsyncIterator[str]:
            try:
                yield "tick\n"
                while True:
                    await asyncio.sleep(beats)
                    yield "tick\n"
            finally:
                ended.set()

        async def stream(_request: Request) -> Response:
            return StreamingResponse(ticks())

        server.handler = stream
        async with server.connect() as client:
            client.ask()
            await client.read("tick")
            await asyncio.sleep(0.2)
        await _in_time(ended.wait())
        origin = await server.over()
        assert (origin.gone, origin.status) == (True, 200)


class TestMessages:
    async def test_bodies_arrive_while_it_is_watched(
        self, server: Server
    ) -> None:
        async def count(request: Request) -> Response:
            await asyncio.sleep(0.2)
            received = 0
            async for piece in request.stream():
                received += len(piece)
                await asyncio.sleep(0.001)
            return Response(str(received))

        server.handler = count
        async with server.connect() as client:
            client.send("GET / HTTP/1.1\r\nHost: x\r\n")
            client.send("Content-Length: 1000000\r\n\r\n")
            for _ in range(10):
                client.send("x" * 100_000)
                await asyncio.sleep(0.04)
            assert await client.answer() == "1000000"
        assert not (await server.over()).gone

    async def test_whoever_asks_is_told_that_the_client_left(
        self, server: Server
    ) -> None:
        async def poll(request: Request) -> Response:
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
            return Response()

        server.handler = poll
        async with server.connect() as client:
            client.ask()
            await server.begun.wait()
        origin = await server.over()
        assert origin.gone

    async def test_a_connection_is_used_again(self, server: Server) -> None:
        async def echo(request: Request) -> Response:
            await asyncio.sleep(0.15)
            return Response(await request.body())

        server.handler = echo
        async with server.connect() as client:
            for text in ("one", "two"):
                client.ask(body=text)
                assert await client.answer() == text

    async def test_requests_may_come_in_one_go(self, server: Server) -> None:
        async def echo(request: Request) -> Response:
            await asyncio.sleep(0.15)
            return Response(await request.body())

        server.handler = echo
        async with server.connect() as client:
            for text in ("one", "two", "three"):
                client.ask(body=text)
            for text in ("one", "two", "three"):
                assert await client.answer() == text
