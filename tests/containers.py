"""A server in place of a session's container: it says what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

_PIECE: Final = bytes(64 * 1024)

# The codes that clients closed WebSockets with; who left a stream of events.
CLOSED: Final[list[int | None]] = []
LEFT: Final[list[str]] = []


@asynccontextmanager
async def container() -> AsyncIterator[int]:
    """Answers while the block runs; gives the port."""
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", _answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        assert server.port is not None
        yield server.port
    finally:
        await server.close()


@asynccontextmanager
async def silent(answer: bytes = b"") -> AsyncIterator[int]:
    """Takes connections, and says `answer` alone; gives the port.

    Whoever goes away is noted in `LEFT`.
    """
    serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        serving[asyncio.current_task()] = writer
        writer.write(answer)
        with suppress(OSError):
            while await reader.read(1024):
                pass
        LEFT.append("silent")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, serving))


async def _answer(request: web.Request) -> web.StreamResponse:
    name = request.path.rpartition("/")[2]
    return await _PAGES.get(name, _say_what_came)(request)


async def _say_what_came(request: web.Request) -> web.StreamResponse:
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "headers": [[n.lower(), v] for n, v in request.headers.items()],
            "body": (await request.read()).decode(),
        },
        headers=[
            ("Set-Cookie", "_xsrf=1; Path=/; Domain=muster.test; HttpOnly"),
            ("Set-Cookie", "plain=2"),
            ("Set-Cookie", "muster-door=3; Path=/"),
            ("Clear-Site-Data", '"*"'),
            ("Service-Worker-Allowed", "/"),
            ("Strict-Transport-Security", "max-age=1"),
            ("X-Accel-Redirect", "/etc"),
            ("X-Sendfile", "/etc/passwd"),
            ("X-Theirs", "yes"),
            ("X-Hop", "for Muster only"),
            ("Connection", "X-Hop"),
        ],
    )


async def _echo_messages(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(
        protocols=("v1.kernel", "v2.kernel"), max_msg_size=0
    )
    await socket.prepare(request)
    await socket.send_json([[n.lower(), v] for n, v in request.headers.items()])
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data == "close":
            await socket.close(code=4321, message=b"enough")
        elif message.data == "die":
            assert request.transport is not None
            request.transport.abort()
        else:
            await socket.send_str(message.data)
    CLOSED.append(socket.close_code)
    return socket


async def _echo(request: web.Request) -> web.StreamResponse:
    """Answers with each piece of the body while it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    return response


async def _tell(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream"}
    )
    await response.prepare(request)
    number = 0
    try:
        while True:
            await response.write(f"data: {number}\n\n".encode())
            number += 1
            await asyncio.sleep(0.05)
    finally:
        LEFT.append(request.method)


async def _send_pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(int(request.query["count"])):
        await response.write(_PIECE)
    return response


async def _break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"only so much")
    assert request.transport is not None
    request.transport.abort()
    return response


async def _move(request: web.Request) -> web.Response:
    return web.Response(
        status=302, headers={"Location": request.query["to"]}
    )


async def _send_part(request: web.Request) -> web.Response:
    content = b"0123456789"
    part = request.http_range
    if part.start is None:
        return web.Response(body=content)
    return web.Response(
        status=206,
        body=content[part],
        headers={"Content-Range": f"bytes {part.start}-{part.stop - 1}/10"},
    )


async def _count(request: web.Request) -> web.Response:
    length = 0
    async for piece in request.content.iter_any():
        length += len(piece)
    return web.json_response(length)


async def _refuse(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=403)


async def _show_page(_request: web.Request) -> web.StreamResponse:
    return web.Response(text=_PAGE, content_type="text/html")


# Says what a script of a container's can do in a browser.
_PAGE: Final = """<!doctype html><title>A session</title><script>
const call = (url, wish) =>
  fetch(url, wish).then((answer) => answer.status, () => "refused");
const socket = new Promise((done) => {
  const opened = new WebSocket("socket".replace(/^/, location.href
    .replace("http", "ws").replace(/[^/]*$/, "")));
  opened.onmessage = () => done("message");
  opened.onerror = () => done("refused");
});
(async () => {
  const saw = {
    own: await call("anything"),
    own_post: await call("anything", {method: "POST", body: "x"}),
    moved: await call("moved?to=/v1/users/me"),
    socket: await socket,
    muster: await call("/v1/users/me"),
    muster_post: await call("/v1/api-keys", {method: "POST", body: "{}"}),
    cookies: document.cookie,
  };
  document.body.textContent = JSON.stringify(saw);
  document.title = "done";
})();
</script><body></body>"""

_PAGES: Final = {
    "page": _show_page,
    "socket": _echo_messages,
    "refuses": _refuse,
    "echo": _echo,
    "events": _tell,
    "pieces": _send_pieces,
    "breaks": _break_off,
    "moved": _move,
    "file": _send_part,
    "length": _count,
}
