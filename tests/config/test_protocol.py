"""Protocol: over real sockets, with little patience."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from config.protocol import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    MusterProtocol,
    MusterWebSocket,
)

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_PATIENCE_SECONDS = 20
_GET = b"GET /x HTTP/1.1\r\nHost: muster.test\r\n\r\n"


class _Hasty(MusterProtocol):
    head_seconds = 0.2
    body_seconds = 0.2
    whole_body_seconds = 1.0
    reader_seconds = 0.2
    linger_seconds = 0.1
    look_seconds = 0.05


class _Restless(_Hasty):
    """Waits for the next request a little longer than the tests do."""

    def connection_made(  # type: ignore[override]  # As in uvicorn.
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        self.timeout_keep_alive = 1


async def _send(send: Send, body: bytes) -> None:
    length = str(len(body)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", length)],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what the app got: path, headers and body."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    headers = [name.decode() for name, _ in scope["headers"]]
    shown = [scope["path"], headers, body.decode()]
    await _send(send, json.dumps(shown).encode() + b"\n")


@asynccontextmanager
async def _served(
    app: App,
    protocol: type[MusterProtocol] = _Hasty,
    ws: Any = "none",
) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    """Serves `app`; what it yields opens a connection."""
    config = Config(app=app, log_config=None, ws=ws, access_log=False)
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: protocol(config, state, {}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    writers = []
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))

    async def connect() -> Streams:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, limit=2**22
        )
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.close()
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        loop.set_exception_handler(None)
    assert not faults


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return await reader.read()


async def _answer(reader: asyncio.StreamReader) -> list[Any]:
    """What the app got, as it says itself."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        shown: list[Any] = json.loads(await reader.readuntil(b"]\n"))
        return shown


async def _ask(request: bytes, app: App = _echo) -> bytes:
    async with _served(app) as connect:
        reader, writer = await connect()
        writer.write(request)
        return await _rest(reader)


async def _trickle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    """Sends a byte now and then, until the connection ends."""
    answer = asyncio.create_task(_rest(reader))
    while not answer.done():
        writer.write(b"x")
        await asyncio.sleep(_Hasty.body_seconds / 10)
    return answer.result()


def _problem(answer: bytes, status: int, slug: str) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"x-content-type-options: nosniff" in head
    problem: dict[str, Any] = json.loads(body)
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in head
    return problem


def _post(headers: bytes, body: bytes = b"") -> bytes:
    head = b"POST /x HTTP/1.1\r\nHost: muster.test\r\n"
    return head + headers + b"\r\n" + body


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_END = b"0\r\n\r\n"


class TestAmbiguous:
    """What two servers could read in two ways is read by none."""

    @pytest.mark.parametrize(
        "request_bytes",
        [
            _post(_CHUNKED + b"Content-Length: 5\r\n", _END),
            _post(b"Content-Length: 5\r\n" + _CHUNKED, _END),
            _post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"12345"),
            _post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"12345"),
            *(
                _post(b"Content-Length: %s\r\n" % value, b"12345")
                for value in (b"-5", b"+5", b"5,5", b"5 5", b"0x5", b"", b"5a")
            ),
            _post(b"Content-Length: %d\r\n" % 10**20, b"12345"),
            *(
                _post(b"Transfer-Encoding: %s\r\n" % value, _END)
                for value in (
                    b"gzip", b"identity", b"gzip, chunked", b", chunked",
                    b"chunked, chunked", b"xchunked", b"chunked;q=1", b"",
                    b"\x0bchunked",
                )
            ),
            _post(b"Transfer-Encoding: identity\r\n" + _CHUNKED, _END),
            _post(b"Transfer-Encoding : chunked\r\n", _END),
            _post(b"Content-Length : 5\r\n", b"12345"),
            b"POST /x HTTP/1.0\r\nHost: a\r\n" + _CHUNKED + b"\r\n" + _END,
            *(
                _post(_CHUNKED, size + b"\r\n12345\r\n" + _END)
                for size in (b"-5", b"+5", b"0x5", b" 5", b"5 ", b"5;", b"g")
            ),
            _post(_CHUNKED, b"f" * 17 + b"\r\n12345\r\n" + _END),
            _post(_CHUNKED, b"5\n12345\r\n" + _END),
            _post(_CHUNKED, b"5\r\n123456\r\n" + _END),
            _post(_CHUNKED, b"0\r\nContent-Length: 5\r\n\r\n"),
            _post(b"X: a\r\n b\r\n"),
            _post(b"X: a\0b\r\n"),
            _post(b"X\0: a\r\n"),
            _post(b"X: a\rb\r\n"),
            _post(b"X: a\nY: b\r\n"),
            _post(b": a\r\n"),
            b"GET /x HTTP/1.1\nHost: a\n\n",
            b"GET /x HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n",
            b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET @b/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://b@a/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a#@b/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET gopher://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ],
    )  # fmt: skip
    async def test_is_refused(self, request_bytes: bytes) -> None:
        _problem(await _ask(request_bytes), 400, "malformed-request")

    @pytest.mark.parametrize(
        ("request_bytes", "body"),
        [
            (_post(b"Content-Length: 5\r\n", b"12345"), "12345"),
            (_post(_CHUNKED, b"5;a=b\r\n12345\r\n" + _END), "12345"),
            (_post(b"transfer-encoding: Chunked\r\n", _END), ""),
            (b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", ""),
            (b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", ""),
            (b"GET /x HTTP/1.0\r\n\r\n", ""),
        ],
    )
    async def test_what_is_plain_is_served(
        self, request_bytes: bytes, body: str
    ) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(request_bytes)
            shown = await _answer(reader)
        assert shown[0] == "/x"
        assert shown[2] == body

    async def test_what_follows_a_body_is_no_header(self) -> None:
        trailers = b"0\r\nAuthorization: Bearer x\r\nHost: b\r\n\r\n"
        request = _post(_CHUNKED + b"Connection: close\r\n", trailers)
        answer = await _ask(request)
        shown = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert shown[1] == ["host", "transfer-encoding", "connection"]

    async def test_an_upgrade_ends_the_connection(self) -> None:
        head = b"GET /x HTTP/1.1\r\nHost: a\r\n"
        upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        answer = await _ask(head + upgrade + b"GET /smuggled HTTP/1.1\r\n")
        assert answer.count(b"HTTP/1.1 200 ") == 1
        assert b"smuggled" not in answer


class TestTooMuch:
    @pytest.mark.parametrize(
        "headers",
        [
            b"".join(b"X-%d: 1\r\n" % n for n in range(MAX_HEADERS)),
            b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n",
            b"".join(
                b"X-%d: %s\r\n" % (n, b"x" * (MAX_HEAD_BYTES // 16))
                for n in range(17)
            ),
        ],
        ids=["many", "one", "long"],
    )
    async def test_headers(self, headers: bytes) -> None:
        answer = await _ask(_post(headers))
        problem = _problem(answer, 431, "headers-too-large")
        assert problem["instance"] == "/x"

    async def test_headers_without_an_end(self) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\nX: ")
            answer = asyncio.create_task(_rest(reader))
            while not answer.done():
                writer.write(b"x" * 4096)
                await asyncio.sleep(0.001)
            _problem(answer.result(), 431, "headers-too-large")

    async def test_an_address(self) -> None:
        target = b"/" + b"x" * MAX_TARGET_BYTES
        answer = await _ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        _problem(answer, 414, "address-too-long")

    async def test_just_within(self) -> None:
        headers = b"".join(b"X-%d: 1\r\n" % n for n in range(MAX_HEADERS - 2))
        big = b"Big: " + b"x" * (MAX_HEAD_BYTES - 4096) + b"\r\n"
        for more in (headers, big):
            answer = await _ask(_GET[:-2] + more + b"Connection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")

    async def test_a_body_does_not_count_as_headers(self) -> None:
        size = 4 * MAX_HEAD_BYTES
        long = _post(b"Content-Length: %d\r\n" % size, b"x" * size)
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(long + _GET[:20])
            await _answer(reader)
            writer.write(_GET[20:])
            await _answer(reader)


class TestTooSlow:
    @pytest.mark.parametrize(
        "piece",
        [b"GET /x HT", b"GET /x HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n"],
    )
    async def test_a_head(self, piece: bytes) -> None:
        _problem(await _ask(piece), 408, "request-timeout")

    async def test_a_head_that_trickles(self) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\nX: ")
            answer = await _trickle(reader, writer)
            _problem(answer, 408, "request-timeout")

    async def test_a_second_head(self) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(_GET)
            await _answer(reader)
            writer.write(_GET[:-4])
            _problem(await _rest(reader), 408, "request-timeout")

    async def test_line_breaks_between_requests(self) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(_GET)
            await _answer(reader)
            writer.write(b"\r\n")
            _problem(await _rest(reader), 408, "request-timeout")

    async def test_who_says_nothing_is_told_nothing(self) -> None:
        assert await _ask(b"") == b""

    async def test_no_next_request(self) -> None:
        """The connection is closed then, and no sooner."""
        async with _served(_echo, _Restless) as connect:
            reader, writer = await connect()
            for _ in range(3):
                writer.write(_GET)
                assert await _answer(reader) == ["/x", ["host"], ""]
                await asyncio.sleep(_Restless.look_seconds * 3)
            assert await _rest(reader) == b""

    async def test_a_body(self) -> None:
        answer = await _ask(_post(b"Content-Length: 5\r\n", b"123"))
        _problem(answer, 408, "request-timeout")

    async def test_a_body_that_trickles_without_an_end(self) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(_post(b"Content-Length: 100000\r\n"))
            answer = await _trickle(reader, writer)
            _problem(answer, 408, "request-timeout")

    async def test_a_body_that_moves_is_read(self) -> None:
        async with _served(_echo) as connect:
            reader, writer = await connect()
            writer.write(_post(b"Content-Length: 8\r\n"))
            for _ in range(8):
                await asyncio.sleep(_Hasty.body_seconds / 4)
                writer.write(b"x")
            await _answer(reader)

    async def test_a_slow_handler_is_not_a_slow_client(self) -> None:
        """It reads its body late, and answers later still."""

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(3 * _Hasty.body_seconds)
            await _echo(scope, receive, send)

        size = 4 * MAX_HEAD_BYTES
        body = b"x" * size
        for expect in (b"", b"Expect: 100-continue\r\n"):
            async with _served(slow) as connect:
                reader, writer = await connect()
                head = _post(expect + b"Content-Length: %d\r\n" % size)
                writer.write(head)
                if expect:
                    await reader.readuntil(b"100 Continue\r\n\r\n")
                writer.write(body)
                await _answer(reader)

    async def test_a_long_answer_goes_on(self) -> None:
        """As a stream of events does, whose client has nothing to say."""

        async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(
                {"type": "http.response.start", "status": 200, "headers": []}
            )
            for _ in range(6):
                await asyncio.sleep(_Hasty.head_seconds / 2)
                await send(
                    {"type": "http.response.body", "body": b"x",
                     "more_body": True}
                )  # fmt: skip
            await send({"type": "http.response.body", "body": b"end"})

        async with _served(stream) as connect:
            reader, writer = await connect()
            writer.write(_GET)
            answer = await reader.readuntil(b"0\r\n\r\n")
        assert answer.count(b"\r\nx\r\n") == 6
        assert b"end" in answer

    async def test_who_reads_nothing_is_cut_off(self) -> None:
        over = asyncio.Event()

        async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(
                {"type": "http.response.start", "status": 200, "headers": []}
            )
            for _ in range(1000):
                await send(
                    {"type": "http.response.body", "body": b"x" * 1_000_000,
                     "more_body": True}
                )  # fmt: skip
            over.set()

        async with _served(endless) as connect:
            reader, writer = await connect()
            del reader  # It would read up to its own limit, and then stop.
            writer.write(_GET)
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await over.wait()


class TestFarewell:
    """A worker ends."""

    @pytest.mark.parametrize("half", [b"", _GET[:9]], ids=["nothing", "half"])
    async def test_a_head_that_has_begun_is_heard_out(
        self, half: bytes
    ) -> None:
        heard: asyncio.Queue[MusterProtocol] = asyncio.Queue()

        class Brief(MusterProtocol):
            farewell_seconds = 0.1

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                heard.put_nowait(self)

        async with _served(_echo, Brief) as connect:
            reader, writer = await connect()
            writer.write(_GET)
            await _answer(reader)
            protocol = await heard.get()
            if half:
                writer.write(half)
                await heard.get()
            protocol.shutdown()
            await asyncio.sleep(3 * Brief.farewell_seconds)
            if half:
                writer.write(_GET[len(half) :])
                await _answer(reader)
            assert await _rest(reader) == b""


class TestAnswersDoNotMix:
    async def test_the_request_before_is_answered(self) -> None:
        """Garbage behind a request neither overtakes nor cuts its answer."""
        go_on = asyncio.Event()

        async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
            await go_on.wait()
            await _echo(scope, receive, send)

        async with _served(waiting) as connect:
            reader, writer = await connect()
            writer.write(_GET + b"\0garbage")
            await asyncio.sleep(2 * _Hasty.head_seconds)
            go_on.set()
            answer = await _rest(reader)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b"HTTP/1.1") == 1

    async def test_an_answer_that_has_begun_is_cut(self) -> None:
        async def early(_: Scope, receive: Receive, send: Send) -> None:
            await send(
                {"type": "http.response.start", "status": 200, "headers": []}
            )
            await send(
                {"type": "http.response.body", "body": b"x", "more_body": True}
            )
            while (await receive())["type"] != "http.disconnect":
                pass

        request = _post(_CHUNKED, b"5\r\n12345\r\n")
        async with _served(early) as connect:
            reader, writer = await connect()
            writer.write(request)
            await reader.readuntil(b"x\r\n")
            writer.write(b"garbage\r\n")
            assert await _rest(reader) == b""

    async def test_the_app_learns_that_the_client_is_gone(self) -> None:
        seen: list[str] = []

        async def listening(_: Scope, receive: Receive, send: Send) -> None:
            while True:
                message = await receive()
                seen.append(message["type"])
                if message["type"] == "http.disconnect":
                    await _send(send, b"to nobody")
                    return

        answer = await _ask(_post(_CHUNKED, b"5\r\n12345\r\nzz\r\n"), listening)
        _problem(answer, 400, "malformed-request")
        assert seen[-1] == "http.disconnect"


class _HastySocket(MusterWebSocket):
    linger_seconds = 0.1


def _handshake(more: bytes = b"", query: bytes = b"") -> bytes:
    return (
        b"GET /v1/sessions/%s/proxy/%s HTTP/1.1\r\nHost: muster.test\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n%s\r\n"
    ) % (b"0" * 36, query, more)


async def _greet(scope: Scope, receive: Receive, send: Send) -> None:
    """Says much to each WebSocket, and answers requests."""
    if scope["type"] == "http":
        await _echo(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": bytes(2**24)})


class TestWebSockets:
    async def test_is_accepted(self) -> None:
        async with _served(_greet, ws=_HastySocket) as connect:
            reader, writer = await connect()
            writer.write(_handshake())
            assert b" 101 " in await reader.readline()

    @pytest.mark.parametrize(
        "request_bytes",
        [
            _handshake(b"Content-Length: 2\r\n") + b"{}",
            _handshake(b"Transfer-Encoding: chunked\r\n") + _END,
            _handshake(b"Cookie: %s\r\n" % (b"x" * 9000)),
            _handshake(query=b"?" + b"x" * 9000),
        ],
    )
    async def test_what_the_library_does_not_read(
        self, request_bytes: bytes
    ) -> None:
        """It is a request like others, and its client has an answer."""
        async with _served(_greet, ws=_HastySocket) as connect:
            reader, writer = await connect()
            writer.write(request_bytes)
            assert (await _answer(reader))[0].startswith("/v1/sessions/")
            assert await _rest(reader) == b""

    async def test_half_a_handshake(self) -> None:
        """Nobody waits for the rest of it: it came whole, or never will."""
        config = Config(app=_greet, log_config=None, ws=_HastySocket)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _HastySocket(config, ServerState(), {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname()
        )
        writer.write(_handshake()[:-2])
        with suppress(ConnectionResetError):
            assert await _rest(reader) == b""
        writer.close()
        server.close()

    async def test_whoever_does_not_read_is_let_go(self) -> None:
        lost = asyncio.Event()

        class Socket(_HastySocket):
            """Tells of its end."""

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                lost.set()

        async with _served(_greet, ws=Socket) as connect:
            _, writer = await connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(_handshake())
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await lost.wait()
